from pathlib import Path
from typing import Any

import pytest

from end_to_end.small_runs import small_run
from foedus.api.dry_run import COMPARED, EVALUATION, SIGNED, SPENT, TOLD, UNCOMPARED, UPDATE, DryRun, dry_run
from foedus.config.assemble import assemble
from foedus.config.loading import load_config
from foedus.core.errors import ConsentError
from foedus.engines.codec.messages import encode_answer
from foedus.federation.messages import Clock, Evaluate, Evaluation, LocalUpdate, Train
from foedus.federation.protocols import ServerState

EXACTLY = 200  # bytes by which two messages of the same shapes may differ: numbers in their heads are of any length

SCAFFOLD = {"strategy": "scaffold", "local": {"optimizer": {"kind": "sgd"}}}


def _file(folder: Path, model: str, site: str, **allow: Any) -> Path:
    unit = allow.pop("budget", None)
    budget = f"budget: {{epsilon: 50, delta: 0.01, unit: {unit}}}\n" if unit else ""
    path = folder / "participant.yaml"
    allowed = "".join(f", {key}: {str(value).lower()}" for key, value in allow.items())
    path.write_text(
        f"data: {{train: sites/{site}.csv}}\nallow: {{runs: ['*'], models: ['{model}'], tell_labels: true{allowed}}}\n"
        f"device: cpu\n{budget}"
    )
    return path


def _dry(folder: Path, config: dict[str, Any], **allow: Any) -> DryRun:
    site = next(path.stem for path in sorted((folder / "sites").iterdir()))
    file = _file(folder, config["model"]["path"], site, **allow)
    return dry_run(file, config, site, [path.stem for path in sorted((folder / "sites").iterdir())])


def _sent(config: dict[str, Any], name: str) -> tuple[LocalUpdate, Evaluation]:
    """Return what a participant of the run itself answers."""
    assembly = assemble(load_config(config))
    federation = assembly.federation()
    state = ServerState(0, assembly.initial, federation.algorithm.init(assembly.initial))
    message = federation.algorithm.message(state, Clock(0, 1))
    [(_, update)] = federation.engine.exchange({name: Train(message)})
    [(_, evaluation)] = federation.engine.exchange({name: Evaluate(assembly.initial, "test", 0, True)})
    assert isinstance(update, LocalUpdate)
    assert isinstance(evaluation, Evaluation)
    return update, evaluation


def _size(answer: LocalUpdate | Evaluation) -> int:
    return sum(len(piece) for piece in encode_answer(answer))


@pytest.mark.parametrize("sections", [{}, SCAFFOLD, {"compression": {"kind": "fp16"}}], ids=str)
def test_what_is_told_is_what_the_run_sends(tmp_path: Path, sections: dict[str, Any]) -> None:
    config = small_run(tmp_path, **sections)
    found = _dry(tmp_path, config, plain_sums=True, own_figures=True)
    update, evaluation = _sent(config, found.organisation)
    told, updates, evaluations = found.phases
    assert (told.name, updates.name, evaluations.name) == (TOLD, UPDATE, EVALUATION)
    sent = {
        f"{part}/{name}": tuple(tensor.shape)
        for part, tree in {**update.averaged, **update.summed}.items()
        for name, tensor in tree.items()
    }
    figures = dict.fromkeys(["weight", *update.metrics, *update.counts, *update.encoded], ())
    assert {item.name: item.shape for item in updates.items} == {**sent, **figures}
    assert {item.name: item.shape for item in evaluations.items} == {
        name: tuple(tensor.shape) for name, tensor in evaluation.sums.items()
    }
    assert abs(updates.size - _size(update)) < EXACTLY
    assert abs(evaluations.size - _size(evaluation)) < EXACTLY
    assert updates.alone
    assert updates.times == load_config(config).rounds.count


@pytest.mark.parametrize(("kind", "allowed"), [("masks", {}), ("ckks", {"shared_key": True})])
def test_in_secure_sums_nothing_but_the_introduction_is_seen_alone(
    tmp_path: Path, kind: str, allowed: dict[str, bool]
) -> None:
    config = small_run(tmp_path, secure_sum={"kind": kind, "min_cohort": 2}, evaluation={"per_site": False})
    found = _dry(tmp_path, config, min_cohort=2, **allowed)
    assert [phase.alone for phase in found.phases] == [True, False, False]
    assert found.phases[1].size > sum(item.size for item in found.phases[1].items)


