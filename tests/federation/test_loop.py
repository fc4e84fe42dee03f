from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from foedus.core.errors import ParticipantError, RoundError, RunFolderError
from foedus.core.seeds import SeedKey
from foedus.core.trees import ParamTree
from foedus.engines.in_process import InProcessEngine
from foedus.federation.checkpoints import checkpoints
from foedus.federation.events import Event, ParticipantReported, RoundEnded, RoundStarted
from foedus.federation.loop import run_rounds, start_or_resume
from foedus.federation.messages import Clock, Sums
from foedus.federation.protocols import Correction, LocalResult, LocalTask, ServerState
from foedus.federation.round import Federation, RoundPlan
from foedus.federation.run_folder import RunFolder
from foedus.federation.sampling import Everyone, Poisson, Sampler
from foedus.strategies.scaffold import scaffold
from strategies.quadratics import QuadraticTask, pair, point

DIGEST = "the configuration's"
ALGORITHM = scaffold()


@dataclass(frozen=True)
class Flaky(QuadraticTask):
    """A participant that fails in some rounds, and may have nothing to evaluate on."""

    fails: Callable[[int], bool] = lambda round_index: False
    evaluates: bool = True
    breaks_in_evaluation: bool = False

    def train(
        self,
        start: ParamTree,
        clock: Clock,
        correction: Correction | None = None,
        optimizer: ParamTree | None = None,
        **options: Any,
    ) -> LocalResult:
        if self.fails(clock.round):
            raise ParticipantError("the disk is full")
        return super().train(start, clock, correction, optimizer, **options)

    def evaluate(self, params: ParamTree, split: str) -> Sums:
        if self.breaks_in_evaluation:
            raise ValueError("patient Müller")
        return super().evaluate(params, split) if self.evaluates else {}


def federated(tasks: Mapping[str, LocalTask], plan: RoundPlan, sampler: Sampler | None = None) -> Federation:
    return Federation(
        ALGORITHM,
        InProcessEngine(ALGORITHM.local, tasks),
        sampler or Everyone(),
        plan,
        SeedKey.from_seed(0),
        score=lambda sums: {"loss": float(sums["loss"] / sums["units"])},
    )


def first_state() -> ServerState:
    return ServerState(0, point(0.0, 2.0), ALGORITHM.init(point(0.0, 2.0)))


def run_in(
    folder: RunFolder, federation: Federation, observe: Callable[[Event], None] = lambda event: None, keep: int = 2
) -> ServerState:
    folder.path.mkdir(parents=True, exist_ok=True)
    state = start_or_resume(federation, first_state(), folder, DIGEST)
    return run_rounds(
        federation,
        state,
        folder,
        config_digest=DIGEST,
        keep_checkpoints=keep,
        observe=observe,
        learning_rate=lambda progress: 0.05 * (1 - progress),
    ).state


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def test_a_record_has_the_documented_shape(folder: RunFolder) -> None:
    broken = Flaky(1.0, 0.0, [0.1], fails=lambda index: index == 1)
    run_in(folder, federated({**pair(), "c": broken}, RoundPlan(rounds=2)))
    start, first, second = folder.records()

    assert start["round"] == 0
    assert start["evaluation"]["all"] == {"loss": pytest.approx((2 + 4 + 2) / 3)}
    assert second.keys() == {
        "round",
        "stood",
        "reason",
        "cohort",
        "reports",
        "left_out",
        "weight",
        "train",
        "steps",
        "tokens",
        "learning_rate",
        "evaluation",
        "bytes",
        "seconds",
        "sites",
    }
    assert (first["round"], first["stood"], first["reason"], first["left_out"]) == (1, True, None, {})
    assert (first["reports"], first["weight"], first["learning_rate"]) == (3, 3.0, 0.05)
    assert (second["reports"], second["weight"], second["learning_rate"]) == (2, 2.0, 0.025)
    assert second["cohort"] == ["flat", "steep", "c"]
    assert second["left_out"] == {"c": "the disk is full"}
    assert second["evaluation"].keys() == {"all", "sites", "bytes"}
    assert second["evaluation"]["sites"].keys() == {"flat", "steep", "c"}
    assert second["sites"].keys() == {"flat", "steep"}
    assert second["train"] == {"loss": pytest.approx(sum(s["train"]["loss"] for s in second["sites"].values()) / 2)}
    assert second["bytes"] == {"down": 3 * 2 * 16, "up": 2 * (2 * 16 + 8 + 8 + 2 * 8)}
    assert (first["steps"], first["tokens"]) == (5 + 5 + 1, 110)
    assert (second["steps"], second["tokens"]) == (5 + 5, 100)
    assert {name: (site["steps"], site["tokens"]) for name, site in second["sites"].items()} == {
        "flat": (5, 50),
        "steep": (5, 50),
    }
    assert second["seconds"].keys() == {"train", "evaluate"}


