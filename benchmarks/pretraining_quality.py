"""What talking seldom and in few bits costs a language model, over seeds: the plays scenario, trained from scratch.

Every arm trains on as many tokens: 3,600 steps of 4 genres. "every step" is what exchanging gradients after each step
comes to; "alone" is one genre's model on its own tokens, measured on all. It takes about 12 CPU minutes a seed.
Figures are appended to FOEDUS_RESULTS (default: pretraining_quality.jsonl) as they come; arms that stand there are
not trained again.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from foedus.config.assemble import Assembly, assemble
from foedus.config.loading import load_config
from foedus.federation.loop import run_rounds
from foedus.federation.round import Federation
from foedus.federation.run_folder import RunFolder

STEPS = 3600  # of each participant
SEEDS = int(os.environ.get("FOEDUS_SEEDS", "3"))
RESULTS = Path(os.environ.get("FOEDUS_RESULTS", "pretraining_quality.jsonl"))
ALONE, EVERY_STEP = "alone", "every step"

# By arm: steps a round, strategy, compression.
DILOCO: Mapping[str, Any] = {"kind": "diloco", "weighting": "tokens"}
ARMS: Mapping[str, tuple[int, Mapping[str, Any], Mapping[str, Any]]] = {
    EVERY_STEP: (50, {"kind": "fedavg"}, {}),
    "DiLoCo": (50, DILOCO, {}),
    "FedAvg": (50, {"kind": "fedavg", "weighting": "tokens"}, {}),
    ALONE: (50, {"kind": "fedavg"}, {}),
    "DiLoCo, int8": (50, DILOCO, {"kind": "int8"}),
    "DiLoCo, int4": (50, DILOCO, {"kind": "int4"}),
    "DiLoCo, int4, broadcast int8": (50, DILOCO, {"kind": "int4", "broadcast": "int8"}),
    "DiLoCo, inner state averaged": (50, {**DILOCO, "inner_state": "average"}, {}),
    "DiLoCo, H 20": (20, DILOCO, {}),
    "DiLoCo, H 100": (100, DILOCO, {}),
    "DiLoCo, H 200": (200, DILOCO, {}),
    "DiLoCo, top 5 %": (50, DILOCO, {"kind": "top_k", "fraction": 0.05}),
    "DiLoCo, SparseLoCo": (50, DILOCO, {"kind": "sparseloco"}),
    "DiLoCo, Muon": (50, DILOCO, {}),
}
CHOSEN = [name.strip() for name in os.environ.get("FOEDUS_ARMS", ";".join(ARMS)).split(";")]


def settings(arm: str, seed: int, folder: Path) -> Mapping[str, Any]:
    """Return an arm as a user would write it: a character-level GPT-2 shape of 0.12 M parameters."""
    steps, strategy, compression = ARMS[arm]
    optimizer: dict[str, Any] = {"kind": "adamw", "betas": [0.9, 0.95], "weight_decay": 0.1}
    if arm.endswith("Muon"):
        optimizer = {"kind": "muon", "weight_decay": 0.1, "betas": [0.9, 0.95]}
    return {
        "name": "quality",
        "seed": seed,
        "task": {"kind": "causal_lm", "text": "text", "max_length": 64, "packing": True},
        "model": {
            "kind": "architecture",
            "type": "gpt2",
            "options": {
                "n_embd": 64,
                "n_layer": 2,
                "n_head": 4,
                "n_positions": 64,
                "resid_pdrop": 0.0,
                "embd_pdrop": 0.0,
                "attn_pdrop": 0.0,
            },
            "tokenizer": "bytes",
        },
        "participants": {
            "kind": "scenario",
            "scenario": {"kind": "plays", "by": "genre", "participants": 4, "test": 0.03},
        },
        "strategy": strategy,
        **({"compression": compression} if compression else {}),
        "local": {
            "steps": steps,
            "batch_size": 4,
            "learning_rate": 6e-3,
            "optimizer": optimizer,
            "schedule": {"kind": "cosine", "warmup": 0.05},
            **({"keep_optimizer": True} if strategy["kind"] == "fedavg" else {}),
        },
        "rounds": {"count": STEPS // steps},
        "evaluation": {"every": STEPS // steps, "batch_size": 256},
        "output": {"folder": str(folder)},
        "device": "cpu",
    }


def main() -> None:
    done = {(row["arm"], row["seed"]) for row in read_results()}
    for seed in range(SEEDS):
        for arm in CHOSEN:
            if (arm, seed) not in done:
                with RESULTS.open("a") as file, tempfile.TemporaryDirectory() as folder:
                    row = {"arm": arm, "seed": seed, **measure(arm, seed, Path(folder))}
                    file.write(json.dumps(row) + "\n")
                    print(row, flush=True)
    show(read_results())


def measure(arm: str, seed: int, folder: Path) -> Mapping[str, Any]:
    """Return an arm's loss on all genres' test speeches, in nats a byte, and what its participants sent."""
    assembly = assemble(load_config(settings(arm, seed, folder)))
    if arm == ALONE:
        played = [play(assembly, assembly.alone(site), folder / site) for site in assembly.examples]
        losses = [row["loss"] for row in played]
        return {"loss": statistics.fmean(losses), "best": min(losses), "parameters": assembly.counts.sent}
    federation = assembly.synchronous() if arm == EVERY_STEP else assembly.federation()
    return {**play(assembly, federation, folder / "run"), "parameters": assembly.counts.sent}


def play(assembly: Assembly, federation: Federation, path: Path) -> Mapping[str, Any]:
    """Train to the end; return the last loss, and the bytes up and down."""
    path.mkdir(parents=True)
    folder = RunFolder(path)
    at_the_end = replace(federation.plan, evaluate_initially=False)
    federation = replace(federation, plan=at_the_end)
    run_rounds(federation, assembly.initial_state(federation), folder, config_digest="", keep_checkpoints=1)
    records = folder.records()
    return {
        "loss": records[-1]["evaluation"]["all"]["loss"],
        "up": sum(record["bytes"]["up"] for record in records),
        "down": sum(record["bytes"]["down"] for record in records),
    }


def read_results() -> Sequence[Mapping[str, Any]]:
    """Return every arm measured so far."""
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print, for each arm, its perplexity a byte over that of every step, seed by seed paired, and its bytes."""
    reference = {row["seed"]: row["loss"] for row in rows if row["arm"] == EVERY_STEP}
    for arm in ARMS:
        mine = [row for row in rows if row["arm"] == arm and row["seed"] in reference]
        if not mine:
            continue
        ratios = [math.exp(row["loss"] - reference[row["seed"]]) for row in mine]
        loss = statistics.fmean(row["loss"] for row in mine)
        print(
            f"{arm}: {len(mine)} seeds, loss {loss:.4f}, perplexity over every step's {statistics.fmean(ratios):.4f} "
            f"({min(ratios):.4f}-{max(ratios):.4f}){saved(mine[0]) if arm not in (ALONE, EVERY_STEP) else ''}"
        )


def saved(row: Mapping[str, Any]) -> str:
    """Return how many times fewer bytes travel than with 4 participants' gradients after each step in fp32."""
    per_step = STEPS * 4 * 4 * row["parameters"]
    up, down = row["up"], row["down"]
    return (
        f", uploads 1/{per_step / up:.0f}, downloads 1/{per_step / down:.0f}, both 1/{2 * per_step / (up + down):.0f}"
    )


if __name__ == "__main__":
    main()
