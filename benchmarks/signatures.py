"""What signatures add to a round, on this core: digests, signatures, checks, the log and receipts.

A round of participants that answer at once with an update of float32 values, plain and signed. Its share of a real
round follows from how long training takes; beside it stands one pass of SHA-256 over the same bytes. Seconds are
processor time: other programs on the machine do not count.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import torch

from foedus.federation.collect import Collected, RunningSum, collect_updates, drive
from foedus.federation.messages import Broadcast, Clock, LocalUpdate, ParticipantId, Reply, Request, Train
from foedus.federation.protocols import Engine, ServerState
from foedus.federation.round import RoundReport
from foedus.privacy.signing.identity import Identity
from foedus.privacy.signing.log import Log, read_log
from foedus.privacy.signing.receipts import receipt_file
from foedus.privacy.signing.round_entries import check_entries
from foedus.privacy.signing.signed_engine import SignedEngine
from foedus.privacy.signing.signing_side import SigningParticipants, SigningSide
from foedus.privacy.signing.statements import COORDINATOR, RunBegun, sign

SIZES = ((10, 22_000_000), (100, 1_000_000), (1000, 100_000))  # participants, values of an update
ROUNDS = 2


class Instant:
    """An engine whose participants train in no time."""

    def __init__(self, names: Sequence[ParticipantId], values: int) -> None:
        self._names = names
        self._update = LocalUpdate({"delta": {"weight": torch.ones(values)}}, 1.0)

    def population(self) -> Sequence[ParticipantId]:
        return self._names

    def exchange(self, requests: Mapping[ParticipantId, Request]) -> Iterator[tuple[ParticipantId, Reply]]:
        for name in requests:
            yield name, self._update

    def settle(self, counted: Collection[ParticipantId]) -> None:
        pass

    def save_memories(self, folder: Path) -> None:
        pass

    def load_memories(self, folder: Path) -> None:
        pass


def signed_over(engine: Engine, folder: Path) -> SignedEngine:
    """Return the engine with its rounds signed, by keys made for it."""
    coordinator, run = Identity.create(), "0" * 32
    identities = {name: Identity.create() for name in engine.population()}
    begun = RunBegun(
        run=run,
        rounds="plain",
        settings="0" * 64,
        inputs="0" * 64,
        coordinator=coordinator.public.hex(),
        roster={name: identity.public.hex() for name, identity in identities.items()},
    )
    log = Log(folder / "log.jsonl")
    log.append(sign(begun, coordinator, COORDINATOR))
    sides = {
        name: SigningSide(name, identity, coordinator.public, log.entries[0], receipt_file(folder, name, "run"))
        for name, identity in identities.items()
    }
    return SignedEngine(engine, SigningParticipants(engine, sides), coordinator=coordinator, log=log)


def round_seconds(engine: Engine, params: Mapping[str, torch.Tensor], signed: SignedEngine | None) -> float:
    """Return the mean time of a round."""
    began = time.process_time()
    for number in range(ROUNDS):
        requests = dict.fromkeys(engine.population(), Train(Broadcast({"params": params}, Clock(number, ROUNDS))))
        total = RunningSum(averaged_like={"delta": params}, summed_like={})
        collected: Collected = drive(collect_updates(requests, total), signed or engine)
        (signed or engine).settle(list(requests))
        if total.reports != len(requests):
            raise RuntimeError(f"updates were left out: {collected.left_out}")
        if signed is not None:
            report = RoundReport(number + 1, list(requests), collected, None, None, 0.0, 0.0)
            signed.note(ServerState(number + 1, params), report)
            signed.keep()
    return (time.process_time() - began) / ROUNDS


def main() -> None:
    for participants, values in SIZES:
        names = [f"site-{number}" for number in range(participants)]
        engine, params = Instant(names, values), {"weight": torch.zeros(values)}
        with tempfile.TemporaryDirectory() as place:
            signed = signed_over(engine, Path(place))
            plain, with_signatures = round_seconds(engine, params, None), round_seconds(engine, params, signed)
            began = time.process_time()
            check_entries(*read_log(signed.log.path))
            checking = time.process_time() - began
        began = time.process_time()
        hashlib.sha256(bytes(4 * values))
        once = time.process_time() - began
        more = with_signatures - plain
        print(
            f"signatures, {participants} participants x {values:,} values: {more / participants * 1e3:.1f} ms more a "
            f"participant and round, both sides together ({once * 1e3:.1f} ms: SHA-256 of an update once); "
            f"summing alone takes {plain / participants * 1e3:.1f} ms; {checking * 1e3:.0f} ms to check a log of "
            f"{ROUNDS} rounds"
        )


if __name__ == "__main__":
    main()
