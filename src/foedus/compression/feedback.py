"""Updates in fewer bytes, with what was lost sent later: error feedback.

A participant sends q = Q(delta + e) and keeps e <- delta + e - q. Whatever Q loses in one round it
gets to send in the next, so that the sum of what was sent stays within one e of the sum of the deltas.
Source: Seide et al. 2014 (Interspeech); Karimireddy et al. 2019, arXiv:1901.09847.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from foedus.compression.encoding import Codec, EncodedTensors
from foedus.core import trees
from foedus.core.errors import ConfigError, ParticipantError
from foedus.core.trees import ParamTree
from foedus.federation.messages import Broadcast, LocalUpdate
from foedus.federation.protocols import Algorithm, LocalTask, Memory, Part

PART = "delta"
RESIDUAL = "residual"


def with_compressed_broadcast(algorithm: Algorithm, codec: Codec) -> Algorithm:
    """Return the strategy with the parameters sent to the participants through the codec.

    The coordinator keeps exact ones, and moves them by the mean of what participants moved away from
    those they received: what the codec loses is not learnt, and is lost anew in every round.
    Raises: ConfigError as `compressed` does; of such updates the delta is measured from what was received.
    """
    refuse_incompressible(algorithm.parts)
    return replace(algorithm, encode_params=lambda params: encode(params, codec)[0])


def compressed(algorithm: Algorithm, codec: Codec, *, error_feedback: bool = True, decay: float = 1.0) -> Algorithm:
    """Return the strategy with the mean update, its part "delta", sent through the codec.

    decay: the share of the residual that is kept from round to round: delta + decay * e is sent.
    Other parts travel as they are. The residual is kept by the participant, as large as the update.
    Raises: ConfigError if the strategy's coordinator uses anything else that the participants trained.
    """
    refuse_incompressible(algorithm.parts)
    if any(part.encode is not None for part in algorithm.parts):
        raise ConfigError("compression: the strategy compresses its updates already; use compression none")

    def local(task: LocalTask, broadcast: Broadcast, memory: Memory) -> tuple[LocalUpdate, Memory]:
        update, after = algorithm.local(task, broadcast, memory)
        encoded, residual = encode(update.averaged[PART], codec, memory.get(RESIDUAL), decay)
        rest = {name: tree for name, tree in update.averaged.items() if name != PART}
        kept = {RESIDUAL: {**memory.get(RESIDUAL, {}), **residual}} if error_feedback else {}
        return replace(update, averaged=rest, encoded={PART: encoded}), {**after, **kept}

    def sample(delta: ParamTree) -> EncodedTensors:
        return encode(trees.zeros_like(delta), codec)[0]

    parts = [replace(part, encode=sample) if part.name == PART else part for part in algorithm.parts]
    return replace(algorithm, local=local, parts=parts)


def refuse_incompressible(parts: Sequence[Part]) -> None:
    """Check that updates hold a mean update, and beside it nothing that has to fit it.

    The optimizer's state may stand beside it: nobody computes with both.
    Raises: ConfigError.
    """
    names = [part.name for part in parts]
    if PART not in names or not all(part.averaged for part in parts) or set(names) - {PART, "optimizer"}:
        raise ConfigError(
            f"compression: works where updates hold the part {PART} alone, and this strategy's hold "
            f"{', '.join(names)}; use compression none, or another strategy"
        )


def encode(
    tree: ParamTree, codec: Codec, residual: ParamTree | None = None, decay: float = 1.0
) -> tuple[EncodedTensors, ParamTree]:
    """Return tree + decay * residual, encoded, and what the encoding lost. residual: 0 where it has no such name.

    Raises: ParticipantError if the tree is not finite.
    """
    target = {name: _sum(tensor, (residual or {}).get(name), decay) for name, tensor in tree.items()}
    if not trees.is_finite(target):
        raise ParticipantError(f"its update holds NaN or infinite values in {PART}")
    return EncodedTensors({name: codec(tensor) for name, tensor in target.items()}), target


def _sum(tensor: Tensor, residual: Tensor | None, decay: float) -> Tensor:
    """Return a new, contiguous tensor of float32 at least."""
    dtype = torch.promote_types(tensor.dtype, torch.float32)
    total = torch.empty(tensor.shape, dtype=dtype, device=tensor.device)
    return total.copy_(tensor) if residual is None else torch.add(tensor, residual, alpha=decay, out=total)
