"""Answers as HTML tables, for notebooks. Whatever users called something is escaped."""

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

#: A longer value is cut.
MAX_CHARACTERS = 300
#: More rows than a page of a notebook are left out.
MAX_ROWS = 20


def shown_as_table(title: str, fields: Mapping[str, Any]) -> str:
    """One thing: its fields below each other; those without a value are left out."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th>"
        f"<td style='text-align:left'>{_shown(value)}</td></tr>"
        for name, value in fields.items()
        if value not in (None, [], {})
    )
    return f"<table><caption>{escape(title)}</caption><tbody>{rows}</tbody></table>"


def shown_as_rows(rows: Sequence[Mapping[str, Any]], *, has_more: bool = False) -> str:
    """Several things of one kind, a row each."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    lines = [_cells(row.get(name) for name in names) for row in rows[:MAX_ROWS]]
    if has_more or len(rows) > MAX_ROWS:
        lines.append(f"<td colspan='{max(1, len(names))}'>...</td>")
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cells(values: Iterable[Any]) -> str:
    return "".join(f"<td style='text-align:left'>{_shown(value)}</td>" for value in values)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if len(text) > MAX_CHARACTERS:
        text = f"{text[: MAX_CHARACTERS - 3]}..."
    return escape(text)
