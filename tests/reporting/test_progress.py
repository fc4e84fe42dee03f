import io
import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from rich.console import Console

from foedus.federation.events import (
    Event,
    ParticipantReported,
    RoundEnded,
    RoundStarted,
    RunEnded,
    RunStarted,
    to_all,
)
from foedus.reporting.progress import json_lines, live, plain, progress_for, status
from foedus.reporting.watching import Watch, watch
from reporting.made_runs import HOSPITALS, MadeRun, make_run

SITES = ("north", "[red]south[/red]", "x\x1b[31my")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def events(folder: Path, rounds: int = 3, sites: Sequence[str] = SITES) -> Iterator[Event]:
    """Yield what a run tells whose second round loses a site and whose third does not stand."""
    run = make_run(folder, MadeRun(sites=sites, rounds=rounds))
    yield RunStarted("clinics", sites, rounds, 1, "accuracy", True, 82_198, "cpu")
    for site in sites:
        yield ParticipantReported(0, site, "evaluate", None, 0.1)
    for record in map(json.loads, (run / "rounds.jsonl").read_text().splitlines()):
        number = record["round"]
        if number:
            yield RoundStarted(number, sites)
            for site in sites:
                failed = "update holds NaN" if (number, site) == (2, sites[-1]) else None
                yield ParticipantReported(number, site, "train", None if failed else 0.5, 2.0, failed)
            for site in sites:
                yield ParticipantReported(number, site, "evaluate", None, 0.5)
        if number == 2:
            record |= {"left_out": {sites[-1]: "update holds NaN"}, "reports": len(sites) - 1}
        if number == 3:
            record |= {"stood": False, "reason": "1 of 3 updates could be used"}
        yield RoundEnded(record)
    summary = json.loads((run / "summary.json").read_text())
    yield RunEnded(run, run / "model", run / "report.html", summary)


def clock() -> Iterator[float]:
    """Yield times one second apart."""
    now = 0.0
    while True:
        now += 1.0
        yield now


def test_plain_progress_is_a_line_a_round_and_the_way_to_the_results(tmp_path: Path) -> None:
    stream, ticks = io.StringIO(), clock()
    observe = plain(stream, lambda: next(ticks))
    for event in events(tmp_path):
        observe(event)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "clinics: 3 sites, 3 rounds, 82,198 parameters sent a round, on cpu"
    assert lines[1].startswith("before training: accuracy 0.0")
    # A round has 1 + 3 + 3 + 1 events, so its end comes 7 seconds after its start, and two more are to come.
    assert lines[2].startswith("round 1 of 3: accuracy 0.")
    assert "3 of 3 sites" in lines[2]
    assert lines[2].endswith("about 14 s left")
    assert "  x\ufffd[31my left out of training: update holds NaN" in lines
    assert "  round 3 did not stand: 1 of 3 updates could be used" in lines
    assert "left" not in next(line for line in lines if line.startswith("round 3 of 3"))
    assert any("3 sites trained a model together: accuracy" in line for line in lines)
    assert lines[-3:] == [
        f"report  {tmp_path}/clinics/report.html",
        f"model   {tmp_path}/clinics/model",
        f'try it  foedus predict {tmp_path}/clinics "your text"',
    ]
    assert "\x1b" not in stream.getvalue()


def test_a_resumed_run_says_with_which_round_it_goes_on(tmp_path: Path) -> None:
    stream = io.StringIO()
    plain(stream)(RunStarted("clinics", ["a"], 10, 4, "accuracy", True, 1, "cpu"))
    assert stream.getvalue() == "clinics: 1 site, 10 rounds, going on with round 4, 1 parameter sent a round, on cpu\n"


def test_a_finished_run_that_is_resumed_says_so_and_what_to_do() -> None:
    stream = io.StringIO()
    plain(stream)(RunStarted("clinics", ["a"], 10, 11, "accuracy", True, 1, "cpu"))
    assert "its 10 rounds are over, so nothing is trained" in stream.getvalue()
    assert "start another run with this run's model folder as model.path" in stream.getvalue()


