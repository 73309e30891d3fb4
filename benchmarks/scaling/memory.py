"""What an image costs where all images are in memory at once, on made-up results.

`python -m benchmarks.scaling.memory CASE FOLDER COUNT` does one case in a process of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import made_up
from benchmarks.made_up import saving
from benchmarks.memory import peak_of_process
from benchmarks.service import draw_photos
from models import distill
from models.config import PRESETS
from models.training import Training
from workers import phases
from workers import report as write_report
from workers.files import MANIFEST, MANIFEST_BLOCK, SOURCE, DataFolder, write_json
from workers.job_files import JobFiles
from workers.jobs import Claim, Kind, Lane, Progress, Record, Status
from workers.listing import SCHEMA, Listing
from workers.paths import FoundFile
from workers.rows import content_files
from workers.sandbox import Inspected
from workers.settings import Settings
from workers.units import Finished, JobUnit, Workbench

CLASSES, FEATURES, SHARD = 80, 768, 1000
#: Memory is taken to grow in a straight line between these numbers of images.
FEW, MANY = 20_000, 100_000
CONFIG = PRESETS["tiny"]
#: Different pictures of the job that is reported on.
PICTURES = 8


def measure_memory(folder: Path) -> dict[str, Any]:
    """Case -> bytes of memory and seconds of an image more."""
    _write_dataset(folder, MANY)
    _write_outputs(DataFolder(folder), MANY)
    for count in (FEW, MANY):
        _write_job(folder, count)
    found = {}
    for case in CASES:
        few, many = (_in_a_process(case, folder, count) for count in (FEW, MANY))
        found[case] = {
            what: (many[what] - few[what]) / (MANY - FEW) for what in ("bytes", "seconds")
        }
    listed = (DataFolder(folder).dataset(f"ds_{MANY}") / MANIFEST).stat().st_size
    told = {"classes": CLASSES, "features": FEATURES, "manifest": listed / MANY}
    return told | {"cases": found}


def _in_a_process(case: str, folder: Path, count: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.scaling.memory", case, str(folder), str(count)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    told: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    return told


def main() -> None:
    """Do one case and tell the peak of memory and the seconds of a core."""
    case, folder, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    started = time.process_time()
    CASES[case](folder, count)
    print(json.dumps({"bytes": peak_of_process(), "seconds": time.process_time() - started}))


# The cases, each as the service does it


def register(folder: Path, count: int) -> None:
    """The list of a dataset is written; files are neither read nor decoded."""
    name = folder / f"listing-{count}"
    name.mkdir()
    with Listing(name) as listing:
        for number in range(count):
            digest = hashlib.sha256(number.to_bytes(8, "big")).hexdigest()
            path = _path(number)
            found = FoundFile(raw=path.encode(), name=path)
            listing.add(
                found,
                Inspected(digest, 60_000, 640, 480, "JPEG", notes=()),
            )


def files(folder: Path, count: int) -> None:
    """Every worker knows path and digest of each image of the dataset that it works on."""
    content_files(DataFolder(folder).dataset(f"ds_{count}"))


def debias(folder: Path, count: int) -> None:
    names = distill.Names(_random(CLASSES, FEATURES, seed=1), CLASSES, 20.0)
    with (
        patch.object(distill, "encode_names", lambda *_: names),
        patch.object(distill, "encode_reference", lambda *_: names.features[:0]),
    ):
        phases.debias(_unit(folder, "debias", count))


def update(folder: Path, count: int) -> None:
    phases.update(_unit(folder, "update", count))


def epoch(folder: Path, count: int) -> None:
    """An epoch without its images and steps: labels, order, predictions, training mAP."""
    labels = _unit(folder, "train", count).tensors(f"debias-{count}", "labels.safetensors")
    batch = CONFIG.batch_size

    def views(_files: object, order: Sequence[int], **_: object) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, count, batch):
            indices = torch.tensor(order[start : start + batch])
            yield indices, torch.zeros(len(indices), 3, 1, 1, dtype=torch.uint8)

    def step(_: object, parts: Sequence[Any], __: object) -> tuple[float, Tensor]:
        return 0.0, torch.randn(sum(len(part.labels) for part in parts), CLASSES)

    training = Training.__new__(Training)
    with (
        patch.object(distill, "view_batches", views),
        patch.object(distill, "_step", step),
        patch.object(distill, "_augmented", lambda images, *_, **__: (images, None)),
        patch.object(training, "begin_epoch", lambda *_, **__: None, create=True),
    ):
        distill.train_epoch(
            training, range(count), labels["labels"], epoch=0, config=CONFIG, threads=1
        )


def thresholds(folder: Path, count: int) -> None:
    """The end of `score`: scores and pseudo-labels of all images, sorted class by class."""
    unit = _unit(folder, "score", count)
    pseudo = unit.tensors(f"debias-{count}", "labels.safetensors")["labels"]
    distill.label_thresholds(torch.rand(count, CLASSES), pseudo)


def report(folder: Path, count: int) -> None:
    """The health report of a job."""
    write_report.build(JobFiles.of_finished(DataFolder(folder / f"job-{count}"), made_up.JOB))


CASES: dict[str, Callable[[Path, int], None]] = {
    case.__name__: case for case in (register, files, debias, update, epoch, thresholds, report)
}


# What they work on


def _path(number: int) -> str:
    return f"images/{number // 1000:05d}/{number:09d}.jpg"


def _random(rows: int, columns: int, *, seed: int) -> Tensor:
    stream = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, columns, generator=stream), dim=1)


def _write_dataset(folder: Path, most: int) -> None:
    data = DataFolder(folder)
    data.create()
    rows = [
        {
            "image_id": f"img_{hashlib.sha256(b'%d' % i).hexdigest()[:24]}",
            "path": _path(i),
            "path_raw": _path(i).encode(),
            "sha256": hashlib.sha256(i.to_bytes(8, "big")).hexdigest(),
            "bytes": 60_000,
            "width": 640,
            "height": 480,
            "format": "JPEG",
            "content": i,
            "notes": [],
        }
        for i in range(most)
    ]
    for count in (FEW, MANY):
        with data.staging("n0") as staging:
            table = pa.Table.from_pylist(rows[:count], SCHEMA)
            pq.write_table(table, staging / MANIFEST, row_group_size=MANIFEST_BLOCK)
            write_json(staging / SOURCE, {"root": "/photos"})
            data.publish(staging, data.dataset(f"ds_{count}"))


def _write_outputs(data: DataFolder, most: int) -> None:
    for shard in range(most // SHARD):
        features = {"features": _random(SHARD, FEATURES, seed=shard)}
        views = {
            "local_probs": torch.rand(SHARD, CLASSES),
            "view_probs": torch.rand(5 * SHARD, CLASSES),
        }
        for phase, file, tensors in (
            ("embed", "features.safetensors", features),
            ("localize", "views.safetensors", views),
        ):
            data.produce(f"{phase}-{shard}", saving({file: tensors}), nonce="n0")
    for count in (FEW, MANY):
        found = {"probs": torch.rand(count, CLASSES), "labels": torch.rand(count, CLASSES)}
        bias = {"factors": torch.ones(CLASSES), "counts": torch.ones(CLASSES).long()}
        made = {"labels.safetensors": found, "names.safetensors": bias}
        data.produce(f"debias-{count}", saving(made), nonce="n0")


def _write_job(folder: Path, count: int) -> None:
    """A job that has ended, for its report."""
    pictures = folder / f"pictures-{count}"
    paths = draw_photos(pictures, PICTURES)
    scores, teacher = made_up.random_answers(count, CLASSES)
    made = made_up.MadeUp(
        classes=[f"class {number:02d}" for number in range(CLASSES)],
        pictures=[os.fsencode(path.name) for path in paths],
        root=pictures,
        count=count,
        scores=scores,
        teacher=teacher,
    )
    made_up.write_job(DataFolder(folder / f"job-{count}"), made)


def _unit(folder: Path, phase: str, count: int) -> JobUnit:
    """A unit of a job with so many images, whose shards are there."""
    names = [{"name": f"class {number:02d}", "prompts": []} for number in range(CLASSES)]
    record = Record(
        kind=Kind.JOB,
        id="job_made0up",
        status=Status.RUNNING,
        phase=phase,
        phases=(),
        progress=Progress(
            phase=phase,
            phase_index=0,
            phase_count=1,
            done=0,
            total=count,
            percent=0,
            rate_per_second=None,
            eta_seconds=None,
            updated_at="",
        ),
        request={"dataset_id": f"ds_{count}", "classes": names, "config": CONFIG.to_dict()},
        facts={"shard_images": SHARD},
        error=None,
        priority=0,
        waits_for=None,
        created_at="",
        started_at=None,
        finished_at=None,
        updated_at="",
        version=1,
    )
    claim = Claim(
        record=record, phase=phase, unit=0, nonce="n0", attempt=1, lane=Lane.METHOD, worker="w"
    )
    shards = range(count // SHARD)
    outputs = {(of, number): f"{of}-{number}" for of in ("embed", "localize") for number in shards}
    outputs["debias", 0] = f"debias-{count}"
    bench = Workbench(Settings(data=folder, threads=1), DataFolder(folder))
    unit = JobUnit(claim, outputs, bench, distill.ignore, run=_never)
    unit.files = range(count)  # type: ignore[assignment] - only their number counts here
    return unit


def _never(unit: JobUnit) -> Finished:
    raise AssertionError(f"all that {unit.claim.phase} reads is whole")


if __name__ == "__main__":
    main()
