"""Encrypted sums for tests: small vectors that fit the parameters, and a coordinator that may do as it likes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from foedus.core.errors import SecureSumError
from foedus.privacy.encrypted_sum.kind import Ckks
from foedus.privacy.encrypted_sum.parameters import choose
from foedus.privacy.secure_sum.kinds import Draft
from foedus.privacy.secure_sum.masks import Layout, Vector
from foedus.privacy.secure_sum.participant import Participation
from foedus.privacy.secure_sum.terms import Rules, Terms
from privacy.secure_sum.federations import entropy, members_of, terms_of, vector_of

LAYOUT = Layout(((64, 3), (32, 5), (16, 2)))
PHASES = ("advertise", "share", "encrypt", "confirm", "open")


def vectors_of(count: int, layout: Layout = LAYOUT) -> Mapping[str, Vector]:
    """Return vectors whose words of 32 bits keep to what encryption for so many allows; all others are anything."""
    largest = choose(count).largest
    made = {}
    for index, name in enumerate(members_of(count)):
        words = list(vector_of(index, layout))
        for place, (width, _) in enumerate(layout.counts):
            if width == 32:
                words[place] = (words[place].view("<i4") % (2 * largest + 1) - largest).astype("<i4").view("<u4")
        made[name] = tuple(words)
    return made


class Coordinated:
    """Participants of one encrypted sum, and whoever coordinates them by hand, exchange by exchange."""

    def __init__(self, count: int, round_number: int = 0, rules: Rules | None = None) -> None:
        self.kind = Ckks(choose(count))
        self.terms = terms_of(rules, LAYOUT, round_number)
        self.members = members_of(count)
        self.vectors = vectors_of(count)
        self.sides: dict[str, Participation] = {}

    def invite(self, terms: Terms | None = None) -> Mapping[str, bytes]:
        sent = (terms or self.terms).encode()
        answers = {}
        for name, member in self.members.items():
            secret = entropy("round", self.terms.round, name)
            self.sides[name] = self.kind.take_part(member, self.terms, sent, Draft(self.vectors[name]), secret)
            answers[name] = bytes(next(self.sides[name]))
        return answers

    def ask(self, messages: Mapping[str, bytes]) -> Mapping[str, bytes]:
        return {name: bytes(self.sides[name].send(message)) for name, message in messages.items()}

    def refusal(self, name: str, message: bytes) -> str:
        """Return why a participant refuses a message; it takes no further part."""
        try:
            self.sides[name].send(message)
        except SecureSumError as error:
            assert self.is_over(name)
            return str(error)
        raise AssertionError("the message was answered")

    def is_over(self, name: str) -> bool:
        try:
            self.sides[name].send(b"")
        except StopIteration:
            return True
        return False


def left_after(patterns: Mapping[str, int]) -> Callable[[str, int], bool]:
    """Return who is there: each until the exchange of that number. The sum may be opened in more than one."""
    return lambda name, phase: min(phase, len(PHASES) - 1) < patterns.get(name, len(PHASES))
