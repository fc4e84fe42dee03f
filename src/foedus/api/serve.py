"""The two long-lived processes of a federation: the coordinator's, and each participant's."""

from __future__ import annotations

import os
import tempfile
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from foedus.api.desk import answering
from foedus.api.run_queue import STOP, waiting_runs, write_failure
from foedus.core.errors import FoedusError, RoundError
from foedus.engines.desk.server import Desk
from foedus.engines.flare.client import KeptClient
from foedus.engines.flare.connection import Connection
from foedus.engines.flare.job import require_flare
from foedus.engines.flare.link import Link, Placement
from foedus.engines.flare.processes import start_client
from foedus.engines.kits.certificates import require_current
from foedus.engines.kits.kit import OPERATOR, PARTICIPANT_FILE, Kit, open_kit
from foedus.engines.kits.startup import place_storage
from foedus.engines.link.courier import PATIENCE_S, Courier, patience_of
from foedus.engines.link.mailbox import Mailbox
from foedus.engines.link.sockets import HUB, Door, Hub, door_path
from foedus.engines.trainers import Place, Trainers
from foedus.federation.events import Observer, ignore, to_all
from foedus.federation.run_folder import RunFolder
from foedus.federation.state import StateFile

LOGS, STATE = "logs", "state"
TROUBLE_S = 20.0

Tell = Callable[[str], None]


def serve_coordinator(
    folder: Path,
    *,
    observe: Observer = ignore,
    tell: Tell = lambda text: None,
    until_idle: bool = False,
    patience_s: float = PATIENCE_S,
) -> None:
    """Keep the link to the organisations up, and play the runs that are handed in, one after the other.

    folder: the coordinator's kit.
    until_idle: return when no run is left; otherwise it waits for more.
    patience_s: how long a participant may be out of reach before it is left out. Of work that gets on no further,
        deadlines, and how long runs wait for all at their beginning, follow from it.
    Raises: LinkError if a kit cannot be used; ConfigError if the patience is too short.
    """
    require_flare()
    waiting = patience_of(patience_s)
    kit = open_kit(folder, "coordinator")
    require_current(kit)
    place_storage(kit.folder)
    log = kit.folder / LOGS / "flare-server.log"
    server = (kit.league.host, kit.league.admin_port)
    placement = Placement(kit.folder, kit.operator, OPERATOR, log, kit.league.organisations, server)
    with _sockets() as link_folder, ExitStack() as stack:
        hub = Hub(link_folder / HUB)
        stack.callback(hub.close)
        link = Link(placement, hub, link_folder, tell)
        link.start()
        stack.callback(link.stop)
        tell(f"the coordinator of {kit.league.name} listens at {kit.league.host}:{kit.league.port}")
        if kit.league.researchers and kit.league.researchers_port is not None:
            desk = Desk(kit, answering(kit, tell))
            desk.start()
            stack.callback(desk.stop)
            tell(f"researchers reach it at {kit.league.host}:{desk.port}")
        courier = Courier(hub, waiting, abandon=hub.close)
        while True:
            queue = waiting_runs(kit.folder)
            for run in queue[:1]:
                _play(kit, run, courier, link, gathering_s=waiting.least, observe=observe, tell=tell)
            if not queue:
                if until_idle:
                    return
                time.sleep(1)


