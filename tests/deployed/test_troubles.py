"""What becomes of a run between organisations when somebody vanishes, comes back, or is killed."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from deployed.loopback import ONE_AT_A_TIME, Direct, courier, organisations
from deployed.test_halves import SGD, data_of
from end_to_end.small_runs import SITES, small_run
from foedus.api.coordinate import Federated, coordinate, enqueue
from foedus.config.loading import load_config
from foedus.core.errors import ConfigError, ParticipantError, RoundError
from foedus.engines.child import Child
from foedus.engines.link import courier as courier_module
from foedus.engines.link.courier import Courier, Patience
from foedus.engines.link.mailbox import Mailbox
from foedus.engines.way import Letter, Silence
from foedus.federation.events import Event, RoundEnded, RoundStarted
from foedus.federation.run_folder import RunFolder

MASKS = {"kind": "masks", "threshold": 2, "min_cohort": 2}


class Played:
    """A run of three organisations whose carrier can be cut. observe: sees every event of it."""

    def __init__(self, folder: Path, config: dict[str, Any], at: Path | None = None, **allow: Any) -> None:
        self.made, self.pins = organisations(folder, data_of(folder), models=[str(config["model"]["path"])], **allow)
        self.way, self.carrier = courier(self.made, Patience(lost=0.5, still=60, least=60))
        self.folder = RunFolder(at or folder / "deployed")
        self.told: list[tuple[str, str]] = []
        enqueue(load_config(config), self.folder)

    def play(
        self,
        observe: Callable[[Event], None] = lambda event: None,
        wait: Callable[[Collection[str]], None] | None = None,
    ) -> Any:
        def notice(name: str, what: str) -> None:
            self.told.append((name, what))

        federated = Federated(self.way, list(SITES), self.pins, notice, wait=wait)
        return coordinate(self.folder, federated, observe=observe)


class Killed(Exception):  # noqa: N818 - it says what happened
    pass


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    folder = tmp_path_factory.mktemp("whole")
    config = small_run(folder, **SGD, strategy={"kind": "scaffold", "weighting": "uniform"}, rounds={"count": 3})
    return load_file(Played(folder, config).play().model / "model.safetensors")


@pytest.mark.parametrize("also", ["the coordinator alone", "everybody"])
def test_a_killed_coordinator_goes_on_from_the_last_whole_round(
    tmp_path: Path, undisturbed: dict[str, torch.Tensor], also: str
) -> None:
    """Control variates that did not go back with it would end elsewhere."""
    config = small_run(tmp_path, **SGD, strategy={"kind": "scaffold", "weighting": "uniform"}, rounds={"count": 3})
    played = Played(tmp_path, config)

    def kill(event: Event) -> None:
        if isinstance(event, RoundStarted) and event.round == 3:
            raise Killed  # nothing of this process runs on: what is left is what is on the disk, here and there

    with pytest.raises(Killed):
        played.play(kill)
    if also == "everybody":
        for organisation in played.made.values():
            organisation.restart()
    rounds: list[int] = []
    result = played.play(lambda event: rounds.append(event.record["round"]) if isinstance(event, RoundEnded) else None)
    assert rounds == [3]
    for name, value in load_file(result.model / "model.safetensors").items():
        torch.testing.assert_close(value, undisturbed[name], rtol=1e-4, atol=1e-5)


def test_who_vanishes_is_dropped_and_let_in_again_when_it_is_back(tmp_path: Path) -> None:
    played = Played(tmp_path, small_run(tmp_path, **SGD, rounds={"count": 4}))

    def cut_in_round_two(event: Event) -> None:
        if isinstance(event, RoundEnded):
            played.carrier.cut = {"south"} if event.record["round"] == 1 else set()
            if event.record["round"] == 2:
                played.made["south"].restart()  # it comes back as another process

    records = [record for record in played.play(cut_in_round_two).rounds if record["round"] > 0]
    assert [record["reports"] for record in records] == [3, 2, 3, 3]
    assert records[1]["left_out"] == {"south": "did not answer"}
    assert [what for name, what in played.told if name == "south"] == ["was not to be reached for 0 s", "is back"]


def test_who_is_started_again_after_its_answer_remembers_what_counted(
    tmp_path: Path, undisturbed: dict[str, torch.Tensor]
) -> None:
    config = small_run(tmp_path, **SGD, strategy={"kind": "scaffold", "weighting": "uniform"}, rounds={"count": 3})
    played = Played(tmp_path, config)
    whole, restarts = Direct.call, 0

    def restart(self: Direct, name: str, header: Any, body: Any, timeout_s: float) -> Any:
        nonlocal restarts
        if name == "south" and header.get("kind") == "notice" and header.get("op") == "put" and restarts < 1:
            restarts += 1
            played.made["south"].restart()  # it trained, its update is in the model, and it is not told so yet
        return whole(self, name, header, body, timeout_s)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Direct, "call", restart)
        result = played.play()
    assert restarts == 1
    assert [record["reports"] for record in result.rounds if record["round"] > 0] == [3, 3, 3]
    for name, value in load_file(result.model / "model.safetensors").items():
        torch.testing.assert_close(value, undisturbed[name], rtol=1e-4, atol=1e-5)
    assert not list((tmp_path / "homes").rglob("unsettled-*"))


def test_who_is_started_again_at_once_is_told_anew_and_misses_no_round(tmp_path: Path) -> None:
    played = Played(tmp_path, small_run(tmp_path, **SGD, rounds={"count": 3}))

    def restart(event: Event) -> None:
        if isinstance(event, RoundEnded) and event.record["round"] == 1:
            played.made["south"].restart()

    records = [record for record in played.play(restart).rounds if record["round"] > 0]
    assert [record["reports"] for record in records] == [3, 3, 3]
    assert played.told == []


def test_who_is_started_again_while_a_run_is_founded_takes_part_all_the_same(tmp_path: Path) -> None:
    played = Played(tmp_path, small_run(tmp_path, **SGD, evaluation={"per_site": False}, secure_sum=MASKS))
    whole, forgot = Direct.call, set[str]()

    def restart(self: Direct, name: str, header: Any, body: Any, timeout_s: float) -> Any:
        if name == "west" and header.get("kind") in {"agree", "finish"} - forgot:
            forgot.add(header["kind"])
            played.made["west"].restart()
        return whole(self, name, header, body, timeout_s)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Direct, "call", restart)
        records = [record for record in played.play().rounds if record["round"] > 0]
    assert forgot == {"agree", "finish"}
    assert [record["reports"] for record in records] == [3, 3]
    assert played.told == []


def test_a_coordinator_that_is_killed_before_the_first_round_founds_the_run_anew(tmp_path: Path) -> None:
    """What was summed already, participants answer for once; another run's sums are others."""
    played = Played(tmp_path, small_run(tmp_path, **SGD, evaluation={"per_site": False}, secure_sum=MASKS))
    whole = Courier.ask

    def kill(self: Courier, letters: Any) -> Any:
        answers = list(whole(self, letters))
        if any(letter.kind == "step" for letter in letters.values()):
            raise Killed  # all have answered to the first step of the dry round's sum
        return iter(answers)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Courier, "ask", kill)
        with pytest.raises(Killed):
            played.play()
    records = [record for record in played.play().rounds if record["round"] > 0]
    assert [record["reports"] for record in records] == [3, 3]


