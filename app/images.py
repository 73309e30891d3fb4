"""One image of a job: the file as it was registered, and what every stage says of it."""

from pathlib import Path
from typing import Any

from app.errors import Problem, shown
from app.labels import Outputs, stage_labels
from workers.files import MANIFEST, DataFolder
from workers.jobs import Record
from workers.label_tables import Labels
from workers.stages import Stage

#: Columns of the manifest that users see.
IMAGE_FIELDS = ("image_id", "path", "sha256", "bytes", "width", "height", "format", "notes")


def image_of(record: Record, image_id: str, data: DataFolder) -> dict[str, Any]:
    """The row of the job's own list of images that has this id.

    Raises:
        Problem: `image_not_found`, or `not_ready` before phase check has made the list.
    """
    manifest = data.job(record.id) / MANIFEST
    if not manifest.exists():
        raise Problem(
            "not_ready",
            f"the images of {record.id} are listed by phase check, which is not done; "
            f"it is {record.status}",
        )
    row = _find(manifest, image_id)
    if row is None:
        raise Problem("image_not_found", f"{record.id} has no image {shown(image_id)}")
    return row


def image_reply(
    record: Record, image: dict[str, Any], *, outputs: Outputs, data: DataFolder
) -> dict[str, Any]:
    """The file, and its scores and labels at every stage that is ready, and its local views."""
    ready = _ready_stages(record, outputs, data)
    rows = {stage: labels.rows([image])[0] for stage, labels in ready.items()}
    return {
        **{field: image[field] for field in IMAGE_FIELDS},
        "scores": {stage: row["scores"] for stage, row in rows.items()},
        "labels": {stage: row["labels"] for stage, row in rows.items()},
        "thresholds_version": rows.get(Stage.STUDENT, {}).get("thresholds_version"),
        "views": rows[Stage.LOCAL]["views"] if Stage.LOCAL in rows else None,
    }


def _ready_stages(record: Record, outputs: Outputs, data: DataFolder) -> dict[Stage, Labels]:
    """The local stage comes with its views."""
    ready = {}
    for stage in Stage:
        with_views = stage is Stage.LOCAL
        try:
            ready[stage] = stage_labels(
                record, stage, outputs=outputs, data=data, with_views=with_views
            )
        except Problem as problem:
            if problem.code != "not_ready":
                raise
    return ready


def _find(manifest: Path, image_id: str) -> dict[str, Any] | None:
    """The row with this id: one column is looked through, and one block read."""
    import pyarrow.compute as pc  # it loads numpy, for which a process that starts has no use
    from pyarrow.parquet import ParquetFile

    with ParquetFile(manifest) as file:
        for group in range(file.num_row_groups):
            ids = file.read_row_group(group, ["image_id"], use_threads=False)["image_id"]
            position = pc.index(ids, image_id).as_py()
            if position >= 0:
                block = file.read_row_group(group, use_threads=False)
                row: dict[str, Any] = block.slice(position, 1).to_pylist()[0]
                return row
    return None
