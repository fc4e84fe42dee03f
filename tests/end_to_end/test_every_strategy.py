"""Every strategy, as it stands in a YAML file, trains a Transformer; what cannot work is refused with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import foedus
from end_to_end.small_runs import losses, records, small_run, weights
from foedus.config.sections import RunConfig
from foedus.config.structure import kinds_of
from foedus.core.errors import ConfigError

pytestmark = pytest.mark.end_to_end

SGD = "{optimizer: sgd, learning_rate: 0.1}"
ADAMW = "{optimizer: adamw, learning_rate: 1e-2}"
# The strategy, the local training, and how many trees of the model's size travel down and up.
CASES = {
    "fedavg": ("fedavg", ADAMW, (1, 1)),
    "fedavg, slow server": ("{kind: fedavg, server_learning_rate: 0.5}", ADAMW, (1, 1)),
    "fedprox": ("{kind: fedprox, mu: 0.1}", ADAMW, (1, 1)),
    "fedprox, decoupled": ("{kind: fedprox, mu: 0.1, decoupled: true}", ADAMW, (1, 1)),
    "fedavgm": ("{kind: fedavgm, momentum: 0.5, weighting: uniform}", ADAMW, (1, 1)),
    "fedadam": ("{kind: fedadam, server_learning_rate: 0.01}", SGD, (1, 1)),
    "fedyogi": ("{kind: fedyogi, server_learning_rate: 0.01}", SGD, (1, 1)),
    "fedadagrad": ("{kind: fedadagrad, server_learning_rate: 0.01}", SGD, (1, 1)),
    "scaffold": ("scaffold", SGD, (2, 2)),
    "scaffold, option 1": (
        "{kind: scaffold, option: 1}",
        "{optimizer: sgd, learning_rate: 0.1, gradient_clip: null}",
        (2, 2),
    ),
    "fednova": ("fednova", "{optimizer: {kind: sgd, momentum: 0.5}, learning_rate: 0.1}", (1, 1)),
    "fednova, adamw": ("{kind: fednova, adaptive_heuristic: true}", ADAMW, (1, 1)),
    "feddyn": ("{kind: feddyn, alpha: 0.1}", SGD, (1, 1)),
    "fedexp": ("fedexp", ADAMW, (1, 1)),
    "diloco": ("{kind: diloco, momentum: 0.3}", ADAMW, (1, 1)),
    "custom": ("{kind: custom, path: mine/halfway.py, options: {share: 0.5}}", ADAMW, (1, 1)),
}
HALFWAY = """\
from foedus.federation.protocols import Algorithm
from foedus.strategies.local_training import step_against, train_and_send_delta


def algorithm(share: float) -> Algorithm:
    def step(state, aggregate):
        return step_against(state.params, aggregate.averaged["delta"], share), state.memory

    return Algorithm(local=train_and_send_delta, step=step)
"""


def written(folder: Path, strategy: str, local: str = ADAMW, **sections: Any) -> Path:
    """Return a run's YAML file, with a strategy of one's own in a folder beside it."""
    config = small_run(folder, **sections)
    parts = {"strategy": yaml.safe_load(strategy), "local": {"batch_size": 4, **yaml.safe_load(local)}}
    (folder / "mine").mkdir(exist_ok=True)
    (folder / "mine" / "halfway.py").write_text(HALFWAY)
    (folder / "small.yaml").write_text(yaml.safe_dump(config | parts))
    return folder / "small.yaml"


@pytest.mark.parametrize("case", CASES)
def test_a_strategy_of_a_yaml_file_trains_a_transformer(case: str, tmp_path: Path) -> None:
    strategy, local, (down, up) = CASES[case]
    result = foedus.run(written(tmp_path, strategy, local))
    assert all(record["stood"] and not record["left_out"] for record in records(result.folder)[1:])
    assert losses(result.folder)[-1] < losses(result.folder)[0]
    assert result.summary["strategy"] == case.partition(",")[0]
    size = 2 * 3 * 4 * result.summary["parameters"]["sent"]  # rounds, participants, bytes
    assert result.summary["bytes"]["down"] == down * size
    assert 0 <= result.summary["bytes"]["up"] - up * size < 2 * 3 * 100
    assert foedus.resume(result.folder).summary["final"] == result.summary["final"]


def test_every_kind_of_strategy_is_here() -> None:
    assert {case.partition(",")[0] for case in CASES} == set(kinds_of(RunConfig.model_fields["strategy"]))


def test_a_strategy_without_an_effect_is_fedavg(tmp_path: Path) -> None:
    """mu = 0, server momentum 0, and a whole step of one's own: the bytes of FedAvg."""
    fedavg = weights(foedus.run(written(tmp_path, "fedavg")).folder)
    for strategy in (
        "{kind: fedprox, mu: 0}",
        "{kind: fedavgm, momentum: 0}",
        "{kind: custom, path: mine/halfway.py, options: {share: 1.0}}",
    ):
        assert weights(foedus.run(written(tmp_path, strategy), overwrite=True).folder) == fedavg


