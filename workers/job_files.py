"""What the phases of a job left on disk, for a job at work and for one that is long done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from models.config import DistillConfig
from models.data import ImageFiles
from models.debias import Bias
from models.evidence import Evidence, Views, WholeViews, whole_views
from models.prompts import canonical_order
from workers.files import MANIFEST, WEIGHTS, DataFolder
from workers.results import limits_of, read_finished, read_tensor, thresholds_in_force
from workers.rows import content_files, iter_manifest
from workers.stages import student_id_of

#: Columns of the job's own list of images that a report tells.
IMAGE_FIELDS = ("path", "width", "height", "content")


@dataclass(frozen=True)
class LocalView:
    """A local view of one image.

    Attributes:
        class_: column of the class whose activation gave the box.
        box_xyxy: pixels of the upright image, right and bottom exclusive.
        prob: what the teacher gives that class on the view.
    """

    class_: int
    box_xyxy: tuple[int, ...]
    prob: float


@dataclass(frozen=True)
class JobFiles:
    """One job's results, read from the data folder; columns are in canonical order.

    Attributes:
        folder: the data folder.
        job_id: of the job.
        request: what it was asked for.
        facts: what its units found out.
        outputs: (phase, unit) -> name of the folder with the unit's output.
        files: the distinct images; None where the dataset was deleted.
    """

    folder: DataFolder
    job_id: str
    request: Mapping[str, Any]
    facts: Mapping[str, Any]
    outputs: Mapping[tuple[str, int], str]
    files: ImageFiles | None

    @classmethod
    def of_finished(cls, folder: DataFolder, job_id: str) -> JobFiles:
        """The results of a job that succeeded, without asking Redis.

        Raises:
            JobUnreadable: there is no such job, or it has not succeeded.
        """
        request, facts, outputs = read_finished(folder, job_id)
        dataset = folder.dataset(request["dataset_id"])
        is_there = (dataset / MANIFEST).exists()
        files = ImageFiles(*content_files(dataset)) if is_there else None
        return cls(folder, job_id, request, facts, outputs, files)

    @cached_property
    def config(self) -> DistillConfig:
        """Every number of the method."""
        return DistillConfig(**self.request["config"])

    @cached_property
    def names(self) -> list[str]:
        """The classes in the order of the columns."""
        given = [spec["name"] for spec in self.request["classes"]]
        return [given[position] for position in self.class_order]

    @cached_property
    def class_order(self) -> list[int]:
        """For each column, the class's position in the user's list."""
        return canonical_order([spec["name"] for spec in self.request["classes"]])

    @property
    def student_file(self) -> Path:
        """The student as the job made it."""
        return self.folder.student(student_id_of(self.job_id)) / WEIGHTS

    def thresholds(self) -> Tensor:
        """(C,) the student's thresholds in force; NaN for a class that has none."""
        return torch.tensor(limits_of(thresholds_in_force(self.folder, self.job_id), self.names))

    def images(self, contents: set[int]) -> dict[int, dict[str, Any]]:
        """For each of these distinct images the first row of the job's list that has it."""
        found: dict[int, dict[str, Any]] = {}
        manifest = self.folder.job(self.job_id) / MANIFEST
        for row in iter_manifest(manifest, IMAGE_FIELDS):
            if row["content"] in contents:
                found.setdefault(row["content"], row)
        return found

    def tensors(self, phase: str, file: str, unit: int = 0) -> dict[str, Tensor]:
        """The tensors of one file of a unit that is done."""
        return load_file(self._path(phase, file, unit))

    def tensor(self, phase: str, file: str, name: str, unit: int = 0) -> Tensor:
        """One of them."""
        return read_tensor(self._path(phase, file, unit), name)

    def units(self, phase: str) -> range:
        """The units of a phase that are done."""
        return range(sum(of_phase == phase for of_phase, _ in self.outputs))

    def views(self) -> Iterator[Views]:
        """The boxes of the local views, shard by shard."""
        for unit in self.units("localize"):
            with safe_open(self._path("localize", "views.safetensors", unit), "pt") as file:
                yield Views(*(file.get_tensor(name) for name in ("boxes", "classes", "offsets")))

    def views_of(self, positions: Iterable[int]) -> dict[int, list[LocalView]]:
        """The local views of some of the images."""
        size = self.facts["shard_images"]
        by_shard: dict[int, list[int]] = {}
        for position in positions:
            by_shard.setdefault(position // size, []).append(position)
        found: dict[int, list[LocalView]] = {}
        for unit, of_shard in by_shard.items():
            with safe_open(self._path("localize", "views.safetensors", unit), "pt") as file:
                offsets = file.get_tensor("offsets").tolist()
                for position in of_shard:
                    rows = slice(*offsets[position % size : position % size + 2])
                    boxes, classes, probs = (
                        file.get_slice(name)[rows] for name in ("boxes", "classes", "view_probs")
                    )
                    found[position] = [
                        LocalView(class_, tuple(box), prob[class_].item())
                        for box, class_, prob in zip(
                            boxes.tolist(), classes.tolist(), probs, strict=True
                        )
                    ]
        return found

    def evidence(self, on_shard: Callable[[], object] = lambda: None) -> Evidence:
        """What the job says about its images; `on_shard` is called now and then."""
        names = self.tensors("debias", "names.safetensors")
        return Evidence(
            names=self.names,
            text=names["features"],
            whole=self._whole_views(names["features"], on_shard),
            max_entropy=self.config.max_entropy(len(names["features"])),
            bias=Bias(names["factors"], names["counts"]),
            global_probs=self.tensor("debias", "labels.safetensors", "probs"),
            local_probs=self._local_probs(),
            pseudo=self.tensor("update", "labels.safetensors", "labels"),
            scores=self.tensor("score", "scores.safetensors", "probs"),
            thresholds=self.thresholds(),
        )

    def _whole_views(self, text: Tensor, on_shard: Callable[[], object]) -> WholeViews:
        def shards() -> Iterator[Tensor]:
            for unit in self.units("embed"):
                on_shard()
                yield self.tensor("embed", "features.safetensors", "features", unit)

        return whole_views(
            shards(),
            text,
            self._reference(text),
            num_classes=len(self.names),
            logit_scale=self.facts["logit_scale"],
        )

    def _reference(self, text: Tensor) -> Tensor:
        """Background names beside the softmax; a folder of before they were kept has none."""
        if not self._path("debias", "reference.safetensors", 0).exists():
            return text[:0]
        return self.tensor("debias", "reference.safetensors", "features")

    def _local_probs(self) -> Tensor:
        file, tensor = "views.safetensors", "local_probs"
        return torch.cat([self.tensor("localize", file, tensor, k) for k in self.units("localize")])

    def _path(self, phase: str, file: str, unit: int) -> Path:
        return self.folder.phase(self.outputs[phase, unit]) / file
