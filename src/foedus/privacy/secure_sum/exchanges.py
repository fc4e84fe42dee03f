"""The coordinator's exchanges, whatever the kind of sum: messages out, answers in one by one, who is still there.

A coordinator's side is a generator without input or output. It yields a phase's messages, is sent the
answers one by one, then None, and returns what came of it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field

from foedus.core.errors import SecureSumError
from foedus.federation.messages import ParticipantId
from foedus.privacy.secure_sum.graph import Shape
from foedus.privacy.secure_sum.masks import Vector

SILENT = "did not answer"

Outgoing = Mapping[ParticipantId, bytes]
Answer = bytes | memoryview
Incoming = tuple[ParticipantId, Answer | SecureSumError] | None  # an error: the participant said why it stays out


@dataclass(frozen=True)
class Outcome:
    """What came of a secure sum.

    total: the sum over the survivors, or None; reason then says why not.
    left_out: everyone else who was invited, and why each of them.
    shape: how masks shared their secrets; None for other kinds.
    """

    total: Vector | None
    survivors: Sequence[ParticipantId]
    left_out: Mapping[ParticipantId, str]
    reason: str | None
    shape: Shape | None = None


Summation = Generator[Outgoing | None, Incoming, Outcome]


@dataclass
class Cohort:
    """Who is still there, and why the others are not."""

    names: tuple[ParticipantId, ...]
    left_out: dict[ParticipantId, str] = field(default_factory=dict)

    def phase(
        self, messages: Outgoing, accept: Callable[[ParticipantId, Answer], None]
    ) -> Generator[Outgoing | None, Incoming, tuple[ParticipantId, ...]]:
        """Send a phase's messages, hand each first answer to `accept`, and return who gave a usable one."""
        usable: list[ParticipantId] = []
        reasons = dict.fromkeys(messages, SILENT)
        seen: set[ParticipantId] = set()
        received = yield messages
        while received is not None:
            sender, answer = received
            if sender in messages and sender not in seen:
                seen.add(sender)
                try:
                    if isinstance(answer, SecureSumError):
                        raise answer
                    accept(sender, answer)
                    usable.append(sender)
                    del reasons[sender]
                except SecureSumError as error:
                    reasons[sender] = str(error)
            received = yield None
        self.left_out |= reasons
        return tuple(name for name in messages if name in set(usable))
