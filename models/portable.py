"""A student as one file: weights, classes, thresholds, preprocessing and the network itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import PIL
import torch
import torchvision
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from models.graph import GraphModule, NotPlain, graph_of
from models.headers import HEADER
from models.images import DRAFT_FACTOR, RESIZE_NAME
from models.student import Student

#: Raised when a reader of the old format would misread the new one.
FORMAT = {"name": "ccd-student", "version": 1}

#: How the thresholds were found, unless the caller says otherwise (docs/method.md).
THRESHOLD_BASIS = "pseudo_f1"


class NotAStudent(ValueError):
    """A file that `save_student` has not written."""


class LoadedStudent(nn.Module):
    """A student from its file: the same scores, with neither its training code nor its teacher.

    Attributes:
        header: the file's JSON, as docs/student-format.md describes it.
        size: side of its square input in pixels.
    """

    def __init__(self, header: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.header = dict(header)
        how = header["preprocessing"]
        self.size: int = how["side"]
        self._graph = GraphModule(header["graph"], weights)
        self._mean = nn.Buffer(torch.tensor(how["mean"]).view(1, 3, 1, 1))
        self._std = nn.Buffer(torch.tensor(how["std"]).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, C) logits of `prepare`d images."""
        return self._graph.run(pixels)

    def cams(self, pixels: Tensor) -> Tensor:
        """(B, C, h, w) class activation maps: what the last step takes the mean of."""
        return self._graph.run(pixels, steps=-1)

    def prepare(self, images: Tensor) -> Tensor:
        """Normalised float input from (B, 3, S, S) values in [0, 255], uint8 or float."""
        return (images.float() / 255 - self._mean) / self._std


def save_student(
    path: Path,
    student: Student,
    *,
    classes: Sequence[Mapping[str, Any]],
    thresholds: Sequence[float | None],
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write a student to one safetensors file.

    Args:
        path: of the file; overwritten.
        student: what was trained.
        classes: one object with at least a `name` for each channel of the head, in their order.
        thresholds: one score for each class, from which on it counts as present; None: never.
        extra: more to put into the header, such as `config`; must be JSON.

    Raises:
        NotPlain: the network cannot be written as plain calls.
    """
    if not len(classes) == len(thresholds) == student.head.out_channels:
        raise ValueError(
            f"{student.head.out_channels} classes need as many names and thresholds, "
            f"there are {len(classes)} and {len(thresholds)}"
        )
    header = {
        "format": FORMAT,
        "classes": list(classes),
        "thresholds": list(thresholds),
        "threshold_basis": THRESHOLD_BASIS,
        "thresholds_version": 1,
        "preprocessing": {
            "side": student.size,
            "resize": RESIZE_NAME,
            "draft_factor": DRAFT_FACTOR,
            "mean": list(student.mean),
            "std": list(student.std),
        },
        "student": student.name,
        "graph": graph_of(student),
        "versions": {
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "pillow": PIL.__version__,
        },
        **(extra or {}),
    }
    state = student.state_dict()
    weights = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    # One entry: the order of several is random, and equal students are to be equal files.
    save_file(weights, path, metadata={HEADER: json.dumps(header)})


def load_student(path: Path) -> tuple[LoadedStudent, dict[str, Any]]:
    """The student in a file, in eval mode, and the file's header.

    Raises:
        NotAStudent: the file is not one that `save_student` has written.
    """
    header, weights = read_student(path)
    try:
        student = LoadedStudent(header, weights)
    except (NotPlain, KeyError) as error:
        raise NotAStudent(f"not a student's file: {error}") from error
    return student.eval(), header


def read_student(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The header and the weights in a student's file.

    Raises:
        NotAStudent: the file is not one that `save_student` has written.
    """
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {})[HEADER])
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise NotAStudent(f"not a student's file: {error}") from error
    if header.get("format") != FORMAT:
        raise NotAStudent(f"the format must be {FORMAT}, is {header.get('format')}")
    return header, weights
