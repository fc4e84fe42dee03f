"""Messages in any order, twice, late, or tampered with: the sum is exact over its survivors, or there is none."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from foedus.core.errors import SecureSumError
from foedus.privacy.secure_sum.coordinator import sum_securely
from foedus.privacy.secure_sum.exchanges import Outcome
from foedus.privacy.secure_sum.messages import Opening
from foedus.privacy.secure_sum.participant import Participation, take_part
from privacy.secure_sum.federations import entropy, members_of, plain_sum, terms_of, vector_of

COUNT = 4
PLACES = st.integers(0, COUNT - 1)


class Network(RuleBasedStateMachine):
    """One honest coordinator, four honest participants, and a network that does what it likes in between."""

    @initialize()
    def begin(self) -> None:
        self.members = members_of(COUNT)
        self.names = tuple(self.members)
        self.terms = terms_of()
        self.sides: dict[str, Participation] = {}
        self.over: set[str] = set()
        self.outcome: Outcome | None = None
        self.history: list[bytes] = []  # all that was ever sent, either way
        self.kinds: dict[tuple[str, int], set[int]] = {}  # what each holder gave of each owner
        self.coordinator = sum_securely(self.terms, self.names, next(iter(self.members.values())).identities)
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
                place = self.names.index(name)
                side = take_part(self.members[name], self.terms, message, vector_of(place), entropy(name))
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
        """Change one byte of a message on its way, but for the words under the masks: no one could tell."""
        name = self.names[place]
        pending = self.messages if down else self.answers
        if name not in pending:
            return
        data = bytearray(pending[name])
        words = self.terms.layout.byte_size if not down and len(data) == 64 + self.terms.layout.byte_size else 0
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
        expected = plain_sum([vector_of(self.names.index(name)) for name in outcome.survivors])
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
