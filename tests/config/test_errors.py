from collections.abc import Iterator
from difflib import get_close_matches

from hypothesis import given
from hypothesis import strategies as st

from foedus.config.errors import either, nearest, shown
from foedus.config.sections import RunConfig, Section
from foedus.config.structure import sections_of


def all_sections(section: type[Section] = RunConfig) -> Iterator[type[Section]]:
    yield section
    for field in section.model_fields.values():
        for inner in sections_of(field):
            yield from all_sections(inner)


def has_a_twin(key: str, section: type[Section]) -> bool:
    """Return whether another key is as near as a slip, as beta2 is to beta1, or labels to label."""
    return bool(get_close_matches(key, section.model_fields.keys() - {key}, cutoff=0.8))


KEYS = sorted(
    {(key, section) for section in all_sections() for key in section.model_fields if not has_a_twin(key, section)},
    key=str,
)


@given(st.sampled_from([pair for pair in KEYS if len(pair[0]) > 3]), st.data())
def test_one_slip_in_any_key_suggests_that_key(pair: tuple[str, type[Section]], data: st.DataObject) -> None:
    key, section = pair
    place = data.draw(st.integers(0, len(key) - 2))
    slips = [
        key[:place] + key[place + 1 :],  # left out
        key[:place] + key[place] + key[place:],  # twice
        key[:place] + key[place + 1] + key[place] + key[place + 2 :],  # swapped
        key.upper(),
        key.replace("_", "-"),
    ]
    assert nearest(data.draw(st.sampled_from(slips)), section.model_fields) == key


@given(st.text(), st.lists(st.text(), max_size=5))
def test_what_is_suggested_is_known(name: str, known: list[str]) -> None:
    assert nearest(name, known) in [None, *known]


def test_a_name_like_no_other_suggests_nothing() -> None:
    assert nearest("zzz", ["fedavg", "fedprox"]) is None


def test_names_stand_in_a_sentence() -> None:
    assert [either(["a"]), either(["a", "b"]), either(["a", "b", "c"])] == ["a", "a or b", "a, b or c"]


def test_values_are_shown_short_and_in_words_of_yaml() -> None:
    values = [None, True, 1.5, "a", "x" * 80, {"a": 1}, [1, 2]]
    assert [shown(value) for value in values] == [
        "empty",
        "true",
        "1.5",
        "'a'",
        f"'{'x' * 57}…'",
        "a group of keys",
        "a list of 2",
    ]
