"""A keyed check that what is to be opened is the sum of given ciphertexts, each once, and of nothing else.

Participants share keys that the coordinator does not know. A participant with coefficients c, in the field of
the prime q, sends the tag t = ⟨r, c⟩ + p: r is common to all, p its own, both of this one sum. Tags add up as
ciphertexts do. Who is asked to open C with the tag T for the participants U opens it only if

    T = ⟨r, C⟩ + Σ_U p.

The coordinator sees c_i and t_i. The pads are uniform and used once, so the tags tell nothing of r. Say it asks
for C = Σ_U c_i + D and T = Σ_U t_i + d: then the check holds just if d = ⟨r, D⟩. If D is not 0, one
coordinate of r is determined by the others, and r's coordinates are uniform in [0, 2^k) with 2^k < q, so that
has probability 2^-k at most: 2^-55, or 2^-59 for the larger prime; a sum over another set, with other
multiplicities, or with a ciphertext of another round has an unknown pad in its tag and fares no better. So
whatever is opened is Σ_U c_i, coefficient by coefficient: no slot can be masked, scaled or swapped. Those who
are asked refuse for good after one failure, so n participants give n guesses.

Secret values in some of the slots would be weaker: what is linear in ciphertexts can keep these slots and change
the others (as in attacks on verifiable homomorphic encryption, arXiv:2502.12628).

This is the one-time linear authenticator of Wegman and Carter 1981, summed, as in the homomorphic codes of
Agrawal and Boneh 2009, "Homomorphic MACs: MAC-based integrity for network coding", section 3, with one tag.
"""

from __future__ import annotations

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from foedus.privacy.encrypted_sum.coefficients import Coefficients
from foedus.privacy.encrypted_sum.parameters import DEGREE, Parameters

_LIMB = 20  # bits: products of two limbs, 4096 of them, sum to less than 2^53, so float64 is exact in any order
_TOGETHER = 16 * DEGREE


def hashed(coefficients: Coefficients, key: bytes, parameters: Parameters) -> int:
    """Return ⟨r, c⟩ modulo the prime, r the keystream of a key that hashes one sum's ciphertexts and nothing else."""
    stream = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()
    mask = np.uint64((1 << (parameters.modulus_bits - 1)) - 1)
    total = 0
    flat = coefficients.reshape(-1)
    for begin in range(0, len(flat), _TOGETHER):
        piece = flat[begin : begin + _TOGETHER]
        random = np.frombuffer(stream.update(bytes(piece.nbytes)), dtype="<u8") & mask
        products = np.matmul(_limbs(piece), _limbs(random).transpose(0, 2, 1))
        sums = products.astype(np.int64).sum(axis=0)  # at most 16 of less than 2^53
        total += sum(int(sums[i, j]) << (_LIMB * (i + j)) for i in range(3) for j in range(3))
    return total % parameters.modulus


def _limbs(numbers: np.ndarray) -> np.ndarray:
    """Return numbers below 2^60 in three limbs. Shape (blocks, 3, DEGREE), float64."""
    blocks = numbers.reshape(-1, DEGREE)
    mask, width = np.uint64((1 << _LIMB) - 1), np.uint64(_LIMB)
    limbs = np.empty((len(blocks), 3, DEGREE), dtype=np.float64)
    limbs[:, 0] = blocks & mask
    limbs[:, 1] = (blocks >> width) & mask
    limbs[:, 2] = blocks >> (width + width)
    return limbs
