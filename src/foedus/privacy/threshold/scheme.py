"""The encryption scheme: key shares, encryption under their sum, partial decryption, and what they come to.

With `a` shared by all, participant i has s_i ternary and shows b_i = -(s_i a + e_i). Under b = sum b_i,

    encrypt:   mask = a u + f,   body = b u + g + (Q / 2t) m        u ternary, f and g errors, all new
    open:      h_i = s_i * 2 sum_j mask_j + flood_i                 of each key holder
    combine:   2 sum_j body_j + sum_i h_i  =  (Q / t) sum_j m_j + noise

The names are those of symmetric encryption: `body` carries the plaintext, `mask` is what a key share takes away.
Twice the sum is opened because proofs are about twice what they are of.
Source: Mouchet et al. 2021, ePrint 2020/304, protocols EncKeyGen and ColKeySwitch with target key 0, over BFV.

*Guarantee.* Let two participants or more keep to the protocol and tell nobody their secrets. All that the others and
the coordinator learn of these participants' vectors, whatever they do, is their sum, but for a distance of 2^-40
(flood), a chance below 2^-100 of a false proof, and what breaks decision RLWE at 128 bits. Why:

- b_i of an honest one looks uniform (RLWE), and is committed to before anyone shows another. So b does, and honest
  ciphertexts under it do too (RLWE in u, two samples). They, too, are committed to before anyone's is seen.
- Every other -b_k and mask_k has a proof (`proof`): twice it is a v + w with v, w short. So what honest ones give
  out, 2 sum body_j + sum h_i over them, is (Q / t) sum m_j, what others can compute themselves from v, masks and
  public keys, a short rest that `parameters` bounds, and a flood that hides the rest.
- Each h_i but one honest one's is an RLWE sample in s_i over the sum of masks, which looks uniform.

This is an argument and not a proof: a simulator has to get v and w out of proofs by rewinding, and no one has checked.
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
from foedus.privacy.threshold.proof import Claim, Short
from foedus.privacy.threshold.ring import LIMB_BITS, Limbs, Ring, Spectrum
from foedus.privacy.threshold.sampling import common, error, flood, ternary

Rows = NDArray[np.uint32]  # Shape: (polynomials, limbs, N): sums of limbs without carries


@dataclass(frozen=True)
class KeyShare:
    """One participant's part of a key. secret: s_i and e_i. public: the encoding of b_i."""

    secret: Short = field(repr=False)
    public: bytes


@dataclass(frozen=True)
class JointKey:
    """What vectors are encrypted under: the spectra of `a` and of the sum of all b_i. pieces: those of `a`."""

    shared: Spectrum = field(repr=False)
    public: Spectrum = field(repr=False)
    pieces: Spectrum = field(repr=False)


@dataclass(frozen=True)
class Ciphertext:
    """One encrypted vector, polynomial by polynomial. mask: all limbs. body: the upper ones, cut.

    made_of: the secrets of its masks, for the proof.
    """

    mask: bytes | memoryview
    body: bytes | memoryview
    made_of: Sequence[Short] = field(default=(), repr=False)


def create_key_share(ring: Ring, transcript: bytes, entropy: Entropy) -> KeyShare:
    """Return a new key share. transcript: what the shared polynomial is made of."""
    secret = Short(ternary(ring, entropy), error(ring, entropy))
    loose = ring.product(ring.spectrum(common(ring, transcript)), ring.spectrum(secret.factor))
    loose[0] += secret.offset
    return KeyShare(secret, ring.encode(ring.settled(-loose)))


def joint_key(ring: Ring, transcript: bytes, publics: Sequence[bytes | memoryview]) -> JointKey:
    """Return the key whose secret is the sum of all shares' secrets.

    Raises: SecureSumError if a public share has another length.
    """
    total = np.zeros((ring.limbs, ring.degree), dtype=np.int64)
    for public in publics:
        total += ring.read(public)
    shared = common(ring, transcript)
    return JointKey(ring.spectrum(shared), ring.spectrum(ring.settled(total)), ring.pieces(shared))


