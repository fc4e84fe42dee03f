"""Noise that participants add themselves, from the configuration: the plan, what each adds, the promise in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from foedus.config import sections
from foedus.config.secure_sums import build_rules
from foedus.core.errors import ConfigError, SecureSumError
from foedus.core.seeds import SeedKey
from foedus.federation.messages import Trees
from foedus.privacy import accounting
from foedus.privacy.clipping_rules import FixedClip
from foedus.privacy.distributed.packing import DistributedNoise, NoisedPacking
from foedus.privacy.plan import DistributedPlan, charges
from foedus.privacy.secure_sum.graph import shape, tolerated_colluders
from foedus.privacy.secure_sum.packing import Pack, Packing
from foedus.privacy.secure_sum.terms import Rules

UPLOADED = "numbers in an upload"  # among the facts of a promise: the accountant needs it


def distributed_plans(
    config: sections.RunConfig,
    mechanism: sections.Distributed,
    clip: FixedClip,
    *,
    population: int,
    delta: float,
    length: int,
) -> Callable[[float], DistributedPlan]:
    """Return the plan of any noise multiplier. length: numbers that an upload has.

    The noise is reckoned for the fewest who may be in a sum, less those who collude; how few that is follows from the
    rules that participants insist on, so that the two cannot disagree.
    Raises: ConfigError if no round could stand, or more shall be allowed to collude than masks are safe against.
    """
    assert isinstance(config.secure_sum, sections.Masks), "problems() refuses others"
    rules, cohort = build_rules(config.secure_sum), most_in_a_sum(config.rounds.cohort, population)
    _check_rules(rules, cohort, mechanism.colluders)
    separation = _separation(config.rounds)

    def plan_of(noise_multiplier: float) -> DistributedPlan:
        return DistributedPlan(
            noise_multiplier,
            clip,
            delta,
            population,
            cohort=cohort,
            survivors=rules.least_survivors,
            colluders=mechanism.colluders,
            separation=separation,
            distribution=mechanism.distribution,
            bits=mechanism.bits,
            length=length,
        )

    return plan_of


def check_spending(plan: DistributedPlan, rounds: int) -> DistributedPlan:
    """Return the plan.

    Raises: ConfigError if nothing bounds what it costs: the noise is less than half a step of the grid.
    """
    if not math.isfinite(accounting.epsilon(charges(plan, rounds), plan.delta)):
        raise ConfigError(
            f"privacy.noise_multiplier is {plan.noise_multiplier:g}: each participant's noise is "
            f"{plan.grid.stddev:.2g} steps of a grid of {plan.bits} bits, which hides nothing; use more noise or bits"
        )
    return plan


def most_in_a_sum(cohort: sections.Cohort, population: int) -> int:
    """Return how many participants a round's sum has at most."""
    match cohort:
        case sections.Fixed(size=size):
            return size
        case sections.Cyclic(separation=separation):
            return math.ceil(population / separation)
        case _:
            return population


def packing_of(plan: DistributedPlan, rounds: int, rotations: SeedKey, rules: Rules) -> Pack:
    """Return how participants put clipped updates and their noise into words.

    Raises: SecureSumError if the rules let a smaller sum be opened than the plan's noise is reckoned for.
    """
    noise = DistributedNoise(
        grid=plan.grid,
        distribution=plan.distribution,
        clip_norm=plan.clip.norm,
        survivors=plan.survivors,
        separation=plan.separation,
        rounds=rounds,
        rotations=rotations,
    )
    noise.check_rules(rules)

    def pack(averaged_like: Trees, summed_like: Trees) -> Packing:
        assert not averaged_like, "clipped uploads are summed"
        return NoisedPacking(noise, summed_like)

    return pack


def others_of(plan: DistributedPlan) -> str:
    """Return, for a sentence about who is kept out, the coordinator and those who may collude with it."""
    match plan.colluders:
        case 0:
            return "the coordinator included, but for other participants, who know their own noise"
        case 1:
            return "the coordinator and any one participant together included"
        case count:
            return f"the coordinator and any {count:,} participants together included"


def facts_of(plan: DistributedPlan, rounds: int) -> tuple[Mapping[str, str], Sequence[str]]:
    """Return the parameters of a promise, and what it does not cover."""
    name = "discrete Gaussian" if plan.distribution == "discrete_gaussian" else "Skellam"
    facts = {
        "mechanism": f"distributed: each participant adds {name} noise to its clipped upload, under masks",
        "participants": f"{plan.population:,}",
        "clip norm": f"{plan.clip.norm:g}",
        "noise multiplier": f"{plan.noise_multiplier:.3f}, of {plan.honest:,} participants' noise",
        "noise on a full sum": f"{plan.sum_multiplier:.3f} times the clip norm",
        "participants in a sum": f"{plan.survivors:,} to {plan.cohort:,}",
        "colluding participants": f"at most {plan.colluders:,}",
        "rounds of a participant": f"at most {plan.uses(rounds):,}",
        "bits of a coordinate": f"{plan.bits}",
        UPLOADED: f"{plan.length:,}",
    }
    limits = [
        "Who takes part in which round, and who vanishes, is seen by the coordinator and by all participants. That "
        "training fails or is slow because of somebody's rows is not hidden.",
        f"It counts on masks that hold, and on {plan.honest:,} participants in each sum whose noise nobody else "
        f"knows. If more than {plan.colluders:,} tell theirs or leave it out, epsilon is larger.",
        "A participant that does not clip its upload, or adds no noise, is hidden less, or not at all.",
    ]
    return facts, limits


def _check_rules(rules: Rules, cohort: int, colluders: int) -> None:
    try:
        shape(cohort, rules)
        sizes = range(rules.least_survivors, cohort + 1)
        size, tolerated = min(((size, tolerated_colluders(size, rules)) for size in sizes), key=lambda found: found[1])
    except SecureSumError as error:
        raise ConfigError(f"secure_sum: with {cohort} participants in a round no sum would stand: {error}") from error
    if tolerated < colluders:
        raise ConfigError(
            f"privacy.mechanism.colluders is {colluders}, but with {size} participants in a sum masks are safe against "
            f"{tolerated}; use at most that, or raise secure_sum.threshold"
        )


def _separation(rounds: sections.Rounds) -> int:
    return min(rounds.cohort.separation, rounds.count) if isinstance(rounds.cohort, sections.Cyclic) else 1