def test_a_masked_round_survives_who_vanishes_in_it(tmp_path: Path) -> None:
    config = small_run(tmp_path, **SGD, evaluation={"per_site": False}, secure_sum=MASKS)
    played = Played(tmp_path, config)
    whole = Direct.call

    def vanish(self: Direct, name: str, header: Any, body: Any, timeout_s: float) -> Any:
        if name == "west" and header.get("kind") == "step" and played.folder.records():
            self.cut.add("west")
        return whole(self, name, header, body, timeout_s)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Direct, "call", vanish)
        records = [record for record in played.play().rounds if record["round"] > 0]
    assert all(record["stood"] for record in records)
    assert records[-1]["reports"] == 2


def test_a_run_waits_as_long_as_too_few_can_be_reached(tmp_path: Path) -> None:
    config = small_run(
        tmp_path, **SGD, evaluation={"per_site": False}, secure_sum={**MASKS, "value_range": 4.0}, rounds={"count": 6}
    )
    played = Played(tmp_path, config)
    waited: list[Collection[str]] = []

    def cut(event: Event) -> None:
        if isinstance(event, RoundEnded) and event.record["round"] == 1:
            played.carrier.cut = {"south", "west"}

    def wait(missing: Collection[str]) -> None:
        waited.append(missing)
        if len(waited) == 5:  # as many rounds would not have stood
            played.carrier.cut = set()

    records = [record for record in played.play(cut, wait).rounds if record["round"] > 0]
    assert [record["reports"] for record in records] == [3, 0, 3, 3, 3, 3]
    assert waited == [["south", "west"]] * 5


