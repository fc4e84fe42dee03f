"""Randomness that must not follow from a run's seed: released noise, and the cohorts and batches that privacy hides.

A stream is the AES-256-CTR keystream of a 32-byte key, so that whoever lacks the key cannot tell it
from uniform bits. Children have keys of their own, derived by name (HKDF-Expand, RFC 5869).
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Sequence
from typing import NoReturn

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from torch import Tensor

from foedus.core.seeds import SeedKey

KEY_BYTES = 32
_CIPHER_BLOCK = 16
_BLOCK = 1 << 16  # words made into normals together: they stay in the processor's cache, and its layout is fixed
# The least uniform is 2^-32, so no normal lies further from 0 than this: 6.66. Beyond lie 3e-11 of a true Gaussian.
FURTHEST_NORMAL = math.sqrt(2 * 32 * math.log(2))


class Entropy:
    """One stream of random bits; draws move it on, so that no two draws are made of the same bits.

    reproducible: whether it follows from a seed. Noise from such a stream protects nobody.
    It cannot be copied or pickled, since two copies would make the same noise. A process that forks
    leaves its child a `secret` stream with another key; the other two kinds repeat what they are made of.
    """

    def __init__(self, key: bytes, *, reproducible: bool, renewed_by_fork: bool = False) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key of {len(key)} bytes was given; it must have {KEY_BYTES}")
        self.reproducible = reproducible
        self._renewed_by_fork = renewed_by_fork
        self._lock = threading.Lock()
        self._start(key)

    @classmethod
    def secret(cls) -> Entropy:
        """Return a stream whose key the operating system has just drawn, and nobody else knows."""
        return cls(os.urandom(KEY_BYTES), reproducible=False, renewed_by_fork=True)

    @classmethod
    def kept(cls, key: bytes) -> Entropy:
        """Return the stream of a secret key that its owner keeps, so as to draw the same once more.

        Raises: ValueError if it has not 32 bytes.
        """
        return cls(key, reproducible=False)

    @classmethod
    def reproducible_from(cls, key: SeedKey) -> Entropy:
        """Return the stream that follows from a seed: for experiments and tests, never for privacy."""
        return cls(key.digest, reproducible=True)

    @property
    def repeatable(self) -> bool:
        """Whether another process can draw the same: it is made of a kept key or of a seed."""
        return not self._renewed_by_fork

    def child(self, *names: str | int) -> Entropy:
        """Return the stream of that name: always the same one, from its start; 1 and "1" are different names."""
        with self._lock:
            key = self._own_key()
        for name in names:
            key = _derived(key, b"child\x00" + f"{type(name).__name__}:{name}".encode())
        return Entropy(key, reproducible=self.reproducible, renewed_by_fork=self._renewed_by_fork)

    def once(self, *names: str | int) -> Entropy:
        """Return a stream for one release: a new secret one, or, if it has to be drawn again, the child of the names.

        Two releases that share their noise reveal their difference. So the names of a kept or a
        reproducible stream must never come twice; of a secret one even that does no harm.
        """
        return Entropy.secret() if self._renewed_by_fork else self.child(*names)

    def normal(self, shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
        """Return float32 standard normals, by Box and Muller's transform of 31-bit radii and 32-bit angles.

        None is larger than FURTHEST_NORMAL. They have the 24 binary digits of float32, so what is
        released must not show its lowest ones: foedus.privacy.noise rounds it to a coarser grid.
        device: bits are drawn by the processor and become normals there.
        """
        place = torch.device(device)
        count = math.prod(shape)
        together = _blocks_at_once(place)
        made = torch.empty(count, dtype=torch.float32, device=place)
        whole = count - count % _BLOCK
        for begin in range(0, whole, together * _BLOCK):
            end = min(whole, begin + together * _BLOCK)
            _box_muller(self._words(end - begin).to(place), made[begin:end].view(-1, 2, _BLOCK // 2))
        if rest := count - whole:
            even = rest + rest % 2
            pairs = torch.empty((1, 2, even // 2), dtype=torch.float32, device=place)
            _box_muller(self._words(even).to(place), pairs)
            made[whole:] = pairs.view(-1)[:rest]
        return made.view(tuple(shape))

    def uniform(self, count: int) -> np.ndarray:
        """Return float64 numbers in [0, 1), multiples of 2^-53."""
        words = np.frombuffer(self.draw(8 * count), dtype="<u8")
        return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def chosen(self, count: int, rate: float) -> list[int]:
        """Return a Poisson sample: each of 0 … count - 1 by an independent coin of that probability."""
        indices: list[int] = np.flatnonzero(self.uniform(count) < rate).tolist()
        return indices

    def draw(self, count: int) -> bytearray:
        """Return the stream's next bytes."""
        drawn = bytearray(count + _CIPHER_BLOCK - 1)  # the cipher asks for this room
        with self._lock:
            self._own_key()
            self._stream.update_into(bytes(count), drawn)
        del drawn[count:]
        return drawn

    def _words(self, count: int) -> Tensor:
        return torch.frombuffer(self.draw(4 * count), dtype=torch.int32)

    def _start(self, key: bytes) -> None:
        self._key = key
        self._process = os.getpid()
        stream_key = _derived(key, b"stream")
        self._stream: CipherContext = Cipher(algorithms.AES256(stream_key), modes.CTR(bytes(_CIPHER_BLOCK))).encryptor()

    def _own_key(self) -> bytes:
        """Return the key; in a forked process, that of a secret stream is first replaced."""
        if self._renewed_by_fork and os.getpid() != self._process:
            self._start(os.urandom(KEY_BYTES))
        return self._key

    def __repr__(self) -> str:
        return f"Entropy({'reproducible, therefore not private' if self.reproducible else 'secret'})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a stream of randomness cannot be copied or pickled; give the other its own child")


def _derived(key: bytes, info: bytes) -> bytes:
    return HKDFExpand(SHA256(), KEY_BYTES, b"foedus entropy 1\x00" + info).derive(key)


def _blocks_at_once(place: torch.device) -> int:
    """Return how many blocks to transform together; the values are the same for any number.

    One thread is fastest within its cache; several, or an accelerator, want enough to share out.
    """
    threads = torch.get_num_threads()
    if place.type != "cpu":
        return 64
    return 1 if threads == 1 else 16 * threads


def _box_muller(words: Tensor, pairs: Tensor) -> None:
    """Fill pairs with standard normals made of as many 32-bit words.

    pairs: Shape (blocks, 2, n). A block's first n words give radii, its last n give angles.
    """
    words = words.view(pairs.shape)
    radii = words[:, 0].to(torch.float32)
    # Near 0, where the tails come from, |w + 1/2| / 2^31 is exact.
    radii.add_(0.5).abs_().mul_(2.0**-31).log_().mul_(-2.0).sqrt_()
    angles = words[:, 1].to(torch.float32).mul_(math.pi * 2.0**-31)
    torch.cos(angles, out=pairs[:, 0]).mul_(radii)
    torch.sin(angles, out=pairs[:, 1]).mul_(radii)
