"""Whole rounds over the embedded engine: masks, each participant's noise, and participants that vanish in any phase."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from contracts.strategy_cases import STRATEGIES
from foedus.core import trees
from foedus.core.entropy import Entropy
from foedus.core.errors import ConfigError
from foedus.core.seeds import SeedKey
from foedus.core.trees import ParamTree
from foedus.engines.in_process import InProcessEngine
from foedus.federation.messages import Broadcast, Clock, ParticipantId, Reply, Request, SecureSumAnswer, SecureSumStep
from foedus.federation.protocols import Algorithm, Correction, Intervention, LocalResult, Memory, ServerState
from foedus.federation.round import Federation, RoundPlan, RoundReport, play_round
from foedus.privacy.clipping import clip
from foedus.privacy.clipping_rules import FixedClip
from foedus.privacy.distributed.packing import DistributedNoise, NoisedPacking
from foedus.privacy.distributed.uploads import uploaded_numbers, with_clipped_uploads
from foedus.privacy.ledger.guard import LedgerGuard, Payer
from foedus.privacy.ledger.ledger import Ledger
from foedus.privacy.plan import DistributedPlan
from foedus.privacy.secure_sum.contents import Scale
from foedus.privacy.secure_sum.embedding import SecureSide, SecureSums
from foedus.privacy.secure_sum.kinds import Masks
from foedus.privacy.secure_sum.participant import Member
from foedus.privacy.secure_sum.terms import Rules
from foedus.strategies.fedavg import fedavg
from privacy.secure_sum.federations import Notebook, members_of
from strategies.quadratics import QuadraticTask, federation, statistics

COUNT, ROUNDS, CLIP = 6, 4, 0.6
RULES = Rules(min_cohort=5, threshold=5)
TASKS = {
    name: QuadraticTask(1.0 + place, place / 4, [0.05] * 3, weight=float(1 + 7 * place))
    for place, name in enumerate(members_of(COUNT))
}
NAMES = list(TASKS)
UNFIT = ("streaming", "fednova", "fedexp", " in ", "fedavgm, half of it")
FIT = [name for name in STRATEGIES if not any(word in name for word in UNFIT) and not name.startswith("diloco")]


class Vanishing(InProcessEngine):
    """Some participants stop answering after so many exchanges of a round's sum."""

    vanish: Mapping[str, int] = {}
    exchanges = 0
    seen: list[Reply]

    def exchange(self, requests: Mapping[ParticipantId, Request]) -> Iterator[tuple[ParticipantId, Reply]]:
        if any(isinstance(request, SecureSumStep) and request.of is not None for request in requests.values()):
            self.exchanges = 0
        still = {n: r for n, r in requests.items() if self.exchanges < self.vanish.get(n, 5)}
        for name, reply in super().exchange(still):
            self.seen.append(reply)
            yield name, reply
        self.exchanges += 1


def params() -> ParamTree:
    return {"x": torch.tensor([2.0, -1.0, 0.5])}


def plan_of(algorithm: Algorithm, noise: float = 1e-4, separation: int = 1) -> DistributedPlan:
    return DistributedPlan(
        noise,
        FixedClip(CLIP),
        1e-3,
        COUNT,
        cohort=COUNT,
        survivors=RULES.least_survivors,
        colluders=1,
        separation=separation,
        distribution="discrete_gaussian",
        bits=16,
        length=uploaded_numbers(algorithm, params()),
    )


def distributed(
    algorithm: Algorithm,
    vanish: Mapping[str, int] | None = None,
    *,
    noise: float = 1e-4,
    separation: int = 1,
    tasks: Mapping[str, QuadraticTask] = TASKS,
) -> Federation:
    plan = plan_of(algorithm, noise, separation)
    clipped = with_clipped_uploads(algorithm, plan)
    plain = federation(clipped, tasks, rounds=ROUNDS)
    noise_of_all = DistributedNoise(
        plan.grid, plan.distribution, CLIP, plan.survivors, separation, ROUNDS, SeedKey.from_seed(6)
    )
    members = members_of(COUNT)
    pinned = next(iter(members.values())).identities
    sums = SecureSums(
        "task",
        "run",
        RULES,
        Scale(64.0, 32.0, COUNT),
        pinned,
        clipped,
        statistics(loss=0.0, units=0.0),
        Masks(),
        pack=lambda averaged, summed: NoisedPacking(noise_of_all, summed),
    )
    sides = {
        name: SecureSide(Member(name, member.identity, pinned, Notebook()), sums) for name, member in members.items()
    }
    engine = Vanishing(clipped.local, tasks, secure=sides)
    engine.vanish, engine.seen = vanish or {}, []
    rounds = RoundPlan(ROUNDS, evaluate_every=ROUNDS)
    return replace(
        plain, engine=engine, plan=rounds, collect=sums.collect_updates, collect_evaluation=sums.collect_evaluations
    )


