"""The thresholds of a student at one version, as the API shows them."""

from collections.abc import Sequence
from typing import Any

from app.errors import Problem, invalid
from workers.files import DataFolder
from workers.thresholds import NoSuchVersion, ThresholdsVersion, read_version


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


def etag_of(version: int) -> str:
    return f'"v{version}"'


def changed(student_id: str, current: int) -> Problem:
    """The problem of a change that was made on another version than the present one."""
    return Problem(
        "thresholds_changed",
        f"the thresholds of {student_id} are at version {current} by now; read them "
        "again and repeat the change",
        headers={"ETag": etag_of(current)},
    )


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
