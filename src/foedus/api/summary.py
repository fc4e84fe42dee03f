"""The figures that summary.json holds."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from foedus.config import sections
from foedus.config.assemble import Assembly
from foedus.config.claims import BILLS
from foedus.config.guarantee import guarantee
from foedus.config.privacy import Plans
from foedus.config.side import Side
from foedus.config.sites import columns_of
from foedus.federation.alone import START
from foedus.federation.run_folder import Record, RunFolder
from foedus.tasks.generation import write_texts

SAMPLES, SAMPLE_TOKENS, SAMPLE_TEMPERATURE = 3, 60, 0.8
LIBRARIES = ("torch", "transformers", "peft", "datasets", "accelerate", "safetensors")


@dataclass(frozen=True)
class About:
    """What is said of a run beside its records.

    plans: how records, or participants, are hidden. note: on the data. sites: each one's rows, where they may show.
    bills: what privacy cost, as everybody may see it.
    """

    plans: Plans | None
    participants: int
    note: str | None
    sites: Mapping[str, Mapping[str, Any]] | None
    bills: Sequence[Mapping[str, Any]] = ()


def run_summary(
    side: Side,
    records: Sequence[Record],
    folder: RunFolder,
    about: About,
    *,
    start_seconds: float,
    stopped: str | None = None,
) -> Mapping[str, Any]:
    """Return the summary of a finished run.

    start_seconds: from the call to the first round, in the process that finished the run.
    stopped: why it ended before its last round, if it did.
    """
    config = side.config
    played = [record for record in records if record["round"] > 0]
    timed = [record for record in played if not record.get("cohort_hidden")]
    phases = ("train", "evaluate", *(["alone"] if any("alone" in r["seconds"] for r in timed) else []))
    seconds = {phase: sum(r["seconds"].get(phase, 0.0) for r in timed) for phase in phases}
    evaluations = {r["round"]: r["evaluation"] for r in records if r.get("evaluation")}
    final = evaluations.get(max(evaluations, default=0)) or {}
    summary: dict[str, Any] = {
        "name": config.name,
        "foedus": version("foedus"),
        "finished": len(played) == config.rounds.count,
        "stopped": stopped,
        "rounds": len(played),
        "task": config.task.kind,
        "headline": side.task.headline,
        "higher_is_better": side.task.higher_is_better,
        "initial": evaluations.get(0) or final.get(START),
        "final": final or None,
        "parameters": {
            "total": side.counts.total,
            "trained": side.counts.trained,
            "sent": side.counts.sent,
        },
        "bytes": {
            **{way: sum(r["bytes"][way] for r in timed) for way in ("down", "up") if timed},
            "evaluation": sum(sum(evaluation["bytes"].values()) for evaluation in evaluations.values()),
        },
        "tokens": tokens_trained(played, seconds["train"]),
        "seconds": {
            **{phase: round(value, 3) for phase, value in seconds.items() if timed},
            "start": round(start_seconds, 3),
            **({"total": round(start_seconds + sum(seconds.values()), 3)} if timed else {}),
        },
        "participants": about.participants,
        "strategy": config.strategy.kind,
        "model": side.loaded.source,
        "base_model": side.loaded.base_reference,
        "tuning": config.model.tuning.kind,
        "labels": list(side.ground.labels) if side.ground.labels else None,
        "versions": {name: version(name) for name in LIBRARIES},
        "seed": config.seed,
        "device": str(side.workspace.device),
        "threads": torch.get_num_threads(),
        "model_digest": f"sha256:{digest_of_weights(folder.model)}",
        "license": side.loaded.licence,
        "data_note": about.note,
        "notes": list(side.loaded.notes),
    }
    spent = [record["privacy"]["epsilon"] for record in played if record.get("privacy")]
    if about.plans is not None and spent:
        summary["privacy"] = {**guarantee(config, about.plans, spent[-1], len(played)), BILLS: list(about.bills)}
    if config.evaluation.per_site:
        if about.sites is not None:
            summary["sites"] = about.sites
        if isinstance(config.task, sections.CausalLM):
            summary["samples"] = sample_texts(side)
    return summary


def tokens_trained(played: Sequence[Record], train_seconds: float) -> Mapping[str, float | None]:
    """Return the tokens that all participants together trained on, and how many in a second of training.

    None where a round's record does not tell: its strategy counts nothing, or it would be one site's own figure.
    """
    counts = [record["tokens"] for record in played if record.get("tokens") is not None]
    if len(counts) < len(played):
        return {"trained": None, "per_second": None}
    trained = sum(counts)
    return {"trained": trained, "per_second": round(trained / train_seconds, 1) if train_seconds > 0 else None}


def sample_texts(side: Side) -> Sequence[str]:
    """Return a few texts that the trained language model writes from nothing, so that no row is their prompt.

    They go with the sites' own figures: what the model has learnt by heart it may write down.
    """
    workspace = side.workspace
    workspace.mode(training=False)
    return write_texts(
        workspace.model,
        side.loaded.tokenizer,
        "",
        samples=SAMPLES,
        max_new_tokens=SAMPLE_TOKENS,
        temperature=SAMPLE_TEMPERATURE,
        key=side.key.child("samples"),
    )


def site_rows(assembly: Assembly) -> Mapping[str, Mapping[str, Any]]:
    """Return, for each site, the rows of its splits and its training rows by label."""
    label = columns_of(assembly.config.task).label
    rows: dict[str, Mapping[str, Any]] = {}
    for site in assembly.data.sites:
        counts: dict[str, Any] = {
            "train": site.rows("train"),
            "validation": site.rows("validation"),
            "test": site.rows("test"),
        }
        if label and isinstance(assembly.config.task, sections.TextClassification) and "train" in site.splits:
            counts["labels"] = dict(sorted(Counter(site.splits["train"][label].to_pylist()).items()))
        rows[site.name] = counts
    return rows


def digest_of_weights(folder: Path) -> str:
    """Return the SHA-256 over the names and bytes of a model folder's weight files."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
