"""What an experiment is about: images, the classes to look for, and what is true of each image."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

from models.data import ImageFiles
from models.distill import Box
from models.images import UnusableImage, inspect
from models.metrics import average_precision
from models.prompts import ClassPrompt, canonical_order
from workers.experiments.work import Work
from workers.files import read_json, write_json
from workers.paths import IMAGE_SUFFIXES
from workers.truth.match import match_paths
from workers.truth.truth import TrueImage, Truth
from workers.units import OnBatch


class NotUsable(Exception):
    """Images, truth or options that an experiment cannot run on."""


@dataclass(frozen=True)
class Labelled:
    """Images with what is true of them.

    Attributes:
        files: the N images.
        sizes: width and height of each, upright.
        classes: the C classes in canonical order.
        truth: (N, C) bool.
        ignored: (N, C) bool, where a class is neither there nor not.
        boxes: for each image its true boxes with their column; all empty where the truth has none.
    """

    files: ImageFiles
    sizes: Sequence[tuple[int, int]]
    classes: Sequence[ClassPrompt]
    truth: Tensor
    ignored: Tensor
    boxes: Sequence[Sequence[tuple[int, Box]]]

    @property
    def has_boxes(self) -> bool:
        return any(self.boxes)

    def average_precision(self, scores: Tensor) -> Tensor:
        """(C,) AP of (N, C) scores; NaN for a class without positives."""
        return average_precision(scores, self.truth, self.ignored)

    def points(self, scores: Tensor) -> float:
        """MAP of (N, C) scores in points (0 to 100)."""
        return in_points(self.average_precision(scores))


def in_points(average_precision: Tensor) -> float:
    """MAP of (C,) AP in points (0 to 100): the mean over the classes that have positives."""
    return 100 * float(average_precision.nanmean())


def choose_classes(asked: Mapping[str, str] | None, truths: Sequence[Truth]) -> Mapping[str, str]:
    """Name in the truth -> name that the teacher is asked about; all as they are unless `asked`.

    Raises:
        NotUsable: no truth knows one of them, or two have the same name.
    """
    known = dict.fromkeys(name for truth in truths for name in truth.classes)
    if asked is None:
        return {name: name for name in known}
    for name in asked:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise NotUsable(f"the truth has no class {name!r}{hint}; it has {', '.join(known)}")
    if len(set(asked.values())) < len(asked):
        raise NotUsable(f"two classes have the same name: {', '.join(asked.values())}")
    return asked


def read_set(
    folder: Path, truth: Truth, classes: Mapping[str, str], *, work: Work, threads: int
) -> Labelled:
    """The images of a folder that the truth knows, with what is true of them.

    Args:
        folder: of the images, sub-folders included.
        truth: what is true.
        classes: of `choose_classes`.
        work: where facts about the files are kept.
        threads: that decode.

    Raises:
        NotUsable: the truth knows no usable image of the folder.
    """
    paths = _match(folder, truth, work)
    found = find_images(folder, list(paths), work, threads=threads)
    for name, reason in found.unusable.items():
        work.say(f"{name} is left out: {reason}")
    return labelled(found, {name: truth.images[path] for name, path in paths.items()}, classes)


def _match(folder: Path, truth: Truth, work: Work) -> dict[str, str]:
    """Path of an image below `folder` -> its path in the truth."""
    if not folder.is_dir():
        raise NotUsable(f"there is no folder {folder}")
    there = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES
    )
    match = match_paths(truth.images, there)
    if not match.images:
        raise NotUsable(f"the truth knows none of the {len(there)} images of {folder}")
    for word, lost in (("have no image", match.unmatched), ("could be several", match.ambiguous)):
        if lost:
            of_all = f"{len(lost)} of {len(truth.images)} rows of the truth"
            work.say(f"{of_all} {word} in {folder}, such as {lost[0]}: left out")
    for warning in truth.warnings:
        work.say(f"truth: {warning.message} ({warning.count} times)")
    return {there[at]: path for path, at in sorted(match.images.items(), key=lambda row: row[1])}


@dataclass(frozen=True)
class Found:
    """The usable files among those named."""

    names: Sequence[str]
    files: ImageFiles
    sizes: Sequence[tuple[int, int]]
    unusable: Mapping[str, str]


def find_images(root: Path, names: Sequence[str], work: Work, *, threads: int) -> Found:
    """The images `names` below `root`, each decoded once to see that it can be.

    Raises:
        NotUsable: none of them can be used.
    """
    stats = [(root / name).stat() for name in names]
    told = [[n, s.st_size, s.st_mtime_ns] for n, s in zip(names, stats, strict=True)]

    def make(staging: Path, on_batch: OnBatch) -> None:
        facts = []
        with ThreadPoolExecutor(threads) as pool:
            for done, fact in enumerate(pool.map(_facts, [root / name for name in names]), 1):
                facts.append(fact)
                on_batch(done)
        write_json(staging / "images.json", facts)

    what = f"read {len(names)} images in {root}"
    piece = work.piece("images", str(root.resolve()), told, what=what, make=make)
    facts = dict(zip(names, read_json(piece / "images.json"), strict=True))
    usable = [name for name in names if "unusable" not in facts[name]]
    if not usable:
        reason = f"{names[0]}, the first: {facts[names[0]]['unusable']}"
        raise NotUsable(f"none of the {len(names)} images in {root} can be used; {reason}")
    return Found(
        usable,
        ImageFiles([root / name for name in usable], [facts[n]["sha256"] for n in usable]),
        [tuple(facts[name]["size"]) for name in usable],
        {n: f["unusable"] for n, f in facts.items() if "unusable" in f},
    )


def _facts(path: Path) -> dict[str, object]:
    content = path.read_bytes()
    try:
        found = inspect(content)
    except UnusableImage as error:
        return {"unusable": error.message}
    return {"sha256": sha256(content).hexdigest(), "size": [found.width, found.height]}


def labelled(found: Found, truth: Mapping[str, TrueImage], classes: Mapping[str, str]) -> Labelled:
    """The images of `found` with what `truth`, by name, says of them.

    Args:
        found: images, each in `truth`.
        truth: what is true, by name of the image.
        classes: name in the truth -> name that the teacher is asked about. Other labels are left
            out.
    """
    told = list(classes)
    order = canonical_order([classes[name] for name in told])
    column = {told[position]: place for place, position in enumerate(order)}
    shape = (len(found.names), len(column))
    is_true, ignored = (torch.zeros(shape, dtype=torch.bool) for _ in range(2))
    boxes: list[list[tuple[int, Box]]] = []
    for row, (name, size) in enumerate(zip(found.names, found.sizes, strict=True)):
        image = truth[name]
        is_true[row, [column[label] for label in image.labels if label in column]] = True
        ignored[row, [column[label] for label in image.ignored if label in column]] = True
        boxes.append(
            [(column[b.name], _whole(b.xyxy, size)) for b in image.boxes if b.name in column]
        )
    prompts = [ClassPrompt(classes[told[position]]) for position in order]
    return Labelled(found.files, found.sizes, prompts, is_true, ignored, boxes)


def _whole(xyxy: Sequence[float], size: tuple[int, int]) -> Box:
    """A true box in whole pixels, inside the image, at least one wide and high."""
    edges = []
    for axis, length in enumerate(size):
        start = min(max(round(xyxy[axis]), 0), length - 1)
        edges.append((start, min(max(round(xyxy[axis + 2]), start + 1), length)))
    (left, right), (top, bottom) = edges
    return left, top, right, bottom
