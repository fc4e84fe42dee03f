from typing import Any

import pytest
import torch

from foedus.core.errors import ConfigError
from foedus.core.seeds import SeedKey
from foedus.models.byte_level import byte_level_tokenizer
from foedus.tasks.generation import write_texts
from tiny_models import DECODERS, Family, tiny

KEY = SeedKey.from_seed(0)
TOKENIZER = byte_level_tokenizer(closes=False)


def model_of(family: Family = "gpt2", **overrides: Any) -> Any:
    ids = {"bos_token_id": TOKENIZER.bos_token_id, "eos_token_id": TOKENIZER.eos_token_id}
    model, _ = tiny(
        family, "causal_lm", vocab_size=len(TOKENIZER), pad_token_id=TOKENIZER.pad_token_id, **ids, **overrides
    )
    return model.eval()


def write(model: Any, prompt: str = "ab", **changes: Any) -> list[str]:
    settings: dict[str, Any] = {"samples": 1, "max_new_tokens": 20, "temperature": 1.0, "key": KEY}
    return write_texts(model, TOKENIZER, prompt, **settings | changes)


@pytest.mark.parametrize("family", DECODERS)
def test_the_same_key_writes_the_same_and_another_one_does_not(family: Family) -> None:
    model = model_of(family)
    assert write(model, samples=3) == write(model, samples=3)
    assert write(model) != write(model, key=SeedKey.from_seed(1))


def test_a_text_does_not_depend_on_how_many_others_there_are() -> None:
    model = model_of()
    assert write(model, samples=3)[:2] == write(model, samples=2)
    assert len(set(write(model, samples=3))) == 3


def test_drawing_leaves_pytorch_s_own_randomness_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    write(model_of())
    assert torch.equal(torch.rand(3), expected)


def test_temperature_zero_takes_the_likeliest() -> None:
    model = model_of()
    tokens = torch.tensor([TOKENIZER("ab")["input_ids"]])
    for _ in range(6):
        tokens = torch.cat([tokens, model(tokens).logits[:, -1:].argmax(-1)], dim=1)
    expected = TOKENIZER.decode(tokens[0, 3:], skip_special_tokens=True)
    assert write(model, temperature=0.0, max_new_tokens=6, samples=2) == [expected, expected]


def test_a_low_temperature_is_nearly_that() -> None:
    model = model_of()
    assert write(model, temperature=1e-4, max_new_tokens=6) == write(model, temperature=0.0, max_new_tokens=6)


def test_a_text_may_be_longer_than_the_context() -> None:
    model = model_of(max_position_embeddings=16)
    model.generation_config.eos_token_id = None  # so that nothing ends it early
    drawn = write(model, "a prompt that alone is longer than sixteen bytes", max_new_tokens=40, temperature=0.0)
    assert len(drawn[0].encode(errors="replace")) > 16


def test_a_text_ends_where_the_model_ends_it() -> None:
    model = model_of()
    torch.nn.init.zeros_(model.transformer.ln_f.weight)
    with torch.no_grad():
        model.transformer.ln_f.bias.copy_(1e5 * model.transformer.wte.weight[TOKENIZER.eos_token_id])
    assert write(model, max_new_tokens=30) == [""]


def test_nothing_is_a_prompt_too() -> None:
    assert len(write(model_of(), "")) == 1
    closed = byte_level_tokenizer(closes=True)  # a prompt is open, whatever the tokenizer puts behind a text
    settings: dict[str, Any] = {"samples": 1, "max_new_tokens": 5, "temperature": 1.0, "key": KEY}
    model = model_of()
    assert write_texts(model, closed, "ab", **settings) == write(model, "ab", max_new_tokens=5)


def test_a_negative_temperature_is_refused() -> None:
    with pytest.raises(ConfigError, match="the temperature is -1; use 0 or more"):
        write(model_of(), temperature=-1.0)
