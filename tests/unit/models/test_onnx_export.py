"""A student's ONNX file: the same probabilities, its JSON, the same bytes."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from models.headers import HEADER
from models.onnx_export import (
    FORMAT,
    TOLERANCE,
    OnnxStudent,
    check_difference,
    onnx_bytes,
)
from models.onnx_nodes import NotExported
from models.portable import load_student, read_student, save_student
from models.student import build_student

SIDE = 64
CLASSES = [{"name": "cat"}, {"name": "Ärger; \\ \U0001f600", "prompts": ["a {}"]}]


def saved(name, folder, teacher=None):
    """The file of a student whose BatchNorm has seen something."""
    student = build_student(name, 2, size=SIDE, stride=16, weights="random", teacher=teacher)
    with torch.no_grad():
        student.train()(torch.randn(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)))
    path = folder / "student.safetensors"
    save_student(path, student.eval(), classes=CLASSES, thresholds=[0.5, None])
    return path


def images(count):
    generator = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)


@torch.inference_mode()
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "tf_efficientnet_lite0", "teacher-tower"])
def test_onnx_gives_torchs_probabilities_in_any_batch(name, tmp_path, small_teacher):
    path = saved(name, tmp_path, small_teacher)
    student, _ = load_student(path)
    exported = OnnxStudent(onnx_bytes(*read_student(path)), threads=1)

    for count in (1, 2, 5):
        expected = student(student.prepare(images(count))).sigmoid()
        assert check_difference(exported.probs(images(count)), expected) <= 1e-5


def test_the_input_is_a_picture_as_numpy_has_it_and_logits_come_too(tmp_path):
    content = onnx_bytes(*read_student(saved("resnet18", tmp_path)))
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    (given,), (probs, logits) = session.get_inputs(), session.get_outputs()
    pictures = images(3).permute(0, 2, 3, 1).numpy()
    found = session.run(None, {"images": pictures})

    assert (given.name, given.type, given.shape) == (
        *("images", "tensor(uint8)"),
        ["batch", SIDE, SIDE, 3],
    )
    assert (probs.name, logits.name, probs.shape) == ("probs", "logits", ["batch", 2])
    np.testing.assert_allclose(found[0], 1 / (1 + np.exp(-found[1])), atol=1e-6)


def test_its_metadata_is_the_header_without_the_graph(tmp_path):
    header, weights = read_student(saved("resnet18", tmp_path))
    content = onnx_bytes(header, weights)

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    about = json.loads(session.get_modelmeta().custom_metadata_map[HEADER])
    del header["graph"]
    assert about == {**header, "format": FORMAT}


def test_the_file_is_whole_and_valid(tmp_path):
    model = onnx.load_from_string(onnx_bytes(*read_student(saved("resnet18", tmp_path))))

    onnx.checker.check_model(model, full_check=True)
    assert not [entry for entry in model.graph.initializer if entry.external_data]
    names = {entry.name for entry in model.graph.initializer}
    assert "features.layer1.0.conv1.weight" in names


def test_equal_students_are_equal_files(tmp_path):
    header, weights = read_student(saved("resnet18", tmp_path))
    turned = dict(reversed(weights.items()))

    assert onnx_bytes(header, weights) == onnx_bytes(header, turned)


def test_a_graph_that_onnx_cannot_say_is_refused(tmp_path):
    header, weights = read_student(saved("resnet18", tmp_path))
    header["graph"].insert(-1, ["odd", "gelu", ["pixels"], {"approximate": "tanh"}])

    with pytest.raises(NotExported, match="approximate is 'tanh'"):
        onnx_bytes(header, weights)


def test_an_invalid_model_is_refused(tmp_path):
    header, weights = read_student(saved("resnet18", tmp_path))
    header["graph"].append(["wide", "permute", [header["graph"][-1][0], [0, 1, 2, 3]], {}])

    with pytest.raises(NotExported, match="not valid"):
        onnx_bytes(header, weights)


def test_bytes_that_are_no_model_are_refused():
    with pytest.raises(NotExported, match="cannot load"):
        OnnxStudent(b"no model", threads=1)


def test_images_of_another_size_are_refused(tmp_path):
    exported = OnnxStudent(onnx_bytes(*read_student(saved("resnet18", tmp_path))), threads=1)

    with pytest.raises(NotExported, match="cannot run"):
        exported.probs(images(1)[:, :, :32])


def test_the_difference_is_the_largest_one():
    probs, expected = torch.tensor([[0.5, 0.25]]), torch.tensor([[0.50003125, 0.25]])

    assert check_difference(probs, expected) == pytest.approx(3.125e-5, rel=1e-2)


@pytest.mark.parametrize("wrong", [0.25 + 2 * TOLERANCE, float("nan")])
def test_a_difference_over_the_tolerance_is_refused(wrong):
    with pytest.raises(NotExported, match=r"at most 0\.0001 is allowed"):
        check_difference(torch.tensor([0.25, wrong]), torch.tensor([0.25, 0.25]))
