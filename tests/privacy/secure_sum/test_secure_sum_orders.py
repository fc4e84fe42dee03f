"""Messages in any order, twice, late, or tampered with: the sum is exact over its survivors, or there is none."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from foedus.core.errors import SecureSumError
from foedus.privacy.secure_sum.exchanges import Outcome
from foedus.privacy.secure_sum.kinds import Draft, Masks, SumKind
from foedus.privacy.secure_sum.masks import Vector
from foedus.privacy.secure_sum.messages import Opening
from foedus.privacy.secure_sum.participant import Participation
from privacy.secure_sum.federations import LAYOUT, entropy, members_of, plain_sum, terms_of, vector_of

COUNT = 4
PLACES = st.integers(0, COUNT - 1)


class Network(RuleBasedStateMachine):
    """One honest coordinator, four honest participants, and a network that does what it likes in between."""

    kind: SumKind = Masks()
    layout = LAYOUT

    def vectors_of_all(self) -> Mapping[str, Vector]:
        return {name: vector_of(place) for place, name in enumerate(self.names)}

    def unchecked(self, answer: bytes) -> int:
        """Return how many bytes at an answer's end nobody could tell from others: words under masks."""
        return self.layout.byte_size if len(answer) == 64 + self.layout.byte_size else 0

    @initialize()
    def begin(self) -> None:
        self.members = members_of(COUNT)
        self.names = tuple(self.members)
        self.terms = terms_of(layout=self.layout)
        self.sides: dict[str, Participation] = {}
        self.over: set[str] = set()
        self.outcome: Outcome | None = None
        self.history: list[bytes] = []  # all that was ever sent, either way
        self.kinds: dict[tuple[str, int], set[int]] = {}  # what each holder gave of each owner
        self.vectors = self.vectors_of_all()
        pinned = next(iter(self.members.values())).identities
        self.coordinator = self.kind.coordinate(self.terms, self.names, pinned)
        invitations = next(self.coordinator)
        self.messages = dict(invitations or {})
        self.answers: dict[str, bytes] = {}

    def answer(self, name: str, message: bytes) -> None:
        """Give a participant a message and keep what it answers, if anything."""
        self.history.append(message)
        if name in self.over:
            return
        try:
            if name not in self.sides:
                draft = Draft(self.vectors[name])
                side = self.kind.take_part(self.members[name], self.terms, message, draft, entropy(name))
                answer = bytes(next(side))
                self.sides[name] = side
            else:
                answer = bytes(self.sides[name].send(message))
        except (SecureSumError, StopIteration):
            self.over.add(name)
            return
        self.history.append(answer)
        self.answers[name] = answer
        try:
            for owner, (kind, _) in Opening.decode(answer).shares.items():
                self.kinds.setdefault((name, owner), set()).add(kind)
        except SecureSumError:
            pass  # an answer of an earlier phase

    def give(self, name: str, answer: bytes) -> None:
        if self.outcome is None:
            self.coordinator.send((name, answer))

    @rule(place=PLACES)
    def deliver(self, place: int) -> None:
        name = self.names[place]
        if name in self.messages:
            self.answer(name, self.messages.pop(name))

    @rule()
    def deliver_all(self) -> None:
        for name in list(self.messages):
            self.answer(name, self.messages.pop(name))

    @rule(place=PLACES)
    def return_answer(self, place: int) -> None:
        name = self.names[place]
        if name in self.answers:
            self.give(name, self.answers[name])

    @rule()
    def return_all(self) -> None:
        for name, answer in self.answers.items():
            self.give(name, answer)

    @rule(place=PLACES)
    def repeat_last_message(self, place: int) -> None:
        if self.history:
            self.answer(self.names[place], self.history[-1])

    @precondition(lambda self: self.history)
    @rule(place=PLACES, data=st.data())
    def replay_to_participant(self, place: int, data: st.DataObject) -> None:
        self.answer(self.names[place], data.draw(st.sampled_from(self.history)))

    @precondition(lambda self: self.history)
    @rule(place=PLACES, data=st.data())
    def replay_to_coordinator(self, place: int, data: st.DataObject) -> None:
        self.give(self.names[place], data.draw(st.sampled_from(self.history)))

    @rule(place=PLACES, at=st.floats(0, 1), mask=st.integers(1, 255), down=st.booleans())
    def tamper(self, place: int, at: float, mask: int, down: bool) -> None:
        """Change one byte of a message on its way, but for what no one could tell."""
        name = self.names[place]
        pending = self.messages if down else self.answers
        if name not in pending:
            return
        data = bytearray(pending[name])
        words = 0 if down else self.unchecked(bytes(data))
        data[int(at * (len(data) - words - 1))] ^= mask
        if down:
            del self.messages[name]
            self.answer(name, bytes(data))
        else:
            self.give(name, bytes(data))

    @precondition(lambda self: self.outcome is None)
    @rule()
    def end_phase(self) -> None:
        try:
            self.messages = dict(self.coordinator.send(None) or {})
            self.answers = {}
        except StopIteration as finished:
            self.outcome = finished.value

    @invariant()
    def never_both_kinds_of_one_owner(self) -> None:
        assert all(len(kinds) == 1 for kinds in getattr(self, "kinds", {}).values())

    @invariant()
    def exact_or_none(self) -> None:
        outcome = getattr(self, "outcome", None)
        if outcome is None or outcome.total is None:
            return
        assert len(outcome.survivors) >= 3
        expected = plain_sum([self.vectors[name] for name in outcome.survivors], self.layout)
        assert all(np.array_equal(got, want) for got, want in zip(outcome.total, expected, strict=True))


TestNetwork = Network.TestCase
TestNetwork.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_the_machine_reaches_a_sum_when_the_network_behaves() -> None:
    machine = Network()
    machine.begin()
    while machine.outcome is None:
        machine.deliver_all()
        machine.return_all()
        machine.end_phase()
        machine.exact_or_none()
        machine.never_both_kinds_of_one_owner()
    assert machine.outcome.total is not None
    assert len(machine.kinds) == COUNT * COUNT
