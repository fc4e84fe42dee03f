from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from foedus.compression.feedback import compressed, with_compressed_broadcast
from foedus.compression.half import half
from foedus.core.entropy import Entropy
from foedus.core.errors import ConfigError, ParticipantError, RoundError
from foedus.core.seeds import SeedKey
from foedus.core.trees import ParamTree
from foedus.engines.in_process import InProcessEngine
from foedus.federation.events import Event, ParticipantReported, RoundEnded, RoundStarted
from foedus.federation.loop import run_rounds
from foedus.federation.messages import Broadcast, Clock, LocalUpdate
from foedus.federation.protocols import Aggregate, Algorithm, LocalTask, Memory, Part, ServerState
from foedus.federation.round import Federation, RoundPlan, play_round
from foedus.federation.run_folder import RunFolder
from foedus.federation.sampling import Cyclic, Everyone, Only, Sampler, SecretPoisson, TruncatedPoisson
from foedus.privacy.clipping_rules import AdaptiveClip, FixedClip
from foedus.privacy.factors import BandedSquareRoot
from foedus.privacy.participant_level import CLIP_NORM, cohorts, rounds_under_privacy, with_participant_privacy
from foedus.privacy.plan import CohortPlan, StreamPlan
from foedus.privacy.streams import create_noise_key
from foedus.strategies.fedavg import fedavg
from strategies.quadratics import QuadraticTask, point

MANY = 100_000


def seeded(name: str = "noise") -> Entropy:
    return Entropy.reproducible_from(SeedKey.from_seed(4).child(name))


def plan(noise: float = 1e-12, clip: FixedClip | AdaptiveClip | None = None, **changed: Any) -> CohortPlan:
    made = CohortPlan(noise, clip or FixedClip(0.7), delta=1e-3, population=10, rate=0.6)
    return replace(made, **changed)


def federation(
    privacy: CohortPlan | StreamPlan,
    tasks: Mapping[str, LocalTask],
    *,
    algorithm: Algorithm | None = None,
    sampler: Sampler | None = None,
    rounds: int = 5,
) -> Federation:
    private = with_participant_privacy(algorithm or fedavg(), privacy, seeded())
    return Federation(
        private,
        InProcessEngine(private.local, tasks),
        sampler or cohorts(privacy, seeded("cohorts"), SeedKey.from_seed(0)),
        rounds_under_privacy(RoundPlan(rounds, evaluate_every=rounds, evaluate_initially=False)),
        SeedKey.from_seed(0),
        lambda sums: {"loss": float(sums["loss"] / sums["units"])},
    )


def ten(centre: float = 0.0) -> dict[str, LocalTask]:
    return {str(i): QuadraticTask(1.0, centre, [0.1]) for i in range(10)}


def moved_by_one_round(privacy: CohortPlan | StreamPlan) -> torch.Tensor:
    """Return what one round adds to many parameters that nobody's gradient moves."""
    run = federation(privacy, ten())
    state = ServerState(0, {"x": torch.zeros(MANY)}, run.algorithm.init({"x": torch.zeros(MANY)}))
    return play_round(run, state)[0].params["x"].double()


STREAM = StreamPlan(1.3, FixedClip(0.7), 1e-3, 10, 2, 5, 5, 1, BandedSquareRoot(4))
ADAPTIVE = plan(0.2, AdaptiveClip(initial_norm=0.7))


@pytest.mark.parametrize(
    ("privacy", "stddev"),
    [
        (plan(1.3), 1.3 * 0.7 / 6),
        (ADAPTIVE, (0.2**-2 - (2 * 0.3) ** -2) ** -0.5 * 0.7 / 6),
        (plan(1.3, rate=1.0), 1.3 * 0.7 / 10),
        (STREAM, 1.3 * math.sqrt(1 + 1 / 4 + 9 / 64 + 25 / 256) * 0.7 / 2),
    ],
    ids=["fixed", "adaptive", "everyone", "stream"],
)
def test_released_parameters_have_noise_of_multiplier_times_norm_over_the_expected_cohort(
    privacy: CohortPlan | StreamPlan, stddev: float
) -> None:
    noise = moved_by_one_round(privacy)

    def fits(scale: float) -> bool:
        """Return whether mean and variance are within 3.29 standard errors; 0.2 % false alarm."""
        return abs(float(noise.mean())) < 3.29 * scale / math.sqrt(MANY) and abs(
            float(noise.square().mean()) / scale**2 - 1
        ) < 3.29 * math.sqrt(2 / MANY)

    assert fits(stddev)
    assert not fits(stddev * 2 / 3)
    assert not fits(stddev * 3 / 2)


