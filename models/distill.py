"""The method, one function per phase, in the order of docs/method.md; `distill` runs them all."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Protocol

import torch
from PIL import Image
from torch import Tensor

from models.augment import color_jitter, flip
from models.config import DistillConfig
from models.data import ImageFiles, originals, view_batches
from models.debias import Bias, debias, estimate_bias
from models.images import crop_resize, resize, to_tensor
from models.labels import max_over_views, update_labels
from models.losses import classification_loss, consistency_loss
from models.metrics import mean_average_precision
from models.prompts import BACKGROUND_NAMES, ClassPrompt, background_classes, canonical_order
from models.random import permutation, uniform
from models.student import Student, build_student
from models.teacher import Teacher, load_teacher
from models.thresholds import POSITIVE_LABEL, best_f1_thresholds
from models.training import Training
from models.views import box_in_pixels, cam_boxes, class_threshold

#: Images looked at for the class threshold. Our choice: the threshold is a quantile of C scores an
#: image, and 4,096 images place it within 1 % of its rank while a second pass over a million is
#: saved.
THRESHOLD_SAMPLE = 4096

#: Background names that a report asks about where the softmax has none. Our choice: as many as fill
#: a list without classes.
REFERENCE_NAMES = 20

#: Images whose originals `localize` holds at once, decoded at full size.
LOCALIZE_BATCH = 8

#: Told after every batch how many images of the work are done; may raise to end it there.
OnBatch = Callable[[int], None]

#: xyxy in pixels of the upright image, right and bottom exclusive.
Box = tuple[int, int, int, int]

#: Indices of images and the images -> for each the boxes to look into, each with the class it is
#: about.
Propose = Callable[[Sequence[int], Sequence[Image.Image]], list[list[tuple[int, Box]]]]


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
class Names:
    """What the teacher is asked about, encoded: the classes first, background names after them.

    Attributes:
        features: (T, D) text features, T = classes + background names.
        num_classes: the first `num_classes` rows are the user's classes, in canonical order.
        logit_scale: multiplies the cosine before the softmax.
    """

    features: Tensor
    num_classes: int
    logit_scale: float

    def probs(self, image_features: Tensor) -> Tensor:
        """Softmax over all T names for (N, D) image features: (N, T)."""
        return (self.logit_scale * image_features @ self.features.T).softmax(dim=1)


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
class EpochResult:
    """One training epoch: mean loss, and mAP of its weak-view predictions against labels of 1."""

    loss: float
    mean_average_precision: float


@dataclass(frozen=True)
class LocalViews:
    """Local views of n images: M pairs of an image and a class that it may hold.

    Attributes:
        boxes: (M, 4) int32, xyxy in pixels of the upright image, right and bottom exclusive.
        classes: (M,) int32, the class whose CAM gave the box.
        offsets: (n + 1,) int64; rows offsets[i]:offsets[i + 1] belong to image i.
        view_probs: (M, C) the teacher's softmax on the view, background columns dropped.
        local_probs: (n, C) largest probability of each class over the views of the image.
    """

    boxes: Tensor
    classes: Tensor
    offsets: Tensor
    view_probs: Tensor
    local_probs: Tensor


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


def ignore(_done: int) -> None:
    """An `OnBatch` for callers that neither watch nor stop."""


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


def train_epoch(
    training: Training,
    files: ImageFiles,
    labels: Tensor,
    *,
    epoch: int,
    config: DistillConfig,
    threads: int,
    parts: int = 1,
    on_batch: OnBatch = ignore,
) -> EpochResult:
    """One pass over all images against (N, C) soft labels; changes `training`.

    Epochs before `config.warm_up_epochs` learn from the weak view alone; later ones add the
    consistency of the strong view with the weak one.

    A batch may go through the student in several `parts`, which takes less memory: their gradients
    add up to that of the batch, but for batch normalisation, which then sees one part at a time.
    """
    consistent = epoch >= config.warm_up_epochs and config.consistency_weight > 0
    order = permutation((config.seed, "order", epoch), len(files))
    predictions = torch.zeros_like(labels)
    total_loss, done = 0.0, 0
    training.begin_epoch(epoch, steps=-(-len(files) // config.batch_size))
    for indices, images in view_batches(
        files,
        order.tolist(),
        side=config.student_size,
        batch_size=config.batch_size,
        threads=threads,
    ):
        weak, strong = _augmented(images, indices, epoch=epoch, config=config, both=consistent)
        batch = _Batch(weak, strong, labels[indices])
        loss, logits = _step(training, batch.split(parts), config)
        predictions[indices] = logits.sigmoid()
        total_loss += loss * len(indices)
        done += len(indices)
        on_batch(done)
    score = mean_average_precision(predictions, labels >= 1)
    return EpochResult(total_loss / max(done, 1), 0.0 if math.isnan(score) else score)


def _augmented(
    images: Tensor, indices: Tensor, *, epoch: int, config: DistillConfig, both: bool
) -> tuple[Tensor, Tensor | None]:
    """Weak view (flip) and, if asked for, strong view (flip of its own and colour jitter)."""
    draws = uniform((config.seed, "augment", epoch), indices, 7)
    weak = flip(images, draws[:, 0] < 0.5)
    if not both:
        return weak, None
    strong = flip(images, draws[:, 1] < 0.5).float() / 255
    return weak, color_jitter(strong, draws[:, 2:], config.jitter) * 255


@dataclass(frozen=True)
class _Batch:
    """What one training step learns from, or a part of it: B images."""

    weak: Tensor
    strong: Tensor | None
    labels: Tensor

    def split(self, parts: int) -> list[_Batch]:
        """Up to `parts` parts of nearly equal size, in order."""
        weak, labels = self.weak.chunk(parts), self.labels.chunk(parts)
        strong = [None] * len(weak) if self.strong is None else self.strong.chunk(parts)
        return [_Batch(*rows) for rows in zip(weak, strong, labels, strict=True)]


def _step(
    training: Training, parts: Sequence[_Batch], config: DistillConfig
) -> tuple[float, Tensor]:
    """One optimizer step; the loss and the weak view's (B, C) logits, on the CPU."""
    total_loss, logits = 0.0, []
    count = sum(len(part.labels) for part in parts)
    for part in parts:
        with training.autocast():
            loss, weak_logits = _loss(training, part, config)
        share = len(part.labels) / count
        training.add_gradient(loss * share)
        total_loss += loss.item() * share
        logits.append(weak_logits.detach().float().cpu())
    training.step()
    return total_loss, torch.cat(logits)


