"""A truth laid beside the images and the classes of a job."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.results import JobResults
from workers.truth.gather import shown
from workers.truth.match import PathMatch, match_paths
from workers.truth.names import NameMatch, match_classes
from workers.truth.truth import Truth, TruthError


@dataclass(frozen=True)
class Joined:
    """A truth laid beside the images and classes of a job: n images, E classes of both.

    Attributes:
        names: which class of the truth is which of the job.
        paths: which path of the truth is which image.
        classes: positions of the E classes among the job's.
        rows: (n,) int64, row of each image in the scores.
        targets: (n, E) bool.
        ignored: (n, E) bool.
    """

    names: NameMatch
    paths: PathMatch
    classes: list[int]
    rows: Tensor
    targets: Tensor
    ignored: Tensor


def join(
    results: JobResults, truth: Truth, class_map: Mapping[str, str | None] | None = None
) -> Joined:
    """The truth beside the job's images and classes.

    Raises:
        TruthError: it has no image or no class of the job.
    """
    names = match_classes(truth.classes, results.classes, class_map)
    paths = match_paths(truth.images, results.paths)
    if not paths.images:
        raise _no_image(truth, results)
    judged = set(names.classes.values())
    classes = [i for i, name in enumerate(results.classes) if name in judged]
    column = {results.classes[i]: e for e, i in enumerate(classes)}
    by_name = {name: column[target] for name, target in names.classes.items()}
    images = [truth.images[path] for path in paths.images]
    targets = _marked([image.labels for image in images], by_name, len(classes))
    ignored = _marked([image.ignored for image in images], by_name, len(classes))
    rows = results.rows[list(paths.images.values())]
    # Of classes that the map joins, one that is there is enough.
    return Joined(names, paths, classes, rows, targets, ignored & ~targets)


def digest_of_truth(truth: Truth) -> str:
    """64 hex digits that stand for what a truth says; boxes play no part in the figures."""
    digest = hashlib.sha256("\0".join((truth.format, *truth.classes)).encode())
    for path, image in sorted(truth.images.items()):
        row = "\0".join((path, *sorted(image.labels), "", *sorted(image.ignored)))
        digest.update(f"\n{row}".encode())
    return digest.hexdigest()


def _marked(sets: Sequence[frozenset[str]], by_name: Mapping[str, int], width: int) -> Tensor:
    """(n, width) bool: which columns each image's names stand for."""
    cells = [
        row * width + by_name[name]
        for row, names in enumerate(sets)
        for name in names
        if name in by_name
    ]
    marked = torch.zeros(len(sets) * width, dtype=torch.bool)
    marked[cells] = True
    return marked.view(len(sets), width)


def _no_image(truth: Truth, results: JobResults) -> TruthError:
    path = next(iter(truth.images))
    return TruthError(
        "truth_images_differ",
        f"none of the {len(truth.images):,} paths of the truth is one of the "
        f"{len(results.paths):,} images of the job: the truth has {shown(path)}, the job "
        f"{shown(results.paths[0])}",
        "Paths are compared below the dataset's folder; the last parts of a path are enough.",
    )
