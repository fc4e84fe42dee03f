"""Documents as a causal language model reads them: tokens, and the bytes of text that each stands for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from foedus.tasks.encoding import ROWS_AT_ONCE


@dataclass(frozen=True)
class Document:
    """A document's tokens.

    text_bytes: for each token, how many UTF-8 bytes of the text end with it and not with an earlier one.
        They add up to the text's bytes up to the last token; special tokens stand for none.
    """

    tokens: Sequence[int]
    text_bytes: Sequence[int]


def read_documents(tokenizer: Any, texts: Sequence[str], max_tokens: int | None) -> Iterator[Document]:
    """Yield the documents, each followed by the end-of-text token, where the tokenizer has one.

    max_tokens: of a document; a longer one is cut off, and then has no end-of-text token.
    A tokenizer that is not a fast one does not say which text its tokens stand for: its bytes are 0.
    """
    end = tokenizer.eos_token_id
    for start in range(0, len(texts), ROWS_AT_ONCE):
        chunk = list(texts[start : start + ROWS_AT_ONCE])
        encoded = tokenizer(chunk, return_offsets_mapping=tokenizer.is_fast, verbose=False)
        for index, text in enumerate(chunk):
            tokens = list(encoded["input_ids"][index])
            spans = encoded["offset_mapping"][index] if tokenizer.is_fast else [(0, 0)] * len(tokens)
            text_bytes = _bytes_per_token(text, spans)
            if end is not None and tokens[-1:] != [end]:
                tokens.append(end)
                text_bytes.append(0)
            yield Document(tokens[:max_tokens], text_bytes[:max_tokens])


def pack(documents: Iterable[Document], block_size: int) -> Iterator[Document]:
    """Yield the documents one after the other, in blocks of block_size + 1 tokens; the last may be shorter.

    A block's last token is also the next one's first: so every token but the very first is predicted once.
    """
    tokens: list[int] = []
    text_bytes: list[int] = []
    for document in documents:
        tokens.extend(document.tokens)
        text_bytes.extend(document.text_bytes)
        begin = 0
        while len(tokens) - begin > block_size:
            yield Document(tokens[begin : begin + block_size + 1], text_bytes[begin : begin + block_size + 1])
            begin += block_size
        tokens, text_bytes = tokens[begin:], text_bytes[begin:]
    if len(tokens) > 1:
        yield Document(tokens, text_bytes)


def cut_blocks(rows: Iterable[Sequence[int]], separator: int | None, block_size: int) -> Iterator[Sequence[int]]:
    """Yield the rows one after the other, a separator behind each, in blocks of block_size; the last may be shorter.

    Unlike those of `pack`, the blocks share no token: a model that reads in both directions sees all of its own.

    >>> list(cut_blocks([[1, 2], [3]], separator=0, block_size=3))
    [[1, 2, 0], [3, 0]]
    """
    tokens: list[int] = []
    for row in rows:
        tokens.extend(row)
        if separator is not None:
            tokens.append(separator)
        whole = len(tokens) - len(tokens) % block_size
        yield from (tokens[begin : begin + block_size] for begin in range(0, whole, block_size))
        tokens = tokens[whole:]
    if tokens:
        yield tokens


def _bytes_per_token(text: str, spans: Iterable[tuple[int, int]]) -> list[int]:
    """Return the bytes of text between the furthest end so far and each token's own end.

    Text that the tokenizer dropped, such as white space, counts with the token after it; of tokens that
    share a character, the first has all its bytes.
    """
    counts, furthest = [], 0
    for _, end in spans:
        counts.append(len(text[furthest:end].encode("utf-8", "surrogatepass")))
        furthest = max(furthest, end)
    return counts
