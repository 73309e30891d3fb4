"""A succeeded job with given scores in a data folder, for benchmarks and tests of evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from benchmarks.made_up import saving, write_end
from models.prompts import canonical_order
from workers.files import MANIFEST, MANIFEST_BLOCK, DataFolder, write_json
from workers.stages import STAGE_FILES, Stage, student_id_of

JOB = "job_0123456789"


def write_job(
    data: DataFolder,
    scores: Mapping[Stage, Tensor],
    *,
    classes: Sequence[str],
    paths: Sequence[str],
    rows: Sequence[int] | None = None,
    thresholds: Sequence[float | None] | None = None,
    shard: int = 7,
) -> None:
    """Publish the job.

    Args:
        data: the folder that gets it.
        scores: stage -> (distinct images, C) float32, columns in the order of `classes`; stages
            that are not named have zeros.
        classes: names in the user's order; the files have them sorted.
        paths: of the images.
        rows: of each image in the scores; None: each has its own.
        thresholds: the student's, in the order of `classes`; None: 0.5 for all.
        shard: distinct images a file of the local stage has.
    """
    order = canonical_order(classes)
    outputs = [
        [phase, unit, data.produce(f"{phase}-{JOB}-{unit}", saving(files), nonce="n0")]
        for (phase, unit), files in _files(scores, order, shard).items()
    ]
    thresholds = thresholds or [0.5] * len(classes)
    student = {
        "classes": [classes[i] for i in order],
        "thresholds": [thresholds[i] for i in order],
        "threshold_basis": "pseudo_f1",
    }
    data.produce_at(
        data.student(student_id_of(JOB)),
        lambda staging: write_json(staging / "student.json", student),
        nonce="n0",
    )
    own = data.job(JOB)
    own.mkdir(parents=True, exist_ok=True)
    rows = rows or range(len(next(iter(scores.values()))))
    listed = [
        {"image_id": f"img_{n}", "path": path, "content": row}
        for n, (path, row) in enumerate(zip(paths, rows, strict=True))
    ]
    pq.write_table(pa.Table.from_pylist(listed), own / MANIFEST, row_group_size=MANIFEST_BLOCK)
    request = {"classes": [{"name": name, "prompts": []} for name in classes]}
    write_end(data, JOB, request=request, facts={"class_order": order}, outputs=outputs)


def _files(
    scores: Mapping[Stage, Tensor], order: Sequence[int], shard: int
) -> dict[tuple[str, int], dict[str, dict[str, Tensor]]]:
    """(phase, unit) -> file -> tensors, columns in canonical order."""
    zeros = torch.zeros_like(next(iter(scores.values())))
    files: dict[tuple[str, int], dict[str, dict[str, Tensor]]] = {}
    for stage, where in STAGE_FILES.items():
        values = scores.get(stage, zeros)[:, list(order)].contiguous()
        for unit, part in enumerate(torch.split(values, shard) if where.is_sharded else [values]):
            tensors = files.setdefault((where.phase, unit), {}).setdefault(where.file, {})
            tensors[where.tensor] = part.clone()
    return files
