"""What every strategy promises, whatever its equations."""

from __future__ import annotations

import math
import pkgutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from contracts.strategy_cases import (
    STRATEGIES,
    Deaf,
    Spoilt,
    copied,
    fresh,
    same_tree,
    same_trees,
    sites,
    spoiling,
    start,
)
from foedus import strategies
from foedus.core import trees
from foedus.core.errors import ParticipantError
from foedus.core.trees import ParamTree
from foedus.federation.checkpoints import load_checkpoint, save_checkpoint
from foedus.federation.collect import RunningSum
from foedus.federation.messages import Broadcast, Clock, LocalUpdate, Trees
from foedus.federation.protocols import Algorithm, Memory, ServerState
from foedus.federation.round import Federation, RoundReport, play_round
from foedus.federation.sampling import FixedSize, Only
from strategies.quadratics import QuadraticTask, federation, played, point


@pytest.fixture(params=STRATEGIES)
def algorithm(request: pytest.FixtureRequest) -> Algorithm:
    return STRATEGIES[request.param]()


def plays(run: Federation, state: ServerState, rounds: int) -> ServerState:
    for _ in range(rounds):
        state, report = play_round(run, state)
        assert report.stood, report.reason
    return state


def test_every_strategy_of_the_package_is_under_contract() -> None:
    families: dict[str, set[str]] = {"fedopt": {"fedadam", "fedyogi", "fedadagrad"}}
    families |= {module: set() for module in ("custom", "local_training", "fragments")}
    modules = [module.name for module in pkgutil.iter_modules(strategies.__path__)]
    expected = set().union(*(families.get(module, {module}) for module in modules))
    assert {name.split()[0].rstrip(",") for name in STRATEGIES} == expected


@pytest.mark.parametrize("keep_optimizer", [False, True])
def test_a_resumed_run_goes_on_bit_for_bit(algorithm: Algorithm, keep_optimizer: bool, tmp_path: Path) -> None:
    def run() -> Federation:
        return federation(algorithm, sites(keep_optimizer=keep_optimizer), rounds=5, sampler=FixedSize(2))

    uninterrupted = plays(run(), fresh(algorithm, start(torch.float32)), 5)

    before = run()
    state = plays(before, fresh(algorithm, start(torch.float32)), 3)
    place = save_checkpoint(tmp_path, state, before.engine, {}, keep=1)
    after = run()
    loaded, _ = load_checkpoint(place, after.engine)
    assert loaded.round == 3
    assert same_tree(loaded.params, state.params)
    assert same_trees(loaded.memory, state.memory)

    resumed = plays(after, loaded, 2)
    assert same_tree(resumed.params, uninterrupted.params)
    assert same_trees(resumed.memory, uninterrupted.memory)


def test_equal_seeds_give_equal_bits(algorithm: Algorithm) -> None:
    first, second = (played(algorithm, sites(), rounds=4, start=start(), sampler=FixedSize(2)) for _ in range(2))
    assert same_tree(first.params, second.params)


def test_the_order_of_participants_changes_nothing_beyond_rounding(algorithm: Algorithm) -> None:
    expected = played(algorithm, sites(), rounds=6, start=start())
    shuffled = {name: sites()[name] for name in ("c", "a", "b")}
    actual = played(algorithm, shuffled, rounds=6, start=start())
    for name, tensor in expected.params.items():
        torch.testing.assert_close(actual.params[name], tensor, rtol=1e-11, atol=1e-11)


def test_identical_participants_are_one_participant(algorithm: Algorithm) -> None:
    one = sites()["b"]
    expected = played(algorithm, {"only": one}, rounds=5, start=start())
    actual = played(algorithm, {"x": one, "y": one, "z": one}, rounds=5, start=start())
    for name, tensor in expected.params.items():
        torch.testing.assert_close(actual.params[name], tensor, rtol=1e-10, atol=1e-10)


