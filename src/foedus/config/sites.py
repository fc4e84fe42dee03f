"""From `participants` and `task` to every participant's rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

import pyarrow as pa

from foedus.config import sections
from foedus.config.ground import require_measurable
from foedus.core.errors import ConfigError
from foedus.core.seeds import SeedKey
from foedus.data import partition
from foedus.data.files import find_sites
from foedus.data.labels import agree_on_labels, require_known_labels
from foedus.data.reading import read_table
from foedus.data.sites import SPLITS, Site, Split
from foedus.data.splitting import split_site


@dataclass(frozen=True)
class Columns:
    """The columns that a task reads. label: the one that holds classes, if there is one."""

    text: Sequence[str]
    label: str | None = None

    @property
    def names(self) -> list[str]:
        """All of them."""
        return [*self.text, *([self.label] if self.label else [])]


@dataclass(frozen=True)
class Data:
    """Every participant's rows, the classes they agreed on, and what is to be said about the data."""

    sites: Sequence[Site]
    labels: Sequence[str] | None
    note: str | None


def columns_of(task: sections.Task) -> Columns:
    """Return which columns a task reads."""
    match task:
        case sections.TextClassification():
            return Columns(task.text, task.label)
        case sections.CausalLM() | sections.MaskedLM():
            return Columns([task.text])
        case sections.SequenceToSequence():
            return Columns([task.source, task.target])
        case _:
            assert_never(task)


def read_data(config: sections.RunConfig, key: SeedKey) -> Data:
    """Read every participant's rows and hold out what the configuration says.

    Raises: DataError if files cannot be used, ConfigError if options do not fit the data.
    """
    columns = columns_of(config.task)
    match config.participants:
        case sections.Files() as files:
            sites: Sequence[Site] = find_sites(
                config.root,
                files.train,
                columns.names,
                columns.names,
                validation=files.validation,
                test=files.test,
                by=files.split.by,
            )
            data = _agree(_hold_out(sites, files.split, key), config.task, note=None)
        case sections.Partition() as dealt:
            sites = _deal(config, dealt, columns, key.child("partition"))
            data = _agree(_hold_out(sites, dealt.split, key), config.task, note=None)
        case sections.Scenario() as scenario:
            data = _scenario(scenario, key)
        case _:
            assert_never(config.participants)
    require_measurable(config, [split for site in data.sites for split in SPLITS if site.rows(split)])
    return data


def _hold_out(sites: Sequence[Site], split: sections.Split, key: SeedKey) -> Sequence[Site]:
    fractions: Mapping[Split, float] = {"validation": split.validation, "test": split.test}
    return [split_site(site, fractions, key.child("split"), split.by) for site in sites]


def _agree(sites: Sequence[Site], task: sections.Task, note: str | None) -> Data:
    """Return the data with the classes: those listed, or all that some participant has."""
    if not isinstance(task, sections.TextClassification):
        return Data(sites, None, note)
    held = {site.name: [v for rows in site.splits.values() for v in rows[task.label].to_pylist()] for site in sites}
    if task.labels is None:
        return Data(sites, agree_on_labels({name: set(labels) for name, labels in held.items()}), note)
    require_known_labels(held, task.labels)
    return Data(sites, list(task.labels), note)


def _deal(config: sections.RunConfig, dealt: sections.Partition, columns: Columns, key: SeedKey) -> Sequence[Site]:
    """Deal one data set out to participants; further files are dealt out alike."""
    by_column = dealt.into.column if isinstance(dealt.into, sections.ByColumn) else None
    extra = [name for name in (by_column, dealt.split.by) if name and name not in columns.names]
    names = [*columns.names, *dict.fromkeys(extra)]
    text = [*columns.names, *([by_column] if by_column else [])]
    sources: dict[Split, str | None] = {"train": dealt.path, "validation": dealt.validation, "test": dealt.test}
    tables: dict[Split, pa.Table] = {
        split: read_table(config.locate(path), names if split == "train" or by_column else columns.names, text)
        for split, path in sources.items()
        if path is not None
    }
    parts: dict[Split, Mapping[str, partition.Indices]] = {
        "train": _deal_rows(tables["train"], dealt.into, columns, key)
    }
    for split in tables.keys() - {"train"}:
        if by_column:
            parts[split] = partition.by_column(tables[split][by_column].to_pylist())
        else:
            parts[split] = partition.deal_alike(
                parts["train"], _classes(tables["train"], columns), _classes(tables[split], columns), key.child(split)
            )
    return partition.sites_of(tables, parts)


def _classes(table: pa.Table, columns: Columns) -> list[str]:
    """Return each row's class; all alike where the task has none."""
    return table[columns.label].to_pylist() if columns.label else [""] * table.num_rows


def _deal_rows(table: pa.Table, into: sections.Into, columns: Columns, key: SeedKey) -> Mapping[str, partition.Indices]:
    match into:
        case sections.ByColumn():
            return partition.by_column(table[into.column].to_pylist())
        case sections.IID():
            return partition.iid(table.num_rows, into.count, key)
        case sections.Sizes():
            return partition.by_sizes(table.num_rows, into.sizes, key)
        case sections.Dirichlet(convention="per_class"):
            return partition.dirichlet_per_class(_require_classes(table, columns), into.count, into.alpha, key)
        case sections.Dirichlet():
            return partition.dirichlet_per_participant(_require_classes(table, columns), into.count, into.alpha, key)
        case sections.Shards():
            labels = _require_classes(table, columns)
            return partition.shards(labels, into.count, into.shards_per_participant, key)
        case _:
            assert_never(into)


def _require_classes(table: pa.Table, columns: Columns) -> list[str]:
    if columns.label is None:
        raise ConfigError(
            "participants.into: dirichlet and shards deal rows out by their class, which this task has none of; "
            "use column, iid or sizes"
        )
    return _classes(table, columns)


def _scenario(chosen: sections.Scenario, key: SeedKey) -> Data:
    from foedus.scenarios.clinics import load_clinics
    from foedus.scenarios.plays import load_plays

    match chosen.scenario:
        case sections.Clinics() as clinics:
            scenario = load_clinics(key.child("scenario"), clinics.hospitals, clinics.train_rows, clinics.test_rows)
        case sections.Plays() as plays:
            scenario = load_plays(
                plays.by,
                plays.participants,
                plays.minimum_characters,
                {"validation": plays.validation, "test": plays.test},
                plays.genres,
            )
        case _:
            assert_never(chosen.scenario)
    return Data(scenario.sites, scenario.labels or None, scenario.note)
