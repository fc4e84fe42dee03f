import json
from collections import Counter
from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from foedus.core.errors import DataError
from foedus.engines.in_process import InProcessEngine
from foedus.federation.messages import CountPairs, Counts
from foedus.federation.protocols import LocalTask, PairCounter
from foedus.models.byte_pairs import (
    Merge,
    WordPairs,
    alphabet,
    choose_merges,
    join,
    learn_merges,
    spell,
)
from foedus.scenarios.plays import load_plays
from foedus.strategies.fedavg import fedavg

TEXTS = st.lists(st.text("abcd e", max_size=20), max_size=8)
SITES = st.lists(TEXTS, min_size=1, max_size=4)
VERSES = [
    "the cat sat on the mat and the other cat sat on the hat",
    "banana bandana, cabana! ananas",
    "Ärzte heilen, während Öl fließt; Öl heilt nicht",
    "aaaaaaa aaaa aaa aa a",
]


def engine_of(sites: Sequence[Sequence[str]]) -> InProcessEngine:
    return InProcessEngine(fedavg().local, {f"site-{number}": WordPairs(texts) for number, texts in enumerate(sites)})


def central(texts: Sequence[str], units: int) -> list[tuple[str, str]]:
    """Return the merges of tokenizers' own trainer on the pooled texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=units,
        min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return [(left, right) for left, right in json.loads(tokenizer.to_str())["model"]["merges"]]


def spelt(merges: Sequence[Merge]) -> list[tuple[str, str]]:
    names, _ = spell(merges)
    return [(names[left], names[right]) for left, right in merges]


@given(SITES, st.integers(257, 300))
@settings(deadline=None)
def test_one_merge_a_round_is_central_training_on_the_pooled_texts(sites: list[list[str]], units: int) -> None:
    learnt = learn_merges(engine_of(sites), units, merges_per_round=1)
    assert spelt(learnt.merges) == central([text for texts in sites for text in texts], units)


def test_central_training_on_real_texts_gives_the_same_hundred_merges() -> None:
    scenario = load_plays("role", participants=5)
    sites = [site.splits["train"]["text"].to_pylist() for site in scenario.sites]
    learnt = learn_merges(engine_of(sites), 356, merges_per_round=1)
    assert learnt.rounds == len(learnt.merges) == 100
    assert spelt(learnt.merges) == central([text for texts in sites for text in texts], 356)


def test_many_merges_a_round_give_nearly_the_same_units_in_a_few_rounds() -> None:
    scenario = load_plays("role", participants=5)
    engine = engine_of([site.splits["train"]["text"].to_pylist() for site in scenario.sites])
    slow, fast = learn_merges(engine, 356, 1), learn_merges(engine, 356, 16)
    assert fast.rounds == 7
    assert len(set(spell(slow.merges)[0]) & set(spell(fast.merges)[0])) > 256 + 85


@given(SITES, st.integers(1, 8))
@settings(deadline=None)
def test_how_the_texts_lie_with_participants_changes_nothing(sites: list[list[str]], merges_per_round: int) -> None:
    apart = learn_merges(engine_of(sites), 290, merges_per_round)
    together = learn_merges(engine_of([[text for texts in sites for text in texts]]), 290, merges_per_round)
    assert apart.merges == together.merges


@given(TEXTS, st.lists(st.integers(0, 4), max_size=6))
@settings(deadline=None)
def test_counts_are_those_of_a_slow_count(texts: list[str], picks: list[int]) -> None:
    words = [list(word) for text in texts for word, _ in pre_tokenizers.ByteLevel(False).pre_tokenize_str(text)]
    counter = WordPairs(texts)
    merges: list[Merge] = []
    for pick in [*picks, 0]:
        names, _ = spell(merges)
        counted = counter.count_pairs(merges).view(len(names), len(names))
        slow = Counter(pair for word in words for pair in pairwise(word))
        assert {(names[a], names[b]): int(counted[a, b]) for a, b in counted.nonzero().tolist()} == dict(slow)
        if not slow:
            return
        left, right = sorted(slow)[pick % len(slow)]
        merges.append((names.index(left), names.index(right)))
        words = [merged(word, left, right) for word in words]


def merged(word: list[str], left: str, right: str) -> list[str]:
    units: list[str] = []
    rest = word
    while rest:
        if rest[:2] == [left, right]:
            units, rest = [*units, left + right], rest[2:]
        else:
            units, rest = [*units, rest[0]], rest[1:]
    return units


@given(st.lists(st.integers(0, 50), min_size=36, max_size=36), st.integers(1, 10))
def test_merges_of_one_round_cannot_overlap_in_a_text(counts: list[int], most: int) -> None:
    chosen = choose_merges(torch.tensor(counts), 6, most)
    assert len(chosen) <= most
    assert all(first[1] != second[0] and second[1] != first[0] for first, second in combinations(chosen, 2))
    if chosen:
        assert counts[chosen[0][0] * 6 + chosen[0][1]] == max(counts)
    assert all(counts[left * 6 + right] >= 2 for left, right in chosen)


def test_of_equally_frequent_pairs_those_of_lower_numbers_come_first() -> None:
    counts = torch.zeros(16, dtype=torch.int64)
    counts[[2 * 4 + 3, 0 * 4 + 1]] = 7
    assert choose_merges(counts, 4, 2) == [(0, 1), (2, 3)]


def test_merging_goes_from_left_to_right() -> None:
    units = np.array([5, 5, 5, 5, 5, -1, 5, 5, 7, -1])
    joined, counts = join(units, np.arange(10), (5, 5), 8)
    assert joined.tolist() == [8, 8, 5, -1, 8, 7, -1]
    assert counts.tolist() == [0, 2, 4, 5, 6, 8, 9]


def test_a_counter_asked_for_other_merges_starts_anew() -> None:
    counter, fresh = WordPairs(VERSES), WordPairs(VERSES)
    letters = {name: number for number, name in enumerate(alphabet())}
    counter.count_pairs([(letters["a"], letters["n"])])
    other = [(letters["t"], letters["h"])]
    assert torch.equal(counter.count_pairs(other), fresh.count_pairs(other))


def test_learning_ends_where_no_pair_occurs_twice() -> None:
    learnt = learn_merges(engine_of([["ab"], ["cd ab"]]), 1000, 4)
    assert spelt(learnt.merges) == [("a", "b")]
    assert learn_merges(engine_of([[]]), 1000, 4).merges == []


def test_bytes_are_those_of_plain_vectors() -> None:
    learnt = learn_merges(engine_of([VERSES, VERSES]), 258, 1)
    assert learnt.rounds == 2
    assert learnt.bytes_up == 2 * 8 * (256**2 + 257**2)
    assert learnt.bytes_down == 2 * (0 + 2 * 8)


class Broken:
    def count_pairs(self, merges: Sequence[Merge]) -> torch.Tensor:
        raise OSError("the disk is gone")


class Short:
    def count_pairs(self, merges: Sequence[Merge]) -> torch.Tensor:
        return torch.zeros(3, dtype=torch.int64)


def test_a_participant_that_cannot_count_is_left_out_with_a_reason() -> None:
    counters: dict[str, LocalTask | PairCounter] = {"a": WordPairs(VERSES), "b": Broken(), "c": Short()}
    learnt = learn_merges(InProcessEngine(fedavg().local, counters), 260, 2)
    assert learnt.merges == learn_merges(engine_of([VERSES]), 260, 2).merges
    assert set(learnt.left_out) == {"b", "c"}
    assert "OSError" in learnt.left_out["b"]
    assert learnt.left_out["c"].startswith("it counted in (3,) numbers of torch.int64, but 6")


def test_nobody_to_count_is_an_error() -> None:
    with pytest.raises(DataError, match=r"cannot learn a tokenizer: no participant could count .*\(a: .*OSError"):
        learn_merges(InProcessEngine(fedavg().local, {"a": Broken()}), 260, 2)


def test_a_participant_answers_with_counts_alone() -> None:
    engine: Any = engine_of([VERSES])
    ((_, reply),) = engine.exchange({"site-0": CountPairs(())})
    assert isinstance(reply, Counts)
    assert reply.values.dtype == torch.int64
    assert reply.values.shape == (256**2,)