def start(algorithm: Algorithm) -> ServerState:
    return ServerState(0, params(), algorithm.init(params()))


def played(run: Federation, rounds: int = ROUNDS) -> tuple[ServerState, list[RoundReport]]:
    state, reports = start(run.algorithm), []
    for _ in range(rounds):
        state, report = play_round(run, state)
        reports.append(report)
    return state, reports


def clipped_sum(algorithm: Algorithm, names: list[str]) -> torch.Tensor:
    """Return the sum of the first round's clipped updates, computed without sums, masks or rounding."""
    total = torch.zeros(3, dtype=torch.float64)
    for name in names:
        update, _ = algorithm.local(TASKS[name], Broadcast(algorithm.broadcast(start(algorithm)), Clock(0, ROUNDS)), {})
        short, _ = clip(update, CLIP)
        total += short.averaged["delta"]["x"].double()
    return total


@pytest.mark.parametrize("phase", range(6))
def test_the_decoded_sum_is_that_of_the_survivors_clipped_updates_whoever_vanishes_when(phase: int) -> None:
    gone = NAMES[2]
    run = distributed(fedavg(), vanish={gone: phase})
    _, report = play_round(run, start(run.algorithm))
    assert report.reason is None
    there = [name for name in NAMES if name != gone or phase > 2]
    total = report.collected.total
    assert total.reports == len(there)
    assert torch.allclose(total.summed["delta"]["x"].double(), clipped_sum(fedavg(), there), atol=2e-3)


def test_the_mean_is_over_those_in_the_sum_and_weighs_all_alike() -> None:
    run = distributed(fedavg(), vanish={NAMES[0]: 2})
    before = start(run.algorithm)
    after, _ = play_round(run, before)
    mean = clipped_sum(fedavg(), NAMES[1:]) / 5
    assert torch.allclose(before.params["x"] - after.params["x"], mean.float(), atol=1e-3)


def test_noise_on_the_sum_is_that_of_all_who_are_in_it() -> None:
    noise, errors = 2.0, []
    expected = clipped_sum(fedavg(), NAMES)
    for _ in range(60):  # the same round again, of participants that have forgotten it
        run = distributed(fedavg(), noise=noise)
        _, report = play_round(run, start(run.algorithm))
        errors.append(report.collected.total.summed["delta"]["x"].double() - expected)
    plan = plan_of(fedavg(), noise)
    stddev = plan.sum_multiplier * CLIP
    assert stddev == pytest.approx(2.0 * CLIP * math.sqrt(6 / 4))
    measured = float(torch.stack(errors).std())
    assert stddev * 0.78 < measured < stddev * 1.25  # 180 values: 4 standard deviations; secret noise has no seed


def test_below_the_threshold_a_round_does_not_stand_and_stays_charged(tmp_path: Path) -> None:
    run = distributed(fedavg(), vanish={NAMES[0]: 2, NAMES[3]: 2}, noise=3.0)
    plan = plan_of(fedavg(), 3.0)
    payers = {}
    for name in NAMES:
        ledger = Ledger(tmp_path / f"{name}.sqlite")
        payers[name] = Payer(ledger, ledger.register("rows", [name.encode()]), plan.by_participation())
    guard = LedgerGuard("run", ROUNDS, payers)
    before = start(run.algorithm)
    after, report = play_round(replace(run, guard=guard), before)
    assert report.reason is not None
    assert torch.equal(after.params["x"], before.params["x"])
    assert report.collected.total.reports == 0
    assert report.collected.left_out[NAMES[1]] == "4 participants sent a masked vector; the threshold is 5"
    assert report.privacy is not None
    once = report.privacy["epsilon"]
    assert once > 0
    assert report.privacy["unit"] == "participant"
    for payer in payers.values():
        [spending] = payer.ledger.accounts()[0].spendings
        assert (spending.uses, spending.event) == (1, guard._charge(payer).event)
    assert isinstance(run.engine, Vanishing)
    run.engine.vanish = {}
    _, second = play_round(replace(run, guard=guard), after)
    assert second.reason is None
    assert second.privacy is not None
    assert second.privacy["epsilon"] > once


