"""Answers that depend on request headers: ETag, Range, Accept, Prefer."""

import re
from collections.abc import Sequence
from typing import Annotated

from fastapi import Header

from app.errors import Problem

#: The longest a client may ask a call to wait for its result, in seconds.
MAX_WAIT_SECONDS = 60

#: What a change may be bound to.
IfMatch = Annotated[
    str | None, Header(description="The ETag of the version that the call is about; else any.")
]

#: More digits than any file has bytes, and fewer than Python refuses to read as a number.
_RANGE = re.compile(r"\s*([0-9]{0,100})\s*-\s*([0-9]{0,100})\s*")
_WAIT = re.compile(r"wait\s*=\s*\"?(\d{1,9})\"?", re.IGNORECASE)
_QUALITY = re.compile(r";\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*$", re.IGNORECASE)


def is_unchanged(if_none_match: str | None, etag: str) -> bool:
    """Whether the client has this version already, as its If-None-Match tells."""
    if if_none_match is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or etag in tags


def matches(if_match: str, etag: str) -> bool:
    """Whether a change may be made: the client has seen this very version. Weak tags never do."""
    tags = [tag.strip() for tag in if_match.split(",")]
    return "*" in tags or etag in tags


def check_if_match(if_match: str | None, etag: str, what: str) -> None:
    """Refuse a call that is about another version of `what` than the present one.

    Raises:
        Problem: the header If-Match is there and does not name `etag`.
    """
    if if_match is not None and not matches(if_match, etag):
        raise Problem(
            "precondition_failed",
            f"{what} is not the version that If-Match names; read it again",
            headers={"ETag": etag},
        )


def byte_range(header: str | None, if_range: str | None, *, etag: str, size: int) -> range | None:
    """The bytes asked for, or None for the whole file.

    Several ranges at once and units other than bytes are answered with the whole file.

    Raises:
        Problem: the header cannot be read, or asks for bytes past the end.
    """
    if header is None or (if_range is not None and if_range.strip() != etag):
        return None
    unit, _, ranges = header.partition("=")
    if unit.strip().lower() != "bytes" or "," in ranges:
        return None
    found = _RANGE.fullmatch(ranges)
    if found is None or not any(found.groups()):
        raise Problem("bad_range", "the Range header is no `bytes=first-last`")
    return _resolved(*found.groups(), size=size)


def _resolved(first: str, last: str, *, size: int) -> range:
    if not first:  # the last so many bytes
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(int(last) + 1, size) if last else size
    if last and first and int(last) < int(first):
        raise Problem("bad_range", "the Range header ends before it begins")
    if start >= stop:
        raise Problem(
            "range_not_satisfiable",
            f"the file has {size:,} bytes",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return range(start, stop)


def best_type(accept: str | None, offered: Sequence[str]) -> str:
    """The media type of `offered` that the client likes most; the first where it does not say."""
    likes: dict[str, float] = {}
    for item in (accept or "").split(","):
        quality = _QUALITY.search(item)
        likes[item.split(";")[0].strip().lower()] = float(quality[1]) if quality else 1.0
    return max(offered, key=lambda media_type: _liking(media_type, likes))


def _liking(media_type: str, likes: dict[str, float]) -> float:
    family = media_type.partition("/")[0]
    found = (likes.get(name) for name in (media_type, f"{family}/*", "*/*"))
    return next((quality for quality in found if quality is not None), 0.0)


def wait_seconds(prefer: str | None, *, default: int = 0) -> int:
    """Seconds that `Prefer: wait=N` asks for, at most `MAX_WAIT_SECONDS`; `default` without it."""
    found = _WAIT.search(prefer or "")
    return min(int(found[1]), MAX_WAIT_SECONDS) if found else default
