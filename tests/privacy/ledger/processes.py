"""A program that tests start: processes that race for one budget, and runs that are killed with SIGKILL.

    python processes.py race FOLDER PROCESSES ROUNDS   each process spends until it is refused
    python processes.py kill FOLDER TIMES              a run is killed at so many moments, and gone on with

Prints a JSON line for each process, or each moment. The libraries are loaded once, and copies made of the process.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from foedus.core.errors import BudgetError
from foedus.core.seeds import SeedKey
from foedus.engines.in_process import InProcessEngine
from foedus.federation.loop import run_rounds, start_or_resume
from foedus.federation.messages import Broadcast, LocalUpdate, ParticipantId, Reply, Request
from foedus.federation.protocols import LocalTask, Memory, ServerState
from foedus.federation.round import Federation, RoundPlan
from foedus.federation.run_folder import RunFolder
from foedus.federation.sampling import Everyone
from foedus.privacy.ledger.composing import Charge, Tables
from foedus.privacy.ledger.contents import name_rows
from foedus.privacy.ledger.guard import LedgerGuard, Payer, run_identity
from foedus.privacy.ledger.ledger import Ledger
from foedus.privacy.ledger.places import participant_ledger
from foedus.privacy.outbox import Outbox
from foedus.privacy.plan import RecordPlan
from foedus.strategies.fedavg import fedavg
from strategies.quadratics import QuadraticTask, point

PLAN = RecordPlan("record", 10.0, 1.0, 1.0, 1, 1e-5, 100)
NAMES = ("a", "b")
ROUNDS = 2
WATCHED = ("foedus/privacy", "foedus/federation", "foedus/engines", "ledger/processes.py")


def main(command: str, folder: Path, *numbers: int) -> None:
    """Race, or kill."""
    if torch.get_num_threads() > 1:
        raise SystemExit("start this program with OMP_NUM_THREADS=1")
    Tables().make(Charge("warm", PLAN, 1), 1e-5, (), 1)
    race(folder, *numbers) if command == "race" else kill(folder, *numbers)


def tell(line: Mapping[str, Any]) -> None:
    """Print a JSON line in one piece, though other processes print too."""
    os.write(1, (json.dumps(line) + "\n").encode())


# Processes that spend at the same time


def race(folder: Path, processes: int, rounds: int) -> None:
    """Let processes spend from one budget, in a ledger that none of them has made yet."""
    children = [start(partial(spend, folder, f"run {number}", rounds)) for number in range(processes)]
    if any(os.waitpid(child, 0)[1] for child in children):
        raise SystemExit("a process failed")


def spend(folder: Path, run: str, rounds: int) -> None:
    """Reserve one round after the other until one is refused."""
    ledger, tables, reserved = Ledger(participant_ledger(folder, "north")), Tables(), 0
    ledger.register("icu", name_rows(str(number) for number in range(100)))
    if not ledger.accounts()[0].limits:
        ledger.set_limit("icu", "record", 1.0, 1e-5)
    try:
        for number in range(1, rounds + 1):
            ledger.settle(ledger.reserve(run, number, [Charge("icu", PLAN, rounds)], tables))
            reserved += 1
    except BudgetError:
        pass
    tell({"run": run, "reserved": reserved})


# Runs that are killed


def kill(folder: Path, times: int) -> None:
    """Kill runs at moments evenly spread over all calls of the code that is watched, and go on with each."""
    play(folder / "warm")  # all that the first run loads, it loads here
    whole = folder / "whole"
    if wait(start(partial(play_counted, whole))) != 0:
        raise SystemExit("the run failed undisturbed")
    calls = int((whole / "calls").read_text())
    for number in range(times):
        moment = 1 + number * int(0.97 * calls) // (times - 1)  # threads do not count alike each time
        place = folder / f"killed-{moment}"
        status = wait(start(partial(play_killed, place, moment)))
        if not os.WIFSIGNALED(status):
            raise SystemExit(f"the run was not killed at {moment} but ended with {status}")
        before = found(place)
        if wait(start(partial(play, place))) != 0:
            raise SystemExit(f"{place} could not be gone on with")
        tell({"moment": moment, "calls": calls, "before": before, "after": found(place)})


def play(place: Path, hook: Callable[[], None] | None = None) -> None:
    """Play the run of a folder, from wherever it was left."""
    folder = RunFolder(place)
    folder.path.mkdir(parents=True, exist_ok=True)
    payers = {name: payer(place / "ledgers", name) for name in NAMES}
    outbox = Outbox(folder.outbox)
    algorithm = fedavg()
    engine = Leaky(partial(answer_with_noise, place), {name: QuadraticTask(1.0, 0.0, []) for name in NAMES}, outbox)
    engine.log = place / "released"
    federation = Federation(
        algorithm,
        engine,
        Everyone(),
        RoundPlan(ROUNDS, evaluate_initially=False, evaluate_every=99),
        SeedKey.from_seed(0),
        lambda sums: {},
        LedgerGuard(run_identity(folder.identity), ROUNDS, payers, outbox=outbox),
    )
    if hook is not None:
        watch(hook)
    state = start_or_resume(federation, ServerState(0, point(0.0, 0.0)), folder, "digest")
    run_rounds(federation, state, folder, config_digest="digest", keep_checkpoints=1)
    sys.setprofile(None)
    threading.setprofile(None)


class Leaky(InProcessEngine):
    """Writes down each reply that leaves a participant, as somebody who listens would."""

    log: Path

    def __init__(self, local: Any, tasks: Mapping[ParticipantId, LocalTask], outbox: Outbox) -> None:
        super().__init__(local, tasks, outbox=outbox)

    def exchange(self, requests: Mapping[ParticipantId, Request]) -> Iterator[tuple[ParticipantId, Reply]]:
        """Write down what passes."""
        for name, reply in super().exchange(requests):
            if isinstance(reply, LocalUpdate):
                note(self.log, name, int(reply.metrics["round"]), float(reply.averaged["delta"]["x"][0]))
            yield name, reply


def answer_with_noise(place: Path, task: LocalTask, broadcast: Broadcast, memory: Memory) -> tuple[LocalUpdate, Memory]:
    """Answer as never before, and write down that it was computed."""
    noise = torch.frombuffer(bytearray(os.urandom(8)), dtype=torch.int32) / 2**31
    number = broadcast.clock.round + 1
    note(place / "computed", "", number, float(noise[0]))
    return LocalUpdate({"delta": {"x": noise.double()}}, 1.0, metrics={"round": number}), memory


def note(log: Path, name: str, number: int, value: float) -> None:
    """Add a line to a log, in one piece."""
    file = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.write(file, (json.dumps([name, number, value]) + "\n").encode())
    os.close(file)


def payer(folder: Path, name: str) -> Payer:
    """Return a participant's ledger with its data registered."""
    ledger = Ledger(participant_ledger(folder, name))
    ledger.register(name, name_rows(str(number) for number in range(100)))
    return Payer(ledger, name, PLAN)


