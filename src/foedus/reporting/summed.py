"""What a run's report says of how updates were summed."""

from __future__ import annotations

import yaml

from foedus.reporting.records import Run

_SENTENCES = {
    "none": "The coordinator saw each participant's update.",
    "masks": "Updates travelled under masks that cancel in their sum: the coordinator saw sums.",
    "ckks": "Updates travelled encrypted under a key that participants had and the coordinator had not; it saw sums.",
    "threshold": (
        "Updates travelled encrypted under a key that only all participants together could use: the coordinator saw "
        "sums. This is experimental: nobody outside has reviewed that cryptography."
    ),
}


def summed_by(run: Run) -> str:
    """Return how updates were summed, in a sentence or two; empty if the configuration does not tell."""
    try:
        config = yaml.safe_load(run.config_text)
    except yaml.YAMLError:
        return ""
    section = config.get("secure_sum", "none") if isinstance(config, dict) else None
    kind = section.get("kind") if isinstance(section, dict) else section
    return _SENTENCES.get(kind, "") if isinstance(kind, str) else ""
