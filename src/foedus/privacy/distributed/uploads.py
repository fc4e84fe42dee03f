"""Participant-level privacy that asks no trust in the coordinator, around any strategy: both halves of it.

Each participant clips all that it uploads to one joint norm. The secure sum's packing rounds it and adds the
participant's share of the noise, so what the coordinator opens is a noised sum; the strategy's step is post-processing.
Source: Kairouz, Liu, Steinke 2021, arXiv:2102.06387.
"""

from __future__ import annotations

from dataclasses import replace

from foedus.core import trees
from foedus.core.errors import ConfigError
from foedus.core.trees import ParamTree
from foedus.federation.messages import Broadcast, LocalUpdate, Trees
from foedus.federation.protocols import Aggregate, Algorithm, LocalTask, Memory, ServerState
from foedus.privacy.clipping import clip
from foedus.privacy.participant_level import refuse_undeclared, refuse_unfit, usual_types
from foedus.privacy.plan import DistributedPlan


def with_clipped_uploads(algorithm: Algorithm, plan: DistributedPlan) -> Algorithm:
    """Return the strategy with every update clipped as a whole, and its sum taken for noised.

    Weights are uniform. The step sees how many are in the sum, which is no secret here, and no metrics or counts.
    A participant whose update is not finite uploads zeros, and remembers nothing of the round: nobody is told.
    Guarantee: none by itself. With secure sums of NoisedPacking for the same plan, one use of `plan.event` in each
        round that a participant takes part in, towards everyone who adds no noise, and `plan.colluders` who do.
    Raises: ConfigError if the strategy's updates hold what cannot be clipped and noised with the rest, or are
        compressed.
    """
    refuse_unfit(algorithm)

    def local(task: LocalTask, broadcast: Broadcast, memory: Memory) -> tuple[LocalUpdate, Memory]:
        update, after = algorithm.local(task, broadcast, memory)
        refuse_undeclared(update, algorithm.parts)
        sent = {**update.averaged, **update.summed}
        if not all(trees.is_finite(tree) for tree in (*sent.values(), *after.values())):
            return LocalUpdate({}, 1.0, {name: trees.zeros_like(tree) for name, tree in sent.items()}), memory
        clipped, _ = clip(update, plan.clip.norm)
        return LocalUpdate({}, 1.0, {**clipped.averaged, **clipped.summed}), after

    def step(state: ServerState, aggregate: Aggregate) -> tuple[ParamTree, Memory]:
        if plan.population != aggregate.population:
            raise ConfigError(
                f"privacy: the plan is for {plan.population} participants, and the run has {aggregate.population}; "
                "plan it for those that the run has"
            )
        sums: Trees = usual_types(aggregate.summed, algorithm.parts, state.params)
        averaged = {
            part.name: trees.scale(sums[part.name], 1 / aggregate.reports) for part in algorithm.parts if part.averaged
        }
        summed = {part.name: sums[part.name] for part in algorithm.parts if not part.averaged}
        seen = replace(aggregate, averaged=averaged, summed=summed, weight=aggregate.reports, metrics={})
        return algorithm.step(state, seen)

    parts = [replace(part, averaged=False) for part in algorithm.parts]
    return replace(algorithm, local=local, step=step, parts=parts, exact_sums=True)


def uploaded_numbers(algorithm: Algorithm, params: ParamTree) -> int:
    """Return how many numbers all parts of an update have together."""
    return sum(tensor.numel() for part in algorithm.parts for tensor in part.template(params).values())
