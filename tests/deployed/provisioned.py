"""A founded federation on this machine: FLARE's server and clients as processes, from kits, over mTLS on loopback."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployed.answering import Switchboard
from deployed.simulator import SITES
from foedus.api.provision import Provisioned, provision
from foedus.engines.flare.link import Link, Placement
from foedus.engines.flare.processes import start_client
from foedus.engines.kits.kit import COORDINATOR, OPERATOR
from foedus.engines.kits.startup import place_storage
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


@contextmanager
def linked(folder: Path) -> Iterator[tuple[Hub, Switchboard]]:
    """Keep the link of a founded federation with sites s0, s1, … up; folder: short, for sockets."""
    board = Switchboard(SITES)
    mailboxes = {f"s{number}": mailbox for number, mailbox in enumerate(board.mailboxes)}
    kits: Mapping[str, Any] = founded(folder, list(mailboxes)).kits
    logs = [folder / f"{name}.log" for name in kits]
    with ExitStack() as stack:
        hub = Hub(folder / HUB)
        stack.callback(hub.close)
        place_storage(kits[COORDINATOR].folder)
        placement = Placement(kits[COORDINATOR].folder, kits[COORDINATOR].operator, OPERATOR, logs[0])
        link = Link(placement, hub, folder, lambda text: None)
        link.start()
        stack.callback(link.stop)
        for name, mailbox in mailboxes.items():
            stack.callback(Door(door_path(folder, name), mailbox).close)
            client = start_client(kits[name].folder, name, name, folder, folder / f"{name}.log")
            stack.callback(client.stop)
        until(lambda: len(hub.connected()) == SITES, "a link to every site", logs)
        yield hub, board
