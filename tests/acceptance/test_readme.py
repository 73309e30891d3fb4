"""What the README tells a user to do, done."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.images import decode, resize, to_tensor
from models.onnx_export import onnx_bytes
from models.portable import load_student, read_student, save_student
from models.student import build_student

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
CLASSES = ("cat", "dog", "bus")

#: Lines after which nothing but onnxruntime, numpy, Pillow and what they need can be imported.
WITHOUT_TORCH = """
import sys
for name in ("torch", "torchvision", "timm", "safetensors", "onnx", "models", "workers", "app"):
    sys.modules[name] = None
"""


@pytest.fixture
def away(tmp_path):
    """A folder far from the project, with a student and a photo-like JPEG."""
    student = build_student(
        "resnet18",
        len(CLASSES),
        size=64,
        stride=None,
        weights="random",
        boost=3.0,
        seed=0,
        teacher=None,
        weights_dir=None,
    )
    save_student(
        tmp_path / "student.safetensors",
        student.eval(),
        classes=[{"name": name} for name in CLASSES],
        thresholds=[0.0, 1.0, None],
    )
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    photo = Image.fromarray(pixels).resize((640, 480), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    photo.save(tmp_path / "photo.jpg", exif=exif)
    return tmp_path


@pytest.fixture
def scores(away):
    """The service's scores of the photo."""
    student, header = load_student(away / "student.safetensors")
    side = header["preprocessing"]["side"]
    image = resize(decode((away / "photo.jpg").read_bytes(), target=side), side)
    with torch.inference_mode():
        return student(student.prepare(to_tensor(image)[None])).sigmoid()[0].tolist()


def lines_about(file):
    """The README's lines of Python that read a file of a student."""
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (block,) = [block for block in blocks if file in block]
    return block


def run_away(folder, program):
    """What a program prints that knows nothing of this project."""
    found = subprocess.run(
        [sys.executable, "-I", "-c", program, "photo.jpg"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return [line.split() for line in found.stdout.splitlines()]


def check_lines(lines, scores):
    assert [float(score) for score, _, _ in lines] == pytest.approx(scores, abs=1e-4)
    assert [(answer, name) for _, answer, name in lines] == [
        ("yes", "cat"),
        ("no", "dog"),
        ("no", "bus"),
    ]


def test_its_lines_load_a_student_and_give_the_services_scores(away, scores):
    check_lines(run_away(away, lines_about("student.safetensors")), scores)


def test_its_lines_about_onnx_do_the_same_without_torch(away, scores):
    (away / "student.onnx").write_bytes(onnx_bytes(*read_student(away / "student.safetensors")))

    check_lines(run_away(away, WITHOUT_TORCH + lines_about("student.onnx")), scores)


def test_every_path_that_it_links_is_there():
    linked = re.findall(r"\]\((?!http)([^)#]+)\)", README)

    assert linked
    assert [path for path in linked if not (ROOT / path).exists()] == []


def test_every_make_target_that_it_names_is_there():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert {"demo", "test", "check"} <= set(re.findall(r"\bmake ([a-z]+)\b", README)) <= targets