def test_a_round_without_an_evaluation_says_so(folder: RunFolder) -> None:
    run_in(folder, federated(pair(), RoundPlan(rounds=3, evaluate_every=2, evaluate_initially=False)))
    assert [(record["round"], record["evaluation"] is None) for record in folder.records()] == [
        (1, True),
        (2, False),
        (3, False),
    ]


def numbers_in(text: str) -> set[float]:
    return {float(number) for number in re.findall(r"-?\d+\.\d{4,}(?:e-?\d+)?", text)}


def test_where_sites_figures_may_not_be_shown_none_is_anywhere(folder: RunFolder) -> None:
    open_folder = RunFolder(folder.path.with_name("open"))
    plan = RoundPlan(rounds=2)
    run_in(open_folder, federated(pair(), plan))
    of_sites = {
        value
        for record in open_folder.records()
        for metrics in [
            *record["evaluation"]["sites"].values(),
            *(site["train"] for site in record.get("sites", {}).values()),
        ]
        for value in metrics.values()
    }
    assert len(of_sites) >= 8

    events: list[Event] = []
    run_in(folder, federated(pair(), replace(plan, per_site=False)), events.append)
    written = folder.rounds.read_text() + "".join(p.read_text() for p in folder.path.rglob("*.json"))
    losses = [event.loss for event in events if isinstance(event, ParticipantReported)]
    records = [json.dumps(event.record) for event in events if isinstance(event, RoundEnded)]
    assert of_sites & (numbers_in(written) | numbers_in("".join(records))) == set()
    assert losses == [None] * len(losses)
    assert all("sites" not in record and "sites" not in record["evaluation"] for record in folder.records())


def test_no_word_of_a_participants_error_reaches_the_folder_or_an_observer(folder: RunFolder) -> None:
    class Broken(QuadraticTask):
        def gradient(self, params: ParamTree) -> ParamTree:
            raise ValueError("patient Müller")

    events: list[Event] = []
    tasks = {**pair(), "c": Broken(1.0, 0.0, [0.1]), "d": Flaky(1.0, 0.0, [0.1], breaks_in_evaluation=True)}
    run_in(folder, federated(tasks, RoundPlan(rounds=2)), events.append)
    content = b"".join(path.read_bytes() for path in folder.path.rglob("*") if path.is_file()).decode(errors="replace")
    assert "ller" not in content.replace("controller", "") + repr(events)
    assert folder.records()[1]["left_out"]["c"].startswith("raised ValueError at test_loop.py:")
    assert folder.records()[1]["evaluation"]["left_out"]["d"].startswith("raised ValueError at test_loop.py:")


def test_an_evaluation_that_failed_everywhere_is_recorded_with_the_reasons(folder: RunFolder) -> None:
    tasks = {"a": Flaky(1.0, 0.0, [0.1], breaks_in_evaluation=True), "b": Flaky(1.0, 0.0, [0.1], evaluates=False)}
    run_in(folder, federated(tasks, RoundPlan(rounds=1)))
    evaluation = folder.records()[1]["evaluation"]
    assert (evaluation["all"], evaluation["sites"]) == ({}, {})
    assert evaluation["left_out"].keys() == {"a"}


