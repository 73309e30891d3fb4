"""The labels of a job at a stage, or of a prediction: which files have them, and what decides."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from app.errors import Problem
from app.label_query import QUERY, LabelQuery
from app.selection import ORDERS, find_images
from app.thresholds import thresholds_of
from workers.digests import digest_of
from workers.files import MANIFEST, DataFolder
from workers.jobs import Record
from workers.label_tables import Columns, Labels, Table, Views
from workers.stages import (
    CERTAIN,
    CERTAIN_STAGES,
    PREDICTION_FILE,
    STAGE_FILES,
    VIEWS_FILE,
    Stage,
    StageFile,
    student_id_of,
)
from workers.store import Store

Outputs = Mapping[tuple[str, int], str]


@dataclass(frozen=True)
class Answer:
    """The rows that a query wants, and what the cursors of its pages are bound to."""

    labels: Labels
    #: Stands for the job and the query.
    digest: str
    #: Of the thresholds that decided about a row or about its place; None where none did.
    thresholds_version: int | None


def queried_labels(
    record: Record,
    stage: Stage,
    query: LabelQuery,
    *,
    outputs: Outputs,
    data: DataFolder,
    with_views: bool = False,
    thresholds_version: int | None = None,
    place: str = QUERY,
) -> Answer:
    """One stage of a job as a query, given at `place`, wants it; its pages have the same order.

    Raises:
        Problem: as `stage_labels`; the query asks for what the job does not have.
    """
    labels = stage_labels(
        record,
        stage,
        outputs=outputs,
        data=data,
        with_views=with_views,
        thresholds_version=thresholds_version,
    )
    query = query.checked(stage, labels.columns.names, place=place)
    others = {
        other: stage_labels(
            record,
            other,
            outputs=outputs,
            data=data,
            thresholds_version=labels.thresholds_version or thresholds_version,
        )
        for other in map(Stage, query.disagree)
    }
    versions = [one.thresholds_version for one in (labels, *others.values())]
    version = next(filter(None, versions), None)
    digest = digest_of(record.id, stage, query.to_json())
    if not query.is_everything:
        find = partial(find_images, labels, query, others)
        labels = replace(labels, order=ORDERS.get(f"{digest}-{version}", find))
    return Answer(labels, digest, version)


def stage_labels(
    record: Record,
    stage: Stage,
    *,
    outputs: Outputs,
    data: DataFolder,
    with_views: bool = False,
    thresholds_version: int | None = None,
) -> Labels:
    """One stage of a job; of the student's at a version of its thresholds, else those in force.

    `outputs` are those of the job's units that are done.

    Raises:
        Problem: `not_ready`, with the phase to wait for; there is no such version.
    """
    scores = _table(STAGE_FILES[stage], record, outputs, data)
    views = Views(_table(VIEWS_FILE, record, outputs, data)) if with_views else None
    columns = columns_of(record)
    of_stage = partial(
        Labels,
        manifest=data.job(record.id) / MANIFEST,
        columns=columns,
        scores=scores,
        views=views,
    )
    if stage is not Stage.STUDENT:
        limit = CERTAIN if stage in CERTAIN_STAGES else None
        return of_stage(limits=[limit] * len(columns.names))
    thresholds = thresholds_of(student_id_of(record.id), data, thresholds_version)
    limits = columns.in_files(thresholds.values)
    return of_stage(limits=limits, thresholds_version=thresholds.version)


def predicted_labels(
    record: Record,
    job: Record,
    *,
    store: Store,
    data: DataFolder,
    thresholds_version: int | None = None,
) -> Labels:
    """The rows of a prediction.

    Args:
        record: the prediction, succeeded.
        job: the job that trained its student.
        store: of records.
        data: the data folder.
        thresholds_version: None: those in force.

    Raises:
        Problem: its dataset was deleted; there is no such version.
    """
    manifest = data.dataset(record.request["dataset_id"]) / MANIFEST
    if not manifest.exists():
        dataset_id = record.request["dataset_id"]
        raise Problem("dataset_deleted", f"{record.id} was made on {dataset_id}, deleted since")
    columns = columns_of(job)
    thresholds = thresholds_of(student_id_of(job.id), data, thresholds_version)
    return Labels(
        manifest=manifest,
        columns=columns,
        scores=_table(PREDICTION_FILE, record, store.outputs(record.id), data),
        limits=columns.in_files(thresholds.values),
        thresholds_version=thresholds.version,
    )


def columns_of(job: Record) -> Columns:
    """The order of the job's classes, as its `check` phase found it."""
    names = [spec["name"] for spec in job.request["classes"]]
    order: list[int] = job.facts["class_order"]
    column_of_class = {position: column for column, position in enumerate(order)}
    return Columns(
        names=names,
        columns=[column_of_class[position] for position in range(len(names))],
        names_by_column=[names[position] for position in order],
    )


def _table(where: StageFile, record: Record, outputs: Outputs, data: DataFolder) -> Table:
    """The files of a phase, one per unit."""
    units = next((phase.units for phase in record.phases if phase.name == where.phase), 0)
    names = [outputs.get((where.phase, unit)) for unit in range(units)]
    if not names or None in names:
        raise Problem(
            "not_ready",
            f"this is made by phase {where.phase}, which is not done; "
            f"{record.id} is {record.status}, in phase {record.phase or 'none'}",
        )
    folders = [data.phase(name) for name in names if name is not None]
    for folder in folders:
        if not data.is_complete(folder):
            raise Problem("artifact_corrupt", f"{folder.name} no longer has its checksums")
    # One file holds all rows, unless each of several holds a shard of the images.
    rows_per_file = record.facts["shard_images"] if where.is_sharded else sys.maxsize
    return Table([folder / where.file for folder in folders], rows_per_file, where.tensor)
