from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from foedus.config.loading import load_config
from foedus.config.tokenizer import (
    Learnt,
    build_tokenizer,
    learn_in_process,
    learn_tokenizer,
    learns_tokenizer,
    require_tokenizer,
)
from foedus.core.errors import ConfigError, DataError, ModelError
from foedus.data.sites import Site
from foedus.engines.in_process import InProcessEngine
from foedus.models.byte_level import BEGIN, END, MASK
from foedus.strategies.fedavg import fedavg

CAUSAL = {"kind": "causal_lm", "text": "said"}
ROWS = ["hot hot hot pot", "the pot is hot"]


def site(name: str, rows: list[Any], split: str = "train", column: str = "said") -> Site:
    return Site(name, {split: pa.table({column: pa.array(rows)})})  # type: ignore[dict-item]  # one of the splits


@dataclass(frozen=True)
class Built:
    tokenizer: Any
    notes: tuple[str, ...]


def built(tokenizer: Any, sites: list[Site], task: dict[str, Any] = CAUSAL) -> Any:
    model = {"kind": "architecture", "type": "gpt2", "tokenizer": tokenizer}
    config = load_config({"task": task, "model": model, "participants": {"train": "*.csv"}})
    learnt = learn_in_process(config, sites) if learns_tokenizer(config) else Learnt([], ())
    return Built(build_tokenizer(config, learnt.merges), learnt.notes)


def test_pairs_that_are_frequent_over_all_participants_become_tokens() -> None:
    bpe = {"kind": "bpe", "vocabulary": 263, "merges_per_round": 2}
    apart, together = built(bpe, [site("a", ROWS[:1]), site("b", ROWS[1:])]), built(bpe, [site("a", ROWS)])
    assert apart.tokenizer.get_vocab() == together.tokenizer.get_vocab()
    assert len(apart.tokenizer) == 263
    assert "ot" in apart.tokenizer.get_vocab()
    assert apart.notes == (
        "the tokenizer's 3 merges were learnt from sums of counts in 2 rounds; 2 participants sent 2.1 MB in all, "
        "which no round's bytes hold",
    )


def test_under_masks_the_same_merges_are_learnt() -> None:
    bpe = {"kind": "bpe", "vocabulary": 263, "merges_per_round": 2}
    sites = [site("a", ROWS[:1]), site("b", ROWS[1:]), site("c", ROWS)]
    model = {"kind": "architecture", "type": "gpt2", "tokenizer": bpe}
    given = {"task": CAUSAL, "model": model, "participants": {"train": "*.csv"}}
    open_sums, masked = (
        learn_in_process(load_config(given | {"secure_sum": kind}), sites) for kind in ("none", "masks")
    )
    assert masked.merges == open_sums.merges
    assert len(masked.merges) == 3


def test_counts_in_the_clear_are_refused_where_sums_are_to_be_secure() -> None:
    bpe = {"kind": "bpe", "vocabulary": 263}
    model = {"kind": "architecture", "type": "gpt2", "tokenizer": bpe}
    config = load_config(
        {"task": CAUSAL, "model": model, "participants": {"train": "*.csv"}, "secure_sum": {"kind": "masks"}}
    )
    with pytest.raises(ConfigError, match="counts in the clear"):
        learn_tokenizer(config, InProcessEngine(fedavg().local, {}))


def test_held_out_texts_are_not_counted() -> None:
    held_out = site("b", ["zzz zzz zzz zzz"], split="test")
    with_them = built({"kind": "bpe", "vocabulary": 262}, [site("a", ROWS), held_out])
    assert not [token for token in with_them.tokenizer.get_vocab() if "zz" in token]


def test_both_texts_of_a_translation_are_counted() -> None:
    task = {"kind": "sequence_to_sequence", "source": "left", "target": "right"}
    rows = pa.table({"left": ["abab abab"], "right": ["xyxy xyxy"]})
    made = built({"kind": "bpe", "vocabulary": 264}, [Site("a", {"train": rows})], task)
    assert {"ab", "xy"} <= made.tokenizer.get_vocab().keys()
    assert made.tokenizer.convert_ids_to_tokens(made.tokenizer("ab")["input_ids"]) == [BEGIN, "ab", END]


def test_a_vocabulary_that_the_texts_cannot_fill_is_said_to_be_smaller() -> None:
    made = built({"kind": "bpe", "vocabulary": 4000}, [site("a", ["abab abab"])])
    assert len(made.tokenizer) == 262
    assert made.notes[1] == "the tokenizer has 262 tokens, not 4000: no other pair occurs twice"


def test_bytes_need_no_text() -> None:
    made = built("bytes", [])
    assert len(made.tokenizer) == 260
    assert made.notes == ()
    assert made.tokenizer.mask_token == MASK


def test_rows_without_text_are_refused_before_anything_is_counted() -> None:
    with pytest.raises(DataError, match="column 'said': 1 of 2 rows have no value"):
        built("bpe", [site("a", ["a", None])])


def test_an_existing_tokenizer_is_looked_for_and_one_that_is_made_is_not(tmp_path: Path) -> None:
    def config(tokenizer: Any) -> Any:
        model = {"kind": "architecture", "type": "gpt2", "tokenizer": tokenizer}
        return load_config({"task": CAUSAL, "model": model, "participants": {"train": "*.csv"}})

    require_tokenizer(config("bytes"))
    require_tokenizer(config("bpe"))
    with pytest.raises(ModelError):
        require_tokenizer(config(str(tmp_path / "none")))