def test_nothing_moves_where_every_participants_gradient_is_zero(algorithm: Algorithm) -> None:
    content = {name: QuadraticTask(1.0 + i, 0.75, [0.1] * (i + 1)) for i, name in enumerate("abc")}
    there = {name: torch.full_like(tensor, 0.75) for name, tensor in start().items()}
    rested = played(algorithm, content, rounds=4, start=there)
    assert same_tree(rested.params, there)


def one_update(algorithm: Algorithm, name: str = "a") -> tuple[LocalUpdate, Memory, Broadcast]:
    broadcast = Broadcast(algorithm.broadcast(fresh(algorithm, start())), Clock(0, 3))
    update, memory = algorithm.local(sites()[name], broadcast, {})
    return update, memory, broadcast


def test_an_update_holds_exactly_the_declared_parts(algorithm: Algorithm) -> None:
    update = one_update(algorithm)[0].decoded()
    for averaged, sent in ((True, update.averaged), (False, update.summed)):
        declared = algorithm.templates(in_turn(algorithm), averaged=averaged)
        assert sent.keys() == declared.keys()
        assert [trees.mismatch(sent[name], declared[name]) for name in sent] == [None] * len(sent)


def test_the_broadcast_holds_the_parameters(algorithm: Algorithm) -> None:
    assert algorithm.broadcast(fresh(algorithm, start()))["params"].keys() == start().keys()


def test_neither_half_changes_its_arguments(algorithm: Algorithm) -> None:
    state = played(algorithm, sites(), rounds=2, start=start())
    kept_state = copied({"params": state.params, **state.memory})
    broadcast = Broadcast(algorithm.broadcast(state), Clock(2, 3))
    kept_broadcast = copied(broadcast.trees)
    _, memory, _ = one_update(algorithm)
    kept_memory = copied(memory)

    update, _ = algorithm.local(sites()["a"], broadcast, memory)
    total = running_sum(algorithm, rounds=2)
    total.add(update)
    aggregate = total.aggregate(population=3)
    kept_aggregate = copied({**aggregate.averaged, **aggregate.summed})
    algorithm.step(state, aggregate)

    assert same_trees({"params": state.params, **state.memory}, kept_state)
    assert same_trees(broadcast.trees, kept_broadcast)
    assert same_trees(memory, kept_memory)
    assert same_trees({**aggregate.averaged, **aggregate.summed}, kept_aggregate)


def in_turn(algorithm: Algorithm, rounds: int = 0) -> ParamTree:
    """Return the parameters that an update after so many rounds is of."""
    state = played(algorithm, sites(), rounds=rounds, start=start()) if rounds else fresh(algorithm, start())
    return algorithm.in_turn(state)


def running_sum(algorithm: Algorithm, rounds: int = 0) -> RunningSum:
    params = in_turn(algorithm, rounds)
    return RunningSum(algorithm.templates(params, averaged=True), algorithm.templates(params, averaged=False))


def test_the_step_depends_on_sums_alone(algorithm: Algorithm) -> None:
    """Two cohorts that share no update, but whose weighted sums, plain sums and weights agree."""
    generator = torch.Generator().manual_seed(0)

    def made(averaged: bool) -> Trees:
        """Return trees of small whole numbers, so that sums of them are exact."""
        return {
            part: {n: torch.randint(1, 9, t.shape, generator=generator).double() for n, t in tree.items()}
            for part, tree in algorithm.templates(in_turn(algorithm), averaged=averaged).items()
        }

    def remainder(total: Trees, part: Trees, weight: float) -> Trees:
        return {name: trees.scale(trees.add_scaled(total[name], part[name], -weight), 1 / weight) for name in total}

    def total_of(first: Trees, second: Trees, weights: tuple[float, float]) -> Trees:
        return {
            name: trees.add_scaled(trees.scale(first[name], weights[0]), second[name], weights[1]) for name in first
        }

    averages, sums = [made(True) for _ in range(3)], [made(False) for _ in range(3)]
    weighted, plain = total_of(averages[0], averages[1], (1, 3)), total_of(sums[0], sums[1], (1, 1))
    cohorts = [
        [LocalUpdate(averages[0], 1, sums[0]), LocalUpdate(averages[1], 3, sums[1])],
        [
            LocalUpdate(averages[2], 2, sums[2]),
            LocalUpdate(remainder(weighted, averages[2], 2), 2, remainder(plain, sums[2], 1)),
        ],
    ]
    steps = []
    for cohort in cohorts:
        total = running_sum(algorithm)
        for update in cohort:
            total.add(update)
        steps.append(algorithm.step(fresh(algorithm, start()), total.aggregate(population=5)))
    assert same_tree(steps[0][0], steps[1][0])
    assert same_trees(steps[0][1], steps[1][1])


