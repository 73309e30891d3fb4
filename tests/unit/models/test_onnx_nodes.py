"""Every call that a student may make gives the same numbers in onnxruntime."""

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from models.graph import FUNCTIONS
from models.onnx_nodes import OPERATORS, OPSET, Nodes, NotExported

WEIGHTS = {
    "kernel": (4, 3, 3, 5),
    "grouped": (6, 1, 3, 3),
    "bias": (4,),
    "scale": (3,),
    "shift": (3,),
    "mean": (3,),
    "var": (3,),
    "matrix": (5, 8),
    "offset": (5,),
    "norm": (8,),
    "like": (2, 3, 7, 8),
}

#: (function, arguments after the input, options)
CALLS = [
    ("add", ["like"], {}),
    ("add", [0.5], {}),
    ("avg_pool2d", [2], {}),
    ("avg_pool2d", [[3, 2], [1, 2], 1], {}),
    ("avg_pool2d", [3, 1, 1], {"count_include_pad": False}),
    ("batch_norm", ["mean", "var", "scale", "shift"], {"eps": 1e-3}),
    ("batch_norm", ["mean", "var"], {}),
    ("conv2d", ["kernel"], {}),
    ("conv2d", ["kernel", "bias", [2, 1], [1, 2], [1, 1], 1], {}),
    ("conv2d", ["kernel", None, 1, [2, 4], 2], {}),
    ("conv2d", ["kernel", "bias"], {"padding": "same", "dilation": [2, 1]}),
    ("conv2d", ["kernel"], {"padding": "valid"}),
    ("conv2d", ["grouped", None, 1, 1, 1, 3], {}),
    ("gelu", [], {}),
    ("hardsigmoid", [], {}),
    ("hardswish", [], {}),
    ("hardtanh", [], {}),
    ("hardtanh", [-0.5, 0.25], {}),
    ("layer_norm", [[8], "norm", "norm"], {"eps": 1e-6}),
    ("layer_norm", [[7, 8]], {}),
    ("linear", ["matrix", "offset"], {}),
    ("linear", ["matrix"], {}),
    ("max_pool2d", [2], {}),
    ("max_pool2d", [3, 2, 1], {}),
    ("max_pool2d", [3], {"stride": 1, "dilation": 2}),
    ("mean", [[2, 3]], {}),
    ("mean", [-1], {"keepdim": True}),
    ("mul", ["like"], {}),
    ("mul", [-2], {}),
    ("pad", [[1, 2, 0, 3]], {}),
    ("pad", [[1, 2]], {"mode": "constant", "value": -1.5}),
    ("pad", [[1, 2, 3, 0]], {"mode": "reflect"}),
    ("pad", [[0, 1, 1, 0]], {"mode": "replicate"}),
    ("permute", [[0, 2, 3, 1]], {}),
    ("relu", [], {}),
    ("relu6", [], {}),
    ("reshape", [[2, -1, 8]], {}),
    ("sigmoid", [], {}),
    ("silu", [], {}),
]


def weights():
    generator = torch.Generator().manual_seed(0)
    made = {name: torch.randn(shape, generator=generator) for name, shape in WEIGHTS.items()}
    made["var"] = made["var"].abs() + 0.1
    return made


def run(function, arguments, options, x, given):
    """What onnxruntime makes of one call."""
    nodes = Nodes({name: weight.numpy() for name, weight in given.items()})
    result = nodes.add_step(["step0", function, ["x", *arguments], options])
    graph = helper.make_graph(
        nodes.nodes,
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info(result, TensorProto.FLOAT, None)],
        nodes.constants,
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", OPSET)])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x.numpy()})[0]


@pytest.mark.parametrize(("function", "arguments", "options"), CALLS)
def test_a_call_gives_torchs_numbers(function, arguments, options):
    given = weights()
    x = torch.randn(2, 3, 7, 8, generator=torch.Generator().manual_seed(1)) * 4

    found = run(function, arguments, options, x, given)

    tensors = [given[a] if isinstance(a, str) else a for a in arguments]
    expected = FUNCTIONS[function](x, *tensors, **options)
    assert found.shape == tuple(expected.shape)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-5)


def test_every_function_of_a_students_graph_has_an_operator_and_a_case():
    assert OPERATORS.keys() == FUNCTIONS.keys() == {function for function, _, _ in CALLS}


@pytest.mark.parametrize(
    ("function", "arguments", "options"),
    [
        ("gelu", [], {"approximate": "tanh"}),
        ("batch_norm", ["mean", "var"], {"training": True}),
        ("pad", [[1, 1]], {"mode": "circular"}),
        ("avg_pool2d", [2], {"divisor_override": 3}),
        ("add", ["like"], {"alpha": 2}),
        ("sort", [], {}),
    ],
)
def test_a_call_that_no_operator_says_is_refused_by_name(function, arguments, options):
    nodes = Nodes({name: weight.numpy() for name, weight in weights().items()})

    with pytest.raises(NotExported, match=f"{function} of step0"):
        nodes.add_step(["step0", function, ["x", *arguments], options])


def test_a_weight_used_twice_is_stored_once():
    nodes = Nodes({"like": np.ones(3, np.float32)})

    nodes.add_step(["a", "add", ["x", "like"], {}])
    nodes.add_step(["b", "mul", ["a", "like"], {}])

    assert [constant.name for constant in nodes.constants] == ["like"]
