from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from contracts.strategy_cases import same_tree, same_trees
from foedus.compression.blocks import int8
from foedus.compression.feedback import compressed, with_compressed_broadcast
from foedus.compression.half import half
from foedus.core import trees
from foedus.core.errors import ParticipantError
from foedus.core.trees import ParamTree
from foedus.federation.messages import Broadcast, Clock, LocalUpdate, Train, payload_bytes
from foedus.federation.protocols import Algorithm, LocalTask, ServerState
from foedus.federation.round import RoundReport, play_round
from foedus.federation.sampling import Only
from foedus.strategies.diloco import diloco
from foedus.strategies.fragments import fragments_of
from foedus.strategies.streaming_diloco import streaming_diloco
from foedus.training.settings import LocalSettings
from foedus.training.site_task import SiteTask
from strategies.quadratics import federation
from training.small_task import examples, site, small_model

STEPS = 5
SETTINGS = LocalSettings(
    learning_rate=0.02, batch_size=3, epochs=None, steps=STEPS, schedule="cosine", warmup=0.1, keep_optimizer=True
)


def initial() -> ParamTree:
    return trees.clone(dict(small_model().named_parameters()))


def participants(count: int = 3, settings: LocalSettings = SETTINGS) -> dict[str, SiteTask]:
    return {name: site(settings, examples(8, seed=i), name=name) for i, name in enumerate("abc"[:count])}


def plays(
    algorithm: Algorithm, tasks: Mapping[str, LocalTask], rounds: int
) -> tuple[list[ServerState], list[RoundReport]]:
    """Return the state before the first round and after each, and what happened."""
    run = federation(algorithm, tasks, rounds=rounds)
    states, reports = [ServerState(0, initial(), algorithm.init(initial()))], []
    for _ in range(rounds):
        state, report = play_round(run, states[-1])
        assert report.stood, report.reason
        states.append(state)
        reports.append(report)
    return states, reports


