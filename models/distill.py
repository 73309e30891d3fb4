"""The method, one function per phase, in the order of docs/method.md; `distill` runs them all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from models.config import DistillConfig
from models.data import ImageFiles, OnBatch, ignore, view_batches
from models.debias import Bias, debias, estimate_bias
from models.epochs import EpochResult, train_epoch
from models.labels import update_labels
from models.local_views import Box, LocalViews, Propose, localize, look_closer
from models.prompts import BACKGROUND_NAMES, ClassPrompt, background_classes, canonical_order
from models.random import permutation
from models.student import Student, build_student
from models.teacher import Names, Teacher, load_teacher
from models.thresholds import POSITIVE_LABEL, best_f1_thresholds
from models.training import Training
from models.views import class_threshold

__all__ = [
    "Box",
    "Classifier",
    "Distilled",
    "EpochResult",
    "GlobalLabels",
    "LocalViews",
    "Names",
    "OnBatch",
    "Propose",
    "blend",
    "distill",
    "embed",
    "encode_names",
    "encode_reference",
    "find_class_threshold",
    "gain_rises",
    "ignore",
    "label_globally",
    "label_thresholds",
    "load_teacher_of",
    "localize",
    "look_closer",
    "predict",
    "select_epoch",
    "start_training",
    "train_epoch",
]

#: Images looked at for the class threshold. Our choice: the threshold is a quantile of C scores an
#: image, and 4,096 images place it within 1 % of its rank while a second pass over a million is
#: saved.
THRESHOLD_SAMPLE = 4096

#: Background names that a report asks about where the softmax has none. Our choice: as many as fill
#: a list without classes.
REFERENCE_NAMES = 20


class Classifier(Protocol):
    """What `predict` needs: a student in training, or one loaded from its file."""

    def eval(self) -> object:
        """Turn training behaviour off."""

    def parameters(self) -> Iterator[Tensor]:
        """Its weights, which tell the device."""

    def prepare(self, images: Tensor, /) -> Tensor:
        """Normalised float input from (B, 3, S, S) uint8."""

    def __call__(self, images: Tensor, /) -> Tensor:
        """(B, C) logits."""


@dataclass(frozen=True)
class GlobalLabels:
    """The teacher's answer on whole images: docs/method.md, global and debiased labels.

    Attributes:
        probs: (N, C) softmax of the global view, background columns dropped.
        labels: (N, C) debiased labels in [0, 1].
        bias: factors and image counts of the C classes.
    """

    probs: Tensor
    labels: Tensor
    bias: Bias


@dataclass(frozen=True)
class Distilled:
    """Everything `distill` found; columns in the order in which the classes were given."""

    global_probs: Tensor
    debiased: Tensor
    local_probs: Tensor
    pseudo: Tensor
    student_probs: Tensor
    thresholds: Tensor
    bias: Bias
    student: Student
    history: list[EpochResult] = field(default_factory=list)


def encode_names(teacher: Teacher, classes: Sequence[ClassPrompt], config: DistillConfig) -> Names:
    """The classes' text features, in the order given, and the background names' after them."""
    background = (
        background_classes([c.name for c in classes], config.min_names) if config.background else []
    )
    features = teacher.encode_classes([*classes, *background], config.templates)
    return Names(features, len(classes), teacher.logit_scale)


def encode_reference(
    teacher: Teacher, classes: Sequence[ClassPrompt], names: Names, config: DistillConfig
) -> Tensor:
    """(R, D) features of background names beside a softmax that has none: for reports alone.

    Up to `REFERENCE_NAMES` of them, as far as the teacher can be asked about any.
    """
    if len(names.features) > names.num_classes:
        return names.features[:0]
    free = background_classes([c.name for c in classes], len(classes) + len(BACKGROUND_NAMES))
    known = [class_ for class_ in free if teacher.knows(class_, config.templates)]
    if not known:
        return names.features[:0]
    return teacher.encode_classes(known[:REFERENCE_NAMES], config.templates)


def embed(
    teacher: Teacher,
    files: ImageFiles,
    indices: Sequence[int],
    *,
    batch_size: int,
    threads: int,
    on_batch: OnBatch = ignore,
) -> Tensor:
    """(n, D) L2-normalised teacher features of the global views of the images at `indices`."""
    features = []
    done = 0
    for _, views in view_batches(
        files, indices, side=teacher.view_size, batch_size=batch_size, threads=threads
    ):
        features.append(teacher.encode_images(views))
        done += len(views)
        on_batch(done)
    return torch.cat(features) if features else torch.zeros(0, teacher.feature_dim)


def label_globally(features: Tensor, names: Names, config: DistillConfig) -> GlobalLabels:
    """Global probabilities, their bias by class, and the labels with the bias divided out."""
    probs = names.probs(features)
    bias = estimate_bias(probs, config.max_entropy(probs.shape[1]))
    classes = slice(0, names.num_classes)
    bias = Bias(bias.factors[classes], bias.counts[classes])
    probs = probs[:, classes].contiguous()
    floor = config.floor(names.num_classes)
    return GlobalLabels(probs, debias(probs, bias.factors, floor), bias)


@torch.inference_mode()
def predict(
    student: Classifier,
    files: ImageFiles,
    indices: Sequence[int],
    *,
    side: int,
    batch_size: int,
    threads: int,
    on_batch: OnBatch = ignore,
) -> Tensor:
    """(n, C) student probabilities of the images at `indices`, squashed to `side`, eval mode."""
    student.eval()
    device = next(student.parameters()).device
    probs = []
    done = 0
    for _, images in view_batches(
        files, indices, side=side, batch_size=batch_size, threads=threads
    ):
        probs.append(student(student.prepare(images.to(device))).sigmoid().float().cpu())
        done += len(images)
        on_batch(done)
    return torch.cat(probs)


def find_class_threshold(
    student: Student,
    files: ImageFiles,
    *,
    config: DistillConfig,
    threads: int,
    on_batch: OnBatch = ignore,
) -> float:
    """The student probability from which on a class gets a local view: docs/method.md.

    Found at the cropping size, on all images or `THRESHOLD_SAMPLE` of them drawn by the seed.
    """
    sample = permutation((config.seed, "threshold"), len(files))[:THRESHOLD_SAMPLE].sort().values
    probs = predict(
        student,
        files,
        sample.tolist(),
        side=config.cam_size,
        batch_size=config.batch_size,
        threads=threads,
        on_batch=on_batch,
    )
    return class_threshold(probs, config.classes_per_image)


def blend(found: GlobalLabels, local_probs: Tensor, config: DistillConfig) -> Tensor:
    """(N, C) pseudo-labels after the label update: alpha global + (1 - alpha) local."""
    return update_labels(
        found.labels,
        local_probs,
        found.bias.factors,
        alpha=config.alpha,
        floor=config.floor(found.labels.shape[1]),
    )


def gain_rises(scores: Sequence[float]) -> bool:
    """Whether the newest epoch gained more training mAP than the one before it gained."""
    return len(scores) > 2 and scores[-1] - scores[-2] > scores[-2] - scores[-3]


def select_epoch(scores: Sequence[float], warm_up_epochs: int) -> int:
    """The label-free checkpoint, counted from 0 over all epochs: docs/method.md.

    Args:
        scores: training mAP of every epoch so far, warm-up first.
        warm_up_epochs: epochs that may not be chosen, and do not count: their labels were others.

    Returns:
        The first epoch of the main training at which the gain of training mAP rises over the gain
        of the epoch before; the last epoch if it never does.
    """
    main = scores[warm_up_epochs:]
    rises = (epoch for epoch in range(len(main)) if gain_rises(main[: epoch + 1]))
    return warm_up_epochs + next(rises, len(main) - 1)


def label_thresholds(scores: Tensor, pseudo: Tensor) -> Tensor:
    """(C,) score from which on each class counts as present, found without truth.

    Best F1 of the student's (N, C) scores against the (N, C) pseudo-labels of `POSITIVE_LABEL` or
    more; NaN for a class with too few of them. docs/method.md 15.
    """
    return best_f1_thresholds(scores, pseudo >= POSITIVE_LABEL)


def distill(
    files: ImageFiles,
    classes: Sequence[ClassPrompt],
    config: DistillConfig,
    *,
    device: torch.device | str = "cpu",
    threads: int = 2,
    weights_dir: Path | None = None,
    on_phase: Callable[[str], None] = lambda _: None,
) -> Distilled:
    """Labels and a trained student for images that nobody has annotated, in one process.

    Args:
        files: the distinct images.
        classes: the names to look for, in any order: the result's columns follow it.
        config: every number of the method.
        device: where teacher and student run.
        threads: decoding threads.
        weights_dir: local folder of weights, for teachers and students that need one.
        on_phase: told the name of each phase as it begins.

    Raises:
        TeacherError: the teacher cannot be had, or does not know a class name.
        ImageChanged: a file's bytes are not those that were registered.
    """
    order = canonical_order([c.name for c in classes])
    everything = range(len(files))
    teacher = load_teacher_of(config, device=torch.device(device), weights_dir=weights_dir)

    on_phase("embed")
    names = encode_names(teacher, [classes[i] for i in order], config)
    features = embed(teacher, files, everything, batch_size=config.teacher_batch, threads=threads)
    on_phase("debias")
    found = label_globally(features, names, config)

    on_phase("warm_up")
    training = start_training(config, len(classes), teacher, device, weights_dir)
    history = [
        train_epoch(training, files, found.labels, epoch=epoch, config=config, threads=threads)
        for epoch in range(config.warm_up_epochs)
    ]
    student = training.averaged_student()
    threshold = find_class_threshold(student, files, config=config, threads=threads)

    on_phase("localize")
    views = localize(
        teacher,
        names,
        student,
        files,
        everything,
        threshold=threshold,
        config=config,
        threads=threads,
    )
    on_phase("update")
    pseudo = blend(found, views.local_probs, config)

    on_phase("train")
    best = None
    for epoch in range(config.warm_up_epochs, config.epochs):
        history.append(
            train_epoch(training, files, pseudo, epoch=epoch, config=config, threads=threads)
        )
        scores = [result.mean_average_precision for result in history[config.warm_up_epochs :]]
        if best is None and gain_rises(scores):
            best = training.averaged_student()
    student = best if best is not None else training.averaged_student()

    on_phase("score")
    probs = predict(
        student,
        files,
        everything,
        side=config.student_size,
        batch_size=config.batch_size,
        threads=threads,
    )
    thresholds = label_thresholds(probs, pseudo)

    back = torch.tensor(order).argsort()
    return Distilled(
        global_probs=found.probs[:, back],
        debiased=found.labels[:, back],
        local_probs=views.local_probs[:, back],
        pseudo=pseudo[:, back],
        student_probs=probs[:, back],
        thresholds=thresholds[back],
        bias=Bias(found.bias.factors[back], found.bias.counts[back]),
        student=student,
        history=history,
    )


def load_teacher_of(
    config: DistillConfig, *, device: torch.device, weights_dir: Path | None
) -> Teacher:
    """The teacher that `config` names, ready to encode."""
    return load_teacher(
        config.teacher,
        view_size=config.view_size,
        normalisation=config.normalisation,
        logit_scale=config.logit_scale,
        precision=config.precision,
        device=device,
        weights_dir=weights_dir,
    )


def start_training(
    config: DistillConfig,
    num_classes: int,
    teacher: Teacher,
    device: torch.device | str,
    weights_dir: Path | None,
) -> Training:
    """A fresh student and its optimizer."""
    student = build_student(
        config.student,
        num_classes,
        size=config.student_size,
        stride=config.student_stride,
        weights=config.student_weights,
        boost=config.boost,
        seed=config.seed,
        teacher=teacher,
        weights_dir=weights_dir,
    )
    return Training(student.to(device), config)
