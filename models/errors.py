"""What can be wrong with a teacher's name, its weights, or the words it is asked about."""

from __future__ import annotations

from collections.abc import Sequence

#: The setting that names the folder in which weights are looked for first.
WEIGHTS_SETTING = "CCD_WEIGHTS"


class TeacherError(Exception):
    """A teacher or student cannot be had, or cannot be asked this.

    Attributes:
        code: a word for programs.
        message: what was wrong, with the value.
        hint: the next step.
    """

    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(f"{message}. {hint}" if hint else message)
        self.code = code
        self.message = message
        self.hint = hint


class UnknownTeacher(TeacherError):
    """No model has this name."""

    def __init__(self, name: str, nearest: Sequence[str] = ()) -> None:
        hint = (
            f"The nearest names are {', '.join(nearest)}."
            if nearest
            else "Write ARCH/TAG as open_clip lists them, for example ViT-B-16/openai."
        )
        super().__init__("unknown_teacher", f"there is no teacher {name!r}", hint)
        self.name = name
        self.nearest = tuple(nearest)


class WeightsMissing(TeacherError):
    """The weights of a known model are neither on this machine nor within reach.

    Attributes:
        what: the model.
        file: what was looked for.
        setting: the setting that names the folder to put it into.
    """

    def __init__(self, what: str, file: str, hint: str = "") -> None:
        super().__init__(
            "weights_missing",
            f"the weights of {what} cannot be had: {file} is missing",
            hint or f"Put it into the folder that {WEIGHTS_SETTING} names.",
        )
        self.what = what
        self.file = file
        self.setting = WEIGHTS_SETTING


class UnknownWords(TeacherError):
    """A teacher with a closed vocabulary was asked about words that it never saw."""

    def __init__(self, index: int, words: Sequence[str], nearest: Sequence[str]) -> None:
        listed = ", ".join(repr(word) for word in words)
        hint = f"The nearest words it knows are {', '.join(nearest)}." if nearest else ""
        message = f"class {index}: the teacher does not know {listed}"
        super().__init__("unknown_words", message, hint)
        self.index = index
        self.words = tuple(words)
        self.nearest = tuple(nearest)


class PromptTooLong(TeacherError):
    """A prompt has more tokens than the teacher's text tower can read."""

    def __init__(self, index: int, tokens: int, limit: int) -> None:
        super().__init__(
            "prompt_too_long",
            f"class {index}: its prompt has {tokens} tokens, the teacher reads {limit}",
            "Shorten the name or its prompts.",
        )
        self.index = index
        self.tokens = tokens
        self.limit = limit
