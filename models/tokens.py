"""Text to tokens: the word tokenizer of the bundled teacher, and token counts of any other."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

#: Tokens 0, 1 and 2 of every vocabulary.
PAD, START, END = 0, 1, 2
SPECIALS = ("<pad>", "<start>", "<end>")

_WORD = re.compile(r"\w+")


class WordTokenizer:
    """One token a word, from a closed list. Case and punctuation do not count.

    Attributes:
        words: the vocabulary; a word's index is its token.
        context_length: tokens in a row, start and end included.
    """

    def __init__(self, words: Sequence[str], context_length: int) -> None:
        if tuple(words[: len(SPECIALS)]) != SPECIALS:
            raise ValueError(f"a vocabulary begins with {SPECIALS}, not {tuple(words[:3])}")
        self.words = tuple(words)
        self.context_length = context_length
        self._tokens = {word: token for token, word in enumerate(self.words)}

    @classmethod
    def load(cls, path: Path, context_length: int) -> WordTokenizer:
        """The tokenizer of a `vocabulary.json`: a list of words, the three specials first."""
        return cls(json.loads(path.read_text(encoding="utf-8")), context_length)

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """(N, context_length) int64 tokens of texts that are known and short enough."""
        rows = torch.full((len(texts), self.context_length), PAD, dtype=torch.int64)
        for row, text in zip(rows, texts, strict=True):
            tokens = self.encode(text)
            row[: len(tokens)] = torch.tensor(tokens)
        return rows

    def encode(self, text: str) -> list[int]:
        """Start, one token a word, end. A KeyError for a word that is not in the vocabulary."""
        return [START, *(self._tokens[word] for word in split_words(text)), END]

    def unknown(self, text: str) -> list[str]:
        """The words of a text that are not in the vocabulary."""
        return [word for word in split_words(text) if word not in self._tokens]

    def nearest(self, word: str) -> list[str]:
        """Up to three known words that look like `word`."""
        return difflib.get_close_matches(word, self.words[len(SPECIALS) :], n=3)


def split_words(text: str) -> list[str]:
    """The words of a text in lower case: runs of letters and digits."""
    return _WORD.findall(text.lower())


def count_tokens(tokenizer: Any, text: str) -> int:
    """Tokens of a text, start and end included, before any truncation.

    open_clip's tokenizers cut a long text without a word; so the count is taken beneath them.
    """
    if hasattr(tokenizer, "encode"):  # open_clip's own BPE adds start and end only when called
        tokens = len(tokenizer.encode(text))
        return tokens if isinstance(tokenizer, WordTokenizer) else tokens + 2
    ids = tokenizer.tokenizer([tokenizer.clean_fn(text)], truncation=False, verbose=False)
    return len(ids["input_ids"][0])
