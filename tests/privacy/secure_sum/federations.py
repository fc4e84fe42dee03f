"""Federations for the tests of secure sums: participants with pinned keys, and a loop that plays both sides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from foedus.core.entropy import Entropy
from foedus.core.errors import SecureSumError
from foedus.privacy.secure_sum.exchanges import Outcome
from foedus.privacy.secure_sum.kinds import Draft, Masks, SumKind
from foedus.privacy.secure_sum.masks import Layout, Vector, add_vector_in_place
from foedus.privacy.secure_sum.participant import Member, Participation
from foedus.privacy.secure_sum.terms import Rules, Terms
from foedus.privacy.signing.identity import Identity

LAYOUT = Layout(((64, 3), (32, 5)))
PHASES = ("advertise", "share", "mask", "confirm", "open")


@dataclass
class Notebook:
    """Keeps what is recorded, as a file would over a crash."""

    entries: dict[str, bytes] = field(default_factory=dict)

    def __call__(self, new: Mapping[str, bytes]) -> None:
        if self.entries.keys() & new.keys():
            raise SecureSumError("an answer was given before")
        self.entries |= new


def terms_of(rules: Rules | None = None, layout: Layout = LAYOUT, round_number: int = 0) -> Terms:
    return Terms("task", "run", round_number, "update", b"m" * 32, b"s" * 32, rules or Rules(), layout)


def entropy(*names: str | int) -> Entropy:
    return Entropy.kept(b"k" * 32).child(*names)


def names_of(count: int) -> tuple[str, ...]:
    return tuple(f"site-{index:04d}" for index in range(count))


def members_of(count: int) -> Mapping[str, Member]:
    keys = {name: Identity.from_seed(bytes(entropy("identity", name).draw(32))) for name in names_of(count)}
    pinned = {name: key.public for name, key in keys.items()}
    return {name: Member(name, key, pinned, Notebook()) for name, key in keys.items()}


def vector_of(index: int, layout: Layout = LAYOUT) -> Vector:
    drawn = entropy("vector", index).draw(layout.byte_size)
    return layout.from_bytes(bytes(drawn))


def plain_sum(vectors: Sequence[Vector], layout: Layout = LAYOUT) -> Vector:
    total = layout.zeros()
    for vector in vectors:
        add_vector_in_place(total, vector)
    return total


Tamper = Callable[[int, str, bytes], bytes | None]  # (phase, receiver, message) → what arrives, or nothing


def play(
    terms: Terms,
    members: Mapping[str, Member],
    vectors: Mapping[str, Vector],
    *,
    present: Callable[[str, int], bool] = lambda name, phase: True,
    down: Tamper = lambda phase, name, message: message,
    up: Tamper = lambda phase, name, message: message,
    kind: SumKind | None = None,
) -> Outcome:
    """Play a whole sum, under masks unless told. present: whether a participant still answers in a phase, from 0."""
    kind = kind or Masks()
    first = next(iter(members.values()))
    coordinator = kind.coordinate(terms, list(members), first.identities)
    sides: dict[str, Participation] = {}
    try:
        phase, outgoing = 0, next(coordinator)
        while True:
            assert outgoing is not None
            for name, message in outgoing.items():
                if not present(name, phase) or (arrived := down(phase, name, message)) is None:
                    continue
                try:
                    if phase == 0:
                        secret = entropy("round", terms.round, name)
                        sides[name] = kind.take_part(members[name], terms, arrived, Draft(vectors[name]), secret)
                        answer = bytes(next(sides[name]))
                    else:
                        answer = bytes(sides[name].send(arrived))
                except SecureSumError as error:
                    coordinator.send((name, error))
                    continue
                except StopIteration:
                    continue
                if (sent := up(phase, name, answer)) is not None:
                    coordinator.send((name, sent))
            outgoing = coordinator.send(None)
            phase += 1
    except StopIteration as finished:
        outcome: Outcome = finished.value
        return outcome