def _loss(training: Training, part: _Batch, config: DistillConfig) -> tuple[Tensor, Tensor]:
    """The mean loss of the images, and the weak view's logits."""
    student, device = training.student, training.device
    weak_logits = student(student.prepare(part.weak.to(device)))
    loss = classification_loss(weak_logits, part.labels.to(device))
    if part.strong is not None:
        strong_logits = student(student.prepare(part.strong.to(device)))
        consistency = consistency_loss(strong_logits, weak_logits)
        loss = loss + config.consistency_weight * consistency
    return loss, weak_logits


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


@torch.inference_mode()
def localize(
    teacher: Teacher,
    names: Names,
    student: Student,
    files: ImageFiles,
    indices: Sequence[int],
    *,
    threshold: float,
    config: DistillConfig,
    threads: int,
    on_batch: OnBatch = ignore,
) -> LocalViews:
    """The student's CAMs choose boxes on the images at `indices`; the teacher looks into them."""
    student.eval()
    return look_closer(
        teacher,
        names,
        files,
        indices,
        lambda _, images: _propose(student, images, threshold, config),
        batch_size=config.teacher_batch,
        threads=threads,
        on_batch=on_batch,
    )


@torch.inference_mode()
def look_closer(
    teacher: Teacher,
    names: Names,
    files: ImageFiles,
    indices: Sequence[int],
    propose: Propose,
    *,
    batch_size: int,
    threads: int,
    on_batch: OnBatch = ignore,
) -> LocalViews:
    """The teacher looks into the boxes that `propose` gives for the images at `indices`.

    Two classes of an image that share a box share one view: no view is embedded twice.
    Crops are cut from the upright original by a thread pool while the teacher encodes the ones
    before them.
    """
    boxes: list[Box] = []
    classes: list[int] = []
    view_of_pair: list[int] = []
    offsets = [0]
    with ThreadPoolExecutor(threads) as pool:
        encoder = _ViewEncoder(teacher, names, batch_size)
        for batch in _batched(originals(files, indices, threads=threads), LOCALIZE_BATCH):
            numbers, images = [number for number, _ in batch], [image for _, image in batch]
            for image, found in zip(images, propose(numbers, images), strict=True):
                view_of_box: dict[Box, int] = {}
                for class_index, box in found:
                    if box not in view_of_box:
                        view_of_box[box] = encoder.add(
                            pool.submit(_cut, image, box, teacher.view_size)
                        )
                    boxes.append(box)
                    classes.append(class_index)
                    view_of_pair.append(view_of_box[box])
                offsets.append(len(boxes))
            encoder.encode_full_batches()
            on_batch(len(offsets) - 1)
        view_probs = encoder.finish()[view_of_pair]
    image_of_pair = torch.repeat_interleave(
        torch.arange(len(indices)), torch.tensor(offsets).diff()
    )
    return LocalViews(
        boxes=torch.tensor(boxes, dtype=torch.int32).reshape(-1, 4),
        classes=torch.tensor(classes, dtype=torch.int32),
        offsets=torch.tensor(offsets, dtype=torch.int64),
        view_probs=view_probs,
        local_probs=max_over_views(view_probs, image_of_pair, len(indices)),
    )


