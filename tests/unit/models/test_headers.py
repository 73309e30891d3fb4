"""The JSON of a student's files is read and replaced; no byte of a weight changes."""

import json
import struct

import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from safetensors import safe_open
from safetensors.torch import save_file

from models.headers import HEADER, NoHeader, layout_of, onnx_metadata

ABOUT = {"classes": [{"name": "cat"}], "thresholds": [0.5]}
OTHER = {"classes": [{"name": "ä\U0001f600"}], "thresholds": [None], "longer": "x" * 300}


@pytest.fixture
def tensors(tmp_path):
    path = tmp_path / "student.safetensors"
    weights = {"a": torch.arange(7.0), "b": torch.ones(2, 3)}
    save_file(weights, path, metadata={HEADER: json.dumps(ABOUT)})
    return path


@pytest.fixture
def network(tmp_path):
    """An ONNX file in which everything comes before the metadata."""
    value = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])]
    result = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", value, result)
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])
    path = tmp_path / "student.onnx"
    path.write_bytes(model.SerializeToString() + onnx_metadata(json.dumps(ABOUT)))
    return path


def rewritten(path, header):
    layout = layout_of(path)
    before, after = layout.with_header(header)
    body = path.read_bytes()[layout.body.start : layout.body.stop]
    path.write_bytes(before + body + after)
    return body


def test_the_headers_of_both_kinds_are_read(tensors, network):
    assert layout_of(tensors).header == layout_of(network).header == ABOUT


def test_the_same_header_is_the_same_file(tensors, network):
    for path in (tensors, network):
        content = path.read_bytes()
        rewritten(path, ABOUT)
        assert path.read_bytes() == content


def test_safetensors_reads_a_file_with_another_header(tensors):
    body = rewritten(tensors, OTHER)

    with safe_open(tensors, "pt") as file:
        assert json.loads(file.metadata()[HEADER]) == OTHER
        assert file.get_tensor("a").tolist() == list(range(7))
        assert file.get_tensor("b").tolist() == [[1.0] * 3] * 2
    assert tensors.read_bytes().endswith(body)
    assert (tensors.stat().st_size - len(body)) % 8 == 0


def test_onnx_reads_a_file_with_another_header(network):
    rewritten(network, OTHER)

    model = onnx.load(str(network))
    onnx.checker.check_model(model)
    (entry,) = model.metadata_props
    assert (entry.key, json.loads(entry.value)) == (HEADER, OTHER)
    session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
    assert json.loads(session.get_modelmeta().custom_metadata_map[HEADER]) == OTHER


def test_headers_can_be_replaced_again_and_again(tensors, network):
    for path in (tensors, network):
        for header in (OTHER, ABOUT, OTHER):
            rewritten(path, header)
            assert layout_of(path).header == header


@given(st.text(max_size=300))
def test_a_metadata_entry_is_what_protobuf_writes(text):
    model = onnx.ModelProto()
    model.metadata_props.add(key=HEADER, value=text)

    assert onnx_metadata(text) == model.SerializeToString()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x08",
        struct.pack("<Q", 10**9) + b"{}",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 20) + b'{"__metadata__": {}} ',
        b"\x08\x08",  # one number and nothing more
        b"\x0f",  # a kind of field that there is not
        b"\xff" * 30,
        onnx_metadata("no JSON"),
    ],
)
@pytest.mark.parametrize("name", ["student.safetensors", "student.onnx"])
def test_another_file_is_refused(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)

    with pytest.raises(NoHeader, match="not a student's file"):
        layout_of(path)
