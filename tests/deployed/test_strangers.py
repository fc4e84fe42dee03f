"""Who may connect to the coordinator: wrong certificates, wrong clocks, and whoever connects and says nothing."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from deployed.provisioned import founded, until
from deployed.wrong_clock import clock_off, library
from foedus.api.provision import Provisioned
from foedus.engines.flare.connection import Connection
from foedus.engines.flare.processes import start_client, start_server
from foedus.engines.kits.kit import COORDINATOR
from foedus.engines.kits.startup import place_storage

NAMES = ("north", "behind", "stranger")
MINUTES = 60.0
IDLE = 40  # connections that say nothing


class Gate:
    """A coordinator's server, and what clients of several kits are told when they connect."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self.kits, self.others = founded(folder / "ours", NAMES), founded(folder / "theirs", NAMES)
        self.place = self.kits.kits[COORDINATOR].league
        place_storage(self.kits.kits[COORDINATOR].folder)
        self._log = folder / "server.log"
        server = start_server(self.kits.kits[COORDINATOR].folder, "coordinator", folder, self._log)
        stack.callback(server.stop)
        until(self._listens, "a server that listens", [self._log])
        self.connections: dict[str, Connection] = {}
        self.news: dict[str, str] = {}

    def _listens(self) -> bool:
        try:
            self.silent_connection().close()
        except OSError:
            return False
        return True

    def silent_connection(self) -> socket.socket:
        return socket.create_connection(("localhost", self.place.port), timeout=10)

    def connect(self, name: str, kits: Provisioned) -> None:
        """Start the client of a kit, which is made to call our server."""
        kit = kits.kits[name].folder
        settings = kit / "startup" / "fed_client.json"
        facts = json.loads(settings.read_text())
        facts["servers"][0]["service"]["target"] = f"localhost:{self.place.port}"
        settings.write_text(json.dumps(facts))
        log = self._folder / f"{name}.log"
        self._stack.callback(start_client(kit, name, name, self._folder, log).stop)
        self.connections[name] = Connection(log, f"localhost:{self.place.port}")

    def told(self, name: str, meant: str) -> None:
        """Wait until the participant is told something that holds these words."""

        def heard() -> bool:
            self.news[name] = self.connections[name].news() or self.news.get(name, "")
            return meant in self.news[name]

        until(heard, f"{meant!r} told to {name}", [self._folder / f"{name}.log"], patience_s=120)

    def says(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text()


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    with TemporaryDirectory(prefix="foedus-", ignore_cleanup_errors=True) as folder, ExitStack() as stack:
        made = Gate(Path(folder), stack)
        for _ in range(IDLE):
            stack.enter_context(made.silent_connection())
        made.connect("north", made.kits)
        clock = library(tmp_path_factory.mktemp("clock"))
        with clock_off(clock, -10 * MINUTES):
            made.connect("behind", made.kits)
        made.connect("stranger", made.others)
        yield made


def test_whoever_connects_and_says_nothing_keeps_nobody_out(gate: Gate) -> None:
    gate.told("north", "connected to the coordinator")


def test_a_clock_that_is_ten_minutes_behind_right_after_the_founding_keeps_nobody_out(gate: Gate) -> None:
    gate.told("behind", "connected to the coordinator")


def test_the_kit_of_another_federation_with_the_same_names_is_named(gate: Gate) -> None:
    gate.told("stranger", "shows a certificate of another federation")


@pytest.mark.parametrize(("shown", "alert"), [("nothing", "certificate.required"), ("another's", "unknown.ca")])
def test_who_has_no_certificate_of_the_federation_is_refused(gate: Gate, shown: str, alert: str) -> None:
    context = ssl.create_default_context(cafile=str(gate.kits.kits["north"].startup / "rootCA.pem"))
    context.check_hostname = False
    if shown == "another's":
        other = gate.others.kits["north"].startup
        context.load_cert_chain(other / "client.crt", other / "client.key")
    with (
        gate.silent_connection() as connection,
        context.wrap_socket(connection) as secured,
        pytest.raises(ssl.SSLError, match=f"(?i){alert}"),
    ):
        secured.recv(1)
