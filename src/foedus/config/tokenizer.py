"""From `model` to a tokenizer: loaded, or made for the run from the participants' own texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from foedus.config import sections
from foedus.config.model import build_source
from foedus.config.sites import columns_of
from foedus.data.sites import Site
from foedus.engines.in_process import InProcessEngine
from foedus.models.byte_level import SPECIAL_TOKENS, byte_level_tokenizer
from foedus.models.byte_pairs import LearntMerges, WordPairs, learn_merges
from foedus.models.loading import load_tokenizer
from foedus.strategies.fedavg import fedavg
from foedus.tasks.encoding import text_column


@dataclass(frozen=True)
class BuiltTokenizer:
    """The run's tokenizer. notes: what a user should know of how it was made, one sentence each."""

    tokenizer: Any
    notes: tuple[str, ...] = ()


def build_tokenizer(config: sections.RunConfig, sites: Sequence[Site]) -> BuiltTokenizer:
    """Return the tokenizer; one that is learnt reads the participants' training texts, and nothing held out.

    Raises: ModelError or MissingExtra if there is none to load; DataError if texts cannot be counted.
    """
    closes = not isinstance(config.task, sections.CausalLM)
    match config.model:
        case sections.Architecture(tokenizer=sections.Bytes()):
            return BuiltTokenizer(byte_level_tokenizer(closes=closes))
        case sections.Architecture(tokenizer=sections.BPE() as chosen):
            learnt = _learn(chosen, columns_of(config.task).text, sites)
            return BuiltTokenizer(
                byte_level_tokenizer(learnt.merges, closes=closes), _notes(chosen, learnt, len(sites))
            )
        case _:
            return BuiltTokenizer(load_tokenizer(build_source(config)))


def require_tokenizer(config: sections.RunConfig) -> None:
    """Check that a tokenizer that is not made for the run can be loaded.

    Raises: ModelError or MissingExtra.
    """
    match config.model:
        case sections.Architecture(tokenizer=sections.Bytes() | sections.BPE()):
            return
    load_tokenizer(build_source(config))


def _learn(chosen: sections.BPE, columns: Sequence[str], sites: Sequence[Site]) -> LearntMerges:
    words = {
        site.name: WordPairs(text for name in columns for text in text_column(site.splits["train"], name))
        for site in sites
        if "train" in site.splits
    }
    # nobody trains in this stage, so any strategy's local half will do
    engine = InProcessEngine(fedavg().local, words)
    return learn_merges(engine, chosen.vocabulary - len(SPECIAL_TOKENS), chosen.merges_per_round)


def _notes(chosen: sections.BPE, learnt: LearntMerges, participants: int) -> tuple[str, ...]:
    tokens = len(byte_level_tokenizer(learnt.merges, closes=True))
    rounds = f"{learnt.rounds} round{'s' * (learnt.rounds != 1)}"
    notes = [
        f"the tokenizer's {len(learnt.merges)} merges were learnt from sums of counts in {rounds}; {participants} "
        f"participants sent {learnt.bytes_up / 1e6:.1f} MB in all, which no round's bytes hold"
    ]
    if tokens < chosen.vocabulary:
        notes.append(f"the tokenizer has {tokens} tokens, not {chosen.vocabulary}: no other pair occurs twice")
    notes += [f"{name} was left out of counting for the tokenizer: {why}" for name, why in learnt.left_out.items()]
    return tuple(notes)
