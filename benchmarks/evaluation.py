"""Time and memory of an evaluation: 100,000 images, 80 classes, every stage of a job."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import torch

from benchmarks.memory import peak_of_process
from benchmarks.scored_job import JOB, write_job
from workers.evaluations import publish
from workers.files import DataFolder
from workers.results import open_job
from workers.stages import Stage
from workers.truth.read import read_truth

IMAGES, CLASSES = 100_000, 80
LABELS_PER_IMAGE = 2.9  # as COCO has


def main() -> None:
    """Evaluate the job in a folder and print the seconds it took and the peak of memory."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    started, before = time.perf_counter(), time.process_time()
    truth = read_truth(options.folder / "truth.csv")
    read = time.perf_counter()
    publish(
        open_job(DataFolder(options.folder), JOB),
        truth,
        class_map=None,
        nonce="benchmark",
        threads=options.threads,
    )
    done = time.perf_counter()
    times = {"read": read - started, "whole": done - started, "cpu": time.process_time() - before}
    print(json.dumps({**times, "peak": peak_of_process()}))


def bench_evaluate(folder: Path, threads: int) -> tuple[str, str, str]:
    """A row of the table: what, seen, aim."""
    write_case(folder)
    command = [sys.executable, "-m", "benchmarks.evaluation", str(folder)]
    command += ["--threads", str(threads)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    seen = json.loads(answer.stdout)
    told = (
        f"{seen['whole']:.1f} s ({seen['cpu']:.1f} s of a core; {seen['read']:.1f} s for the CSV)"
    )
    return (
        f"evaluation, {IMAGES:,} images x {CLASSES} classes x {len(Stage)} stages, CSV to results",
        f"{told}, peak {seen['peak'] / 1e9:.2f} GB",
        "20 s, 2 GB",
    )


def write_case(folder: Path) -> None:
    """A job with random scores of all stages, and a truth that goes with them a little."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.rand(IMAGES, CLASSES, generator=generator) < LABELS_PER_IMAGE / CLASSES
    data = DataFolder(folder)
    data.create()
    names = [f"class {c:02d}" for c in range(CLASSES)]
    paths = [f"images/{i:08d}.jpg" for i in range(IMAGES)]
    scores = {}
    for stage in Stage:
        noise = torch.rand(IMAGES, CLASSES, generator=generator)
        scores[stage] = (noise + 0.3 * targets) / 1.3
    write_job(data, scores, classes=names, paths=paths, shard=1000)
    rows = [
        f"{path},{';'.join(names[c] for c in row.nonzero().flatten().tolist())}"
        for path, row in zip(paths, targets, strict=True)
    ]
    (folder / "truth.csv").write_text("\n".join(["path,labels", *rows]))


if __name__ == "__main__":
    main()
