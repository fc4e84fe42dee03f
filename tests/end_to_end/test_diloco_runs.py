"""DiLoCo, Muon and compression from a configuration to a model folder, on a tiny GPT-2."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import foedus
from foedus.config.assemble import assemble
from foedus.core import trees
from foedus.core.errors import ConfigError
from foedus.federation.messages import Broadcast, Clock, LocalUpdate, payload_bytes
from foedus.models.hidden import hidden_matrices
from foedus.strategies.fedavg import fedavg
from tiny_models import tiny_folder

pytestmark = pytest.mark.end_to_end

LINES = ["the pain in the left lung", "skin of the right", "of the chest and the skin", "left and right"]


def config(folder: Path, name: str = "run", sites: int = 3, **given: Any) -> dict[str, Any]:
    """Return a run of three rounds of four steps over some sites with rows of their own."""
    data = folder / "data"
    data.mkdir(exist_ok=True)
    for number in range(sites):
        rows = [f"{LINES[(number + i) % 4]} {i}" for i in range(12)]
        (data / f"site{number}.csv").write_text("\n".join(["text", *rows]) + "\n")
    values: dict[str, Any] = {
        "name": name,
        "task": {"kind": "causal_lm", "text": "text", "max_length": 24},
        "model": {"path": str(tiny_folder("gpt2", folder, "causal_lm"))},
        "participants": {"train": str(data / "*.csv"), "split": {"test": 0.25}},
        "strategy": "diloco",
        "local": {"steps": 4, "batch_size": 3, "learning_rate": 5e-3},
        "rounds": {"count": 3},
        "device": "cpu",
        "output": {"folder": str(folder / "runs")},
    }
    return values | given


def trained(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


EVERY: list[dict[str, Any]] = [
    {},
    {"compression": {"kind": "sparseloco", "fraction": 0.1}},
    {"compression": {"kind": "int4", "broadcast": "int8"}},
    {"strategy": "fedavg", "compression": {"broadcast": "fp16"}},
    {"strategy": {"kind": "diloco", "inner_state": "average"}, "compression": "int8"},
    {"local": {"steps": 4, "batch_size": 3, "learning_rate": 5e-3, "optimizer": "muon"}, "compression": "int4"},
    {"strategy": {"kind": "diloco", "inner_state": "average"}, "local": {"steps": 2, "optimizer": "muon"}},
    {"strategy": "fedadam", "compression": {"kind": "top_k", "fraction": 0.2}},
    {"strategy": {"kind": "diloco", "inner_state": "reset"}, "compression": {"kind": "fp16", "error_feedback": False}},
]


@pytest.mark.parametrize("given", EVERY)
def test_explain_foretells_the_bytes_of_every_round(given: dict[str, Any], tmp_path: Path) -> None:
    values = config(tmp_path, **given)
    explained = foedus.explain(values)
    assert not explained.problems
    assert explained.traffic is not None
    for record in foedus.run(values).rounds[1:]:
        assert record["bytes"] == {"down": 3 * explained.traffic.down, "up": 3 * explained.traffic.up}
        assert not record["left_out"]


STREAMED: list[dict[str, Any]] = [
    {"strategy": {"kind": "diloco", "streaming": {"fragments": 2, "overlap": 3, "mixing": 0.25}}},
    {
        "strategy": {"kind": "diloco", "streaming": {"fragments": 2, "overlap": 1}},
        "compression": {"kind": "int4", "broadcast": "int8"},
        "rounds": {"count": 5},
    },
    {
        "strategy": {"kind": "diloco", "streaming": {"fragments": 3}, "inner_state": "reset"},
        "rounds": {"count": 4, "cohort": {"kind": "fixed", "size": 2}},
    },
]


@pytest.mark.parametrize("given", STREAMED[:2])
def test_explain_foretells_the_mean_bytes_of_fragments(given: dict[str, Any], tmp_path: Path) -> None:
    values = config(tmp_path, **given) | {"rounds": {"count": 5}}
    explained = foedus.explain(values)
    assert not explained.problems
    assert explained.traffic is not None
    assert any("mean of 2 fragments" in note for note in explained.notes)
    later = [record["bytes"] for record in foedus.run(values).rounds[2:]]
    assert sum(sent["up"] for sent in later) == pytest.approx(4 * 3 * explained.traffic.up, abs=12)
    assert sum(sent["down"] for sent in later) == pytest.approx(4 * 3 * explained.traffic.down, abs=12)


@pytest.mark.parametrize("given", EVERY + STREAMED)
def test_a_run_that_was_stopped_ends_with_the_same_bytes(given: dict[str, Any], tmp_path: Path) -> None:
    whole = foedus.run(config(tmp_path, **given))

    class StopHere(Exception):  # noqa: N818 - no error
        pass

    def stop(event: object) -> None:
        if isinstance(event, foedus.federation.events.RoundEnded) and event.record["round"] == 2:
            raise StopHere

    with pytest.raises(StopHere):
        foedus.run(config(tmp_path, "stopped", **given), observe=stop)
    resumed = foedus.resume(tmp_path / "runs" / "stopped")
    expected = trained(whole.folder)
    assert expected.keys() == trained(resumed.folder).keys()
    assert all(torch.equal(tensor, trained(resumed.folder)[name]) for name, tensor in expected.items())


def test_one_participant_at_full_step_without_momentum_is_local_training(tmp_path: Path) -> None:
    """DiLoCo (1, 0) of one site is the same, to the bit, as that site's training with no rounds between."""
    alone = config(tmp_path, sites=1, strategy={"kind": "diloco", "server_learning_rate": 1.0, "momentum": 0.0})
    alone["local"]["schedule"] = {"kind": "cosine", "warmup": 0.2}
    result = trained(foedus.run(alone).folder)

    assembly = assemble(foedus.load_config(alone))
    params, optimizer = assembly.initial, None
    for number in range(3):
        local = assembly.site_task("site0").train(params, Clock(number, 3), optimizer=optimizer)
        params, optimizer = trees.clone(local.params), local.optimizer
    assert all(torch.equal(result[name], tensor) for name, tensor in params.items())


