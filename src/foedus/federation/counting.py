"""Collecting counts: the plain sum of one vector of whole numbers from each participant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from foedus.core.errors import ParticipantError
from foedus.federation.collect import Collector, phase
from foedus.federation.messages import CountPairs, Counts, DryRound, Failure, ParticipantId, Reply, payload_bytes


@dataclass(frozen=True)
class CollectedCounts:
    """The sum of the participants' vectors, how many are in it, who was left out and why, and bytes."""

    total: Tensor
    reports: int
    left_out: Mapping[ParticipantId, str]
    bytes_down: int
    bytes_up: int


def collect_counts(
    cohort: Sequence[ParticipantId], request: CountPairs | DryRound, size: int
) -> Collector[CollectedCounts]:
    """Ask the cohort to count, and add up vectors of so many numbers as they come in.

    Nothing but the sum is used, so that a secure sum can take its place, and noise be added to it; a count may
    therefore be negative.
    """
    total = torch.zeros(size, dtype=torch.int64)
    reports = received_bytes = 0

    def accept(sender: ParticipantId, reply: Reply) -> None:
        nonlocal reports, received_bytes
        match reply:
            case Counts(values):
                received_bytes += payload_bytes(reply)
                if values.dtype != torch.int64 or values.shape != total.shape:
                    raise ParticipantError(
                        f"it counted in {tuple(values.shape)} numbers of {values.dtype}, but {size} of torch.int64 "
                        "were asked for"
                    )
                total.add_(values)
                reports += 1
            case Failure():
                raise ParticipantError(reply.reason)
            case _:
                raise ParticipantError(f"it answered a request for counts with {type(reply).__name__}")

    left_out = yield from phase(dict.fromkeys(cohort, request), accept)
    return CollectedCounts(total, reports, left_out, payload_bytes(request) * len(cohort), received_bytes)
