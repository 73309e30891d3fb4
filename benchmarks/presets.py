"""Do the big presets run at all? Four scenes, one epoch of each kind, random weights.

Random weights have true speed and memory; the labels mean nothing.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import tempfile
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import torch

from demo.world import CLASSES, TUNING_SEEDS, write_world
from models.config import PRESETS
from models.data import ImageFiles
from models.distill import distill
from models.prompts import ClassPrompt


def main() -> None:
    """Command line: `python -m benchmarks.presets paper released`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("presets", nargs="+", choices=list(PRESETS))
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for preset in arguments.presets:
        run(preset, arguments.images, arguments.device, arguments.threads)


def run(preset: str, count: int, device: str, threads: int) -> None:
    """One preset from images to a student; prints what came out and how long each phase took."""
    config = PRESETS[preset]
    config = replace(
        config,
        teacher=f"{config.teacher.split('/')[0]}/random",
        student_weights="random",
        warm_up_epochs=1,
        train_epochs=1,
        batch_size=2,
        teacher_batch=4,
        classes_per_image=2,
    )
    phases: list[tuple[str, float]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_world(folder, count=count, seed=TUNING_SEEDS[1])
        paths = sorted(folder.glob("*.jpg"))
        files = ImageFiles(paths, [sha256(path.read_bytes()).hexdigest() for path in paths])
        found = distill(
            files,
            [ClassPrompt(name) for name in CLASSES],
            config,
            device=device,
            threads=threads,
            on_phase=lambda phase: phases.append((phase, time.perf_counter())),
        )
    phases.append(("end", time.perf_counter()))
    seconds = ", ".join(
        f"{phase} {after - start:.0f} s"
        for (phase, start), (_, after) in itertools.pairwise(phases)
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"{preset}: {config.teacher} at {config.view_size}, {config.student} at "
        f"{config.student_size} on {device}: scores {tuple(found.student_probs.shape)}, "
        f"finite {bool(found.student_probs.isfinite().all())}; {seconds}; peak {peak:.1f} GB"
    )


if __name__ == "__main__":
    main()
