"""What explain foretells is what the run then does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import foedus
from end_to_end.small_runs import SITES, records, small_run
from foedus.config.assemble import assemble
from foedus.core.errors import FoedusError
from foedus.core.trees import ParamTree
from foedus.federation.messages import Broadcast, Clock, LocalUpdate, Sums
from foedus.federation.protocols import Algorithm, Correction, LocalResult, LocalTask, Memory
from tiny_models import LABELS

pytestmark = pytest.mark.end_to_end

SGD = {"optimizer": "sgd", "learning_rate": 0.1}
CASES: dict[str, dict[str, Any]] = {
    "full": {},
    "lora": {"model": {"tuning": "lora"}},
    "head": {"model": {"tuning": "head"}},
    "steps": {"local": {"steps": 3}},
    "epochs and accumulation": {"local": {"epochs": 3, "batch_size": 3, "accumulation": 2}},
    "fixed cohort": {"rounds": {"cohort": {"kind": "fixed", "size": 2}}},
    "scaffold": {"strategy": "scaffold", "local": SGD},
    "fednova": {"strategy": "fednova", "local": SGD},
    "fedexp": {"strategy": "fedexp"},
    "feddyn": {"strategy": "feddyn", "local": SGD},
    "validation": {"participants": {"split": {"validation": 0.25, "test": 0.25, "by": "case"}}},
}


@dataclass(frozen=True)
class Watched:
    """A participant's task that tells how many steps its training took."""

    task: LocalTask
    tell: Callable[[int], None]

    def train(
        self,
        start: ParamTree,
        clock: Clock,
        correction: Correction | None = None,
        optimizer: ParamTree | None = None,
        **options: Any,
    ) -> LocalResult:
        result = self.task.train(start, clock, correction, optimizer, **options)
        self.tell(len(result.step_sizes))
        return result

    def gradient(self, params: ParamTree) -> ParamTree:
        return self.task.gradient(params)

    def evaluate(self, params: ParamTree, split: str) -> Sums:
        return self.task.evaluate(params, split)


def watched(algorithm: Algorithm, tell: Callable[[int], None]) -> Algorithm:
    def local(task: LocalTask, broadcast: Broadcast, memory: Memory) -> tuple[LocalUpdate, Memory]:
        return algorithm.local(Watched(task, tell), broadcast, memory)

    return replace(algorithm, local=local)


@pytest.mark.parametrize("case", CASES)
def test_a_run_does_what_was_explained(case: str, tmp_path: Path) -> None:
    config = foedus.load_config(small_run(tmp_path, **CASES[case]))
    explained = foedus.explain(config)
    assert explained.problems == []
    assert not (tmp_path / "runs").exists()

    steps: list[int] = []
    result = foedus.run(config, algorithm=watched(assemble(config).federation().algorithm, steps.append))
    assert explained.folder == str(result.folder)
    parameters = {"total": explained.total, "trained": explained.trained, "sent": explained.sent}
    assert parameters == result.summary["parameters"]
    assert explained.rounds == result.summary["rounds"]
    assert explained.labels == result.summary["labels"]
    assert explained.device == result.summary["device"]
    assert explained.participants is not None
    for holding in explained.participants:
        held = result.summary["sites"][holding.name]
        assert {"validation": 0, **holding.rows} == {split: held[split] for split in ("train", "validation", "test")}
        assert holding.labels == held["labels"]
    played = records(result.folder)[1:]
    expected = {holding.name: holding.steps for holding in explained.participants}
    assert steps == [expected[site] for record in played for site in record["cohort"]]
    assert explained.traffic is not None
    assert explained.cohort is not None
    a_round = explained.traffic.times(explained.cohort)
    assert [record["bytes"] for record in played] == [{"down": a_round.down, "up": a_round.up}] * 2


def test_the_explained_configuration_asks_for_the_same_run(tmp_path: Path) -> None:
    config = small_run(tmp_path)
    explained = foedus.explain(config)
    (tmp_path / "explained.yaml").write_text(explained.config)
    assert foedus.explain(tmp_path / "explained.yaml") == explained


def test_a_taken_folder_is_told(tmp_path: Path) -> None:
    config = small_run(tmp_path)
    assert not [note for note in foedus.explain(config).notes if "already holds a run" in note]
    foedus.run(config)
    assert [note for note in foedus.explain(config).notes if "already holds a run" in note]


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "no such files": ({"participants": {"train": "none/*.csv"}}, "no file matches 'none/*.csv'"),
    "no such column": ({"task": {"text": "nota"}}, "has no column 'nota'; did you mean 'note'?"),
    "no such model": ({"model": {"path": "./none"}}, "./none"),
    "an unknown label": ({"task": {"labels": LABELS[:2]}}, "rows whose label is not among the 2 of task.labels"),
    "a model without the head": ({"task": {"kind": "sequence_to_sequence"}}, "transformers has no Seq2SeqLM head"),
    "too long a text": ({"task": {"max_length": 65}}, "reads at most 64 tokens"),
    "no rows to measure on": ({"evaluation": {"split": "validation"}}, "no participant has validation rows"),
    "no such layers": (
        {"model": {"tuning": {"kind": "lora", "target_modules": ["quary"]}}},
        "no linear layer below the head is called 'quary'; did you mean 'query'?",
    ),
    "no such device": ({"device": "xpu:7"}, "device is xpu:7, but this machine has"),
    "no such strategy file": ({"strategy": {"kind": "custom", "path": "none.py"}}, "none.py is not a Python file"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_explain_finds_wrong_the_run_refuses(case: str, tmp_path: Path) -> None:
    sections, problem = BROKEN[case]
    config = small_run(tmp_path, **sections)
    if case == "a model without the head":
        config["task"] = {"kind": "sequence_to_sequence", "source": "note", "target": "organ"}
    found = foedus.explain(config).problems
    assert len(found) == 1
    assert problem in found[0]
    with pytest.raises(FoedusError) as refused:
        foedus.run(config)
    assert problem in str(refused.value)
    assert not (tmp_path / "runs" / "small" / "rounds.jsonl").exists()


def test_a_refused_run_leaves_its_folder_free(tmp_path: Path) -> None:
    config = small_run(tmp_path, task={"text": "nota"})
    with pytest.raises(FoedusError):
        foedus.run(config)
    config["task"] = {**config["task"], "text": "note"}
    assert set(foedus.run(config).summary["sites"]) == set(SITES)
