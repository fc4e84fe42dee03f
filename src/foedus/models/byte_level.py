"""Tokenizers over bytes: they need nothing, read every text, and give it back to the letter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from foedus.models.byte_pairs import Merge, alphabet, spell
from foedus.models.foreign_calls import quiet_transformers

# Not <s> or [PAD]: a text may hold those, and a special token is one wherever it stands.
BEGIN, PAD, END, MASK = SPECIAL_TOKENS = ("<|begin|>", "<|pad|>", "<|end|>", "<|mask|>")
SMALLEST = len(SPECIAL_TOKENS) + 256  # tokens: every byte, and no merge


def byte_level_tokenizer(merges: Sequence[Merge] = (), *, closes: bool) -> Any:
    """Return a transformers tokenizer of the special tokens, the 256 bytes and what the merges make.

    It puts the begin token before a text, which classifiers read as CLS.
    closes: put the end token behind it too, as all tasks want but the continuing of a text, whose prompt is open.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names, _ = spell(merges)
    ids = {name: number for number, name in enumerate([*SPECIAL_TOKENS, *names])}
    assert len(alphabet()) == 256
    tokenizer = Tokenizer(models.BPE(ids, [(names[left], names[right]) for left, right in merges]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    end = f" {END}" if closes else ""
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A{end}",
        pair=f"{BEGIN} $A {END} $B:1{end and f'{end}:1'}",
        special_tokens=[(BEGIN, ids[BEGIN]), (END, ids[END])],
    )
    with quiet_transformers():
        return PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            bos_token=BEGIN,
            cls_token=BEGIN,
            eos_token=END,
            sep_token=END,
            pad_token=PAD,
            mask_token=MASK,
            clean_up_tokenization_spaces=False,
        )