def test_the_coordinator_sees_messages_of_the_sum_alone_and_no_metrics_counts_or_weights() -> None:
    run = distributed(fedavg())
    _, reports = played(run)
    assert isinstance(run.engine, Vanishing)
    assert all(isinstance(reply, SecureSumAnswer) for reply in run.engine.seen)
    for report in reports:
        total = report.collected.total
        assert (total.metrics, total.counts, report.collected.metrics, report.collected.counts) == ({}, {}, {}, {})
        assert total.weight == COUNT
        assert report.collected.clipped is None


@pytest.mark.parametrize("name", FIT)
def test_every_strategy_that_can_be_noised_follows_clipped_means(name: str) -> None:
    algorithm = STRATEGIES[name]()
    run = distributed(algorithm)
    state, reports = played(run)
    assert [report.reason for report in reports] == [None] * ROUNDS
    # the slow and obvious way: clip each update, add up, and let the strategy's own step do the rest
    expected = start(algorithm)
    memories: dict[str, Memory] = {who: {} for who in NAMES}
    for index in range(ROUNDS):
        clipped = []
        for who in NAMES:
            message = Broadcast(algorithm.broadcast(expected), Clock(index, ROUNDS))
            update, memories[who] = algorithm.local(TASKS[who], message, memories[who])
            short, _ = clip(update, CLIP)
            clipped.append({**short.averaged, **short.summed})
        total = reports[index].collected.total.aggregate(COUNT)
        sums = {part.name: clipped[0][part.name] for part in algorithm.parts}
        for other in clipped[1:]:
            sums = {part: trees.add(sums[part], other[part]) for part in sums}
        aggregate = replace(
            total,
            averaged={p.name: trees.scale(sums[p.name], 1 / COUNT) for p in algorithm.parts if p.averaged},
            summed={p.name: sums[p.name] for p in algorithm.parts if not p.averaged},
        )
        after, memory = algorithm.step(expected, aggregate)
        expected = ServerState(index + 1, after, memory)
    assert torch.allclose(state.params["x"], expected.params["x"], atol=0.02)


@pytest.mark.parametrize("name", ["fednova", "fedexp", "fedavg in fp16", "streaming_diloco"])
def test_what_cannot_be_clipped_and_noised_is_refused(name: str) -> None:
    algorithm = STRATEGIES[name]()
    with pytest.raises(ConfigError):
        with_clipped_uploads(algorithm, plan_of(fedavg()))


@dataclass(frozen=True)
class Broken(QuadraticTask):
    """Training that ends in NaN."""

    def train(
        self,
        start: ParamTree,
        clock: Clock,
        correction: Correction | None = None,
        optimizer: ParamTree | None = None,
        *,
        speed: float | None = None,
        interventions: Mapping[int, Intervention] | None = None,
    ) -> LocalResult:
        result = super().train(start, clock, correction, optimizer)
        return replace(result, params={"x": torch.full((3,), math.nan)})


def test_an_update_that_is_not_finite_counts_as_zeros_and_nobody_is_told() -> None:
    broken = {**TASKS, NAMES[1]: Broken(1.0, 0.0, [0.05])}
    run = distributed(fedavg(), tasks=broken)
    _, report = play_round(run, start(run.algorithm))
    assert report.reason is None
    assert report.collected.left_out == {}
    others = [name for name in NAMES if name != NAMES[1]]
    assert torch.allclose(
        report.collected.total.summed["delta"]["x"].double(), clipped_sum(fedavg(), others), atol=2e-3
    )


def test_a_participant_that_is_asked_twice_in_a_turn_refuses() -> None:
    run = distributed(fedavg(), separation=2)
    _, reports = played(run)
    assert [report.stood for report in reports] == [True, False, True, False]
    assert set(reports[1].collected.left_out) == set(NAMES)


def test_noise_comes_from_the_operating_system_unless_told() -> None:
    member = members_of(COUNT)[NAMES[0]]
    sums = SecureSums("task", "run", RULES, Scale(1.0, 1.0, COUNT), member.identities, fedavg(), {}, Masks())
    assert not SecureSide(member, sums)._noise.repeatable
    told = Entropy.reproducible_from(SeedKey.from_seed(0))
    assert SecureSide(member, sums, noise=told)._noise is told
