"""Does the method work? The comparison of `make quality`, on the drawn world with 3 seeds.

Every student has the same backbone, start, epochs and checkpoint rule; they differ in the labels
they learn from. The scenes' seeds were used for nothing else.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

from demo.world import CLASSES, EVALUATION_SEEDS, write_world
from models import distill
from models.config import PRESETS, DistillConfig
from models.data import ImageFiles, originals
from models.distill import EpochResult, GlobalLabels
from models.images import crop_resize, to_tensor
from models.metrics import average_precision, f1_scores, mean_average_precision
from models.prompts import ClassPrompt
from models.student import Student
from models.teacher import Teacher
from models.thresholds import apply_thresholds, best_f1_thresholds
from models.training import Training
from models.views import box_in_pixels

CONFIG = PRESETS["tiny"]
NAMES = [ClassPrompt(name) for name in sorted(CLASSES)]
#: Room around a true box on each side, as a part of the box: the view a careful person would cut.
TRUE_BOX_MARGIN = 0.25


@dataclass(frozen=True)
class World:
    """Drawn scenes with what is true about them: (N, C) bool, and boxes by image."""

    files: ImageFiles
    truth: Tensor
    boxes: list[list[tuple[int, int, int, int]]]


@dataclass(frozen=True)
class WarmedUp:
    """A training after the warm-up, and its training mAP by epoch."""

    training: Training
    history: list[EpochResult]


@dataclass(frozen=True)
class Learned:
    """A student after the checkpoint rule, and its training mAP by epoch."""

    student: Student
    history: list[EpochResult]


class Comparison:
    """One seed: its scenes, the shared teacher, and the students."""

    def __init__(self, folder: Path, *, seed: int, train: int, test: int, threads: int) -> None:
        self.threads = threads
        self.config: DistillConfig = replace(CONFIG, seed=seed)
        self.train = draw(folder / "train", count=train, seed=seed, start=0)
        self.test = draw(folder / "test", count=test, seed=seed, start=train)
        self.teacher: Teacher = distill.load_teacher_of(
            self.config, device=torch.device("cpu"), weights_dir=None
        )
        self.names = distill.encode_names(self.teacher, NAMES, self.config)

    def run(self) -> dict[str, object]:
        """Every figure of one seed; mAP in points."""
        found = self.global_labels(self.train)
        around_boxes = self.around_true_boxes()
        whole = self.global_labels(self.test).probs
        raw, debiased = self.warm_up(found.probs), self.warm_up(found.labels)
        local_probs = self.local_probs(debiased.training.averaged_student())
        pseudo = distill.blend(found, local_probs, self.config)
        students = {
            "raw": self.student(raw, found.probs, consistent=False),
            "debiased": self.student(debiased, found.labels, consistent=False),
            "whole method": self.student(debiased, pseudo, consistent=True),
        }
        by_class = {name: self.test_ap(learned) for name, learned in students.items()}
        rare = found.bias.factors.argsort()[: len(NAMES) // 3]
        return {
            "teacher": {
                "whole view": points(whole, self.test.truth),
                "around the true boxes": points(around_boxes, self.test.truth),
            },
            "labels": {
                "global": points(found.probs, self.train.truth),
                "debiased": points(found.labels, self.train.truth),
                "local": points(local_probs, self.train.truth),
                "pseudo": points(pseudo, self.train.truth),
            },
            "bias": {
                name.name: round(factor, 3)
                for name, factor in zip(NAMES, found.bias.factors.tolist(), strict=True)
            },
            "students": {name: 100 * float(ap.nanmean()) for name, ap in by_class.items()},
            "smallest bias third": {
                name: 100 * float(ap[rare].nanmean()) for name, ap in by_class.items()
            },
            "selected epoch": {
                name: distill.select_epoch(
                    [r.mean_average_precision for r in learned.history],
                    self.config.warm_up_epochs,
                )
                for name, learned in students.items()
            },
            "threshold F1": self.threshold_f1(students["whole method"].student, pseudo),
        }

    def global_labels(self, world: World) -> GlobalLabels:
        """The teacher's labels of whole images."""
        features = distill.embed(
            self.teacher,
            world.files,
            range(len(world.files)),
            batch_size=self.config.teacher_batch,
            threads=self.threads,
        )
        return distill.label_globally(features, self.names, self.config)

    def around_true_boxes(self) -> Tensor:
        """Teacher's largest probability over a view around every true box of the test scenes."""
        probs = torch.zeros(len(self.test.files), len(NAMES))
        for index, image in originals(
            self.test.files, range(len(self.test.files)), threads=self.threads
        ):
            boxes = [_widened(box, *image.size) for box in self.test.boxes[index]]
            if boxes:
                views = [to_tensor(crop_resize(image, b, self.teacher.view_size)) for b in boxes]
                found = self.names.probs(self.teacher.encode_images(torch.stack(views)))
                probs[index] = found[:, : len(NAMES)].amax(dim=0)
        return probs

    def warm_up(self, labels: Tensor) -> WarmedUp:
        """A fresh student after the warm-up on `labels`."""
        training = distill.start_training(self.config, len(NAMES), self.teacher, "cpu", None)
        epochs = range(self.config.warm_up_epochs)
        return WarmedUp(training, [self.epoch(training, labels, e, self.config) for e in epochs])

    def student(self, warm: WarmedUp, labels: Tensor, *, consistent: bool) -> Learned:
        """The main training on `labels`, from a copy of `warm`, and the checkpoint rule."""
        config = self.config if consistent else replace(self.config, consistency_weight=0.0)
        training, history, best = copy.deepcopy(warm.training), [*warm.history], None
        for epoch in range(config.warm_up_epochs, config.epochs):
            history.append(self.epoch(training, labels, epoch, config))
            scores = [result.mean_average_precision for result in history]
            if best is None and distill.gain_rises(scores):
                best = training.averaged_student()
        return Learned(best if best is not None else training.averaged_student(), history)

    def epoch(
        self, training: Training, labels: Tensor, epoch: int, config: DistillConfig
    ) -> EpochResult:
        """One epoch over the training scenes."""
        return distill.train_epoch(
            training, self.train.files, labels, epoch=epoch, config=config, threads=self.threads
        )

    def local_probs(self, student: Student) -> Tensor:
        """Local labels of the training scenes, with views chosen by `student`."""
        threshold = distill.find_class_threshold(
            student, self.train.files, config=self.config, threads=self.threads
        )
        return distill.localize(
            self.teacher,
            self.names,
            student,
            self.train.files,
            range(len(self.train.files)),
            threshold=threshold,
            config=self.config,
            threads=self.threads,
        ).local_probs

    def scores(self, student: Student, world: World) -> Tensor:
        """(N, C) probabilities of a student."""
        return distill.predict(
            student,
            world.files,
            range(len(world.files)),
            side=self.config.student_size,
            batch_size=self.config.batch_size,
            threads=self.threads,
        )

    def test_ap(self, learned: Learned) -> Tensor:
        """(C,) average precision on the test scenes."""
        return average_precision(self.scores(learned.student, self.test), self.test.truth)

    def threshold_f1(self, student: Student, pseudo: Tensor) -> dict[str, float]:
        """Macro-F1 of the labels at the job's own thresholds, and at the best possible ones."""
        scores = self.scores(student, self.train)
        own = distill.label_thresholds(scores, pseudo)
        best = best_f1_thresholds(scores, self.train.truth, min_positives=1)
        return {
            name: float(f1_scores(apply_thresholds(scores, t), self.train.truth).nanmean())
            for name, t in (("own", own), ("best", best))
        }


