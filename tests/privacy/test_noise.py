from __future__ import annotations

import math

import pytest
import torch

from foedus.core import trees
from foedus.core.entropy import Entropy
from foedus.core.seeds import SeedKey
from foedus.privacy.noise import _CHUNK, add_gaussian, add_noise, grid


def fixed(*names: str | int) -> Entropy:
    return Entropy.reproducible_from(SeedKey.from_seed(2).child(*names))


def zeros(*sizes: int, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    return {f"t{i}": torch.zeros(size, dtype=dtype) for i, size in enumerate(sizes)}


def has_stddev(values: torch.Tensor, stddev: float) -> bool:
    """Return whether values fit N(0, stddev^2): mean and variance within 3.29 standard errors, a 0.2 % false alarm."""
    count = values.numel()
    return abs(float(values.double().mean())) < 3.29 * stddev / math.sqrt(count) and abs(
        float(values.double().square().mean()) / stddev**2 - 1
    ) < 3.29 * math.sqrt(2 / count)


@pytest.mark.parametrize("stddev", [1e-6, 0.3, 40.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zeros_get_noise_of_the_stated_scale_and_of_no_other(stddev: float, dtype: torch.dtype) -> None:
    noise = add_gaussian(zeros(100_000, dtype=dtype), stddev, fixed("scale"))["t0"]
    assert noise.dtype == dtype
    assert has_stddev(noise, stddev)
    assert not has_stddev(noise, stddev * 2 / 3)
    assert not has_stddev(noise, stddev * 3 / 2)


def test_every_coordinate_of_every_tensor_gets_noise_of_its_own() -> None:
    stream = fixed("tensors")
    total = zeros(50_000, 50_000)
    steps = [add_gaussian(total, 1.0, stream), add_gaussian(total, 1.0, stream.child("a"))]
    steps.append(add_gaussian(total, 1.0, stream))
    drawn = torch.stack([tensor.double() for step in steps for tensor in step.values()])
    assert bool((drawn != 0).float().mean(1).gt(0.999).all())  # the grid's 0 is hit by 4 in 10,000
    # fifteen pairs: 4 standard errors keep the false-alarm rate at 0.1 % for all together
    assert float((torch.corrcoef(drawn) - torch.eye(6)).abs().max()) < 4.0 / math.sqrt(50_000)


def test_noise_is_added_to_the_sum_and_the_argument_stays_as_it_was() -> None:
    total = {"w": torch.full((7, 11), 5.0), "b": torch.tensor(-2.0)}
    kept = trees.clone(total)
    noised = add_gaussian(total, 1e-3, fixed("sum"))
    assert all(torch.equal(total[name], kept[name]) for name in total)
    assert trees.mismatch(noised, total) is None
    assert float(trees.norm(trees.subtract(noised, total))) == pytest.approx(1e-3 * math.sqrt(78), rel=0.3)


def test_noise_of_scale_0_is_none() -> None:
    total = {"w": torch.tensor([math.pi])}
    assert torch.equal(add_gaussian(total, 0.0, fixed())["w"], total["w"])


@pytest.mark.parametrize("stddev", [-1.0, math.nan, math.inf])
def test_a_scale_that_is_none_is_refused(stddev: float) -> None:
    with pytest.raises(ValueError, match=f"standard deviation {stddev}"):
        add_gaussian(zeros(1), stddev, fixed())


def test_half_precision_sums_are_released_in_float32() -> None:
    assert add_gaussian(zeros(3, dtype=torch.bfloat16), 1.0, fixed())["t0"].dtype == torch.float32


@pytest.mark.parametrize("stddev", [1e-6, 0.3, 1.0, 40.0])
def test_what_is_released_lies_on_a_grid_that_does_not_depend_on_the_sum(stddev: float) -> None:
    step = grid(stddev)
    assert stddev / 2048 < step <= stddev / 1024
    assert math.frexp(step)[0] == 0.5
    sums = {"w": torch.randn(10_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * stddev * 3}
    released = add_gaussian(sums, stddev, fixed("grid"))["w"] / step
    assert bool((released == released.round()).all())


def test_a_tensor_larger_than_a_chunk_gets_noise_everywhere() -> None:
    noise = add_gaussian(zeros(2 * _CHUNK + 3), 1.0, fixed("chunks"))["t0"]
    assert bool((noise != 0).float().mean() > 0.99)
    assert has_stddev(noise[_CHUNK:], 1.0)
    assert torch.equal(noise[:_CHUNK], add_gaussian(zeros(_CHUNK), 1.0, fixed("chunks"))["t0"])


def test_sums_that_are_not_contiguous_keep_their_places() -> None:
    total = {"w": torch.arange(12.0).view(3, 4).T}
    assert torch.allclose(add_gaussian(total, 1e-6, fixed())["w"], total["w"], atol=1e-4)


def test_the_order_of_names_does_not_change_the_noise() -> None:
    """A checkpoint gives a tree back in another order, and a resumed run must go on with the same bits."""
    total = {"b": torch.zeros(5), "a": torch.zeros(3)}
    forwards, backwards = add_gaussian(total, 1.0, fixed()), add_gaussian(dict(reversed(total.items())), 1.0, fixed())
    assert list(forwards) == ["b", "a"]
    assert all(torch.equal(forwards[name], backwards[name]) for name in total)


def test_noise_made_elsewhere_is_added_and_rounded_alike() -> None:
    total = {"w": torch.linspace(-2, 2, 1001)}
    expected = add_gaussian(total, 0.5, fixed())["w"]
    made = {"w": fixed().normal((1001,)).double() * 0.5}
    assert torch.equal(add_noise(total, made, 0.5)["w"], expected)
    assert torch.equal(add_noise(total, made, 0.0)["w"], total["w"])
    with pytest.raises(ValueError, match="standard deviation -1"):
        add_noise(total, made, -1.0)