def found(place: Path) -> Mapping[str, Any]:
    """Return what was computed, what was released, and what the ledgers say of each round."""
    charged = {}
    for name in NAMES:
        if not participant_ledger(place / "ledgers", name).exists():
            continue
        ledger = Ledger(participant_ledger(place / "ledgers", name))
        with ledger._file.reading() as db:
            rows = db.execute(
                "SELECT round, sum(uses) FROM spends WHERE status <> 'returned' GROUP BY round"
            ).fetchall()
        charged[name] = {int(number): int(uses) for number, uses in rows}
        ledger.close()
    logs = {name: lines(place / name) for name in ("computed", "released")}
    rounds = (place / "rounds.jsonl").read_text().count("\n") if (place / "rounds.jsonl").exists() else 0
    return {"charged": charged, "rounds": rounds, "outbox": sorted(map(str, (place / "outbox").glob("*/*"))), **logs}


def lines(path: Path) -> list[Any]:
    """Return a log's lines."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


# Copies of this process


def start(work: Callable[[], object]) -> int:
    """Begin the work in a copy of this process and return its id."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - nothing may get out of the copy
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
            os._exit(1)
        os._exit(0)
    return child


def wait(child: int) -> int:
    """Return how a copy ended."""
    return os.waitpid(child, 0)[1]


def play_counted(place: Path) -> None:
    """Play a run undisturbed, and write down how many calls there were."""
    count = 0

    def hook() -> None:
        nonlocal count
        count += 1

    play(place, hook)
    (place / "calls").write_text(str(count))


def play_killed(place: Path, moment: int) -> None:
    """Play a run until that call."""
    left = moment

    def hook() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    play(place, hook)


def watch(hook: Callable[[], None]) -> None:
    """Call the hook whenever watched code calls something, or returns from it, in any thread."""

    def profile(frame: Any, event: str, argument: Any) -> None:
        if any(part in frame.f_code.co_filename for part in WATCHED):
            hook()

    threading.setprofile(profile)
    sys.setprofile(profile)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))
