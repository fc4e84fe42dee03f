"""What one run cost those who pay for it, as a machine reads it: events and how often.

From these epsilon can be computed anew.

A participant's bill tells how many records it has. Where that is secret, only a salted digest of it is shown, and the
participant keeps what opens it.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from foedus.core.errors import ConfigError, SignatureError
from foedus.federation.messages import ParticipantId
from foedus.privacy.events import Charge, from_json, merged, to_json
from foedus.privacy.own_files import write_own
from foedus.privacy.signing.canonical import canonical, digest

SUFFIX = ".bill.json"
_SALT_BYTES = 32
_MAX_BYTES = 1 << 20
_MAX_EVENTS, _MAX_COUNT = 16, 10**9  # that anybody composes anew because somebody else says so


@dataclass(frozen=True)
class Bill:
    """All that a run charged to one payer, and the delta at which its epsilon is told."""

    charges: tuple[Charge, ...]
    delta: float

    def as_values(self) -> Mapping[str, Any]:
        """Return the bill as JSON values."""
        events = [{"event": json.loads(to_json(event)), "count": count} for event, count in self.charges]
        return {"delta": self.delta, "events": events}

    @classmethod
    def from_values(cls, values: Any) -> Bill:
        """Return the bill that such values state.

        Raises: SignatureError if they state none: what cannot be read must not count as nothing.
        """
        try:
            if values.keys() != {"delta", "events"} or not 0 < values["delta"] < 1:
                raise ValueError("a bill has a delta and events")
            charges = []
            if len(values["events"]) > _MAX_EVENTS:
                raise ValueError("a bill has fewer events")
            for each in values["events"]:
                if each.keys() != {"event", "count"} or type(each["count"]) is not int:
                    raise ValueError("a charge has an event and a count")
                if not 1 <= each["count"] <= _MAX_COUNT:
                    raise ValueError("a charge was made once at least")
                charges.append((from_json(json.dumps(each["event"])), each["count"]))
            return cls(merged(charges), float(values["delta"]))
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError, ConfigError) as error:
            raise SignatureError(
                f"what a run cost its payers cannot be read: {type(error).__name__} in a list of privacy events"
            ) from None


def show_bills(
    bills: Mapping[str, Bill], owners: Sequence[ParticipantId], place: Path, run: str
) -> Sequence[Mapping[str, Any]]:
    """Return what everybody may see of the bills.

    owners: participants whose bills are secret; each of them keeps its own in a file that it alone can read, in a
        folder of its own in `place`. run: the file's name, without suffix.
    Raises: SignatureError if a file cannot be written.
    """
    shown = []
    for payer, bill in bills.items():
        if payer not in owners:
            shown.append({"payer": payer, **bill.as_values()})
            continue
        opening = {"payer": payer, "salt": secrets.token_hex(_SALT_BYTES), **bill.as_values()}
        _write(bill_file(place, payer, run), canonical(opening) + b"\n")
        shown.append({"payer": payer, "sealed": _sealed(opening)})
    return shown


def bill_file(place: Path, participant: ParticipantId, run: str) -> Path:
    """Return where a participant keeps its bill of a run."""
    return place / quote(participant, safe=" ") / f"{run}{SUFFIX}"


def read_bills(shown: Any, files: Sequence[Path] = ()) -> tuple[Mapping[str, Bill], Sequence[str]]:
    """Return the bills that are shown or opened, and whose stay sealed.

    files: in which participants keep their bills.
    Raises: SignatureError if one cannot be read, or a file is not what was sealed.
    """
    try:
        entries = {str(each["payer"]): {k: v for k, v in each.items() if k != "payer"} for each in shown}
        twice = len(entries) < len(shown)
    except (TypeError, KeyError, AttributeError):
        raise SignatureError("what a run cost its payers cannot be read: it is no list of bills") from None
    if twice:
        raise SignatureError("what a run cost its payers cannot be read: somebody has two bills")
    for file in files:
        opening = _opening(file)
        if entries.get(opening["payer"]) != {"sealed": _sealed(opening)}:
            raise SignatureError(f"{file} is not the bill that the run sealed for {opening['payer']}")
        entries[opening["payer"]] = {name: opening[name] for name in ("delta", "events")}
    sealed = [payer for payer, entry in entries.items() if entry.keys() == {"sealed"} and _is_seal(entry["sealed"])]
    return {payer: Bill.from_values(entry) for payer, entry in entries.items() if payer not in sealed}, sealed


def _sealed(opening: Mapping[str, Any]) -> str:
    return digest("bill", opening).hex()


def _is_seal(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


def _opening(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise ValueError("too long")
        opening = json.loads(file.read_bytes())
        if (
            opening.keys() == {"payer", "salt", "delta", "events"}
            and len(bytes.fromhex(opening["salt"])) == _SALT_BYTES
        ):
            canonical(opening)  # it holds no NaN, and nothing too large
            return {**opening, "payer": str(opening["payer"])}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        pass
    raise SignatureError(f"{file} is no bill of a run; a participant's lies beside its ledger, NAME/RUN{SUFFIX}")


def _write(path: Path, content: bytes) -> None:
    try:
        write_own(path, content)
    except OSError as error:
        raise SignatureError(f"the bill {path} cannot be written: {error.strerror}") from error
