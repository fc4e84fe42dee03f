"""The terms of one secure sum: what it is of, by which rules, and how a vector is laid out.

Every participant builds them from what it knows itself and compares them with the coordinator's.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from hashlib import sha256

from foedus.core.errors import SecureSumError
from foedus.privacy.secure_sum.masks import Layout
from foedus.privacy.secure_sum.wire import DIGEST_BYTES, Reader, header, number, text

KIND = 1
PER_MILLE = 1000


@dataclass(frozen=True)
class Rules:
    """What a participant insists on.

    min_cohort: the least number of participants in a sum.
    threshold: how many must stay to the end; 0 stands for the default, ⌊2n/3⌋ + 1 of the n on the roster.
    corrupt_per_mille: the part of a large cohort that may collude with the coordinator.
    dropout_per_mille: the part of a large cohort that may vanish; both size the graph of neighbours.
    """

    min_cohort: int = 3
    threshold: int = 0
    corrupt_per_mille: int = 200
    dropout_per_mille: int = 100

    def __post_init__(self) -> None:
        if self.min_cohort < 2:
            raise SecureSumError(f"min_cohort is {self.min_cohort}; a sum over fewer than 2 hides nobody")
        if self.threshold < 0:
            raise SecureSumError(f"the threshold is {self.threshold}; give how many must stay, or 0 for the default")
        if not (0 <= self.corrupt_per_mille < PER_MILLE / 2 and 0 <= self.dropout_per_mille < PER_MILLE / 2):
            raise SecureSumError("the parts that may be corrupt and that may drop out lie in [0, 500) of 1000 each")

    @property
    def least_survivors(self) -> int:
        """The fewest that any sum under these rules may hold, however small its roster."""
        return max(self.min_cohort, self.threshold)

    def survivors_needed(self, roster_size: int) -> int:
        """Return how many of a roster must reach the end.

        More than half, so that two sets of survivors cannot both be signed; with ⌊2n/3⌋ + 1, not even
        if fewer than a third of the roster sign both (Bonawitz et al. 2017, section 7.3.2). And min_cohort at
        least, for those who reach the end are the ones in the sum.
        Raises: SecureSumError if the roster is too small for these rules.
        """
        if roster_size < self.min_cohort:
            raise SecureSumError(f"{roster_size} participants are on the roster; min_cohort is {self.min_cohort}")
        needed = max(self.min_cohort, self.threshold or 2 * roster_size // 3 + 1)
        if not roster_size / 2 < needed <= roster_size:
            raise SecureSumError(
                f"the threshold is {needed} of {roster_size} participants; it must be more than half and at most all"
            )
        return needed


@dataclass(frozen=True)
class Terms:
    """What one sum is of. All participants must have the same, to the last bit.

    purpose: several sums may belong to one round; a participant answers once for each.
    model: digest of the parameters that were sent. settings: digest of whatever else was agreed on, such
        as grids and differential privacy.
    """

    task: str
    run: str
    round: int
    purpose: str
    model: bytes
    settings: bytes
    rules: Rules
    layout: Layout

    def encode(self) -> bytes:
        """Return the canonical bytes.

        Raises: SecureSumError if a digest has not 32 bytes.
        """
        if {len(self.model), len(self.settings)} != {DIGEST_BYTES}:
            raise SecureSumError(f"the digests of model and settings have {DIGEST_BYTES} bytes each")
        rules = self.rules
        return (
            header(KIND)
            + text(self.task)
            + text(self.run)
            + number(self.round, 8)
            + text(self.purpose)
            + self.model
            + self.settings
            + number(rules.min_cohort, 4)
            + number(rules.threshold, 4)
            + number(rules.corrupt_per_mille, 2)
            + number(rules.dropout_per_mille, 2)
            + number(len(self.layout.counts), 1)
            + b"".join(number(width, 1) + number(count, 8) for width, count in self.layout.counts)
        )

    @classmethod
    def decode(cls, data: bytes) -> Terms:
        """Return the terms in these bytes.

        Raises: SecureSumError if they are not the encoding of any.
        """
        reader = Reader(data, "the invitation")
        reader.header(KIND)
        names = reader.text(), reader.text(), reader.number(8), reader.text()
        digests = reader.take(DIGEST_BYTES), reader.take(DIGEST_BYTES)
        rules = Rules(reader.number(4), reader.number(4), reader.number(2), reader.number(2))
        layout = Layout(tuple((reader.number(1), reader.number(8)) for _ in range(reader.number(1))))
        reader.end()
        return cls(*names, *digests, rules, layout)

    def digest(self) -> bytes:
        """Return the hash of the canonical bytes."""
        return sha256(self.encode()).digest()

    def must_equal(self, offered: Terms) -> None:
        """Return if the coordinator offers these terms.

        Raises: SecureSumError with the first field that differs.
        """
        for each in fields(self):
            if (own := getattr(self, each.name)) != (other := getattr(offered, each.name)):
                shown = ("another digest", "its own") if isinstance(own, bytes) else (other, own)
                raise SecureSumError(f"the coordinator's {each.name} is {shown[0]}, the participant's is {shown[1]}")
