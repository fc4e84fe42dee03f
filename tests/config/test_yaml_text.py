import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from foedus.config.yaml_text import dump, parse
from foedus.core.errors import ConfigError

TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
TRAPS = st.sampled_from(
    ["no", "on", "1e-3", "1_000", "0x1F", "012", "1:30", "~", "", "2026-11-22", "=", "<<", ".5", "-"]
)
VALUES = st.recursive(
    TEXTS | TRAPS | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS | TRAPS, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_what_is_dumped_is_parsed_again(value: object) -> None:
    assert parse(dump(value), "text").value == value


@given(TEXTS | TRAPS)
def test_text_is_dumped_so_that_other_yaml_readers_take_it_for_text(text: str) -> None:
    assert yaml.safe_load(dump({"key": text})) == {"key": text}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-3", 0.001),
        ("5e4", 50000.0),
        ("-.5", -0.5),
        ("1.", 1.0),
        (".inf", float("inf")),
        ("12", 12),
        ("+3", 3),
        ("0", 0),
        ("007", "007"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2026-11-22", "2026-11-22"),
        ("no", "no"),
        ("yes", "yes"),
        ("off", "off"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("'true'", "true"),
        ("!!str 5", "5"),
    ],
)
def test_plain_values_are_what_they_look_like(written: str, value: object) -> None:
    assert parse(f"key: {written}", "text").value == {"key": value}


def test_every_key_and_entry_has_its_line() -> None:
    text = "a: 1\nb:\n  c: [x, y]\n  d:\n    - 1\n    - 2\n"
    assert parse(text, "text").lines == {
        ("a",): 1,
        ("b",): 2,
        ("b", "c"): 3,
        ("b", "c", 0): 3,
        ("b", "c", 1): 3,
        ("b", "d"): 4,
        ("b", "d", 0): 5,
        ("b", "d", 1): 6,
    }


def test_keys_are_text_as_it_was_written() -> None:
    assert parse("001: a\nno: b\n2.0: c", "text").value == {"001": "a", "no": "b", "2.0": "c"}


def test_an_anchor_can_be_used_again() -> None:
    assert parse("a: &x [1, 2]\nb: *x", "text").value == {"a": [1, 2], "b": [1, 2]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "f.yaml: line 3: 'a' stands here again; it is first given in line 1"),
        ("a:\n  b: 1\n  b: 2", "f.yaml: line 3: 'a.b' stands here again; it is first given in line 2"),
        ("a: !env HOME", "f.yaml: line 1: tags such as '!env' are not allowed"),
        ("? [1, 2]\n: 3", "f.yaml: line 1: a key must be a single word"),
        ("a: &x\n  b: *x", "f.yaml: line 1: this part contains itself"),
        (
            "train: *.csv",
            "f.yaml: line 1: this is not valid YAML: expected alphabetic or numeric character, but found '.'; "
            "put quotes around a value that begins with *",
        ),
        (
            "a:\n\tb: 1",
            "f.yaml: line 2: this is not valid YAML: found character '\\t' that cannot start any token; "
            "indent with spaces",
        ),
        (
            "a: b: c",
            "f.yaml: line 1: this is not valid YAML: mapping values are not allowed here; "
            "put quotes around a value that holds a colon",
        ),
        (
            "a: @b",
            "f.yaml: line 1: this is not valid YAML: found character '@' that cannot start any token; "
            "put quotes around the value",
        ),
        ("a: 1\n---\nb: 2", "f.yaml: line 2: this is not valid YAML: but found another document; remove the line ---"),
        ("a: \x01", "f.yaml: it holds characters that YAML does not allow; save it as UTF-8 text"),
    ],
)
def test_errors_say_where_and_what_to_do(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(text, "f.yaml")
    assert str(error.value) == message


def test_all_repeated_keys_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        parse("a: 1\na: 2\nb: 1\nb: 2", "f.yaml")
    assert len(str(error.value).splitlines()) == 2
