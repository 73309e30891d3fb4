"""Truth as JSON Lines: one object per image, with labels and perhaps boxes."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from workers.truth.gather import Gathering, shown
from workers.truth.text import read_lines
from workers.truth.truth import TrueBox, Truth, TruthError, TruthFormat

#: Keys of our own rows of labels that say nothing about the truth.
OWN_KEYS = frozenset({"image_id", "scores", "thresholds_version", "views"})
KEYS = frozenset({"path", "labels", "ignored", "boxes"})


def read_jsonl(path: Path) -> Truth:
    """The truth of a file with one JSON object a line.

    Raises:
        TruthError: it is no such file.
    """
    found = Gathering(TruthFormat.JSONL)
    for number, line in read_lines(path):
        if line.strip():
            _add(found, f"{path.name}, line {number}", line)
    return found.truth()


def parse_json(text: str, place: str) -> Any:
    """The value of a JSON text.

    Raises:
        TruthError: it is none, or nested too deeply.
    """
    try:
        return json.loads(text, parse_constant=refuse_constant)
    except RecursionError as error:
        raise TruthError("truth_malformed", f"{place} is nested too deeply") from error
    except ValueError as error:
        raise TruthError("truth_malformed", f"{place} is not JSON: {error}") from error


def refuse_constant(text: str) -> NoReturn:
    """Refuse `NaN` and `Infinity`, which Python reads and JSON has not."""
    raise ValueError(f"{text} is no number of JSON")


def _add(found: Gathering, place: str, line: str) -> None:
    row = parse_json(line, place)
    if not isinstance(row, dict) or "path" not in row:
        raise TruthError(
            "truth_malformed",
            f"{place} must be an object with a path and labels, is {shown(row)}",
            'Write one object a line: {"path": "a.jpg", "labels": ["cat"]}.',
        )
    for key in row.keys() - KEYS - OWN_KEYS:
        found.warn("truth_keys_unused", f"{place}: the key {shown(key)} is not used")
    boxes = tuple(_box(found, box, place) for box in _list(row, "boxes", place))
    labels = _list(row, "labels", place) if "labels" in row else [box.name for box in boxes]
    if "labels" not in row and "boxes" not in row:
        raise TruthError("truth_malformed", f"{place} has neither labels nor boxes")
    names = {found.name(name, place) for name in labels}
    for box in boxes:
        if box.name not in names:
            raise TruthError(
                "truth_conflict", f"{place} has a box of {shown(box.name)}, not among its labels"
            )
    ignored = _list(row, "ignored", place)
    found.add(row["path"], labels, ignored=ignored, boxes=boxes, place=place)


def _list(row: Mapping[str, Any], key: str, place: str) -> list[Any]:
    value = row.get(key, [])
    if not isinstance(value, list):
        raise TruthError("truth_malformed", f"{place}: {key} must be a list, is {shown(value)}")
    return value


def _box(found: Gathering, box: Any, place: str) -> TrueBox:
    xyxy = box.get("xyxy") if isinstance(box, dict) else None
    if not (isinstance(xyxy, list) and len(xyxy) == 4 and all(map(is_number, xyxy))):
        raise TruthError(
            "truth_malformed",
            f"{place}: a box must be an object with a name and xyxy, four numbers, is {shown(box)}",
        )
    left, top, right, bottom = map(float, xyxy)
    if left >= right or top >= bottom:
        raise TruthError("truth_malformed", f"{place}: the box {xyxy} has no area")
    return TrueBox(found.name(box.get("name"), place), (left, top, right, bottom))


def is_number(value: object) -> bool:
    """Whether a value of JSON is a finite number that a float holds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer of 400 digits
        return False
