"""The encryption scheme: key shares, encryption under their sum, partial decryption, and what they come to.

With `a` shared by all, participant i has s_i ternary and shows b_i = -(s_i a + e_i). Under b = sum b_i,

    encrypt:   mask = a u + f,   body = b u + g + (Q / t) m         u ternary, f and g errors, all new
    open:      h_i = s_i sum_j mask_j + flood_i                     of each key holder
    combine:   sum_j body_j + sum_i h_i  =  (Q / t) sum_j m_j + noise

The names are those of symmetric encryption: `body` carries the plaintext, `mask` is what a key share takes away.
Source: Mouchet et al. 2021, ePrint 2020/304, protocols EncKeyGen and ColKeySwitch with target key 0, over BFV.

*Guarantee.* As long as one key holder keeps to the protocol and tells nobody its secrets, all that others learn
of the honest participants' vectors is their sum, but for a distance of 2^-40 (flood) and what breaks decision RLWE
at 128 bits. Why: b_i of the honest one looks uniform (RLWE), and is committed to before anyone shows another, so b
looks uniform and ciphertexts under it do too (RLWE in u, two samples). Each h_i but one honest one's is an RLWE
sample in s_i over the sum of masks, which looks uniform; the last follows from the sum and a flood that hides v.

*What it does not guarantee.* All who encrypt and hold keys must keep to the protocol, though they may tell the
coordinator all they know. One that deviates, together with the coordinator, can send a mask that is no encryption,
such as a multiple of Q / t: what is opened then holds the sum of the honest key shares beside the sum of vectors,
and where high bits of the sum are known beforehand, the key can be read from it. A proof that ciphertexts are well
formed would prevent that; there is none here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from foedus.core.entropy import Entropy
from foedus.core.errors import SecureSumError
from foedus.privacy.secure_sum.masks import Vector
from foedus.privacy.threshold.packing import add_plaintext_in_place, noise_is_honest, take_plaintext
from foedus.privacy.threshold.parameters import Parameters
from foedus.privacy.threshold.ring import LIMB_BITS, Limbs, Ring, Spectrum
from foedus.privacy.threshold.sampling import common, error, flood, ternary

Rows = NDArray[np.uint32]  # Shape: (polynomials, limbs, N): sums of limbs without carries


@dataclass(frozen=True)
class KeyShare:
    """One participant's part of a key. secret: its spectrum. public: the encoding of b_i."""

    secret: Spectrum = field(repr=False)
    public: bytes


@dataclass(frozen=True)
class JointKey:
    """What vectors are encrypted under: the spectra of `a` and of the sum of all b_i."""

    shared: Spectrum = field(repr=False)
    public: Spectrum = field(repr=False)


@dataclass(frozen=True)
class Ciphertext:
    """One encrypted vector, polynomial by polynomial. mask: all limbs. body: the upper ones, cut."""

    mask: bytes | memoryview
    body: bytes | memoryview


def create_key_share(ring: Ring, transcript: bytes, entropy: Entropy) -> KeyShare:
    """Return a new key share. transcript: what the shared polynomial is made of."""
    secret = ring.spectrum(ternary(ring, entropy))
    loose = ring.product(ring.spectrum(common(ring, transcript)), secret)
    loose[0] += error(ring, entropy)
    return KeyShare(secret, ring.encode(ring.settled(-loose)))


def joint_key(ring: Ring, transcript: bytes, publics: Sequence[bytes | memoryview]) -> JointKey:
    """Return the key whose secret is the sum of all shares' secrets.

    Raises: SecureSumError if a public share has another length.
    """
    total = np.zeros((ring.limbs, ring.degree), dtype=np.int64)
    for public in publics:
        total += ring.read(public)
    return JointKey(ring.spectrum(common(ring, transcript)), ring.spectrum(ring.settled(total)))


