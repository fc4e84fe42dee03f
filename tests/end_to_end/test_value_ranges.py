"""Where `secure_sum` leaves its range of values out: a dry round finds it, or, of hidden records, the settings do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import foedus
from end_to_end.secure_runs import assembled, killing, secure_run
from end_to_end.small_runs import records, untimed, weights
from end_to_end.test_resuming import stopped
from foedus.config.loading import load_config
from foedus.config.value_range import play_dry_round
from foedus.core.errors import ConfigError, SecureSumError
from foedus.federation.messages import Clock, DryRound, Failure
from foedus.federation.round import play_round
from foedus.training.reach import adam_ratio

pytestmark = pytest.mark.end_to_end

OPEN = {"kind": "none"}
LEFT_OUT = {"kind": "masks"}
RATE, STEPS = 1e-2, 2


@pytest.fixture(autouse=True)
def ledgers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOEDUS_LEDGERS", str(tmp_path / "ledgers"))


def chosen(folder: Path) -> Any:
    return load_config(folder / "config.yaml").secure_sum


def purposes(folder: Path) -> set[str]:
    """Return what participants have answered for."""
    lines = [line for path in (folder / "secure_sums").glob("*.jsonl") for line in path.read_text().splitlines()]
    return {purpose for purpose in ("update", "evaluation", "dry round") if any(f"'{purpose}'" in x for x in lines)}


def test_a_dry_round_finds_a_range_that_nothing_lies_beyond(tmp_path: Path) -> None:
    result = foedus.run(secure_run(tmp_path, privacy=OPEN, secure_sum=LEFT_OUT), debug=True)
    found = chosen(result.folder).value_range
    # Adam's first steps go about one learning rate each: 2 of 0.01, so within 2^-5, and four times that.
    assert found == 4 * 2.0**-5
    assert [record["clipped"] for record in result.rounds if record["round"]] == [0, 0]
    assert purposes(result.folder) == {"update", "evaluation", "dry round"}


def test_the_dry_round_leaves_no_trace_in_the_model(tmp_path: Path) -> None:
    left_out = foedus.run(secure_run(tmp_path, privacy=OPEN, secure_sum=LEFT_OUT, name="a")).folder
    given = {"kind": "masks", "value_range": chosen(left_out).value_range}
    told = foedus.run(secure_run(tmp_path, privacy=OPEN, secure_sum=given, name="b")).folder
    assert weights(left_out) == weights(told)
    assert untimed(left_out) == untimed(told)
    assert purposes(told) == {"update", "evaluation"}


def test_a_resumed_run_keeps_the_range_and_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    whole = foedus.run(secure_run(tmp_path, privacy=OPEN, secure_sum=LEFT_OUT, name="whole")).folder
    cut = stopped(secure_run(tmp_path, privacy=OPEN, secure_sum=LEFT_OUT, name="cut"))
    resumed = foedus.resume(cut).folder
    assert chosen(resumed) == chosen(whole)
    assert weights(resumed) == weights(whole)
    assert untimed(resumed) == untimed(whole)


def test_tokens_that_count_are_bounded_too(tmp_path: Path) -> None:
    strategy = {"kind": "diloco", "weighting": "tokens"}
    config = secure_run(tmp_path, "gpt2", "causal_lm", privacy=OPEN, secure_sum=LEFT_OUT, strategy=strategy)
    result = foedus.run(config, debug=True)
    largest = max(record["weight"] for record in records(result.folder) if record["round"])
    assert chosen(result.folder).max_weight in {2.0**power for power in range(20)}
    assert largest / 5 <= chosen(result.folder).max_weight < largest


def test_hidden_records_play_no_dry_round_and_the_settings_bound_the_range(tmp_path: Path) -> None:
    result = foedus.run(secure_run(tmp_path, secure_sum=LEFT_OUT), debug=True)
    found = chosen(result.folder).value_range
    steps = RATE * sum(adam_ratio(0.9, 0.999, step) for step in (1, 2))
    assert steps < found < 1.2 * steps  # and weight decay
    assert purposes(result.folder) == {"update", "evaluation"}
    assert [record["clipped"] for record in result.rounds if record["round"]] == [0, 0]


def test_a_participant_that_hides_its_records_refuses_a_dry_round(tmp_path: Path) -> None:
    _, federation, state = assembled(secure_run(tmp_path, secure_sum={"kind": "none"}))
    request = DryRound(federation.algorithm.message(state, Clock(0, 2)))
    for _, reply in federation.engine.exchange(dict.fromkeys(federation.engine.population(), request)):
        assert isinstance(reply, Failure)
        assert "hides its records" in reply.reason


def test_nothing_that_bounds_it_means_that_it_must_be_given(tmp_path: Path) -> None:
    config = secure_run(tmp_path, secure_sum=LEFT_OUT, strategy="scaffold", local={"steps": 2, "optimizer": "sgd"})
    with pytest.raises(ConfigError, match=r"secure_sum.value_range: is left out"):
        foedus.run(config)


def test_a_dry_round_survives_one_that_vanishes_and_says_why_it_came_to_nothing(tmp_path: Path) -> None:
    assembly, federation, state = assembled(secure_run(tmp_path, privacy=OPEN, secure_sum=LEFT_OUT))
    side = play_dry_round(assembly.side, killing(federation, {"shore": 2}), state)
    assert side.config.secure_sum.value_range is not None  # type: ignore[union-attr] # these are masks
    with pytest.raises(ConfigError, match="came to nothing"):  # everybody answers once
        play_dry_round(assembly.side, federation, state)


def test_updates_are_not_summed_before_the_range_is_known(tmp_path: Path) -> None:
    _, federation, state = assembled(secure_run(tmp_path, privacy=OPEN, secure_sum=LEFT_OUT))
    with pytest.raises(SecureSumError, match="value_range is not known yet"):
        play_round(federation, state)


@pytest.mark.parametrize("privacy", [OPEN, None])
def test_explain_says_where_the_range_comes_from(tmp_path: Path, privacy: Any) -> None:
    config = secure_run(tmp_path, secure_sum=LEFT_OUT, **({"privacy": privacy} if privacy else {}))
    explanation = foedus.explain(config)
    assert not explanation.problems
    [note] = [note for note in explanation.notes if "value_range" in note]
    if privacy == OPEN:
        assert "trains once" in note
        assert "value_range: null" in explanation.config
    else:
        assert "hidden records" in note
        assert "value_range: 0.02" in explanation.config