def test_a_language_models_rounds_tell_bits_per_byte_and_speed_and_its_end_what_was_spent(tmp_path: Path) -> None:
    tokens = {"tokens": {"trained": 4_800_000, "per_second": 48_000.0}, "task": "causal_lm"}
    folder = make_run(tmp_path, MadeRun(rounds=2, headline="perplexity", steps=50, summary=tokens))
    stream = io.StringIO()
    observe = plain(stream)
    observe(RunStarted("clinics", HOSPITALS, 2, 1, "perplexity", False, 82_198, "cpu"))
    for record in map(json.loads, (folder / "rounds.jsonl").read_text().splitlines()):
        observe(RoundEnded(record))
    observe(RunEnded(folder, folder / "model", folder / "report.html", {}))
    lines = stream.getvalue().splitlines()
    assert re.search(r"perplexity [\d.,]+, [\d.]+ bits per byte, training loss", lines[2])
    assert re.search(r" s, [\d,]+ tokens/s", lines[2])
    [spent] = [line for line in lines if line.startswith("spent")]
    # 50 steps of 8 sites would send 50 x 8 x 82,198 x 4 bytes a round; an update is 328,808 bytes
    assert spent == (
        "spent   4.8 million tokens trained on, 5.26 MB sent up and 5.26 MB down, "
        "50.0 times less up and 50.0 in all than fp32 after every step"
    )
    assert lines[-1] == f'try it  foedus generate {folder} --prompt "your text"'


def test_time_left_follows_measured_rounds_and_the_round_at_work() -> None:
    state: Watch | None = watch(None, RunStarted("r", ["a", "b"], 5, 1, "accuracy", True, 1, "cpu"), 0.0)
    assert state is not None
    assert state.seconds_left(0.0) is None
    state = watch(state, RoundStarted(1, ["a", "b"]), 10.0)
    state = watch(state, RoundEnded({"round": 1}), 14.0)
    assert state is not None
    assert state.seconds_left(14.0) == pytest.approx(4 * 4.0)
    state = watch(state, RoundStarted(2, ["a", "b"]), 14.0)
    assert state is not None
    assert state.seconds_left(15.0) == pytest.approx(4 * 4.0 - 1.0)
    assert state.seconds_left(1000.0) == pytest.approx(3 * 4.0)  # late, but the other rounds are still to come


def test_a_participant_counts_once_for_each_phase() -> None:
    state: Watch | None = watch(None, RunStarted("r", ["a", "b", "c"], 5, 1, "accuracy", True, 1, "cpu"), 0.0)
    state = watch(state, RoundStarted(1, ["a", "b"]), 1.0)
    state = watch(state, ParticipantReported(1, "a", "train", 0.5, 1.0), 2.0)
    assert state is not None
    assert (state.phase, state.done, state.expected) == ("train", 1, 2)
    state = watch(state, ParticipantReported(1, "c", "evaluate", None, 1.0), 3.0)
    assert state is not None
    assert (state.phase, state.done, state.expected) == ("evaluate", 1, 3)


def test_json_lines_are_one_strict_object_an_event(tmp_path: Path) -> None:
    stream = io.StringIO()
    observe = json_lines(stream)
    told = list(events(tmp_path))
    for event in told:
        observe(event)
    observe(RoundEnded({"round": 9, "train": {"loss": math.nan, "other": -math.inf}, "cohort": ("a",)}))
    objects = [json.loads(line, parse_constant=pytest.fail) for line in stream.getvalue().splitlines()]
    assert len(objects) == len(told) + 1
    assert objects[0]["event"] == "run_started"
    assert objects[0]["participants"] == list(SITES)
    assert objects[1]["event"] == "participant_reported"
    assert objects[-1]["record"]["train"] == {"loss": None, "other": None}
    ended = objects[-2]
    assert ended["event"] == "run_ended"
    assert ended["folder"] == str(tmp_path / "clinics")
    assert ended["summary"]["headline"] == "accuracy"


def test_quiet_says_nothing(tmp_path: Path) -> None:
    stream = Terminal()
    with progress_for(stream, quiet=True) as observe:
        for event in events(tmp_path):
            observe(event)
    assert stream.getvalue() == ""


