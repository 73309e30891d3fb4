"""A large JSON object read piece by piece: its lists element by element, in bounded memory."""

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from workers.truth.gather import shown
from workers.truth.jsonl import refuse_constant
from workers.truth.text import not_utf8, unreadable
from workers.truth.truth import TruthError

#: Read at once, in bytes. An element is about 500 bytes long, so few are looked at twice.
CHUNK_BYTES = 1 << 20
#: Longest element that is read, in characters: an outline of 100,000 points is shorter.
MAX_ELEMENT_CHARACTERS = 1 << 24

_SPACE = " \t\n\r"


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a list of the top object, or a value of it that is no list."""

    key: str
    #: Position in the list, from 0; None: the value is no list.
    index: int | None
    value: Any
    #: Where it stands, for messages.
    place: str


def read_elements(path: Path) -> Iterator[Element]:
    """Every element of every list under the keys of the object that a file holds.

    Raises:
        TruthError: the file is no JSON object.
    """
    try:
        with path.open("rb") as file:
            yield from _Stream(file, path.name).elements()
    except OSError as error:
        raise unreadable(path, error) from error


class _Stream:
    """The text not yet read, and how far the reading is."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self._name = file, name
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._json = json.JSONDecoder(parse_constant=refuse_constant)
        self._text, self._at, self._line = "", 0, 1
        self._is_whole = False

    def elements(self) -> Iterator[Element]:
        self._take("{", "an object")
        keys: set[str] = set()
        while self._next() != "}":
            key = self._key(keys)
            if self._next() == "[":
                yield from self._list(key)
            else:
                place = self._place(key, None)
                yield Element(key, None, self._value(place), place)
            self._comma("}")
        self._take("}", "an object")
        if self._next():
            self._fail("something follows the object")

    def _list(self, key: str) -> Iterator[Element]:
        self._take("[", "a list")
        index = 0
        while self._next() != "]":
            place = self._place(key, index)
            yield Element(key, index, self._value(place), place)
            index += 1
            self._comma("]")
        self._take("]", "a list")

    def _key(self, keys: set[str]) -> str:
        key = self._value(f"{self._name}, a key")
        if not isinstance(key, str):
            self._fail(f"a key must be text, is {shown(key)}")
        if key in keys:
            self._fail(f"the key {shown(key)} is there twice")
        keys.add(key)
        self._take(":", "a colon")
        return key

    def _comma(self, end: str) -> None:
        """Past the comma between two members; `end` may stand in its place."""
        if self._next() == end:
            return
        self._take(",", f"a comma or {end}")
        if self._next() == end:
            self._fail(f"a comma stands before {end}")

    def _value(self, place: str) -> Any:
        """The value that begins here. It is over for sure only when something follows it."""
        while True:
            self._next()
            error: ValueError | None = None
            try:
                value, end = self._json.raw_decode(self._text, self._at)
                if self._is_whole or end < len(self._text):
                    self._at = end
                    return value
            except RecursionError as deep:
                raise TruthError("truth_malformed", f"{place} is nested too deeply") from deep
            except ValueError as found:
                error = found
            if self._is_whole:
                raise TruthError(
                    "truth_malformed", f"{place} is not JSON: {self._reason(error)}"
                ) from error
            self._check_length(place)
            self._fill()

    def _reason(self, error: ValueError | None) -> str:
        """What the decoder said, with the line of the file; its own is that of the text at hand."""
        if isinstance(error, json.JSONDecodeError):
            return f"{error.msg}, line {self._line_at(error.pos)}"
        return f"{error}, line {self._line_at(self._at)}"

    def _check_length(self, place: str) -> None:
        if len(self._text) - self._at > MAX_ELEMENT_CHARACTERS:
            raise TruthError(
                "truth_malformed",
                f"{place}, line {self._line_at(self._at)} is not JSON, or has more than "
                f"{MAX_ELEMENT_CHARACTERS:,} characters",
            )

    def _next(self) -> str:
        """The next character that is no space, not taken; empty at the end."""
        while True:
            text, at = self._text, self._at
            while at < len(text) and text[at] in _SPACE:
                at += 1
            self._at = at
            if at < len(text):
                return text[at]
            if self._is_whole:
                return ""
            self._fill()

    def _take(self, character: str, what: str) -> None:
        found = self._next()
        if found != character:
            self._fail(f"{what} is missing, found {shown(found) if found else 'the end'}")
        self._at += 1

    def _fill(self) -> None:
        """Drop what was read and read on: as much again as is left, so long ones cost little."""
        self._line = self._line_at(self._at)
        self._text, self._at = self._text[self._at :], 0
        chunk = self._file.read(max(CHUNK_BYTES, len(self._text)))
        self._is_whole = not chunk
        try:
            self._text += self._decode(chunk, self._is_whole)
        except UnicodeDecodeError as error:
            line = self._line + self._text.count("\n") + error.object[: error.start].count(b"\n")
            raise not_utf8(self._name, line, error.object[error.start]) from error

    def _line_at(self, position: int) -> int:
        """The line of the file that a position of the text at hand is on."""
        return self._line + self._text.count("\n", 0, position)

    def _place(self, key: str, index: int | None) -> str:
        where = key if index is None else f"{key}[{index}]"
        return f"{self._name}, {where}"

    def _fail(self, reason: str) -> NoReturn:
        raise TruthError(
            "truth_malformed", f"{self._name}, line {self._line_at(self._at)} is not JSON: {reason}"
        )
