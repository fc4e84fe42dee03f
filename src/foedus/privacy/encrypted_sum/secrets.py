"""What the participants of one sum know and the coordinator does not: the key, and what the check is made with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from foedus.core.errors import SecureSumError
from foedus.federation.messages import ParticipantId
from foedus.privacy.encrypted_sum.coefficients import Coefficients
from foedus.privacy.encrypted_sum.linear_check import hashed
from foedus.privacy.encrypted_sum.parameters import Parameters
from foedus.privacy.encrypted_sum.seal import SharedKey
from foedus.privacy.secure_sum import keys
from foedus.privacy.secure_sum.wire import indices, number, text


@dataclass(frozen=True)
class SumSecrets:
    """The secret that all participants of one sum derive the same keys from; `repr` hides it.

    It is made of a seed of each of them, so that it is as good as the best of their sources of randomness, and
    each seed is what its participant committed to under its signature, so that all have the same.
    """

    parameters: Parameters
    roster: bytes
    secret: bytes = field(repr=False)

    @classmethod
    def of(
        cls, parameters: Parameters, roster: bytes, sharers: Sequence[int], seeds: Mapping[int, bytes]
    ) -> SumSecrets:
        """Return the secret of the seeds of those who shared theirs."""
        together = b"".join(seeds[index] for index in sharers)
        return cls(parameters, roster, keys.derived(together, roster, b"encrypted sum", indices(sharers)))

    def key(self) -> SharedKey:
        """Return the key that values are encrypted with.

        Raises: MissingExtra.
        """
        halves = (keys.derived(self.secret, self.roster, b"encryption key", number(half, 1)) for half in (0, 1))
        return SharedKey(self.parameters, b"".join(halves))

    def tag(self, coefficients: Coefficients, owner: ParticipantId) -> int:
        """Return the tag of a participant's ciphertexts. Each makes one in a sum: a second would show the hash."""
        return (self._hashed(coefficients) + self._pad(owner)) % self.parameters.modulus

    def check(self, coefficients: Coefficients, tag: int, owners: Iterable[ParticipantId]) -> None:
        """Return if these are the sum of the ciphertexts of exactly these participants, each once.

        Raises: SecureSumError otherwise.
        """
        expected = self._hashed(coefficients) + sum(map(self._pad, owners))
        if (expected - tag) % self.parameters.modulus:
            raise SecureSumError(
                "what was to be opened is not the sum of what the signed survivors sent; nothing is opened"
            )

    def _hashed(self, coefficients: Coefficients) -> int:
        return hashed(coefficients, keys.derived(self.secret, self.roster, b"check", b""), self.parameters)

    def _pad(self, owner: ParticipantId) -> int:
        """Return a participant's pad, uniform but for 2^-196."""
        derived = keys.derived(self.secret, self.roster, b"pad", text(owner))
        return int.from_bytes(derived, "big") % self.parameters.modulus
