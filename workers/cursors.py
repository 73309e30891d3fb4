"""Cursors of lists of records: where a page ended, in a form that clients hand back."""

import base64


class BadCursor(ValueError):
    """A cursor that `list` did not hand out."""

    def __init__(self, cursor: str) -> None:
        super().__init__(f"cursor {cursor!r} is none; take next_cursor of the page before")


def write_cursor(member: str) -> str:
    """The cursor of what comes after a member of a list."""
    return base64.urlsafe_b64encode(member.encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> str:
    """The member that `write_cursor` was given.

    Raises:
        BadCursor: it gave no such cursor.
    """
    try:
        member = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except ValueError as error:
        raise BadCursor(cursor) from error
    if not member.partition(":")[0].isdecimal():
        raise BadCursor(cursor)
    return member
