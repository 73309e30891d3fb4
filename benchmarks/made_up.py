"""A succeeded job with made-up results in a data folder, for benchmarks and tests of the report."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from models.config import PRESETS, DistillConfig
from models.images import inspect
from models.portable import save_student
from models.prompts import canonical_order
from models.student import build_student
from workers.files import MANIFEST, MANIFEST_BLOCK, SOURCE, DataFolder, write_json
from workers.listing import SCHEMA
from workers.stages import student_id_of

JOB, DATASET = "job_made0up", "ds_made0up"
FEATURES = 64
#: A student that needs no weights from anywhere.
CONFIG = replace(PRESETS["tiny"], student="resnet18", student_weights="random")


@dataclass(frozen=True, kw_only=True)
class MadeUp:
    """What the job says: everything by class has the order of `classes`.

    Attributes:
        classes: names in the user's order.
        pictures: files below `root`; image i of the job is the file i modulo their number.
        root: folder of the files.
        count: of images, all taken to be distinct.
        scores: (N, C) of the student; its thresholds are 0.5.
        teacher: (N, C) probabilities on whole images; local views and pseudo-labels follow them.
        name: of the job.
        shard: images of a shard.
    """

    classes: Sequence[str]
    pictures: Sequence[bytes]
    root: Path
    count: int
    scores: Tensor
    teacher: Tensor
    name: str | None = None
    shard: int = 1000


def random_answers(count: int, num_classes: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Scores of a student, and what a teacher said: about two classes an image, mostly alike."""
    stream = torch.Generator().manual_seed(seed)
    teacher = (6 * torch.randn(count, num_classes, generator=stream)).softmax(dim=1)
    noise = 0.2 * torch.randn(count, num_classes, generator=stream)
    return (teacher + noise).clamp(0, 1), teacher


def write_job(data: DataFolder, made: MadeUp, config: DistillConfig = CONFIG) -> str:
    """Publish the job and its dataset; the job's id."""
    data.create()
    own = data.job(JOB)
    own.mkdir(parents=True)
    _write_dataset(data, made)
    (own / MANIFEST).write_bytes((data.dataset(DATASET) / MANIFEST).read_bytes())
    order = canonical_order(made.classes)
    _write_student(data, made, order, config)
    outputs = [
        [phase, unit, data.produce(f"{phase}-{unit}-made-up", saving(files), nonce="made-up")]
        for phase, unit, files in _phases(made, order)
    ]
    request = {
        "dataset_id": DATASET,
        "classes": [{"name": name, "prompts": []} for name in made.classes],
        "preset": "tiny",
        "config": config.to_dict(),
        "name": made.name,
    }
    facts = {
        "class_order": order,
        "counts": {"images": made.count, "distinct": made.count},
        "shard_images": made.shard,
        "logit_scale": 20.0,
        "curve": [
            {
                "phase": "warm_up" if e < 2 else "train",
                "epoch": e,
                "loss": 1 / (e + 1),
                "map": e / 6,
            }
            for e in range(6)
        ],
        "metrics": {"selected_epoch": 4},
    }
    write_end(data, JOB, request=request, facts=facts, outputs=outputs)
    return JOB


def write_end(
    data: DataFolder,
    job_id: str,
    *,
    request: Mapping[str, Any],
    facts: Mapping[str, Any],
    outputs: Sequence[Sequence[Any]],
) -> None:
    """What the folder of a job says when it has succeeded; an output is (phase, unit, folder)."""
    own, status = data.job(job_id), "succeeded"
    write_json(own / "request.json", {"id": job_id, "kind": "job", "request": request})
    write_json(own / "result.json", {"status": status, "facts": facts, "outputs": outputs})


