from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from foedus.config.resolve import usual_outer_momentum
from foedus.core import trees
from foedus.core.trees import ParamTree
from foedus.engines.in_process import InProcessEngine
from foedus.federation.checkpoints import load_checkpoint, save_checkpoint
from foedus.federation.messages import Clock
from foedus.federation.protocols import Algorithm, LocalTask, ServerState
from foedus.federation.round import Federation, play_round
from foedus.federation.sampling import FixedSize
from foedus.strategies.diloco import InnerState, Upload, diloco
from foedus.strategies.fedavg import fedavg
from foedus.training.settings import LocalSettings
from foedus.training.site_task import SiteTask
from foedus.training.workspace import Workspace
from strategies.quadratics import aggregate_of, federation, pair, place, played, point
from training.plain_loop import train_plainly
from training.small_task import CPU, examples, site, small_model, workspace_for

ADAMW = LocalSettings(
    learning_rate=0.02,
    batch_size=3,
    epochs=None,
    steps=5,
    weight_decay=0.1,
    schedule="cosine",
    warmup=0.1,
    keep_optimizer=True,
    group_by_length=False,
)
MATRICES = ("0.weight",)


def initial() -> ParamTree:
    return trees.clone(dict(small_model().named_parameters()))


def rounds_of(algorithm: Algorithm, tasks: Mapping[str, LocalTask], rounds: int) -> ServerState:
    return played(algorithm, tasks, rounds=rounds, start=initial())


def same(left: ParamTree, right: ParamTree) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("upload", ["params", "delta"])
def test_unit_updates_add_up_to_nesterovs_published_steps(upload: Upload) -> None:
    algorithm = diloco(0.9, 0.7, upload=upload)
    state = ServerState(0, point(0.0), algorithm.init(point(0.0)))
    places = []
    for _ in range(5):
        sent = place(state) - 1 if upload == "params" else 1.0
        params, memory = algorithm.step(state, replace(aggregate_of(0.0), averaged={upload: point(sent)}))
        state = ServerState(state.round + 1, params, memory)
        places.append(-place(state))
    assert places == pytest.approx([1.33, 3.227, 5.6343, 8.5009, 11.7808], abs=5e-5)


