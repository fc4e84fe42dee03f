"""Encrypted sums of a million values: bytes, seconds and error, beside TenSEAL used plainly, in one run.

Processor time on one core, the least of a few repetitions. Ours is everything between an update and its message:
rounding to the grid, packing, encrypting, the tag, the bytes; and back. The plain way is TenSEAL's own vector of
float64 at degree 8192 with primes of 60, 40 and 60 bits and a public key, as its tutorials do it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch

from foedus.privacy.encrypted_sum import coefficients, slots
from foedus.privacy.encrypted_sum.parameters import choose
from foedus.privacy.encrypted_sum.secrets import SumSecrets
from foedus.privacy.secure_sum.masks import Layout
from foedus.privacy.secure_sum.quantize import Grid, quantize, restore

T = TypeVar("T")

VALUES = 1_000_000
PARTICIPANTS = (10, 100, 1000)
SUMMED = 3  # vectors that are really added; the parameters are those of all participants
CLIP = 1.0
REPETITIONS = 3


def least(work: Callable[[], T]) -> tuple[float, T]:
    """Return the least processor time of a few, and what came out."""
    taken: list[float] = []
    for _ in range(REPETITIONS):
        began = time.process_time()
        result = work()
        taken.append(time.process_time() - began)
    return min(taken), result


def ours(participants: int, updates: list[torch.Tensor]) -> None:
    parameters = choose(participants)
    grid = Grid(CLIP, participants, 32, sum_bits=parameters.value_bits)
    layout = Layout(((32, VALUES),))
    secrets = SumSecrets(parameters, bytes(32), os.urandom(32))
    key = secrets.key()

    def encrypt(update: torch.Tensor, name: str) -> tuple[bytes, int]:
        vector = layout.zeros()
        quantize(update, grid, vector[0])
        encrypted = key.encrypt(slots.pack(vector, layout, parameters))
        return coefficients.to_bytes(encrypted, parameters), secrets.tag(encrypted, name)

    names = [str(place) for place in range(SUMMED)]
    encrypting, _ = least(lambda: encrypt(updates[0], names[0]))
    sent = [encrypt(update, name) for update, name in zip(updates, names, strict=True)]
    count = slots.ciphertexts_of(layout, parameters)
    total = coefficients.zeros(count)
    adding, _ = least(
        lambda: coefficients.add_in_place(total, coefficients.from_bytes(sent[0][0], count, parameters), parameters)
    )
    total[:] = 0
    for words, _ in sent:
        coefficients.add_in_place(total, coefficients.from_bytes(words, count, parameters), parameters)
    tag = sum(tag for _, tag in sent) % parameters.modulus

    def open_sum() -> np.ndarray:
        secrets.check(total, tag, names)
        return restore(slots.unpack(key.decrypt(total), layout, parameters)[0], grid).numpy()

    opening, opened = least(open_sum)
    error = np.abs(opened / SUMMED - torch.stack(updates).double().mean(0).numpy()).max() / CLIP
    size = len(sent[0][0])
    print(
        f"  ours, {participants} participants, {parameters.together} values a number, prime of "
        f"{parameters.modulus_bits} bits: {size / 1e6:.1f} MB, {size / (4 * VALUES):.2f} x fp32; encrypt "
        f"{encrypting:.2f} s, add {adding:.3f} s, check and decrypt {opening:.2f} s; error of the mean {error:.1e} of "
        "the clip"
    )
    if error > 1e-4:
        raise RuntimeError("the benchmark's sum is off by more than 1e-4 of the clip")


def plainly(updates: list[torch.Tensor]) -> None:
    import tenseal

    context = tenseal.context(tenseal.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 40, 60])
    context.global_scale = 2.0**40
    given = [update.tolist() for update in updates]
    slots_each = 4096

    def encrypt(values: list[float]) -> list[bytes]:
        pieces = range(0, VALUES, slots_each)
        return [tenseal.ckks_vector(context, values[at : at + slots_each]).serialize() for at in pieces]

    encrypting, sent = least(lambda: encrypt(given[0]))
    loaded = [tenseal.ckks_vector_from(context, piece) for piece in sent]
    others = [[tenseal.ckks_vector_from(context, piece) for piece in encrypt(values)] for values in given[1:]]
    adding, _ = least(lambda: [one + other for one, other in zip(loaded, others[0], strict=True)])
    for other in others:
        loaded = [one + more for one, more in zip(loaded, other, strict=True)]
    opening, opened = least(lambda: [number for piece in loaded for number in piece.decrypt()])
    mean = torch.stack(updates).double().mean(0).numpy()
    error = np.abs(np.array(opened) / SUMMED - mean).max() / CLIP
    size = sum(map(len, sent))
    print(
        f"  TenSEAL plainly, degree 8192, primes 60, 40, 60: {size / 1e6:.1f} MB, {size / (4 * VALUES):.2f} x fp32; "
        f"encrypt {encrypting:.2f} s, add {adding:.3f} s, decrypt {opening:.2f} s; error of the mean {error:.1e} of "
        "the clip, given out as it is"
    )


def main() -> None:
    torch.manual_seed(0)
    updates = [torch.empty(VALUES).uniform_(-CLIP, CLIP) for _ in range(SUMMED)]
    print(f"encrypted sum of {VALUES:,} values")
    plainly(updates)
    for participants in PARTICIPANTS:
        ours(participants, updates)


if __name__ == "__main__":
    main()
