"""What an onlooker sees of a participant, from the first to the last line of a round: an audit by repetition.

One participant sends the longest update that it may, the others nothing. Over many runs of a round the released
number must be distributed as the accountant supposes: N(0, z²) with the participant absent, and for the present one
the mixture of N(0, z²) and N(1, z²) by the sampling rate, in units of clip / expected cohort. Then its ε is the
accountant's. Seeds are fixed; of other seeds 1 in 1,000 would fail.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from foedus.core.entropy import Entropy
from foedus.core.seeds import SeedKey
from foedus.engines.in_process import InProcessEngine
from foedus.federation.protocols import ServerState
from foedus.federation.round import Federation, RoundPlan, play_round
from foedus.privacy.accounting import epsilon
from foedus.privacy.clipping_rules import FixedClip
from foedus.privacy.participant_level import cohorts, rounds_under_privacy, with_participant_privacy
from foedus.privacy.plan import CohortPlan
from foedus.strategies.fedavg import fedavg
from strategies.quadratics import QuadraticTask, point

RUNS = 3000
NOISE, RATE, CLIP = 0.6, 0.4, 0.25
PLAN = CohortPlan(NOISE, FixedClip(CLIP), delta=1e-2, population=4, rate=RATE)


def releases(present: bool) -> Tensor:
    """Return what a round releases in each of many runs, in units of one participant's share."""
    seed = Entropy.reproducible_from(SeedKey.from_seed(7).child("present" if present else "absent"))
    private = with_participant_privacy(fedavg(), PLAN, seed)
    tasks = {name: QuadraticTask(1.0, 0.0, [0.1]) for name in "abc"}
    tasks["d"] = QuadraticTask(1.0, 1e6 if present else 0.0, [0.1])
    run = Federation(
        private,
        InProcessEngine(private.local, tasks),
        cohorts(PLAN, seed, SeedKey.from_seed(0)),
        rounds_under_privacy(RoundPlan(RUNS + 1, evaluate_every=RUNS + 1)),
        SeedKey.from_seed(0),
        lambda sums: {},
    )
    seen = []
    for index in range(RUNS):
        state, report = play_round(run, ServerState(index, point(0.0)))
        assert report.stood
        seen.append(float(state.params["x"]))
    return torch.tensor(seen, dtype=torch.float64) * PLAN.expected_cohort / CLIP


def mixture(rate: float, noise: float) -> Callable[[Tensor], Tensor]:
    return lambda x: (1 - rate) * torch.special.ndtr(x / noise) + rate * torch.special.ndtr((x - 1) / noise)


def fits(values: Tensor, distribution: Callable[[Tensor], Tensor]) -> bool:
    """Return whether Kolmogorov and Smirnov's statistic is below its 99.9 % point."""
    ordered = values.sort().values
    ranks = torch.arange(1, len(ordered) + 1, dtype=torch.float64) / len(ordered)
    gap = float((ranks - distribution(ordered)).abs().max())
    return gap * math.sqrt(len(ordered)) < 1.95


@pytest.fixture(scope="module")
def with_it() -> Tensor:
    return releases(present=True)


@pytest.fixture(scope="module")
def without_it() -> Tensor:
    return releases(present=False)


def test_a_participants_release_is_the_mixture_that_is_accounted_for(with_it: Tensor, without_it: Tensor) -> None:
    assert fits(with_it, mixture(RATE, NOISE))
    assert fits(without_it, mixture(0.0, NOISE))


@pytest.mark.parametrize(
    ("rate", "noise"), [(RATE, NOISE * 2 / 3), (RATE, NOISE * 3 / 2), (RATE * 2 / 3, NOISE), (1.0, NOISE), (0.0, NOISE)]
)
def test_the_same_test_rejects_other_noise_and_other_sampling(with_it: Tensor, rate: float, noise: float) -> None:
    assert not fits(with_it, mixture(rate, noise))


def excess(with_it: Tensor, without_it: Tensor, allowed: float) -> float:
    """Return the most, over thresholds, of P(guess | present) - allowed P(guess | absent) - δ, in standard errors."""
    worst = -math.inf
    for threshold in torch.linspace(-2, 3, 51):
        hit, alarm = float((with_it > threshold).double().mean()), float((without_it > threshold).double().mean())
        alarm = max(alarm, 1 / RUNS)
        error = math.sqrt(hit * (1 - hit) / RUNS + allowed**2 * alarm * (1 - alarm) / RUNS)
        worst = max(worst, (hit - allowed * alarm - PLAN.delta) / error) if error > 0 else worst
    return worst


def test_no_guess_at_who_took_part_is_better_than_epsilon_allows(with_it: Tensor, without_it: Tensor) -> None:
    claimed = epsilon([(PLAN.event(1), 1)], PLAN.delta)
    assert excess(with_it, without_it, math.exp(claimed)) < 4
    assert excess(with_it, without_it, math.exp(claimed / 2)) > 4  # so the guesses are not blind