class _ViewEncoder:
    """Crops in, probabilities out, in full teacher batches whatever image a crop came from."""

    def __init__(self, teacher: Teacher, names: Names, batch_size: int) -> None:
        self._teacher, self._names, self._batch_size = teacher, names, batch_size
        self._waiting: deque[Future[Tensor]] = deque()
        self._probs: list[Tensor] = []
        self._added = 0

    def add(self, crop: Future[Tensor]) -> int:
        """Queue one crop; returns its row in what `finish` will give."""
        self._waiting.append(crop)
        self._added += 1
        return self._added - 1

    def encode_full_batches(self) -> None:
        while len(self._waiting) >= self._batch_size:
            self._encode(self._batch_size)

    def finish(self) -> Tensor:
        """(V, C) probabilities of all crops added, in the order of `add`."""
        self.encode_full_batches()
        if self._waiting:
            self._encode(len(self._waiting))
        return torch.cat(self._probs) if self._probs else torch.zeros(0, self._names.num_classes)

    def _encode(self, count: int) -> None:
        views = torch.stack([self._waiting.popleft().result() for _ in range(count)])
        probs = self._names.probs(self._teacher.encode_images(views))
        self._probs.append(probs[:, : self._names.num_classes])


def _propose(
    student: Student, images: Sequence[Image.Image], threshold: float, config: DistillConfig
) -> list[list[tuple[int, Box]]]:
    """For each image its (class, box) pairs: classes over the threshold whose CAM has a peak."""
    device = next(student.parameters()).device
    squashed = torch.stack([to_tensor(resize(image, config.cam_size)) for image in images])
    cams = student.cams(student.prepare(squashed.to(device)))
    probs = cams.mean(dim=(2, 3)).sigmoid()
    image_index, class_index = (probs >= threshold).nonzero(as_tuple=True)
    boxes, found = cam_boxes(
        cams[image_index, class_index],
        size=config.cam_size,
        threshold=config.cam_threshold,
        margin=config.box_margin,
    )
    proposals: list[list[tuple[int, Box]]] = [[] for _ in images]
    rows = zip(image_index.tolist(), class_index.tolist(), boxes.cpu(), found.tolist(), strict=True)
    for image, class_, box, has_peak in rows:
        if has_peak:
            width, height = images[image].size
            proposals[image].append((class_, box_in_pixels(box, width, height)))
    return proposals


def _cut(image: Image.Image, box: Box, side: int) -> Tensor:
    return to_tensor(crop_resize(image, box, side))


def _batched(
    images: Iterator[tuple[int, Image.Image]], size: int
) -> Iterator[list[tuple[int, Image.Image]]]:
    while batch := list(islice(images, size)):
        yield batch


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
