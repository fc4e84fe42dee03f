import http.client
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

import pytest

from foedus.api.watch import COOKIE, WatchServer, is_loopback
from foedus.federation.events import RoundStarted, RunStarted
from foedus.federation.state import StateFile

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = "<img src=x onerror=\"document.title='owned'\">"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run in its third round."""
    folder = tmp_path / "kit" / "runs" / "letters"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("privacy: {kind: records, epsilon: 8}\n")
    with (folder / "rounds.jsonl").open("w") as file:
        for number in range(3):
            evaluation = {"all": {"accuracy": 0.5 + number / 10, "loss": 1 - number / 10}, "sites": {}}
            seconds = {"train": 2.0, "evaluate": 0.5}
            record = {
                "round": number,
                "evaluation": evaluation,
                "seconds": seconds,
                "privacy": {"epsilon": number + 0.5},
            }
            file.write(json.dumps({**record, "cohort": ["north", "south"], "bytes": {"up": 2048, "down": 4096}}) + "\n")
    state = StateFile(folder, "letters", ["north", "south", HOSTILE])
    started = RunStarted("letters", ("north", "south", HOSTILE), 10, 1, "accuracy", True, 5, "cpu")
    state(started)
    state.seen("north", {"train_rows": 1200})
    state.refused("south", f"allow.plain_sums is false {HOSTILE}")
    state(RoundStarted(3, ("north",)))
    return folder


@pytest.fixture
def server(run: Path) -> Iterator[WatchServer]:
    server = WatchServer(run.parent.parent)
    thread = threading.Thread(target=server.serve)
    thread.start()
    yield server
    server.close()
    thread.join()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Message
    text: str


def _get(server: WatchServer, path: str, **headers: str) -> Answer:
    with closing(http.client.HTTPConnection(server.host, server.port, timeout=10)) as connection:
        connection.request("GET", path, headers=headers)
        with connection.getresponse() as answer:
            return Answer(answer.status, answer.headers, answer.read().decode())


def _own(server: WatchServer) -> dict[str, str]:
    return {"Cookie": f"{COOKIE}={server.token}"}


def test_the_token_lets_one_in_by_a_cookie_that_scripts_cannot_read(server: WatchServer) -> None:
    answer = _get(server, f"/?token={server.token}")
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    assert {"HttpOnly", "SameSite=Strict"} <= set(answer.headers["Set-Cookie"].split("; "))
    assert _get(server, "/", **_own(server)).status == 200


@pytest.mark.parametrize(
    "path", ["/", "/view.json", "/state.json", "/?token=guess", "/view.json?token=", "/?token=%C3%A9"]
)
def test_without_the_token_nothing_is_told(server: WatchServer, path: str) -> None:
    for cookie in ("", f"{COOKIE}=guess", f"{COOKIE}=", "=;;"):
        answer = _get(server, path, Cookie=cookie)
        assert answer.status == 403
        assert "north" not in answer.text


def test_another_sites_name_that_leads_here_is_refused(server: WatchServer) -> None:
    assert _get(server, "/state.json", Host="attacker.example", **_own(server)).status == 403
    assert _get(server, "/state.json", Host=f"localhost:{server.port}", **_own(server)).status == 200


def test_the_page_loads_nothing_and_runs_no_other_script(server: WatchServer) -> None:
    answers = [_get(server, "/", **_own(server)) for _ in range(2)]
    policies = [answer.headers["Content-Security-Policy"] for answer in answers]
    assert all("default-src 'none'" in policy and "unsafe" not in policy for policy in policies)
    assert policies[0] != policies[1]
    text = answers[0].text
    assert "http://" not in text
    assert "https://" not in text
    assert _get(server, "/elsewhere", **_own(server)).status == 404


def test_values_and_view_tell_the_state(server: WatchServer) -> None:
    told = json.loads(_get(server, "/state.json", **_own(server)).text)
    assert (told["run"], told["round"], told["phase"], told["epsilon"]) == ("letters", 3, "train", 2.5)
    assert told["evaluated"] == {"round": 2, "all": {"accuracy": 0.7, "loss": 0.8}}
    shown = json.loads(_get(server, "/view.json", **_own(server)).text)["html"]
    for text in ("round 3 of 10", "1,200", "allow.plain_sums is false", "Spent so far: ε 2.5 of ε 8", "Accuracy"):
        assert text in shown
    assert "<img" not in shown


def test_a_folder_without_a_run_is_told_on_the_page(tmp_path: Path) -> None:
    server = WatchServer(tmp_path)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        assert "holds no run" in json.loads(_get(server, "/view.json", **_own(server)).text)["html"]
    finally:
        server.close()
        thread.join()


def test_only_this_machine_is_served_unless_told_otherwise(run: Path) -> None:
    server = WatchServer(run)
    server._server.server_close()
    assert is_loopback(server.host)
    assert not is_loopback("0.0.0.0")  # noqa: S104 - it is what must not be the default
    assert not is_loopback("example.org")


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
def test_a_browser_shows_the_page_and_runs_no_script_of_others(server: WatchServer, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += " --disable-component-update --disable-sync --virtual-time-budget=4000 --dump-dom"
    command = [CHROMIUM, *flags.split(), f"--user-data-dir={tmp_path / 'profile'}", server.address]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True).stdout
    assert "<title>letters · foedus</title>" in shown
    assert "round 3 of 10" in shown
    assert "at work" in shown
    assert "<svg" in shown
    assert 'id="trouble" class="warning page" role="alert" hidden' in shown
    assert server.token not in shown
