"""A succeeded job as its files tell it, without the job store: scores, thresholds, images."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from workers.files import MANIFEST, DataFolder, read_json
from workers.jobs import Status
from workers.outcomes import REQUEST, end_file
from workers.rows import iter_manifest
from workers.stages import CERTAIN, CERTAIN_STAGES, STAGE_FILES, Stage, student_id_of
from workers.thresholds import ThresholdsVersion, VersionDamaged, read_version

#: How many of the jobs that there are a message lists.
MAX_LISTED = 5


class JobUnreadable(Exception):
    """There is no such job, it has not succeeded, or its files are damaged.

    Attributes:
        code: a word for programs.
        hint: the next step.
    """

    def __init__(self, code: str, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


@dataclass(frozen=True)
class JobResults:
    """What a job left; columns are in the order in which the user gave the classes."""

    job_id: str
    #: Class names.
    classes: tuple[str, ...]
    #: Every image of the dataset, by path, in the order of the list.
    paths: Sequence[str]
    #: For each of them its row in the scores; images of the same bytes share one.
    rows: Tensor
    #: (phase, unit) -> name of the output folder.
    outputs: Mapping[tuple[str, int], str]
    #: For each of `classes`, its column in the files.
    columns: tuple[int, ...]
    folder: DataFolder

    def scores(self, stage: Stage) -> Tensor:
        """(distinct images, C) float32 scores in [0, 1] of one stage.

        Raises:
            JobUnreadable: a file is gone or damaged.
        """
        where = STAGE_FILES[stage]
        names = [name for (phase, _), name in sorted(self.outputs.items()) if phase == where.phase]
        for name in names:
            if not self.folder.is_complete(self.folder.phase(name)):
                raise _damaged(self.job_id, name)
        files = [self.folder.phase(name) / where.file for name in names]
        shards = [read_tensor(file, where.tensor) for file in files]
        return torch.cat(shards)[:, list(self.columns)]

    def thresholds(self, stage: Stage) -> Tensor | None:
        """(C,) float64 from which score on a class is a label, NaN for never; None: unknown."""
        if stage in CERTAIN_STAGES:
            return torch.full((len(self.classes),), CERTAIN, dtype=torch.float64)
        if stage is not Stage.STUDENT:
            return None
        return torch.tensor(limits_of(self.version, self.classes), dtype=torch.float64)

    @cached_property
    def version(self) -> ThresholdsVersion:
        """The student's thresholds in force."""
        if not self.folder.is_complete(self.folder.student(student_id_of(self.job_id))):
            raise _damaged(self.job_id, "student")
        return thresholds_in_force(self.folder, self.job_id)


def open_job(folder: DataFolder, job_id: str) -> JobResults:
    """The results of a job.

    Raises:
        JobUnreadable: it cannot be read.
    """
    request, facts, outputs = read_finished(folder, job_id)
    names = [spec["name"] for spec in request["classes"]]
    order: list[int] = facts["class_order"]
    rows = list(iter_manifest(folder.job(job_id) / MANIFEST, ["path", "content"]))
    return JobResults(
        job_id=job_id,
        classes=tuple(names),
        paths=[row["path"] for row in rows],
        rows=torch.tensor([row["content"] for row in rows], dtype=torch.int64),
        outputs=outputs,
        columns=tuple(order.index(position) for position in range(len(names))),
        folder=folder,
    )


def read_finished(
    folder: DataFolder, job_id: str
) -> tuple[dict[str, Any], dict[str, Any], dict[tuple[str, int], str]]:
    """What a job was asked for, what its units found out, (phase, unit) -> its output folder.

    Raises:
        JobUnreadable: there is no such job, or it has not succeeded.
    """
    own = folder.job(job_id)
    if not job_id.startswith("job_") or "/" in job_id or not (own / REQUEST).exists():
        raise _no_job(folder, job_id)
    request: dict[str, Any] = read_json(own / REQUEST)["request"]
    result = _result(end_file(own), job_id)
    outputs = {(phase, unit): name for phase, unit, name in result["outputs"]}
    return request, result["facts"], outputs


def thresholds_in_force(folder: DataFolder, job_id: str) -> ThresholdsVersion:
    """The thresholds of the job's student.

    Raises:
        JobUnreadable: they are damaged.
    """
    try:
        return read_version(folder, student_id_of(job_id))
    except VersionDamaged as error:
        raise _damaged(job_id, "the newest version of the thresholds") from error


def limits_of(version: ThresholdsVersion, names: Iterable[str]) -> list[float]:
    """For each of these classes from which score on it is a label; NaN for never."""
    found = (version.values[name] for name in names)
    return [math.nan if value is None else value for value in found]


def read_tensor(path: Path, name: str) -> Tensor:
    """One tensor of a file, without its others."""
    with safe_open(path, "pt") as file:
        tensor: Tensor = file.get_tensor(name)
        return tensor


def _result(path: Path, job_id: str) -> dict[str, Any]:
    try:
        result: dict[str, Any] = read_json(path)
    except FileNotFoundError:
        raise JobUnreadable(
            "not_ready", f"{job_id} has not succeeded", "Wait until its status is succeeded."
        ) from None
    except json.JSONDecodeError as error:
        raise _damaged(job_id, path.name) from error
    if result["status"] != Status.SUCCEEDED:
        message = (result.get("error") or {}).get("message", "")
        told = ": ".join(filter(None, [f"{job_id} is {result['status']}", message]))
        raise JobUnreadable("job_not_succeeded", told)
    return result


def _no_job(folder: DataFolder, job_id: str) -> JobUnreadable:
    there = sorted(path.name for path in folder.jobs.glob("job_*"))
    listed = ", ".join(there[-MAX_LISTED:]) or "none"
    return JobUnreadable(
        "job_not_found",
        f"there is no job {job_id!r} in {folder.root}",
        f"The newest jobs there are: {listed}. Another data folder is named by --data.",
    )


def _damaged(job_id: str, what: str) -> JobUnreadable:
    return JobUnreadable(
        "artifact_corrupt",
        f"{what} of {job_id} no longer has its checksums",
        "Run the job again.",
    )
