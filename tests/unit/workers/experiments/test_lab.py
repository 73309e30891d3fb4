from dataclasses import replace

import pytest
import torch

from demo.world import write_instances
from models import distill
from models.config import PRESETS
from workers.experiments.inputs import choose_classes, read_set
from workers.experiments.lab import Lab
from workers.experiments.orders import Source
from workers.experiments.work import Work

QUICK = replace(PRESETS["tiny"], student_size=32, student_stride=32, cam_size=32, warm_up_epochs=1)


@pytest.fixture
def make_lab(tmp_path):
    """The method on two scenes; every lab has the same work folder."""
    truth = Source(
        folder="", truth=str(write_instances(tmp_path / "scenes", count=2, seed=7))
    ).read()
    teacher = distill.load_teacher_of(QUICK, device=torch.device("cpu"), weights_dir=None)

    def make():
        work = Work(tmp_path / "work", {}, say=lambda _line: None)
        classes = choose_classes(None, [truth])
        images = read_set(tmp_path / "scenes", truth, classes, work=work, threads=1)
        return Lab(images, images, QUICK, teacher=teacher, work=work, name="a lab", threads=1)

    return make


def look(lab):
    """The folders of the local views that a lab asks for."""
    lab.local_views(lab.warm)
    return [name for name in lab.work.used if name.startswith("localize-")]


def test_local_views_of_the_same_start_lie_in_the_same_folder(make_lab):
    assert look(make_lab()) == look(make_lab())


def test_a_student_that_starts_from_other_weights_gives_local_views_of_its_own(
    make_lab, monkeypatch
):
    start = Lab._start

    def start_elsewhere(lab):
        training = start(lab)
        training.student.head.weight.data.mul_(2)
        return training

    before = look(make_lab())
    monkeypatch.setattr(Lab, "_start", start_elsewhere)

    assert len(before) == len(look(make_lab())) == 1
    assert look(make_lab()) != before