def draw(folder: Path, *, count: int, seed: int, start: int) -> World:
    """Scenes `start` to `start + count` of the world `seed`, written to files and read as files."""
    told = write_world(folder, count=count, seed=seed, start=start)["images"]
    assert isinstance(told, dict)
    column = {name.name: index for index, name in enumerate(NAMES)}
    truth = torch.zeros(count, len(NAMES), dtype=torch.bool)
    for row, scene in enumerate(told.values()):
        truth[row, [column[label] for label in scene["labels"]]] = True
    paths = [folder / name for name in told]
    digests = [sha256(path.read_bytes()).hexdigest() for path in paths]
    boxes = [[tuple(t["box"]) for t in scene["targets"]] for scene in told.values()]
    return World(ImageFiles(paths, digests), truth, boxes)


def points(scores: Tensor, truth: Tensor) -> float:
    """MAP in points (0 to 100)."""
    return 100 * mean_average_precision(scores, truth)


def _widened(box: tuple[int, int, int, int], width: int, height: int) -> tuple[int, int, int, int]:
    left, top, right, bottom = box
    x, y = TRUE_BOX_MARGIN * (right - left), TRUE_BOX_MARGIN * (bottom - top)
    unit = torch.tensor(
        [(left - x) / width, (top - y) / height, (right + x) / width, (bottom + y) / height]
    )
    return box_in_pixels(unit.clamp(0, 1), width, height)


