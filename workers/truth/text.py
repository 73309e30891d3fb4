"""Lines of a text file with their numbers: UTF-8, of bounded length."""

from collections.abc import Iterator
from pathlib import Path

from workers.truth.truth import TruthError

#: Longest line that is read, in bytes: one image with 10,000 labels is shorter.
MAX_LINE_BYTES = 1 << 24

_UTF8_BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, line with its end) of every line.

    Raises:
        TruthError: the file cannot be read, is no UTF-8, or has a line that is too long.
    """
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                yield number, _decoded(line, number, path.name)
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> TruthError:
    """The error of a file that the system does not give."""
    return TruthError("truth_unreadable", f"{path.name} cannot be read: {error.strerror or error}")


def not_utf8(name: str, line: int, byte: int) -> TruthError:
    """The error of a byte that no UTF-8 has there."""
    return TruthError(
        "truth_encoding",
        f"{name}, line {line}: the byte 0x{byte:02X} is no UTF-8",
        "Save the file as UTF-8.",
    )


def _decoded(line: bytes, number: int, name: str) -> str:
    if len(line) > MAX_LINE_BYTES:
        raise TruthError(
            "truth_too_large",
            f"{name}, line {number} has more than {MAX_LINE_BYTES:,} bytes",
            "One line is one image.",
        )
    if number == 1:
        if line.startswith(_UTF16_BOMS):
            raise not_utf8(name, 1, line[0])
        line = line.removeprefix(_UTF8_BOM)
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise not_utf8(name, number, line[error.start]) from error


def folders_below(top: Path, depth: int) -> Iterator[Path]:
    """`top` and the folders in it, `depth` levels deep, sorted; links are not followed."""
    yield top
    if depth:
        for path in sorted(top.iterdir()):
            if path.is_dir() and not path.is_symlink():
                yield from folders_below(path, depth - 1)
