import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foedus.privacy.signing.canonical import canonical, digest, signed_bytes

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
