import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foedus.core.errors import ModelError
from foedus.core.seeds import SeedKey
from foedus.tasks.masked_lm import MaskedLM
from foedus.tasks.token_loss import IGNORED
from tiny_models import tiny_tokenizer
from tiny_tasks import ROWS

TOKENIZER = tiny_tokenizer("bert")
KEY = SeedKey.from_seed(0)


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
