"""Exports: accepted, shown, downloaded."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from app.deps import Services
from app.downloads import StoredFile, stored_file
from app.errors import Problem, invalid
from app.export_schemas import ExportCreate
from app.labels import queried_labels, stage_labels
from app.replies import state_reply, times_reply
from app.submit import submit_record
from workers.durable import write_durably
from workers.exports.formats import ExportFormat, stored_name
from workers.exports.json_files import label_config
from workers.exports.source import SELECTED, digest_of_export, selection_of, source_of
from workers.files import SOURCE, disk_guard
from workers.jobs import NOBODY, Kind, Lane, Phase, Record, Status
from workers.label_tables import Labels
from workers.stages import student_id_of
from workers.thresholds import NoSuchVersion, read_version

EXPORT_LABELS = "export_labels"


def submit_export(
    services: Services, job: Record, body: ExportCreate, *, submitter: str = NOBODY
) -> Record:
    """Write the labels of a stage that is done.

    Raises:
        Problem: it is not done, there is no such version of the thresholds, or the images are
            wanted and their dataset was deleted.
    """
    labels = _filtered(services, job, body, _labels(services, job, body))
    dataset_id = job.request["dataset_id"]
    wants_images = body.format is ExportFormat.YOLO_CLS
    if wants_images and not (services.data.dataset(dataset_id) / SOURCE).exists():
        raise Problem("dataset_deleted", f"the images of {job.id} are gone: {dataset_id}")
    request = {
        "job_id": job.id,
        "dataset_id": dataset_id,
        **body.model_dump(mode="json"),
        "filters": body.filters and body.filters.asked(),
        "thresholds_version": labels.thresholds_version,
        "source": source_of(labels),
    }
    with _selection(services, labels) as (selected, brought):
        request["selected"] = selected
        request["digest"] = digest_of_export(request)
        return submit_record(
            services,
            Kind.EXPORT,
            services.new_id("exp"),
            request,
            Phase(EXPORT_LABELS, Lane.IO, items=labels.count()),
            waits_for=dataset_id if wants_images else None,
            submitter=submitter,
            brought=brought,
        )


def _filtered(services: Services, job: Record, body: ExportCreate, labels: Labels) -> Labels:
    """Those of the images that are wanted."""
    if body.filters is None:
        return labels
    return queried_labels(
        job,
        body.stage,
        body.filters.query(),
        outputs=services.store.outputs(job.id),
        data=services.data,
        thresholds_version=labels.thresholds_version,
        place="/filters",
    ).labels


@contextmanager
def _selection(services: Services, labels: Labels) -> Iterator[tuple[str | None, dict[str, Path]]]:
    """The digest and the file of the images that are wanted; neither where these are all."""
    if labels.order is None:
        yield None, {}
        return
    content = selection_of(labels.order)
    with services.data.staging(f"selected-{secrets.token_hex(8)}") as staging:
        with disk_guard(services.data.root):
            write_durably(staging / SELECTED, content)
        yield sha256(content).hexdigest(), {SELECTED: staging / SELECTED}


def export_reply(record: Record) -> dict[str, Any]:
    request, facts = record.request, record.facts
    names = request["source"]["classes"]
    shown = (
        *("job_id", "name", "format", "stage", "thresholds_version"),
        *("policy", "image_prefix", "filters"),
    )
    is_for_tasks = request["format"] == ExportFormat.LABEL_STUDIO
    return {
        "id": record.id,
        **{field: request.get(field) for field in shown},
        **state_reply(record),
        "counts": facts.get("counts"),
        "losses": facts.get("losses"),
        "file": StoredFile(**facts["file"], parts=()).listed() if "file" in facts else None,
        "label_config": label_config(names) if is_for_tasks else None,
        **times_reply(record),
    }


def export_file(services: Services, record: Record) -> StoredFile:
    """What can be downloaded.

    Raises:
        Problem: it is not made yet, or gone.
    """
    if record.status is not Status.SUCCEEDED:
        raise Problem("not_ready", f"{record.id} is {record.status}; it has no file")
    stored = stored_file(
        _folder(services, record),
        stored_name(ExportFormat(record.request["format"])),
        name=record.facts["file"]["name"],
    )
    if stored is None:
        raise Problem("artifact_not_found", f"the file of {record.id} is gone; export it again")
    return stored


def _labels(services: Services, job: Record, body: ExportCreate) -> Labels:
    outputs, data = services.store.outputs(job.id), services.data
    labels = stage_labels(job, body.stage, outputs=outputs, data=data)
    if body.thresholds_version is None:
        return labels
    try:
        read_version(data, student_id_of(job.id), body.thresholds_version)
    except NoSuchVersion as error:
        raise invalid("/thresholds_version", str(error)) from error
    return stage_labels(
        job, body.stage, outputs=outputs, data=data, thresholds_version=body.thresholds_version
    )


def _folder(services: Services, record: Record) -> Path:
    return services.data.phase(f"{EXPORT_LABELS}-{record.request['digest']}")
