"""Seconds an image costs in every phase, and the bytes it leaves: a real job, unit by unit."""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from safetensors import safe_open

from benchmarks.service import Service, draw_photos, service
from models.availability import missing_weights
from models.config import PRESETS, DistillConfig
from models.data import ImageFiles, originals, view_batches
from workers.files import MANIFEST
from workers.hardware import device_name, device_of
from workers.jobs import Lane, Status
from workers.rows import content_files

#: Images of the job that loads the networks before the clock runs.
FEW = 8

#: Seconds, of which differences count.
Clock = Callable[[], float]


def core_seconds() -> float:
    """Of all cores, by this process and the children that have ended: other work does not count."""
    children = os.times()[2:4]
    return time.process_time() + sum(children)


def measure_speed(
    folder: Path, preset: str, *, device: str, threads: int, images: int, weights: Path | None
) -> dict[str, Any]:
    """What one worker takes for a photo in every phase, and what the photo leaves on disk.

    Seconds are those of a core where the networks run on the CPU, else those of the clock. Where
    the preset's weights are not there random ones take their place: they are as fast.
    """
    photos, few = folder / "photos", folder / "few"
    draw_photos(photos, images)
    draw_photos(few, FEW)
    torch.set_num_threads(threads)
    with service(
        folder, folder, shard_images=images, threads=threads, device=device, weights=weights
    ) as running:
        config = _config(preset, running)
        clock = core_seconds if device == "cpu" else time.perf_counter
        _run_job(running, few, config, clock)
        job_id, seconds = _run_job(running, photos, config, clock)
        shape, sizes = _files_of(running, job_id, images)
        seconds |= _decoding(running, job_id, config)
    return {
        "preset": preset,
        "device": device_name(device_of(device)),
        "threads": threads,
        "images": images,
        "teacher": config.teacher,
        "seconds": seconds,
        "shape": shape,
        "bytes": sizes,
    }


def _config(preset: str, running: Service) -> DistillConfig:
    config = PRESETS[preset]
    if not missing_weights(config, running.settings.weights_folder):
        return config
    teacher = f"{config.teacher.split('/')[0]}/random"
    return replace(config, teacher=teacher, student_weights="random")


def _run_job(
    running: Service, images: Path, config: DistillConfig, clock: Clock
) -> tuple[str, dict[str, float]]:
    """The job's id, and phase -> seconds an image of one pass over all of them."""
    started, count = clock(), sum(1 for _ in images.iterdir())
    dataset_id = running.register(images)
    register = clock() - started
    job_id = running.submit(dataset_id, config)
    units: dict[str, list[float]] = {}
    for phase, seconds in _units(running, clock):
        units.setdefault(phase, []).append(seconds)
    if running.store.get(job_id).status is not Status.SUCCEEDED:
        sys.exit(f"the job failed: {running.store.get(job_id).error}")
    *epochs, threshold = units.pop("warm_up")
    spent = {"register": [register], "warm_up": epochs, "threshold": [threshold], **units}
    return job_id, {phase: median(times) / count for phase, times in spent.items()}


def _units(running: Service, clock: Clock) -> Iterator[tuple[str, float]]:
    """Phase and seconds of every unit, from its claim to its record."""
    workers = [running.worker(lane) for lane in (Lane.METHOD, Lane.IO)]
    found = True
    while found:
        found = False
        for worker in workers:
            started = clock()
            nonce = secrets.token_hex(16)
            claim = running.store.claim(worker.lane, worker=worker.name, nonce=nonce)
            if claim is not None:
                found = True
                worker.run(claim)
                yield claim.phase, clock() - started


def _decoding(running: Service, job_id: str, config: DistillConfig) -> dict[str, float]:
    """Seconds an image, on one core: as `embed` wants it, and at full size as `localize` does."""
    dataset = running.folder.dataset(running.store.get(job_id).request["dataset_id"])
    files = ImageFiles(*content_files(dataset))
    side = config.view_size or config.student_size
    whole = range(len(files))

    def views() -> None:
        for _ in view_batches(files, whole, side=side, batch_size=32, threads=1):
            pass

    def full() -> None:
        for _ in originals(files, whole, threads=1):
            pass

    found = {}
    for name, decode in (("decode", views), ("decode_original", full)):
        started = core_seconds()
        decode()
        found[name] = (core_seconds() - started) / len(files)
    return found


def _files_of(
    running: Service, job_id: str, images: int
) -> tuple[dict[str, float], dict[str, float]]:
    """The job's shape, and phase -> bytes an image has in its files."""
    sizes = {"manifest": (running.folder.job(job_id) / MANIFEST).stat().st_size / images}
    outputs = running.store.outputs(job_id)
    for phase, file in (
        ("embed", "features.safetensors"),
        ("debias", "labels.safetensors"),
        ("localize", "views.safetensors"),
        ("update", "labels.safetensors"),
        ("score", "scores.safetensors"),
    ):
        sizes[phase] = (running.folder.phase(outputs[phase, 0]) / file).stat().st_size / images
    path = running.folder.phase(outputs["embed", 0]) / "features.safetensors"
    with safe_open(path, "pt") as embedded:
        features = embedded.get_slice("features").get_shape()[1]
    views = running.folder.phase(outputs["localize", 0]) / "views.safetensors"
    with safe_open(views, "pt") as localized:
        pairs, classes = localized.get_slice("view_probs").get_shape()
    shape = {"classes": classes, "features": features, "views": pairs / images}
    return shape, sizes
