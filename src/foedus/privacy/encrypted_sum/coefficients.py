"""Ciphertexts as what they are: coefficients modulo a prime, which the coordinator adds without any library.

They travel in little-endian numbers of a fixed size, so decoding untrusted bytes is a check of their number
and of every coefficient; nothing that anybody sent is ever given to a parser of serialised objects.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from foedus.core.errors import SecureSumError
from foedus.privacy.encrypted_sum.parameters import DEGREE, Parameters

Coefficients = NDArray[np.uint64]  # Shape (ciphertexts, 2, DEGREE), each below the modulus

POLYNOMIALS = 2


def zeros(ciphertexts: int) -> Coefficients:
    """Return ciphertexts of nothing, to add to."""
    return np.zeros((ciphertexts, POLYNOMIALS, DEGREE), dtype=np.uint64)


def add_in_place(total: Coefficients, more: Coefficients, parameters: Parameters) -> None:
    """Add ciphertexts to a total, modulo the prime."""
    np.add(total, more, out=total)  # below 2^61
    np.minimum(total, total - np.uint64(parameters.modulus), out=total)  # what is taken too often wraps, and is larger


def byte_size(ciphertexts: int, parameters: Parameters) -> int:
    """Return the bytes that so many ciphertexts travel in."""
    return ciphertexts * POLYNOMIALS * DEGREE * parameters.coefficient_bytes


def to_bytes(coefficients: Coefficients, parameters: Parameters) -> bytes:
    """Return the one encoding of ciphertexts."""
    octets = np.ascontiguousarray(coefficients, dtype="<u8").reshape(-1).view(np.uint8).reshape(-1, 8)
    return octets[:, : parameters.coefficient_bytes].tobytes()


def from_bytes(encoded: bytes | memoryview, ciphertexts: int, parameters: Parameters) -> Coefficients:
    """Return the ciphertexts in these bytes.

    Raises: SecureSumError if their number is another, or a coefficient is not below the modulus.
    """
    if len(encoded) != (expected := byte_size(ciphertexts, parameters)):
        raise SecureSumError(f"encrypted values have {len(encoded)} bytes; {ciphertexts} ciphertexts have {expected}")
    octets = np.zeros((ciphertexts * POLYNOMIALS * DEGREE, 8), dtype=np.uint8)
    given = np.frombuffer(encoded, dtype=np.uint8).reshape(-1, parameters.coefficient_bytes)
    octets[:, : parameters.coefficient_bytes] = given
    coefficients = octets.reshape(-1).view("<u8").reshape(ciphertexts, POLYNOMIALS, DEGREE)
    if ciphertexts and int(coefficients.max()) >= parameters.modulus:
        raise SecureSumError("encrypted values hold a coefficient that is not below the modulus")
    return coefficients
