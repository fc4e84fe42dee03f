"""A program that tests start: it plays runs in processes that are killed on their way, and goes on with them.

    python crashing.py JOBS

JOBS: a JSON file, {name: {"config": …, "crashes": how many, "at": file}}. A run is played undisturbed, as NAME-whole;
then killed at so many moments, evenly spread over all at which it is about to open, rename or remove a file of its
folder, and, if a file is named, once more before it first touches that, each time gone on with to its end in another
process, as NAME-MOMENT.
Prints a JSON line for each: what the killed process was about to do, and what it left behind.

One process loads the libraries, and the runs are played in copies of it; PyTorch allows that with one thread alone.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from foedus import resume, run

TOUCHES = frozenset({"open", "os.rename", "os.remove", "os.rmdir", "os.truncate"})


def main(jobs: Path) -> None:
    """Play every job."""
    if torch.get_num_threads() > 1:
        raise SystemExit("start this program with OMP_NUM_THREADS=1")
    for name, job in json.loads(jobs.read_text()).items():
        config = job["config"]
        run(config | {"name": f"{name}-warm"})  # all that the first run loads, it loads here
        moments = play_whole(config | {"name": f"{name}-whole"})
        spread = [number * (len(moments) - 1) // (job["crashes"] - 1) for number in range(job["crashes"])]
        named = [next(place for place, touch in enumerate(moments) if job["at"] in touch)] if "at" in job else []
        for moment in [1 + place for place in sorted({*spread, *named})]:
            crashed = config | {"name": f"{name}-{moment}"}
            tell({"strategy": name, "before": moments[moment - 1], **play_crashed(crashed, moment)})


def tell(line: Mapping[str, Any]) -> None:
    """Print a JSON line."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def folder_of(config: Mapping[str, Any]) -> Path:
    """Return the folder of a configuration's run."""
    return Path(config["output"]["folder"], config["name"])


def play_whole(config: Mapping[str, Any]) -> Sequence[str]:
    """Play a run undisturbed, and return every touch of its folder."""
    notes = folder_of(config).with_suffix(".txt")

    def play() -> None:
        touches: list[str] = []
        sys.addaudithook(hook_on(folder_of(config), touches.append))
        run(config)
        notes.write_text("\n".join(touches))

    if in_child(play) != 0:
        raise SystemExit(f"{config['name']} failed undisturbed")
    return notes.read_text().split("\n")


def play_crashed(config: Mapping[str, Any], moment: int) -> Mapping[str, Any]:
    """Play a run that is killed, and go on with it; return what was left of the first process."""
    left = moment

    def count(_: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def play() -> None:
        sys.addaudithook(hook_on(folder_of(config), count))
        run(config)

    status = in_child(play)
    if not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
        raise SystemExit(f"{config['name']} was not killed but ended with {status}")
    folder = folder_of(config)
    begun = (folder / "config.yaml").exists()
    found = {
        "run": str(folder),
        "begun": begun,
        "records": (folder / "rounds.jsonl").read_text().count("\n") if (folder / "rounds.jsonl").exists() else 0,
        "checkpoints": sorted(path.name for path in (folder / "checkpoints").glob("round-*")),
    }
    if in_child(partial(resume, folder) if begun else partial(run, config)) != 0:
        raise SystemExit(f"{folder} could not be gone on with")
    return found


def in_child(work: Callable[[], object]) -> int:
    """Do the work in a copy of this process and return how that ended."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - nothing may get out of the copy
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def hook_on(folder: Path, note: Callable[[str], object]) -> Callable[[str, tuple[Any, ...]], None]:
    """Return an audit hook that notes each touch of what is in the folder, before it happens."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in TOUCHES or not isinstance(arguments[0], str | bytes | Path):
            return
        path = Path(os.fsdecode(arguments[0]))
        if path.is_relative_to(folder):
            note(f"{event} {path.relative_to(folder)}")
        elif not path.is_absolute():  # rmtree names what it removes from the folder around it
            note(f"{event} {path}")

    return hook


if __name__ == "__main__":
    main(Path(sys.argv[1]))
