"""A federated run beside pooled training, each site alone, and a linear baseline: same data, seeds and steps."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from foedus.api.digests import lasting_settings, rows_digest, run_digest
from foedus.api.playing import run_started
from foedus.api.run import ConfigLike, as_config
from foedus.config import sections
from foedus.config.assemble import Assembly, assemble
from foedus.config.dump import dump_config, relocate
from foedus.config.loading import load_config
from foedus.config.problems import refuse_problems
from foedus.core.errors import ConfigError, RoundError, RunFolderError
from foedus.federation.events import Observer, ignore
from foedus.federation.loop import run_rounds, start_or_resume
from foedus.federation.round import Federation
from foedus.federation.run_folder import Record, RunFolder, is_taken, opened, refuse_or_clear
from foedus.training.settings import learning_rate_at

COMPARISON = "comparison.json"


@dataclass(frozen=True)
class Comparison:
    """What a comparison left behind.

    folder: it holds comparison.json and the report. table: what comparison.json holds.
    """

    folder: Path
    report: Path
    table: Mapping[str, Any]


def compare(
    config: ConfigLike,
    *,
    seeds: int = 1,
    overrides: Sequence[str] = (),
    overwrite: bool = False,
    go_on: bool = False,
    observe: Observer = ignore,
) -> Comparison:
    """Train federated, pooled and each site alone, over several seeds, and write them side by side.

    Pooled training sees the rows of all sites in one place for as many passes; a site alone sees its own
    rows for as many passes. Both are plain training: nothing is averaged and the optimizer is kept.
    seeds: that many, counted up from the configuration's; data, model and training all follow the seed.
    go_on: continue a comparison that was interrupted.
    Raises: as foedus.run; ConfigError if sites' own metrics may not be shown, or a round's steps follow from time.
    """
    resolved = _without_baselines(as_config(config, overrides))
    refuse_problems(resolved)
    if not isinstance(resolved.privacy, sections.NoPrivacy):
        raise ConfigError(
            "privacy: a comparison trains on the same rows without noise, and shows each site's exact figures; compare "
            "with privacy: none on data that are nobody's secret, and use foedus run for the private run"
        )
    if not resolved.evaluation.per_site:
        raise ConfigError(
            "evaluation.per_site is false, but a comparison shows each site's own figures; "
            "set it to true for a comparison on data of your own"
        )
    if resolved.local.seconds is not None:
        raise ConfigError(
            "local.seconds lets participants make as many steps as they find time for, so that the arms of a "
            "comparison would make different numbers; set local.steps for all of them, and local.seconds to null"
        )
    folder = RunFolder(resolved.run_folder.with_name(f"{resolved.name}-compare"))
    with opened(folder):
        if go_on:
            _refuse_other_settings(resolved, folder)
        else:
            refuse_or_clear(folder, overwrite)
        folder.write(folder.config, dump_config(relocate(resolved, folder.path)))
        runs = [
            (seed, _compare_seed(resolved.model_copy(update={"seed": seed}).rooted(resolved.root), folder, observe))
            for seed in range(resolved.seed, resolved.seed + seeds)
        ]
        return _write(resolved, runs, folder)


def _without_baselines(config: sections.RunConfig) -> sections.RunConfig:
    """Return the run without models of participants' own beside it: a comparison trains them anyway."""
    evaluation = config.evaluation.model_copy(update={"baselines": False})
    return config.model_copy(update={"evaluation": evaluation}).rooted(config.root)


def _refuse_other_settings(config: sections.RunConfig, folder: RunFolder) -> None:
    """Check that the comparison in this folder, if there is one, was begun with these settings.

    Raises: RunFolderError that names the sections that differ; the folder is as it was.
    """
    if not (is_taken(folder) and folder.config.is_file()):
        return
    before, now = lasting_settings(load_config(folder.config), folder), lasting_settings(config, folder)
    if changed := sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key)):
        raise RunFolderError(
            f"the comparison in {folder.path} was begun with other settings ({', '.join(changed)}); put them back as "
            f"{folder.config} has them, or begin anew with --overwrite"
        )


@dataclass(frozen=True)
class _SeedResult:
    headline: str
    higher_is_better: bool
    data_note: str | None
    arms: Mapping[str, Mapping[str, Any]]


