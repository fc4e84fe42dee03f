"""Noise that is correlated over rounds, its key, and how often a participant takes part: what DP-FTRL needs.

Source: Kairouz et al. 2021, arXiv:2103.00039; Choquette-Choo et al. 2023, arXiv:2306.08153.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import torch

from foedus.core.durable import sync
from foedus.core.entropy import KEY_BYTES, Entropy
from foedus.core.errors import ParticipantError, RunFolderError
from foedus.core.trees import ParamTree
from foedus.federation.protocols import Memory
from foedus.privacy.correlated import NoiseMemory, next_noise
from foedus.privacy.plan import StreamPlan

PARTICIPATION = "privacy_participation"


def create_noise_key(path: Path) -> Entropy:
    """Write a new secret key to a file that only its owner may read, and return its stream.

    One key serves one run: two runs with the same noise would reveal the difference of what they released.
    Raises: RunFolderError if there is such a file already.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    draft.unlink(missing_ok=True)
    key = os.urandom(KEY_BYTES)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, key)
        os.fsync(descriptor)
        os.link(draft, path)  # whole or not at all, and never in place of another
    except FileExistsError as error:
        raise RunFolderError(
            f"{path} holds a noise key already; go on with its run (--resume), or delete it with that run"
        ) from error
    finally:
        os.close(descriptor)
        draft.unlink()
    sync(path.parent)
    return Entropy.kept(key)


def read_noise_key(path: Path) -> Entropy:
    """Return the stream of a key that `create_noise_key` wrote, so that a resumed run goes on with its noise.

    Raises: RunFolderError if the file is missing, damaged, or open to others than its owner.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        key = path.read_bytes()
    except OSError as error:
        raise RunFolderError(
            f"{path}, the key of this run's noise, cannot be read ({error.strerror}); "
            "without it the noise of earlier rounds is not known, and the run cannot go on: start a new one"
        ) from error
    if mode & 0o077:
        raise RunFolderError(
            f"{path}, the key of this run's noise, has mode {mode:o}, so that others may have read it; it must be "
            "600. Whoever knows the key can take the noise off: start a new run unless nobody did, then chmod 600"
        )
    if len(key) != KEY_BYTES:
        raise RunFolderError(
            f"{path} is damaged: it has {len(key)} bytes, a noise key has {KEY_BYTES}; start a new run"
        )
    return Entropy.kept(key)


def delete_noise_key(path: Path) -> None:
    """Overwrite and delete a key file; nothing happens if there is none.

    Copies that a file system, a flash disk or a backup keeps are out of reach.
    """
    if not path.exists():
        return
    with path.open("r+b") as file:
        file.write(bytes(KEY_BYTES))
        file.flush()
        os.fsync(file.fileno())
    path.unlink()
    sync(path.parent)


class CorrelatedNoise:
    """The noise of a stream's rounds; that of round t is always the same, whatever was asked for before.

    What it keeps between rounds is as secret as the noise and lies in memory alone. After a resume it draws
    the rounds before anew, which takes as long as they took to draw.
    """

    def __init__(self, plan: StreamPlan, entropy: Entropy) -> None:
        if not entropy.repeatable:
            raise ValueError(
                "noise that is correlated over rounds needs a key that is kept, so that a resumed run goes on with "
                "it; give create_noise_key(path), or read_noise_key(path) on resume"
            )
        self._plan = plan
        self._entropy = entropy
        self._next = 0
        self._memory: NoiseMemory = ()

    def of_round(self, index: int, like: ParamTree) -> ParamTree:
        """Return the noise of round `index`, counted from 0, for a sum of these names and shapes; on the CPU.

        Raises: ValueError for a round beyond the stream's end, which nothing was accounted for.
        """
        if not 0 <= index < self._plan.rounds:
            raise ValueError(f"noise of round {index} was asked for; the stream has {self._plan.rounds} rounds")
        if index < self._next:
            self._next, self._memory = 0, ()
        noise: ParamTree = {}
        while self._next <= index:
            noise, self._memory = next_noise(self._plan.factor, self._independent(self._next, like), self._memory)
            self._next += 1
        return noise

    def _independent(self, index: int, like: ParamTree) -> ParamTree:
        stream = self._entropy.child("round", index)
        stddev = self._plan.independent_stddev
        return {name: stream.normal(like[name].shape).mul_(stddev) for name in sorted(like)}

    def __repr__(self) -> str:
        return f"CorrelatedNoise({self._entropy!r})"


def participated(memory: Memory, plan: StreamPlan, round_index: int) -> Memory:
    """Return what a participant remembers of its participations once it takes part in this round.

    This is the participant's own check, so that a coordinator that asks too often gets nothing.
    Raises: ParticipantError if that is more often, or sooner, than the plan allows.
    """
    count, last = 0, None
    if PARTICIPATION in memory:
        count = int(memory[PARTICIPATION]["count"])
        last = int(memory[PARTICIPATION]["last_round"])
    if round_index >= plan.rounds:
        raise ParticipantError(f"it was asked in round {round_index + 1}, and the plan has {plan.rounds}; it refused")
    if count >= plan.max_participations:
        raise ParticipantError(
            f"it took part {count} times already, and max_participations is {plan.max_participations}; it refused"
        )
    if last is not None and round_index < last + plan.min_separation:
        raise ParticipantError(
            f"it took part in round {last + 1} and may again from round {last + 1 + plan.min_separation} on "
            f"(min_separation {plan.min_separation}); asked in round {round_index + 1}, it refused"
        )
    return {PARTICIPATION: {"count": torch.tensor(count + 1), "last_round": torch.tensor(round_index)}}
