"""Where a run that is watched is read from: the coordinator's kit, or a copy of what it tells a researcher."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from foedus.api.desk import SHOWN_FROM, text_digest
from foedus.core.errors import LinkError, MessageError
from foedus.engines.desk.client import DeskClient
from foedus.engines.desk.requests import RunState, about_state
from foedus.engines.kits.kit import KIT, open_desk_kit
from foedus.reporting.live import chosen_run

EVERY_S = 0.5  # that the coordinator is asked at most
PATIENCE_S = 60.0  # that it may be out of reach while the last state is shown


@contextmanager
def run_source(folder: Path, name: str | None = None) -> Iterator[Callable[[], Path]]:
    """Give what returns the folder of a run as it is now: of this name, or the latest.

    folder: the coordinator's kit, a run's folder, or a researcher's kit: then what the coordinator tells is kept in a
    folder that is gone at the end.
    Raises: RunFolderError if there is no run; LinkError if the coordinator is not reached.
    """
    if not (folder / KIT).is_file() or (kit := open_desk_kit(folder)).role == "coordinator":
        yield lambda: chosen_run(folder, name)
        return
    with tempfile.TemporaryDirectory(prefix="foedus-") as place:
        yield _Copy(DeskClient(kit), Path(place), name).now


class _Copy:
    """The files that a run is shown from, as the coordinator has them."""

    def __init__(self, client: DeskClient, place: Path, name: str | None) -> None:
        self._client = client
        self._place = place
        self._name = name
        self._known: dict[str, str] = {}
        self._run: Path | None = None
        self._asked = 0.0
        self._lock = threading.Lock()

    def now(self) -> Path:
        """Return the run's folder, brought up to date. Raises: LinkError if that fails for long."""
        with self._lock:
            if self._run is not None and time.monotonic() - self._asked < EVERY_S:
                return self._run
            try:
                told = self._client.ask(about_state(self._name, self._known), RunState)
            except LinkError:
                if self._run is None or time.monotonic() - self._asked > PATIENCE_S:
                    raise
                return self._run
            self._asked, self._run = time.monotonic(), self._put(told)
            return self._run

    def _put(self, told: RunState) -> Path:
        """Write down what is new, and return the folder."""
        if not {*told.files, *told.there} <= set(SHOWN_FROM):
            raise MessageError("the coordinator sent files that a run is not shown from; is it of another version?")
        run = self._place / told.run
        if self._run is None:
            run.mkdir()
        elif self._run != run:
            self._run.rename(run)  # what both runs have alike is not sent again
        for name in SHOWN_FROM:
            if name in told.files:
                draft = run / f".{name}.part"
                draft.write_text(told.files[name], encoding="utf-8")
                draft.replace(run / name)
                self._known[name] = text_digest(told.files[name])
            elif name not in told.there:
                (run / name).unlink(missing_ok=True)
                self._known.pop(name, None)
        return run
