"""The one way in which a value is written before it is hashed or signed.

Canonical text is JSON with sorted keys, no spaces and ASCII only, so that equal values give equal
bytes and different values different ones: a whole number is not the float of the same size.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

VERSION = 1
DIGEST_BYTES = 32


def canonical(value: Any) -> bytes:
    r"""Return the canonical text of a value made of None, booleans, finite numbers, text, lists and mappings.

    >>> canonical({"b": [1, 1.0, None], "a": "é"})
    b'{"a":"\\u00e9","b":[1,1.0,null]}'

    Raises: TypeError or ValueError if it holds anything else; a mapping's keys are text.
    """
    _require_textual_keys(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def _require_textual_keys(value: Any) -> None:
    """Check what json.dumps would pass over: it writes the keys 1 and "1" alike."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise TypeError(f"a mapping of a signed value has a key of type {type(key).__name__}; keys are text")
            _require_textual_keys(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _require_textual_keys(inner)


def signed_bytes(kind: str, value: Any) -> bytes:
    """Return what a signature covers: whose protocol, which version, what kind of statement, and the statement.

    A signature of one kind of statement is none of another kind, nor of another version.
    """
    return _in_context("signature", kind, value)


def digest(kind: str, value: Any) -> bytes:
    """Return the SHA-256 digest of a value in its context."""
    return hashlib.sha256(_in_context("digest", kind, value)).digest()


def _in_context(purpose: str, kind: str, value: Any) -> bytes:
    if not (kind.isascii() and kind.isidentifier()):  # a separator inside could make one context look like another
        raise ValueError(f"the kind of a signed value is {kind!r}; it must be one word of ASCII letters")
    return f"foedus {purpose} {VERSION}\x00{kind}\x00".encode() + canonical(value)
