"""The process that trains for a participant in one run: python -m foedus.api.trainer CONNECTION FACTS.

It answers messages on a connection that it inherits, one after the other, and ends with its starter.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import sys
import threading
import time
from pathlib import Path

from foedus.config.consent import require_upload
from foedus.config.loading import load_participant_file
from foedus.config.participant import Home, ParticipantRun
from foedus.config.signed_run import PASSPHRASE
from foedus.core.errors import FoedusError
from foedus.engines.child import MARK, REFUSED
from foedus.engines.codec.messages import decode_question, encode_answer
from foedus.engines.codec.tensors import Limits
from foedus.engines.link.frames import receive_long, send_long
from foedus.engines.site import failure_reason
from foedus.federation.messages import Failure
from foedus.privacy.signing.key_files import is_encrypted, load_private, private_path
from foedus.privacy.signing.key_folder import PINS
from foedus.privacy.signing.pins import load_pins

MARKS_EVERY_S = 1.0


def open_home(name: str, file: Path, folder: Path, keys: Path | None) -> Home:
    """Return what a participant has before any run.

    Raises: ConfigError if its file is wrong; SignatureError if its key cannot be used.
    """
    own = load_participant_file(file)
    if keys is None:
        return Home(name, own, folder, tell=_log, show=_show)
    path = private_path(keys, name)
    identity = load_private(path, os.environ.get(PASSPHRASE) if is_encrypted(path) else None)
    return Home(name, own, folder, identity, load_pins(keys / PINS), _log, _show)


def _log(text: str) -> None:
    """Write a sentence into the own log, which nobody else reads."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _show(folder: Path) -> None:
    """Make a page of the own comparison in a folder."""
    from foedus.reporting.report import write_comparison_report

    _log(f"this organisation's own comparison, which nobody else is sent: {write_comparison_report(folder)}")


def serve(connection: socket.socket, home: Home) -> None:
    """Answer messages until the other side is gone."""
    limits = Limits(message_bytes=home.file.limits.download_bytes)
    marked = 0.0

    def mark() -> None:
        nonlocal marked
        if time.monotonic() - marked > MARKS_EVERY_S:
            marked = time.monotonic()
            send_long(connection, {"kind": MARK}, [])

    run = ParticipantRun(home, mark)
    while True:
        header, data = receive_long(connection, limits.message_bytes)
        kind = str(header.get("kind"))
        try:
            reply = run.answer(decode_question(data, limits))
            del data
            if run.has_refused and isinstance(reply, Failure):
                home.tell(reply.reason)
            answer = encode_answer(reply)
            require_upload(home.file, sum(len(piece) for piece in answer), f"its answer to {kind}")
        except FoedusError as error:
            answer = encode_answer(Failure(failure_reason(error)))
        send_long(connection, {"kind": REFUSED if run.has_refused else "answer"}, answer)


def main() -> None:
    """Serve the connection that was inherited."""
    facts = json.loads(sys.argv[2])
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    with contextlib.suppress(OSError):  # better this process than its starter, or anybody else's
        Path("/proc/self/oom_score_adj").write_text("500")
    home = open_home(facts["name"], Path(facts["file"]), Path(facts["folder"]), facts["keys"] and Path(facts["keys"]))
    if (most := home.file.limits.memory_bytes) is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    with socket.socket(fileno=int(sys.argv[1])) as connection, contextlib.suppress(ConnectionError):
        serve(connection, home)


def _end_with(parent: int) -> None:
    """End this process when its starter is gone, whatever it is doing."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    main()
