"""Which files belong to which participant."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from foedus.core.errors import DataError
from foedus.data.reading import datasets_splits, read_table
from foedus.data.sites import SPLITS, Site, Split

Source = str | Mapping[str, str]  # a glob, whose matches name the participants, or name → path
Files = Mapping[str, Mapping[Split, Path]]  # participant → split → file, in the participants' order

MAX_NAME = 100
GLOB_CHARACTERS = re.compile(r"[*?\[]")


def find_sites(
    root: Path,
    train: Source,
    columns: Sequence[str],
    text_columns: Collection[str],
    *,
    validation: Source | None = None,
    test: Source | None = None,
    by: str | None = None,
) -> list[Site]:
    """Return the participants with their rows read, as find_files and read_table say.

    by: a further column, read from training files alone, that split_site needs.
    Raises: DataError.
    """
    asked = {split: list(columns) for split in SPLITS}
    if by is not None and by not in columns:
        asked["train"] = [*columns, by]
    return [
        Site(name, {split: read_table(path, asked[split], text_columns) for split, path in paths.items()})
        for name, paths in find_files(root, train, validation, test).items()
    ]


def find_files(root: Path, train: Source, validation: Source | None = None, test: Source | None = None) -> Files:
    """Return each participant's files: in the order listed, or sorted by name for a glob.

    root: the folder that relative paths start from.
    The name that a glob gives a participant is its file's, without the ending and without the split's name at
    the end (`data/*_train.csv`), or its folder's, if all files are called alike (`data/*/train.csv`).
    Files of several splits belong together by participant name. A participant may lack a validation or
    test file, but not the training file. A folder of `DatasetDict.save_to_disk` given for training brings
    its own validation and test splits, where no files are given for these.
    Raises: DataError.
    """
    found = {"train": _locate(root, train, "train")}
    for split, source in (("validation", validation), ("test", test)):
        if source is not None:
            found[split] = _locate(root, source, split)
            _require_trained(found[split], found["train"], split)
    files: dict[str, dict[Split, Path]] = {}
    for name in found["train"]:
        given = {split: _one_split(paths[name], split) for split, paths in found.items() if name in paths}
        own = _own_splits(found["train"][name], {split for split in SPLITS if split not in found})
        files[name] = {split: (given | own)[split] for split in SPLITS if split in given | own}
    _require_distinct(files)
    return files


def _locate(root: Path, source: Source, split: str) -> dict[str, Path]:
    if isinstance(source, str):
        paths = [path for path in _matches(root, source) if not path.name.startswith(".")]
        if not paths:
            raise DataError(f"participants.{split}: no file matches '{source}' in {root.resolve()}")
        named = sorted((_name(path, source, split), path) for path in paths)
    else:
        named = [(name, root / Path(path).expanduser()) for name, path in source.items()]
        if not named:
            raise DataError(f"participants.{split} lists no participant")
        for name, path in named:
            if not path.exists():
                raise DataError(f"participants.{split}: the file of '{name}', {path}, does not exist")
    named = [(unicodedata.normalize("NFC", name), path) for name, path in named]
    require_safe_names((name for name, _ in named), f"participants.{split}")
    return dict(named)


def _matches(root: Path, pattern: str) -> list[Path]:
    whole = Path(pattern).expanduser()
    if not GLOB_CHARACTERS.search(pattern):
        return [root / whole] if (root / whole).exists() else []
    if whole.is_absolute():
        root, whole = Path(whole.anchor), whole.relative_to(whole.anchor)
    return list(root.glob(str(whole)))


def _name(path: Path, pattern: str, split: str) -> str:
    varies = [GLOB_CHARACTERS.search(part) is not None for part in reversed(Path(pattern).parts)]
    if any(varies) and not varies[0]:
        return path.parts[-1 - varies.index(True)]
    stem = path.name if path.is_dir() else path.stem
    return re.sub(rf"[._ -]{split}$", "", stem)


def _one_split(path: Path, split: str) -> Path:
    return path / split if split in datasets_splits(path) else path


def _own_splits(train: Path, wanted: Iterable[Split]) -> dict[Split, Path]:
    present = datasets_splits(train)
    return {split: train / split for split in wanted if split in present}


def _require_distinct(files: Files) -> None:
    seen: dict[Path, str] = {}
    for name, paths in files.items():
        for split, path in paths.items():
            use = f"the {split} file of '{name}'"
            if other := seen.get(path.resolve()):
                raise DataError(
                    f"{path} is both {other} and {use}, so that the same rows would count twice or be tested on after "
                    f"training; give each its own file, or narrow the glob"
                )
            seen[path.resolve()] = use


def _require_trained(others: Iterable[str], trained: Collection[str], split: str) -> None:
    for name in others:
        if name not in trained:
            near = get_close_matches(name, trained, n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise DataError(
                f"participants.{split} has a file of '{name}', which has none for training; {hint}"
                f"Participants with training files: {', '.join(trained)}"
            )


def require_safe_names(names: Iterable[str], place: str) -> None:
    """Check that names can be file names on every system, and that no two are the same.

    Two names that differ in capitals only are the same to some file systems.
    Raises: DataError.
    """
    seen: dict[str, str] = {}
    for name in names:
        if not is_safe_name(name):
            raise DataError(
                f"{place}: '{name}' cannot name a participant; use letters, digits, '.', '_', '-' and spaces, "
                f"beginning and ending with a letter or digit, {MAX_NAME} characters at most"
            )
        if other := seen.get(name.casefold()):
            called = (
                f"called '{name}'" if other == name else f"called '{other}' and '{name}', which some systems confuse"
            )
            raise DataError(f"{place}: two participants are {called}; rename one")
        seen[name.casefold()] = name


def is_safe_name(name: str) -> bool:
    """Return whether a participant's name can be a file name on every system.

    >>> is_safe_name("St Mary-2"), is_safe_name("../x")
    (True, False)
    """
    return len(name) <= MAX_NAME and re.fullmatch(r"[^\W_]+(?:[._ -]+[^\W_]+)*", name) is not None
