"""What a request for other thresholds comes to: given by hand, tuned on truth, or kept before."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.deps import Services
from app.errors import FieldError, Problem, invalid, invalid_fields, shown
from app.evaluations import evaluation_result
from app.labels import columns_of
from app.student_schemas import ThresholdsUpdate
from app.text import near_names, plain
from app.thresholds import thresholds_of
from workers.jobs import Record
from workers.stages import Stage, student_id_of
from workers.thresholds import NoSuchVersion, Thresholds, read_version

#: Classes that one sentence names.
MAX_NAMED = 5


def wanted_thresholds(body: ThresholdsUpdate, job: Record, services: Services) -> Thresholds:
    """What a request wants to be in force.

    Raises:
        Problem: a class is unknown or missing; no such version or evaluation; not ready.
    """
    if body.thresholds is not None:
        values = _by_class(body.thresholds, columns_of(job).names)
        return Thresholds(values=values, basis="manual")
    if body.evaluation_id is not None:
        return _tuned(body.evaluation_id, job, services)
    assert body.version is not None, "the schema sees to it"
    return _kept(body.version, job, services)


def _kept(version: int, job: Record, services: Services) -> Thresholds:
    """Those of an earlier version."""
    try:
        found = read_version(services.data, student_id_of(job.id), version)
    except NoSuchVersion as error:
        raise invalid("/version", str(error)) from error
    return Thresholds(
        values=found.values,
        basis=found.basis,
        evaluation_id=found.evaluation_id,
        copied_from=found.version,
        metrics=found.metrics,
    )


def _tuned(evaluation_id: str, job: Record, services: Services) -> Thresholds:
    """The best ones of an evaluation; a class of which its truth shows nothing stays as it is."""
    result = _evaluation_of(evaluation_id, job, services)
    present = thresholds_of(student_id_of(job.id), services.data).values
    best = result["best_thresholds"]
    return Thresholds(
        values={name: own if best[name] is None else best[name] for name, own in present.items()},
        basis="tuned",
        evaluation_id=evaluation_id,
        metrics=_metrics(result),
    )


def _evaluation_of(evaluation_id: str, job: Record, services: Services) -> dict[str, Any]:
    try:
        record = services.record(evaluation_id, "eval")
    except Problem as problem:
        raise invalid("/evaluation_id", problem.detail) from problem
    owner = record.request["job_id"]
    if owner != job.id:
        raise invalid("/evaluation_id", f"must be one of {job.id}, {record.id} is of {owner}")
    result = evaluation_result(record, services, with_curves=False)
    if result is None:
        raise Problem("not_ready", f"{record.id} is {record.status}; it has no thresholds yet")
    return result


def _metrics(result: Mapping[str, Any]) -> dict[str, Any]:
    """What the model card says of the student."""
    student = result["stages"][Stage.STUDENT]
    return {
        "images with truth": result["counts"]["matched"],
        "mAP": student["map"],
        "CF1 at the best thresholds": student["at_best"]["cf1"],
        "OF1 at the best thresholds": student["at_best"]["of1"],
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
    return f"is no class of this student; {near_names(name, names)}"


def _missing(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    listed = ", ".join(map(shown, names[:MAX_NAMED]))
    return f"lacks {listed}{more}; every class has a number in [0, 1], or null: it never applies"


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
