"""What becomes of runs when the network between a participant and the coordinator fails: real sockets, mTLS, FLARE.

Organisations train in this process; what carries their messages are FLARE's own processes, started from kits.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from deployed.loopback import Organisation, organisations
from deployed.provisioned import Linked, linked, until
from deployed.test_halves import SGD, data_of
from deployed.test_troubles import MASKS
from end_to_end.small_runs import SITES, small_run
from foedus.api.coordinate import Federated, coordinate, enqueue
from foedus.config.loading import load_config
from foedus.engines.link.courier import Courier, patience_of
from foedus.federation.events import Event, RoundEnded, RoundStarted
from foedus.federation.run_folder import RunFolder
from foedus.privacy.signing.pins import Pins

PATIENCE = patience_of(12)
QUIET_S = 25.0
ROUNDS = 4


class League:
    """A founded federation of three organisations, whose network can be disturbed."""

    def __init__(self, folder: Path, link: Linked, made: Mapping[str, Organisation], pins: Pins) -> None:
        self.link, self._folder, self._made, self._pins = link, folder, made, pins
        self.way = Courier(link.hub, PATIENCE)
        self.told: list[str] = []
        self.waits: list[set[str]] = []
        self._config = small_run(
            folder, **SGD, evaluation={"per_site": False}, secure_sum=MASKS, rounds={"count": ROUNDS}
        )

    def play(self, name: str, observe: Callable[[Event], None]) -> list[dict[str, Any]]:
        """Play a run of this name, and return the records of its rounds."""
        run = RunFolder(self._folder / name)
        enqueue(load_config({**self._config, "name": name}), run)
        self.told, self.waits = [], []
        federated = Federated(
            self.way,
            list(SITES),
            self._pins,
            lambda name, what: self.told.append(f"{name} {what}"),
            wait=self._wait,
        )
        result = coordinate(run, federated, observe=observe)
        assert list(result.model.glob("*.safetensors"))
        return [dict(record) for record in result.rounds if record["round"] > 0]

    def _wait(self, missing: Collection[str]) -> None:
        self.waits.append(set(missing))
        time.sleep(1)

    def when_asked(self, name: str, kind: str, do: Callable[[], object]) -> None:
        """Do something once, as soon as an organisation is asked for work of this kind."""
        mailbox = self._made[name].mailbox
        work = mailbox._work

        def disturbed(run: str, asked: str, data: bytearray, mark: Callable[[], None]) -> Any:
            if asked == kind:
                mailbox._work = work
                do()
            return work(run, asked, data, mark)

        mailbox._work = disturbed

    def change_answers(self, name: str, kind: str, change: Callable[[bytearray], bytearray]) -> None:
        """Change an organisation's next answer to work of this kind."""
        mailbox = self._made[name].mailbox
        work = mailbox._work

        def changed(run: str, asked: str, data: bytearray, mark: Callable[[], None]) -> Any:
            answer = work(run, asked, data, mark)
            if asked != kind:
                return answer
            mailbox._work = work
            return [change(bytearray(b"".join(answer)))]

        mailbox._work = changed

    def back(self, *names: str) -> None:
        """Wait until organisations can be reached again."""
        until(lambda: set(self.way.reachable(names)) == set(names), f"{names} back", [])


@pytest.fixture(scope="module")
def league(tmp_path_factory: pytest.TempPathFactory) -> Iterator[League]:
    folder = tmp_path_factory.mktemp("league")
    config = small_run(folder, **SGD)
    made, pins = organisations(folder, data_of(folder), models=[str(config["model"]["path"])])
    mailboxes = {name: each.mailbox for name, each in made.items()}
    with TemporaryDirectory(prefix="foedus-") as place, linked(Path(place), mailboxes, QUIET_S) as link:
        yield League(folder, link, made, pins)


@pytest.fixture(autouse=True)
def healed(league: League) -> Iterator[None]:
    yield
    for proxy in league.link.proxies.values():
        proxy.bytes_per_s, proxy.flips = None, 0
        proxy.heal()


def reports(records: list[dict[str, Any]]) -> list[int]:
    return [record["reports"] for record in records]


@pytest.mark.parametrize("how", ["cut", "forgotten"])
def test_who_is_cut_off_in_a_round_is_dropped_and_let_in_again_in_the_same_run(league: League, how: str) -> None:
    south = league.link.proxies["south"]

    def observe(event: Event) -> None:
        match event:
            case RoundStarted(2):
                league.when_asked("south", "train", south.cut if how == "cut" else south.silence)
            case RoundEnded(record) if record["round"] == 2:
                south.heal(forget=how == "forgotten")
                league.back("south")

    records = league.play(how, observe)
    assert [record["stood"] for record in records] == [True] * ROUNDS
    assert reports(records) == [3, 2, 3, 3]
    assert list(records[1]["left_out"]) == ["south"]
    assert league.told == ["south was not to be reached for 12 s", "south is back"]


def test_a_run_whose_network_is_down_for_all_waits_and_goes_on_by_itself(league: League) -> None:
    proxies = league.link.proxies.values()

    def down() -> None:
        for proxy in proxies:
            proxy.cut()

    def up() -> None:
        until(lambda: league.waits, "a run that waits", [])
        time.sleep(5)
        for proxy in proxies:
            proxy.heal()

    def observe(event: Event) -> None:
        if event == RoundStarted(2, SITES):
            league.when_asked("south", "train", down)
            threading.Thread(target=up).start()

    records = league.play("everybody", observe)
    assert reports(records)[0] == 3
    assert not records[1]["stood"]  # it was under way; a masked round is never repeated
    assert [record["stood"] for record in records[2:]] == [True, True]
    assert reports(records)[-1] == 3
    assert league.waits[0] == set(SITES)


def test_bytes_that_are_changed_on_their_way_end_a_connection_and_cost_nothing(league: League) -> None:
    proxies = league.link.proxies

    def observe(event: Event) -> None:
        if event == RoundStarted(2, SITES):
            league.when_asked("south", "train", lambda: setattr(proxies["south"], "flips", 2))
        elif isinstance(event, RoundEnded) and event.record["round"] == 2:
            assert proxies["south"].flips == 0
            league.back(*SITES)

    records = league.play("changed", observe)
    assert [record["stood"] for record in records] == [True] * ROUNDS
    assert reports(records)[2:] == [3, 3]


def test_a_participant_of_another_version_is_named_over_the_network_too(league: League) -> None:
    other = re.compile(rb'(version\\*": ?)1')

    def observe(event: Event) -> None:
        if isinstance(event, RoundStarted):
            league.change_answers("south", "train", lambda content: bytearray(other.sub(rb"\g<1>2", content, count=1)))

    for record in league.play("version", observe):
        assert record["reports"] == 2
        assert "of version 2, and this side speaks version 1; install the same foedus" in record["left_out"]["south"]


def test_a_slow_line_makes_a_round_slow_and_costs_nothing(league: League) -> None:
    south = league.link.proxies["south"]

    def observe(event: Event) -> None:
        if isinstance(event, RoundStarted):
            south.bytes_per_s = 50_000.0 if event.round == 2 else None

    assert reports(league.play("slow", observe)) == [3] * ROUNDS
