"""What travels between the coordinator and the participants.

A participant answers each request with one reply. Everything that may leave it stands in this file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from torch import Tensor

from foedus.core import trees
from foedus.core.errors import ParticipantError
from foedus.core.trees import ParamTree

ParticipantId = str
Trees = Mapping[str, ParamTree]  # named trees: what a strategy sends, or what somebody remembers
Sums = Mapping[str, Tensor]  # float64 statistics that add up over records and over participants
COUNTS = ("steps", "tokens")  # what an update may count of its training: optimizer steps, tokens trained on


@dataclass(frozen=True)
class Clock:
    """Where a round stands in the whole run; learning-rate schedules read it.

    round: 0 for the first one. rounds: how many the run has.
    """

    round: int
    rounds: int

    def progress(self, fraction_of_round: float) -> float:
        """Return the part of the run that is over, in [0, 1].

        >>> Clock(round=3, rounds=10).progress(0.5)
        0.35
        """
        return (self.round + fraction_of_round) / self.rounds


class EncodedTree(Protocol):
    """A tree in fewer bytes, as it travels."""

    def byte_size(self) -> int:
        """Return the bytes of all that is sent: codes, scales, indices."""
        ...

    def decode(self) -> ParamTree:
        """Return the tree that it stands for.

        Raises: ParticipantError if its pieces do not fit together.
        """
        ...


@dataclass(frozen=True)
class Broadcast:
    """What the coordinator's half of a strategy sends at the start of a round.

    trees: by name; "params" are the parameters that the participants start from.
    encoded: more trees, in fewer bytes; a participant decodes them before it does anything else.
    """

    trees: Trees
    clock: Clock
    encoded: Mapping[str, EncodedTree] = field(default_factory=dict)

    @property
    def params(self) -> ParamTree:
        """The parameters that local training starts from."""
        return self.trees["params"]

    def decoded(self) -> Broadcast:
        """Return the same with every encoded tree among the others."""
        if not self.encoded:
            return self
        return Broadcast({**self.trees, **{name: tree.decode() for name, tree in self.encoded.items()}}, self.clock)


@dataclass(frozen=True)
class Train:
    """Please train from this broadcast and send an update."""

    broadcast: Broadcast


@dataclass(frozen=True)
class DryRound:
    """Please train from this broadcast, keep nothing of it, and tell how large its values and its weight are.

    What is told is counts, as foedus.federation.magnitudes has them.
    """

    broadcast: Broadcast


@dataclass(frozen=True)
class Evaluate:
    """Please evaluate these parameters on your own split of this name.

    round: how many rounds made them. tell: whether the figures are to be sent; else they are the participant's own.
    compare: whether to evaluate two models more on the same rows: what training starts from, and the one that the
        participant trained alone. All three then make one answer, so that their sums are over the same participants.
    """

    params: ParamTree
    split: str
    round: int = 0
    tell: bool = True
    compare: bool = False


@dataclass(frozen=True)
class TrainAlone:
    """Please be done with this round of training on your own rows alone, keep all of it, and tell nothing.

    What a participant trains alone stays with it; asked for a round that it has, it has nothing to do.
    """

    clock: Clock


@dataclass(frozen=True)
class CountPairs:
    """Please count which two neighbours stand how often in your texts, after these merges.

    merges: pairs of units that became one, in order; foedus.models.byte_pairs says what a unit is.
    """

    merges: Sequence[tuple[int, int]]


@dataclass(frozen=True)
class SecureSumStep:
    """Please answer this message of a secure sum; foedus.privacy.secure_sum says what is in it.

    of: in the first message, what to do for the sum. The result stays with the participant, which sends it under
        masks.
    """

    message: bytes
    of: Summable | None = None


Summable = Train | Evaluate | DryRound | CountPairs  # what a secure sum may be of
Request = Summable | SecureSumStep | TrainAlone


@dataclass(frozen=True)
class LocalUpdate:
    """Everything that may leave a participant after training; the coordinator needs only sums of it.

    averaged: trees whose weighted mean the coordinator uses; it needs the sum of weight * tree.
    summed: trees whose plain sum it uses.
    weight: this participant's weight, > 0; it is summed too.
    metrics: numbers averaged with the same weight, such as the training loss.
    counts: whole numbers whose plain sum is used, of COUNTS.
    encoded: more trees to be averaged, in fewer bytes; they stay encoded until they are added.
    """

    averaged: Trees
    weight: float
    summed: Trees = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    encoded: Mapping[str, EncodedTree] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)

    def decoded(self) -> LocalUpdate:
        """Return the same update with every encoded tree among those to be averaged.

        Raises: ParticipantError if one cannot be decoded, or has the name of another.
        """
        if twice := sorted(self.encoded.keys() & self.averaged.keys()):
            raise ParticipantError(f"its update holds the part {twice[0]} twice")
        decoded = {name: tree.decode() for name, tree in self.encoded.items()}
        return replace(self, averaged={**self.averaged, **decoded}, encoded={}) if decoded else self


@dataclass(frozen=True)
class Evaluation:
    """Additive statistics of one participant's own evaluation."""

    sums: Sums


@dataclass(frozen=True)
class Counts:
    """Whole numbers that add up over participants, as one int64 vector."""

    values: Tensor


@dataclass(frozen=True)
class SecureSumAnswer:
    """A participant's answer to a message of a secure sum."""

    message: bytes | memoryview


@dataclass(frozen=True)
class Failure:
    """The participant, or the way to it, failed; `reason` is fit for a record and holds no data."""

    reason: str


Reply = LocalUpdate | Evaluation | Counts | SecureSumAnswer | Failure


def payload_bytes(message: Request | Reply) -> int:
    """Return the bytes of the tensors and numbers in a message, without framing."""
    number = 8
    match message:
        case Train() | DryRound():
            plain = sum(trees.byte_size(tree) for tree in message.broadcast.trees.values())
            return plain + sum(tree.byte_size() for tree in message.broadcast.encoded.values())
        case Evaluate():
            return trees.byte_size(message.params)
        case TrainAlone():
            return 2 * number
        case SecureSumStep():
            return len(message.message) + (payload_bytes(message.of) if message.of is not None else 0)
        case SecureSumAnswer():
            return len(message.message)
        case LocalUpdate():
            parts = [*message.averaged.values(), *message.summed.values()]
            encoded = sum(tree.byte_size() for tree in message.encoded.values())
            numbers = 1 + len(message.metrics) + len(message.counts)
            return sum(trees.byte_size(tree) for tree in parts) + encoded + number * numbers
        case Evaluation():
            return trees.byte_size(message.sums)
        case CountPairs():
            return 2 * number * len(message.merges)
        case Counts():
            return trees.byte_size({"values": message.values})
        case Failure():
            return len(message.reason.encode())
