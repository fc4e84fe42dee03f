"""What a researcher may ask of the coordinator: small JSON texts of known shape, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from foedus.core.errors import ConfigError, FoedusError, LinkError, MessageError, RunFolderError

DESK, TOO_OFTEN = "/desk", 429  # where requests go, and HTTP's status for who asks too often
MAX_REQUEST_BYTES = 1 << 20
MAX_ANSWER_BYTES = 1 << 26
MAX_FILES = 10_000

# What a refusal may be raised as at the researcher's.
KINDS: Mapping[str, type[FoedusError]] = {
    kind.__name__: kind for kind in (ConfigError, LinkError, MessageError, RunFolderError)
}

# A run's name is the name of its folder, and never a path.
SafeName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
PlaceText = Annotated[str, Field(min_length=1, max_length=500)]


class _Asked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Submit(_Asked):
    """Please play this run when it is its turn. config: what its YAML file says, with every default."""

    ask: Literal["submit"] = "submit"
    config: dict[str, Any]


class ListRuns(_Asked):
    """Please name all runs."""

    ask: Literal["runs"] = "runs"


class State(_Asked):
    """Please tell where a run stands; the latest, if none is named. known: digests of files that are here already."""

    ask: Literal["state"] = "state"
    run: SafeName | None = None
    known: dict[str, Digest] = {}


class Stop(_Asked):
    """Please end this run early."""

    ask: Literal["stop"] = "stop"
    run: SafeName


class Resume(_Asked):
    """Please go on with this run."""

    ask: Literal["resume"] = "resume"
    run: SafeName


class ListFiles(_Asked):
    """Please name the files that this run came to."""

    ask: Literal["files"] = "files"
    run: SafeName


class GetFile(_Asked):
    """Please send one of them. path: as the list has it."""

    ask: Literal["file"] = "file"
    run: SafeName
    path: PlaceText


Asked = Submit | ListRuns | State | Stop | Resume | ListFiles | GetFile
_ASKED: TypeAdapter[Asked] = TypeAdapter(Annotated[Asked, Field(discriminator="ask")])


class FileEntry(_Asked):
    """A file that can be fetched."""

    path: PlaceText
    size: Annotated[int, Field(ge=0, le=1 << 50)]
    sha256: Digest


class FileList(_Asked):
    """What the answer to ListFiles holds."""

    files: Annotated[list[FileEntry], Field(max_length=MAX_FILES)]


class RunState(_Asked):
    """What the answer to State holds: the run's name, its files as text where they are others than those known."""

    run: SafeName
    files: dict[PlaceText, str]
    there: list[PlaceText]


class RunEntry(_Asked):
    """A run in the list. by: who submitted it."""

    run: SafeName
    phase: str
    round: int
    rounds: int
    by: str
    note: str


class RunList(_Asked):
    """What the answer to ListRuns holds, the latest first."""

    runs: Annotated[list[RunEntry], Field(max_length=10_000)]


class Done(_Asked):
    """What the answer to Submit, Stop and Resume holds."""

    run: SafeName


Named = TypeVar("Named", Stop, Resume, ListFiles)
Answer = TypeVar("Answer", FileList, RunState, RunList, Done)


def about(kind: type[Named], run: str) -> Named:
    """Return a request about a run.

    Raises: LinkError if no run can be called so.
    """
    try:
        return kind(run=run)
    except ValidationError:
        raise _no_name(run) from None


def about_state(run: str | None, known: Mapping[str, str]) -> State:
    """Return the question where a run stands, the latest if None. Raises: LinkError if no run can be called so."""
    try:
        return State(run=run, known=dict(known))
    except ValidationError:
        raise _no_name(run) from None


def _no_name(run: str | None) -> LinkError:
    return LinkError(f"{run!r:.120} is no name of a run: those hold letters, digits and . _ - alone")


def read_request(text: bytes) -> Asked:
    """Return what is asked.

    Raises: MessageError if it is nothing that may be.
    """
    try:
        return _ASKED.validate_python(strict_json(text))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part)[:60] for part in first["loc"]) or "it"
        raise MessageError(f"the request makes no sense here: {place}: {first['msg'].lower()}") from None


def read_answer(text: bytes, kind: type[Answer]) -> Answer:
    """Return what the coordinator answered.

    Raises: MessageError if that is something else.
    """
    try:
        return kind.model_validate(strict_json(text))
    except ValidationError:
        raise MessageError(
            "the coordinator answered something else than was asked; is it of another version?"
        ) from None


def strict_json(text: bytes) -> Any:
    """Return a JSON value: no key twice, no NaN.

    Raises: MessageError if it is none.
    """
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise MessageError("it is no JSON, or holds a key twice") from None


def _once(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands there twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")
