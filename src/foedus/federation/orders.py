"""Who asked for what of a run between organisations: one line each, in the run's folder.

A researcher is named by its certificate; on the coordinator's machine it is the coordinator.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

from foedus.core.errors import LinkError, RunFolderError

ORDERS = "orders.jsonl"
MAX_BYTES = 1 << 20
What = Literal["submit", "stop", "resume"]


@dataclass(frozen=True)
class Order:
    """Somebody asked for something. at: ISO 8601."""

    at: str
    by: str
    what: What


def note_order(run: Path, by: str, what: What) -> None:
    """Write down who asks for what, before it is done.

    Raises: LinkError if there were too many already.
    """
    line = json.dumps(asdict(Order(datetime.now(UTC).isoformat(timespec="seconds"), by, what))) + "\n"
    with (run / ORDERS).open("a", encoding="utf-8") as file:
        if file.tell() + len(line) > MAX_BYTES:
            raise LinkError(f"the run {run.name} was stopped and resumed too often to write down once more")
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def read_orders(run: Path) -> Sequence[Order]:
    """Return who asked for what, in order; a line that a crash cut short is none.

    Raises: RunFolderError if the file is damaged.
    """
    path = run / ORDERS
    if not path.is_file():
        return ()
    try:
        *whole, _ = path.read_text(encoding="utf-8").split("\n")
        orders = [Order(**json.loads(line)) for line in whole if line]
    except (OSError, ValueError, TypeError) as error:
        raise RunFolderError(f"{path} is damaged: it does not tell who asked for what") from error
    if any(order.what not in get_args(What) or not isinstance(order.by, str) for order in orders):
        raise RunFolderError(f"{path} is damaged: it tells of something that nobody can ask for")
    return orders
