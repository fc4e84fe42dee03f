"""Federations for the tests of threshold sums: a small ring that protects nobody, and a loop that plays both sides."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from foedus.core.errors import SecureSumError
from foedus.privacy.secure_sum.exchanges import Outcome
from foedus.privacy.secure_sum.masks import Layout, Vector
from foedus.privacy.secure_sum.participant import Member, Participation
from foedus.privacy.secure_sum.terms import Terms
from foedus.privacy.threshold.coordinator import sum_by_threshold
from foedus.privacy.threshold.participant import take_part
from foedus.privacy.threshold.ring import Ring
from privacy.secure_sum.federations import Tamper, entropy

SMALL = Ring(16, 9)
PHASES = ("pledge", "show", "encrypt", "send", "open")
LAYOUT = Layout(((64, 5), (32, 70), (16, 3), (8, 9)))


def play(
    terms: Terms,
    members: Mapping[str, Member],
    vectors: Mapping[str, Vector],
    *,
    ring: Ring = SMALL,
    lost: Callable[[str, int], bool] = lambda name, phase: False,
    gone: Callable[[str, int], bool] = lambda name, phase: False,
    down: Tamper = lambda phase, name, message: message,
    up: Tamper = lambda phase, name, message: message,
) -> Outcome:
    """Play a whole sum. lost: whether a participant's answer of a phase is lost; gone: it is not even asked."""
    first = next(iter(members.values()))
    coordinator = sum_by_threshold(terms, list(members), first.identities, ring=ring)
    sides: dict[str, Participation] = {}
    try:
        phase, outgoing = 0, next(coordinator)
        while True:
            assert outgoing is not None
            for name, message in outgoing.items():
                if gone(name, phase) or (arrived := down(phase, name, message)) is None:
                    continue
                try:
                    if phase == 0:
                        stream = entropy("round", terms.round, name)
                        sides[name] = take_part(members[name], terms, arrived, vectors[name], stream, ring=ring)
                        answer = bytes(next(sides[name]))
                    else:
                        answer = bytes(sides[name].send(arrived))
                except SecureSumError as error:
                    coordinator.send((name, error))
                    continue
                except StopIteration:
                    continue
                if not lost(name, phase) and (sent := up(phase, name, answer)) is not None:
                    coordinator.send((name, sent))
            outgoing = coordinator.send(None)
            phase += 1
    except StopIteration as finished:
        outcome: Outcome = finished.value
        return outcome