def test_in_an_assembled_run_muon_has_the_hidden_matrices_and_no_vocabulary(tmp_path: Path) -> None:
    values = config(tmp_path, strategy={"kind": "diloco", "inner_state": "average"})
    values["local"] |= {"optimizer": "muon"}
    assembly = assemble(foedus.load_config(values))
    algorithm = assembly.federation().algorithm
    declared = algorithm.templates(assembly.initial, averaged=True)["optimizer"]
    with_muon = {name.removesuffix("/momentum_buffer") for name in declared if name.endswith("/momentum_buffer")}
    assert with_muon == hidden_matrices(assembly.loaded.model)
    assert not any("wte" in name or "wpe" in name or "lm_head" in name for name in with_muon)
    state = assembly.initial_state(assembly.federation())
    broadcast = Broadcast(algorithm.broadcast(state), Clock(0, 3))
    update, memory = algorithm.local(assembly.site_task("site0"), broadcast, {})
    assert trees.mismatch(update.averaged["optimizer"], declared) is None
    assert not memory


def test_int4_at_50_steps_uploads_380_times_less_than_a_synchronisation_every_step(tmp_path: Path) -> None:
    """Against FedAvg in fp32 after every step, for a GPT-2 of 0.11 M parameters."""
    model = {
        "kind": "architecture",
        "type": "gpt2",
        "tokenizer": str(tiny_folder("gpt2", tmp_path, "causal_lm")),
        "options": {"n_embd": 64, "n_layer": 2, "n_head": 2, "n_positions": 64},
    }
    values = config(tmp_path, model=model, compression="int4", rounds={"count": 1})
    values["local"] |= {"steps": 50}
    assembly = assemble(foedus.load_config(values))
    update = assembly.federation().algorithm.sample_update(assembly.initial, {"loss": 0.0})
    every_step = fedavg().sample_update(assembly.initial, {"loss": 0.0})
    assert trees.count(assembly.initial) > 1e5
    assert 50 * payload_bytes(every_step) / payload_bytes(update) >= 380


