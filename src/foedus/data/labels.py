"""Which labels there are, and in which order: every participant must number them alike."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from foedus.core.errors import DataError

# Agreed labels stand in the model's configuration, where everyone reads them: a wrong column, such as a
# patient's name, must not get there unnoticed.
MAX_AGREED_LABELS = 1000


def agree_on_labels(per_site: Mapping[str, Collection[str]]) -> list[str]:
    """Return every label that some participant has, in natural order.

    All participants learn the labels of each other; listing them in the configuration avoids that.
    Raises: DataError for fewer than two labels, or more than MAX_AGREED_LABELS.

    >>> agree_on_labels({"a": ["grade 10", "grade 9"], "b": ["grade 1"]})
    ['grade 1', 'grade 9', 'grade 10']
    """
    labels = in_natural_order(set().union(*per_site.values()))
    if len(labels) < 2:
        found = "is only one" if labels else "are none"
        raise DataError(
            f"the participants' labels must be of two kinds or more, but there {found}: is task.label the right column?"
        )
    if len(labels) > MAX_AGREED_LABELS:
        raise DataError(
            f"the participants have {len(labels)} different labels: is task.label the right column? "
            f"If it is, list them in task.labels (more than {MAX_AGREED_LABELS} are not agreed on unseen)"
        )
    return labels


def in_natural_order(labels: Iterable[str]) -> list[str]:
    """Return the labels sorted: as numbers if all are, else with the numbers inside them by value.

    >>> in_natural_order(["10", "9.5", "-1"])
    ['-1', '9.5', '10']
    """
    labels = sorted(labels)
    try:
        return sorted(labels, key=float)
    except ValueError:
        return sorted(labels, key=_text_and_numbers)


def _text_and_numbers(label: str) -> list[tuple[str, int]]:
    parts = re.split(r"([0-9]+)", label)  # text, number, text, …
    numbers = [int(number) for number in parts[1::2]] + [0]
    return list(zip(parts[0::2], numbers, strict=True))


def require_known_labels(per_site: Mapping[str, Iterable[str]], listed: Sequence[str]) -> None:
    """Check that every row's label is among those listed; a participant may lack some.

    per_site: each participant's label column, row by row.
    Raises: DataError that counts the rows by participant. It does not show the unknown values, which may
        be anything if the column is a wrong one.
    """
    known = set(listed)
    unknown = {site: [label for label in labels if label not in known] for site, labels in per_site.items()}
    counts = {site: len(labels) for site, labels in unknown.items() if labels}
    if not counts:
        return
    loosely = {_loose(label) for label in listed}
    near = sum(_loose(label) in loosely for labels in unknown.values() for label in labels)
    hint = f"; {near} of these differ from a listed one in capitals or spaces only" if near else ""
    by_site = ", ".join(f"{site} {count}" for site, count in counts.items())
    raise DataError(
        f"rows whose label is not among the {len(listed)} of task.labels: {by_site}{hint}. "
        f"List every label, or correct the files; the listed ones are: {', '.join(listed)}"
    )


def _loose(label: str) -> str:
    return " ".join(label.casefold().split())
