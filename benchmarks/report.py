"""How long the health report of a large job takes, and how large its page is."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import torch

from benchmarks.made_up import JOB, MadeUp, random_answers, write_job
from benchmarks.memory import peak_of_process
from demo.world import TUNING_SEEDS, draw_scene
from workers.files import DataFolder
from workers.job_files import JobFiles
from workers.report import build

COUNT, CLASSES = 20_000, 80
#: Different pictures; the images of the job are these, over and over.
PICTURES = 64


def bench_report(folder: Path, threads: int) -> tuple[str, str, str]:
    """The report of a job with 20,000 images and 80 classes, made in a process of its own."""
    _write_large_job(folder)
    command = [sys.executable, "-m", "benchmarks.report", str(folder), str(threads)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, page_bytes, peak_bytes = map(float, answer.stdout.split())
    page, peak = f"{page_bytes / 1e6:.1f} MB", f"{peak_bytes / 1e6:.0f} MB"
    return (
        f"the health report of {COUNT:,} images and {CLASSES} classes",
        f"{seconds:.1f} s, a page of {page}, peak memory {peak}",
        "60 s, 15 MB",
    )


def main() -> None:
    """Seconds, bytes of the page, and peak memory of this process."""
    torch.set_num_threads(int(sys.argv[2]))
    started = time.perf_counter()
    made = build(JobFiles.of_finished(DataFolder(Path(sys.argv[1])), JOB))
    seconds = time.perf_counter() - started
    print(seconds, len(made.page.encode()), peak_of_process())


def _write_large_job(folder: Path) -> None:
    pictures = folder / "pictures"
    pictures.mkdir()
    for index in range(PICTURES):
        scene = draw_scene(TUNING_SEEDS[0], index)
        (pictures / f"scene_{index:03d}.jpg").write_bytes(scene.jpeg())
    scores, teacher = random_answers(COUNT, CLASSES)
    made = MadeUp(
        classes=[f"class {i:02d}" for i in range(CLASSES)],
        pictures=[os.fsencode(path.name) for path in sorted(pictures.iterdir())],
        root=pictures,
        count=COUNT,
        scores=scores,
        teacher=teacher,
    )
    write_job(DataFolder(folder), made)


if __name__ == "__main__":
    main()
