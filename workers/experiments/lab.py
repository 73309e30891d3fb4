"""One run of the method taken apart: each part computed once and shared by all experiments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from models import distill
from models.cdul import cdul_labels, tile_boxes
from models.config import DistillConfig
from models.debias import Bias, debias
from models.distill import Box, GlobalLabels, LocalViews
from models.teacher import Teacher
from models.training import Training
from models.views import box_in_pixels
from workers.experiments.inputs import Labelled
from workers.experiments.training import Classroom, Learned, Lesson, main_training, warm_up
from workers.experiments.work import Work
from workers.phases import LOCALIZE_FIELDS
from workers.units import EMBED_FIELDS, OnBatch, digest_of_tensors, subset


class Lab:
    """The parts of the method on one set of images, with one seed.

    Args:
        train: images that labels are made for and that students learn from.
        held_out: images that students are measured on; may be `train`.
        teacher: the one that `config` names.
        work: where everything computed lies.
        name: what progress is told under, such as "seed 1".
    """

    def __init__(
        self,
        train: Labelled,
        held_out: Labelled,
        config: DistillConfig,
        *,
        teacher: Teacher,
        work: Work,
        name: str,
        threads: int,
        device: torch.device | str = "cpu",
        weights_dir: Path | None = None,
    ) -> None:
        self.train, self.held_out, self.config = train, held_out, config
        self.work, self.name, self.threads = work, name, threads
        self._teacher, self._device, self._weights_dir = teacher, device, weights_dir
        self._classroom = Classroom(work, train.files, self._start, threads=threads)

    @cached_property
    def names(self) -> distill.Names:
        """The classes' text features."""
        return distill.encode_names(self._teacher, self.train.classes, self.config)

    # Labels

    def global_labels(self, images: Labelled) -> GlobalLabels:
        """The teacher's labels of whole images."""

        def make(on_batch: OnBatch) -> dict[str, Tensor]:
            features = distill.embed(
                self._teacher,
                images.files,
                range(len(images.files)),
                batch_size=self.config.teacher_batch,
                threads=self.threads,
                on_batch=on_batch,
            )
            return {"features": features}

        fields = subset(self.config, EMBED_FIELDS)
        inputs = [self._teacher.digest, fields, list(images.files.sha256)]
        found = self.work.tensors("embed", *inputs, what=f"{self.name}: embed", make=make)
        return distill.label_globally(found["features"], self.names, self.config)

    @cached_property
    def debiased(self) -> GlobalLabels:
        """Labels of the training images, as the method makes them."""
        return self.global_labels(self.train)

    @cached_property
    def biased(self) -> GlobalLabels:
        """The same with bias factors of 1: floor and clamp stay, here and in everything after."""
        return without_bias(self.debiased, self.config)

    def look(self, images: Labelled, boxes: Sequence[Sequence[Box]], *, what: str) -> LocalViews:
        """The teacher's answers on the given boxes of each image; all of class 0."""
        propose = [[(0, box) for box in of_image] for of_image in boxes]

        def make(on_batch: OnBatch) -> Mapping[str, Tensor]:
            views = distill.look_closer(
                self._teacher,
                self.names,
                images.files,
                range(len(images.files)),
                lambda numbers, _: [propose[number] for number in numbers],
                batch_size=self.config.teacher_batch,
                threads=self.threads,
                on_batch=on_batch,
            )
            return vars(views)

        inputs = [*self._of_views(images), [list(map(list, of_image)) for of_image in boxes]]
        return LocalViews(
            **self.work.tensors("look", *inputs, what=f"{self.name}: {what}", make=make)
        )

    def local_views(self, warm: Lesson) -> LocalViews:
        """Local views of the training images, chosen by the student after `warm`."""

        def make(on_batch: OnBatch) -> Mapping[str, Tensor]:
            student = self._classroom.student(warm)
            files, config = self.train.files, self.config
            views = distill.localize(
                self._teacher,
                self.names,
                student,
                files,
                range(len(files)),
                threshold=distill.find_class_threshold(
                    student, files, config=config, threads=self.threads
                ),
                config=config,
                threads=self.threads,
                on_batch=on_batch,
            )
            return vars(views)

        self._classroom.history(warm)  # trained outside the time that looking takes
        fields = subset(self.config, LOCALIZE_FIELDS)
        inputs = [*self._of_views(self.train), *self._classroom.key_of(warm), fields]
        what = f"{self.name}: local views after {warm.what}"
        return LocalViews(**self.work.tensors("localize", *inputs, what=what, make=make))

    def blend(self, found: GlobalLabels, views: LocalViews, alpha: float | None = None) -> Tensor:
        """(N, C) pseudo-labels after the label update."""
        config = self.config if alpha is None else replace(self.config, alpha=alpha)
        return distill.blend(found, views.local_probs, config)

    def tiles(self, images: Labelled) -> LocalViews:
        """The 3x3 tiles of every image."""
        unit = tile_boxes()
        boxes = [[box_in_pixels(box, *size) for box in unit] for size in images.sizes]
        return self.look(images, boxes, what="tiles")

    def cdul_labels(self) -> Tensor:
        """(N, C) labels of the baseline."""
        tiles = self.tiles(self.train).view_probs
        shape = (len(self.train.files), -1, self.train.truth.shape[1])
        return cdul_labels(self.debiased.probs, tiles.reshape(shape))

    # Students

    def warm_up(self, labels: Tensor, *, what: str) -> Lesson:
        """A fresh student's warm-up on (N, C) labels."""
        return warm_up(labels, self.config, what=f"{self.name}: warm-up on {what}")

    @cached_property
    def warm(self) -> Lesson:
        """The warm-up on the labels as the method makes them."""
        return self.warm_up(self.debiased.labels, what="debiased labels")

    @cached_property
    def biased_warm(self) -> Lesson:
        """The warm-up on the labels without debiasing."""
        return self.warm_up(self.biased.labels, what="undebiased labels")

    def learn(self, warm: Lesson, labels: Tensor, *, consistent: bool, what: str) -> Learned:
        """The main training after `warm` on (N, C) labels, and the checkpoint rule."""
        config = self.config if consistent else replace(self.config, consistency_weight=0.0)
        last = main_training(warm, labels, config, what=f"{self.name}: {what}")
        return self._classroom.graduate(last)

    def scores(self, learned: Learned, images: Labelled) -> Tensor:
        """(N, C) probabilities of a student."""

        def make(on_batch: OnBatch) -> dict[str, Tensor]:
            probs = distill.predict(
                learned.student,
                images.files,
                range(len(images.files)),
                side=self.config.student_size,
                batch_size=self.config.batch_size,
                threads=self.threads,
                on_batch=on_batch,
            )
            return {"probs": probs}

        fields = subset(self.config, ("student_size", "batch_size"))
        inputs = [learned.key, fields, list(images.files.sha256)]
        what = f"{learned.what}: scores"
        return self.work.tensors("scores", *inputs, what=what, make=make)["probs"]

    def student_ap(self, learned: Learned) -> Tensor:
        """(C,) average precision of a student on the held-out images."""
        return self.held_out.average_precision(self.scores(learned, self.held_out))

    def _start(self) -> Training:
        return distill.start_training(
            self.config, len(self.train.classes), self._teacher, self._device, self._weights_dir
        )

    def _of_views(self, images: Labelled) -> list[object]:
        """What the teacher's answers on views depend on, but for the boxes."""
        fields = subset(self.config, EMBED_FIELDS)
        names = digest_of_tensors({"features": self.names.features.cpu()})
        told = [names, self.names.num_classes, self.names.logit_scale]
        return [self._teacher.digest, fields, told, list(images.files.sha256)]


def without_bias(found: GlobalLabels, config: DistillConfig) -> GlobalLabels:
    """Labels with bias factors of 1, which all that follows takes from here: nothing is divided."""
    ones = torch.ones_like(found.bias.factors)
    labels = debias(found.probs, ones, config.floor(len(ones)))
    return GlobalLabels(found.probs, labels, Bias(ones, found.bias.counts))


def unfloored(found: GlobalLabels, views: LocalViews, alpha: float) -> Tensor:
    """(N, C) blend of the two answers in units of the bias, without floor and clamp: no ties."""
    blend = alpha * found.probs + (1 - alpha) * views.local_probs
    return blend / found.bias.factors


def measured_on(lab: Lab) -> list[str]:
    """A note where students are measured on what they learned from."""
    same = lab.held_out is lab.train
    return ["students are measured on the images that they learned from"] if same else []
