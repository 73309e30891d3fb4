"""Thresholds of a student: read at a version, and changed by making a new one."""

import difflib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from app.errors import FieldError, Problem, invalid, invalid_fields, shown
from app.schemas import ThresholdsUpdate
from app.text import plain
from workers.files import DataFolder
from workers.jobs import rfc3339
from workers.thresholds import NoSuchVersion, Thresholds, ThresholdsVersion, read_version

#: Classes that one sentence names.
MAX_NAMED = 5


def thresholds_of(
    student_id: str, data: DataFolder, version: int | None = None
) -> ThresholdsVersion:
    """One version, as a query asks for it; without a number the one in force.

    Raises:
        Problem: there is no such version.
    """
    try:
        return read_version(data, student_id, version)
    except NoSuchVersion as error:
        raise invalid("/query/thresholds_version", str(error)) from error


def wanted_thresholds(
    body: ThresholdsUpdate, student_id: str, names: Sequence[str], data: DataFolder
) -> Thresholds:
    """What a request wants to be in force.

    Raises:
        Problem: a class is unknown or missing, or there is no such version.
    """
    if body.thresholds is not None:
        return Thresholds(values=_by_class(body.thresholds, names), basis="manual")
    assert body.version is not None, "the schema sees to it"
    try:
        found = read_version(data, student_id, body.version)
    except NoSuchVersion as error:
        raise invalid("/version", str(error)) from error
    return Thresholds(
        values=found.values,
        basis=found.basis,
        evaluation_id=found.evaluation_id,
        copied_from=found.version,
        metrics=found.metrics,
    )


def etag_of(version: ThresholdsVersion) -> str:
    return f'"v{version.version}"'


def changed(student_id: str, current: ThresholdsVersion) -> Problem:
    """The problem of a change that was made on another version than the present one."""
    return Problem(
        "thresholds_changed",
        f"the thresholds of {student_id} are at version {current.version} by now; read them "
        "again and repeat the change",
        headers={"ETag": etag_of(current)},
    )


def now() -> str:
    return rfc3339(time.time_ns() // 1_000_000)


def thresholds_reply(
    version: ThresholdsVersion, names: Sequence[str], made_at: str | None
) -> dict[str, Any]:
    """`made_at` is when the student was made, and version 1 with it."""
    return {
        "version": version.version,
        "basis": version.basis,
        "created_at": version.created_at or made_at,
        "evaluation_id": version.evaluation_id,
        "copied_from": version.copied_from,
        "thresholds": {name: version.values[name] for name in names},
    }


def _by_class(given: Mapping[str, float | None], names: Sequence[str]) -> dict[str, float | None]:
    """The values under the names of the classes."""
    values: dict[str, float | None] = {}
    errors = []
    for key, value in given.items():
        name, pointer = plain(key), f"/thresholds/{_escaped(key)}"
        if name not in names:
            errors.append(FieldError(pointer=pointer, reason=_unknown(name, names)))
        elif name in values:
            errors.append(FieldError(pointer=pointer, reason=f"gives {shown(name)} twice"))
        values[name] = value
    if missing := [name for name in names if name not in values]:
        errors.append(FieldError(pointer="/thresholds", reason=_missing(missing)))
    if errors:
        raise invalid_fields(errors)
    return values


def _unknown(name: str, names: Sequence[str]) -> str:
    nearest = difflib.get_close_matches(name, names, n=3, cutoff=0.5) or names[:MAX_NAMED]
    return f"is no class of this student, which has {', '.join(map(shown, nearest))}" + (
        " and more" if len(nearest) < len(names) else ""
    )


def _missing(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    listed = ", ".join(map(shown, names[:MAX_NAMED]))
    return f"lacks {listed}{more}; every class has a number in [0, 1], or null: it never applies"


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
