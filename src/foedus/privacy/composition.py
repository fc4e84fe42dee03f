"""What charges cost together: the one file that knows dp-accounting.

Plain Gaussians compose to one Gaussian, whose ε has a closed form (Balle and Wang 2018, arXiv:1805.06530).
Anything sampled is composed by privacy-loss distributions (Koskela et al. 2020, arXiv:1906.03049) with
connect-the-dots discretisation (Doroshenko et al. 2022, arXiv:2207.04380). With noise that participants add, all of it
goes by Rényi divergence (privacy/renyi.py). Every estimate is pessimistic: the true
ε is at most the figure returned. Neighbours differ by adding or removing one unit, without exception.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np

from foedus.core.errors import ConfigError, MissingExtra
from foedus.privacy import renyi
from foedus.privacy.events import (
    Charge,
    CorrelatedGaussian,
    Event,
    Gaussian,
    PoissonGaussian,
    TruncatedPoissonGaussian,
    merged,
)

# How far above the true ε a figure may lie, relatively, by the choice of the grid; measured errors are a third of it.
PRECISION = 1e-3
# Under this noise multiplier sampling is not counted as protection: ε is in the hundreds either way, and the
# loss of one step would take gigabytes to tabulate.
LEAST_AMPLIFIED_MULTIPLIER = 0.1
# Points in the distribution of a loss; where they bind, ε is far from useful, or rests on steps of little noise.
MOST_POINTS = 2**18
MOST_POINTS_OF_ONE_STEP = 2**19


def library() -> ModuleType:
    """Return the dp_accounting package.

    Raises: MissingExtra if it is not installed.
    """
    try:
        import dp_accounting
    except ImportError as error:
        raise MissingExtra(
            "counting what differential privacy costs needs the package dp-accounting; "
            "install it with: pip install 'foedus[privacy]'"
        ) from error
    return dp_accounting  # type: ignore[no-any-return]


def accountant() -> str:
    """Return how ε was computed where the coordinator, or a participant by itself, adds the noise.

    Raises: MissingExtra.
    """
    from importlib.metadata import version

    library()
    return f"privacy-loss distributions (dp-accounting {version('dp-accounting')}), adding or removing one unit"


def epsilons(fixed: Sequence[Charge], growing: Event, counts: Sequence[int], delta: float) -> list[float]:
    """Return the ε at `delta` of the fixed charges and so many uses of `growing`, for each of the counts.

    All figures share one discretisation, fine enough for the largest count.
    Raises: ConfigError if delta is not in (0, 1); MissingExtra.
    """
    check_delta(delta)
    if any(renyi.is_distributed(event) for event in (growing, *(event for event, _ in fixed))):
        return renyi.epsilons(fixed, growing, counts, delta)
    library()
    most = max(counts, default=0)
    interval = _interval(merged([*fixed, (growing, most)]), delta)
    if interval is None:
        return [_gaussian_epsilon(_precision([*fixed, (growing, count)]), delta) for count in counts]
    held = {event: count for event, count in merged(fixed) if event != growing}
    already = sum(count for event, count in fixed if event == growing)
    base = _composed(held, interval) if held else None
    figures = []
    for count in counts:
        total = already + count
        if total == 0 and base is None:
            figures.append(0.0)
            continue
        composed = base
        if total:
            uses = _uses(growing, total, interval)
            composed = uses if composed is None else composed.compose(uses)
        figures.append(_epsilon_at(composed, delta, _ratio_if_all_take_part([*held.items(), (growing, total)])))
    return figures


@lru_cache(maxsize=256)
def epsilon_of(charges: tuple[Charge, ...], delta: float) -> float:
    """Return the ε at `delta` of merged charges."""
    if not charges:
        check_delta(delta)
        return 0.0
    *fixed, (event, count) = charges
    return epsilons(fixed, event, [count], delta)[0]


def check_delta(delta: float) -> None:
    """Raise ConfigError if delta is not a probability strictly between 0 and 1."""
    if not 0 < delta < 1:
        raise ConfigError(f"counting what privacy costs: delta is {delta}; it lies strictly between 0 and 1")


def _interval(charges: Sequence[Charge], delta: float) -> float | None:
    """Return the spacing of losses that keeps the error under PRECISION, or None if all charges are Gaussian.

    T steps on a grid of spacing h add at most T·h²/4 to the variance of the total loss, which for a Gaussian of
    sensitivity-to-noise ratio μ is μ². So h is right when T·h²/4 <= PRECISION·μ², where μ is that of the Gaussian
    of the same ε. A coarse grid overestimates ε, hence μ; each pass brings both nearer.
    """
    sampled = sum(count for event, count in charges if _plain_multiplier(event) is None)
    if not sampled:
        return None
    sigma_for: Any = library().gaussian_mechanism.get_sigma_gaussian
    everyone = _ratio_if_all_take_part(charges)
    of_one_step = max(_widest_loss(event) for event, _ in charges) / MOST_POINTS_OF_ONE_STEP
    interval = max(0.01, 2 * _widest_total(everyone) / MOST_POINTS)
    while True:
        figure = _epsilon_at(_composed(dict(charges), interval), delta, everyone)
        if figure == 0:  # too much already, and no finer grid gives less
            return interval
        ratio = min(1 / sigma_for(figure, delta), everyone)
        finest = max(_widest_total(ratio) / MOST_POINTS, of_one_step)
        wanted = max(2 * ratio * math.sqrt(PRECISION / sampled), finest)
        if wanted >= 0.99 * interval:
            return interval
        interval = wanted


def _widest_total(ratio: float) -> float:
    """Return the span of losses that a Gaussian of this sensitivity-to-noise ratio has but for a negligible mass."""
    return ratio**2 + 20 * ratio


def _widest_loss(event: Event) -> float:
    """Return the largest loss of one use that is tabulated; more has a negligible mass."""
    match event:
        case PoissonGaussian(multiplier, rate):
            pass
        case TruncatedPoissonGaussian(multiplier, rate):
            multiplier /= 2
        case _:
            return 0.0
    largest = 0.5 / multiplier**2 + 10 / multiplier  # if it is known that the unit took part
    return max(largest + math.log(rate), rate) if largest > 100 else math.log1p(rate * math.expm1(largest))


def _composed(counts: Mapping[Event, int], interval: float) -> Any:
    """Return the loss distribution of all charges together."""
    plain = {event: count for event, count in counts.items() if _plain_multiplier(event) is not None}
    parts = [_uses(event, count, interval) for event, count in counts.items() if event not in plain]
    if plain:
        parts.append(_single(Gaussian(_precision(list(plain.items())) ** -0.5), interval))
    total = parts[0]
    for part in parts[1:]:
        total = total.compose(part)
    return total


def _uses(event: Event, count: int, interval: float) -> Any:
    """Return the loss distribution of `count` uses of one event."""
    if (multiplier := _plain_multiplier(event)) is not None:
        return _single(Gaussian(multiplier / math.sqrt(count)), interval)
    single = _single(event, interval)
    return single if count == 1 else single.self_compose(count)


@lru_cache(maxsize=64)  # a federation composes as many as it has sites
def _single(event: Event, interval: float) -> Any:
    """Return the loss distribution of one use, pessimistic, for adding or removing one unit."""
    from dp_accounting.pld import privacy_loss_distribution as losses

    match event:
        case PoissonGaussian(noise_multiplier, rate):
            return losses.from_gaussian_mechanism(
                noise_multiplier, sampling_prob=rate, value_discretization_interval=interval
            )
        case TruncatedPoissonGaussian(noise_multiplier, rate, population, cap):
            return losses.from_truncated_subsampled_gaussian_mechanism(
                dataset_size=population,
                sampling_probability=rate,
                truncated_batch_size=cap,
                noise_multiplier=noise_multiplier,
                value_discretization_interval=interval,
            )
        case Gaussian(noise_multiplier) | CorrelatedGaussian(noise_multiplier):
            return losses.from_gaussian_mechanism(noise_multiplier, value_discretization_interval=interval)
    raise AssertionError(f"{event} goes by Rényi divergence")


def _epsilon_at(composed: Any, delta: float, everyone: float) -> float:
    """Return the ε of a loss distribution, at most that of the Gaussian of the ratio `everyone`.

    Losses of many hundreds overflow in the library, which then says infinity, or warns.
    """
    with np.errstate(over="ignore"):
        figure = float(composed.get_epsilon_for_delta(delta))
    return max(0.0, min(figure, _gaussian_epsilon(everyone**2, delta)))


def _plain_multiplier(event: Event) -> float | None:
    """Return the multiplier of the Gaussian that stands for the event, or None if sampling protects too."""
    match event:
        case Gaussian(multiplier) | CorrelatedGaussian(multiplier):
            return multiplier
        case PoissonGaussian(multiplier, rate):
            return multiplier if rate == 1 or multiplier < LEAST_AMPLIFIED_MULTIPLIER else None
        case TruncatedPoissonGaussian(multiplier):
            # adding one unit may displace another: a change of norm 2
            return multiplier / 2 if multiplier < LEAST_AMPLIFIED_MULTIPLIER else None
    raise AssertionError(f"{event} goes by Rényi divergence")


def _precision(charges: Sequence[Charge]) -> float:
    """Return the sum of multiplier^-2 over charges that are all plain: that of the one Gaussian they make."""
    total = 0.0
    for event, count in charges:
        multiplier = _plain_multiplier(event)
        assert multiplier is not None or not count
        total += count / multiplier**2 if multiplier is not None else 0.0
    return total


def _ratio_if_all_take_part(charges: Sequence[Charge]) -> float:
    """Return the sensitivity-to-noise ratio of the Gaussian that costs more than the charges do."""
    worst = [
        (event.noise_multiplier / (2 if isinstance(event, TruncatedPoissonGaussian) else 1), count)
        for event, count in charges
    ]
    return math.sqrt(sum(count / multiplier**2 for multiplier, count in worst))


def _gaussian_epsilon(precision: float, delta: float) -> float:
    if precision == 0:
        return 0.0
    return float(library().gaussian_mechanism.get_epsilon_gaussian(precision**-0.5, delta))