def test_rounds_have_noise_of_their_own() -> None:
    run = federation(plan(1.0), ten(), sampler=Only(()))
    state = ServerState(0, {"x": torch.zeros(MANY)})
    steps = []
    for _ in range(3):
        after, _ = play_round(run, state)
        steps.append(after.params["x"] - state.params["x"])
        state = after
    correlations = torch.corrcoef(torch.stack(steps).double()) - torch.eye(3)
    assert float(correlations.abs().max()) < 3.6 / math.sqrt(MANY)  # three pairs, 0.1 % false alarm


def test_secret_noise_differs_from_run_to_run_with_equal_seeds() -> None:
    def played() -> float:
        private = with_participant_privacy(fedavg(), plan(1.0), Entropy.secret())
        return float(play_round(replace(federation(plan(1.0), ten()), algorithm=private), start())[0].params["x"])

    assert played() != played()


def start() -> ServerState:
    return ServerState(0, point(0.0))


def test_the_sum_is_divided_by_the_expected_cohort_whoever_takes_part() -> None:
    """One delta of -0.5, with an expected cohort of 6."""
    run = federation(plan(), {str(i): QuadraticTask(1.0, 5.0, [0.1]) for i in range(10)}, sampler=Only(("3",)))
    state, _ = play_round(run, start())
    assert float(state.params["x"]) == pytest.approx(0.5 / 6, rel=1e-6)


def test_weights_are_uniform_whatever_participants_hold() -> None:
    tasks = {str(i): QuadraticTask(1.0, float(i), [0.1], weight=10.0**i) for i in range(10)}
    state, _ = play_round(federation(plan(), tasks, sampler=Only(("1", "2", "3"))), start())
    assert float(state.params["x"]) == pytest.approx((0.1 + 0.2 + 0.3) / 6, rel=1e-6)


def test_the_adaptive_norm_goes_to_the_quantile_of_the_norms() -> None:
    """Deltas have norms 0.1 … 1.0 at first; with a median of 0.55 the norm should settle around it."""
    tasks = {str(i): QuadraticTask(1e-9, (i + 1) * 1e9, [0.1]) for i in range(10)}
    privacy = plan(1e-6, AdaptiveClip(initial_norm=0.01, learning_rate=0.5), rate=1.0)
    run = federation(privacy, tasks, rounds=60)
    state = ServerState(0, point(0.0), run.algorithm.init(point(0.0)))
    norms = []
    for _ in range(60):
        norms.append(float(run.algorithm.message(state, Clock(0, 1)).trees[CLIP_NORM]["value"]))
        state, report = play_round(run, state)
        assert report.stood
    assert norms[0] == 0.01
    assert sum(norms[-20:]) / 20 == pytest.approx(0.55, abs=0.12)


def test_the_adaptive_norm_follows_the_papers_rule_on_a_count_of_noised_halves() -> None:
    tasks = {str(i): QuadraticTask(1.0, 10.0 if i < 3 else 0.01, [0.1]) for i in range(10)}
    privacy = plan(1e-12, AdaptiveClip(initial_norm=0.5, count_stddev=1e-9), rate=1.0)
    run = federation(privacy, tasks)
    state, _ = play_round(run, ServerState(0, point(0.0), run.algorithm.init(point(0.0))))
    assert float(state.memory[CLIP_NORM]["value"]) == pytest.approx(0.5 * math.exp(-0.2 * (0.7 - 0.5)), rel=1e-6)


def test_an_empty_cohort_moves_the_adaptive_norm_as_if_all_were_clipped_half_of_the_time() -> None:
    privacy = plan(1e-12, AdaptiveClip(initial_norm=0.5, quantile=0.9, count_stddev=1e-9))
    run = federation(privacy, ten(), sampler=Only(()))
    state, _ = play_round(run, ServerState(0, point(0.0), run.algorithm.init(point(0.0))))
    assert float(state.memory[CLIP_NORM]["value"]) == pytest.approx(0.5 * math.exp(-0.2 * (0.5 - 0.9)), rel=1e-6)


def custom(update: LocalUpdate, *parts: Part) -> Algorithm:
    def local(task: LocalTask, broadcast: Broadcast, memory: Memory) -> tuple[LocalUpdate, Memory]:
        return update, memory

    return replace(fedavg(), local=local, parts=parts or (Part("delta"),))


@pytest.mark.parametrize(
    "update",
    [
        LocalUpdate({"delta": point(1.0), "rows": point(3.0)}, 1.0),
        LocalUpdate({"delta": point(1.0)}, 1.0, summed={"rows": point(3.0)}),
        LocalUpdate({}, 1.0, summed={"delta": point(1.0)}),
    ],
)
def test_an_undeclared_part_raises_at_the_participant(update: LocalUpdate) -> None:
    private = with_participant_privacy(custom(update), plan(), seeded())
    with pytest.raises(ParticipantError, match="nothing else may be sent"):
        private.local(ten()["0"], Broadcast({"params": point(0.0)}, Clock(0, 1)), {})


