"""Continuing a text: each token is predicted from those before it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa
import torch
from torch import Tensor, nn

from foedus.core.seeds import SeedKey
from foedus.federation.messages import Sums
from foedus.tasks.documents import pack, read_documents
from foedus.tasks.encoding import EncodedRows, RaggedTensor, pad, padding_mask, text_column
from foedus.tasks.model_calls import compute_logits
from foedus.tasks.token_loss import IGNORED, record_token_losses, token_loss, token_score, token_tally
from foedus.training.task import Batch, Example, Loss


@dataclass(frozen=True)
class CausalLM:
    """Texts to their next tokens.

    max_length: tokens that the model sees at once.
    packing: False makes one example of each document, and cuts off what is longer than max_length. True
        puts the documents of a participant one after the other, with the end-of-text token between them,
        and cuts blocks of max_length from that: nothing is lost or padded, and a block may hold the end
        of one document and the beginning of the next, as in pre-training. Documents of two participants never meet.

    The model reads all tokens of an example but the last, and predicts all but the first.
    """

    tokenizer: Any
    text: str
    max_length: int
    packing: bool = False

    auto_class: ClassVar[str] = "AutoModelForCausalLM"
    peft_task_type: ClassVar[str | None] = "CAUSAL_LM"
    headline: ClassVar[str] = "perplexity"
    higher_is_better: ClassVar[bool] = False

    def encode(self, rows: pa.Table) -> Sequence[Example]:
        """Return examples of at least two tokens; a document of fewer has nothing to predict and is left out.

        Raises: DataError if a row has no text.
        """
        texts = text_column(rows, self.text)
        limit = None if self.packing else self.max_length + 1
        documents = read_documents(self.tokenizer, texts, limit)
        examples = pack(documents, self.max_length) if self.packing else documents
        kept = [(example.tokens, sum(example.text_bytes[1:])) for example in examples if len(example.tokens) > 1]
        tokens = RaggedTensor.from_rows(tokens for tokens, _ in kept)
        return EncodedRows({"tokens": tokens}, {"text_bytes": torch.tensor([n for _, n in kept], dtype=torch.int64)})

    def length(self, example: Example) -> int:
        """Return the tokens that are predicted."""
        return len(example["tokens"]) - 1

    def collate(self, examples: Sequence[Example], key: SeedKey | None = None) -> Batch:
        """Return the examples padded on the right, with targets one place ahead; nothing is random."""
        read = [example["tokens"][:-1] for example in examples]
        return {
            "input_ids": pad(read, self.tokenizer.pad_token_id),
            "attention_mask": padding_mask(read),
            "targets": pad([example["tokens"][1:] for example in examples], IGNORED),
            "text_bytes": torch.stack([example["text_bytes"] for example in examples]),
        }

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Return the cross-entropy summed over predicted tokens."""
        return token_loss(compute_logits(model, batch), batch["targets"])

    def record_losses(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return each record's mean cross-entropy over its own predicted tokens; a packed block is one record."""
        return record_token_losses(compute_logits(model, batch), batch["targets"])

    @torch.inference_mode()
    def tally(self, model: nn.Module, batch: Batch) -> Sums:
        """Return the sums of token_tally, and the UTF-8 bytes that the predicted tokens stand for."""
        sums = token_tally(compute_logits(model, batch), batch["targets"])
        return sums | {"text_bytes": batch["text_bytes"].sum().cpu().double()}

    def score(self, sums: Sums) -> Mapping[str, float]:
        """Return the metrics of token_score, and bits_per_byte, which models of other tokenizers can be compared by.

        bits_per_byte: the summed loss in bits over the bytes of text that the predicted tokens stand for. An
            end-of-text token costs bits and stands for no byte. A document's first token is not predicted,
            unless the tokenizer puts a special token before it, so its bytes do not count.
        """
        metrics = dict(token_score(sums))
        if metrics and float(sums["text_bytes"]) > 0:
            metrics["bits_per_byte"] = float(sums["loss"]) / math.log(2) / float(sums["text_bytes"])
        return metrics
