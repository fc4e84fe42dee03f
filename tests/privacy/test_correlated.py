import numpy as np
import pytest
import torch

from foedus.core.seeds import SeedKey
from foedus.core.trees import ParamTree
from foedus.privacy.correlated import NoiseMemory, next_noise
from foedus.privacy.factors import BandedSquareRoot, BufferedToeplitz

ROUNDS = 40
FACTORS: list[BandedSquareRoot | BufferedToeplitz] = [
    BandedSquareRoot(1),
    BandedSquareRoot(2),
    BandedSquareRoot(7),
    BandedSquareRoot(64),
    BufferedToeplitz((0.5,), (0.9,)),
    BufferedToeplitz((0.3, 0.2, 0.1), (0.4, 0.95, 1.0)),
]


def streamed(factor: BandedSquareRoot | BufferedToeplitz, independent: list[ParamTree]) -> list[ParamTree]:
    memory: NoiseMemory = ()
    noises = []
    for tree in independent:
        noise, memory = next_noise(factor, tree, memory)
        noises.append(noise)
    return noises


def draws(dtype: torch.dtype) -> list[ParamTree]:
    generator = SeedKey.from_seed(3).torch()
    return [
        {"a": torch.randn(2, 3, generator=generator).to(dtype), "b": torch.randn(5, generator=generator).to(dtype)}
        for _ in range(ROUNDS)
    ]


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_streamed_noise_solves_the_triangular_system(
    factor: BandedSquareRoot | BufferedToeplitz, dtype: torch.dtype, tolerance: float
) -> None:
    column = factor.column(ROUNDS)
    square = np.array([[column[i - j] if i >= j else 0.0 for j in range(ROUNDS)] for i in range(ROUNDS)])
    independent = draws(dtype)
    noises = streamed(factor, independent)
    for name in ("a", "b"):
        stacked = np.stack([tree[name].flatten().double().numpy() for tree in independent])
        expected = np.linalg.solve(square, stacked)
        found = np.stack([tree[name].flatten().double().numpy() for tree in noises])
        np.testing.assert_allclose(found, expected, atol=tolerance)


@pytest.mark.parametrize(("factor", "trees"), [(BandedSquareRoot(1), 0), (BandedSquareRoot(7), 6), (FACTORS[-1], 3)])
def test_memory_is_bounded(factor: BandedSquareRoot | BufferedToeplitz, trees: int) -> None:
    memory: NoiseMemory = ()
    for tree in draws(torch.float32):
        _, memory = next_noise(factor, tree, memory)
    assert len(memory) == trees


def test_buffers_are_kept_in_float64() -> None:
    noise, memory = next_noise(FACTORS[-1], {"a": torch.ones(2)}, ())
    assert noise["a"].dtype == torch.float64
    assert all(buffer["a"].dtype == torch.float64 for buffer in memory)


@pytest.mark.parametrize("factor", FACTORS)
def test_what_was_returned_is_never_changed(factor: BandedSquareRoot | BufferedToeplitz) -> None:
    first, memory = next_noise(factor, {"a": torch.ones(2)}, ())
    kept = [buffer["a"].clone() for buffer in memory]
    next_noise(factor, {"a": torch.full((2,), 5.0)}, memory)
    assert torch.equal(first["a"], torch.ones_like(first["a"]))
    assert all(torch.equal(buffer["a"], copy) for buffer, copy in zip(memory, kept, strict=True))
