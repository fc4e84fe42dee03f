"""From a participant's own file to its rows for a run: it reads nobody else's."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from foedus.config import sections
from foedus.config.resolve import resolve
from foedus.config.sections import ParticipantFile, RunConfig
from foedus.config.sites import columns_of, read_data
from foedus.core.errors import ConfigError
from foedus.core.seeds import SeedKey
from foedus.data.files import find_sites
from foedus.data.labels import require_known_labels
from foedus.data.sites import SPLITS, Site, Split
from foedus.data.splitting import split_site


@dataclass(frozen=True)
class Own:
    """An organisation's rows for a run.

    labels: the classes that its rows hold; None where the task has none.
    listed: all classes in their order, where they are given from outside the rows.
    note: what is to be said about the data.
    """

    site: Site
    labels: Collection[str] | None = None
    listed: Sequence[str] | None = None
    note: str | None = None


def read_own(file: ParticipantFile, run: RunConfig, name: str) -> Own:
    """Return the rows of the organisation of this name, with what the run says held out.

    They are the rows that a simulation with the same seed and the same files gives a participant of this name.
    Raises: DataError if files cannot be used, ConfigError if options do not fit them.
    """
    key = SeedKey.from_seed(run.seed)
    match file.data:
        case sections.OwnFiles() as files:
            own = _from_files(file, files, run, name, key)
        case sections.Part() as part:
            own = _part(file, part, run, name, key)
    if not isinstance(run.task, sections.TextClassification):
        return own
    held = [label for rows in own.site.splits.values() for label in rows[run.task.label].to_pylist()]
    if run.task.labels is None:
        return Own(own.site, set(held), own.listed, own.note)
    require_known_labels({name: held}, run.task.labels)
    return Own(own.site, set(held), run.task.labels, own.note)


def shown_counts(file: ParticipantFile, site: Site) -> Mapping[str, int]:
    """Return the counts that the file agrees to show to all, and no others."""
    return {count: site.rows(split) for split in SPLITS if (count := f"{split}_rows") in file.show}


def _from_files(file: ParticipantFile, files: sections.OwnFiles, run: RunConfig, name: str, key: SeedKey) -> Own:
    columns = columns_of(run.task).names
    split = files.split or _split_of(run)
    given = {kind: {name: path} for kind in ("validation", "test") if (path := getattr(files, kind)) is not None}
    [site] = find_sites(file.root, {name: files.train}, columns, columns, by=split.by, **given)
    fractions: Mapping[Split, float] = {"validation": split.validation, "test": 0.0 if files.test else split.test}
    return Own(split_site(site, fractions, key.child("split"), split.by))


def _split_of(run: RunConfig) -> sections.Split:
    """Return what the run holds out of each participant's rows; a scenario says nothing of files."""
    chosen = run.participants
    return sections.Split() if isinstance(chosen, sections.Scenario) else chosen.split


def _part(file: ParticipantFile, part: sections.Part, run: RunConfig, name: str, key: SeedKey) -> Own:
    """Return one participant's rows of data that are dealt out by the run's seed."""
    dealt = resolve(run.model_copy(update={"participants": part.of}).rooted(file.root))
    data = read_data(dealt, key)
    wanted = part.name or name
    site = next((site for site in data.sites if site.name == wanted), None)
    if site is None:
        raise ConfigError(
            f"data.name: there is no part called {wanted}; there are {', '.join(site.name for site in data.sites)}"
        )
    listed = data.labels if isinstance(part.of, sections.Scenario) else None
    return Own(Site(name, site.splits), listed=listed, note=data.note)
