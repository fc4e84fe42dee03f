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
STATEMENTS = b"foedus signature %d" % VERSION  # the context of all signed statements


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
    return in_context(STATEMENTS, _of_kind(kind, value))


def digest(kind: str, value: Any) -> bytes:
    """Return the SHA-256 digest of a value in its context."""
    return hashlib.sha256(in_context(b"foedus digest %d" % VERSION, _of_kind(kind, value))).digest()


def in_context(context: bytes, message: bytes) -> bytes:
    r"""Return a message of one protocol, told apart from those of all others: one key may sign for several.

    The first zero byte ends the context, so that no string of bytes is a message in two of them.
    >>> in_context(b"foedus secure sum", b"\x00hello")
    b'foedus secure sum\x00\x00hello'

    Raises: ValueError if the context is empty or holds a zero byte.
    """
    if not context or b"\x00" in context:
        raise ValueError(f"the context of a signature is {context!r}; it is not empty and holds no zero byte")
    return context + b"\x00" + message


def _of_kind(kind: str, value: Any) -> bytes:
    if not (kind.isascii() and kind.isidentifier()):  # a separator inside could make one context look like another
        raise ValueError(f"the kind of a signed value is {kind!r}; it must be one word of ASCII letters")
    return kind.encode() + b"\x00" + canonical(value)