def claim_of(
    parameters: Parameters, key: JointKey, public: bytes | memoryview, mask: bytes | memoryview, context: bytes
) -> Claim:
    """Return what is to be proved of a participant's public share and its ciphertext's mask.

    Raises: SecureSumError if one has another length.
    """
    ring, size = parameters.ring, parameters.ring.element_bytes()
    if len(mask) != parameters.mask_bytes:
        raise SecureSumError(f"a ciphertext's mask has {len(mask)} bytes; it must have {parameters.mask_bytes}")
    masks = [ring.read(memoryview(mask)[begin : begin + size]) for begin in range(0, len(mask), size)]
    return Claim(ring, key.pieces, [ring.settled(-ring.read(public).astype(np.int64)), *masks], context)


def encrypt(vector: Vector, parameters: Parameters, key: JointKey, entropy: Entropy) -> Ciphertext:
    """Return the vector's encryption; only all key holders together can open it."""
    ring = parameters.ring
    masks, bodies = bytearray(parameters.mask_bytes), bytearray(parameters.body_bytes)
    mask_bytes, body_bytes = ring.element_bytes(), ring.element_bytes(parameters.kept_limbs)
    made_of: list[Short] = []
    for polynomial in range(parameters.polynomials):
        drawn = Short(ternary(ring, entropy), error(ring, entropy))
        made_of.append(drawn)
        small = ring.spectrum(drawn.factor)
        mask, body = ring.product(key.shared, small), ring.product(key.public, small)
        mask[0] += drawn.offset
        body[0] += error(ring, entropy)
        add_plaintext_in_place(body, vector, parameters, polynomial)
        ring.write(ring.settled(mask), memoryview(masks)[polynomial * mask_bytes :][:mask_bytes])
        upper = ring.settled(body)[parameters.dropped_limbs :]
        ring.write(upper, memoryview(bodies)[polynomial * body_bytes :][:body_bytes])
    return Ciphertext(memoryview(masks).toreadonly(), memoryview(bodies).toreadonly(), made_of)


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

    def add(self, encoded: bytes | memoryview, *, times: int = 1) -> None:
        """Add one participant's, once or twice.

        Raises: SecureSumError if its length is another.
        """
        count, limbs, _ = self.rows.shape
        size = self.ring.element_bytes(limbs)
        if len(encoded) != count * size:
            raise SecureSumError(f"{len(encoded)} bytes of ring elements came; expected are {count * size}")
        self.added += times
        assert self.added <= 1 << (32 - LIMB_BITS), "limbs of so many would overflow their words"
        for polynomial in range(count):
            part = memoryview(encoded)[polynomial * size : (polynomial + 1) * size]
            self.rows[polynomial] += self.ring.read(part, limbs=limbs) * np.uint32(times)

    def element(self, polynomial: int) -> Limbs:
        """Return one of the sum's polynomials, carried."""
        return self.ring.settled(self.rows[polynomial].astype(np.int64))


def partially_decrypt(total: RunningRows, share: KeyShare, parameters: Parameters, entropy: Entropy) -> bytes:
    """Return h_i for twice a sum of masks, cut to its upper limbs: this participant's part of opening it, once.

    total: the masks, each added twice.

    Its flood is made for one opening under a key. Never call it for a sum that was not checked to be one.
    """
    ring = parameters.ring
    size = ring.element_bytes(parameters.kept_limbs)
    made, secret = bytearray(parameters.body_bytes), ring.spectrum(share.secret.factor)
    for polynomial in range(parameters.polynomials):
        loose = ring.product(ring.spectrum(total.element(polynomial)), secret)
        noise = flood(ring, parameters.flood_bits, entropy)
        loose[: len(noise)] += noise
        upper = ring.settled(loose)[parameters.dropped_limbs :]
        ring.write(upper, memoryview(made)[polynomial * size :][:size])
    return bytes(made)


def combine(total: RunningRows, parameters: Parameters) -> Vector:
    """Return the sum of vectors, from the sum of all bodies, each added twice, and all partial decryptions.

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
