"""Every way to train, to measure and to deal rows out, played once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from datasets import Dataset
from safetensors.torch import load_file

import foedus
from end_to_end.small_runs import ROWS, SITES, losses, records, small_run, weights
from foedus.config.sections import Partition
from foedus.config.structure import kinds_of
from tiny_models import LABELS

pytestmark = pytest.mark.end_to_end

TRAINING: Mapping[str, Mapping[str, Any]] = {
    "accumulation": {"batch_size": 2, "accumulation": 2},
    "steps": {"steps": 3},
    "bf16": {"precision": "bf16"},
    "kept optimizer": {"keep_optimizer": True},
    "any length in a batch": {"group_by_length": False},
    "no clipping": {"gradient_clip": None},
    "momentum": {"optimizer": {"kind": "sgd", "momentum": 0.5}, "learning_rate": 0.05},
    "warm-up and cosine": {"schedule": {"kind": "cosine", "warmup": 0.25}},
}
STEPS = {"accumulation": 4, "steps": 3}


@pytest.mark.parametrize("case", TRAINING)
def test_a_way_to_train_changes_the_model_and_learns(case: str, tmp_path: Path) -> None:
    config = small_run(tmp_path)
    plain = foedus.run(config | {"name": "plain"}).folder
    changed = config | {"local": {**config["local"], **TRAINING[case]}}
    assert {site.steps for site in foedus.explain(changed).participants or ()} == {STEPS.get(case, 4)}
    run = foedus.run(changed).folder
    assert losses(run)[-1] < losses(run)[0]
    assert weights(run) != weights(plain)
    assert {str(t.dtype) for t in load_file(run / "model" / "model.safetensors").values()} == {"torch.float32"}
    remembered = json.loads((run / "checkpoints" / "round-00002" / "participants" / "participants.json").read_text())
    assert remembered == (list(SITES) if case == "kept optimizer" else [])


@pytest.mark.parametrize("tuning", ["full", "lora"])
@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_gradient_checkpointing_changes_memory_and_not_the_model(family: Any, tuning: str, tmp_path: Path) -> None:
    config = small_run(tmp_path, family, model={"tuning": tuning})
    plain = foedus.run(config | {"name": "plain"})
    saving = foedus.run(config | {"local": {**config["local"], "gradient_checkpointing": True}})
    assert saving.summary["final"]["all"] == pytest.approx(plain.summary["final"]["all"], rel=1e-4)


def test_the_learning_rate_follows_the_clock_of_the_run(tmp_path: Path) -> None:
    local = {"schedule": {"kind": "linear", "warmup": 0.25}, "learning_rate": 1e-2}
    run = foedus.run(small_run(tmp_path, local=local, rounds={"count": 4})).folder
    rates = [record["learning_rate"] for record in records(run)[1:]]
    assert rates == pytest.approx([0, 1e-2, 1e-2 * 2 / 3, 1e-2 / 3])


def test_the_head_alone_can_be_trained_and_sent(tmp_path: Path) -> None:
    config = small_run(tmp_path, "distilbert", model={"tuning": "head"}, local={"learning_rate": 3e-2})
    result = foedus.run(config)
    parameters = result.summary["parameters"]
    assert parameters["sent"] == 16 * 16 + 16 + 3 * 16 + 3  # DistilBERT's two layers above its encoder
    assert losses(result.folder)[-1] < losses(result.folder)[0]
    before = load_file(Path(config["model"]["path"]) / "model.safetensors")
    after = load_file(result.model / "model.safetensors")
    assert all(after[f"distilbert.{name}"].equal(tensor) for name, tensor in before.items())


def test_a_merged_adapter_leaves_an_ordinary_model(tmp_path: Path) -> None:
    config = small_run(tmp_path, model={"tuning": "lora"})
    adapter = foedus.run(config)
    merged = foedus.run(config | {"name": "merged", "output": {**config["output"], "merge_adapter": True}})
    assert not list(merged.model.glob("adapter*"))
    texts = ["right skin", "pain in the chest"]
    of_both = zip(foedus.predict(adapter.folder, texts), foedus.predict(merged.folder, texts), strict=True)
    for apart, together in of_both:
        assert together["probability"] == pytest.approx(apart["probability"], rel=1e-4)


def test_pairs_of_texts_are_classified(tmp_path: Path) -> None:
    config = small_run(tmp_path, task={"text": ["note", "case"]})
    result = foedus.run(config)
    assert losses(result.folder)[-1] < losses(result.folder)[0]
    assert foedus.predict(result.folder, [("right skin", "3")])[0]["label"] in LABELS


def test_a_model_from_scratch_is_pre_trained(tmp_path: Path) -> None:
    config = small_run(tmp_path, "gpt2", "causal_lm", task={"packing": True})
    options = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}
    scratch = {"kind": "architecture", "type": "gpt2", "options": options, "tokenizer": config["model"]["path"]}
    result = foedus.run(config | {"model": scratch})
    assert losses(result.folder)[-1] < 0.9 * losses(result.folder)[0]
    assert result.summary["base_model"] is None


def test_evaluation_happens_as_often_as_asked_on_the_split_asked_for(tmp_path: Path) -> None:
    participants = {"split": {"validation": 0.25, "test": 0.2}}
    evaluation = {"split": "validation", "every": 2, "batch_size": 2}
    config = small_run(tmp_path, participants=participants, evaluation=evaluation, rounds={"count": 5})
    result = foedus.run(config)
    assert [record["round"] for record in records(result.folder) if record["evaluation"]] == [0, 2, 4, 5]
    assert {(of["train"], of["validation"], of["test"]) for of in result.summary["sites"].values()} == {(11, 5, 4)}
    assert "validation" in result.report.read_text()
    accuracies = {of["accuracy"] * 5 for of in result.summary["final"]["sites"].values()}
    assert all(count == pytest.approx(round(count)) for count in accuracies)  # of 5 rows each


PARTITIONS: Mapping[str, Mapping[str, Any]] = {
    "column": {"kind": "column", "column": "site"},
    "iid": {"kind": "iid", "count": 4},
    "sizes": {"kind": "sizes", "sizes": [3, 2, 1]},
    "dirichlet per class": {"kind": "dirichlet", "count": 3, "alpha": 1.0},
    "dirichlet per participant": {"kind": "dirichlet", "count": 3, "alpha": 1.0, "convention": "per_participant"},
    "shards": {"kind": "shards", "count": 5, "shards_per_participant": 2},
}


@pytest.mark.parametrize("case", PARTITIONS)
def test_one_data_set_becomes_participants(case: str, tmp_path: Path) -> None:
    config = small_run(tmp_path)
    lines = [
        f"{line},{site}" for site in SITES for line in (tmp_path / "sites" / f"{site}.csv").read_text().splitlines()[1:]
    ]
    (tmp_path / "all.csv").write_text("\n".join(["note,organ,case,site", *lines, ""]))
    held_out = [line for number, line in enumerate(lines) if number % 3 == 0]
    (tmp_path / "held_out.csv").write_text("\n".join(["note,organ,case,site", *held_out, ""]))
    into = {"kind": "partition", "path": str(tmp_path / "all.csv"), "into": PARTITIONS[case]}
    for test in (None, str(tmp_path / "held_out.csv")):
        given = into | ({"test": test} if test else {})
        result = foedus.run(config | {"participants": given}, overwrite=True)
        held = result.summary["sites"]
        assert len(held) == PARTITIONS[case].get("count", 3)
        rows = {split: sum(of[split] for of in held.values()) for split in ("train", "test")}
        assert rows == {"train": 3 * ROWS, "test": len(held_out)} if test else sum(rows.values()) == 3 * ROWS
        assert all(record["reports"] == len(held) for record in records(result.folder)[1:])
        if case == "column":
            assert list(held) == list(SITES)
        if case == "sizes" and test:
            assert [of["train"] for of in held.values()] == [30, 20, 10]
        if case == "shards" and test:
            assert all(len(of["labels"]) <= 4 for of in held.values())
        again = foedus.run(config | {"participants": given, "name": "again"}, overwrite=True)
        assert weights(again.folder) == weights(result.folder)


def test_every_kind_of_partition_is_here() -> None:
    assert {into["kind"] for into in PARTITIONS.values()} == set(kinds_of(Partition.model_fields["into"]))


def test_the_format_of_the_files_changes_nothing(tmp_path: Path) -> None:
    config = small_run(tmp_path)
    from_csv = foedus.run(config).folder
    tables = {site: pa.csv.read_csv(tmp_path / "sites" / f"{site}.csv") for site in SITES}
    (tmp_path / "north.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in tables["north"].to_pylist()))
    pa.parquet.write_table(tables["south"], tmp_path / "south.parquet")
    Dataset(tables["west"]).save_to_disk(tmp_path / "west-folder")
    files = {"north": "north.jsonl", "south": "south.parquet", "west": "west-folder"}
    listed = {"train": {site: str(tmp_path / file) for site, file in files.items()}}
    from_others = foedus.run(config | {"name": "others", "participants": listed}).folder
    assert weights(from_others) == weights(from_csv)


def test_labels_that_some_participants_lack_are_agreed_on_or_listed(tmp_path: Path) -> None:
    config = small_run(tmp_path)
    for site, label in zip(SITES, LABELS, strict=True):  # each has one class alone
        lines = (tmp_path / "sites" / f"{site}.csv").read_text().splitlines()
        kept = [line for line in lines[1:] if f",{label}," in line]
        (tmp_path / "sites" / f"{site}.csv").write_text("\n".join([lines[0], *kept, ""]))
    agreed = foedus.run(config)
    assert agreed.summary["labels"] == list(LABELS)
    listed = ["none", *reversed(LABELS)]
    result = foedus.run(config | {"name": "listed", "task": {**config["task"], "labels": listed}})
    settings = json.loads((result.model / "config.json").read_text())
    assert settings["id2label"] == {str(number): label for number, label in enumerate(listed)}
    assert [entry["label"] for entry in foedus.predict(result.folder, ["skin"], top_k=9)[0]["ranking"]][-1] in listed
