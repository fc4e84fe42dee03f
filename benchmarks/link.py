"""The link between organisations beside bare FLARE moving the same bytes, both in FLARE's simulator on this machine.

The two take turns, large message by large message, so that what else runs here disturbs both alike.
"""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.link_turns import PLACE, Turns
from benchmarks.processor_time import seconds_by_role
from foedus.engines.flare.environment import LINK

LARGE_BYTES = 100_000_000
REPEATS = 7
ROLES = {
    "sites' jobs": "simulator_worker",
    "server's job": "simulator.simulator",
    "coordinator": "benchmarks.link_coordinator",
    "sites": "benchmarks.link_sites",
}


@dataclass
class Side:
    """One way to move messages. seconds: by kind of message. processor: seconds by role, of the large ones."""

    folder: Path
    turns: Turns
    seconds: dict[str, list[float]] = field(default_factory=lambda: {"large": []})
    processor: dict[str, float] = field(default_factory=dict)

    def move_large(self) -> None:
        """Move large messages to all and back once."""
        before = seconds_by_role(self.folder, ROLES)
        self.seconds["large"].append(self.turns("large"))
        for role, seconds in seconds_by_role(self.folder, ROLES).items():
            self.processor[role] = self.processor.get(role, 0.0) + seconds - before.get(role, 0.0)


def main() -> None:
    """Print times, throughput, processor time and the coordinator's memory at 2 and at 8 participants."""
    print("\nthe link between organisations, beside bare FLARE (simulator, loopback)")
    for participants in (2, 8):
        print(f"  {participants} participants")
        _measure([f"site-{number}" for number in range(participants)])


def _measure(names: Sequence[str]) -> None:
    with ExitStack() as stack:
        sides = {"bare FLARE": stack.enter_context(_bare(names)), "foedus": stack.enter_context(_link(names))}
        for side in sides.values():
            side.seconds["small"] = side.turns("small")
            side.turns("large")  # the first one finds nothing prepared
        for _ in range(REPEATS):
            for side in sides.values():
                side.move_large()
        for name, side in sides.items():
            _tell(name, side, len(names))
    bare, link = (side.seconds["large"] for side in sides.values())
    ratios = sorted(theirs / ours for theirs, ours in zip(bare, link, strict=True))
    found = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    print(f"    throughput  {found} of bare FLARE's", flush=True)


def _tell(name: str, side: Side, participants: int) -> None:
    small, large = (statistics.median(side.seconds[size]) for size in ("small", "large"))
    megabytes = 2 * participants * LARGE_BYTES / 1e6
    print(f"    {name:11} small {1000 * small:5.1f} ms   100 MB to all and back {large:5.2f} s", end="")
    print(f" ({megabytes / large:.0f} MB/s)")
    each = {role: 1000 * seconds / megabytes / REPEATS for role, seconds in side.processor.items()}
    told = ", ".join(f"{role} {seconds:.2f}" for role, seconds in each.items())
    print(f"    {'':11} processor seconds a GB {sum(each.values()):.2f}: {told}")
    print(f"    {'':11} coordinator's largest size in MiB: {side.turns('memory')}")


@contextmanager
def _bare(names: Sequence[str]) -> Iterator[Side]:
    with _side() as (side, start):
        start("benchmarks.link_bare", str(side.folder), *names)
        yield side


@contextmanager
def _link(names: Sequence[str]) -> Iterator[Side]:
    with _side() as (side, start):
        start("benchmarks.link_sites", str(side.folder), *names)
        start("foedus.engines.flare.simulated", f"{side.folder}/sim", *names)
        start("benchmarks.link_coordinator", str(side.folder), *names)
        yield side


@contextmanager
def _side() -> Iterator[tuple[Side, Callable[..., None]]]:
    with TemporaryDirectory(prefix="foedus-") as name, ExitStack() as stack:
        folder = Path(name)
        turns = Turns(folder / "turns")
        own = {LINK: name, PLACE: f"{name}/turns", "LARGE_BYTES": str(LARGE_BYTES)}
        log = stack.enter_context((folder / "log").open("wb"))

        def start(*arguments: str) -> None:
            process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", *arguments],
                env={**os.environ, "PYTHONPATH": f"{Path.cwd()}:{os.environ.get('PYTHONPATH', '')}", **own},
                stdout=log,
                stderr=log,
                start_new_session=True,  # FLARE starts more, which end with it
            )
            stack.callback(_end, process)

        try:
            yield Side(folder, turns), start
        except (OSError, ValueError) as error:
            raise RuntimeError((folder / "log").read_text()[-2000:]) from error
        finally:
            turns.end()


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
