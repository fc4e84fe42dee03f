"""A founded federation on this machine: FLARE's server and clients as processes, from kits, over mTLS on loopback."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import yaml

from deployed.network import Proxy, between
from end_to_end.test_federation import processes_of
from foedus.api.provision import Provisioned, provision
from foedus.engines.flare.client import QUIET_S, KeptClient
from foedus.engines.flare.link import Link, Placement
from foedus.engines.flare.processes import start_client
from foedus.engines.kits.kit import COORDINATOR, OPERATOR
from foedus.engines.kits.startup import place_storage
from foedus.engines.link.mailbox import Mailbox
from foedus.engines.link.sockets import HUB, Door, Hub, door_path

PATIENCE_S = 300.0  # a busy machine takes a minute to import what FLARE needs


def free_port() -> int:
    """Return a port of this machine that nobody listens at now."""
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        port: int = listener.getsockname()[1]
        return port


def founded(folder: Path, names: Sequence[str], **sections: Any) -> Provisioned:
    """Return the kits of a federation whose coordinator is on this machine. sections: of its file."""
    folder.mkdir(parents=True, exist_ok=True)
    coordinator = {"host": "localhost", "port": free_port()}
    file = {"name": "league", "coordinator": coordinator, "organisations": list(names), **sections}
    (folder / "federation.yaml").write_text(yaml.safe_dump(file))
    return provision(folder / "federation.yaml", folder / "kits")


def until(reached: Callable[[], object], what: str, logs: Sequence[Path], patience_s: float = PATIENCE_S) -> float:
    """Wait until something is so, and return the seconds that it took; fail with the ends of the logs otherwise."""
    began = time.monotonic()
    while not reached():
        if time.monotonic() - began > patience_s:
            told = "\n".join(f"{log}:\n{log.read_text(errors='replace')[-2000:]}" for log in logs if log.exists())
            pytest.fail(f"{what} was not reached in {patience_s:.0f} s\n{told}")
        time.sleep(0.1)
    return time.monotonic() - began


@dataclass(frozen=True)
class Linked:
    """A federation whose link is up. proxies: between each site and the coordinator. told: what was told of it."""

    hub: Hub
    kits: Provisioned
    proxies: Mapping[str, Proxy]
    told: list[str]


@contextmanager
def linked(folder: Path, mailboxes: Mapping[str, Mailbox], quiet_s: float = QUIET_S) -> Iterator[Linked]:
    """Found a federation of sites whose mailboxes are in this process, and keep its link up.

    folder: short, for sockets. quiet_s: after which a site that hears nothing connects anew.
    """
    made, told = founded(folder, list(mailboxes)), list[str]()
    began = time.monotonic()

    def tell(text: str) -> None:
        told.append(f"{time.monotonic() - began:.0f} s: {text}")

    kits = made.kits
    logs = [folder / f"{name}.log" for name in kits]
    with ExitStack() as stack:
        proxies = {name: stack.enter_context(between(kits[name].folder)) for name in mailboxes}
        hub = Hub(folder / HUB)
        stack.callback(hub.close)
        place_storage(kits[COORDINATOR].folder)
        coordinator = kits[COORDINATOR]
        server = (coordinator.league.host, coordinator.league.admin_port)
        placement = Placement(coordinator.folder, coordinator.operator, OPERATOR, logs[0], list(mailboxes), server)
        link = Link(placement, hub, folder, tell)
        link.start()
        stack.callback(link.stop)
        clients = []
        for name, mailbox in mailboxes.items():
            stack.callback(Door(door_path(folder, name), mailbox).close)
            log = folder / f"{name}.log"
            start = partial(start_client, kits[name].folder, name, name, folder, log)
            clients.append(KeptClient(start, log, partial(getattr, mailbox, "last_heard"), tell, quiet_s))
            stack.callback(clients[-1].stop)
        stopping = Event()
        keeper = Thread(target=_keep, args=(clients, stopping), daemon=True)
        keeper.start()
        stack.callback(keeper.join)
        stack.callback(stopping.set)
        until(lambda: hub.connected() == set(mailboxes), "a link to every site", logs)
        yield Linked(hub, made, proxies, told)
    until(lambda: not processes_of(folder), "the end of everything that was started", logs)


def _keep(clients: Sequence[KeptClient], stopping: Event) -> None:
    while not stopping.wait(0.5):
        for client in clients:
            client.look()