def test_parts_of_one_name_are_refused() -> None:
    twice = custom(LocalUpdate({}, 1.0), Part("delta"), Part("delta", averaged=False))
    with pytest.raises(ConfigError, match="each needs a name of its own"):
        with_participant_privacy(twice, plan(), seeded())


def test_updates_are_not_compressed_before_or_after_clipping_but_broadcasts_may_be() -> None:
    with pytest.raises(ConfigError, match="use compression none"):
        with_participant_privacy(compressed(fedavg(), half), plan(), seeded())
    with pytest.raises(ConfigError, match="use compression none"):
        compressed(with_participant_privacy(fedavg(), plan(), seeded()), half)
    packed = with_participant_privacy(with_compressed_broadcast(fedavg(), half), ADAPTIVE, seeded())
    state, report = play_round(
        federation(ADAPTIVE, ten(), algorithm=with_compressed_broadcast(fedavg(), half)),
        ServerState(0, point(0.0), packed.init(point(0.0))),
    )
    assert report.stood
    assert not report.collected.left_out
    assert float(state.params["x"]) != 0.0


def test_a_plan_for_another_population_is_refused_before_anything_is_released() -> None:
    run = federation(plan(population=11), ten(), sampler=Only(("1",)))
    with pytest.raises(ConfigError, match="the plan is for 11 participants, and the run has 10"):
        play_round(run, start())


