"""Filling the gaps of a text: masked tokens are predicted from all others."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa
import torch
from torch import Tensor, nn

from foedus.core.errors import ConfigError, ModelError
from foedus.core.seeds import SeedKey
from foedus.federation.messages import Sums
from foedus.tasks.documents import cut_blocks
from foedus.tasks.encoding import (
    EncodedRows,
    RaggedTensor,
    pad,
    padding_mask,
    plain_tokens,
    surrounding_tokens,
    text_column,
    tokenise,
)
from foedus.tasks.model_calls import compute_logits
from foedus.tasks.token_loss import IGNORED, sparse_record_token_losses, sparse_token_loss, token_score, token_tally
from foedus.training.task import Batch, Example, Loss


@dataclass(frozen=True)
class MaskedLM:
    """Texts to their masked tokens.

    mask_probability: share of an example's tokens that are predicted: the rounded share, but at least one; special
        tokens never. Of the chosen, 80 % are replaced by the mask token, 10 % by a random one, and 10 % stay.
    packing: False makes one example of each text, and cuts off what is longer than max_length. True puts the texts of
        a participant one after the other, with the tokenizer's separator between them, cuts blocks from that, and
        puts the special tokens around each that stand around a text: nothing is lost, and no two participants meet.
    Source: Devlin et al. 2018, arXiv:1810.04805, section 3.1, and its create_pretraining_data.py; packing as the
        FULL-SENTENCES of Liu et al. 2019, arXiv:1907.11692, section 4.2, without the separator's double.
    """

    tokenizer: Any
    text: str
    max_length: int
    mask_probability: float = 0.15
    packing: bool = False

    auto_class: ClassVar[str] = "AutoModelForMaskedLM"
    peft_task_type: ClassVar[str | None] = None
    headline: ClassVar[str] = "perplexity"
    higher_is_better: ClassVar[bool] = False

    def encode(self, rows: pa.Table) -> Sequence[Example]:
        """Return tokens, truncated to max_length, or packed in blocks of it.

        Raises: DataError if a row has no text. ModelError if the tokenizer has no mask token. ConfigError if
            max_length leaves no room for text in a block.
        """
        if self.tokenizer.mask_token_id is None:
            raise ModelError(
                "the tokenizer has no mask token, so the model cannot fill gaps. Use task.kind: causal_lm, or a model "
                "such as bert or roberta"
            )
        texts = text_column(rows, self.text)
        if self.packing:
            return EncodedRows({"input_ids": RaggedTensor.from_rows(self._blocks(texts))})
        return EncodedRows(tokenise(self.tokenizer, texts, max_length=self.max_length))

    def _blocks(self, texts: Sequence[str]) -> Iterator[Sequence[int]]:
        before, after = surrounding_tokens(self.tokenizer)
        room = self.max_length - len(before) - len(after)
        if room < 1:
            raise ConfigError(
                f"task.max_length is {self.max_length}, and the tokenizer puts {len(before) + len(after)} special "
                "tokens around each block, which leaves no room for text; use more"
            )
        separator = self.tokenizer.sep_token_id
        end = self.tokenizer.eos_token_id if separator is None else separator
        for block in cut_blocks(plain_tokens(self.tokenizer, texts), end, room):
            yield [*before, *block, *after]

    def length(self, example: Example) -> int:
        """Return the tokens of the text."""
        return len(example["input_ids"])

    def collate(self, examples: Sequence[Example], key: SeedKey | None = None) -> Batch:
        """Return the examples masked and padded on the right.

        key: draws the mask. None takes each example's mask from its own tokens, so that it is always the same.
        """
        special = torch.tensor(sorted(self.tokenizer.all_special_ids))
        tokens = [example["input_ids"].long() for example in examples]
        keys = [_key_of(row) if key is None else key.child(index) for index, row in enumerate(tokens)]
        masked = [self._mask(row, torch.isin(row, special), k) for row, k in zip(tokens, keys, strict=True)]
        return {
            "input_ids": pad([inputs for inputs, _ in masked], self.tokenizer.pad_token_id),
            "attention_mask": padding_mask(tokens),
            "targets": pad([targets for _, targets in masked], IGNORED),
        }

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Return the cross-entropy summed over the chosen tokens."""
        return sparse_token_loss(compute_logits(model, batch), batch["targets"])

    def record_losses(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return each record's mean cross-entropy over its own chosen tokens; a packed block is one record."""
        return sparse_record_token_losses(compute_logits(model, batch), batch["targets"])

    @torch.inference_mode()
    def tally(self, model: nn.Module, batch: Batch) -> Sums:
        """Return the sums of token_tally over the chosen tokens."""
        return token_tally(compute_logits(model, batch), batch["targets"])

    def score(self, sums: Sums) -> Mapping[str, float]:
        """Return the metrics of token_score; perplexity is that of the chosen tokens given all others."""
        return token_score(sums)

    def _mask(self, tokens: Tensor, is_special: Tensor, key: SeedKey) -> tuple[Tensor, Tensor]:
        """Return what the model reads and what it shall predict."""
        generator = key.torch()
        places = (~is_special).nonzero().flatten()
        count = min(len(places), max(1, round(self.mask_probability * len(places))))
        chosen = places[torch.randperm(len(places), generator=generator)[:count]]
        fate = torch.rand(count, generator=generator)
        inputs, targets = tokens.clone(), torch.full_like(tokens, IGNORED)
        targets[chosen] = tokens[chosen]
        inputs[chosen[fate < 0.8]] = self.tokenizer.mask_token_id
        random = torch.randint(len(self.tokenizer), (count,), generator=generator)
        is_random = (fate >= 0.8) & (fate < 0.9)
        inputs[chosen[is_random]] = random[is_random]
        return inputs, targets


def _key_of(tokens: Tensor) -> SeedKey:
    """Return a key that depends on the tokens alone."""
    return SeedKey(hashlib.sha256(b"masked_lm evaluation" + tokens.numpy().tobytes()).digest())