# The table

#: (letter of the promise, what it says, least figure, figure of one seed)
ROWS = (
    (
        "a",
        "crops around the true boxes over the whole view, teacher, test scenes",
        10.0,
        lambda s: s["teacher"]["around the true boxes"] - s["teacher"]["whole view"],
    ),
    (
        "b",
        "pseudo-labels over the teacher's global probabilities, training scenes",
        2.0,
        lambda s: s["labels"]["pseudo"] - s["labels"]["global"],
    ),
    (
        "c",
        "student of the whole method over the student of the global labels, test scenes",
        2.0,
        lambda s: s["students"]["whole method"] - s["students"]["raw"],
    ),
    (
        "d",
        "debiased over raw labels: classes of the smallest third of the bias",
        0.0,
        lambda s: s["smallest bias third"]["debiased"] - s["smallest bias third"]["raw"],
    ),
    (
        "d",
        "debiased over raw labels: all classes",
        -0.5,
        lambda s: s["students"]["debiased"] - s["students"]["raw"],
    ),
    (
        "e",
        "F1 at the job's own thresholds over F1 at the best ones, training scenes",
        0.85,
        lambda s: s["threshold F1"]["own"] / s["threshold F1"]["best"],
    ),
)


def table(results: dict[int, dict[str, object]]) -> str:
    """The comparison as Markdown: promises first, then every figure behind them."""
    seeds = list(results)
    lines = [
        "| | promise | at least | " + " | ".join(f"seed {s}" for s in seeds) + " | mean | kept |",
        "| --- " * (len(seeds) + 5) + "|",
    ]
    for letter, text, least, figure in ROWS:
        values = [figure(results[seed]) for seed in seeds]
        mean = statistics.fmean(values)
        kept = "yes" if mean >= least else "NO"
        cells = " | ".join(f"{value:.2f}" for value in values)
        lines.append(f"| {letter} | {text} | {least:g} | {cells} | {mean:.2f} | {kept} |")
    lines += [
        "",
        "| mAP | " + " | ".join(f"seed {s}" for s in seeds) + " | mean | spread |",
        "| --- " * (len(seeds) + 3) + "|",
    ]
    for group in ("teacher", "labels", "students", "smallest bias third"):
        first = results[seeds[0]][group]
        assert isinstance(first, dict)
        for name in first:
            values = [results[seed][group][name] for seed in seeds]  # type: ignore[index]
            cells = " | ".join(f"{value:.1f}" for value in values)
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            lines.append(
                f"| {group}: {name} | {cells} | {statistics.fmean(values):.1f} | {spread:.1f} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line: `python -m benchmarks.quality`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(EVALUATION_SEEDS))
    parser.add_argument("--train", type=int, default=600, help="training scenes a seed")
    parser.add_argument("--test", type=int, default=600, help="held-out scenes a seed")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("docs/quality"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    results: dict[int, dict[str, object]] = {}
    for seed in arguments.seeds:
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            results[seed] = Comparison(
                Path(folder),
                seed=seed,
                train=arguments.train,
                test=arguments.test,
                threads=arguments.threads,
            ).run()
        print(f"seed {seed}: {time.monotonic() - started:.0f} s", flush=True)
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
        arguments.out.with_suffix(".md").write_text(table(results))
    print(table(results))


if __name__ == "__main__":
    main()
