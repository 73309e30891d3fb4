"""A succeeded job as its files tell it, with made-up scores, for tests."""

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file

from workers.files import MANIFEST, write_json
from workers.stages import STAGE_FILES, Stage, student_id_of

JOB = "job_0123456789"


def write_job(folder, scores, *, classes, paths, rows=None, thresholds=None, shard=7, job_id=JOB):
    """Publish a job below a `DataFolder`.

    Args:
        folder: it.
        scores: stage -> (distinct images, C) float32, columns in the order of `classes`; stages
            that are not named have zeros.
        classes: names in the user's order; the files have them sorted.
        paths: of the images.
        rows: of each image in the scores; None: each has its own.
        thresholds: the student's, in the order of `classes`; None: 0.5 for all.
        shard: distinct images a file of the local stage has.
    """
    order = sorted(range(len(classes)), key=lambda i: classes[i])
    count = len(next(iter(scores.values())))
    zeros = torch.zeros(count, len(classes))
    files = {stage: scores.get(stage, zeros)[:, order].contiguous() for stage in Stage}
    tensors = {}
    for stage, values in files.items():
        where = STAGE_FILES[stage]
        parts = values.split(shard) if where.is_sharded else [values]
        for unit, part in enumerate(parts):
            tensors.setdefault((where.phase, unit, where.file), {})[where.tensor] = part.clone()
    outputs = []
    for (phase, unit, file), own in tensors.items():
        name = folder.produce(
            f"{phase}-{job_id}-{unit}", lambda to, o=own, f=file: save_file(o, to / f), nonce="n0"
        )
        outputs.append([phase, unit, name])
    thresholds = [0.5] * len(classes) if thresholds is None else thresholds
    student = {
        "classes": [classes[i] for i in order],
        "thresholds": [thresholds[i] for i in order],
        "threshold_basis": "pseudo_f1",
    }
    folder.produce_at(
        folder.student(student_id_of(job_id)),
        lambda to: write_json(to / "student.json", student),
        nonce="n0",
    )
    own = folder.job(job_id)
    own.mkdir(parents=True, exist_ok=True)
    rows = list(range(count)) if rows is None else rows
    listed = [{"path": path, "content": row} for path, row in zip(paths, rows, strict=True)]
    pq.write_table(pa.Table.from_pylist(listed), own / MANIFEST)
    request = {"classes": [{"name": name, "prompts": []} for name in classes]}
    write_json(own / "request.json", {"id": job_id, "kind": "job", "request": request})
    facts = {"class_order": order}
    write_json(own / "result.json", {"status": "succeeded", "facts": facts, "outputs": outputs})
    return job_id
