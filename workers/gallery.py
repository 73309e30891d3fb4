"""The sampled images of a report: small pictures, labels, local views and activation maps."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from models.data import ImageChanged
from models.evidence import Evidence
from models.images import RESIZE, decode, resize, to_tensor
from models.overlay import min_max
from models.portable import load_student
from models.samples import centred
from models.thresholds import POSITIVE_LABEL
from workers.job_files import JobFiles, LocalView

#: Longer side of a picture in pixels, and its JPEG quality: about 15 kB, two times the width that
#: it is shown at on a phone.
PICTURE_SIDE, PICTURE_QUALITY = 360, 78
#: Images that the student looks at together.
LOOK_BATCH = 8
#: Classes told of one image: its labels first, then the most probable ones.
MOST_CLASSES = 5


@dataclass(frozen=True)
class Box:
    """A local view in percent of the picture."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class Grid:
    """An activation map of the whole image.

    Attributes:
        columns: cells across.
        levels: row by row, a byte from 0 to 255 for each cell, in base64.
    """

    columns: int
    levels: str


@dataclass(frozen=True)
class Seen:
    """What is said of one class on one image.

    Attributes:
        name: of the class.
        score: the student's.
        threshold: from which score on it is a label; None: never.
        is_label: whether it is one.
        taught: the pseudo-label that the student learned.
        box: the local view that the class's activation gave; None where it gave none.
        confirmed: what the teacher gives the class on that view.
        cam: where the student sees the class now; None without a picture.
    """

    name: str
    score: float
    threshold: float | None
    is_label: bool
    taught: float
    box: Box | None
    confirmed: float | None
    cam: Grid | None


@dataclass(frozen=True)
class Picture:
    """One image of the gallery.

    Attributes:
        path: of the first file with these bytes, as text.
        width: of the upright image, in pixels.
        height: of the upright image, in pixels.
        data: a JPEG as a `data:` URI; None where the file is gone or has changed.
        seen: the classes told, labels first.
    """

    path: str
    width: int
    height: int
    data: str | None
    seen: list[Seen]


@dataclass(frozen=True)
class _Image:
    """What is kept of an image that was decoded.

    Attributes:
        view: (3, side, side) uint8, squashed for the student.
        uri: a small JPEG as a `data:` URI.
    """

    view: Tensor
    uri: str


class Gallery:
    """Makes pictures of a job's images; the student runs on those alone."""

    def __init__(self, files: JobFiles, evidence: Evidence) -> None:
        self._files, self._evidence = files, evidence
        self._thresholds = evidence.thresholds.tolist()
        self._student = load_student(files.student_file)[0]

    def pictures(
        self, positions: Sequence[int], on_picture: Callable[[int], object]
    ) -> dict[int, Picture]:
        """The picture of each of these distinct images; `on_picture` is told how many are done."""
        rows, views = self._files.images(set(positions)), self._files.views_of(positions)
        pictures: dict[int, Picture] = {}
        for start in range(0, len(positions), LOOK_BATCH):
            batch = positions[start : start + LOOK_BATCH]
            images = {position: self._open(position) for position in batch}
            cams = self._look({p: image.view for p, image in images.items() if image})
            for position in batch:
                pictures[position] = self._picture(
                    position, rows[position], views[position], images[position], cams
                )
            on_picture(len(pictures))
        return pictures

    def _picture(
        self,
        position: int,
        row: Mapping[str, Any],
        views: Sequence[LocalView],
        image: _Image | None,
        cams: Mapping[int, Tensor],
    ) -> Picture:
        size = row["width"], row["height"]
        view_of = {view.class_: view for view in views}
        maps = cams.get(position)
        return Picture(
            path=row["path"],
            width=size[0],
            height=size[1],
            data=image.uri if image else None,
            seen=[
                self._seen(
                    position,
                    class_,
                    view_of.get(class_),
                    size,
                    None if maps is None else _grid(maps[class_]),
                )
                for class_ in self._classes_to_tell(position)
            ],
        )

    def _seen(
        self,
        position: int,
        class_: int,
        view: LocalView | None,
        size: tuple[int, int],
        cam: Grid | None,
    ) -> Seen:
        evidence, threshold = self._evidence, self._thresholds[class_]
        score = evidence.scores[position, class_].item()
        return Seen(
            name=evidence.names[class_],
            score=score,
            threshold=None if math.isnan(threshold) else threshold,
            is_label=score >= threshold,
            taught=evidence.pseudo[position, class_].item(),
            box=_box(view.box_xyxy, size) if view else None,
            confirmed=view.prob if view else None,
            cam=cam,
        )

    def _classes_to_tell(self, position: int) -> list[int]:
        """The image's labels, what it was taught, and the classes nearest to being labels."""
        evidence, row = self._evidence, slice(position, position + 1)
        scores = evidence.scores[position].tolist()
        nearness = centred(evidence.scores[row], evidence.thresholds)[0].tolist()
        taught = (evidence.pseudo[position] >= POSITIVE_LABEL).tolist()
        # The score itself decides among classes without a threshold.
        keys = [
            (near < 0.5, not was_taught, -near, -score)
            for near, was_taught, score in zip(nearness, taught, scores, strict=True)
        ]
        return sorted(range(len(keys)), key=keys.__getitem__)[:MOST_CLASSES]

    def _open(self, position: int) -> _Image | None:
        """An image, decoded once; None where its file is gone or no longer the same."""
        files = self._files.files
        try:
            content = files.read(position) if files is not None else None
        except ImageChanged:
            return None
        if content is None:
            return None
        upright = decode(content)
        view = to_tensor(resize(upright, self._student.header["config"]["cam_size"]))
        return _Image(view, _data_uri(upright))

    @torch.inference_mode()
    def _look(self, views: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """(C, h, w) activations of each image, at the size at which boxes were looked for."""
        if not views:
            return {}
        cams = self._student.cams(self._student.prepare(torch.stack(list(views.values()))))
        return dict(zip(views, cams, strict=True))


def _grid(cam: Tensor) -> Grid:
    """One map as bytes."""
    levels = (min_max(cam) * 255).round().byte()
    return Grid(levels.shape[1], base64.b64encode(levels.numpy().tobytes()).decode())


def _data_uri(picture: Image.Image) -> str:
    """A small JPEG of an upright image as a `data:` URI; makes the image small."""
    picture.thumbnail((PICTURE_SIDE, PICTURE_SIDE), RESIZE)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=PICTURE_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _box(box_xyxy: Sequence[int], size: tuple[int, int]) -> Box:
    """A box of pixels in percent of the upright image."""
    left, top, right, bottom = box_xyxy
    across, down = 100 / size[0], 100 / size[1]
    return Box(left * across, top * down, (right - left) * across, (bottom - top) * down)