def _write_dataset(data: DataFolder, made: MadeUp) -> None:
    facts = []
    for name in made.pictures:
        content = (made.root / os.fsdecode(name)).read_bytes()
        found = inspect(content)
        facts.append(
            {
                "path": name.decode("utf-8", "backslashreplace"),
                "path_raw": name,
                "sha256": hashlib.sha256(content).hexdigest(),
                "bytes": len(content),
                "width": found.width,
                "height": found.height,
                "format": found.format,
                "notes": list(found.notes),
            }
        )
    rows = (
        {**facts[i % len(facts)], "image_id": f"img_{i:024d}", "content": i}
        for i in range(made.count)
    )
    with data.staging("made-up") as staging:
        table = pa.Table.from_pylist(list(rows), SCHEMA)
        pq.write_table(table, staging / MANIFEST, row_group_size=MANIFEST_BLOCK)
        write_json(staging / SOURCE, {"root": str(made.root)})
        data.publish(staging, data.dataset(DATASET))


def _write_student(
    data: DataFolder, made: MadeUp, order: Sequence[int], config: DistillConfig
) -> None:
    num_classes = len(made.classes)
    student = build_student(
        config.student, num_classes, size=config.student_size, weights=config.student_weights
    )
    names = [made.classes[i] for i in order]
    thresholds = [0.5] * num_classes

    def make(staging: Path) -> None:
        save_student(
            staging / "student.safetensors",
            student.eval(),
            classes=[{"name": name} for name in names],
            thresholds=thresholds,
            extra={"config": config.to_dict()},
        )
        told = {"classes": names, "thresholds": thresholds, "threshold_basis": "pseudo_f1"}
        write_json(staging / "student.json", told)

    data.produce_at(data.student(student_id_of(JOB)), make, nonce="made-up")


def _phases(
    made: MadeUp, order: Sequence[int]
) -> Iterator[tuple[str, int, dict[str, dict[str, Tensor]]]]:
    """(phase, unit, {file: tensors}) of every output that a report reads."""
    scores, teacher = (table[:, list(order)].contiguous() for table in (made.scores, made.teacher))
    num_classes = scores.shape[1]
    text = F.normalize(torch.randn(num_classes, FEATURES, generator=_stream(1)), dim=1)
    features = F.normalize(teacher @ text, dim=1)
    for unit, start in enumerate(range(0, made.count, made.shard)):
        part = slice(start, start + made.shard)
        yield "embed", unit, {"features.safetensors": {"features": features[part].clone()}}
        yield "localize", unit, {"views.safetensors": _views(teacher[part].clone())}
    yield (
        "debias",
        0,
        {
            "labels.safetensors": {"probs": teacher, "labels": teacher.clone()},
            "names.safetensors": {
                "features": text,
                "factors": torch.full((num_classes,), 0.7),
                "counts": teacher.argmax(dim=1).bincount(minlength=num_classes),
            },
            "reference.safetensors": {"features": torch.zeros(0, FEATURES)},
        },
    )
    yield "update", 0, {"labels.safetensors": {"labels": teacher.clone()}}
    yield "score", 0, {"scores.safetensors": {"probs": scores}}


def _views(teacher: Tensor) -> dict[str, Tensor]:
    """Two local views an image, of its two most probable classes."""
    count, num_classes = teacher.shape
    classes = teacher.topk(min(2, num_classes), dim=1).indices
    each = classes.shape[1]
    corners = torch.randint(0, 40, (count * each, 2), generator=_stream(2))
    return {
        "boxes": torch.cat([corners, corners + 24], dim=1).int(),
        "classes": classes.flatten().int(),
        "offsets": torch.arange(count + 1) * each,
        "view_probs": teacher.repeat_interleave(each, dim=0),
        "local_probs": teacher,
    }


def saving(files: Mapping[str, Mapping[str, Tensor]]) -> Callable[[Path], None]:
    """Writes the files of an output where it is made: name of a file -> its tensors."""

    def make(staging: Path) -> None:
        for file, tensors in files.items():
            save_file(dict(tensors), staging / file)

    return make


def _stream(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
