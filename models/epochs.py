"""One epoch of a student's training: its views, losses and steps; docs/method.md."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.augment import color_jitter, flip
from models.config import DistillConfig
from models.data import ImageFiles, OnBatch, ignore, view_batches
from models.losses import classification_loss, consistency_loss
from models.metrics import mean_average_precision
from models.random import permutation, uniform
from models.training import Training


@dataclass(frozen=True)
class EpochResult:
    """One training epoch: mean loss, and mAP of its weak-view predictions against labels of 1."""

    loss: float
    mean_average_precision: float


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
