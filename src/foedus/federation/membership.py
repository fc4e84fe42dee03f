"""What the coordinator and a participant tell each other about a run, beside its rounds.

A run between organisations begins in two steps: each participant tells what the others must know of its data
(`Begin` → `Told`), and the coordinator tells everybody what follows for all (`Agree` → `Told`).
One that spends privacy ends in two steps as well: each participant tells what it cost (`TellCost` → `Told`), so that
the coordinator can draw up what everybody signs, and then the run is over (`Finish` → `Told`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Begin:
    """Please read your data for this run, and tell what the others must know of them.

    run: its id. config: its resolved configuration, YAML.
    """

    run: str
    config: str


@dataclass(frozen=True)
class Agree:
    """Please make ready: this is what all sides agree on. ground: JSON values."""

    ground: Mapping[str, Any]


@dataclass(frozen=True)
class Settle:
    """A round, counted from 1, is over; counted: whether your update is in the model.

    What you remember from then on stays with you, under this round's number.
    """

    round: int
    counted: bool


@dataclass(frozen=True)
class Recall:
    """Please go back to what you remembered after this round, counted from 1; after 0 it was nothing."""

    round: int


@dataclass(frozen=True)
class TellCost:
    """The rounds are over: please tell what they cost of your privacy, as far as others may know.

    Who has told it works for the run no more, so that what it told stays true.
    """


@dataclass(frozen=True)
class Finish:
    """The run is over: nothing that a redone round would need is asked for again."""


@dataclass(frozen=True)
class Told:
    """A participant's answer to one of these. facts: JSON values."""

    facts: Mapping[str, Any] = field(default_factory=dict)


Notice = Begin | Agree | Settle | Recall | TellCost | Finish