@pytest.mark.parametrize("upload", ["params", "delta"])
@pytest.mark.parametrize("inner_state", ["keep", "reset"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_one_fragment_that_is_taken_whole_at_once_is_diloco_to_the_last_bit(
    upload: str, inner_state: str, momentum: float
) -> None:
    given = {"momentum": momentum, "server_learning_rate": 0.7, "inner_state": inner_state, "upload": upload}
    plain, _ = plays(diloco(**given), participants(), 5)  # type: ignore[arg-type] # all of them
    streamed, _ = plays(streaming_diloco(1, overlap=0, mixing=0.0, **given), participants(), 5)  # type: ignore[arg-type] # all of them
    assert same_tree(streamed[-1].params, plain[-1].params)
    assert momentum == 0 or same_tree(streamed[-1].memory["momentum"], plain[-1].memory["momentum"])


@pytest.mark.parametrize(("fragments", "overlap", "mixing"), [(1, 0, 0.0), (2, 0, 0.3), (2, 4, 1.0), (1, 2, 1.0)])
def test_one_participant_at_full_step_without_momentum_trains_as_if_alone(
    fragments: int, overlap: int, mixing: float
) -> None:
    """What it gets back is what it sent; with an overlap that is some steps old, so only mixing 1 leaves no trace."""
    algorithm = streaming_diloco(fragments, overlap, mixing, momentum=0.0, server_learning_rate=1.0)
    rounds = 8
    states, _ = plays(algorithm, participants(1), rounds)

    alone, path, optimizer = initial(), [], None
    task = participants(1)["a"]
    for number in range(rounds):
        result = task.train(alone, Clock(number, rounds), optimizer=optimizer)
        alone, optimizer = trees.clone(result.params), result.optimizer
        path.append(alone)
    for number, names in enumerate(fragments_of(initial(), fragments)):
        last = max(turn for turn in range(rounds) if turn % fragments == number)
        assert all(torch.equal(states[-1].params[name], path[last][name]) for name in names)


@pytest.mark.parametrize("overlap", [0, 1, 3, STEPS])
@pytest.mark.parametrize("mixing", [0.0, 0.25])
def test_fragments_are_mixed_in_after_exactly_so_many_steps(overlap: int, mixing: float) -> None:
    """Against a loop by hand over all participants' single steps, with outer momentum."""
    fragments, momentum, rate, rounds = 2, 0.6, 0.7, 5
    settings = replace(SETTINGS, schedule="constant", warmup=0.0, batch_size=8, group_by_length=False)
    algorithm = streaming_diloco(fragments, overlap, mixing, momentum=momentum, server_learning_rate=rate)
    actual, _ = plays(algorithm, participants(settings=settings), rounds)

    parts = fragments_of(initial(), fragments)
    single = {name: replace(task, settings=replace(settings, steps=1)) for name, task in participants().items()}
    theta, velocity = initial(), trees.zeros_like(initial())
    local: dict[str, ParamTree] = dict.fromkeys(single, theta)
    optimizer: dict[str, ParamTree | None] = dict.fromkeys(single)
    for number in range(rounds):
        for name, task in single.items():
            for index in range(STEPS + 1):
                if index == overlap and number > 0:
                    mixed = {n: mixing * local[name][n] + (1 - mixing) * theta[n] for n in parts[(number - 1) % 2]}
                    local[name] = {**local[name], **mixed}
                if index < STEPS:  # a batch holds all rows, so that each step is the same as in any round
                    result = task.train(local[name], Clock(0, 1), optimizer=optimizer[name])
                    local[name], optimizer[name] = trees.clone(result.params), result.optimizer
        weights = {name: len(task.splits["train"]) for name, task in single.items()}
        for n in parts[number % 2]:
            mean = torch.stack([local[name][n] * weights[name] for name in single]).sum(0) / sum(weights.values())
            delta = theta[n] - mean
            velocity = {**velocity, n: momentum * velocity[n] + delta}
            theta = {**theta, n: theta[n] - rate * (delta + momentum * velocity[n])}
        for n, tensor in theta.items():
            torch.testing.assert_close(actual[number + 1].params[n], tensor, rtol=1e-4, atol=1e-5)


def test_a_round_changes_the_fragment_in_turn_and_no_other() -> None:
    states, _ = plays(streaming_diloco(2), participants(), 4)
    for number, (before, after) in enumerate(pairwise(states)):
        moved = {name for name in before.params if not torch.equal(before.params[name], after.params[name])}
        assert moved == set(fragments_of(initial(), 2)[number % 2])


def test_bytes_are_a_fragments_in_both_directions_after_the_first_round() -> None:
    algorithm = streaming_diloco(2)
    states, reports = plays(algorithm, participants(), 5)
    sizes = [trees.byte_size({n: initial()[n] for n in names}) for names in fragments_of(initial(), 2)]
    turn = payload_bytes(Train(Broadcast({"turn": algorithm.broadcast(states[0])["turn"]}, Clock(0, 1))))
    numbers = payload_bytes(LocalUpdate({}, 1.0, metrics={"loss": 0.0}, counts={"steps": 1, "tokens": 1}))
    for number, report in enumerate(reports):
        whole = sum(sizes) if number == 0 else sizes[(number - 1) % 2]
        assert report.collected.bytes_down == 3 * (whole + turn)
        assert report.collected.bytes_up == 3 * (sizes[number % 2] + numbers)


def test_whoever_was_not_in_the_last_round_starts_from_the_coordinators_parameters() -> None:
    """In place of its own, which belong to fragments of another time; its optimizer's state it keeps."""
    algorithm = streaming_diloco(2, mixing=0.5)
    run = federation(algorithm, participants(), rounds=6)
    state = ServerState(0, initial(), algorithm.init(initial()))
    state, _ = play_round(run, state)
    state, report = play_round(replace(run, sampler=Only(("a", "b"))), state)
    assert state.counted == ["a", "b"]
    task, seen = participants()["c"], []

    class Watching:
        def train(self, start: ParamTree, *rest: object, **options: object) -> object:
            seen.append((start, options))
            return task.train(start, *rest, **options)  # type: ignore[arg-type] # handed on

    memory = {"local": initial(), "turn": {"value": torch.tensor(1.0)}, "optimizer": {}}
    message = algorithm.message(state, Clock(2, 6))
    algorithm.local(Watching(), message, memory)  # type: ignore[arg-type] # it only trains
    assert same_tree(seen[0][0], state.params)
    assert seen[0][1]["interventions"] == {}
    assert seen[0][1]["optimizer"] == {}
    state, report = play_round(run, state)
    assert not report.collected.left_out


def test_a_participant_that_has_forgotten_the_round_before_says_so() -> None:
    algorithm = streaming_diloco(2)
    states, _ = plays(algorithm, participants(), 1)
    brief = algorithm.brief_message(states[-1], Clock(1, 2))
    assert brief is not None
    with pytest.raises(ParticipantError, match="sent one fragment, but does not remember the round before"):
        algorithm.local(participants()["a"], brief, {})


def test_error_feedback_keeps_what_each_fragment_lost_until_its_turn() -> None:
    algorithm = with_compressed_broadcast(compressed(streaming_diloco(2, 1, upload="delta"), int8), half)
    task, params = participants()["a"], initial()
    state = ServerState(0, params, algorithm.init(params))
    update, memory = algorithm.local(task, algorithm.message(state, Clock(0, 4)).decoded(), {})
    first, second = fragments_of(params, 2)
    assert update.encoded["delta"].decode().keys() == set(first) == memory["residual"].keys()
    lost = dict(memory["residual"])
    later = replace(state, memory={**state.memory, "turn": {"value": torch.tensor(1.0)}})
    brief = algorithm.brief_message(later, Clock(1, 4))
    assert brief is not None
    update, memory = algorithm.local(task, brief.decoded(), memory)
    assert update.encoded["delta"].decode().keys() == set(second)
    assert memory["residual"].keys() == params.keys()
    assert same_tree({name: memory["residual"][name] for name in first}, lost)


def test_compression_costs_next_to_nothing() -> None:
    plain, _ = plays(streaming_diloco(2, 1, momentum=0.5, upload="delta"), participants(), 6)
    packed, _ = plays(compressed(streaming_diloco(2, 1, momentum=0.5, upload="delta"), int8), participants(), 6)
    moved = trees.norm(trees.subtract(plain[-1].params, plain[0].params))
    assert trees.norm(trees.subtract(packed[-1].params, plain[-1].params)) < 0.05 * moved


def test_what_is_uploaded_does_not_matter_beyond_rounding() -> None:
    whole, _ = plays(streaming_diloco(2, 2, 0.4, upload="params"), participants(), 5)
    delta, _ = plays(streaming_diloco(2, 2, 0.4, upload="delta"), participants(), 5)
    for name, tensor in whole[-1].params.items():
        torch.testing.assert_close(delta[-1].params[name], tensor, rtol=1e-4, atol=1e-5)
    assert not same_trees({"params": whole[-1].params}, {"params": whole[0].params})
