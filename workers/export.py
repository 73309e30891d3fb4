"""The phase `export`: a student's ONNX file and its model card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor

from models.config import DistillConfig
from models.data import ImageChanged, view_batches
from models.onnx_export import OnnxStudent, check_difference, onnx_bytes
from models.onnx_nodes import NotExported
from models.portable import LoadedStudent, read_student
from workers import model_card
from workers.durable import write_durably
from workers.files import ONNX, WEIGHTS, read_json, write_json
from workers.halving import halving_warnings
from workers.register import FACTS
from workers.units import Finished, JobUnit
from workers.version import code_version

#: Raised when the same student would give another ONNX file or another card.
EXPORT_VERSION = 1

#: Images of the job on which ONNX is compared with torch: they lie evenly over the dataset.
CHECK_IMAGES = 16
#: Sizes of the batches in which the images go through onnxruntime, one pass for each.
CHECK_BATCHES = (1, 5, 16)


def checked_images(num_images: int) -> int:
    """How many images the check passes, over all its batch sizes."""
    return min(num_images, CHECK_IMAGES) * len(CHECK_BATCHES)


def export(unit: JobUnit) -> Finished:
    """The files that a student is taken away with, beside its own.

    A student that cannot be had as ONNX is no failure of its job: a warning says why.
    """
    try:
        name = _exported(unit, skipped=_skipped(unit))
    except ImageChanged as error:  # a folder of its own: later jobs may find the image as it was
        reason = f"it could not be compared on images of the job: {error.path}: {error.reason}"
        name = _exported(unit, skipped=reason)
    onnx = read_json(unit.folder.phase(name) / model_card.CARD_JSON)["onnx"]
    warnings = [*unit.facts.get("warnings", []), *_not_exported(onnx["reason"])]
    done = checked_images(len(unit.files))
    facts = {"onnx": onnx, "warnings": warnings}
    return Finished(name, done, facts=facts, reused=unit.was_there)


def _exported(unit: JobUnit, *, skipped: str) -> str:
    """The folder of the files; `skipped` says why the ONNX file is not tried, if it is not.

    Raises:
        ImageChanged: an image on which ONNX was to be compared is not as it was registered.
    """
    source, told = unit.whole(unit.output("score")) / WEIGHTS, _told(unit)

    def make(staging: Path) -> None:
        header, weights = read_student(source)
        onnx = {"reason": skipped} if skipped else _write_onnx(unit, header, weights, staging)
        card = _card(header, weights, {**told, "onnx": onnx})
        write_json(staging / model_card.CARD_JSON, card)
        text = model_card.markdown(card).encode()
        write_durably(staging / model_card.CARD_MARKDOWN, text)

    digest = unit.digest(unit.output("score"), EXPORT_VERSION, told, skipped)
    return unit.produce(f"export-{digest}", make)


def _write_onnx(
    unit: JobUnit, header: Mapping[str, Any], weights: Mapping[str, Tensor], staging: Path
) -> dict[str, Any]:
    """Write the ONNX file if it says what torch says; how far it is from it, or why not."""
    student = LoadedStudent(header, weights).eval()
    try:
        content = onnx_bytes(header, weights)
        found = _check(unit, OnnxStudent(content, threads=unit.threads), student)
    except NotExported as error:
        return {"reason": str(error)}
    (staging / ONNX).write_bytes(content)
    return found


def _skipped(unit: JobUnit) -> str:
    """Why ONNX is not tried: a crash in it may take the process along, the job must not go too."""
    if unit.is_last_resort:
        return "the worker was lost in every attempt before this one"
    return ""


def _check(unit: JobUnit, onnx: OnnxStudent, student: LoadedStudent) -> dict[str, Any]:
    """How far ONNX is from torch on images of the job, in batches of several sizes."""
    count = min(len(unit.files), CHECK_IMAGES)
    indices = [i * len(unit.files) // count for i in range(count)]
    largest, done = 0.0, 0
    for _, images in view_batches(
        unit.files, indices, side=student.size, batch_size=count, threads=unit.threads
    ):
        expected = _probs(student, images)
        for size in CHECK_BATCHES:
            parts = zip(torch.split(images, size), torch.split(expected, size), strict=True)
            for part, wanted in parts:
                largest = max(largest, check_difference(onnx.probs(part), wanted))
                done += len(part)
                unit.on_batch(done)
    return {
        "reason": None,
        "largest_difference": largest,
        "images": count,
        "batch_sizes": sorted({min(size, count) for size in CHECK_BATCHES}),
        "onnxruntime": onnxruntime.__version__,
    }


@torch.inference_mode()
def _probs(student: LoadedStudent, images: Tensor) -> Tensor:
    probs: Tensor = student(student.prepare(images)).sigmoid()
    return probs


def _told(unit: JobUnit) -> dict[str, Any]:
    """What the card says beyond the student's own header; a part of the folder's digest."""
    facts, config = unit.facts, unit.config
    registered = read_json(unit.folder.dataset(unit.request["dataset_id"]) / FACTS)
    counts = registered["counts"]
    return {
        "data": {
            "images_digest": registered["images_digest"],
            "accepted": counts["accepted"],
            "distinct": counts["distinct"],
            "formats": registered["formats"],
        },
        "teacher": {
            "name": config.teacher,
            "digest": unit.fingerprint["teacher"],
            "licence": model_card.teacher_licence(config.teacher),
        },
        "starts_from": _start_of(config),
        "bias": facts["bias"],
        "training": facts["metrics"],
        "warnings": [*facts.get("warnings", []), *halving_warnings(facts)],
        "code": {"version": code_version(), "fingerprint": unit.fingerprint},
    }


def _start_of(config: DistillConfig) -> str:
    """Whose weights the student had before its first epoch."""
    if config.student == "teacher-tower":
        return "the teacher's image tower"
    if config.student_weights in {"imagenet", "random"}:
        return f"{config.student_weights} weights"
    return "a file of weights"


def _card(
    header: Mapping[str, Any], weights: Mapping[str, Tensor], told: Mapping[str, Any]
) -> dict[str, Any]:
    bias = told["bias"]
    entries = zip(header["classes"], bias["factors"], bias["images"], strict=True)
    card = {
        "format": model_card.FORMAT,
        "student": header["student"],
        "parameters": _count_parameters(weights),
        "preprocessing": header["preprocessing"],
        "classes": [
            {**class_, "bias": {"factor": factor, "images": images}}
            for class_, factor, images in entries
        ],
        "failure_modes": list(model_card.FAILURE_MODES),
        "config": header["config"],
        **{key: value for key, value in told.items() if key != "bias"},
    }
    names = [class_["name"] for class_ in header["classes"]]
    values = dict(zip(names, header["thresholds"], strict=True))
    return model_card.with_thresholds(card, values, basis=header["threshold_basis"], version=1)


def _count_parameters(weights: Mapping[str, Tensor]) -> int:
    """What was trained: the statistics of batch norm are not counted."""
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    return sum(w.numel() for name, w in weights.items() if not name.endswith(statistics))


def _not_exported(reason: str | None) -> list[dict[str, Any]]:
    if reason is None:
        return []
    message = f"the student cannot be had as ONNX: {reason}; {WEIGHTS} is not affected"
    return [{"code": "onnx_not_exported", "classes": [], "message": message}]
