"""Evaluations: accepted, stored, and read back."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.deps import Services
from app.errors import Problem, invalid, shown
from app.evaluation_schemas import EvaluationCreate, EvaluationOptions
from app.replies import source_reply, state_reply, times_reply
from app.submit import submit_record
from app.text import near_names
from app.uploads import Upload, UploadedFile
from workers.archives import check_archive, is_zip
from workers.files import CURVES, EVALUATION, read_json
from workers.jobs import NOBODY, Kind, Lane, Phase, Record, Status
from workers.paths import allowed_file, allowed_folder, display_path

EVALUATE = Phase("evaluate", Lane.IO, units=1, sequential=False, weight=1)
#: The form field with the truth, and its name in the evaluation's folder.
TRUTH = "truth"


def succeeded_job(services: Services, job_id: str) -> Record:
    """The job to evaluate.

    Raises:
        Problem: `job_not_found`, or `not_ready` where it has not succeeded.
    """
    job = services.record(job_id, "job")
    if job.status is not Status.SUCCEEDED:
        raise Problem("not_ready", f"{job_id} is {job.status}; only a succeeded job is evaluated")
    return job


def submit_evaluation(
    services: Services, job: Record, body: EvaluationCreate, *, submitter: str = NOBODY
) -> Record:
    """Compare `job` with a truth on the server.

    Raises:
        PathNotAllowed: it is not under the allowed roots, or cannot be read.
    """
    allowed = allowed_folder if body.source.kind == "folder" else allowed_file
    allowed(body.source.path, services.settings.allowed_roots)
    _check_classes(job, body.class_map)
    truth = body.source.model_dump()
    return _submit(services, job, body, truth=truth, submitter=submitter)


def submit_uploaded_truth(
    services: Services, job: Record, upload: Upload, *, submitter: str = NOBODY
) -> Record:
    """Compare `job` with an uploaded truth: a file, or a zip of a VOC or NUS-WIDE.

    Raises:
        ArchiveRejected: a zip that is not taken.
        Problem, ValidationError: fields that are missing, unknown or wrong.
    """
    file = _truth_of(upload)
    options = EvaluationOptions.model_validate(_options_of(upload))
    _check_classes(job, options.class_map)
    if is_zip(file.path):
        check_archive(file.path, services.settings)
    truth = {"kind": "upload", "path": TRUTH, "filename": display_path(file.raw_name)}
    return _submit(
        services, job, options, truth=truth, submitter=submitter, brought={TRUTH: file.path}
    )


def evaluation_reply(record: Record) -> dict[str, Any]:
    """An evaluation without its figures."""
    request, facts = record.request, record.facts
    return {
        "id": record.id,
        "job_id": request["job_id"],
        "name": request["name"],
        "source": source_reply(request["truth"]),
        "format": request["format"],
        "split": request["split"],
        "class_map": request["class_map"],
        **state_reply(record),
        "counts": facts.get("counts"),
        "map": facts.get("map"),
        "warnings": facts.get("warnings", []),
        **times_reply(record),
    }


def evaluation_result(
    record: Record, services: Services, *, with_curves: bool
) -> dict[str, Any] | None:
    """The figures of an evaluation; None until it succeeded.

    Raises:
        Problem: its files are damaged.
    """
    if record.status is not Status.SUCCEEDED:
        return None
    folder = services.data.phase(services.store.outputs(record.id)[EVALUATE.name, 0])
    if not services.data.is_complete(folder):
        raise Problem("artifact_corrupt", f"{folder.name} no longer has its checksums")
    found: dict[str, Any] = read_json(folder / EVALUATION)
    return {**found, "curves": read_json(folder / CURVES)} if with_curves else found


def _submit(
    services: Services,
    job: Record,
    options: EvaluationOptions,
    *,
    truth: Mapping[str, Any],
    submitter: str,
    brought: Mapping[str, Path] | None = None,
) -> Record:
    request = {"job_id": job.id, "truth": truth, **options.model_dump(exclude={"source"})}
    return submit_record(
        services,
        Kind.EVALUATION,
        services.new_id("eval"),
        request,
        EVALUATE,
        submitter=submitter,
        brought=brought,
    )


def _truth_of(upload: Upload) -> UploadedFile:
    for file in upload.files:
        if file.field != TRUTH:
            raise invalid(f"/{file.field}", "is not a field of this request")
    if len(upload.files) != 1:
        raise invalid(f"/{TRUTH}", f"must be one file, there are {len(upload.files)}")
    if not upload.files[0].bytes:
        raise invalid(f"/{TRUTH}", "is empty")
    return upload.files[0]


def _options_of(upload: Upload) -> dict[str, Any]:
    """The text fields; the class map is JSON."""
    options: dict[str, Any] = dict(upload.fields)
    if "class_map" in options:
        try:
            options["class_map"] = json.loads(options["class_map"])
        except (ValueError, RecursionError) as error:
            raise invalid("/class_map", f"is not JSON: {error}") from error
    return options


def _check_classes(job: Record, class_map: Mapping[str, str | None]) -> None:
    """Refuse a map to classes that the job does not have."""
    names = [spec["name"] for spec in job.request["classes"]]
    for name, target in class_map.items():
        if target is not None and target not in names:
            raise invalid(
                f"/class_map/{name}",
                f"must be a class of {job.id}, is {shown(target)}; {near_names(target, names)}",
            )
