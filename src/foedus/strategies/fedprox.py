"""FedProx: local training is held near what it started from (Li et al. 2020, arXiv:1812.06127)."""

from __future__ import annotations

from dataclasses import replace

from foedus.federation.messages import Broadcast, LocalUpdate
from foedus.federation.protocols import Algorithm, Correction, LocalTask, Memory
from foedus.strategies.fedavg import fedavg
from foedus.strategies.local_training import delta_update, train


def fedprox(mu: float = 0.01, *, decoupled: bool = False) -> Algorithm:
    """Return FedProx: mu/2 * |w - w_received|^2 is added to the local loss.

    The term covers the tensors that train and travel: under LoRA the factors and the head, against
    the factors received, which is not proximity of the products B A.
    decoupled: apply the term as w -= learning_rate * mu * (w - w_received) beside the optimizer.
        Our addition: inside an adaptive optimizer the term's gradient would be rescaled.
    """

    def local(task: LocalTask, broadcast: Broadcast, memory: Memory) -> tuple[LocalUpdate, Memory]:
        result, memory = train(task, broadcast, memory, Correction(strength=mu, decoupled=decoupled))
        return delta_update(broadcast, result), memory

    return replace(fedavg(), local=local)
