"""Time of one federated round without evaluation, over that of a plain loop; the two take turns."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import foedus
from benchmarks.plain_loop import train_plainly
from benchmarks.settings import SETTINGS
from foedus.config.assemble import Assembly, assemble
from foedus.federation.round import play_round

REPEATS = 3


def federated_round(assembly: Assembly) -> Callable[[], None]:
    """Return a function that plays a round from the initial parameters, without evaluation."""
    federation = assembly.federation()
    never = replace(federation.plan, rounds=10**6, evaluate_every=10**6)
    federation = replace(federation, plan=never)
    state = assembly.initial_state(federation)

    def play() -> None:
        _, report = play_round(federation, state)
        assert report.stood
        assert not report.collected.left_out

    return play


def ratios(settings: str, participants: int) -> list[float]:
    """Return the ratio of each pair of runs."""
    with tempfile.TemporaryDirectory() as folder:
        assembly = assemble(foedus.load_config(SETTINGS[settings](Path(folder), participants)))
    play = federated_round(assembly)
    play()
    train_plainly(assembly)
    pairs = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        play()
        between = time.perf_counter()
        train_plainly(assembly)
        pairs.append((between - started) / (time.perf_counter() - between))
    return pairs


def main() -> None:
    for settings, participants in (("small BERT", 64), ("MiniLM + LoRA", 8)):
        measured = ratios(settings, participants)
        print(
            f"round over plain loop, {participants} participants, {settings}: "
            f"median {statistics.median(measured):.3f} (min {min(measured):.3f}, max {max(measured):.3f}; aim ≤ 1.05)",
            flush=True,
        )