def test_a_stream_needs_a_noise_key_that_is_kept(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs a key that is kept"):
        with_participant_privacy(fedavg(), STREAM, Entropy.secret())
    kept = create_noise_key(tmp_path / "key")
    with_participant_privacy(fedavg(), STREAM, kept)
    private = with_participant_privacy(fedavg(), plan(), kept)
    with pytest.raises(ValueError, match=r"give Entropy.secret\(\)"):
        private.step(start(), Aggregate({}, {}, 0.0, {}, 0, 10))


def test_the_sampler_is_the_one_that_the_plan_is_accounted_for() -> None:
    assert cohorts(plan(rate=1.0), seeded(), SeedKey.from_seed(0)) == Everyone()
    coins = cohorts(plan(), seeded(), SeedKey.from_seed(0))
    assert isinstance(coins, SecretPoisson)
    assert coins.rate == 0.6
    capped = cohorts(plan(population=1000, rate=0.05, cap=90, delta=1e-4), seeded(), SeedKey.from_seed(0))
    assert isinstance(capped, TruncatedPoisson)
    assert (capped.rate, capped.cap) == (0.05, 90)
    turns = cohorts(STREAM, seeded(), SeedKey.from_seed(0))
    assert isinstance(turns, Cyclic)
    assert turns.groups == 5


@pytest.mark.parametrize(
    ("population", "cohort", "rounds", "separation", "most"), [(10, 3, 10, 3, 3), (100, 7, 50, 10, 4), (9, 9, 5, 1, 5)]
)
def test_no_turn_asks_a_participant_sooner_or_more_often_than_the_plan_allows(
    population: int, cohort: int, rounds: int, separation: int, most: int
) -> None:
    stream = StreamPlan(
        1.0, FixedClip(1.0), 1e-3, population, cohort, rounds, separation, most, BandedSquareRoot(separation)
    )
    names = [str(i) for i in range(population)]
    sampler = cohorts(stream, seeded(), SeedKey.from_seed(0))
    asked: dict[str, list[int]] = {name: [] for name in names}
    for index in range(rounds):
        chosen = sampler.select(names, SeedKey.from_seed(9), index)
        assert len(chosen) <= cohort + 1
        for name in chosen:
            asked[name].append(index)
    assert max(len(rounds_of) for rounds_of in asked.values()) <= most
    gaps = [b - a for rounds_of in asked.values() for a, b in pairwise(rounds_of)]
    assert min(gaps) >= separation


def recorded(folder: RunFolder, tasks: Mapping[str, LocalTask]) -> tuple[str, list[Event]]:
    """Return what a run of four rounds wrote, and what its observers saw."""
    folder.path.mkdir(parents=True)
    events: list[Event] = []
    run = federation(plan(0.1), tasks, rounds=4)
    run_rounds(
        run, start(), folder, config_digest="", keep_checkpoints=1, observe=events.append, learning_rate=lambda p: 0.1
    )
    return folder.rounds.read_text(), events


class Broken(QuadraticTask):
    def train(self, *given: Any, **named: Any) -> Any:
        raise ParticipantError("its disk is full")


def test_neither_records_nor_observers_tell_who_took_part_or_how_many(tmp_path: Path) -> None:
    tasks = {**ten(5.0), "9": Broken(1.0, 0.0, [0.1])}
    written, events = recorded(RunFolder(tmp_path / "run"), tasks)
    records = [json.loads(line) for line in written.splitlines()]
    for record in records:
        assert record.keys() == {"round", "stood", "reason", "learning_rate", "evaluation", "cohort_hidden"}
        assert (record["stood"], record["reason"], record["cohort_hidden"]) == (True, None, True)
    assert "disk" not in written
    assert [event.cohort for event in events if isinstance(event, RoundStarted)] == [()] * 4
    assert [event for event in events if isinstance(event, ParticipantReported) and event.phase == "train"] == []
    assert [event.record for event in events if isinstance(event, RoundEnded)] == records


def test_records_are_as_large_whoever_takes_part(tmp_path: Path) -> None:
    """Their text without the figures on the model is the same for everybody, and for nobody."""

    def told(name: str, sampler: Sampler) -> list[Mapping[str, Any]]:
        folder = RunFolder(tmp_path / name)
        folder.path.mkdir()
        run = replace(federation(plan(0.1), ten(), rounds=3), sampler=sampler)
        run_rounds(run, start(), folder, config_digest="", keep_checkpoints=1)
        return [{key: value for key, value in record.items() if key != "evaluation"} for record in folder.records()]

    assert told("everybody", Everyone()) == told("nobody", Only(())) == told("one", Only(("1",)))


def test_a_hidden_cohort_that_must_not_be_small_is_refused() -> None:
    with pytest.raises(ConfigError, match="use min_reports: 0"):
        RoundPlan(3, min_reports=1, hide_cohort=True)
    hidden = rounds_under_privacy(RoundPlan(3, min_reports=2))
    assert (hidden.min_reports, hidden.hide_cohort, hidden.rounds) == (0, True, 3)


def test_a_run_in_which_nobody_can_train_stops_before_it_is_noise_alone(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    run = federation(plan(0.1), {str(i): Broken(1.0, 0.0, [0.1]) for i in range(10)}, sampler=Everyone(), rounds=9)
    with pytest.raises(RoundError, match="nobody sent an update that can be used"):
        run_rounds(run, start(), folder, config_digest="", keep_checkpoints=1)
    assert len(folder.records()) == 3


def test_rounds_that_ask_nobody_go_on(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    run = federation(plan(0.1), ten(), sampler=Only(()), rounds=6)
    run_rounds(run, start(), folder, config_digest="", keep_checkpoints=1)
    assert len(folder.records()) == 6


def test_what_participants_remember_of_their_turns_outlives_a_checkpoint(tmp_path: Path) -> None:
    run = federation(STREAM, ten(), rounds=5)
    state, report = play_round(run, start())
    run.engine.save_memories(tmp_path / "memories")
    resumed = federation(STREAM, ten(), rounds=5, sampler=Only(report.cohort))
    resumed.engine.load_memories(tmp_path / "memories")
    _, again = play_round(resumed, state)
    assert again.collected.left_out.keys() == set(report.cohort)
    assert all("max_participations is 1; it refused" in why for why in again.collected.left_out.values())


def test_trees_of_any_place_and_type_go_through() -> None:
    def trained(params: ParamTree) -> ParamTree:
        run = federation(plan(), {"a": QuadraticTask(1.0, 1.0, [0.1])}, sampler=Only(("a",)))
        return run.algorithm.step(ServerState(0, params), Aggregate({}, {}, 0.0, {}, 0, 10))[0]

    params = {"half": torch.ones(3, dtype=torch.bfloat16), "double": torch.ones((), dtype=torch.float64)}
    stepped = trained(params)
    assert {name: tensor.dtype for name, tensor in stepped.items()} == {
        "half": torch.bfloat16,
        "double": torch.float64,
    }


def test_a_thousand_participants_learn_under_an_epsilon_of_8() -> None:
    """Noise as 100 rounds at δ 1e-4 need it; all gradients point to 1, in 20 coordinates."""
    tasks = {str(i): QuadraticTask(1.0, 1.0, [0.2]) for i in range(1000)}
    privacy = CohortPlan(0.86, FixedClip(0.5), delta=1e-4, population=1000, rate=0.1)
    run = federation(privacy, tasks, rounds=60)
    state = ServerState(0, point(*[0.0] * 20))
    for _ in range(60):
        state, report = play_round(replace(run, plan=replace(run.plan, rounds=1000, evaluate_every=1000)), state)
        assert not report.collected.left_out
    assert float((state.params["x"] - 1).norm()) < 0.1 * math.sqrt(20)