def test_the_stream_decides_between_lines_and_live_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    lines, terminal = io.StringIO(), Terminal()
    for stream, folder in ((lines, tmp_path / "a"), (terminal, tmp_path / "b")):
        with progress_for(stream) as observe:
            for event in events(folder):
                observe(event)
    assert "\x1b" not in lines.getvalue()
    assert "\x1b[?25l" in terminal.getvalue()  # the cursor is hidden while progress is live
    with progress_for(terminal, json=True) as observe:
        observe(RoundStarted(1, ["a"]))
    assert terminal.getvalue().endswith('{"event": "round_started", "round": 1, "cohort": ["a"]}\n')


def test_the_part_of_a_round_that_is_over_never_shrinks() -> None:
    state: Watch | None = watch(None, RunStarted("r", ["a", "b"], 5, 1, "accuracy", True, 1, "cpu"), 0.0)
    state = watch(state, RoundStarted(1, ["a", "b"]), 1.0)
    parts = []
    for phase in ("train", "train", "evaluate", "evaluate"):
        state = watch(state, ParticipantReported(1, "a", "train" if phase == "train" else "evaluate", None, 1.0), 2.0)
        assert state is not None
        parts.append(state.part_of_round())
    assert parts == sorted(parts)
    assert parts[-1] == 1.0


def shown(state: Watch | None, columns: int = 110) -> str:
    assert state is not None
    console = Console(file=io.StringIO(), width=columns)
    with console.capture() as capture:
        console.print(status(state, 20.0, columns))
    return capture.get()


def test_live_progress_shows_round_participant_and_time_left() -> None:
    state: Watch | None = watch(None, RunStarted("r", SITES, 5, 1, "accuracy", True, 1, "cpu"), 0.0)
    state = watch(state, RoundStarted(1, SITES), 10.0)
    assert "round 1 of 5" in shown(state)
    assert "measuring the first round" in shown(state)
    state = watch(state, RoundEnded({"round": 1, "evaluation": {"all": {"accuracy": 0.75}}}), 14.0)
    state = watch(state, RoundStarted(2, SITES), 18.0)
    state = watch(state, ParticipantReported(2, SITES[1], "train", 0.41, 1.0), 19.0)
    text = shown(state)
    assert "round 2 of 5" in text
    assert "about 14 s left" in text
    assert "training: 1 of 3 sites, [red]south[/red] loss 0.410; accuracy so far 0.750" in text
    state = watch(state, ParticipantReported(2, SITES[2], "train", None, 1.0, "update holds NaN"), 19.0)
    assert "2 of 3 sites, x\ufffd[31my failed: update holds NaN" in shown(state)


def test_live_progress_fits_a_narrow_terminal() -> None:
    state: Watch | None = watch(None, RunStarted("r", ["a" * 200], 5, 1, "accuracy", True, 1, "cpu"), 0.0)
    state = watch(state, RoundStarted(1, ["a" * 200]), 10.0)
    state = watch(state, ParticipantReported(1, "a" * 200, "train", 0.41, 1.0), 19.0)
    assert all(len(line) <= 80 for line in shown(state, 80).splitlines())


def test_an_error_leaves_the_terminal_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = Terminal()

    def interrupted() -> None:
        with live(stream) as observe:
            observe(RunStarted("clinics", ["a"], 10, 1, "accuracy", True, 1, "cpu"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert stream.getvalue().count("\x1b[?25l") == stream.getvalue().count("\x1b[?25h")


def test_one_block_can_watch_several_runs(tmp_path: Path) -> None:
    stream = io.StringIO()
    with progress_for(stream) as observe:
        for name in ("federated", "pooled"):  # a comparison plays arm after arm, without their ends
            observe(RunStarted(name, ["a"], 1, 1, "accuracy", True, 1, "cpu"))
            observe(RoundStarted(1, ["a"]))
            observe(RoundEnded({"round": 1, "cohort": ["a"], "reports": 1}))
    assert stream.getvalue().count("round 1 of 1: 1 of 1 site") == 2


def test_an_event_reaches_every_observer_in_order() -> None:
    seen: list[str] = []
    to_all(lambda _: seen.append("first"), lambda _: seen.append("second"))(RoundStarted(1, []))
    assert seen == ["first", "second"]
