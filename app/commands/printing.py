"""What commands print: JSON for programs; for people tables, of which a line is a thing."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ccd_client.models import Reply

#: A row of a table; all have the same columns.
Row = Mapping[str, Any]


def print_json(answer: "Reply | Sequence[Reply]") -> None:
    """One answer, or a list of them."""
    if isinstance(answer, Sequence):
        content: Any = [one.model_dump(mode="json", by_alias=True) for one in answer]
    else:
        content = answer.model_dump(mode="json", by_alias=True)
    print(json.dumps(content, indent=1, ensure_ascii=False))


def print_line(answer: "Reply") -> None:
    """One answer as one line of JSON."""
    content = answer.model_dump(mode="json", by_alias=True)
    print(json.dumps(content, ensure_ascii=False, separators=(",", ":")), flush=True)


def print_table(rows: Iterable[Row]) -> None:
    """Columns under their names; nothing where there are no rows."""
    cells = [{name: shown(value) for name, value in row.items()} for row in rows]
    if not cells:
        say("none")
        return
    widths = {name: max(len(name), *(len(row[name]) for row in cells)) for name in cells[0]}
    for row in [{name: name.upper() for name in widths}, *cells]:
        print("  ".join(f"{row[name]:<{width}}" for name, width in widths.items()).rstrip())


def print_fields(fields: Row) -> None:
    """One thing, a field a line; those without a value are left out."""
    named = {
        name: shown(value) for name, value in fields.items() if value not in (None, "", [], {})
    }
    width = max(map(len, named), default=0)
    for name, value in named.items():
        print(f"{name:<{width}}  {value}")


def say(line: str) -> None:
    """A word beside what was asked for, where no program reads it."""
    print(line, file=sys.stderr)


def shown(value: Any) -> str:
    """A value in one line; what would move the cursor of a terminal is spelled out."""
    match value:
        case None:
            text = "-"
        case bool():
            text = "yes" if value else "no"
        case float():
            text = f"{value:.4g}"
        case datetime():
            text = value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        case list() if all(isinstance(one, str) for one in value):
            text = ", ".join(value)
        case dict() | list():
            text = json.dumps(value, ensure_ascii=False)
        case _:
            text = str(value)
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)