def test_where_nobody_has_rows_to_evaluate_on_there_is_no_evaluation(folder: RunFolder) -> None:
    run_in(folder, federated({"a": Flaky(1.0, 0.0, [0.1], evaluates=False)}, RoundPlan(rounds=1)))
    assert [record["evaluation"] for record in folder.records()] == [None, None]


def test_a_metric_without_a_number_is_null_so_that_any_reader_of_json_can_read_it(folder: RunFolder) -> None:
    run = replace(
        federated(pair(), RoundPlan(rounds=1)), score=lambda sums: {"loss": 1.0, "perplexity": math.inf, "f1": math.nan}
    )
    run_in(folder, run)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    for line in folder.rounds.read_text().splitlines():
        record = json.loads(line, parse_constant=refuse)
        assert record["evaluation"]["all"] == {"loss": 1.0, "perplexity": None, "f1": None}


def test_events_come_in_the_order_of_the_work(folder: RunFolder) -> None:
    events: list[Event] = []
    recorded: list[int] = []
    saved: list[int] = []

    def observe(event: Event) -> None:
        events.append(event)
        recorded.append(len(folder.records()))
        saved.append(len(checkpoints(folder.checkpoints)))

    run_in(folder, federated(pair(), RoundPlan(rounds=2)), observe, keep=9)
    kinds = [type(event) for event in events]
    assert (
        kinds
        == [ParticipantReported] * 2 + [RoundEnded] + ([RoundStarted] + [ParticipantReported] * 4 + [RoundEnded]) * 2
    )
    ended = [index for index, event in enumerate(events) if isinstance(event, RoundEnded)]
    assert [recorded[index] for index in ended] == [1, 2, 3]  # a round is on the disk before it is announced
    assert [saved[index] for index in ended] == [0, 1, 2]
    assert [event.record for event in events if isinstance(event, RoundEnded)] == folder.records()


def failing_from(start: int, until: int = 1000) -> dict[str, Flaky]:
    return {name: Flaky(1.0, 1.0, [0.1], fails=lambda index: start <= index < until) for name in ("a", "b")}


def test_three_rounds_in_a_row_that_do_not_stand_stop_the_run_and_say_how_to_go_on(folder: RunFolder) -> None:
    with pytest.raises(RoundError) as caught:
        run_in(folder, federated(failing_from(2), RoundPlan(rounds=20)))
    message = str(caught.value)
    assert "3 rounds in a row did not stand" in message
    assert "0 of 2 updates could be used, min_reports is 1" in message
    assert "a the disk is full" in message
    assert f"{folder.path} holds the state; mend the cause and go on with --resume" in message
    records = folder.records()
    assert [record["stood"] for record in records[1:]] == [True, True, False, False, False]


def test_after_the_cause_is_mended_the_run_goes_on_from_where_it_stopped(folder: RunFolder) -> None:
    with pytest.raises(RoundError):
        run_in(folder, federated(failing_from(2), RoundPlan(rounds=7)))
    state = run_in(folder, federated(failing_from(1000), RoundPlan(rounds=7)))
    assert state.round == 7
    assert [record["round"] for record in folder.records()] == list(range(8))


def test_two_bad_rounds_between_good_ones_do_not_stop_a_run(folder: RunFolder) -> None:
    def bad(index: int) -> bool:
        return index % 3 != 0

    tasks = {"a": Flaky(1.0, 1.0, [0.1], fails=bad)}
    assert run_in(folder, federated(tasks, RoundPlan(rounds=12))).round == 12


def test_small_draws_do_not_stop_a_run(folder: RunFolder) -> None:
    run = federated(pair(), RoundPlan(rounds=25, evaluate_every=25), Poisson(0.2))
    run_in(folder, run)
    stood = [record["stood"] for record in folder.records()[1:]]
    assert next(stood[i : i + 4] for i in range(25) if stood[i : i + 4] == [False] * 4) == [False] * 4
    assert any(stood)


