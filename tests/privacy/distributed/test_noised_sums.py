"""What participants put into words sums up to that of their clipped updates, within rounding and noise."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from foedus.core.entropy import Entropy
from foedus.core.errors import ConfigError, ParticipantError, SecureSumError
from foedus.core.seeds import SeedKey
from foedus.federation.collect import RunningSum
from foedus.federation.messages import LocalUpdate, Trees
from foedus.privacy.distributed.draws import Distribution
from foedus.privacy.distributed.grid import DEVIATIONS, NoisedGrid
from foedus.privacy.distributed.packing import DistributedNoise, NoisedPacking, length_of, lifted
from foedus.privacy.distributed.rotation import padded_length, spread
from foedus.privacy.secure_sum.masks import add_vector_in_place
from foedus.privacy.secure_sum.terms import Rules

LIKE: Trees = {
    "delta": {"b": torch.zeros(70, 40), "a": torch.zeros(131, dtype=torch.bfloat16)},
    "control": {"a": torch.zeros(131)},
}
LENGTH = 70 * 40 + 131 + 131
CLIP = 0.7


def packing(
    noise: float = 1e-3, bits: int = 16, distribution: Distribution = "discrete_gaussian", cohort: int = 4
) -> NoisedPacking:
    grid = NoisedGrid(noise, cohort, cohort, bits, padded_length(LENGTH))
    return NoisedPacking(DistributedNoise(grid, distribution, CLIP, cohort, 1, 5, SeedKey.from_seed(9)), LIKE)


def update(seed: int, norm: float = CLIP) -> LocalUpdate:
    generator = torch.Generator().manual_seed(seed)
    trees = {
        part: {name: torch.randn(tensor.shape, generator=generator) for name, tensor in tree.items()}
        for part, tree in LIKE.items()
    }
    length = math.sqrt(sum(float(t.double().square().sum()) for tree in trees.values() for t in tree.values()))
    factor = norm * (1 - 1e-6) / length
    return LocalUpdate({}, 1.0, {part: {name: t * factor for name, t in tree.items()} for part, tree in trees.items()})


def entropy(*names: str | int) -> Entropy:
    return Entropy.reproducible_from(SeedKey.from_seed(2)).child(*names)


def summed(packed: NoisedPacking, updates: Sequence[LocalUpdate], round_index: int = 0) -> RunningSum:
    vector = packed.layout.zeros()
    for number, each in enumerate(updates):
        words = packed.layout.zeros()
        packed.write(each, round_index, words, entropy("noise", number, round_index))
        add_vector_in_place(vector, words)
    total = RunningSum(averaged_like={}, summed_like=LIKE)
    packed.read(vector, len(updates), round_index, total)
    return total


def difference(total: RunningSum, updates: Sequence[LocalUpdate]) -> torch.Tensor:
    pieces = [
        total.summed[part][name].double() - sum(each.summed[part][name].double() for each in updates)
        for part, tree in LIKE.items()
        for name in tree
    ]
    return torch.cat([piece.reshape(-1) for piece in pieces])


@pytest.mark.parametrize("bits", [8, 12, 14, 16])
@pytest.mark.parametrize("distribution", ["discrete_gaussian", "skellam"])
def test_a_sum_holds_the_updates_with_noise_and_rounding_of_the_planned_size(
    bits: int, distribution: Distribution
) -> None:
    packed = packing(0.5, bits, distribution)
    updates = [update(seed) for seed in range(4)]
    error = difference(summed(packed, updates), updates)
    grid = packed.noise.grid
    # rounding adds a quarter of a squared step at most, a sixth on average
    noise = 4 * grid.stddev**2 * (grid.step * CLIP) ** 2
    rounding = 4 * (grid.step * CLIP) ** 2
    measured = float(error.square().mean())
    assert noise * 0.9 <= measured <= (noise + rounding / 4) * 1.1  # 5 standard deviations of 3062 squares: 13 %
    assert noise == pytest.approx((0.5 * CLIP) ** 2)


def test_without_noise_to_speak_of_only_rounding_is_left() -> None:
    packed = packing(1e-4)
    updates = [update(seed) for seed in range(4)]
    total = summed(packed, updates)
    step = packed.noise.grid.step * CLIP
    assert float(difference(total, updates).square().mean()) < 4 * (0.25 + packed.noise.grid.stddev**2) * step**2 * 1.2
    assert total.reports == 4
    assert total.weight == 4.0
    assert total.metrics == {}
    assert total.counts == {}


def test_sums_come_in_the_shapes_and_types_of_sums() -> None:
    total = summed(packing(), [update(0)] * 4)
    assert {part: set(tree) for part, tree in total.summed.items()} == {"delta": {"a", "b"}, "control": {"a"}}
    assert total.summed["delta"]["b"].shape == (70, 40)
    assert total.summed["delta"]["a"].dtype == torch.float32


def test_nothing_but_the_vector_travels() -> None:
    packed = packing()
    assert packed.layout.counts == ((16, packed.noise.grid.dimension),)
    assert packing(0.5, 8).layout.counts == ((8, packed.noise.grid.dimension),)


@pytest.mark.parametrize(
    "wrong",
    [
        replace(update(0), metrics={"loss": 1.0}),
        replace(update(0), counts={"steps": 3}),
        replace(update(0), weight=2.0),
        replace(update(0), summed={"delta": update(0).summed["delta"]}),
        update(0, norm=1.2 * CLIP),
        update(0, norm=100 * CLIP),
    ],
)
def test_what_noise_does_not_cover_is_not_sent(wrong: LocalUpdate) -> None:
    packed = packing(0.5)
    with pytest.raises(ParticipantError):
        packed.write(wrong, 0, packed.layout.zeros(), entropy("noise"))


def test_every_coordinate_gets_noise_also_of_an_update_of_zeros() -> None:
    packed = packing(2.0)
    zeros = replace(
        update(0), summed={p: {n: torch.zeros_like(t) for n, t in tree.items()} for p, tree in LIKE.items()}
    )
    words = packed.layout.zeros()
    packed.write(zeros, 0, words, Entropy.secret())
    values = lifted(words[0], 16).astype(np.float64)
    assert values.std() == pytest.approx(packed.noise.grid.stddev, rel=0.08)  # 6 standard deviations
    assert abs(values.mean()) < 6 * packed.noise.grid.stddev / math.sqrt(len(values))
    again = packed.layout.zeros()
    packed.write(zeros, 0, again, Entropy.secret())
    assert not np.array_equal(words[0], again[0])


def test_each_round_has_its_own_rotation_and_the_coordinator_the_same() -> None:
    packed, updates = packing(1e-4), [update(seed) for seed in range(4)]
    for round_index in (0, 3):
        assert float(difference(summed(packed, updates, round_index), updates).abs().max()) < 1e-3
    first, second = packed.layout.zeros(), packed.layout.zeros()
    packed.write(updates[0], 0, first, entropy("same"))
    packed.write(updates[0], 1, second, entropy("same"))
    assert not np.array_equal(first[0], second[0])


def test_participants_sign_everything_that_makes_the_noise() -> None:
    base = packing()
    grid, noise = base.noise.grid, base.noise
    others: Mapping[str, NoisedPacking] = {
        "noise": packing(2e-3),
        "bits": packing(bits=15),
        "distribution": packing(distribution="skellam"),
        "honest": NoisedPacking(replace(noise, grid=replace(grid, honest=3)), LIKE),
        "clip": NoisedPacking(replace(noise, clip_norm=0.8), LIKE),
        "survivors": NoisedPacking(replace(noise, survivors=3), LIKE),
        "separation": NoisedPacking(replace(noise, separation=2), LIKE),
        "rounds": NoisedPacking(replace(noise, rounds=6), LIKE),
        "rotations": NoisedPacking(replace(noise, rotations=SeedKey.from_seed(8)), LIKE),
        "names": NoisedPacking(noise, {"delta": LIKE["delta"], "other": LIKE["control"]}),
    }
    digests = {base.settings, *(packed.settings for packed in others.values())}
    assert len(digests) == 1 + len(others)


def test_a_participant_answers_once_in_each_turn_and_never_after_the_last_round() -> None:
    packed = packing()
    turns = NoisedPacking(replace(packed.noise, separation=2), LIKE)
    assert [turns.answered_once(index) for index in range(5)] == [
        ("turn 0",),
        ("turn 0",),
        ("turn 1",),
        ("turn 1",),
        ("turn 2",),
    ]
    with pytest.raises(SecureSumError, match="reckoned for 5"):
        packed.answered_once(5)


def test_rules_that_let_a_smaller_sum_be_opened_are_refused() -> None:
    noise = packing(cohort=4).noise
    noise.check_rules(Rules(min_cohort=4))
    noise.check_rules(Rules(min_cohort=3, threshold=4))
    for rules in (Rules(min_cohort=3), Rules(min_cohort=2, threshold=3), Rules()):
        with pytest.raises(SecureSumError, match="the noise is that of 4"):
            noise.check_rules(rules)


def test_updates_of_another_length_are_refused() -> None:
    with pytest.raises(SecureSumError, match="another length"):
        NoisedPacking(packing().noise, {"delta": {"a": torch.zeros(5)}})
    assert length_of(LIKE) == LENGTH


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_sums_wrap_around_as_seldom_as_is_said(bits: int) -> None:
    """The largest sum that there may be, of equal updates at the clipping norm, and all of the noise."""
    size = 1 << 14
    grid = NoisedGrid(1.0, 20, 20, bits, size)
    generator = torch.Generator().manual_seed(3)
    signal = 20 / grid.step * math.sqrt(spread(size) / size)
    values = torch.randn(400_000, generator=generator) * math.sqrt(signal**2 + 20 * (grid.stddev**2 + 0.25))
    outside = float((values.abs() >= 1 << (bits - 1)).double().mean())
    assert grid.wrap_probability == pytest.approx(6.33e-5, rel=1e-3)
    assert outside == pytest.approx(grid.wrap_probability, abs=5 * math.sqrt(grid.wrap_probability / 400_000))
    assert DEVIATIONS == 4


def test_more_bits_make_a_finer_grid_and_shorter_uploads() -> None:
    grids = [NoisedGrid(1.0, 30, 30, bits, 1 << 18) for bits in range(8, 17)]
    assert all(later.step < earlier.step for earlier, later in itertools.pairwise(grids))
    assert all(later.inflation < earlier.inflation for earlier, later in itertools.pairwise(grids))
    assert grids[-1].inflation < 1.001


@pytest.mark.parametrize(("honest", "cohort", "bits"), [(0, 5, 16), (6, 5, 16), (5, 5, 7), (5, 5, 17), (5, 5000, 8)])
def test_a_grid_that_cannot_be_is_refused(honest: int, cohort: int, bits: int) -> None:
    with pytest.raises(ConfigError):
        NoisedGrid(1.0, cohort, honest, bits, 1024)