def _play(
    kit: Kit, run: RunFolder, courier: Courier, link: Link, *, gathering_s: float, observe: Observer, tell: Tell
) -> None:
    """Play one run to its end, or write down why that cannot be."""
    from safetensors import SafetensorError

    from foedus.api.coordinate import Federated, coordinate, least_needed
    from foedus.config.loading import load_config
    from foedus.config.signed_run import PASSPHRASE
    from foedus.engines.site import failure_reason

    names = kit.league.organisations
    state = StateFile(run.path, run.path.name, names)
    stopping = _refuse_when_stopped(run)

    def notice(name: str, what: str) -> None:
        tell(f"{name} {what}")
        if what == "is back":
            state.seen(name)
        elif what.startswith("refused: "):
            state.refused(name, what.removeprefix("refused: "))
        else:
            state.missing(name, what)

    def wait(missing: Collection[str]) -> None:
        stopping()
        state.waits(link.trouble or f"too few can be reached; waits for {', '.join(missing)}")
        time.sleep(1)

    try:
        least = least_needed(load_config(run.config))
        gather(courier, names, state, lambda: link.trouble, stopping, least=least, patience_s=gathering_s)
        federated = Federated(
            courier,
            names,
            kit.pins(),
            notice,
            state.seen,
            lambda: kit.identity(os.environ.get(PASSPHRASE)),
            wait=wait,
        )
        coordinate(run, federated, observe=to_all(state, lambda event: stopping(), observe))
    except (OSError, SafetensorError) as error:
        # a full disk, above all: the run waits for room, and goes on from its last whole round
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        trouble = f"{run.path} cannot be written: {why}; it is tried again"
        tell(trouble)
        state.waits(trouble)
        time.sleep(TROUBLE_S)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong costs this run, and not those that wait
        reason = failure_reason(error)
        write_failure(run, reason, type(error).__name__)
        state.stopped(reason)
        tell(f"run {run.path.name} ended: {reason}")
        if not isinstance(error, FoedusError):
            tell(traceback.format_exc())  # it is for this machine's log alone


def _refuse_when_stopped(run: RunFolder) -> Callable[[], None]:
    """Return what raises as soon as somebody asks for the run's end."""

    def check() -> None:
        if (run.path / STOP).exists():
            raise RoundError("foedus stop was given; the rounds so far stay recorded, and foedus resume plays on")

    return check


def gather(
    courier: Courier,
    names: Sequence[str],
    state: StateFile,
    trouble: Callable[[], str],
    check: Callable[[], None] = lambda: None,
    *,
    least: int,
    patience_s: float,
) -> None:
    """Wait until all organisations are there, or at least some have been for so long. check: is asked meanwhile."""
    began: float | None = None
    while True:
        check()
        there = courier.reachable(names)
        for name in there:
            state.seen(name)
        if len(there) == len(names):
            return
        if len(there) >= least:
            began = began or time.monotonic()
            if time.monotonic() - began > patience_s:
                return
        missing = ", ".join(name for name in names if name not in there)
        state.waits(trouble() or f"waits for {missing}")
        time.sleep(1)


def serve_participant(folder: Path, file: Path | None = None, *, tell: Tell = lambda text: None) -> None:
    """Take part in the runs that an organisation's own file allows, until stopped.

    folder: its kit. file: participant.yaml, that of the kit unless told.
    Raises: LinkError if the kit cannot be used; ConfigError if the file is wrong.
    """
    from foedus.config.loading import load_participant_file

    require_flare()
    kit = open_kit(folder, "participant")
    require_current(kit)
    path = (file or kit.folder / PARTICIPANT_FILE).resolve()
    limits = load_participant_file(path).limits
    logs = kit.folder / LOGS
    place = Place(kit.name, path, kit.folder / STATE, kit.keys, logs / "trainer.log")
    trainers = Trainers(place, max(limits.download_bytes, limits.upload_bytes), tell)
    mailbox = Mailbox(trainers.work, limits.download_bytes)
    mailbox.start()
    with _sockets() as link_folder, ExitStack() as stack:
        stack.callback(trainers.stop)
        door = Door(door_path(link_folder, kit.name), mailbox)
        stack.callback(door.close)
        log = logs / "flare-client.log"
        client = KeptClient(
            lambda: start_client(kit.folder, kit.name, kit.name, link_folder, log),
            log,
            lambda: mailbox.last_heard,
            tell,
        )
        stack.callback(client.stop)
        connection = Connection(log, f"{kit.league.host}:{kit.league.port}")
        tell(f"{kit.name} connects to {kit.league.host}:{kit.league.port}; what may be done with its data says {path}")
        while True:
            time.sleep(1)
            if news := connection.news():
                tell(news)
            client.look()


@contextmanager
def _sockets() -> Iterator[Path]:
    """Make a folder for sockets that nobody else sees; its path is short, as sockets need it."""
    with tempfile.TemporaryDirectory(prefix="foedus-") as folder:
        yield Path(folder)