def test_what_an_organisations_file_does_not_allow_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    config = small_run(tmp_path, **SGD)
    played = Played(tmp_path, config, runs=["other-*"])
    with pytest.raises(RoundError, match="0 of 3 organisations take part"):
        played.play()
    assert all("allow.runs is other-*" in what for _, what in played.told)
    assert {name for name, _ in played.told} == set(SITES)


@pytest.mark.parametrize(
    ("sections", "why"),
    [
        (
            {
                "privacy": {"kind": "participants", "epsilon": 8},
                "task": {"labels": ["heart", "lung", "skin"]},
                "rounds": {"cohort": {"kind": "poisson", "rate": 0.5}},
            },
            "cohorts and stream do not work",
        ),
        (
            {
                "privacy": {"kind": "records", "noise_multiplier": 1},
                "task": {"labels": ["heart", "lung", "skin"]},
            },
            "follows from each organisation's number of rows",
        ),
        ({"strategy": {"kind": "custom", "path": "x.py"}}, "programs do not travel"),
    ],
)
def test_what_there_is_none_of_between_organisations_is_refused_at_once(
    tmp_path: Path, sections: dict[str, Any], why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        enqueue(load_config(small_run(tmp_path, **sections)), RunFolder(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_work_that_gets_on_no_further_is_given_up_and_its_sender_stays_out_while_it_is_busy() -> None:
    with ONE_AT_A_TIME:
        released = threading.Event()

        def work(run: str, kind: str, data: bytearray, mark: Callable[[], None]) -> list[bytes]:
            released.wait(30)
            return [b"late"]

        mailbox = Mailbox(work, largest=100)
        mailbox.start()
        way = Courier(Direct({"a": mailbox}), Patience(lost=5, still=0.3, least=60))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(courier_module, "WAIT_S", 0.1)
            [(name, answer)] = way.ask({"a": Letter("r", "train", [b"x"])})
        assert (name, isinstance(answer, Silence)) == ("a", True)
        assert isinstance(answer, Silence)
        assert answer.reason == "got on no further for 0 s"
        assert list(way.reachable(["a"])) == []
        released.set()
        mailbox.stop()


def test_a_trainer_that_is_killed_costs_one_answer(tmp_path: Path) -> None:
    child = Child("deployed_child", {}, tmp_path / "log", 1000)
    with pytest.raises(ParticipantError, match="its training process ended with code"):
        child.ask("train", [b"x"], lambda: None)
    child.stop()
    assert "deployed_child" in (tmp_path / "log").read_text()


def test_a_signal_that_ends_a_trainer_is_named(tmp_path: Path) -> None:
    facts = {"name": "a", "file": "none", "folder": str(tmp_path), "keys": None}
    child = Child("foedus.api.trainer", facts, tmp_path / "log", 9)
    os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(
        ParticipantError, match=r"was killed \(SIGKILL\), which the system often does for want of memory"
    ):
        child.ask("train", [b"x"], lambda: None)
    child.stop()