REFUSED: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "scaffold with adamw": (
        {"strategy": "scaffold"},
        "scaffold needs local.optimizer sgd without momentum: it takes the distance gone, divided by the step sizes, "
        "for a gradient",
    ),
    "scaffold with momentum": (
        {"strategy": "scaffold", "local": {"optimizer": {"kind": "sgd", "momentum": 0.9}}},
        "local.optimizer.momentum: is 0.9; scaffold needs 0",
    ),
    "scaffold, weighted": (
        {"strategy": {"kind": "scaffold", "weighting": "examples"}, "local": {"optimizer": "sgd"}},
        "strategy.weighting: is examples; scaffold needs uniform",
    ),
    "feddyn, weighted": (
        {"strategy": {"kind": "feddyn", "weighting": "examples"}, "local": {"optimizer": "sgd"}},
        "strategy.weighting: is examples; feddyn needs uniform",
    ),
    "scaffold option 1 with clipping": (
        {"strategy": {"kind": "scaffold", "option": 1}, "local": {"optimizer": "sgd"}},
        "local.gradient_clip: is 1; scaffold's option 1 takes whole gradients",
    ),
    "fednova with kept momentum": (
        {"strategy": "fednova", "local": {"optimizer": {"kind": "sgd", "momentum": 0.9}, "keep_optimizer": True}},
        "local.keep_optimizer: fednova's normalisation takes momentum to start from rest",
    ),
    "fednova with adamw": ({"strategy": "fednova"}, "strategy.adaptive_heuristic: true"),
    "tokens for a classifier": (
        {"strategy": {"kind": "fedavg", "weighting": "tokens"}},
        "tokens suits language models",
    ),
    "a head of a language model": (
        {"task": {"kind": "causal_lm", "text": "note", "label": None}, "model": {"tuning": "head"}},
        "causal_lm puts none",
    ),
    "epochs and steps": ({"local": {"epochs": 1, "steps": 2}}, "local: give epochs or steps, not both"),
    "more reports than participants": ({"rounds": {"min_reports": 4}}, "rounds.min_reports is 4, but the run has 3"),
    "more reports than are asked": (
        {"rounds": {"cohort": {"kind": "fixed", "size": 1}, "min_reports": 2}},
        "only 1 participants train in a round",
    ),
    "a cohort of more than there are": (
        {"rounds": {"cohort": {"kind": "fixed", "size": 4}}},
        "rounds.cohort.size is 4, but the run has 3 participants",
    ),
    "merging without an adapter": ({"output": {"merge_adapter": True}}, "there is no adapter to merge"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_combination_that_cannot_work_is_refused_with_the_reason(case: str, tmp_path: Path) -> None:
    sections, reason = REFUSED[case]
    config = small_run(tmp_path, **sections)
    config["task"] = {name: value for name, value in config["task"].items() if value is not None}
    with pytest.raises(ConfigError) as refused:
        foedus.run(config)
    assert reason in str(refused.value)
    assert reason in "\n".join(foedus.explain(config).problems)
    assert not list((tmp_path / "runs").rglob("rounds.jsonl"))
