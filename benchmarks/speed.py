"""Speed and memory beside what they are compared with, in one run: `make bench`."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.evaluation import bench_evaluate
from benchmarks.exports import bench_exports
from benchmarks.label_pages import bench_label_pages
from benchmarks.memory import peak_of_process
from benchmarks.report import bench_report
from benchmarks.service import draw_photos, small_images, small_name
from benchmarks.workers import bench_overhead, bench_workers
from demo.world import CLASSES, TUNING_SEEDS, write_world
from models import distill
from models.config import PRESETS
from models.data import ImageFiles, originals
from models.images import crop_resize, resize, to_tensor
from models.prompts import ClassPrompt
from models.views import box_in_pixels, cam_boxes
from workers.contents import ContentDigests, ContentPaths

SHARD = 1000
#: (what, against what, wanted)
Row = tuple[str, str, str]


def main() -> None:
    """Command line: `python -m benchmarks.speed`."""
    benchmarks = {
        "embed": bench_embed,
        "localize": bench_localize,
        "memory": bench_memory,
        "evaluate": bench_evaluate,
        "report": bench_report,
        "labels": bench_label_pages,
        "exports": bench_exports,
        "workers": bench_workers,
        "overhead": bench_overhead,
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=list(benchmarks))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peak-of", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.peak_of:
        print(peak_bytes(arguments.folder, arguments.peak_of, arguments.threads))
        return
    print("| what | seen | aim |\n| --- | --- | --- |")
    for name, bench in benchmarks.items():
        if arguments.only in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                print("| " + " | ".join(bench(Path(folder), arguments.threads)) + " |", flush=True)


def bench_embed(folder: Path, threads: int, count: int = 192) -> Row:
    """Embedding a folder of 640-pixel JPEGs against the bare forward pass on ready tensors."""
    files = _files(draw_photos(folder, count))
    config = PRESETS["offline"]
    teacher = distill.load_teacher_of(config, device=torch.device("cpu"), weights_dir=folder)
    batch = config.teacher_batch
    ready = torch.randint(0, 256, (batch, 3, teacher.view_size, teacher.view_size)).byte()

    def bare() -> None:
        for start in range(0, count, batch):
            teacher.encode_images(ready[: count - start])

    def whole() -> None:
        distill.embed(teacher, files, range(count), batch_size=batch, threads=threads)

    ratios, rates = _compare(whole, bare, count)
    return (
        f"`embed`, {count} JPEGs of 640 x 480, offline teacher, over its bare forward pass",
        f"{statistics.median(ratios):.2f} of it ({rates[0]:.1f} against {rates[1]:.1f} images/s)",
        "0.85",
    )


def bench_localize(folder: Path, threads: int, count: int = 96) -> Row:
    """Local views in batches against one crop per forward pass, as the released code does."""
    write_world(folder, count=count, seed=TUNING_SEEDS[0])
    files = _files(sorted(folder.glob("*.jpg")))
    config = PRESETS["tiny"]
    classes = [ClassPrompt(name) for name in CLASSES]
    teacher = distill.load_teacher_of(config, device=torch.device("cpu"), weights_dir=None)
    names = distill.encode_names(teacher, classes, config)
    student = distill.start_training(config, len(classes), teacher, "cpu", None).student
    threshold = distill.find_class_threshold(student, files, config=config, threads=threads)
    found: dict[str, Tensor] = {}

    def batched() -> None:
        views = distill.localize(
            teacher,
            names,
            student,
            files,
            range(count),
            threshold=threshold,
            config=config,
            threads=threads,
        )
        found["batched"] = views.local_probs

    @torch.inference_mode()
    def one_by_one() -> None:
        student.eval()
        found["one by one"] = torch.zeros(count, len(classes))
        for index, image in originals(files, range(count), threads=1):
            cams = student.cams(student.prepare(to_tensor(resize(image, config.cam_size))[None]))
            probs = cams.mean(dim=(2, 3)).sigmoid()[0]
            for class_index in (probs >= threshold).nonzero()[:, 0].tolist():
                boxes, has_peak = cam_boxes(
                    cams[0, class_index][None],
                    size=config.cam_size,
                    threshold=config.cam_threshold,
                    margin=config.box_margin,
                )
                if has_peak[0]:
                    box = box_in_pixels(boxes[0], *image.size)
                    view = to_tensor(crop_resize(image, box, teacher.view_size))[None]
                    answer = names.probs(teacher.encode_images(view))[0, : len(classes)]
                    found["one by one"][index] = found["one by one"][index].maximum(answer)

    ratios, rates = _compare(batched, one_by_one, count)
    difference = (found["batched"] - found["one by one"]).abs().max().item()
    seen = (
        f"{statistics.median(ratios):.2f} x ({rates[0]:.1f} against {rates[1]:.1f} images/s), "
        f"labels differ by {difference:.1e} at most"
    )
    return (
        f"`localize`, {count} scenes, tiny teacher, over one crop per forward pass",
        seen,
        "2 x, 1e-4",
    )


def bench_memory(folder: Path, threads: int, few: int = 1000, many: int = 20_000) -> Row:
    """Growth of peak memory of `embed` with the number of distinct images."""
    small_images(folder, many)
    rounds = [(_peak_of(folder, few, threads), _peak_of(folder, many, threads)) for _ in range(3)]
    low, high = (statistics.median(peaks) / 1e6 for peaks in zip(*rounds, strict=True))
    growths = ", ".join(f"{(b - a) / 1e6:+.1f}" for a, b in rounds)
    return (
        f"`embed`, peak memory from {few:,} to {many:,} distinct images, medians of 3",
        f"{high - low:+.1f} MB ({low:.0f} to {high:.0f} MB; pairs {growths})",
        "20 MB",
    )


def _peak_of(folder: Path, count: int, threads: int) -> int:
    """`peak_bytes` of a fresh process."""
    command = [sys.executable, "-m", "benchmarks.speed", "--peak-of", str(count)]
    options = ["--folder", str(folder), "--threads", str(threads)]
    answer = subprocess.run([*command, *options], check=True, capture_output=True, text=True)
    return int(answer.stdout)


def peak_bytes(folder: Path, count: int, threads: int) -> int:
    """Peak memory of this process after embedding `count` images, shard by shard as a worker."""
    paths, digests = ContentPaths(os.fsencode(folder)), ContentDigests()
    for index in range(count):
        paths.append(os.fsencode(small_name(index)))
        digests.append(sha256(paths[index].read_bytes()).hexdigest())
    files = ImageFiles(paths, digests)
    config = replace(PRESETS["tiny"], teacher_batch=32)
    teacher = distill.load_teacher_of(config, device=torch.device("cpu"), weights_dir=None)
    with tempfile.TemporaryDirectory() as out:
        for start in range(0, count, SHARD):
            features = distill.embed(
                teacher,
                files,
                range(start, min(start + SHARD, count)),
                batch_size=config.teacher_batch,
                threads=threads,
            )
            save_file({"features": features}, Path(out) / f"{start}.safetensors")
    return peak_of_process()


def _compare(
    ours: Callable[[], None], other: Callable[[], None], count: int, rounds: int = 5
) -> tuple[list[float], tuple[float, float]]:
    """Ratios of speed, one a round, the two taking turns; and the images a second of each."""
    ours(), other()
    times = [(_seconds(ours), _seconds(other)) for _ in range(rounds)]
    ratios = [b / a for a, b in times]
    return ratios, (
        count / statistics.median(a for a, _ in times),
        count / statistics.median(b for _, b in times),
    )


def _seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _files(paths: list[Path]) -> ImageFiles:
    return ImageFiles(paths, [sha256(path.read_bytes()).hexdigest() for path in paths])


if __name__ == "__main__":
    main()
