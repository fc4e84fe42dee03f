"""Reproducible randomness: a tree of named seed keys.

Children are derived by name, so a new consumer of randomness does not shift the others.
Not for secrets: keys, masks and released noise never come from here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class SeedKey:
    """One node of the tree of seeds; equal names under equal roots give equal randomness.

    >>> root = SeedKey.from_seed(7)
    >>> root.child("round", 3, "sample") == root.child("round", 3).child("sample")
    True
    >>> root.child("round", 3).integer() == root.child("round", 4).integer()
    False
    """

    digest: bytes

    @classmethod
    def from_seed(cls, seed: int) -> SeedKey:
        """Return the root key of a run's seed."""
        return cls(hashlib.sha256(b"foedus seed 1\x00" + str(seed).encode()).digest())

    def child(self, *names: str | int) -> SeedKey:
        """Return the key reached by one name after the other; 1 and "1" are different names."""
        digest = self.digest
        for name in names:
            tagged = f"{type(name).__name__}:{name}".encode()
            digest = hashlib.sha256(digest + tagged).digest()
        return SeedKey(digest)

    def integer(self) -> int:
        """Return this key's value in [0, 2^63)."""
        return int.from_bytes(self.digest[:8], "big") >> 1

    def numpy(self) -> np.random.Generator:
        """Return a fresh NumPy generator."""
        return np.random.default_rng(int.from_bytes(self.digest, "big"))

    def torch(self, device: torch.device | str = "cpu") -> torch.Generator:
        """Return a fresh PyTorch generator on the device."""
        return torch.Generator(device).manual_seed(self.integer())


@contextmanager
def torch_seeded(key: SeedKey, device: torch.device | None = None) -> Iterator[None]:
    """Run the block with PyTorch's global generators set from the key, and put them back afterwards.

    Dropout and the initialisation of Transformers read the global generators and take no other.
    """
    accelerators = [device] if device is not None and device.type != "cpu" else []
    kind = accelerators[0].type if accelerators else "cuda"
    with torch.random.fork_rng(devices=accelerators, device_type=kind):
        torch.manual_seed(key.integer())
        yield
