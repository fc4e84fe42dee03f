"""Every strategy under participant-level privacy: it follows a plain sum of clipped uploads, or is refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch

from contracts.strategy_cases import STRATEGIES, copied, fresh, same_tree, same_trees, sites, start
from foedus.core import trees
from foedus.core.entropy import Entropy
from foedus.core.errors import ConfigError
from foedus.core.seeds import SeedKey
from foedus.engines.in_process import InProcessEngine
from foedus.federation.collect import RunningSum
from foedus.federation.messages import Broadcast, Clock, LocalUpdate, Trees
from foedus.federation.protocols import Aggregate, Algorithm, Memory, ServerState
from foedus.federation.round import Federation, RoundPlan, play_round
from foedus.federation.sampling import Only, Sampler
from foedus.privacy.clipping_rules import AdaptiveClip, FixedClip
from foedus.privacy.factors import BandedSquareRoot
from foedus.privacy.participant_level import WITHIN, cohorts, rounds_under_privacy, with_participant_privacy
from foedus.privacy.plan import CohortPlan, StreamPlan

COMPRESSED = "updates are compressed, and what compression rounds up"
STREAMING = "which tells who took part; use diloco without strategy.streaming"
REFUSED: Mapping[str, str] = {
    "fednova": "the strategy sends path, .* use fedavg with local.steps",
    "fednova with momentum": "the strategy sends path, .* use fedavg with local.steps",
    "fedexp": "the strategy sends squared_norm, .* use fedavg",
    "diloco": "the strategy sends params, .* use upload='delta'",
    "diloco that starts anew": "the strategy sends params, .* use upload='delta'",
    "diloco that averages": "the strategy sends params, .* use upload='delta'",
    "diloco in int4": COMPRESSED,
    "streaming_diloco": STREAMING,
    "streaming_diloco that sends differences": STREAMING,
    "streaming_diloco that starts anew": STREAMING,
    "streaming_diloco in int4": STREAMING,
    "fedavg in fp16": COMPRESSED,
    "fedprox in int8": COMPRESSED,
    "fedadam in int4": COMPRESSED,
    "fedavgm, half of it": COMPRESSED,
}
RUN = [name for name in STRATEGIES if name not in REFUSED]
EXPECTED = 2.4  # of three participants
CLIP = 0.8  # some updates of the first round are longer, some shorter
TINY = 1e-13


def cohort_plan(noise: float = TINY, clip: FixedClip | AdaptiveClip | None = None) -> CohortPlan:
    return CohortPlan(noise, clip or FixedClip(CLIP), delta=1e-3, population=3, rate=0.8)


def stream_plan(noise: float = TINY, rounds: int = 6) -> StreamPlan:
    return StreamPlan(noise, FixedClip(CLIP), 1e-3, 3, 1, rounds, 3, math.ceil(rounds / 3), BandedSquareRoot(3))


def seeded(seed: int = 0) -> Entropy:
    return Entropy.reproducible_from(SeedKey.from_seed(seed))


def private_federation(
    algorithm: Algorithm, plan: CohortPlan | StreamPlan, sampler: Sampler | None = None, rounds: int = 6
) -> Federation:
    """Return three participants' federation, with the strategy as it is, under the plan."""
    private = with_participant_privacy(algorithm, plan, seeded(1))
    return Federation(
        algorithm=private,
        engine=InProcessEngine(private.local, sites(), reraise=True),
        sampler=sampler or cohorts(plan, seeded(2), SeedKey.from_seed(3)),
        plan=rounds_under_privacy(RoundPlan(rounds, evaluate_every=rounds)),
        seed=SeedKey.from_seed(0),
        score=lambda sums: {"loss": float(sums["loss"] / sums["units"])},
    )


def clipped_sums(updates: list[LocalUpdate], norm: float) -> Trees:
    """Return the sums of parts, each update first scaled down, computed the slow and obvious way."""
    sums: dict[str, dict[str, torch.Tensor]] = {}
    for update in updates:
        parts = {**update.averaged, **update.summed}
        length = math.sqrt(sum(float((t.double() ** 2).sum()) for tree in parts.values() for t in tree.values()))
        for part, tree in parts.items():
            for name, tensor in tree.items():
                scaled = tensor * min(1.0, norm / length)
                into = sums.setdefault(part, {})
                into[name] = into.get(name, torch.zeros_like(scaled)) + scaled
    return sums


