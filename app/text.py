"""Text that users give us: what a name may hold, and how two names are compared."""

import difflib
import unicodedata
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from app.errors import REFUSED, shown

#: Joiners inside emoji and words of some scripts: invisible, but part of the spelling.
JOINERS = frozenset("\u200c\u200d")
#: Control characters, invisible and bidirectional marks, line breaks, lone surrogates.
BANNED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
#: Names that a message offers in place of a wrong one.
MAX_NEAR = 3


def refused(reason: str) -> PydanticCustomError:
    """A pydantic error whose message is `reason` and nothing else."""
    return PydanticCustomError(REFUSED, "{reason}", {"reason": reason})


def bad_character(text: str) -> str | None:
    """Why `text` is no plain line of text, or None if it is one."""
    for position, character in enumerate(text):
        if unicodedata.category(character) in BANNED_CATEGORIES and character not in JOINERS:
            return (
                f"has the control or invisible character U+{ord(character):04X} "
                f"at position {position}"
            )
    return None


def check_line(text: str, *, max_characters: int) -> str:
    """Why `text` is no line of 1 to `max_characters` characters; empty if it is one."""
    if not text:
        return "is empty"
    if len(text) > max_characters:
        return f"has {len(text):,} characters, {max_characters:,} are allowed"
    return bad_character(text) or ""


def is_unicode(text: str) -> bool:
    """Whether `text` can be written as UTF-8: JSON's escapes can spell half a character."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def plain(text: str) -> str:
    """`text` as it is kept: NFC, without white space at its ends."""
    return unicodedata.normalize("NFC", text).strip()


def same_key(name: str) -> str:
    """Two names are the same class if this is the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def near_names(wanted: str, names: Sequence[str], *, called: str = "classes") -> str:
    """For a message about a name that is none of `names`: those like it, else some of them."""
    keys = [same_key(name) for name in names]
    near = difflib.get_close_matches(same_key(wanted), keys, n=MAX_NEAR)
    listed = [names[keys.index(key)] for key in near] or names[:MAX_NEAR]
    of_all = f"its {called}" if len(names) <= MAX_NEAR else f"some of its {called}"
    return f"{'the nearest' if near else of_all} are {', '.join(map(shown, listed))}"


def _checked_name(name: str) -> str:
    name = plain(name)
    if reason := check_line(name, max_characters=200):
        raise refused(reason)
    return name


#: What a user calls a dataset, job or prediction.
Name = Annotated[
    str,
    AfterValidator(_checked_name),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 200}),
]
