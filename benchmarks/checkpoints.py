"""Which epoch does the checkpoint rule keep, and what would another have given?

Tuning seeds of the drawn world, preset `tiny`: training mAP, and mAP on 400 held-out scenes, after
every epoch. `ours` counts the epochs of the main training, `script` those of the warm-up too.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.quality import draw
from demo.world import TUNING_SEEDS
from models import distill
from models.config import PRESETS
from models.metrics import mean_average_precision
from workers.experiments.inputs import Labelled
from workers.experiments.work import Work

HELD_OUT = 400


def main() -> None:
    """Command line: `python -m benchmarks.checkpoints`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, nargs="+", default=[150, 300])
    parser.add_argument("--seeds", type=int, nargs="+", default=list(TUNING_SEEDS[:1]))
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print("| scenes | seed | epoch | training mAP | held out | kept by |")
    print("| --- | --- | --- | --- | --- | --- |")
    for count in arguments.scenes:
        for seed in arguments.seeds:
            with tempfile.TemporaryDirectory() as folder:
                rows = epochs(Path(folder), count=count, seed=seed, threads=arguments.threads)
            print("\n".join(f"| {count} | {seed} | {row} |" for row in rows), flush=True)


def epochs(folder: Path, *, count: int, seed: int, threads: int) -> list[str]:
    """One job, and the row of each of its epochs."""
    work = Work(folder / "work", {"threads": threads}, say=lambda _line: None)
    train = draw(folder / "train", work, count=count, seed=seed, start=0)
    test = draw(folder / "test", work, count=HELD_OUT, seed=seed, start=count)
    config = replace(PRESETS["tiny"], seed=seed)
    scores, held_out = _learn(train, test, config, threads)
    kept = {
        "script": _first_rise(scores, config.warm_up_epochs),
        "ours": distill.select_epoch(scores, config.warm_up_epochs),
    }
    return [
        f"{epoch + 1} | {100 * score:.1f} | {100 * found:.1f} "
        f"| {', '.join(rule for rule, chosen in kept.items() if chosen == epoch)}"
        for epoch, (score, found) in enumerate(zip(scores, held_out, strict=True))
    ]


def _learn(
    train: Labelled, test: Labelled, config: distill.DistillConfig, threads: int
) -> tuple[list[float], list[float]]:
    """Training mAP and held-out mAP of every epoch of the whole method."""
    files, everything = train.files, range(len(train.files))
    teacher = distill.load_teacher_of(config, device=torch.device("cpu"), weights_dir=None)
    names = distill.encode_names(teacher, train.classes, config)
    features = distill.embed(
        teacher, files, everything, batch_size=config.teacher_batch, threads=threads
    )
    found = distill.label_globally(features, names, config)
    training = distill.start_training(config, len(train.classes), teacher, "cpu", None)
    labels, scores, held_out = found.labels, [], []
    for epoch in range(config.epochs):
        if epoch == config.warm_up_epochs:
            student = training.averaged_student()
            threshold = distill.find_class_threshold(student, files, config=config, threads=threads)
            views = distill.localize(
                teacher,
                names,
                student,
                files,
                everything,
                threshold=threshold,
                config=config,
                threads=threads,
            )
            labels = distill.blend(found, views.local_probs, config)
        result = distill.train_epoch(
            training, files, labels, epoch=epoch, config=config, threads=threads
        )
        probs = distill.predict(
            training.averaged_student(),
            test.files,
            range(len(test.files)),
            side=config.student_size,
            batch_size=config.batch_size,
            threads=threads,
        )
        scores.append(result.mean_average_precision)
        held_out.append(mean_average_precision(probs, test.truth))
    return scores, held_out


def _first_rise(scores: list[float], warm_up_epochs: int) -> int:
    """The released script's choice, the last epoch where it makes none."""
    main = range(warm_up_epochs, len(scores))
    return next((e for e in main if distill.gain_rises(scores[: e + 1])), len(scores) - 1)


if __name__ == "__main__":
    main()