def test_every_strategy_runs_or_is_refused() -> None:
    assert set(REFUSED) <= set(STRATEGIES)
    assert {"fedavg", "fedadam", "scaffold option 2", "feddyn", "diloco that sends differences"} <= set(RUN)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_clipped_and_noised_is_refused_with_what_to_do(name: str) -> None:
    with pytest.raises(ConfigError, match=REFUSED[name]):
        with_participant_privacy(STRATEGIES[name](), cohort_plan(), seeded())


@pytest.mark.parametrize("name", RUN)
def test_without_noise_the_step_follows_the_clipped_sum_over_the_expected_cohort(name: str) -> None:
    algorithm = STRATEGIES[name]()
    run = private_federation(algorithm, cohort_plan(), Only(("a", "c")))
    state, expected = fresh(run.algorithm, start()), fresh(algorithm, start())
    memories: dict[str, Memory] = {"a": {}, "c": {}}
    for index in range(4):
        updates = []
        for who, memory in memories.items():
            broadcast = Broadcast(algorithm.broadcast(expected), Clock(index, 6))
            update, memories[who] = algorithm.local(sites()[who], broadcast, memory)
            updates.append(update)
        sums = clipped_sums(updates, CLIP)
        aggregate = Aggregate(
            {p.name: trees.scale(sums[p.name], 1 / EXPECTED) for p in algorithm.parts if p.averaged},
            {p.name: sums[p.name] for p in algorithm.parts if not p.averaged},
            weight=EXPECTED,
            metrics={},
            reports=EXPECTED,
            population=3,
        )
        params, memory = algorithm.step(expected, aggregate)
        expected = ServerState(index + 1, params, memory)
        state, report = play_round(run, state)
        assert report.stood
    assert state.memory.keys() == expected.memory.keys()
    for actual, wanted in ((state.params, expected.params), *((state.memory[n], expected.memory[n]) for n in memory)):
        for tensor in wanted:
            torch.testing.assert_close(actual[tensor], wanted[tensor], rtol=1e-5, atol=2e-6)


def private_update(algorithm: Algorithm, who: str, plan: CohortPlan | StreamPlan) -> LocalUpdate:
    private = with_participant_privacy(algorithm, plan, seeded())
    broadcast = private.message(fresh(private, start()), Clock(0, 6))
    return private.local(sites()[who], broadcast, {})[0]


@pytest.mark.parametrize("name", RUN)
def test_removing_a_participant_moves_the_sum_by_the_clipping_norm_at_most(name: str) -> None:
    algorithm = STRATEGIES[name]()
    moved = []
    for norm in (1e-3, CLIP):
        plan = replace(cohort_plan(), clip=FixedClip(norm))
        private = with_participant_privacy(algorithm, plan, seeded())
        like = private.templates(start(), averaged=False)
        whole, without = RunningSum({}, like, exact=True), RunningSum({}, like, exact=True)
        for who in sites():
            whole.add(private_update(algorithm, who, plan))
            if who != "b":
                without.add(private_update(algorithm, who, plan))
        squared = sum(trees.squared_norm(trees.subtract(whole.summed[p], without.summed[p])) for p in like)
        moved.append(math.sqrt(squared) / norm)
    assert moved[0] <= 1 + 1e-12
    assert moved[0] == pytest.approx(1.0, rel=1e-5)  # the bound is not loose
    assert moved[1] <= 1 + 1e-12


@pytest.mark.parametrize("name", RUN)
@pytest.mark.parametrize("plan", [cohort_plan(), cohort_plan(1e-3, AdaptiveClip()), stream_plan()])
def test_nothing_leaves_beside_the_clipped_parts(name: str, plan: CohortPlan | StreamPlan) -> None:
    algorithm = STRATEGIES[name]()
    update = private_update(algorithm, "a", plan)
    adaptive = {WITHIN} if isinstance(plan.clip, AdaptiveClip) else set()
    assert update.summed.keys() == {part.name for part in algorithm.parts} | adaptive
    assert (dict(update.averaged), update.weight, update.metrics, update.counts) == ({}, 1.0, {}, {})
    assert dict(update.encoded) == {}


