"""Kills each process of a federation with kill -9 in each phase of runs, and tells what became of it.

    python tests/deployed/kill_matrix.py FOLDER [PART[:PHASE] …]

One federation of three organisations plays one run after the other while its processes are killed, one at a time.
After each kill the program waits until a round stands with everybody in it again. It prints a line for each, and
checks every run at the end. All of it takes most of an hour on two cores; the tests play a part.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deployed.aftermath import require_paid_once, require_single_use, require_whole
from deployed.services import (
    PATIENCE_S,
    SERVER_PARTS,
    SITE_PARTS,
    Heard,
    Part,
    Services,
    descendants,
    provision,
    records,
    wait_until,
)
from end_to_end.small_runs import SITES, small_run
from end_to_end.test_federation import processes_of
from foedus.api.run_queue import is_over
from foedus.api.submit import submit
from foedus.api.verify import verify
from foedus.config.loading import load_config
from foedus.engines.kits.kit import open_kit

VICTIM, WITNESS = "south", "north"
MASKS: Mapping[str, Any] = {"kind": "masks", "min_cohort": 2, "threshold": 2}
NOTICED_S = 2.0  # what a killed process had started ends within a second, and may end a round until then
STEPS = 60  # of training, which is then long enough to be killed in
PRIVACY: Mapping[str, Any] = {"kind": "records", "epsilon": 8.0, "clip_norm": 1.0}
LISTED: Mapping[str, Any] = {"labels": ["heart", "lung", "skin"]}
FEWER: Mapping[str, Any] = {"steps": 15}  # each takes longer
KINDS: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "signed": {"signatures": "ed25519"},
    "private": {"privacy": PRIVACY, "task": LISTED, "local": FEWER},
    "signed-private": {"privacy": PRIVACY, "task": LISTED, "local": FEWER, "signatures": "ed25519"},
}
BUDGET: Mapping[str, Any] = {"epsilon": 10000, "delta": 0.01}
# of messages as a participant is asked them; train+2 is the second step of the secure sum after the training
PHASES = (
    "train+2",
    "train",
    "settle",
    "evaluate",
    "train+1",
    "begin",
    "finish",
    "reckon",
    "agree",
    "train+4",
    "evaluate+2",
    "train+3",
)


@dataclass(frozen=True)
class Kill:
    """One kill. during: the phase when it was noticed. on, whole: seconds until a round stood, and stood with all."""

    part: Part
    phase: str
    during: str
    run: str
    lost: tuple[str, ...]
    on: float
    whole: float


class Phases:
    """Follows what one side is asked, and says in which phase it is."""

    def __init__(self, heard: Heard) -> None:
        self._heard = heard
        self._work = ""
        self._steps = 0
        self.now = ""

    def news(self) -> list[str]:
        """Return the phases that were entered since the last call."""
        entered = []
        for kind in self._heard.news():
            if kind == "step":
                self._steps += 1
                entered.append(f"{self._work}+{self._steps}")
                continue
            after_round = kind == "notice" and self._work == "train"
            self._work, self._steps = kind, 0
            entered.append("settle" if after_round else kind)
        if entered:
            self.now = entered[-1]
        return entered


class Federation:
    """A federation that is disturbed. rounds: of each run."""

    def __init__(self, folder: Path, rounds: int, kinds: Sequence[str], options: Sequence[str] = ()) -> None:
        self._config = small_run(
            folder,
            local={"optimizer": {"kind": "sgd"}, "learning_rate": 0.1, "steps": STEPS},
            rounds={"count": rounds, "min_reports": 2},
            evaluation={"per_site": False},
            secure_sum=MASKS,
        )
        self.folder = folder
        self.kits = provision(folder, {"budget": BUDGET}, [self._config["model"]["path"]])
        self.services = Services(self.kits, folder / "logs", options)
        self._kinds = kinds
        self.runs: list[Path] = []
        self.kills: list[Kill] = []
        self.refill()

    def refill(self) -> None:
        """Hand the next run in if all are over."""
        if all(is_over(run) for run in self.runs):
            number = len(self.runs)
            kind = self._kinds[number % len(self._kinds)]
            merged = dict(self._config)
            for name, section in KINDS[kind].items():
                merged[name] = {**merged[name], **section} if name in merged and isinstance(section, dict) else section
            config = load_config({**merged, "name": f"{kind}-{number}"})
            self.runs.append(Path(submit(config, self.kits / "coordinator")))

    def playing(self) -> Path:
        """Return the folder of the run that is played now."""
        return next((run for run in self.runs if not is_over(run)), self.runs[-1])

    def settled(self, after: set[str], seconds: float) -> Iterator[dict[str, Any]]:
        """Yield rounds that stood, as they come, except those of before."""
        seen, until = set(after), time.monotonic() + seconds
        while time.monotonic() < until:
            self.refill()
            for line, record in self.lines().items():
                if line not in seen:
                    seen.add(line)
                    if record["round"] > 0 and record["stood"]:
                        yield record
            time.sleep(0.05)

    def lines(self) -> Mapping[str, dict[str, Any]]:
        """Return every round of every run so far, by run and text."""
        return {f"{run.name} {json.dumps(record)}": record for run in self.runs for record in records(run)}

    def kill(self, part: Part, phase: str) -> Kill:
        """Kill a process in a phase of whatever run is in it next, and wait until everybody is in a round again."""
        owner = "coordinator" if part in SERVER_PARTS else VICTIM
        phases = Phases(Heard(self.services.log(WITNESS if part in SERVER_PARTS else VICTIM)))
        self._await_phase(phases, phase)
        run = self.playing()
        pid = self.services.kill(owner, part)
        killed = time.monotonic()
        before = set(self.lines())
        phases.news()
        during = phases.now
        on = None
        for record in self.settled(before, PATIENCE_S):
            if time.monotonic() - killed < NOTICED_S:
                continue
            on = time.monotonic() - killed if on is None else on
            if record["reports"] == len(SITES) and self.services.pid(owner, part) not in {None, pid}:
                break
        else:
            raise AssertionError(f"killed {part} in {phase} of {run.name}: the run does not go on with everybody")
        assert on is not None, "a round stood"
        lost = tuple(
            f"round {record['round']}: {record['reports']} of {len(SITES)}" + ("" if record["stood"] else ", lost")
            for line, record in self.lines().items()
            if line not in before and record["round"] > 0 and record["reports"] < len(SITES)
        )
        whole = round(time.monotonic() - killed, 1)
        self.kills.append(Kill(part, phase, during, run.name, lost, round(on, 1), whole))
        self.refuse_leftovers()
        return self.kills[-1]

    def _await_phase(self, phases: Phases, phase: str) -> None:
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            self.refill()
            if phase in phases.news():
                return
            time.sleep(0.005)
        raise AssertionError(f"no run was in phase {phase}")

    def refuse_leftovers(self) -> None:
        """Check that every process of the federation belongs to one that its service manager started."""

        def strays() -> list[int]:
            ours = [pid for name in ("coordinator", *SITES) for pid in self._tree(name)]
            return [pid for pid in processes_of(self.kits) if pid not in ours]

        wait_until(lambda: not strays(), "the end of what a killed process had started", 20)

    def _tree(self, owner: str) -> list[int]:
        own = self.services.pid(owner, "coordinator" if owner == "coordinator" else "participant")
        return [] if own is None else [own, *descendants(own)]

    def finish(self) -> None:
        """Play what is left, undisturbed, to the end."""
        wait_until(lambda: all(is_over(run) for run in self.runs), "the end of all runs", 2 * PATIENCE_S)

    def require_promises(self) -> None:
        """Check all that was promised of the runs that were played."""
        for run in self.runs:
            require_whole(run)
            if run.name.startswith("signed"):
                keys = open_kit(self.kits / WITNESS, "participant").keys
                assert verify(run, keys=keys).rounds == len([line for line in records(run) if line["round"] > 0])
        require_single_use(self.kits)
        private = {(run / ".run-id").read_text().strip(): run for run in self.runs if "private" in run.name}
        if private:
            trained = {name: self._asked_to_train(name, private) for name in SITES}
            require_paid_once(self.kits, self.folder / "ledgers", private, trained)

    def _asked_to_train(self, name: str, runs: Collection[str]) -> int:
        short = {run[:8] for run in runs}
        lines = [line.split() for line in self.services.log(name).read_text(errors="replace").splitlines()]
        return sum(words[1:4] == ["train", "for", "run"] and words[4] in short for words in lines)


@contextmanager
def federation(folder: Path, rounds: int, kinds: Sequence[str], options: Sequence[str] = ()) -> Iterator[Federation]:
    """Start a federation and end it."""
    made = Federation(folder, rounds, kinds, options)
    made.services.start()
    try:
        yield made
    finally:
        made.services.stop()


def main(folder: Path, chosen: Sequence[str]) -> None:
    """Play the matrix, or what is chosen of it."""
    folder.mkdir(parents=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    cells = [(part, phase) for phase in PHASES for part in (*SERVER_PARTS, *SITE_PARTS)]
    if chosen:
        cells = [(part, phase) for part, phase in cells if part in chosen or f"{part}:{phase}" in chosen]
    with federation(folder, 12, list(KINDS)) as live:
        began = time.monotonic()
        wait_until(lambda: bool(live.lines()), "the first round")
        _print(f"first round after {time.monotonic() - began:.1f} s")
        for part, phase in cells:
            _print(json.dumps(asdict(live.kill(part, phase))))
        live.finish()
        live.require_promises()
        _print(f"{len(live.kills)} kills and {len(live.runs)} runs: everything is as promised")


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
