"""The phase `score`: the selected student, its answers and thresholds, and the student's file."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from models import distill
from models.portable import save_student
from models.student import Student
from workers.epochs import Epochs
from workers.files import WEIGHTS, write_json
from workers.job_warnings import no_threshold
from workers.units import Finished, JobUnit

#: Raised when the same student would get other thresholds or another file.
SCORE_VERSION = 2


def score(unit: JobUnit) -> Finished:
    """The selected student's answer on every image, its thresholds, and the student's file."""
    epochs = Epochs(unit)
    scores = epochs.training_map()
    selected = distill.select_epoch(scores, unit.config.warm_up_epochs)

    def make(staging: Path) -> None:
        student = epochs.student_after(selected)
        probs = distill.predict(
            student,
            unit.files,
            range(len(unit.files)),
            side=unit.config.student_size,
            batch_size=unit.batch_size,
            threads=unit.threads,
            on_batch=unit.on_batch,
        )
        pseudo = unit.tensors(unit.output("update"), "labels.safetensors")["labels"]
        thresholds = distill.label_thresholds(probs, pseudo)
        save_file({"probs": probs, "thresholds": thresholds}, staging / "scores.safetensors")
        _save_student(unit, staging / WEIGHTS, student, thresholds)

    told = [[c.name, list(c.prompts)] for c in unit.classes], unit.config.to_dict()
    digest = unit.digest(
        SCORE_VERSION, epochs.digest(selected), unit.output("update"), *told, *unit.halving
    )
    name = unit.produce(f"score-{digest}", make)
    reused = unit.was_there
    metrics = {"selected_epoch": selected, "training_map": scores}
    facts = _publish_student(unit, name, metrics)
    return Finished(name, len(unit.files), facts=facts, reused=reused)


def _save_student(unit: JobUnit, path: Path, student: Student, thresholds: Tensor) -> None:
    save_student(
        path,
        student,
        classes=[{"name": c.name, "prompts": list(c.prompts)} for c in unit.classes],
        thresholds=_listed(thresholds),
        extra={
            "teacher": unit.config.teacher,
            "config": unit.config.to_dict(),
            "fingerprint": unit.fingerprint,
        },
    )


def _publish_student(unit: JobUnit, name: str, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Give the job its own copy of the student; what the record should say of it."""
    source = unit.folder.phase(name)
    thresholds = _listed(load_file(source / "scores.safetensors")["thresholds"])
    names = [c.name for c in unit.classes]
    student_id = "stu_" + unit.job_id.removeprefix("job_")

    def make(staging: Path) -> None:
        _link(source / WEIGHTS, staging / WEIGHTS)
        write_json(
            staging / "student.json",
            {
                "id": student_id,
                "job_id": unit.job_id,
                "classes": names,
                "thresholds": thresholds,
                "threshold_basis": "pseudo_f1",
                "thresholds_version": 1,
                "metrics": metrics,
            },
        )

    unit.folder.produce_at(unit.folder.student(student_id), make, nonce=unit.claim.nonce)
    warnings = [*unit.facts.get("warnings", []), *no_threshold(names, thresholds)]
    return {"student_id": student_id, "metrics": metrics, "warnings": warnings}


def _listed(thresholds: Tensor) -> list[float | None]:
    return [None if math.isnan(value) else value for value in thresholds.tolist()]


def _link(source: Path, target: Path) -> None:
    """Hard link where the file system can, copy where it cannot."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
