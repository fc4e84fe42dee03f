"""Whether a log's entries are what rounds leave: each signed by whom it may be, in the order in which things happen.

A round is a request to train and its answers, perhaps a request to evaluate and its answers, and a result. Under
masks a sum follows the answers. Before the first round may stand an evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from foedus.core.errors import SignatureError
from foedus.privacy.signing.identity import PublicKey
from foedus.privacy.signing.masked_rounds import ReadSum, check_sum
from foedus.privacy.signing.merkle import MerkleTree
from foedus.privacy.signing.statements import (
    COORDINATOR,
    Evaluated,
    Masked,
    Requested,
    RoundResult,
    RunBegun,
    Signed,
    Summed,
    Updated,
)

Answer = Updated | Evaluated | Masked


@dataclass(frozen=True)
class ReadLog:
    """A log whose every entry was checked.

    results: one a round, in order.
    sums: every secure sum. evaluated: who answered the evaluation after a round; 0: before the first.
    """

    begun: RunBegun
    results: Sequence[RoundResult]
    tree: MerkleTree
    sums: Sequence[ReadSum]
    evaluated: Mapping[int, Sequence[str]]


@dataclass(frozen=True)
class _Phase:
    """What was asked, who answered so far, with which roster of a sum, and that sum once it is there."""

    asked: Requested
    names: tuple[str, ...] = ()
    rosters: frozenset[str] = frozenset()
    total: ReadSum | None = None


@dataclass(frozen=True)
class _Place:
    """Where in a log its reader is. phases: of the round that is not over."""

    begun: RunBegun
    identities: Mapping[str, PublicKey]
    results: tuple[RoundResult, ...] = ()
    phases: tuple[_Phase, ...] = ()
    sums: tuple[ReadSum, ...] = ()
    evaluated: Mapping[int, Sequence[str]] = field(default_factory=dict)

    @property
    def due(self) -> int:
        return len(self.results) + 1


def check_entries(entries: Sequence[Signed], tree: MerkleTree) -> ReadLog:
    """Return the log if every entry is signed by whom it may be, and the rounds follow each other.

    Raises: SignatureError with the number of the first entry that is wrong.
    """
    if not entries or not isinstance(entries[0].statement, RunBegun):
        raise SignatureError("entry 0 of the log does not say which run it is of")
    begun = entries[0].statement
    place = _Place(begun, {name: PublicKey.from_hex(key) for name, key in begun.roster.items()})
    for index, entry in enumerate(entries):
        try:
            if index == 0:
                _by(entry, COORDINATOR, PublicKey.from_hex(begun.coordinator))
            else:
                place = _after(place, entry)
        except SignatureError as error:
            raise SignatureError(f"entry {index} of the log: {error}") from None
    if place.phases or not place.results:
        raise SignatureError("the log ends within a round")
    return ReadLog(begun, place.results, tree, place.sums, place.evaluated)


def _after(place: _Place, entry: Signed) -> _Place:
    """Return the place after one more entry. Raises: SignatureError if it does not belong there."""
    stated = entry.statement
    match stated:
        case Requested():
            _by(entry, COORDINATOR, PublicKey.from_hex(place.begun.coordinator))
            _require_order(place, stated)
            _require_whole(place)
            return replace(place, phases=(*place.phases, _Phase(stated)))
        case Updated() | Evaluated() | Masked() if place.phases:
            return replace(place, phases=(*place.phases[:-1], _answered(place, place.phases[-1], entry, stated)))
        case Summed() if place.phases:
            _by(entry, COORDINATOR, PublicKey.from_hex(place.begun.coordinator))
            phase, summed = _summed(place, place.phases[-1], stated)
            return replace(place, phases=(*place.phases[:-1], phase), sums=(*place.sums, summed))
        case RoundResult():
            _by(entry, COORDINATOR, PublicKey.from_hex(place.begun.coordinator))
            _require_run(place, stated.run)
            if stated.round != place.due:
                raise SignatureError(f"it is of round {stated.round}, and round {place.due} is due")
            _require_whole(place)
            _require_result(place, stated)
            evaluated = {
                phase.asked.round: phase.names for phase in place.phases if phase.asked.purpose == "evaluation"
            }
            return replace(
                place, results=(*place.results, stated), phases=(), evaluated={**place.evaluated, **evaluated}
            )
    raise SignatureError(f"a statement of kind {stated.kind} does not belong here")


def _by(entry: Signed, signer: str, key: PublicKey) -> None:
    if entry.signer != signer:
        raise SignatureError(f"it is signed by {entry.signer} in place of {signer}")
    entry.check(key)


def _require_run(place: _Place, run: str) -> None:
    if run != place.begun.run:
        raise SignatureError(f"it is of run {run}, and the log of run {place.begun.run}")


def _require_order(place: _Place, asked: Requested) -> None:
    """Check that a request is of the round that is due, and comes after those before it."""
    _require_run(place, asked.run)
    initial = place.due == 1 and asked.purpose == "evaluation" and asked.round == 0
    if asked.round != place.due and not initial:
        raise SignatureError(f"it is of round {asked.round}, and round {place.due} is due")
    if asked.purpose == "update" and place.begun.rounds == "sealed":
        raise SignatureError("the rounds of this run are sealed, and it tells what was asked in one")
    before = [_order(phase.asked) for phase in place.phases]
    if before and before[-1] >= _order(asked):
        raise SignatureError(f"a request for {asked.purpose} of round {asked.round} does not belong here")


def _order(asked: Requested) -> tuple[int, bool]:
    return asked.round, asked.purpose == "evaluation"


def _answered(place: _Place, phase: _Phase, entry: Signed, stated: Answer) -> _Phase:
    name, asked = stated.participant, phase.asked
    if name not in place.identities or name in phase.names:
        raise SignatureError(f"{name} is not on the roster, or counts twice in a round")
    _by(entry, name, place.identities[name])
    _require_run(place, stated.run)
    if stated.round != asked.round or stated.request not in asked.requests:
        raise SignatureError(f"{name} answers another request than the one of its round")
    kind = {"plain": asked.purpose, "masked": "masked", "sealed": "evaluation"}[place.begun.rounds]
    if stated.kind != kind or (isinstance(stated, Masked) and stated.purpose != asked.purpose) or phase.total:
        raise SignatureError(f"a statement of kind {stated.kind} does not belong here")
    rosters = phase.rosters | ({stated.roster} if isinstance(stated, Masked) else set())
    return replace(phase, names=(*phase.names, name), rosters=rosters)


def _summed(place: _Place, phase: _Phase, stated: Summed) -> tuple[_Phase, ReadSum]:
    _require_run(place, stated.run)
    if (stated.round, stated.purpose) != (phase.asked.round, phase.asked.purpose) or phase.total:
        raise SignatureError("a secure sum does not belong here")
    found = check_sum(stated, phase.asked.requests, place.identities)
    if tuple(found.survivors) != phase.names or phase.rosters != {found.roster}:
        raise SignatureError("those in the secure sum are not those whose masked vectors are logged")
    return replace(phase, total=found), found


def _require_whole(place: _Place) -> None:
    """Check that masked vectors are followed by their sum."""
    if place.phases and place.phases[-1].rosters and place.phases[-1].total is None:
        raise SignatureError("masked vectors are logged, and not whose sum they are in")


def _require_result(place: _Place, stated: RoundResult) -> None:
    trained = [phase for phase in place.phases if phase.asked.purpose == "update"]
    logged = trained[0].names if trained else ()
    if tuple(stated.counted) != logged or not set(stated.counted) <= set(stated.cohort):
        raise SignatureError("those who are said to count are not those whose updates are logged")
    if stated.counted and not stated.stood:
        raise SignatureError("updates are logged in a round that did not stand")
    if stated.cohort and not trained:
        raise SignatureError("a cohort trained, and what it was asked is not logged")
    if (stated.sealed is not None) != (place.begun.rounds == "sealed"):
        raise SignatureError("a round is sealed in a run that shows its rounds, or the other way round")
    if (stated.total is not None) != bool(stated.counted):
        raise SignatureError("a sum is stated where nobody counts, or none where somebody does")
