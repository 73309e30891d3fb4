"""What a job warns of beside its results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models.thresholds import MIN_POSITIVES, POSITIVE_LABEL

#: Classes that a warning names in its sentence; the field `classes` has them all.
MAX_NAMED = 5


def never_top_1(names: Sequence[str], counts: Sequence[int]) -> list[dict[str, Any]]:
    """About the classes whose bias could not be estimated."""
    affected = [name for name, count in zip(names, counts, strict=True) if count == 0]
    return _warning(
        "never_top_1",
        affected,
        "the bias of a class that is the teacher's surest answer on no image cannot be estimated, "
        "and is left uncorrected",
    )


def no_threshold(names: Sequence[str], thresholds: Sequence[float | None]) -> list[dict[str, Any]]:
    """About the classes that never fire."""
    affected = [name for name, value in zip(names, thresholds, strict=True) if value is None]
    return _warning(
        "no_threshold",
        affected,
        f"a class with a pseudo-label of {POSITIVE_LABEL} or more on fewer than {MIN_POSITIVES} "
        "images has no threshold and never fires; its scores can still be read",
    )


def _warning(code: str, classes: list[str], reason: str) -> list[dict[str, Any]]:
    """One warning for all classes it is about; none where there are none."""
    if not classes:
        return []
    named = ", ".join(map(repr, classes[:MAX_NAMED]))
    more = f" and {len(classes) - MAX_NAMED} more" if len(classes) > MAX_NAMED else ""
    return [{"code": code, "classes": classes, "message": f"{named}{more}: {reason}"}]
