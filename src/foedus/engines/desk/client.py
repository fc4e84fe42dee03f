"""A researcher's way to the coordinator's desk: one question, one answer, and files that are what was announced."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import ssl
import time
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from foedus.core.errors import FoedusError, LinkError, MessageError
from foedus.engines.desk.identity import require_coordinator, researcher_context
from foedus.engines.desk.requests import (
    DESK,
    KINDS,
    MAX_ANSWER_BYTES,
    MAX_FILES,
    MAX_REQUEST_BYTES,
    TOO_OFTEN,
    Answer,
    Asked,
    FileEntry,
    GetFile,
    read_answer,
    strict_json,
)
from foedus.engines.kits.kit import Kit

PATIENCE_S = 120.0  # that the coordinator may take for an answer: it reads through a model to tell its digest
_MAX_ERROR = 4000
_PIECE = 1 << 18
_MAX_DEPTH = 16
_PATIENT_TRIES = 30  # of a request that came too soon after others


class DeskClient:
    """Asks the coordinator of a researcher's kit. port: that of the kit unless told."""

    def __init__(self, kit: Kit, port: int | None = None) -> None:
        self._kit = kit
        self._context = researcher_context(kit)
        self._port = port or kit.league.researchers_port
        if self._port is None:
            raise LinkError(f"{kit.folder} says no port for researchers; it was made before there was one: found anew")

    def ask(self, request: Asked, kind: type[Answer]) -> Answer:
        """Return the coordinator's answer.

        Raises: LinkError if it is not reached, or is not the federation's coordinator; what it refuses with.
        """
        connection, response = self._asked(request)
        with connection, response:
            text = _read(response, MAX_ANSWER_BYTES)
        return read_answer(text, kind)

    def fetch(self, run: str, entry: FileEntry, to: Path) -> None:
        """Write one file of a run into a folder, below which its path leads; it is what was announced.

        Raises: MessageError if it is not, or its path leads elsewhere; LinkError as `ask`.
        """
        place = to / safe_path(entry.path)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise MessageError(
                f"{entry.path} cannot be written beside the run's other files: {error.strerror}"
            ) from None
        connection, response = self._asked(GetFile(run=run, path=entry.path))
        digest, left = hashlib.sha256(), entry.size
        with connection, response, os.fdopen(descriptor, "wb") as file:
            if response.length != entry.size:
                raise MessageError(f"the coordinator announced {entry.path} with another length")
            while left and (piece := _piece(response, min(_PIECE, left))):
                digest.update(piece)
                file.write(piece)
                left -= len(piece)
        if left or digest.hexdigest() != entry.sha256:
            raise MessageError(f"{entry.path} came as another file than the coordinator announced; fetch once more")

    def _asked(self, request: Asked) -> tuple[_Connection, http.client.HTTPResponse]:
        """Return the answer's beginning; what was refused is raised."""
        body = json.dumps(request.model_dump(mode="json")).encode()
        if len(body) > MAX_REQUEST_BYTES:
            raise LinkError(f"the request has {len(body):,} bytes; the coordinator takes {MAX_REQUEST_BYTES:,} at most")
        for _ in range(_PATIENT_TRIES):
            connection, response = self._sent(body)
            if response.status == http.client.OK:
                return connection, response
            with connection, response:
                refusal = _refusal(_read(response, MAX_ANSWER_BYTES))
            if response.status != TOO_OFTEN:
                break
            time.sleep(1)
        raise refusal

    def _sent(self, body: bytes) -> tuple[_Connection, http.client.HTTPResponse]:
        """Send a request, and return the beginning of the answer."""
        league, connection = self._kit.league, _Connection(self._kit, self._port or 0, self._context)
        try:
            connection.request("POST", DESK, body)
            return connection, connection.getresponse()
        except ssl.SSLCertVerificationError as error:
            connection.close()
            raise LinkError(
                f"who answers at {league.host}, port {self._port}, is not the coordinator of {league.name}: "
                f"{error.verify_message}. Compare fingerprints, and the clock of this machine"
            ) from None
        except ssl.SSLError as error:
            connection.close()
            raise LinkError(
                f"the coordinator at {league.host} does not accept this kit's certificate: it is of another "
                f"federation, or has ended ({error.reason})"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            why = getattr(error, "strerror", None) or type(error).__name__
            raise LinkError(
                f"the coordinator is not reached at {league.host}, port {self._port}: {why}. Is it started, and does "
                "the network let this machine through?"
            ) from None
        except LinkError:
            connection.close()
            raise


class _Connection(http.client.HTTPSConnection):
    """One connection, to the coordinator and nobody else of the federation."""

    def __init__(self, kit: Kit, port: int, context: ssl.SSLContext) -> None:
        super().__init__(kit.league.host, port, timeout=PATIENCE_S, context=context)
        self._league = kit.league

    def connect(self) -> None:
        """Connect, and see who answers before anything is sent."""
        super().connect()
        require_coordinator(self.sock.getpeercert(), self._league)

    def __enter__(self) -> _Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def safe_path(text: str) -> PurePosixPath:
    """Return a path that leads below whatever folder it starts from.

    Raises: MessageError if it could lead elsewhere.
    """
    path = PurePosixPath(text)
    parts = path.parts
    leads_below = not path.is_absolute() and ".." not in parts and 0 < len(parts) <= _MAX_DEPTH
    if not leads_below or str(path) != text or "\\" in text or ":" in text or not text.isprintable():
        raise MessageError(f"the coordinator names a file {text[:100]!r}, which could lead out of the folder")
    return path


def require_fitting(files: Sequence[FileEntry], free_bytes: int) -> None:
    """Check that files can be written below one folder, and have room there.

    Raises: MessageError if two are one, or a path leads elsewhere; LinkError if there is no room.
    """
    if len(files) > MAX_FILES or len({str(safe_path(file.path)).casefold() for file in files}) < len(files):
        raise MessageError("the coordinator names a file twice, or too many")
    if (total := sum(file.size for file in files)) > free_bytes:
        raise LinkError(f"the run's files have {total:,} bytes, and there is room for {free_bytes:,}")


def _refusal(text: bytes) -> FoedusError:
    """Return why the coordinator refused, as the error that it was."""
    told = strict_json(text)
    if not isinstance(told, dict) or not isinstance(told.get("error"), str):
        return MessageError("the coordinator refused, and did not say why; is it of another version?")
    said = "".join(c if c.isprintable() or c == "\n" else " " for c in told["error"][:_MAX_ERROR])
    return KINDS.get(str(told.get("kind")), LinkError)(said)


def _read(response: http.client.HTTPResponse, most: int) -> bytes:
    if response.length is None or response.length > most:
        raise MessageError(f"the coordinator announces an answer of {response.length} bytes; at most {most} are taken")
    return _piece(response, response.length)


def _piece(response: http.client.HTTPResponse, size: int) -> bytes:
    try:
        return response.read(size)
    except (OSError, http.client.HTTPException) as error:
        raise LinkError(f"the connection to the coordinator broke ({type(error).__name__}); try once more") from None
