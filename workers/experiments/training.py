"""Students of an experiment: each epoch a piece of work, shared by all that begin alike."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from models import distill
from models.config import DistillConfig
from models.data import ImageFiles
from models.student import Student
from models.training import Training
from workers.epochs import TrainingDiverged, fields_of
from workers.experiments.work import Work
from workers.files import read_json, write_json
from workers.units import OnBatch, digest_of_tensors, subset

WEIGHTS, OPTIMIZER, HISTORY = "weights.safetensors", "optimizer.safetensors", "history.json"


@dataclass(frozen=True)
class Lesson:
    """One epoch against some labels, on top of the epochs before it.

    Attributes:
        epoch: counted from 0 over warm-up and main training.
        labels: (N, C) in [0, 1].
        config: what the student and its training are like.
        before: the epoch before; None for the first.
        what: the student in words.
    """

    epoch: int
    labels: Tensor
    config: DistillConfig
    before: Lesson | None
    what: str

    @property
    def is_warm_up(self) -> bool:
        return self.epoch < self.config.warm_up_epochs

    @property
    def earlier(self) -> Lesson | None:
        """The epoch before, if it is of the same part of the training."""
        before = self.before
        return None if before is None or before.is_warm_up != self.is_warm_up else before

    @cached_property
    def key(self) -> list[object]:
        """Everything that this epoch and those before it depend on, but for images and start."""
        labels = digest_of_tensors({"labels": self.labels.contiguous()})
        before = None if self.before is None else self.before.key
        fields = subset(self.config, fields_of(self.config, self.epoch))
        return [before, self.epoch, labels, fields]


@dataclass(frozen=True)
class Learned:
    """A student of the checkpoint rule.

    Attributes:
        key: stands for all that it learned.
        what: the student in words.
        student: itself.
        history: training mAP by epoch, warm-up first.
    """

    key: str
    what: str
    student: Student
    history: Sequence[float]


def warm_up(labels: Tensor, config: DistillConfig, *, what: str) -> Lesson:
    """The last epoch of a warm-up on (N, C) labels."""
    return _lessons(None, range(config.warm_up_epochs), labels, config, what)


def main_training(warm: Lesson, labels: Tensor, config: DistillConfig, *, what: str) -> Lesson:
    """The last epoch of a main training on (N, C) labels after `warm`."""
    return _lessons(warm, range(config.warm_up_epochs, config.epochs), labels, config, what)


def _lessons(
    before: Lesson | None, epochs: range, labels: Tensor, config: DistillConfig, what: str
) -> Lesson:
    lesson = before
    for epoch in epochs:
        lesson = Lesson(epoch, labels, config, lesson, what)
    assert lesson is not None  # there is at least one epoch of each kind
    return lesson


class Classroom:
    """Trains students on one set of images, and keeps what they became on disk.

    Args:
        start: a fresh student and its optimizer, always the same.
    """

    def __init__(
        self, work: Work, files: ImageFiles, start: Callable[[], Training], *, threads: int
    ) -> None:
        self._work, self._files, self._start, self._threads = work, files, start, threads
        self._kept: tuple[Path, Training] | None = None

    def history(self, lesson: Lesson) -> list[float]:
        """Training mAP of every epoch up to `lesson`, which is trained now if it was not yet."""
        return [row["map"] for row in read_json(self._trained(lesson) / HISTORY)]

    def student(self, lesson: Lesson) -> Student:
        """The student as it stands after `lesson`."""
        return self._loaded(self._trained(lesson) / WEIGHTS)

    def key_of(self, lesson: Lesson) -> list[object]:
        """Everything that the student after `lesson` depends on, its images and start included."""
        return [*self._of_all, lesson.key]

    def graduate(self, last: Lesson) -> Learned:
        """The student of the checkpoint rule after a main training.

        The epochs of the main training are removed from disk once it is there.
        """
        path = self._work.path("graduate", *self.key_of(last))
        if not self._work.is_there(path):
            trained = self._trained(last)
            chosen = _chosen(last, self.history(last))
            weights = self._trained(chosen) / WEIGHTS

            def make(staging: Path, _on_batch: OnBatch) -> None:
                shutil.copyfile(weights, staging / WEIGHTS)
                shutil.copyfile(trained / HISTORY, staging / HISTORY)

            what = f"{last.what}: epoch {chosen.epoch} chosen"
            self._work.piece(
                "graduate", *self.key_of(last), what=what, make=make, instead_of=trained
            )
            for done in {chosen.epoch: chosen, last.epoch: last}.values():
                self._work.drop(self._path(done))
        for used in (path, self._path(_last_warm_up(last))):
            self._work.use(used)
        history = [row["map"] for row in read_json(path / HISTORY)]
        return Learned(path.name, last.what, self._loaded(path / WEIGHTS), history)

    @cached_property
    def _of_all(self) -> list[object]:
        start = digest_of_tensors(self._start().weights())
        return [start, list(self._files.sha256)]

    def _path(self, lesson: Lesson) -> Path:
        return self._work.path("epoch", *self.key_of(lesson))

    def _trained(self, lesson: Lesson) -> Path:
        """The folder of an epoch."""
        path = self._path(lesson)
        if self._work.is_there(path):
            self._work.use(path)
            return path
        training = self._training_after(lesson.before)
        before = None if lesson.before is None else self._path(lesson.before)
        history = [] if before is None else read_json(before / HISTORY)
        earlier = lesson.earlier

        def make(staging: Path, on_batch: OnBatch) -> None:
            result = distill.train_epoch(
                training,
                self._files,
                lesson.labels,
                epoch=lesson.epoch,
                config=lesson.config,
                threads=self._threads,
                on_batch=on_batch,
            )
            if not math.isfinite(result.loss):
                raise TrainingDiverged(lesson.epoch)
            save_file(training.weights(), staging / WEIGHTS)
            save_file(training.optimizer_state(), staging / OPTIMIZER)
            row = {"loss": result.loss, "map": result.mean_average_precision}
            write_json(staging / HISTORY, [*history, row])

        self._work.piece(
            "epoch",
            *self.key_of(lesson),
            what=f"{lesson.what}: epoch {lesson.epoch + 1} of {lesson.config.epochs}",
            make=make,
            instead_of=None if earlier is None else self._path(earlier),
        )
        self._kept = path, training
        if earlier is not None and not _is_chosen(earlier, [row["map"] for row in history]):
            self._work.drop(self._path(earlier))
        return path

    def _training_after(self, lesson: Lesson | None) -> Training:
        """A training to go on with: from memory if it stands there, else from disk."""
        if lesson is None:
            return self._start()
        path = self._trained(lesson)
        kept, self._kept = self._kept, None
        if kept is not None and kept[0] == path:
            return kept[1]
        training = self._start()
        training.restore(load_file(path / WEIGHTS), load_file(path / OPTIMIZER))
        return training

    def _loaded(self, weights: Path) -> Student:
        student = self._start().student
        student.load_state_dict(load_file(weights))
        return student


def _last_warm_up(lesson: Lesson) -> Lesson:
    while not lesson.is_warm_up:
        assert lesson.before is not None  # a main training follows a warm-up
        lesson = lesson.before
    return lesson


def _chosen(last: Lesson, history: Sequence[float]) -> Lesson:
    """The epoch of the checkpoint rule."""
    epoch = distill.select_epoch(history, last.config.warm_up_epochs)
    lesson = last
    while lesson.epoch != epoch:
        assert lesson.before is not None  # the rule chooses an epoch of the main training
        lesson = lesson.before
    return lesson


def _is_chosen(lesson: Lesson, history: Sequence[float]) -> bool:
    """Whether an epoch of a training that goes on is already known to be the one to keep."""
    warm_up = lesson.config.warm_up_epochs
    first = distill.select_epoch(history, warm_up)
    return first == lesson.epoch and distill.gain_rises(history[warm_up:])
