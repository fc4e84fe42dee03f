import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, get_available_trackers

from foedus.core.errors import ConfigError, MissingExtra
from foedus.federation.events import RoundEnded, RoundStarted, RunEnded, RunStarted
from foedus.reporting.trackers import PACKAGES, require_trackers, round_figures, tracking
from reporting.made_runs import make_run

STARTED = RunStarted("clinics", ["a"], 2, 1, "accuracy", True, 1, "cpu")


class Recorder(GeneralTracker):  # type: ignore[misc]  # accelerate states no types
    """A tracker of accelerate's own kind that keeps what it is told."""

    name = "recorder"
    requires_logging_directory = True
    all: "list[Recorder]" = []  # noqa: RUF012 - accelerate makes the instances
    fails_in_round: int | None = None

    def __init__(self, run_name: str, logging_dir: str) -> None:
        super().__init__()
        self.run_name, self.logging_dir = run_name, logging_dir
        self.settings: Mapping[str, Any] = {}
        self.logged: list[tuple[int, Mapping[str, float]]] = []
        self.is_finished = False
        Recorder.all.append(self)

    @property
    def tracker(self) -> "Recorder":
        return self

    def store_init_configuration(self, values: Mapping[str, Any]) -> None:
        self.settings = values

    def log(self, values: Mapping[str, float], step: int, **_: object) -> None:
        if step == self.fails_in_round:
            raise ConnectionError
        self.logged.append((step, values))

    def finish(self) -> None:
        self.is_finished = True


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> type[Recorder]:
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "recorder", Recorder)
    monkeypatch.setattr(Recorder, "fails_in_round", None)
    Recorder.all.clear()
    return Recorder


def test_every_tracker_gets_each_rounds_figures(tmp_path: Path, recorder: type[Recorder]) -> None:
    folder = make_run(tmp_path)
    records = [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]
    with tracking(["recorder"], folder / "trackers", {"local": {"epochs": 1}}) as observe:
        observe(STARTED)
        observe(RoundStarted(1, ["a"]))
        for record in records:
            observe(RoundEnded(record))
        observe(RunEnded(folder, None, None, {}))
    (tracker,) = recorder.all
    assert (tracker.run_name, tracker.logging_dir) == ("clinics", str(folder / "trackers"))
    assert tracker.settings == {"local.epochs": 1}
    assert [step for step, _ in tracker.logged] == list(range(11))
    final = tracker.logged[-1][1]
    assert final["all/accuracy"] == records[-1]["evaluation"]["all"]["accuracy"]
    assert final["sites/eye_clinic/accuracy"] == records[-1]["evaluation"]["sites"]["eye_clinic"]["accuracy"]
    assert final["bytes/up"] == records[-1]["bytes"]["up"]
    assert tracker.is_finished


def test_a_tracker_is_closed_when_the_run_fails(tmp_path: Path, recorder: type[Recorder]) -> None:
    def fail() -> None:
        with tracking(["recorder"], tmp_path, {}) as observe:
            observe(STARTED)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert recorder.all[0].is_finished


def test_a_tracker_that_fails_is_dropped_and_the_run_goes_on(
    tmp_path: Path, recorder: type[Recorder], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(recorder, "fails_in_round", 2)
    with caplog.at_level(logging.WARNING, "foedus"), tracking(["recorder"], tmp_path, {}) as observe:
        observe(STARTED)
        for number in (1, 2, 3):
            observe(RoundEnded({"round": number}))
    assert [step for step, _ in recorder.all[0].logged] == [1]
    assert "the tracker recorder failed in round 2" in caplog.text


def test_each_run_in_a_block_has_its_own_tracker(tmp_path: Path, recorder: type[Recorder]) -> None:
    with tracking(["recorder"], tmp_path, {}) as observe:
        observe(STARTED)
        observe(STARTED)
        assert [tracker.is_finished for tracker in recorder.all] == [True, False]


def test_an_unknown_tracker_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="unknown tracker 'tensorbord'; did you mean 'tensorboard'"):
        require_trackers(["tensorbord"])


def test_a_missing_package_is_refused_before_the_run_with_the_command(tmp_path: Path) -> None:
    installed = {str(tracker) for tracker in get_available_trackers()}
    missing = next(name for name in sorted(PACKAGES) if name not in installed)
    with (
        pytest.raises(MissingExtra, match=f"pip install {PACKAGES[missing]}"),
        tracking([missing], tmp_path, {}),
    ):
        pytest.fail("the block must not start")


def test_every_tracker_of_accelerate_is_known() -> None:
    assert set(PACKAGES) == set(LOGGER_TYPE_TO_CLASS)


def test_without_trackers_nothing_is_forwarded(tmp_path: Path) -> None:
    with tracking([], tmp_path / "none", {}) as observe:
        observe(STARTED)
        observe(RoundEnded({"round": 1}))
    assert not (tmp_path / "none").exists()


def test_figures_are_finite_and_named_for_every_tracker() -> None:
    record = {
        "round": 1,
        "stood": True,
        "train": {"loss": math.nan},
        "evaluation": {"all": {"loss": 0.5}},
        "reports": 3,
    }
    assert round_figures(record) == {"all/loss": 0.5, "round/reports": 3.0}
