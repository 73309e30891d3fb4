"""Label rows as text: CSV that is safe in a spreadsheet, and NDJSON."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

#: What a line for an image begins with.
IMAGE_CELLS = ("image_id", "path", "labels", "thresholds_version")
#: A cell that begins like this runs as a formula in a spreadsheet.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def rounded(score: float) -> float:
    """Six significant digits: all that a float32 has to say."""
    return float(f"{score:.6g}")


def label_row(
    image_id: str,
    path: str,
    cells: Sequence[tuple[str, float, float | None]],
    thresholds_version: int | None,
) -> dict[str, Any]:
    """One row; `cells` are (class, score, from which score on it is a label; None: never)."""
    return {
        "image_id": image_id,
        "path": path,
        "scores": {name: rounded(score) for name, score, _ in cells},
        "labels": [name for name, score, least in cells if least is not None and score >= least],
        "thresholds_version": thresholds_version,
    }


def ndjson_lines(rows: Iterable[dict[str, Any]]) -> bytes:
    """One JSON object a line."""
    lines = (json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows)
    return "".join(f"{line}\n" for line in lines).encode()


def csv_header(names: Sequence[str]) -> bytes:
    """`IMAGE_CELLS`, then a column of scores per class."""
    return _csv([[*IMAGE_CELLS, *map(safe_cell, names)]])


def csv_lines(rows: Iterable[dict[str, Any]]) -> bytes:
    """Lines below `csv_header`; scores in the order of its names."""
    return _csv([_csv_row(row) for row in rows])


def long_csv_header() -> bytes:
    """The names of the columns that `long_csv_lines` fills."""
    return _csv([["image_id", "path", "class", "score", "label", "thresholds_version"]])


def long_csv_lines(rows: Iterable[dict[str, Any]], *, has_labels: bool) -> bytes:
    """A line for each image and class; `label` is 1 or 0, or empty where nothing says."""
    return _csv([line for row in rows for line in _long_rows(row, has_labels=has_labels)])


def _long_rows(row: dict[str, Any], *, has_labels: bool) -> Iterator[list[str | float | None]]:
    image = [row["image_id"], safe_cell(row["path"])]
    labels = frozenset(row["labels"])
    for name, score in row["scores"].items():
        label = int(name in labels) if has_labels else None
        yield [*image, safe_cell(name), score, label, row["thresholds_version"]]


def _csv_row(row: dict[str, Any]) -> list[str | float | None]:
    joined = ";".join(map(escaped_name, row["labels"]))
    texts = [row["image_id"], safe_cell(row["path"]), safe_cell(joined)]
    return [*texts, row["thresholds_version"], *row["scores"].values()]


def _csv(rows: Sequence[Sequence[Any]]) -> bytes:
    """Text in quotes, numbers without."""
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


def safe_cell(text: str) -> str:
    """`text` so that no spreadsheet runs it: an apostrophe before what begins like a formula."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def escaped_name(name: str) -> str:
    r"""A class name among others joined by `;`: its own `;` is `\;`, its own `\` is `\\`."""
    return name.replace("\\", r"\\").replace(";", r"\;")
