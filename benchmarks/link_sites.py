"""Doors of sites that send back what they get, in a process of their own."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from foedus.engines.link.mailbox import Mailbox
from foedus.engines.link.sockets import Door, door_path

if __name__ == "__main__":
    for site in sys.argv[2:]:
        mailbox = Mailbox(lambda run, kind, data, mark: [data], 1 << 31)
        mailbox.start()
        Door(door_path(Path(sys.argv[1]), site), mailbox)
    while True:
        time.sleep(1)
