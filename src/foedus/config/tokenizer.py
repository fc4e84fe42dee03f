"""From `model` to a tokenizer: loaded, or made for the run from the participants' own texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from foedus.config import sections
from foedus.config.model import build_source
from foedus.config.secure_sums import counting_sums
from foedus.config.sites import columns_of
from foedus.core.errors import ConfigError
from foedus.data.sites import Site
from foedus.engines.in_process import InProcessEngine
from foedus.federation.counting import collect_counts
from foedus.federation.protocols import Engine
from foedus.models.byte_level import SPECIAL_TOKENS, byte_level_tokenizer
from foedus.models.byte_pairs import CollectCounts, LearntMerges, WordPairs, learn_merges
from foedus.models.loading import load_tokenizer
from foedus.strategies.fedavg import fedavg
from foedus.tasks.encoding import text_column


@dataclass(frozen=True)
class Learnt:
    """What was learnt. notes: what a user should know of how, one sentence each."""

    merges: Sequence[tuple[int, int]]
    notes: tuple[str, ...]


def build_tokenizer(config: sections.RunConfig, merges: Sequence[tuple[int, int]] | None) -> Any:
    """Return the tokenizer. merges: of one that was learnt for the run.

    Raises: ModelError or MissingExtra if there is none to load.
    """
    closes = not isinstance(config.task, sections.CausalLM)
    match config.model:
        case sections.Architecture(tokenizer=sections.Bytes()):
            return byte_level_tokenizer(closes=closes)
        case sections.Architecture(tokenizer=sections.BPE()):
            assert merges is not None, "they are learnt before anything is built"
            return byte_level_tokenizer(merges, closes=closes)
        case _:
            return load_tokenizer(build_source(config))


def require_tokenizer(config: sections.RunConfig) -> None:
    """Check that a tokenizer that is not made for the run can be loaded.

    Raises: ModelError or MissingExtra.
    """
    match config.model:
        case sections.Architecture(tokenizer=sections.Bytes() | sections.BPE()):
            return
    load_tokenizer(build_source(config))


def learns_tokenizer(config: sections.RunConfig) -> bool:
    """Return whether the tokenizer is learnt from the participants' texts."""
    return isinstance(config.model, sections.Architecture) and isinstance(config.model.tokenizer, sections.BPE)


def learn_tokenizer(config: sections.RunConfig, engine: Engine, collect: CollectCounts = collect_counts) -> Learnt:
    """Return what was learnt from sums of the participants' counts: of their training texts, and nothing held out.

    engine: its participants answer requests for counts; see `words_of`. collect: how these become their sum.
    Raises: DataError if texts cannot be counted; ConfigError if they would be in the clear under secure_sum.
    """
    if collect is collect_counts and not isinstance(config.secure_sum, sections.PlainSum):
        raise ConfigError(
            "model.tokenizer: bpe would be learnt from counts in the clear, since this engine sums only updates "
            "securely so far; use bytes, a tokenizer that there is already, or one machine"
        )
    assert isinstance(config.model, sections.Architecture), "learns_tokenizer says so"
    chosen = config.model.tokenizer
    assert isinstance(chosen, sections.BPE), "learns_tokenizer says so"
    learnt = learn_merges(engine, chosen.vocabulary - len(SPECIAL_TOKENS), chosen.merges_per_round, collect)
    return Learnt(learnt.merges, _notes(chosen, learnt, len(engine.population())))


def words_of(config: sections.RunConfig, site: Site) -> WordPairs | None:
    """Return a participant's side of learning the tokenizer; None if it has nothing to learn from."""
    if "train" not in site.splits:
        return None
    return WordPairs(text for name in columns_of(config.task).text for text in text_column(site.splits["train"], name))


def learn_in_process(config: sections.RunConfig, sites: Sequence[Site]) -> Learnt:
    """Return what is learnt where all participants share this process."""
    words = {site.name: own for site in sites if (own := words_of(config, site)) is not None}
    # nobody trains in this stage, so any strategy will do
    if isinstance(config.secure_sum, sections.PlainSum):
        return learn_tokenizer(config, InProcessEngine(fedavg().local, words))
    sums, sides = counting_sums(config, fedavg(), list(words))
    return learn_tokenizer(config, InProcessEngine(fedavg().local, words, secure=sides), sums.collect_counts)


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
