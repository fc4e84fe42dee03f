import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foedus.core.errors import SecureSumError, SignatureError
from foedus.privacy.secure_sum.keys import SIGNED, signature_of, verify
from foedus.privacy.signing.canonical import STATEMENTS, canonical, digest, in_context, signed_bytes
from foedus.privacy.signing.identity import Identity

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(scalars, lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(), v, max_size=4))


def typed(value: Any) -> Any:
    """Tell apart what Python calls equal: 1, 1.0 and True; 0.0 and -0.0."""
    if isinstance(value, dict):
        return {key: typed(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [typed(inner) for inner in value]
    return (type(value).__name__, repr(value))


@given(values, values)
def test_different_values_have_different_texts_and_equal_ones_the_same(left: Any, right: Any) -> None:
    assert (canonical(left) == canonical(right)) == (typed(left) == typed(right))


@given(values)
def test_the_text_is_json_for_the_value(value: Any) -> None:
    assert typed(json.loads(canonical(value))) == typed(value)


@given(st.dictionaries(st.text(), st.integers()))
def test_the_order_of_keys_does_not_matter(value: dict[str, int]) -> None:
    assert canonical(dict(reversed(value.items()))) == canonical(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, {1: "a"}, [{None: 1}], b"bytes", {"a": {2}}])
def test_what_has_no_canonical_text_is_refused(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        canonical(value)


def test_kind_and_purpose_are_part_of_what_is_signed() -> None:
    assert signed_bytes("update", {"a": 1}) == b'foedus signature 1\x00update\x00{"a":1}'
    assert len({signed_bytes("a", 1), signed_bytes("b", 1)}) == 2
    assert digest("a", 1) != digest("b", 1)


@pytest.mark.parametrize("kind", ["", "two words", "nul\x00", "é", "a\n"])
def test_a_kind_that_could_reach_into_the_statement_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="one word"):
        signed_bytes(kind, None)


def test_no_string_of_bytes_is_signed_in_two_contexts() -> None:
    """Every signed string begins with its context and the first zero byte: of two, neither begins with the other."""
    contexts = [STATEMENTS, SIGNED, SIGNED + b" 2", b"foedus"]
    beginnings = [in_context(context, b"") for context in contexts]
    assert all(begin.index(0) == len(begin) - 1 for begin in beginnings)
    assert not any(one.startswith(other) for one in beginnings for other in beginnings if one is not other)
    for context in (b"", b"a\x00", b"a\x00b"):
        with pytest.raises(ValueError, match="holds no zero byte"):
            in_context(context, b"")
    assert signed_bytes("head", [1]) == in_context(STATEMENTS, b"head\x00[1]")


def test_one_key_s_signature_of_a_secure_sum_is_none_of_a_statement_whatever_the_bytes() -> None:
    identity = Identity.from_seed(b"s" * 32)
    statement = signed_bytes("head", [1])
    of_a_sum = signature_of(identity, statement)
    with pytest.raises(SignatureError, match="does not fit its head statement"):
        identity.public.check("head", [1], of_a_sum.hex(), "north")
    with pytest.raises(SecureSumError, match="is not signed"):
        verify(identity.public, bytes.fromhex(identity.sign("head", [1])), statement, "it")
    verify(identity.public, of_a_sum, statement, "it")
    with pytest.raises(ValueError, match="as if it were a statement"):
        identity.sign_message(STATEMENTS, b"head\x00[1]")
