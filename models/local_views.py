"""Local views: the student's CAMs choose boxes, and the teacher looks into them; docs/method.md."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import torch
from PIL import Image
from torch import Tensor

from models.config import DistillConfig
from models.data import ImageFiles, OnBatch, ignore, originals
from models.images import crop_resize, resize, to_tensor
from models.labels import max_over_views
from models.student import Student
from models.teacher import Names, Teacher
from models.views import box_in_pixels, cam_boxes

#: Images whose originals `localize` holds at once, decoded at full size.
LOCALIZE_BATCH = 8

#: xyxy in pixels of the upright image, right and bottom exclusive.
Box = tuple[int, int, int, int]

#: Indices of images and the images -> for each the boxes to look into, each with the class it is
#: about.
Propose = Callable[[Sequence[int], Sequence[Image.Image]], list[list[tuple[int, Box]]]]


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