def test_partial_participation_leaves_the_absent_as_they_were(algorithm: Algorithm, tmp_path: Path) -> None:
    run = federation(algorithm, sites(keep_optimizer=True), rounds=6)
    state = plays(run, fresh(algorithm, start()), 2)
    run.engine.save_memories(tmp_path / "before")
    state = plays(replace(run, sampler=Only(("b",))), state, 2)
    run.engine.save_memories(tmp_path / "after")

    def remembered(folder: str) -> list[bytes]:
        return [path.read_bytes() for path in sorted((tmp_path / folder).glob("*.safetensors"))]

    kept = [before == after for before, after in zip(remembered("before"), remembered("after"), strict=True)]
    assert kept in ([True, False, True], [])  # none, where a strategy lets participants remember nothing
    assert trees.is_finite(state.params)


def in_every_part(change: Callable[[ParamTree], ParamTree]) -> Callable[[LocalUpdate], LocalUpdate]:
    def spoil(update: LocalUpdate) -> LocalUpdate:
        update = update.decoded()
        return replace(
            update,
            averaged={name: change(tree) for name, tree in update.averaged.items()},
            summed={name: change(tree) for name, tree in update.summed.items()},
        )

    return spoil


def raising(error: Exception) -> Callable[[LocalUpdate], LocalUpdate]:
    def spoil(update: LocalUpdate) -> LocalUpdate:
        raise error

    return spoil


def weighing(weight: float) -> Callable[[LocalUpdate], LocalUpdate]:
    return lambda update: replace(update, weight=weight)


SPOILT: dict[str, tuple[Callable[[LocalUpdate], object], str]] = {
    "raises": (raising(ValueError("patient Müller")), "raised ValueError at test_strategy_contract.py:"),
    "raises our own error": (raising(ParticipantError("the disk is full")), "the disk is full"),
    "NaN": (
        in_every_part(lambda tree: {name: t * math.nan for name, t in tree.items()}),
        "its update holds NaN or infinite values in ",
    ),
    "infinite": (
        in_every_part(lambda tree: {name: t + math.inf for name, t in tree.items()}),
        "its update holds NaN or infinite values in ",
    ),
    "wrong shape": (
        in_every_part(lambda tree: {name: torch.zeros(11) for name in tree}),
        "its update has another shape: ",
    ),
    "unknown name": (in_every_part(lambda tree: {**tree, "backdoor": torch.zeros(1)}), "backdoor is unknown"),
    "missing name": (in_every_part(lambda tree: {}), "is missing"),
    "undeclared part": (
        lambda update: replace(update, summed={**update.summed, "rows": point(1.0)}),
        "its update holds the parts [",
    ),
    "zero weight": (weighing(0.0), "its weight is 0.0; a weight is a positive number"),
    "negative weight": (weighing(-2.0), "its weight is -2.0; a weight is a positive number"),
    "NaN weight": (weighing(math.nan), "its weight is nan"),
    "infinite weight": (weighing(math.inf), "its weight is inf"),
    "NaN metric": (lambda update: replace(update, metrics={"loss": math.nan}), "its metric loss is nan"),
    "no reply": (lambda update: None, "it answered a training request with NoneType"),
}