def test_a_malformed_upload_is_left_out_by_name_and_the_run_goes_on(tmp_path: Path) -> None:
    values = config(tmp_path, compression="int4")
    assembly = assemble(foedus.load_config(values))
    honest = assembly.federation().algorithm

    def local(task: Any, broadcast: Any, memory: Any) -> Any:
        update, after = honest.local(task, broadcast, memory)
        if task is not None and task.key == assembly.site_task("site1").key:
            update = cut_short(update)
        return update, after

    result = foedus.run(values | {"compression": "none"}, algorithm=replace(honest, local=local))
    for record in result.rounds[1:]:
        assert record["stood"]
        assert record["left_out"].keys() == {"site1"}
        assert "codes and scales do not fit" in record["left_out"]["site1"]


def cut_short(update: LocalUpdate) -> LocalUpdate:
    encoded: Any = update.encoded["delta"]
    tensors = {name: replace(tensor, codes=tensor.codes[:-1]) for name, tensor in encoded.tensors.items()}
    return replace(update, encoded={"delta": replace(encoded, tensors=tensors)})


def test_a_strategy_handed_to_run_is_compressed_like_a_configured_one(tmp_path: Path) -> None:
    values = config(tmp_path, strategy="fedavg", compression={"kind": "int4", "broadcast": "int8"}, rounds={"count": 1})
    configured = foedus.run(values)
    handed = foedus.run(values | {"name": "handed"}, algorithm=fedavg())
    assert handed.rounds[-1]["bytes"] == configured.rounds[-1]["bytes"]
    assert all(torch.equal(tensor, trained(handed.folder)[name]) for name, tensor in trained(configured.folder).items())


def test_a_strategy_that_compresses_already_is_not_compressed_again(tmp_path: Path) -> None:
    values = config(tmp_path, compression="int4")
    compressed = assemble(foedus.load_config(values)).federation().algorithm
    with pytest.raises(ConfigError, match="compresses its updates already"):
        foedus.run(values, algorithm=compressed)


def test_the_saved_configuration_asks_for_the_same_run(tmp_path: Path) -> None:
    result = foedus.run(config(tmp_path, compression={"kind": "top_k", "fraction": 0.1}, rounds={"count": 1}))
    saved = foedus.load_config(result.folder / "config.yaml")
    assert json.loads(saved.compression.model_dump_json())["fraction"] == 0.1
    assert saved.strategy.model_dump()["momentum"] == pytest.approx(0.3)


def test_tokens_and_steps_add_up_over_participants_and_rounds(tmp_path: Path) -> None:
    result = foedus.run(config(tmp_path))
    for record in result.rounds[1:]:
        assert record["steps"] == 3 * 4
        assert record["tokens"] == sum(site["tokens"] for site in record["sites"].values()) > 0
    told = result.summary["tokens"]
    assert told["trained"] == sum(record["tokens"] for record in result.rounds[1:])
    assert told["per_second"] == pytest.approx(told["trained"] / result.summary["seconds"]["train"], rel=1e-2)


def test_what_one_participant_trained_on_stays_its_own_figure(tmp_path: Path) -> None:
    result = foedus.run(config(tmp_path, sites=1, evaluation={"per_site": False}))
    assert [(record["steps"], record["tokens"]) for record in result.rounds[1:]] == [(None, None)] * 3
    assert result.summary["tokens"] == {"trained": None, "per_second": None}


def test_more_fragments_than_the_model_has_parts_are_refused_before_the_first_round(tmp_path: Path) -> None:
    streaming = {"fragments": 40}
    values = config(tmp_path, strategy={"kind": "diloco", "streaming": streaming}, rounds={"count": 40})
    assert "strategy.streaming.fragments is 40, but" in "\n".join(foedus.explain(values).problems)
    with pytest.raises(ConfigError, match=r"strategy\.streaming\.fragments is 40, but .*; use at most \d+"):
        foedus.run(values)


def test_the_model_that_is_kept_is_the_coordinators(tmp_path: Path) -> None:
    """What training leaves in the shared model is a participant's."""
    streaming = {"fragments": 2, "overlap": 2, "mixing": 1.0}
    result = foedus.run(config(tmp_path, strategy={"kind": "diloco", "streaming": streaming}))
    place = result.folder / "checkpoints" / "round-00003" / "server.safetensors"
    kept = {name.removeprefix("params/"): t for name, t in load_file(place).items() if name.startswith("params/")}
    assert all(torch.equal(tensor, kept[name]) for name, tensor in trained(result.folder).items())
