"""Writing one text from another: translations, summaries, answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa
import torch
from torch import Tensor, nn

from foedus.core.seeds import SeedKey
from foedus.federation.messages import Sums
from foedus.tasks.encoding import EncodedRows, pad, padding_mask, text_column, tokenise
from foedus.tasks.model_calls import compute_logits, generate_greedily
from foedus.tasks.token_loss import IGNORED, record_token_losses, token_loss, token_score, token_tally
from foedus.training.task import Batch, Example, Loss


@dataclass(frozen=True)
class SequenceToSequence:
    """Source texts to target texts, with an encoder and a decoder such as T5's or BART's.

    prefix: put before every source text.
    generate: also write the target without seeing it (greedily), when evaluating, and count how often it is
        right to the letter; slower than all the rest of the evaluation.
    """

    tokenizer: Any
    source: str
    target: str
    max_length: int
    max_target_length: int
    prefix: str = ""
    generate: bool = False

    auto_class: ClassVar[str] = "AutoModelForSeq2SeqLM"
    peft_task_type: ClassVar[str | None] = "SEQ_2_SEQ_LM"
    headline: ClassVar[str] = "perplexity"
    higher_is_better: ClassVar[bool] = False

    def encode(self, rows: pa.Table) -> Sequence[Example]:
        """Return source and target tokens, truncated.

        Raises: DataError if a row lacks one of the two.
        """
        sources = [self.prefix + text for text in text_column(rows, self.source)]
        targets = text_column(rows, self.target)
        read = tokenise(self.tokenizer, sources, max_length=self.max_length)["input_ids"]
        written = tokenise(self.tokenizer, targets, max_length=self.max_target_length, as_target=True)["input_ids"]
        return EncodedRows({"input_ids": read, "targets": written})

    def length(self, example: Example) -> int:
        """Return the tokens of source and target."""
        return len(example["input_ids"]) + len(example["targets"])

    def collate(self, examples: Sequence[Example], key: SeedKey | None = None) -> Batch:
        """Return sources and targets, each padded on the right; nothing is random."""
        sources = [example["input_ids"] for example in examples]
        return {
            "input_ids": pad(sources, self.tokenizer.pad_token_id),
            "attention_mask": padding_mask(sources),
            "targets": pad([example["targets"] for example in examples], IGNORED),
        }

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Return the cross-entropy summed over target tokens."""
        return token_loss(_teacher_forced_logits(model, batch), batch["targets"])

    def record_losses(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return each record's mean cross-entropy over its own target tokens."""
        return record_token_losses(_teacher_forced_logits(model, batch), batch["targets"])

    @torch.inference_mode()
    def tally(self, model: nn.Module, batch: Batch) -> Sums:
        """Return the sums of token_tally; with `generate` also the records, and those written exactly."""
        sums = token_tally(_teacher_forced_logits(model, batch), batch["targets"])
        if not self.generate:
            return sums
        exact, records = self._count_exact(model, batch), len(batch["targets"])
        return sums | {
            "exact": torch.tensor(exact, dtype=torch.float64),
            "records": torch.tensor(records, dtype=torch.float64),
        }

    def score(self, sums: Sums) -> Mapping[str, float]:
        """Return the metrics of token_score; with `generate` also exact_match, the share written exactly."""
        metrics = dict(token_score(sums))
        if metrics and "records" in sums:
            metrics["exact_match"] = float(sums["exact"]) / float(sums["records"])
        return metrics

    def _count_exact(self, model: nn.Module, batch: Batch) -> int:
        written = generate_greedily(model, batch["input_ids"], batch["attention_mask"], self.max_target_length)
        targets = batch["targets"].masked_fill(batch["targets"] == IGNORED, self.tokenizer.pad_token_id)
        pairs = zip(self._decode(written), self._decode(targets), strict=True)
        return sum(ours.strip() == theirs.strip() for ours, theirs in pairs)

    def _decode(self, tokens: Tensor) -> list[str]:
        texts: list[str] = self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return texts


def _teacher_forced_logits(model: nn.Module, batch: Batch) -> Tensor:
    """Return the logits at each target token, given the source and the target tokens before it.

    What the decoder reads is the target moved one place to the right, behind the model's start token; T5 and BART
    agree on that, and differ in the token.
    """
    config: Any = model.config
    targets = batch["targets"]
    shifted = targets.roll(1, dims=-1).masked_fill(targets.roll(1, dims=-1) == IGNORED, config.pad_token_id)
    shifted[:, 0] = config.decoder_start_token_id
    return compute_logits(model, {**batch, "decoder_input_ids": shifted})
