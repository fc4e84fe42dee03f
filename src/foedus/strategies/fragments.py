"""A model's parameters in fragments of whole blocks, for strategies that send one after the other."""

from __future__ import annotations

import re
from collections.abc import Sequence

from foedus.core.errors import ConfigError
from foedus.core.trees import ParamTree

# The first whole number in a dotted name counts the blocks of a stack: transformer.h.3.mlp.c_fc.weight
_BLOCK = re.compile(r"(?P<stack>.*?)(?:^|\.)(?P<number>\d+)\.")


def fragments_of(params: ParamTree, count: int) -> Sequence[Sequence[str]]:
    """Return names of the parameters in `count` fragments, which have each of them once.

    Block i of a stack is in fragment i mod count, so that each fragment has early and late ones (strided); of an
    encoder and a decoder, the second goes on counting. What is in no block (embeddings, the last norm, the head) is
    put, the largest first, where there is least. The order of the tree's names does not matter.
    Source: Douillard et al. 2025, section 3.1, arXiv:2501.18512.
    Raises: ConfigError if a fragment would be empty.
    """
    block_of = {name: (match["stack"], int(match["number"])) for name in params if (match := _BLOCK.match(name))}
    place = {block: number % count for number, block in enumerate(sorted(set(block_of.values())))}
    fragments: list[list[str]] = [[] for _ in range(count)]
    for name in sorted(block_of):
        fragments[place[block_of[name]]].append(name)
    sizes = [sum(params[name].numel() for name in fragment) for fragment in fragments]
    for name in sorted(params.keys() - block_of.keys(), key=lambda name: (-params[name].numel(), name)):
        smallest = min(range(count), key=lambda i: sizes[i])
        fragments[smallest].append(name)
        sizes[smallest] += params[name].numel()
    if not all(fragments):
        most = sum(1 for fragment in fragments if fragment)
        raise ConfigError(
            f"strategy.streaming.fragments is {count}, but what is sent of the model has {len(place)} blocks and "
            f"{len(params) - len(block_of)} tensors in none; use at most {most}"
        )
    return fragments
