"""Text to tokens: the word tokenizer of the bundled teacher, and what any other may be asked.

No torch: whoever takes an order for the bundled teacher can tell whether it knows the words.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from models.config import DistillConfig
from models.errors import PromptTooLong, TeacherError, UnknownWords
from models.prompts import ClassPrompt, background_classes, class_texts

#: Folders of the teachers that come with the project.
BUNDLED = {"bundled:tiny": Path(__file__).parent / "weights" / "tiny"}
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

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """`context_length` tokens of each text; they are known and short enough."""
        rows = map(self.encode, texts)
        return [row + [PAD] * (self.context_length - len(row)) for row in rows]

    def encode(self, text: str) -> list[int]:
        """Start, one token a word, end. A KeyError for a word that is not in the vocabulary."""
        return [START, *(self._tokens[word] for word in split_words(text)), END]

    def unknown(self, text: str) -> list[str]:
        """The words of a text that are not in the vocabulary."""
        return [word for word in split_words(text) if word not in self._tokens]

    def nearest(self, word: str) -> list[str]:
        """Up to three known words that look like `word`."""
        return difflib.get_close_matches(word, self.words[len(SPECIALS) :], n=3)


def word_tokenizer(folder: Path) -> WordTokenizer | None:
    """That of a teacher's folder; None where its vocabulary is not closed."""
    vocabulary = folder / "vocabulary.json"
    if not vocabulary.is_file():
        return None
    words = json.loads(vocabulary.read_text(encoding="utf-8"))
    config = json.loads((folder / "open_clip_config.json").read_text(encoding="utf-8"))
    return WordTokenizer(words, config["model_cfg"]["text_cfg"]["context_length"])


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


def check_texts(tokenizer: Any, classes: Sequence[ClassPrompt], templates: Sequence[str]) -> None:
    """Nothing, or the error of the first class that the teacher cannot be asked about.

    Raises:
        UnknownWords: a word is not in a closed vocabulary.
        PromptTooLong: a prompt has too many tokens.
    """
    for index, class_ in enumerate(classes):
        for text in class_texts(class_, templates):
            if isinstance(tokenizer, WordTokenizer) and (unknown := tokenizer.unknown(text)):
                nearest = [word for u in unknown for word in tokenizer.nearest(u)]
                raise UnknownWords(index, unknown, nearest)
            tokens = count_tokens(tokenizer, text)
            if tokens > tokenizer.context_length:
                raise PromptTooLong(index, tokens, tokenizer.context_length)


def check_names(
    check: Callable[[Sequence[ClassPrompt], Sequence[str]], None],
    classes: Sequence[ClassPrompt],
    config: DistillConfig,
) -> None:
    """Refuse what the teacher, which is asked by `check`, cannot be asked about.

    Raises:
        TeacherError: by the first of the classes, or by the background names.
    """
    check(classes, config.templates)
    if not config.background:
        return
    background = background_classes([class_.name for class_ in classes], config.min_names)
    try:
        check(background, config.templates)
    except TeacherError as error:
        raise TeacherError(
            "background_unknown",
            f"{config.teacher} cannot be asked about the background names",
            "Set background to false in config, and name at least 2 classes.",
        ) from error
