"""What each organisation would learn alone, beside a run between organisations."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import foedus
from deployed.loopback import Organisation, courier, organisations
from deployed.test_halves import SGD, data_of
from end_to_end.small_runs import SITES, small_run
from foedus.api.coordinate import Federated, coordinate, enqueue
from foedus.api.playing import RunResult
from foedus.config.loading import load_config
from foedus.core.errors import ConfigError
from foedus.engines.link.courier import Patience
from foedus.federation.events import Event, ParticipantReported, RoundEnded, RoundStarted
from foedus.federation.messages import Evaluate, Failure, SecureSumStep
from foedus.federation.run_folder import RunFolder
from foedus.privacy.signing.identity import Identity
from foedus.privacy.signing.pins import save_pins
from foedus.reporting.report import write_comparison_report
from reporting.page_reading import assert_sound

MASKED: dict[str, Any] = {
    "secure_sum": {"kind": "masks", "value_range": 4.0},
    "evaluation": {"per_site": False, "baselines": True},
}
PLAIN: dict[str, Any] = {"evaluation": {"baselines": True}}


class Killed(Exception):  # noqa: N818 - it says what happened
    pass


class Played:
    """A run of three organisations that compares. refusing: those whose files do not allow that."""

    def __init__(self, folder: Path, config: dict[str, Any], refusing: tuple[str, ...] = (), **allow: Any) -> None:
        self.key = Identity.create()
        models = [str(config["model"]["path"])]
        made, self.pins = organisations(
            folder, data_of(folder), coordinator=self.key, models=models, baselines=True, **allow
        )
        self.made = {name: _refusing(each) if name in refusing else each for name, each in made.items()}
        self.way, self.carrier = courier(self.made, Patience(lost=0.5, still=60, least=60))
        self.folder = RunFolder(folder / "deployed")
        enqueue(load_config(config), self.folder)

    def play(self, observe: Callable[[Event], None] = lambda event: None) -> RunResult:
        federated = Federated(self.way, list(SITES), self.pins, identity=lambda: self.key)
        return coordinate(self.folder, federated, observe=observe)

    def homes(self, name: str) -> Path:
        """Return where an organisation keeps its own comparisons."""
        return self.made[name].home.folder / "comparisons"


def _refusing(organisation: Organisation) -> Organisation:
    home = organisation.home
    allow = home.file.allow.model_copy(update={"baselines": False})
    return Organisation(replace(home, file=home.file.model_copy(update={"allow": allow}).rooted(home.file.root)))


def last(result: RunResult) -> Mapping[str, Mapping[str, float]]:
    """Return the figures of the three models over all rows."""
    evaluation = result.rounds[-1]["evaluation"]
    return {"all": evaluation["all"], **{model: evaluation[model]["all"] for model in ("start", "alone")}}


def assert_same(one: Mapping[str, Mapping[str, float]], other: Mapping[str, Mapping[str, float]]) -> None:
    assert one.keys() == other.keys()
    for model in one:
        assert other[model] == pytest.approx(one[model], rel=1e-4, abs=1e-5), model


@pytest.mark.parametrize(
    ("head", "sections"),
    [("classification", MASKED), ("causal_lm", MASKED), ("causal_lm", PLAIN)],
    ids=["classified, masked", "written, masked", "written, plain"],
)
def test_the_models_compared_are_those_of_the_embedded_run(tmp_path: Path, head: Any, sections: dict[str, Any]) -> None:
    config = small_run(tmp_path, "gpt2" if head == "causal_lm" else "bert", head, **SGD, **sections)
    embedded, between = foedus.run(config), Played(tmp_path, config).play()
    assert_same(last(embedded), last(between))
    assert [record["round"] for record in between.rounds] == [1, 2]  # what it starts from is measured at the end, once
    assert ("sites" in between.rounds[-1]["evaluation"]["alone"]) == (sections is PLAIN)
    for result in (embedded, between):
        table = json.loads((result.folder / "comparison.json").read_text())
        assert [arm["name"] for arm in table["arms"]] == ["start", "alone", "federated"]
        page = assert_sound(result.report.read_text())
        assert "each site alone" in page.text


def test_ciphertexts_compare_what_masks_do(tmp_path: Path) -> None:
    pytest.importorskip("tenseal")
    config = small_run(tmp_path, **SGD, **MASKED)
    encrypted = {**config, "secure_sum": {"kind": "ckks", "value_range": 4.0}}
    assert_same(last(foedus.run(config)), last(Played(tmp_path, encrypted, shared_key=True).play()))


def test_alone_is_what_a_comparison_on_one_machine_trains_alone(tmp_path: Path) -> None:
    config = small_run(tmp_path, **PLAIN, rounds={"count": 3})
    [alone] = [arm for arm in foedus.compare(config).table["arms"] if arm["name"] == "local only"]
    found = foedus.run(config).rounds[-1]["evaluation"]["alone"]["sites"]
    for site, figures in alone["runs"][0]["sites"].items():
        assert found[site] == pytest.approx(figures, rel=1e-5)


def test_each_organisation_has_its_own_comparison_and_nobody_else_has_it(tmp_path: Path) -> None:
    result = (played := Played(tmp_path, small_run(tmp_path, **SGD, **MASKED))).play()
    rows = losses = 0.0
    for name in SITES:
        [place] = played.homes(name).iterdir()
        assert place.stat().st_mode & 0o077 == 0
        own = json.loads((place / "comparison.json").read_text())
        assert own["of"] == name
        [alone] = [arm["runs"][0]["all"] for arm in own["arms"] if arm["name"] == "alone"]
        rows, losses = rows + 1, losses + alone["loss"]
        page = assert_sound(write_comparison_report(place).read_text())
        assert f"{name} alone" in page.text
    assert losses / rows == pytest.approx(last(result)["alone"]["loss"], rel=1e-4)  # all have as many held-out rows
    kept = "".join(path.read_text() for path in result.folder.glob("*.json*"))
    assert '"sites"' not in kept


def test_who_refuses_trains_and_is_in_no_figure(tmp_path: Path) -> None:
    config = small_run(tmp_path, **SGD, **{**MASKED, "secure_sum": {**MASKED["secure_sum"], "min_cohort": 2}})
    played = Played(tmp_path, config, refusing=("west",))
    asked: set[tuple[str, str]] = set()

    def note(event: Event) -> None:
        if isinstance(event, ParticipantReported):
            asked.add((event.participant, event.phase))

    result = played.play(note)
    assert {name for name, phase in asked if phase == "alone"} == {"north", "south"}
    assert not played.homes("west").exists()
    assert all(record["reports"] == 3 for record in result.rounds)
    assert any("west did not" in said for said in result.summary["notes"])
    of_two = foedus.run(small_run(tmp_path, **SGD, **PLAIN)).rounds[-1]["evaluation"]
    for model in ("start", "alone"):
        losses = [of_two[model]["sites"][name]["loss"] for name in ("north", "south")]
        assert last(result)[model]["loss"] == pytest.approx(sum(losses) / 2, rel=1e-4)
    [west] = played.made["west"].runs.values()
    answer = west.answer(SecureSumStep(b"", Evaluate({}, "test", 1)))
    assert isinstance(answer, Failure)
    assert "those alone are measured who train a model of their own" in answer.reason


def test_too_few_to_compare_leaves_the_run_as_it_would_be(tmp_path: Path) -> None:
    config = small_run(tmp_path, **SGD, **MASKED)  # min_cohort is 3
    without = {**config, "evaluation": {"per_site": False}, "name": "without"}
    result = Played(tmp_path, config, refusing=("west",)).play()
    assert result.rounds[-1]["evaluation"]["all"] == pytest.approx(
        foedus.run(without).rounds[-1]["evaluation"]["all"], rel=1e-4
    )
    assert not (result.folder / "comparison.json").exists()
    assert any("Too few" in said for said in result.summary["notes"])


@pytest.mark.parametrize("also", ["the coordinator alone", "everybody"])
def test_a_killed_coordinator_compares_what_it_would_have(tmp_path: Path, also: str) -> None:
    config = small_run(tmp_path, **SGD, **MASKED, rounds={"count": 3})
    expected = last(foedus.run(config))
    played = Played(tmp_path, config)

    def kill(event: Event) -> None:
        if isinstance(event, ParticipantReported) and (event.round, event.phase) == (3, "alone"):
            raise Killed  # one of them has trained alone for three rounds, the others have not

    with pytest.raises(Killed):
        played.play(kill)
    if also == "everybody":
        for organisation in played.made.values():
            organisation.restart()
    rounds: list[int] = []
    result = played.play(lambda event: rounds.append(event.record["round"]) if isinstance(event, RoundEnded) else None)
    assert rounds == [3]
    assert_same(expected, last(result))


def test_who_was_away_catches_up_and_is_compared(tmp_path: Path) -> None:
    of_two = {**MASKED, "secure_sum": {**MASKED["secure_sum"], "min_cohort": 2, "threshold": 2}}
    config = small_run(tmp_path, **SGD, **of_two, rounds={"count": 3})
    played = Played(tmp_path, config)

    def cut(event: Event) -> None:
        if isinstance(event, RoundStarted):
            played.carrier.cut = {"west"} if event.round == 2 else set()

    result = played.play(cut)
    assert [record["reports"] for record in result.rounds] == [3, 2, 3]
    alone = foedus.run({**config, **PLAIN, "secure_sum": "none"}).rounds[-1]["evaluation"]["alone"]
    assert "left_out" not in result.rounds[-1]["evaluation"]
    assert last(result)["alone"]["loss"] == pytest.approx(alone["all"]["loss"], rel=1e-4)


def test_who_is_away_at_the_end_is_in_none_of_the_three(tmp_path: Path) -> None:
    of_two = {**MASKED, "secure_sum": {**MASKED["secure_sum"], "min_cohort": 2, "threshold": 2}}
    config = small_run(tmp_path, **SGD, **of_two)
    played = Played(tmp_path, config)

    def cut(event: Event) -> None:
        if isinstance(event, ParticipantReported) and (event.round, event.phase) == (2, "train"):
            played.carrier.cut = {"west"}

    found = last(played.play(cut))
    of_each = foedus.run({**config, **PLAIN, "secure_sum": "none"}).rounds[-1]["evaluation"]
    for model in ("start", "alone"):
        losses = [of_each[model]["sites"][name]["loss"] for name in ("north", "south")]
        assert found[model]["loss"] == pytest.approx(sum(losses) / 2, rel=1e-4)


def test_a_resumed_run_on_one_machine_compares_what_it_would_have(tmp_path: Path) -> None:
    config = small_run(tmp_path, **PLAIN, rounds={"count": 3})
    whole = foedus.run({**config, "name": "whole"})

    def kill(event: Event) -> None:
        if isinstance(event, RoundStarted) and event.round == 3:
            raise Killed

    with pytest.raises(Killed):
        foedus.run(config, observe=kill)
    resumed = foedus.resume(tmp_path / "runs" / "small")
    assert resumed.rounds[-1]["evaluation"] == whole.rounds[-1]["evaluation"]


def test_a_signed_run_compares_and_is_checked(tmp_path: Path) -> None:
    config = small_run(tmp_path, **SGD, **MASKED, signatures="ed25519")
    played = Played(tmp_path, config)
    result = played.play()
    assert_same(last(foedus.run({**config, "signatures": "none", "name": "unsigned"})), last(result))
    save_pins(tmp_path / "pins.json", played.pins)
    assert foedus.verify(result.folder, keys=tmp_path).rounds == 2


def test_a_private_run_compares_nothing(tmp_path: Path) -> None:
    config = small_run(
        tmp_path,
        evaluation={"per_site": False, "baselines": True},
        privacy={"kind": "records", "epsilon": 4, "delta": 0.01, "evaluation": "public"},
    )
    with pytest.raises(ConfigError, match=r"evaluation\.baselines: each participant's own model is trained"):
        enqueue(load_config(config), RunFolder(tmp_path / "deployed"))
