from __future__ import annotations

from typing import Any

import pytest

from foedus.config.ground import weight_bound
from foedus.config.loading import load_config
from foedus.config.problems import problems
from foedus.config.sections import PlainSum
from foedus.config.secure_sums import build_kind, greatest_weight
from foedus.core.errors import ConfigError

SMALL: dict[str, Any] = {
    "task": {"kind": "text_classification", "text": "t", "label": "l", "labels": ["a", "b"]},
    "model": {"path": "m"},
    "participants": {"train": "*.csv"},
    "secure_sum": "masks",
    "evaluation": {"per_site": False},
}
TEXT = {"kind": "causal_lm", "text": "t"}
KINDS = ("masks", "ckks")
RECORDS = {"kind": "records", "epsilon": 8}


def found(**values: Any) -> list[str]:
    return problems(load_config(SMALL | values))


@pytest.mark.parametrize("kind", KINDS)
def test_secure_sums_go_with_a_plain_run_and_with_hidden_records(kind: str) -> None:
    assert found(secure_sum=kind) == []
    assert found(secure_sum=kind, privacy=RECORDS, strategy={"kind": "fedavg", "weighting": "uniform"}) == []


def test_unreviewed_cryptography_is_refused_unless_it_is_accepted_by_name() -> None:
    begins = "secure_sum.accept_unreviewed: is false, and secure_sum: threshold is experimental"
    for refused in ("threshold", {"kind": "threshold", "accept_unreviewed": False}):
        assert [problem.startswith(begins) for problem in found(secure_sum=refused)] == [True]
    assert found(secure_sum={"kind": "threshold", "accept_unreviewed": True}) == []
    signed = found(secure_sum={"kind": "threshold", "accept_unreviewed": True}, signatures="ed25519")
    assert [problem[:44] for problem in signed] == ["signatures: cannot log what secure_sum: thre"]
    with pytest.raises(ConfigError, match="threshold"):  # how many must stay is no choice: all
        load_config(SMALL | {"secure_sum": {"kind": "threshold", "accept_unreviewed": True, "threshold": 3}})


@pytest.mark.parametrize("compression", ["int8", "int4"])
def test_narrow_words_are_for_masks(compression: str) -> None:
    assert found(secure_sum="masks", compression=compression) == []
    begins = f"compression: is {compression}, but ckks packs values by itself"
    assert [problem.startswith(begins) for problem in found(secure_sum="ckks", compression=compression)] == [True]


def test_a_tokenizer_is_learnt_under_masks_alone() -> None:
    bpe = {"kind": "architecture", "type": "gpt2", "tokenizer": {"kind": "bpe", "vocabulary": 300}}
    assert found(secure_sum="masks", task=TEXT, model=bpe) == []
    begins = "model.tokenizer: bpe is learnt from many sums"
    assert [problem.startswith(begins) for problem in found(secure_sum="ckks", task=TEXT, model=bpe)] == [True]


def test_a_threshold_key_for_more_participants_than_it_is_made_for_is_refused() -> None:
    accepted = load_config(SMALL | {"secure_sum": {"kind": "threshold", "accept_unreviewed": True}}).secure_sum
    assert not isinstance(accepted, PlainSum)
    assert build_kind(accepted, 32).describe() == "threshold 1 ring 16384 432 flood 40"
    with pytest.raises(ConfigError, match="there are 33 participants; it is for at most 32"):
        build_kind(accepted, 33)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("values", "begin"),
    [
        ({"evaluation": {"per_site": True}}, "evaluation.per_site: shows single participants' figures"),
        ({"compression": "top_k"}, "compression: top_k sends other places of each"),
        ({"compression": "fp16"}, "compression: fp16 are floating-point numbers"),
        (
            {"privacy": {"kind": "participants", "epsilon": 8}, "strategy": {"kind": "fedavg", "weighting": "uniform"}},
            "secure_sum: {kind} shows every participant who else takes part",
        ),
        (
            {"rounds": {"cohort": {"kind": "fixed", "size": 2}}},
            "rounds.cohort.size: is 2, and secure_sum.min_cohort is 3",
        ),
        (
            {"task": TEXT, "strategy": {"kind": "fedavg", "weighting": "tokens"}, "privacy": RECORDS},
            "secure_sum.max_weight: is needed with strategy.weighting tokens",
        ),
        (
            {"task": TEXT, "strategy": {"kind": "diloco", "weighting": "uniform", "streaming": {"fragments": 2}}},
            "strategy.streaming: sends each participant what it lacks",
        ),
    ],
)
def test_what_would_leave_in_the_clear_or_could_not_be_summed_is_refused(
    kind: str, values: dict[str, Any], begin: str
) -> None:
    problems = found(**{"secure_sum": kind} | values)
    assert any(problem.startswith(begin.format(kind=kind)) for problem in problems), problems


def test_the_greatest_weight_follows_from_the_rows() -> None:
    config = load_config(SMALL)
    assert greatest_weight(config, weight_bound([300, 512])) == 512
    assert greatest_weight(config, weight_bound([513])) == 1024
    uniform = load_config(SMALL | {"strategy": {"kind": "fedavg", "weighting": "uniform"}})
    assert greatest_weight(uniform, weight_bound([300])) == 1
