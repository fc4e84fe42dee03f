"""Encryption and decryption by TenSEAL's binding of Microsoft SEAL; none of its types leaves this file.

CKKS (Cheon, Kim, Kim and Song 2017, ePrint 2016/421) with a symmetric key, in ciphertexts of one prime: sums are
all that is done with them, so there are no other keys. SEAL draws its errors from the operating system's
entropy. The key follows from a seed, by SEAL's own generator, so that its holders share 64 bytes.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from foedus.core.errors import MissingExtra, SecureSumError
from foedus.privacy.encrypted_sum.coefficients import POLYNOMIALS, Coefficients, zeros
from foedus.privacy.encrypted_sum.parameters import DEGREE, Parameters
from foedus.privacy.encrypted_sum.slots import Integers

T = TypeVar("T")

SEED_BYTES = 64
_HEADER = struct.Struct("<HBBBBHQ")  # magic, its own size, version, minor version, compression, nothing, size of all
_MEASURES = struct.Struct("<4QB3QdQ")  # parameters' digest, form, polynomials, degree, primes, scale, correction


def require_library() -> Any:
    """Return TenSEAL's binding of SEAL.

    Raises: MissingExtra.
    """
    try:
        from tenseal import sealapi
    except ImportError as error:
        raise MissingExtra(
            "secure_sum: ckks needs the package tenseal; install it with: pip install 'foedus[he]'"
        ) from error
    return sealapi


class SharedKey:
    """A secret key that all participants of one sum hold, and the coordinator does not; `repr` tells nothing of it.

    seed: 64 bytes that are secret and used for this key alone.
    """

    def __init__(self, parameters: Parameters, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise ValueError(f"a key's seed has {len(seed)} bytes; it must have {SEED_BYTES}")
        self._parameters = parameters
        self._seal = require_library()
        seeded = self._seal.Blake2xbPRNGFactory(list(struct.unpack("<8Q", seed)))
        self._key = _guarded(self._seal.KeyGenerator, _context(parameters, seeded)).secret_key()
        self._context = _keyless_context(parameters)
        self._encoder = self._seal.CKKSEncoder(self._context)
        self._scale = 2.0**parameters.scale_bits

    def encrypt(self, integers: Integers) -> Coefficients:
        """Return fresh encryptions of whole ciphertexts' integers, DEGREE in each."""
        encryptor = self._seal.Encryptor(self._context, self._key)
        made = zeros(len(integers) // DEGREE)
        for place, numbers in enumerate(_as_slots(integers)):
            plain, encrypted = self._seal.Plaintext(), self._seal.Ciphertext()
            _guarded(self._encoder.encode, numbers, self._scale, plain)
            _guarded(encryptor.encrypt_symmetric, plain, encrypted)
            count = POLYNOMIALS * DEGREE
            flat = np.fromiter(map(encrypted.__getitem__, range(count)), dtype=np.uint64, count=count)
            made[place] = flat.reshape(POLYNOMIALS, DEGREE)
        return made

    def decrypt(self, coefficients: Coefficients) -> Integers:
        """Return the integers that a sum of ciphertexts stands for.

        Guarantee: nothing of the decryption's error is in them. They are rounded to integers, whose distance is at
            least eight times the error bound, and if one number lies further from its integer than the bound, none
            is given out (Li and Micciancio 2021, ePrint 2020/1533).
        Raises: SecureSumError for that.
        """
        decryptor = self._seal.Decryptor(self._context, self._key)
        numbers = np.empty((len(coefficients), DEGREE))
        with tempfile.TemporaryDirectory() as folder:  # of ciphertexts, which the coordinator has too
            path = Path(folder) / "ciphertext"
            for place, ciphertext in enumerate(coefficients):
                encrypted, plain = self._seal.Ciphertext(), self._seal.Plaintext()
                path.write_bytes(self._framed(ciphertext))
                _guarded(encrypted.load, self._context, str(path))
                _guarded(decryptor.decrypt, encrypted, plain)
                slots = _guarded(self._encoder.decode_complex, plain)
                numbers[place] = np.array(slots, dtype=np.complex128).view(np.float64)
        return rounded(numbers.reshape(-1), self._parameters)

    def _framed(self, ciphertext: NDArray[np.uint64]) -> bytes:
        """Return a ciphertext as SEAL writes one uncompressed; everything but the coefficients is made here."""
        words = np.ascontiguousarray(ciphertext, dtype="<u8").tobytes()
        count = struct.pack("<Q", POLYNOMIALS * DEGREE)
        array = self._header(len(count) + len(words)) + count + words
        digest = self._context.first_parms_id()
        measures = _MEASURES.pack(*digest, 1, POLYNOMIALS, DEGREE, 1, self._scale, 1)
        return self._header(len(measures) + len(array)) + measures + array

    def _header(self, size: int) -> bytes:
        magic, own_size, *version = self._library_header[:4]
        return _HEADER.pack(magic, own_size, *version, 0, 0, own_size + size)

    @cached_property
    def _library_header(self) -> Sequence[int]:
        """How this version of SEAL begins what it writes."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "modulus"
            self._seal.Modulus(self._parameters.modulus).save(str(path))
            return _HEADER.unpack(path.read_bytes()[: _HEADER.size])

    def __repr__(self) -> str:
        return "SharedKey(secret)"


def _context(parameters: Parameters, randomness: Any = None) -> Any:
    """Return SEAL's tables for these parameters. randomness: where a key made with them comes from."""
    seal = require_library()
    settings = seal.EncryptionParameters(seal.SCHEME_TYPE.CKKS)
    settings.set_poly_modulus_degree(DEGREE)
    settings.set_coeff_modulus([seal.Modulus(parameters.modulus)])
    if randomness is not None:
        settings.set_random_generator(randomness)
    context = seal.SEALContext(settings, True, seal.SEC_LEVEL_TYPE.TC128)
    if not context.parameters_set():
        raise SecureSumError(f"SEAL refuses the parameters of this sum: {context.parameters_error_message()}")
    return context


@lru_cache(maxsize=4)
def _keyless_context(parameters: Parameters) -> Any:
    """Return tables that hold no key, and whose randomness is the operating system's, anew each time."""
    return _context(parameters)


def rounded(numbers: NDArray[np.float64], parameters: Parameters) -> Integers:
    """Return the integers next to decrypted numbers.

    Raises: SecureSumError if one of them is further away than the error bound, so that nothing may be given out.
    """
    largest = 2.0 ** (parameters.value_bits * parameters.together - 1)
    fits = bool((np.abs(numbers) <= largest + parameters.error).all())  # NaN does not
    nearest = np.rint(numbers)
    if not (fits and (np.abs(numbers - nearest) <= parameters.error).all()):
        raise SecureSumError(
            "a decrypted sum lies further from its grid than errors of encryption can; nothing is given out"
        )
    return nearest.astype(np.int64)


def _as_slots(integers: Integers) -> Iterator[Sequence[complex]]:
    """Yield each ciphertext's slots: of two integers that follow each other, one is the real part."""
    for numbers in integers.reshape(-1, DEGREE):
        yield numbers.astype(np.float64).view(np.complex128).tolist()


def _guarded(function: Callable[..., T], *arguments: object) -> T:
    """Return what a function of the library returns.

    Raises: SecureSumError for what it refuses, without its message, which might hold values.
    """
    try:
        return function(*arguments)
    except (RuntimeError, ValueError, IndexError, MemoryError) as error:
        raise SecureSumError(f"SEAL could not work on encrypted values ({type(error).__name__})") from None