def test_the_step_is_that_of_pytorchs_nesterov_sgd() -> None:
    weight = torch.nn.Parameter(torch.tensor([0.3, -2.0], dtype=torch.float64))
    optimizer = torch.optim.SGD([weight], lr=0.4, momentum=0.8, nesterov=True)
    algorithm = diloco(0.8, 0.4)
    start = point(0.3, -2.0)
    state = ServerState(0, start, algorithm.init(start))
    for delta in ([1.0, 0.2], [-0.5, 0.0], [3.0, 1e-9]):
        weight.grad = torch.tensor(delta, dtype=torch.float64)
        optimizer.step()
        mean = {"x": state.params["x"] - torch.tensor(delta, dtype=torch.float64)}
        state = ServerState(0, *algorithm.step(state, replace(aggregate_of(0.0), averaged={"params": mean})))
        torch.testing.assert_close(state.params["x"], weight.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("participants", [1, 2, 3, 7])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_identical_participants_train_as_one_without_a_pause_bit_for_bit(optimizer: str, participants: int) -> None:
    settings = replace(ADAMW, optimizer=optimizer, momentum=0.9 if optimizer == "muon" else 0.0)  # type: ignore[arg-type] # one of two
    one = who(settings, "a")
    # whoever has the same name, in the key, has the same rows and randomness
    state = rounds_of(diloco(0.0, 1.0), {f"site {n}": one for n in range(participants)}, rounds=6)
    plain = train_plainly(small_model(), one, rounds=6) if optimizer == "adamw" else without_pause(one, rounds=6)
    assert same(state.params, plain)


def who(settings: LocalSettings, name: str) -> SiteTask:
    model = small_model()
    workspace = Workspace(model, dict(model.named_parameters()), settings, CPU, MATRICES)
    return site(settings, examples(12, seed=ord(name)), workspace=workspace, name=name)


def without_pause(participant: SiteTask, rounds: int) -> ParamTree:
    """Return the parameters after local rounds with nothing between them."""
    params, optimizer = initial(), None
    for number in range(rounds):
        result = participant.train(params, Clock(number, rounds), optimizer=optimizer)
        params, optimizer = trees.clone(result.params), result.optimizer
    return params


def test_sending_differences_would_not_be_exact() -> None:
    """Why the trained parameters are sent: this is the same run, and another one in the last bits."""
    one = who(ADAMW, "a")
    by_delta = rounds_of(diloco(0.0, 1.0, upload="delta"), {"a": one}, rounds=6).params
    exact = train_plainly(small_model(), one, rounds=6)
    assert not same(by_delta, exact)
    for name, tensor in exact.items():
        torch.testing.assert_close(by_delta[name], tensor, rtol=1e-4, atol=1e-5)


def test_one_local_step_of_sgd_is_large_batch_sgd() -> None:
    """Four participants of three examples, one step each, are one step on all twelve, of equal row counts."""
    settings = LocalSettings(
        learning_rate=0.1, optimizer="sgd", batch_size=3, epochs=None, steps=1, gradient_clip=None, weighting="uniform"
    )
    rows = [{name: tensor[:1] for name, tensor in row.items()} for row in examples(12)]
    parts = {f"site {i}": site(settings, rows[3 * i : 3 * i + 3], name=str(i)) for i in range(4)}
    state = rounds_of(diloco(0.0, 1.0, inner_state="reset"), parts, rounds=3)
    whole = site(replace(settings, batch_size=12), rows)
    expected = train_plainly(small_model(), whole, rounds=3)
    for name, tensor in expected.items():
        torch.testing.assert_close(state.params[name], tensor, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("upload", ["params", "delta"])
def test_without_momentum_and_at_full_step_it_is_fedavg(upload: Upload) -> None:
    expected = place(played(fedavg(), pair((2, 8)), rounds=60))
    assert place(played(diloco(0.0, 1.0, upload=upload), pair((2, 8)), rounds=60)) == pytest.approx(expected, abs=1e-13)
    assert expected == pytest.approx(0.895131, abs=1e-3)


def test_it_comes_to_rest_where_fedavg_does() -> None:
    assert place(played(diloco(0.9, 0.7), pair())) == pytest.approx(0.748237, abs=5e-7)


def three(settings: LocalSettings) -> dict[str, SiteTask]:
    model = small_model(dropout=0.3)
    workspace = Workspace(model, dict(model.named_parameters()), settings, CPU, MATRICES)
    return {name: site(settings, examples(9, seed=ord(name)), workspace=workspace, name=name) for name in "abc"}


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon"])
@pytest.mark.parametrize("inner_state", ["keep", "reset", "average"])
def test_a_resumed_run_ends_as_an_uninterrupted_one_bit_for_bit(
    optimizer: str, inner_state: InnerState, tmp_path: Path
) -> None:
    settings = replace(
        ADAMW,
        optimizer=optimizer,  # type: ignore[arg-type] # one of three
        momentum=0.0 if optimizer == "adamw" else 0.9,
        keep_optimizer=inner_state != "reset",
    )

    def run() -> Federation:
        tasks = three(settings)
        like = tasks["a"].workspace.optimizer_like()
        algorithm = diloco(0.5, 0.7, inner_state=inner_state, optimizer_like=lambda params: like)
        return federation(algorithm, tasks, rounds=5, sampler=FixedSize(2))

    def play(run: Federation, state: ServerState, rounds: int) -> ServerState:
        for _ in range(rounds):
            state, report = play_round(run, state)
            assert not report.collected.left_out
        return state

    def fresh(run: Federation) -> ServerState:
        return ServerState(0, initial(), run.algorithm.init(initial()))

    whole = run()
    expected = play(whole, fresh(whole), 5)
    first = run()
    saved = save_checkpoint(tmp_path, play(first, fresh(first), 3), first.engine, {}, keep=1)
    second = run()
    state, _ = load_checkpoint(saved, second.engine)
    resumed = play(second, state, 2)
    assert same(resumed.params, expected.params)
    assert resumed.memory.keys() == expected.memory.keys()
    assert all(same(resumed.memory[name], expected.memory[name]) for name in expected.memory)


@pytest.mark.parametrize("inner_state", ["keep", "reset", "average"])
def test_the_order_of_participants_changes_nothing_beyond_rounding(inner_state: InnerState) -> None:
    def run(names: str) -> ParamTree:
        tasks = three(replace(ADAMW, keep_optimizer=inner_state != "reset"))
        like = tasks["a"].workspace.optimizer_like()
        algorithm = diloco(0.5, 0.7, inner_state=inner_state, optimizer_like=lambda params: like)
        return rounds_of(algorithm, {name: tasks[name] for name in names}, rounds=3).params

    expected = run("abc")
    for name, tensor in run("cab").items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=1e-5)


def averaging(tasks: Mapping[str, SiteTask]) -> Algorithm:
    like = next(iter(tasks.values())).workspace.optimizer_like()
    return diloco(0.0, 1.0, inner_state="average", optimizer_like=lambda params: like)


def test_identical_participants_that_average_their_optimizers_train_without_a_pause_bit_for_bit() -> None:
    one = who(ADAMW, "a")
    tasks = {"x": one, "y": one, "z": one}
    assert same(rounds_of(averaging(tasks), tasks, rounds=4).params, train_plainly(small_model(), one, rounds=4))


def test_averaged_moments_are_weighted_means_and_reach_those_who_were_absent() -> None:
    settings = replace(ADAMW, weighting="examples")
    workspace = workspace_for(settings)
    few, many = (site(settings, examples(count), workspace=workspace, name=str(count)) for count in (3, 9))
    tasks: dict[str, SiteTask] = {"few": few, "many": many}
    algorithm = averaging(tasks)
    state = rounds_of(algorithm, tasks, rounds=1)
    single = {name: rounds_of(averaging(tasks), {name: task}, rounds=1) for name, task in tasks.items()}
    for name, mean in state.memory["optimizer"].items():
        expected = 0.25 * single["few"].memory["optimizer"][name] + 0.75 * single["many"].memory["optimizer"][name]
        torch.testing.assert_close(mean, expected, rtol=1e-5, atol=1e-7)
    assert algorithm.broadcast(state)["optimizer"] is state.memory["optimizer"]
    assert not InProcessEngine(algorithm.local, tasks).memories()


def test_what_is_averaged_is_declared_and_nothing_else() -> None:
    tasks = {"a": who(ADAMW, "a")}
    declared = averaging(tasks).templates(initial(), averaged=True)
    assert declared.keys() == {"params", "optimizer"}
    fields = {"step", "exp_avg", "exp_avg_sq"}
    assert declared["optimizer"].keys() == {f"{name}/{field}" for name in initial() for field in fields}


def test_momentum_grows_with_the_number_of_rounds() -> None:
    """As measured: at 24 rounds 0.5 or less is right, at 72 rounds 0.9 wins."""
    assert usual_outer_momentum(24, 0.7) == 0.5
    assert usual_outer_momentum(72, 0.7) == pytest.approx(0.833)
    assert usual_outer_momentum(200, 0.7) == 0.9


@pytest.mark.parametrize("server_learning_rate", [0.1, 0.7, 1.0, 1.5])
def test_a_steady_step_is_fedavgs_at_least(server_learning_rate: float) -> None:
    for rounds in (1, 10, 24, 100):
        steady = server_learning_rate / (1 - usual_outer_momentum(rounds, server_learning_rate))
        assert steady >= 1 - 1e-9
