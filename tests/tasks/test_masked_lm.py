import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foedus.core.errors import ConfigError, ModelError
from foedus.core.seeds import SeedKey
from foedus.tasks.masked_lm import MaskedLM
from foedus.tasks.token_loss import IGNORED
from tiny_models import Family, tiny_tokenizer
from tiny_tasks import ROWS

TOKENIZER = tiny_tokenizer("bert")
KEY = SeedKey.from_seed(0)


FAMILIES: tuple[Family, ...] = ("bert", "roberta", "gpt2", "llama", "t5")


def packed(texts: list[str], max_length: int, family: Family = "bert") -> list[list[int]]:
    mlm = MaskedLM(tiny_tokenizer(family), "text", max_length, packing=True)
    if mlm.tokenizer.mask_token is None:
        mlm.tokenizer.mask_token = mlm.tokenizer.eos_token
    examples = mlm.encode(pa.table({"text": pa.array(texts, pa.string())}))
    return [example["input_ids"].tolist() for example in examples]


@given(st.lists(st.text("ab c", max_size=12), max_size=6), st.integers(4, 9), st.sampled_from(FAMILIES))
def test_packing_keeps_every_token_once_with_a_separator_behind_each_text(
    texts: list[str], max_length: int, family: Family
) -> None:
    tokenizer = tiny_tokenizer(family)
    end = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
    plain = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    blocks = packed(texts, max_length, family)
    around = tokenizer("a")["input_ids"]
    place = around.index(tokenizer("a", add_special_tokens=False)["input_ids"][0])
    before, after = around[:place], around[place + 1 :]
    assert all(block[: len(before)] == before for block in blocks)
    assert all(block[len(block) - len(after) :] == after for block in blocks)
    inner = [token for block in blocks for token in block[len(before) : len(block) - len(after)]]
    assert inner == [token for row in plain for token in (*row, end)]
    assert all(len(block) == max_length for block in blocks[:-1])
    assert all(len(block) <= max_length for block in blocks)


def test_a_separator_between_packed_texts_is_never_predicted() -> None:
    mlm = MaskedLM(TOKENIZER, "text", 12, 0.99, packing=True)
    batch = mlm.collate(mlm.encode(pa.table({"text": ["skin lung"] * 8})), KEY)
    assert not torch.isin(batch["targets"], torch.tensor(TOKENIZER.all_special_ids)).any()


def test_a_block_must_have_room_for_text() -> None:
    with pytest.raises(
        ConfigError, match=r"task\.max_length is 2, and the tokenizer puts 2 special tokens around each"
    ):
        packed(["skin"], 2)


def task(mask_probability: float = 0.15, max_length: int = 512) -> MaskedLM:
    return MaskedLM(TOKENIZER, "text", max_length, mask_probability)


@given(st.integers(1, 200), st.sampled_from([0.15, 0.5, 0.01]))
def test_the_rounded_share_of_tokens_is_predicted_and_at_least_one(words: int, share: float) -> None:
    mlm = task(share)
    (example,) = mlm.encode(pa.table({"text": ["skin " * words]}))
    targets = mlm.collate([example], KEY)["targets"]
    assert int((targets != IGNORED).sum()) == max(1, round(share * words))


@pytest.mark.parametrize("key", [None, KEY])
def test_special_tokens_and_padding_are_neither_changed_nor_predicted(key: SeedKey | None) -> None:
    mlm = task(0.99)
    examples = mlm.encode(ROWS)
    batch = mlm.collate(examples, key)
    for row, example in enumerate(examples):
        tokens = example["input_ids"]
        special = torch.isin(tokens, torch.tensor(TOKENIZER.all_special_ids, dtype=tokens.dtype))
        assert torch.equal(batch["input_ids"][row, : len(tokens)][special], tokens[special].long())
        assert (batch["targets"][row, : len(tokens)][special] == IGNORED).all()
        assert (batch["targets"][row, len(tokens) :] == IGNORED).all()


def test_what_is_not_chosen_is_read_as_it_is_and_targets_are_the_tokens() -> None:
    mlm = task()
    examples = mlm.encode(ROWS)
    batch = mlm.collate(examples, KEY)
    for row, example in enumerate(examples):
        tokens, targets = example["input_ids"].long(), batch["targets"][row, : len(example["input_ids"])]
        chosen = targets != IGNORED
        assert torch.equal(targets[chosen], tokens[chosen])
        assert torch.equal(batch["input_ids"][row, : len(tokens)][~chosen], tokens[~chosen])


def test_the_chosen_are_masked_replaced_and_kept_as_published() -> None:
    # 4,000 chosen of 8,000: each share is within 5 standard deviations unless 1 run in 10^6 fails; the seed is fixed.
    mlm = task(0.5, max_length=10_000)
    (example,) = mlm.encode(pa.table({"text": ["skin " * 8000]}))
    batch = mlm.collate([example], KEY)
    chosen = batch["targets"][0] != IGNORED
    read = batch["input_ids"][0][chosen]
    shares = {
        "masked": float((read == TOKENIZER.mask_token_id).double().mean()),
        "kept": float((read == TOKENIZER.convert_tokens_to_ids("skin")).double().mean()),
    }
    noise = 1 / len(TOKENIZER)  # a random token may be the mask token, or the one that was there
    for name, expected in (("masked", 0.8 + 0.1 * noise), ("kept", 0.1 + 0.1 * noise)):
        assert abs(shares[name] - expected) < 5 * (expected * (1 - expected) / 4000) ** 0.5
    random = read[(read != TOKENIZER.mask_token_id) & (read != TOKENIZER.convert_tokens_to_ids("skin"))]
    assert len(set(random.tolist())) > 0.8 * len(TOKENIZER)


def test_training_masks_follow_the_key() -> None:
    examples = task().encode(ROWS)
    one, same, other = (task().collate(examples, key) for key in (KEY, KEY, SeedKey.from_seed(1)))
    assert torch.equal(one["targets"], same["targets"])
    assert not torch.equal(one["targets"], other["targets"])


def test_two_equal_examples_of_a_training_batch_are_masked_apart() -> None:
    (example,) = task(0.5).encode(pa.table({"text": ["skin " * 40]}))
    batch = task(0.5).collate([example, example], KEY)
    assert not torch.equal(batch["targets"][0], batch["targets"][1])


def test_an_evaluation_mask_is_the_example_s_own_in_any_batch() -> None:
    examples = task().encode(ROWS)
    whole = task().collate(examples)
    for row, example in enumerate(examples):
        alone = task().collate([example])
        length = len(example["input_ids"])
        assert torch.equal(alone["targets"][0], whole["targets"][row, :length])
        assert torch.equal(alone["input_ids"][0], whole["input_ids"][row, :length])


def test_a_tokenizer_without_a_mask_token_is_refused() -> None:
    with pytest.raises(ModelError, match="causal_lm"):
        MaskedLM(tiny_tokenizer("gpt2"), "text", 8).encode(ROWS)


def test_a_text_without_words_has_nothing_to_predict() -> None:
    (example,) = task().encode(pa.table({"text": [""]}))
    assert (task().collate([example])["targets"] == IGNORED).all()
