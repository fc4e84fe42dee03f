"""Messages in any order, twice, late, or tampered with: the sum is exact over its survivors, or there is none."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import HealthCheck, settings
from hypothesis.stateful import invariant

from foedus.core.errors import SecureSumError
from foedus.privacy.encrypted_sum.kind import Ckks
from foedus.privacy.encrypted_sum.messages import OpenedSum
from foedus.privacy.encrypted_sum.parameters import choose
from foedus.privacy.secure_sum.masks import Vector
from privacy.encrypted_sum.encrypted_play import LAYOUT, vectors_of
from privacy.secure_sum.test_secure_sum_orders import COUNT, Network


def is_opened_sum(message: bytes) -> bool:
    try:
        OpenedSum.decode(message)
    except SecureSumError:
        return False
    return True


class EncryptedNetwork(Network):
    """The network of masks between the sides of an encrypted sum."""

    kind = Ckks(choose(COUNT))
    layout = LAYOUT

    def vectors_of_all(self) -> Mapping[str, Vector]:
        return vectors_of(COUNT)

    def unchecked(self, answer: bytes) -> int:
        """Return the bytes of an opened sum: the coordinator takes what it is told."""
        return self.layout.byte_size if is_opened_sum(answer) else 0

    def answer(self, name: str, message: bytes) -> None:
        already = len(self.history)
        super().answer(name, message)
        if any(map(is_opened_sum, self.history[already + 1 :])):
            self.opened = [*getattr(self, "opened", []), name]

    @invariant()
    def nobody_opens_twice(self) -> None:
        opened = getattr(self, "opened", [])
        assert len(set(opened)) == len(opened)


TestEncryptedNetwork = EncryptedNetwork.TestCase
TestEncryptedNetwork.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_the_machine_reaches_a_sum_when_the_network_behaves() -> None:
    machine = EncryptedNetwork()
    machine.begin()
    while machine.outcome is None:
        machine.deliver_all()
        machine.return_all()
        machine.end_phase()
        machine.exact_or_none()
        machine.nobody_opens_twice()
    assert machine.outcome.total is not None
    assert len(machine.opened) == 1
