"""Results of long computations, kept in the user's cache folder and found again by all that went into them.

A file that is missing, damaged, or of other inputs is as good as none: the result is computed and written anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

# Raise it when the same inputs give other results.
VERSION = 1


def cache_folder() -> Path:
    """Return $XDG_CACHE_HOME/foedus, or ~/.cache/foedus."""
    given = os.environ.get("XDG_CACHE_HOME")
    return (Path(given) if given else Path.home() / ".cache") / "foedus"


def stored_or_computed(inputs: Mapping[str, Any], compute: Callable[[], Sequence[float]]) -> list[float]:
    """Return what `compute` returns, from the cache if the same inputs were computed before.

    inputs: all that the result depends on, versions of libraries included, as JSON values.
    """
    question = json.dumps({"version": VERSION, **inputs}, sort_keys=True)
    path = cache_folder() / "accounting" / f"{_digest(question)}.json"
    kept = _read(path, question)
    if kept is not None:
        return kept
    result = [float(figure) for figure in compute()]
    _write(path, question, result)
    return result


def _read(path: Path, question: str) -> list[float] | None:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        answer = kept["answer"]
        if kept["question"] != question or kept["digest"] != _digest(question + json.dumps(answer)):
            return None
        return [float(figure) for figure in answer]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(path: Path, question: str, answer: Sequence[float]) -> None:
    kept = {"question": question, "answer": answer, "digest": _digest(question + json.dumps(answer))}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Under another name first: a reader must never see half a file, nor two writers mix.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".part")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(kept, file)
            Path(name).replace(path)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError:
        # A home that cannot be written to costs time at the next start, nothing else.
        return


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
