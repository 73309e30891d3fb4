"""A student's file gives the same scores here, and in a process that has only public packages."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from models.images import decode, resize, to_tensor
from models.portable import HEADER, NotAStudent, load_student, save_student
from models.student import build_student

DOCUMENT = Path(__file__).parents[3] / "docs" / "student-format.md"
CLASSES = [{"name": "cat"}, {"name": "dog", "prompts": ["a dog"]}, {"name": "bus"}]
THRESHOLDS = [0.5, None, 0.25]


def trained(name, teacher=None):
    """A student whose BatchNorm has seen something."""
    student = build_student(name, 3, size=64, stride=16, weights="random", teacher=teacher)
    with torch.no_grad():
        student.train()(torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    return student.eval()


def saved(student, folder, **extra):
    path = folder / "student.safetensors"
    save_student(path, student, classes=CLASSES, thresholds=THRESHOLDS, extra=extra)
    return path


@torch.no_grad()
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "tf_efficientnet_lite0", "teacher-tower"])
def test_a_loaded_student_gives_the_same_logits_and_maps(name, tmp_path, small_teacher):
    student = trained(name, small_teacher)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)

    loaded, _ = load_student(saved(student, tmp_path))

    x = student.prepare(images)
    assert torch.equal(loaded.prepare(images), x)
    assert torch.allclose(loaded(x), student(x), atol=1e-5)
    assert torch.allclose(loaded.cams(x), student.cams(x), atol=1e-5)


def test_the_header_says_all_that_is_needed(tmp_path):
    student = trained("resnet18")

    loaded, header = load_student(saved(student, tmp_path, config={"alpha": 0.4}))

    assert header["classes"] == CLASSES
    assert header["thresholds"] == THRESHOLDS
    assert header["threshold_basis"] == "pseudo_f1"
    assert header["preprocessing"] == {
        "side": 64,
        "resize": "pillow-bicubic",
        "draft_factor": 2,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    }
    assert header["config"] == {"alpha": 0.4}
    assert header["versions"].keys() == {"torch", "torchvision", "pillow"}
    assert loaded.header == header
    assert loaded.size == 64


def test_the_tensors_are_the_students_state(tmp_path):
    student = trained("resnet18")

    with safe_open(saved(student, tmp_path), "pt") as file:
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118

    state = student.state_dict()
    assert stored.keys() == state.keys()
    assert all(torch.equal(stored[name], state[name]) for name in state)
    assert "features.layer1.0.bn1.running_mean" in stored


def test_equal_students_are_equal_files(tmp_path):
    student = trained("resnet18")
    first = saved(student, tmp_path, config={}).read_bytes()

    assert saved(student, tmp_path, config={}).read_bytes() == first


def test_every_class_needs_a_threshold(tmp_path):
    with pytest.raises(ValueError, match="3 classes need as many names and thresholds"):
        save_student(
            tmp_path / "x", trained("resnet18"), classes=CLASSES, thresholds=[None], extra={}
        )


def write(path, metadata):
    save_file({"w": torch.zeros(1)}, path, metadata=metadata)


def header_with(**changes):
    header = {
        "format": {"name": "ccd-student", "version": 1},
        "preprocessing": {"side": 8, "mean": [0.0] * 3, "std": [1.0] * 3},
        "graph": [["a", "relu", ["pixels"], {}]],
    }
    return {HEADER: json.dumps({**header, **changes})}


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {HEADER: "no JSON"},
        header_with(format={"name": "ccd-student", "version": 2}),
        header_with(graph=[["a", "load", ["pixels"], {}]]),
        {HEADER: json.dumps({"format": {"name": "ccd-student", "version": 1}})},
    ],
)
def test_another_file_is_refused(tmp_path, metadata):
    write(tmp_path / "x", metadata)

    with pytest.raises(NotAStudent):
        load_student(tmp_path / "x")


def test_a_torn_file_is_refused(tmp_path):
    path = saved(trained("resnet18"), tmp_path)
    path.write_bytes(path.read_bytes()[:5000])

    with pytest.raises(NotAStudent):
        load_student(path)


def snippet() -> str:
    found = re.search(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert found is not None
    return found.group(1)


def test_the_documented_lines_are_at_most_fifteen():
    assert len([line for line in snippet().splitlines() if line]) <= 15


@torch.no_grad()
def test_the_documented_lines_give_the_scores_of_the_service(tmp_path):
    expected = {}
    for name in ("resnet18", "tf_efficientnet_lite0"):
        folder = tmp_path / name
        folder.mkdir()
        loaded, _ = load_student(saved(trained(name), folder))
        noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
        photo = Image.fromarray(noise).resize((800, 600))
        exif = Image.Exif()
        exif[0x0112] = 6
        photo.save(folder / "photo.jpg", exif=exif)
        picture = decode((folder / "photo.jpg").read_bytes(), target=loaded.size)
        assert picture.size == (150, 200)  # a quarter: 1/8 would be less than twice 64
        x = loaded.prepare(to_tensor(resize(picture, loaded.size))[None])
        expected[name] = loaded(x)[0].sigmoid().tolist()

    program = "import os, sys\nfor folder in sys.argv[1:]:\n    os.chdir(folder)\n" + "".join(
        f"    {line}\n" for line in snippet().splitlines()
    )
    printed = subprocess.run(
        [sys.executable, "-I", "-c", program, *(str(tmp_path / name) for name in expected)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    for line, scores in zip(printed.splitlines(), expected.values(), strict=True):
        assert json.loads(line.replace("'", '"')) == pytest.approx(
            dict(zip(("cat", "dog", "bus"), scores, strict=True)), abs=1e-4
        )
