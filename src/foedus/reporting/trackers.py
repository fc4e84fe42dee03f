"""Forwarding of a run's figures to experiment trackers, through accelerate's."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from foedus.core.errors import ConfigError, MissingExtra
from foedus.federation.events import Event, Observer, RoundEnded, RunEnded, RunStarted

_log = logging.getLogger("foedus")

# What to install for each tracker that accelerate knows.
PACKAGES = {
    "aim": "aim",
    "clearml": "clearml",
    "comet_ml": "comet-ml",
    "dvclive": "dvclive",
    "mlflow": "mlflow",
    "swanlab": "swanlab",
    "tensorboard": "tensorboard",
    "trackio": "trackio",
    "wandb": "wandb",
}


def require_trackers(names: Sequence[str]) -> None:
    """Check that every tracker is known and installed.

    Raises: ConfigError for an unknown name. MissingExtra for a package that is not installed.
    """
    if not names:
        return
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    installed = {str(getattr(tracker, "value", tracker)) for tracker in get_available_trackers()}
    for name in names:
        if name not in PACKAGES and name not in LOGGER_TYPE_TO_CLASS:
            near = get_close_matches(name, PACKAGES, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else "."
            raise ConfigError(f"output.trackers: unknown tracker '{name}'{hint} Known: {', '.join(sorted(PACKAGES))}")
        if name in PACKAGES and name not in installed:
            raise MissingExtra(
                f"output.trackers asks for '{name}', whose package is not installed. "
                f"Install it with: pip install {PACKAGES[name]}; or take '{name}' out of output.trackers"
            )


@contextmanager
def tracking(names: Sequence[str], folder: Path, settings: Mapping[str, Any]) -> Iterator[Observer]:
    """Forward each round's figures to these trackers while the block runs.

    folder: where trackers that write files write them. settings: the configuration, stored with the run.
    A tracker that fails while the run works is dropped with a warning: a run of hours outlives its display.
    Raises: as require_trackers.
    """
    require_trackers(names)
    opened: list[Any] = []

    def observe(event: Event) -> None:
        match event:
            case RunStarted():
                _finish(opened)
                opened.extend(_open(name, event.name, folder) for name in names)
                for tracker in opened:
                    tracker.store_init_configuration(flattened(settings))
            case RoundEnded():
                opened[:] = [tracker for tracker in opened if _logged(tracker, event.record)]
            case RunEnded():
                _finish(opened)

    try:
        yield observe
    finally:
        _finish(opened)


def _open(name: str, run_name: str, folder: Path) -> Any:
    from accelerate import PartialState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    PartialState()  # accelerate's trackers log through it
    kind = LOGGER_TYPE_TO_CLASS[name]
    if kind.requires_logging_directory:
        folder.mkdir(parents=True, exist_ok=True)
        tracker = kind(run_name, str(folder))
    else:
        tracker = kind(run_name)
    tracker.start()
    return tracker


def _logged(tracker: Any, record: Mapping[str, Any]) -> bool:
    """Send a round's figures; return whether the tracker took them."""
    try:
        tracker.log(round_figures(record), step=record["round"])
    except Exception:  # noqa: BLE001 - trackers raise what they like, from network errors to their own
        _log.warning("the tracker %s failed in round %s and gets no more figures", tracker.name, record["round"])
        return False
    return True


def _finish(opened: list[Any]) -> None:
    while opened:
        tracker = opened.pop()
        try:
            tracker.finish()
        except Exception:  # noqa: BLE001 - as above; the run itself is whole
            _log.warning("the tracker %s could not be closed", tracker.name)


def round_figures(record: Mapping[str, Any]) -> Mapping[str, float]:
    """Return a record's finite numbers under names that every tracker takes.

    >>> figures = {"round": 2, "train": {"loss": 0.5}, "evaluation": {"sites": {"a b&c": {"loss": 0.1}}}}
    >>> round_figures(figures)
    {'train/loss': 0.5, 'sites/a b_c/loss': 0.1}
    """
    evaluation = record.get("evaluation") or {}
    parts = {
        "train": record.get("train"),
        "all": evaluation.get("all"),
        "sites": evaluation.get("sites"),
        "bytes": record.get("bytes"),
        "seconds": record.get("seconds"),
        "round": {name: record.get(name) for name in ("reports", "learning_rate")},
    }
    found = flattened(parts, separator="/")
    return {
        re.sub(r"[^\w\-./ ]", "_", name): float(value)
        for name, value in found.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def flattened(tree: Mapping[str, Any], separator: str = ".") -> dict[str, bool | int | float | str | None]:
    """Return the leaves of nested mappings under joined names; lists become text.

    >>> flattened({"local": {"epochs": 1, "betas": [0.9, 0.99]}})
    {'local.epochs': 1, 'local.betas': '[0.9, 0.99]'}
    """
    leaves: dict[str, bool | int | float | str | None] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            leaves |= {f"{name}{separator}{inner}": leaf for inner, leaf in flattened(value, separator).items()}
        else:
            leaves[name] = value if isinstance(value, bool | int | float | str | None) else str(value)
    return leaves