def _compare_seed(config: sections.RunConfig, folder: RunFolder, observe: Observer) -> _SeedResult:
    assembly = assemble(config)
    place = folder.path / "arms" / f"seed-{config.seed}"
    headline = assembly.task.headline

    def play(name: str, federation: Federation) -> Sequence[Record]:
        return _play_arm(
            assembly, federation, RunFolder(place / name), f"{config.name}: {name}, seed {config.seed}", observe
        )

    arms: dict[str, Mapping[str, Any]] = {
        "federated": _arm_run(config.seed, headline, play("federated", assembly.federation())),
        "pooled": _arm_run(config.seed, headline, play("pooled", assembly.pooled())),
    }

    def evaluated_alone(site: str) -> Mapping[str, Any] | None:
        """Return how the site's own model does; None where its rows alone do not train one."""
        federation = assembly.alone(site)
        at_the_end = replace(federation.plan, evaluate_every=config.rounds.count, evaluate_initially=False)
        try:
            records = play(f"alone-{site}", replace(federation, plan=at_the_end))
        except RoundError:
            return None
        return records[-1]["evaluation"] if any(record["stood"] for record in records) else None

    tried = {site.name: evaluated_alone(site.name) for site in assembly.data.sites if site.rows("train")}
    alone = {site: evaluation for site, evaluation in tried.items() if evaluation is not None}
    arms["local only"] = {
        "seed": config.seed,
        "all": None,
        "sites": {site: evaluation["sites"][site] for site, evaluation in alone.items() if site in evaluation["sites"]},
        "all_by_site": {site: evaluation["all"] for site, evaluation in alone.items()},
    }
    if isinstance(config.task, sections.TextClassification):
        arms["tf-idf"] = {"seed": config.seed, **_linear_baseline(assembly, config.task)}
    return _SeedResult(headline, assembly.task.higher_is_better, assembly.data.note, arms)


def _play_arm(
    assembly: Assembly, federation: Federation, folder: RunFolder, name: str, observe: Observer
) -> Sequence[Record]:
    """Play an arm in a folder of its own, from where it was left; return its records."""
    folder.path.mkdir(parents=True, exist_ok=True)
    digest = run_digest(assembly.side, folder, assembly.plans, rows_digest(assembly))
    state = start_or_resume(federation, assembly.initial_state(federation), folder, digest)
    names = [site.name for site in assembly.data.sites]
    observe(run_started(assembly.side, names, state.round + 1, name))
    run_rounds(
        federation,
        state,
        folder,
        config_digest=digest,
        keep_checkpoints=1,
        observe=observe,
        learning_rate=lambda progress: learning_rate_at(assembly.settings, progress),
    )
    return folder.records()


def _arm_run(seed: int, headline: str, records: Sequence[Record]) -> Mapping[str, Any]:
    """Return one arm's figures for one seed, from its records; without the headline where a model is of no use."""
    evaluated = [record for record in records if record.get("evaluation")]
    played = [record for record in records if record["round"] > 0]
    return {
        "seed": seed,
        "all": evaluated[-1]["evaluation"]["all"],
        "sites": evaluated[-1]["evaluation"]["sites"],
        "curve": [[record["round"], record["evaluation"]["all"].get(headline)] for record in evaluated],
        "seconds": round(sum(record["seconds"]["train"] for record in played), 3),
        "bytes": sum(record["bytes"]["up"] + record["bytes"]["down"] for record in played),
    }


def _linear_baseline(assembly: Assembly, task: sections.TextClassification) -> Mapping[str, Any]:
    """Return the figures of TF-IDF with a linear classifier, trained on the pooled rows."""
    from foedus.tasks.linear_baseline import classify_linearly

    assert assembly.data.labels is not None
    by_site = classify_linearly(
        assembly.data.sites, task.text, task.label, assembly.data.labels, assembly.config.evaluation.split
    )
    score: Callable[..., Mapping[str, float]] = assembly.task.score
    union = {name: sum(sums[name] for sums in by_site.values()) for name in next(iter(by_site.values()))}
    return {"all": score(union), "sites": {site: score(sums) for site, sums in by_site.items()}}


def _write(config: sections.RunConfig, runs: Sequence[tuple[int, _SeedResult]], folder: RunFolder) -> Comparison:
    from foedus.reporting.report import write_comparison_report

    first = runs[0][1]
    table = {
        "name": config.name,
        "headline": first.headline,
        "higher_is_better": first.higher_is_better,
        "data_note": first.data_note,
        "seeds": [seed for seed, _ in runs],
        "arms": [{"name": arm, "runs": [result.arms[arm] for _, result in runs]} for arm in first.arms],
    }
    folder.write(folder.path / COMPARISON, json.dumps(table, indent=2))
    report = write_comparison_report(folder.path)
    return Comparison(folder.path, report, table)