def encrypt(vector: Vector, parameters: Parameters, key: JointKey, entropy: Entropy) -> Ciphertext:
    """Return the vector's encryption; only all key holders together can open it."""
    ring = parameters.ring
    masks, bodies = bytearray(parameters.mask_bytes), bytearray(parameters.body_bytes)
    mask_bytes, body_bytes = ring.element_bytes(), ring.element_bytes(parameters.kept_limbs)
    for polynomial in range(parameters.polynomials):
        small = ring.spectrum(ternary(ring, entropy))
        mask, body = ring.product(key.shared, small), ring.product(key.public, small)
        mask[0] += error(ring, entropy)
        body[0] += error(ring, entropy)
        add_plaintext_in_place(body, vector, parameters, polynomial)
        ring.write(ring.settled(mask), memoryview(masks)[polynomial * mask_bytes :][:mask_bytes])
        upper = ring.settled(body)[parameters.dropped_limbs :]
        ring.write(upper, memoryview(bodies)[polynomial * body_bytes :][:body_bytes])
    return Ciphertext(memoryview(masks).toreadonly(), memoryview(bodies).toreadonly())


@dataclass
class RunningRows:
    """A sum of masks, or of bodies and partial decryptions: limbs are added, and carried once at the end."""

    ring: Ring
    rows: Rows
    added: int = 0

    @classmethod
    def of_masks(cls, parameters: Parameters) -> RunningRows:
        """Return an empty sum of masks."""
        return cls._empty(parameters, parameters.ring.limbs)

    @classmethod
    def of_bodies(cls, parameters: Parameters) -> RunningRows:
        """Return an empty sum of bodies and partial decryptions."""
        return cls._empty(parameters, parameters.kept_limbs)

    @classmethod
    def _empty(cls, parameters: Parameters, limbs: int) -> RunningRows:
        shape = parameters.polynomials, limbs, parameters.ring.degree
        return cls(parameters.ring, np.zeros(shape, dtype=np.uint32))

    def add(self, encoded: bytes | memoryview) -> None:
        """Add one participant's.

        Raises: SecureSumError if its length is another.
        """
        count, limbs, _ = self.rows.shape
        size = self.ring.element_bytes(limbs)
        if len(encoded) != count * size:
            raise SecureSumError(f"{len(encoded)} bytes of ring elements came; expected are {count * size}")
        assert self.added < 1 << (32 - LIMB_BITS), "limbs of so many would overflow their words"
        self.added += 1
        for polynomial in range(count):
            part = memoryview(encoded)[polynomial * size : (polynomial + 1) * size]
            self.rows[polynomial] += self.ring.read(part, limbs=limbs)

    def element(self, polynomial: int) -> Limbs:
        """Return one of the sum's polynomials, carried."""
        return self.ring.settled(self.rows[polynomial].astype(np.int64))


def partially_decrypt(total: RunningRows, share: KeyShare, parameters: Parameters, entropy: Entropy) -> bytes:
    """Return h_i for a sum of masks, cut to its upper limbs: this participant's part of opening it, once.

    Its flood is made for one opening under a key. Never call it for a sum that was not checked to be one.
    """
    ring = parameters.ring
    size = ring.element_bytes(parameters.kept_limbs)
    made = bytearray(parameters.body_bytes)
    for polynomial in range(parameters.polynomials):
        loose = ring.product(ring.spectrum(total.element(polynomial)), share.secret)
        noise = flood(ring, parameters.flood_bits, entropy)
        loose[: len(noise)] += noise
        upper = ring.settled(loose)[parameters.dropped_limbs :]
        ring.write(upper, memoryview(made)[polynomial * size :][:size])
    return bytes(made)


def combine(total: RunningRows, parameters: Parameters) -> Vector:
    """Return the sum of vectors, from the sum of all bodies and all partial decryptions.

    Raises: SecureSumError if what was added does not fit together.
    """
    opened = parameters.layout.zeros()
    place, bit = divmod(parameters.plain_shift - 1 - parameters.dropped_limbs * LIMB_BITS, LIMB_BITS)
    for polynomial in range(parameters.polynomials):
        loose = total.rows[polynomial].astype(np.int64)
        loose[place] += 1 << bit  # half of the plaintext's unit: cutting then rounds
        limbs = parameters.ring.settled(loose)
        if not noise_is_honest(limbs, parameters):
            raise SecureSumError("ciphertexts and partial decryptions do not fit together; one of them is wrong")
        take_plaintext(limbs, opened, parameters, polynomial)
    return opened