def test_what_the_own_file_does_not_allow_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    config = small_run(tmp_path)
    with pytest.raises(ConsentError, match=r"allow\.plain_sums is false"):
        _dry(tmp_path, config)


def test_a_message_over_the_limit_is_named(tmp_path: Path) -> None:
    config = small_run(tmp_path)
    site = sorted((tmp_path / "sites").iterdir())[0].stem
    file = _file(tmp_path, config["model"]["path"], site, plain_sums=True, own_figures=True)
    file.write_text(file.read_text() + "limits: {upload_bytes: 100}\n")
    with pytest.raises(ConsentError, match=r"limits\.upload_bytes of the participant's file allows 100"):
        dry_run(file, config, site)


def test_no_row_is_in_what_is_told(tmp_path: Path) -> None:
    found = _dry(tmp_path, small_run(tmp_path), plain_sums=True, own_figures=True)
    rows = (tmp_path / "sites" / f"{found.organisation}.csv").read_text().splitlines()[1:]
    assert set(found.facts) == {"compares", "labels", "listed", "shown", "splits", "weight_bound"}
    assert not found.facts["shown"]
    assert not any(row.split(",")[0] in str(found) for row in rows)


@pytest.mark.parametrize("bits", [8, 16])
def test_an_upload_that_gets_its_noise_at_home_is_one_vector_of_few_bits(tmp_path: Path, bits: int) -> None:
    distributed = {"kind": "distributed", "colluders": 0, "bits": bits}
    config = small_run(
        tmp_path,
        privacy={"kind": "participants", "noise_multiplier": 4.0, "delta": 0.1, "mechanism": distributed},
        secure_sum={"kind": "masks", "min_cohort": 3},
        task={"labels": ["heart", "lung", "skin"]},
    )
    found = _dry(tmp_path, config, budget="participant")
    assert [phase.name for phase in found.phases] == [TOLD, UPDATE, SPENT]
    [upload] = found.phases[1].items
    assert upload.kind.startswith(f"{bits} bits")
    assert upload.size == bits // 8 * upload.shape[0]
    assert found.facts["weight_bound"] == 1


def test_of_hidden_records_neither_figures_nor_sizes_would_leave(tmp_path: Path) -> None:
    config = small_run(
        tmp_path,
        privacy={"kind": "records", "epsilon": 4.0},
        task={"labels": ["heart", "lung", "skin"]},
        local={"steps": 2},
        signatures="ed25519",
    )
    found = _dry(tmp_path, config, plain_sums=True, budget="record")
    assert [phase.name for phase in found.phases] == [TOLD, UPDATE, SPENT, SIGNED]
    assert found.phases[-1].times == 2 + 1  # rounds, and the end
    assert "loss" not in {item.name for item in found.phases[1].items}
    assert found.facts["weight_bound"] == 1


MASKED = {"kind": "masks", "value_range": 4.0}


@pytest.mark.parametrize("sum_", ["none", MASKED], ids=str)
def test_a_run_that_compares_sends_the_figures_of_three_models_once(tmp_path: Path, sum_: Any) -> None:
    plain = sum_ == "none"
    config = small_run(tmp_path, secure_sum=sum_, evaluation={"per_site": plain, "baselines": True})
    found = _dry(tmp_path, config, plain_sums=plain, own_figures=plain, baselines=True)
    told, _, evaluations, compared = found.phases
    assert "compares" in {item.name for item in told.items}
    assert (evaluations.name, evaluations.times) == (EVALUATION, 1)  # of two rounds; at the start nothing is measured
    assert (compared.name, compared.times) == (COMPARED, 1)
    names = {item.name for item in evaluations.items}
    assert {"loss", "start/loss", "alone/loss"} <= {item.name for item in compared.items}
    assert names < {item.name for item in compared.items}
    assert not any("/" in name for name in names)


def test_who_does_not_compare_is_told_that_figures_leave_if_too_few_do(tmp_path: Path) -> None:
    config = small_run(tmp_path, secure_sum=MASKED, evaluation={"per_site": False, "baselines": True})
    _, _, measured = _dry(tmp_path, config).phases
    assert measured.name == UNCOMPARED
    assert "loss" in {item.name for item in measured.items}
    assert not any("/" in item.name for item in measured.items)
