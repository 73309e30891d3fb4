"""Floating-point operations of one image in the networks of a preset, counted on random weights."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from demo.world import CLASSES
from models import distill
from models.config import PRESETS, DistillConfig


def count_flops(preset: str) -> dict[str, int]:
    """A multiplication and its addition are two operations, as data sheets count.

    Forward passes alone: of a backward pass through grouped convolutions the counter knows nothing
    right.

    Returns:
        `teacher`: one view through the teacher; `student` and `cam`: one image through the student
        at its own size and at that of cropping. And `features`: the length of the teacher's
        vectors.
    """
    config = _at_random(PRESETS[preset])
    # The fused attention of evaluation mode is one operation that the counter does not know.
    torch.backends.mha.set_fastpath_enabled(False)
    with tempfile.TemporaryDirectory() as weights:
        teacher = distill.load_teacher_of(
            config, device=torch.device("cpu"), weights_dir=Path(weights)
        )
        training = distill.start_training(config, len(CLASSES), teacher, "cpu", Path(weights))
    found = {"features": teacher.feature_dim}
    with FlopCounterMode(display=False) as counter:
        teacher.encode_images(_image(teacher.view_size))
    found["teacher"] = counter.get_total_flops()
    student = training.student.eval()
    for name, side in (("student", config.student_size), ("cam", config.cam_size)):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            student(student.prepare(_image(side)))
        found[name] = counter.get_total_flops()
    return found


def _at_random(config: DistillConfig) -> DistillConfig:
    teacher = config.teacher.replace("/openai", "/random")
    return replace(config, teacher=teacher, student_weights="random", precision="fp32")


def _image(side: int) -> Tensor:
    return torch.zeros(1, 3, side, side, dtype=torch.uint8)
