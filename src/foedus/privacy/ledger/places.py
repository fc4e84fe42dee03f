"""Where privacy ledgers lie: outside every run folder, one file a participant and one for the federation.

In $FOEDUS_LEDGERS, or $XDG_DATA_HOME/foedus/ledgers, or ~/.local/share/foedus/ledgers:
federation.sqlite and participant-NAME.sqlite.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, unquote

from foedus.core.errors import LedgerError

FEDERATION = "federation"
_PARTICIPANT, _SUFFIX = "participant-", ".sqlite"
_LONGEST_NAME = 255  # bytes that file systems allow


def ledger_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of this user's ledgers; it need not exist yet."""
    if own := environment.get("FOEDUS_LEDGERS"):
        return Path(own).expanduser().absolute()
    if data := environment.get("XDG_DATA_HOME"):
        return Path(data) / "foedus" / "ledgers"
    return Path.home() / ".local" / "share" / "foedus" / "ledgers"


def participants_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of what participants keep for themselves, beside their ledgers; it need not exist yet."""
    return ledger_folder(environment) / "reports"


def federation_ledger(folder: Path) -> Path:
    """Return the place of the federation's ledger."""
    return folder / f"{FEDERATION}{_SUFFIX}"


def participant_ledger(folder: Path, participant: str) -> Path:
    """Return the place of a participant's ledger; two names never share one.

    Raises: LedgerError if the name is too long for a file's.
    """
    name = f"{_PARTICIPANT}{quote(participant, safe=' ')}{_SUFFIX}"
    if len(name) > _LONGEST_NAME:
        raise LedgerError(f"the participant {participant[:40]}… has too long a name for a ledger's file; shorten it")
    return folder / name


def owner_of(path: Path) -> str:
    """Return whose ledger a file is, as people read it: the participant's name, or "the federation"."""
    if path.name == f"{FEDERATION}{_SUFFIX}":
        return "the federation"
    return unquote(path.name.removeprefix(_PARTICIPANT).removesuffix(_SUFFIX))


def ledgers_in(folder: Path) -> Sequence[Path]:
    """Return the ledgers that a folder holds, the federation's first."""
    found = sorted(folder.glob(f"{_PARTICIPANT}*{_SUFFIX}"), key=owner_of)
    federation = federation_ledger(folder)
    return [federation, *found] if federation.exists() else found
