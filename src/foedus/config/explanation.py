"""What `foedus explain` tells of a run before it is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from foedus.data.sites import Split
from foedus.privacy.secure_sum.cost import Cost


@dataclass(frozen=True)
class Holding:
    """What one participant has.

    rows: by split. labels: training rows by class; empty where the task has no classes.
    steps: optimizer steps in a round that it takes part in.
    """

    name: str
    rows: Mapping[Split, int]
    labels: Mapping[str, int]
    steps: int


@dataclass(frozen=True)
class Traffic:
    """Bytes of parameters and numbers in one round, without framing. down: to participants; up: from them."""

    down: int
    up: int

    def times(self, factor: float) -> Traffic:
        """Return the traffic of that many participants, or rounds."""
        return Traffic(round(self.down * factor), round(self.up * factor))


@dataclass(frozen=True)
class Explanation:
    """A run as it would be made; what could not be found out because of a problem is None.

    name: the run's. folder: where it would be written.
    config: the whole configuration as YAML, defaults included.
    participants: what each one has.
    labels: the classes in the model's order; None where the task has none.
    total, trained, sent: numbers of parameters; tied ones count once.
    traffic: one participant in one round. cohort: how many train in a round, on average.
    secure_sums: what each way to sum would cost a participant and the coordinator in a round, and what it protects.
    privacy: what differential privacy would promise, and then what it would not, a sentence each.
    rounds: how many. device: where training would happen.
    notes: what is worth knowing and no problem. problems: why the run cannot be made as it is; empty if it can.
    """

    name: str
    folder: str
    config: str
    rounds: int
    cohort: float | None = None
    participants: Sequence[Holding] | None = None
    labels: Sequence[str] | None = None
    total: int | None = None
    trained: int | None = None
    sent: int | None = None
    traffic: Traffic | None = None
    secure_sums: Sequence[Cost] = ()
    privacy: Sequence[str] = ()
    device: str | None = None
    notes: Sequence[str] = ()
    problems: Sequence[str] = ()