@pytest.mark.parametrize("name", RUN)
def test_an_empty_cohort_releases_noise_of_full_size_in_every_part(name: str) -> None:
    algorithm = STRATEGIES[name]()
    released: list[Aggregate] = []

    def step(state: ServerState, aggregate: Aggregate) -> tuple[trees.ParamTree, Memory]:
        released.append(aggregate)
        return state.params, state.memory

    watched = replace(algorithm, step=step)
    sums: dict[str, list[torch.Tensor]] = {part.name: [] for part in algorithm.parts}
    for plan in (cohort_plan(2.0), stream_plan(2.0, rounds=300)):
        released.clear()
        run = private_federation(watched, plan, Only(()), rounds=300)
        state = fresh(run.algorithm, start())
        for _ in range(300):
            state, report = play_round(replace(run, plan=replace(run.plan, evaluate_every=1000, rounds=1000)), state)
            assert (report.stood, report.cohort) == (True, ())
        sums = {
            part.name: [
                (released_part[part.name][n] * (plan.expected_cohort if part.averaged else 1.0)).flatten()
                for aggregate in released
                for released_part in [aggregate.averaged if part.averaged else aggregate.summed]
                for n in start()
            ]
            for part in algorithm.parts
        }
        if isinstance(plan, CohortPlan):
            for drawn in sums.values():
                ratio = float(torch.cat(drawn).double().std()) / (2.0 * CLIP)
                assert abs(ratio - 1) < 3.29 / math.sqrt(2 * 300 * 10)  # 0.1 % false alarm a part
        else:
            assert all(bool((torch.cat(drawn) != 0).float().mean() > 0.99) for drawn in sums.values())
        assert {(a.weight, a.reports, a.population) for a in released} == {(plan.expected_cohort,) * 2 + (3,)}
        assert all(a.metrics == {} for a in released)


@pytest.mark.parametrize("name", RUN)
@pytest.mark.parametrize("plan", [cohort_plan(0.5), cohort_plan(0.03, AdaptiveClip()), stream_plan(0.5)])
def test_equal_reproducible_entropy_gives_equal_bits_and_a_resumed_run_too(
    name: str, plan: CohortPlan | StreamPlan
) -> None:
    def played(
        state: ServerState | None, memories: Mapping[str, Memory], rounds: int
    ) -> tuple[ServerState, Federation]:
        run = private_federation(STRATEGIES[name](), plan)
        assert isinstance(run.engine, InProcessEngine)
        run.engine.recall(memories)  # as a checkpoint restores them
        state = state or fresh(run.algorithm, start())
        for _ in range(rounds):
            state, _ = play_round(run, state)
        return state, run

    whole, _ = played(None, {}, 6)
    half, run = played(None, {}, 3)
    reordered = ServerState(3, dict(reversed(list(half.params.items()))), copied(half.memory))
    assert isinstance(run.engine, InProcessEngine)
    resumed, _ = played(reordered, run.engine.memories(), 3)
    assert same_tree(resumed.params, whole.params)
    assert same_trees(resumed.memory, whole.memory)
    assert trees.is_finite(whole.params)


@pytest.mark.parametrize("name", RUN)
def test_participants_take_turns_and_refuse_any_other_order(name: str) -> None:
    run = private_federation(STRATEGIES[name](), stream_plan())
    state = fresh(run.algorithm, start())
    taken = []
    for _ in range(6):
        state, report = play_round(run, state)
        assert not report.collected.left_out
        taken.append(tuple(report.cohort))
    assert sorted(taken[:3]) == [("a",), ("b",), ("c",)]
    assert taken[3:] == taken[:3]

    insisting = private_federation(STRATEGIES[name](), stream_plan(), Only(("b",)))
    insisting = replace(insisting, engine=InProcessEngine(insisting.algorithm.local, sites()))
    state = fresh(insisting.algorithm, start())
    refusals = []
    for _ in range(5):
        state, report = play_round(insisting, state)
        assert report.stood
        refusals.append(report.collected.left_out.get("b"))
    assert [refusal is None for refusal in refusals] == [True, False, False, True, False]
    assert "may again from round 4 on" in str(refusals[1])
