"""The plain calls of a student's graph as ONNX operators, weights under their own names."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from models.graph import Step

#: The lowest operator set that pads by axis. onnxruntime has it since 1.14, of February 2023.
OPSET = 18

#: A tensor by its name, or a number.
Value = str | float


class NotExported(Exception):
    """A student that cannot be said in ONNX, or whose ONNX says something else."""


class Nodes:
    """The nodes of one ONNX graph as they are added, and the constants that they use."""

    def __init__(self, weights: Mapping[str, np.ndarray]) -> None:
        self._weights = weights
        self._constants: dict[str, TensorProto] = {}
        self.nodes: list[NodeProto] = []

    @property
    def constants(self) -> list[TensorProto]:
        """The weights in use and the numbers, in the order of their first use."""
        return list(self._constants.values())

    def add_step(self, step: Step) -> str:
        """Add the nodes of one call of `models.graph`; the name of its result.

        Raises:
            NotExported: no operator does what the call does.
        """
        name, function, arguments, options = step
        try:
            OPERATORS[function](self, name, *arguments, **options)
        except (KeyError, TypeError, ValueError) as error:
            raise NotExported(f"{function} of {name} cannot be said in ONNX: {error}") from error
        return str(name)

    def add(self, operator: str, inputs: Sequence[str | None], result: str, **options: Any) -> str:
        """Add one node; an optional input, always the last, is left out where it is None."""
        names = [name for name in inputs if name is not None]
        for name in names:
            if name in self._weights and name not in self._constants:
                self._constants[name] = numpy_helper.from_array(self._weights[name], name)
        self.nodes.append(helper.make_node(operator, names, [result], name=result, **options))
        return result

    def constant(self, name: str, value: Any, kind: type[np.generic] = np.float32) -> str:
        """Add a constant; its name."""
        self._constants[name] = numpy_helper.from_array(np.asarray(value, kind), name)
        return name

    def shape(self, weight: str) -> tuple[int, ...]:
        """The shape of a weight."""
        return self._weights[weight].shape


def _conv2d(
    nodes: Nodes,
    name: str,
    x: str,
    weight: str,
    bias: str | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> None:
    kernel = nodes.shape(weight)[2:]
    nodes.add(
        "Conv",
        [x, weight, bias],
        name,
        strides=_pair(stride),
        pads=_conv_pads(padding, kernel, _pair(dilation)),
        dilations=_pair(dilation),
        group=groups,
    )


def _conv_pads(padding: Any, kernel: Sequence[int], dilation: Sequence[int]) -> list[int]:
    """(top, left, bottom, right); of "same", the odd pixel goes to the end, as torch has it."""
    if not isinstance(padding, str):
        return _pair(padding) * 2
    if padding == "valid":
        return [0] * 4
    totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    return [total // 2 for total in totals] + [total - total // 2 for total in totals]


def _batch_norm(
    nodes: Nodes,
    name: str,
    x: str,
    mean: str,
    var: str,
    weight: str | None = None,
    bias: str | None = None,
    training: bool = False,
    _momentum: float = 0.1,
    eps: float = 1e-5,
) -> None:
    if training:
        raise ValueError("it takes its statistics from the batch")
    channels = nodes.shape(mean)
    scale = weight or nodes.constant(f"{name}.scale", np.ones(channels))
    shift = bias or nodes.constant(f"{name}.shift", np.zeros(channels))
    nodes.add("BatchNormalization", [x, scale, shift, mean, var], name, epsilon=eps)


def _layer_norm(
    nodes: Nodes,
    name: str,
    x: str,
    normalized_shape: Sequence[int],
    weight: str | None = None,
    bias: str | None = None,
    eps: float = 1e-5,
) -> None:
    scale = weight or nodes.constant(f"{name}.scale", np.ones(normalized_shape))
    axis = -len(normalized_shape)
    nodes.add("LayerNormalization", [x, scale, bias], name, axis=axis, epsilon=eps)


def _linear(nodes: Nodes, name: str, x: str, weight: str, bias: str | None = None) -> None:
    turned = nodes.add("Transpose", [weight], f"{name}.weight", perm=[1, 0])
    if bias is None:
        nodes.add("MatMul", [x, turned], name)
    else:
        nodes.add("Add", [nodes.add("MatMul", [x, turned], f"{name}.product"), bias], name)


def _window(kernel_size: Any, stride: Any, padding: Any) -> dict[str, list[int]]:
    """The options of an operator that pools."""
    return {
        "kernel_shape": _pair(kernel_size),
        "strides": _pair(stride or kernel_size),
        "pads": _pair(padding) * 2,
    }


def _max_pool2d(
    nodes: Nodes,
    name: str,
    x: str,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
) -> None:
    nodes.add(
        "MaxPool",
        [x],
        name,
        **_window(kernel_size, stride, padding),
        dilations=_pair(dilation),
    )


def _avg_pool2d(
    nodes: Nodes,
    name: str,
    x: str,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    *,
    count_include_pad: bool = True,
) -> None:
    nodes.add(
        "AveragePool",
        [x],
        name,
        **_window(kernel_size, stride, padding),
        count_include_pad=int(count_include_pad),
    )


def _pad(
    nodes: Nodes,
    name: str,
    x: str,
    pad: Sequence[int],
    mode: str = "constant",
    value: float | None = None,
) -> None:
    """Torch gives (begin, end) of the last axis first; ONNX wants all begins, then all ends."""
    modes = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}
    axes = [-1 - i for i in range(len(pad) // 2)]
    inputs = [
        x,
        nodes.constant(f"{name}.pads", [*pad[::2], *pad[1::2]], np.int64),
        nodes.constant(f"{name}.value", value or 0.0),
        nodes.constant(f"{name}.axes", axes, np.int64),
    ]
    nodes.add("Pad", inputs, name, mode=modes[mode])


def _mean(
    nodes: Nodes,
    name: str,
    x: str,
    dim: int | Sequence[int],
    keepdim: bool = False,
) -> None:
    axes = nodes.constant(f"{name}.axes", np.atleast_1d(dim), np.int64)
    nodes.add("ReduceMean", [x, axes], name, keepdims=int(keepdim))


def _permute(nodes: Nodes, name: str, x: str, dims: Sequence[int]) -> None:
    nodes.add("Transpose", [x], name, perm=list(dims))


def _reshape(nodes: Nodes, name: str, x: str, shape: Sequence[int]) -> None:
    nodes.add("Reshape", [x, nodes.constant(f"{name}.shape", shape, np.int64)], name)


def _hardtanh(nodes: Nodes, name: str, x: str, min_val: float = -1.0, max_val: float = 1.0) -> None:
    low = nodes.constant(f"{name}.low", min_val)
    high = nodes.constant(f"{name}.high", max_val)
    nodes.add("Clip", [x, low, high], name)


def _relu6(nodes: Nodes, name: str, x: str) -> None:
    _hardtanh(nodes, name, x, 0.0, 6.0)


def _silu(nodes: Nodes, name: str, x: str) -> None:
    nodes.add("Mul", [x, nodes.add("Sigmoid", [x], f"{name}.gate")], name)


def _gelu(nodes: Nodes, name: str, x: str, approximate: str = "none") -> None:
    """Its formula x / 2 (1 + erf(x / sqrt 2)): the operator Gelu is of a later set."""
    if approximate != "none":
        raise ValueError(f"approximate is {approximate!r}")
    inner = _scaled(nodes, f"{name}.inner", x, 1 / math.sqrt(2))
    risen = nodes.add(
        "Add",
        [nodes.add("Erf", [inner], f"{name}.erf"), nodes.constant(f"{name}.one", 1.0)],
        f"{name}.risen",
    )
    nodes.add("Mul", [_scaled(nodes, f"{name}.half", x, 0.5), risen], name)


def _scaled(nodes: Nodes, name: str, x: str, factor: float) -> str:
    return nodes.add("Mul", [x, nodes.constant(f"{name}.factor", factor)], name)


def _binary(operator: str) -> Callable[..., None]:
    """An operator of two tensors, or of a tensor and a number."""

    def add(nodes: Nodes, name: str, x: str, other: Value) -> None:
        second = other if isinstance(other, str) else nodes.constant(f"{name}.number", other)
        nodes.add(operator, [x, second], name)

    return add


def _unary(operator: str, **options: Any) -> Callable[..., None]:
    def add(nodes: Nodes, name: str, x: str) -> None:
        nodes.add(operator, [x], name, **options)

    return add


#: What says each function of `models.graph.FUNCTIONS`; arguments are those of torch.
OPERATORS: dict[str, Callable[..., None]] = {
    "add": _binary("Add"),
    "avg_pool2d": _avg_pool2d,
    "batch_norm": _batch_norm,
    "conv2d": _conv2d,
    "gelu": _gelu,
    "hardsigmoid": _unary("HardSigmoid", alpha=1 / 6, beta=0.5),
    "hardswish": _unary("HardSwish"),
    "hardtanh": _hardtanh,
    "layer_norm": _layer_norm,
    "linear": _linear,
    "max_pool2d": _max_pool2d,
    "mean": _mean,
    "mul": _binary("Mul"),
    "pad": _pad,
    "permute": _permute,
    "relu": _unary("Relu"),
    "relu6": _relu6,
    "reshape": _reshape,
    "sigmoid": _unary("Sigmoid"),
    "silu": _silu,
}


def _pair(value: Any) -> list[int]:
    """Both sides of what torch takes as one number or two."""
    return [int(v) for v in value] if isinstance(value, Sequence) else [int(value)] * 2
