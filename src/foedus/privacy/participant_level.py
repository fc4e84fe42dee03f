"""Participant-level differential privacy at the coordinator, around any strategy.

Each participant clips all that it sends to one joint norm. The coordinator adds noise to the *sums*, divides
by the expected cohort, and hands the result to the strategy, whose own step is post-processing. Nothing
else of the round is released: no metrics, weights, counts, cohorts.
Source: McMahan et al. 2018, arXiv:1710.06963; Andrew et al. 2021, arXiv:1905.03871; Kairouz et al. 2021,
arXiv:2103.00039.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch

from foedus.core import trees
from foedus.core.entropy import Entropy
from foedus.core.errors import ConfigError, ParticipantError
from foedus.core.seeds import SeedKey
from foedus.core.trees import ParamTree
from foedus.federation.messages import Broadcast, LocalUpdate, Trees
from foedus.federation.protocols import Aggregate, Algorithm, LocalTask, Memory, Part, ServerState
from foedus.federation.round import RoundPlan
from foedus.federation.sampling import Cyclic, Everyone, Sampler, SecretPoisson, TruncatedPoisson
from foedus.privacy.clipping import clip
from foedus.privacy.clipping_rules import AdaptiveClip, FixedClip
from foedus.privacy.noise import add_gaussian, add_noise
from foedus.privacy.plan import CohortPlan, StreamPlan
from foedus.privacy.streams import PARTICIPATION, CorrelatedNoise, participated

CLIP_NORM = "privacy_clip_norm"  # the current norm, in the broadcast and in the coordinator's memory
WITHIN = "privacy_within_clip_norm"  # the part that tells whether an update was within it: 1/2 or -1/2

Noise = Callable[[ParamTree, float, int], ParamTree]  # from a sum, the clipping norm and the round to the noised sum


def with_participant_privacy(algorithm: Algorithm, plan: CohortPlan | StreamPlan, entropy: Entropy) -> Algorithm:
    """Return the strategy with every update clipped, and every sum noised before anything uses it.

    All parts of an update, averaged and summed ones, are clipped together and get the same noise. Weights
    are uniform. The strategy's step sees the expected cohort in place of the real one.
    entropy: where noise comes from; of a StreamPlan, the run's own noise key, which outlives a crash.
    Guarantee: with cohorts of `cohorts(plan, …)` and `rounds_under_privacy`, one use of `plan.event` a round (of a
        StreamPlan, one in all) towards whoever sees what the coordinator releases. The coordinator itself sees the
        clipped updates, and is trusted to add the noise.
    Raises: ConfigError if the strategy's updates hold what cannot be clipped and noised with the rest, or are
        compressed. ValueError, here or before the first noise is drawn, if it is to come from the entropy of the
        other kind of plan.
    """
    refuse_unfit(algorithm)
    adaptive = isinstance(plan.clip, AdaptiveClip)

    def local(task: LocalTask, broadcast: Broadcast, memory: Memory) -> tuple[LocalUpdate, Memory]:
        took_part = participated(memory, plan, broadcast.clock.round) if isinstance(plan, StreamPlan) else {}
        norm = float(broadcast.trees[CLIP_NORM]["value"]) if adaptive else _first_norm(plan)
        update, after = algorithm.local(task, _without(broadcast), _own(memory))
        refuse_undeclared(update, algorithm.parts)
        clipped, within = clip(update, norm)
        told = {WITHIN: _scalar(0.5 if within else -0.5)} if adaptive else {}
        return LocalUpdate({}, 1.0, {**clipped.averaged, **clipped.summed, **told}), {**after, **took_part}

    noised = _noise(plan, entropy)

    def step(state: ServerState, aggregate: Aggregate) -> tuple[ParamTree, Memory]:
        _check_population(plan, aggregate)
        norm = float(state.memory[CLIP_NORM]["value"]) if adaptive else _first_norm(plan)
        sums = _complete(aggregate.summed, algorithm.parts, state.params)
        released = _unflattened(noised(_flat(sums), norm, state.round))
        seen = _as_aggregate(usual_types(released, algorithm.parts, state.params), algorithm.parts, plan)
        params, memory = algorithm.step(replace(state, memory=_own(state.memory)), seen)
        if not isinstance(plan.clip, AdaptiveClip):
            return params, memory
        assert isinstance(plan, CohortPlan)
        within = {
            "value": aggregate.summed[WITHIN]["value"] if aggregate.summed else torch.zeros((), dtype=torch.float64)
        }
        count = add_gaussian(within, plan.count_stddev, entropy.once("clip", state.round))["value"]
        renewed = plan.clip.next_norm(norm, float(count), plan.expected_cohort)
        return params, {**memory, CLIP_NORM: _scalar(renewed)}

    def init(params: ParamTree) -> Memory:
        return {**algorithm.init(params), **({CLIP_NORM: _scalar(_first_norm(plan))} if adaptive else {})}

    def send(state: ServerState) -> Trees:
        sent = algorithm.broadcast(replace(state, memory=_own(state.memory)))
        return {**sent, CLIP_NORM: state.memory[CLIP_NORM]} if adaptive else sent

    parts = [replace(part, averaged=False) for part in algorithm.parts]
    within_part = [Part(WITHIN, averaged=False, scalar=True)] if adaptive else []
    return replace(
        algorithm, local=local, step=step, init=init, broadcast=send, parts=[*parts, *within_part], exact_sums=True
    )


def cohorts(plan: CohortPlan | StreamPlan, entropy: Entropy, key: SeedKey) -> Sampler:
    """Return the sampler whose cohorts the plan's event is about, so that the two cannot disagree.

    entropy: what secret cohorts are drawn from. key: what the public turns of a StreamPlan follow from.
    """
    if isinstance(plan, StreamPlan):
        least = max(plan.min_separation, math.ceil(plan.rounds / plan.max_participations))
        return Cyclic(max(least, plan.population // plan.cohort), key)
    if plan.rate == 1:
        return Everyone()
    if plan.cap is None or plan.cap >= plan.population:
        return SecretPoisson(plan.rate, entropy)
    return TruncatedPoisson(plan.rate, plan.cap, entropy)


def rounds_under_privacy(rounds: RoundPlan) -> RoundPlan:
    """Return the same rounds, in which an empty cohort releases noise and nobody learns who took part."""
    return replace(rounds, min_reports=0, hide_cohort=True)


def _noise(plan: CohortPlan | StreamPlan, entropy: Entropy) -> Noise:
    if isinstance(plan, StreamPlan):
        stream, stddev = CorrelatedNoise(plan, entropy), plan.independent_stddev

        def correlated(total: ParamTree, norm: float, index: int) -> ParamTree:
            return add_noise(total, stream.of_round(index, total), stddev)

        return correlated
    multiplier = plan.update_multiplier

    def independent(total: ParamTree, norm: float, index: int) -> ParamTree:
        if entropy.repeatable and not entropy.reproducible:
            raise ValueError(
                "independent noise was given a kept key, and a round that is played again would release another sum "
                "with the same noise, which reveals their difference; give Entropy.secret()"
            )
        return add_gaussian(total, multiplier * norm, entropy.once("noise", index))

    return independent


def _as_aggregate(released: Trees, parts: Sequence[Part], plan: CohortPlan | StreamPlan) -> Aggregate:
    """Return what the strategy's step may see: noised sums, and plain facts of the plan in place of the round's."""
    expected = plan.expected_cohort
    return Aggregate(
        averaged={part.name: trees.scale(released[part.name], 1 / expected) for part in parts if part.averaged},
        summed={part.name: released[part.name] for part in parts if not part.averaged},
        weight=expected,
        metrics={},
        reports=expected,
        population=plan.population,
    )


def _complete(summed: Trees, parts: Sequence[Part], params: ParamTree) -> Trees:
    """Return the sum of every part; zeros if nobody reported."""
    if summed:
        return {part.name: summed[part.name] for part in parts}
    return {part.name: trees.accumulator_for(part.template(params), exact=True) for part in parts}


def usual_types(released: Trees, parts: Sequence[Part], params: ParamTree) -> Trees:
    """Return the released sums in the types that a strategy gets without privacy; what is released may be rounded."""
    like = {part.name: part.template(params) for part in parts}
    return {
        part: {name: t.to(torch.promote_types(like[part][name].dtype, torch.float32)) for name, t in tree.items()}
        for part, tree in released.items()
    }


def _flat(named: Trees) -> ParamTree:
    return {f"{part}/{name}": tensor for part, tree in named.items() for name, tensor in tree.items()}


def _unflattened(flat: ParamTree) -> Mapping[str, dict[str, torch.Tensor]]:
    named: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in flat.items():
        part, _, name = key.partition("/")
        named.setdefault(part, {})[name] = tensor
    return named


def _first_norm(plan: CohortPlan | StreamPlan) -> float:
    return plan.clip.norm if isinstance(plan.clip, FixedClip) else plan.clip.initial_norm


def _scalar(value: float) -> ParamTree:
    return {"value": torch.tensor(value, dtype=torch.float64)}


def _own(memory: Memory) -> Memory:
    """Return what the strategy itself remembers."""
    return {name: tree for name, tree in memory.items() if name not in {CLIP_NORM, PARTICIPATION}}


def _without(broadcast: Broadcast) -> Broadcast:
    return replace(broadcast, trees=_own(broadcast.trees))


def refuse_unfit(algorithm: Algorithm) -> None:
    """Check that all that a strategy's updates hold can be clipped together and get noise.

    Raises: ConfigError.
    """
    parts = algorithm.parts
    if algorithm.changed is not None:
        raise ConfigError(
            "privacy: participants: the strategy sends those who were in the round before a fragment of the model and "
            "the others all of it, which tells who took part; use diloco without strategy.streaming"
        )
    for part in parts:
        if part.encode is not None:
            raise ConfigError(
                "privacy: participants: updates are compressed, and what compression rounds up, or sends later, "
                "is not within the clipping norm; use compression none"
            )
        if part.unfit_for_noise is not None:
            raise ConfigError(
                f"privacy: participants: the strategy sends {part.name}, which cannot get noise: {part.unfit_for_noise}"
            )
    names = [part.name for part in parts]
    if len(set(names)) < len(names) or any("/" in name for name in names):
        raise ConfigError(
            f"privacy: participants: the strategy's parts are called {', '.join(names)}; "
            "each needs a name of its own, without a slash"
        )


def refuse_undeclared(update: LocalUpdate, parts: Sequence[Part]) -> None:
    """Check that an update holds the declared parts alone: each is clipped and noised, and another would not be.

    Raises: ParticipantError.
    """
    declared = {averaged: {part.name for part in parts if part.averaged == averaged} for averaged in (True, False)}
    for sent, averaged in ((update.averaged, True), (update.summed, False)):
        if sent.keys() != declared[averaged]:
            raise ParticipantError(
                f"its strategy made the parts {sorted(sent)}; declared are {sorted(declared[averaged])}, "
                "and under participant-level privacy nothing else may be sent"
            )


def _check_population(plan: CohortPlan | StreamPlan, aggregate: Aggregate) -> None:
    if plan.population != aggregate.population:
        raise ConfigError(
            f"privacy: the plan is for {plan.population} participants, and the run has {aggregate.population}; "
            "plan it for those that the run has"
        )