def stopping_after(rounds: int) -> Callable[[Event], None]:
    """Return an observer that ends the process's work, as a crash would, after so many recorded rounds."""

    def observe(event: Event) -> None:
        if isinstance(event, RoundEnded) and event.record["round"] == rounds:
            raise KeyboardInterrupt

    return observe


def without_seconds(record: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: value for key, value in record.items() if key != "seconds"}


@pytest.mark.parametrize("stop_after", [0, 1, 3, 5])
def test_a_run_that_was_stopped_ends_like_one_that_was_not(folder: RunFolder, stop_after: int) -> None:
    plan = RoundPlan(rounds=5)
    whole = RunFolder(folder.path.with_name("whole"))
    expected = run_in(whole, federated(pair(), plan))

    with pytest.raises(KeyboardInterrupt):
        run_in(folder, federated(pair(), plan), stopping_after(stop_after))
    state = run_in(folder, federated(pair(), plan))

    assert torch.equal(state.params["x"], expected.params["x"])
    assert torch.equal(state.memory["control"]["x"], expected.memory["control"]["x"])
    assert list(map(without_seconds, folder.records())) == list(map(without_seconds, whole.records()))
    names = ["server.safetensors", "state.json", "participants/00000.safetensors"]
    final = [[(place.checkpoints / "round-00005" / name) for name in names] for place in (folder, whole)]
    assert [p.read_bytes() for p in final[0] if p.suffix != ".json"] == [
        p.read_bytes() for p in final[1] if p.suffix != ".json"
    ]


def test_records_of_rounds_after_the_last_checkpoint_are_forgotten(folder: RunFolder) -> None:
    plan = RoundPlan(rounds=4)
    with pytest.raises(KeyboardInterrupt):
        run_in(folder, federated(pair(), plan), stopping_after(2))
    with folder.rounds.open("a") as file:
        file.write('{"round": 3, "stood": true}\n{"round": 4, "sto')  # the crash came between record and checkpoint
    run_in(folder, federated(pair(), plan))
    assert [record["round"] for record in folder.records()] == [0, 1, 2, 3, 4]
    assert folder.records()[3]["reports"] == 2


def test_records_without_a_checkpoint_are_begun_anew(folder: RunFolder) -> None:
    folder.path.mkdir()
    folder.rounds.write_text('{"round": 0, "evaluation": null}\n{"round": 1')
    run_in(folder, federated(pair(), RoundPlan(rounds=1)))
    assert [record["round"] for record in folder.records()] == [0, 1]
    assert folder.records()[0]["evaluation"] is not None


def test_a_finished_run_resumes_to_its_end_without_playing(folder: RunFolder) -> None:
    run = federated(pair(), RoundPlan(rounds=2))
    expected = run_in(folder, run)
    before = folder.rounds.read_bytes()
    events: list[Event] = []
    state = run_in(folder, federated(pair(), RoundPlan(rounds=2)), events.append)
    assert torch.equal(state.params["x"], expected.params["x"])
    assert (events, folder.rounds.read_bytes()) == ([], before)


def test_another_configurations_checkpoint_is_refused(folder: RunFolder) -> None:
    run = federated(pair(), RoundPlan(rounds=1))
    run_in(folder, run)
    with pytest.raises(RunFolderError, match=r"written with other settings, rows or base weights than .*config\.yaml"):
        start_or_resume(run, first_state(), folder, "another one's")


@pytest.mark.parametrize("damage", ["deleted", "cut short"])
def test_lost_records_are_not_papered_over(folder: RunFolder, damage: str) -> None:
    run_in(folder, federated(pair(), RoundPlan(rounds=2)))
    if damage == "deleted":
        folder.rounds.unlink()
    else:
        folder.rounds.write_bytes(folder.rounds.read_bytes()[:-10])
    with pytest.raises(RunFolderError, match=r"rounds.jsonl has \d+ bytes, and had \d+ at the last checkpoint"):
        run_in(folder, federated(pair(), RoundPlan(rounds=4)))
