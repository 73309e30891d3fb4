"""A student as one ONNX file: pixels in as Pillow gives them, probabilities out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper
from torch import Tensor

from models.graph import INPUT
from models.headers import onnx_metadata
from models.onnx_nodes import OPSET, Nodes, NotExported

#: Raised when a reader of the old format would misread the new one.
FORMAT = {"name": "ccd-student-onnx", "version": 1}

#: The input, (batch, side, side, 3) uint8: an RGB picture as `numpy.asarray` of Pillow's has it.
IMAGES = "images"
#: The outputs, (batch, classes) float32.
PROBS, LOGITS = "probs", "logits"

#: The largest difference to torch, on probabilities, with which an export counts as one.
TOLERANCE = 1e-4

#: Version of the file format that has the operators of `OPSET`; readers refuse a newer one.
IR_VERSION = 8


def onnx_bytes(header: Mapping[str, Any], weights: Mapping[str, Tensor]) -> bytes:
    """The ONNX file of a student, from the header and the weights of its safetensors file.

    Equal students give equal bytes. The JSON of the header goes with it as metadata, all but the
    graph, which is the file itself.

    Raises:
        NotExported: the graph has a call that no ONNX operator says.
    """
    side, classes = header["preprocessing"]["side"], len(header["classes"])
    nodes = Nodes({name: weight.numpy() for name, weight in weights.items()})
    _add_input(nodes, header["preprocessing"])
    for step in header["graph"]:
        last = nodes.add_step(step)
    nodes.add("Identity", [last], LOGITS)
    nodes.add("Sigmoid", [LOGITS], PROBS)
    kind = onnx.TensorProto
    graph = helper.make_graph(
        nodes.nodes,
        "student",
        [helper.make_tensor_value_info(IMAGES, kind.UINT8, ["batch", side, side, 3])],
        [
            helper.make_tensor_value_info(name, kind.FLOAT, ["batch", classes])
            for name in (PROBS, LOGITS)
        ],
        nodes.constants,
    )
    model = helper.make_model(
        graph,
        producer_name="ccd-service",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    try:
        onnx.checker.check_model(model, full_check=True)
        content: bytes = model.SerializeToString(deterministic=True)
    except Exception as error:  # whatever the checker raises, and protobuf over its 2 GB
        raise NotExported(f"the ONNX model is not valid: {error}") from error
    about = {key: value for key, value in header.items() if key != "graph"}
    return content + onnx_metadata(json.dumps({**about, "format": FORMAT}))


def _add_input(nodes: Nodes, preprocessing: Mapping[str, Any]) -> None:
    """From bytes as Pillow has them to the graph's input, in the order in which torch does it."""
    nodes.add("Transpose", [IMAGES], "images.planes", perm=[0, 3, 1, 2])
    nodes.add("Cast", ["images.planes"], "images.float", to=onnx.TensorProto.FLOAT)
    white = nodes.constant("images.white", 255.0)
    nodes.add("Div", ["images.float", white], "images.unit")
    mean, std = (
        nodes.constant(f"images.{name}", np.reshape(preprocessing[name], (1, 3, 1, 1)))
        for name in ("mean", "std")
    )
    nodes.add("Sub", ["images.unit", mean], "images.centred")
    nodes.add("Div", ["images.centred", std], INPUT)


class OnnxStudent:
    """A student's ONNX file, loaded by onnxruntime on the CPU.

    Raises:
        NotExported: it cannot be loaded.
    """

    def __init__(self, content: bytes, *, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors
        try:
            self._session = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's errors have no common base
            raise NotExported(f"onnxruntime cannot load it: {error}") from error

    def probs(self, images: Tensor) -> Tensor:
        """(B, C) probabilities of (B, 3, S, S) uint8 images.

        Raises:
            NotExported: it cannot be run.
        """
        pixels = images.permute(0, 2, 3, 1).contiguous().numpy()
        try:
            (found,) = self._session.run([PROBS], {IMAGES: pixels})
        except Exception as error:
            raise NotExported(f"onnxruntime cannot run it: {error}") from error
        return torch.from_numpy(found)


def check_difference(probs: Tensor, expected: Tensor) -> float:
    """The largest difference between ONNX's probabilities and torch's.

    Raises:
        NotExported: it is over `TOLERANCE`, or no number.
    """
    difference = float((probs - expected).abs().max())
    if not difference <= TOLERANCE:
        raise NotExported(
            f"its probabilities differ from torch's by {difference:.2g}, "
            f"at most {TOLERANCE:g} is allowed"
        )
    return difference