def expected_without(algorithm: Algorithm, rounds: int) -> ServerState:
    """Return where the same population gets to if "c" never takes part."""
    return played(algorithm, sites(), rounds=rounds, start=start(), sampler=Only(("a", "b")))


@pytest.mark.parametrize("kind", SPOILT)
def test_a_participant_whose_work_cannot_be_used_is_left_out_by_name(algorithm: Algorithm, kind: str) -> None:
    spoil, reason = SPOILT[kind]
    run = federation(spoiling(algorithm), {**sites(), "c": Spoilt(sites()["c"], spoil)}, rounds=9)  # type: ignore[dict-item] # a broken participant on purpose
    state = fresh(algorithm, start())
    for _ in range(3):
        state, report = play_round(run, state)
        assert report.stood
        assert report.collected.left_out.keys() == {"c"}
        assert reason in report.collected.left_out["c"]
        assert report.collected.total.reports == 2
    expected = expected_without(algorithm, 3)
    assert same_tree(state.params, expected.params)
    assert same_trees(state.memory, expected.memory)


def test_a_participant_left_out_once_comes_back_with_what_it_remembered_before(algorithm: Algorithm) -> None:
    weights = iter([1.0, 0.0])  # its second update cannot be used

    def spoil(update: LocalUpdate) -> LocalUpdate:
        return replace(update, weight=next(weights, 1.0))

    run = federation(spoiling(algorithm), {**sites(), "c": Spoilt(sites()["c"], spoil)}, rounds=9)  # type: ignore[dict-item] # a broken participant on purpose
    actual = plays(run, fresh(algorithm, start()), 5)

    honest = federation(algorithm, sites(), rounds=9)
    expected = plays(honest, fresh(algorithm, start()), 1)
    expected = plays(replace(honest, sampler=Only(("a", "b"))), expected, 1)
    expected = plays(honest, expected, 3)
    assert same_tree(actual.params, expected.params)


def test_a_participant_that_is_silent_is_left_out_by_name(algorithm: Algorithm) -> None:
    run = federation(algorithm, sites(), rounds=9)
    run = replace(run, engine=Deaf(run.engine, {"c"}))
    state = fresh(algorithm, start())
    for _ in range(3):
        state, report = play_round(run, state)
        assert report.collected.left_out == {"c": "did not answer"}
    assert same_tree(state.params, expected_without(algorithm, 3).params)


def broken_round(run: Federation, state: ServerState) -> tuple[ServerState, RoundReport]:
    """Play a round in which "c" does not answer and min_reports asks for all three."""
    return play_round(replace(run, engine=Deaf(run.engine, {"c"}), plan=replace(run.plan, min_reports=3)), state)


def test_a_round_that_does_not_stand_changes_nothing_but_the_clock(algorithm: Algorithm, tmp_path: Path) -> None:
    run = federation(algorithm, sites(keep_optimizer=True), rounds=9)
    state = plays(run, fresh(algorithm, start()), 2)
    run.engine.save_memories(tmp_path / "before")
    after, report = broken_round(run, state)
    run.engine.save_memories(tmp_path / "after")

    assert report.reason == "2 of 3 updates could be used, min_reports is 3"
    assert after.round == state.round + 1
    assert same_tree(after.params, state.params)
    assert same_trees(after.memory, state.memory)
    files = [{p.name: p.read_bytes() for p in (tmp_path / folder).iterdir()} for folder in ("before", "after")]
    assert files[0] == files[1]


def test_rounds_that_do_not_stand_leave_no_bias(algorithm: Algorithm) -> None:
    """The constant step sizes make a round independent of the clock, so a lost round only costs time."""
    run = federation(algorithm, sites(), rounds=12)
    state = plays(run, fresh(algorithm, start()), 2)
    for _ in range(2):
        state, _ = broken_round(run, state)
    state = plays(run, state, 4)
    expected = played(algorithm, sites(), rounds=6, start=start())
    assert same_tree(state.params, expected.params)
