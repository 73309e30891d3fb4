"""A network as a list of plain torch calls: what a student's file holds beside its weights.

A step is `[name, function, arguments, options]`. The function is one of `torch.nn.functional` or,
failing that, of `torch`. A string among the arguments names the input, a weight or the result of
an earlier step; the options hold no such names. The last step is the network's output.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

Step = list[Any]

#: Name of the input.
INPUT = "pixels"

_FUNCTIONAL = (
    *("avg_pool2d", "batch_norm", "conv2d", "gelu", "hardsigmoid", "hardswish", "hardtanh"),
    *("layer_norm", "linear", "max_pool2d", "pad", "relu", "relu6", "sigmoid", "silu"),
)
_TORCH = ("add", "mean", "mul", "permute", "reshape")

#: Everything that a graph may call. A file that asks for anything else is refused, not run.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(F, name) for name in _FUNCTIONAL},
    **{name: getattr(torch, name) for name in _TORCH},
}

#: The same functions as torch.fx meets them: as functions, operators and methods of a tensor.
_NAMES: dict[object, str] = {
    **{function: name for name, function in FUNCTIONS.items()},
    **{name: name for name in ("add", "mean", "mul", "permute", "relu", "reshape", "sigmoid")},
    operator.add: "add",
    operator.iadd: "add",
    operator.mul: "mul",
    operator.imul: "mul",
    torch.relu: "relu",
    torch.sigmoid: "sigmoid",
}

#: Options that change nothing in a result: the one saves memory, the others are off.
_WITHOUT_EFFECT = ("inplace", "ceil_mode", "return_indices")


class NotPlain(ValueError):
    """A network that a list of plain calls cannot say, or a list that says something else."""


def graph_of(network: nn.Module) -> list[Step]:
    """The calls that `network` makes of its one argument in eval mode, weights by their own names.

    Raises:
        NotPlain: it does something that no entry of `FUNCTIONS` does.
    """
    was_training = network.training
    network.eval()
    try:
        traced = _Tracer().trace(network)
    except (fx.proxy.TraceError, TypeError) as error:
        raise NotPlain(f"the network cannot be traced: {error}") from error
    finally:
        network.train(was_training)
    steps: list[Step] = []
    names: dict[fx.Node, str] = {}
    for node in traced.nodes:
        if node.op == "placeholder":
            names[node] = INPUT
        elif node.op == "get_attr":
            names[node] = str(node.target)
        elif node.target is F.dropout:  # nothing in eval mode
            names[node] = names[node.args[0]]
        elif node.op != "output":
            names[node] = f"step{len(steps)}"
            steps.append(_step(node, names))
    return steps


class _Tracer(fx.Tracer):
    """Traces down to functions, batch norm included: its module looks at shapes, fx cannot."""

    proxy_buffer_attributes = True

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:  # noqa: ARG002
        return False

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        if not isinstance(m, nn.BatchNorm2d):
            return super().call_module(m, forward, args, kwargs)
        normed = F.batch_norm(args[0], m.running_mean, m.running_var, m.weight, m.bias, eps=m.eps)
        activation: Any = getattr(m, "act", None)  # timm's batch norm has one in it
        return activation(normed) if activation else normed


def _step(node: fx.Node, names: Mapping[fx.Node, str]) -> Step:
    function = _NAMES.get(node.target)
    if function is None:
        raise NotPlain(f"a student's file cannot say {node.target!r}")
    options = {key: value for key, value in node.kwargs.items() if key not in _WITHOUT_EFFECT}
    positional = _ordered(function, node.args)
    if any(isinstance(value, fx.Node) for value in options.values()):
        bound = inspect.signature(FUNCTIONS[function]).bind(*positional, **options)
        positional, options = list(bound.args), bound.kwargs
    arguments = [_plain(argument, names) for argument in positional]
    plain = {k: v if isinstance(v, str) else _plain(v, {}) for k, v in options.items()}
    return [names[node], function, arguments, plain]


def _ordered(function: str, arguments: Sequence[Any]) -> list[Any]:
    """The arguments as the function takes them: a method or an operator is freer."""
    if function in {"permute", "reshape"} and isinstance(arguments[1], int):
        return [arguments[0], list(arguments[1:])]
    if function in {"add", "mul"} and not isinstance(arguments[0], fx.Node):
        return list(reversed(arguments))
    return list(arguments)


def _plain(argument: Any, names: Mapping[fx.Node, str]) -> Any:
    """A value that JSON can hold; a string is the name of a tensor."""
    if isinstance(argument, fx.Node):
        if argument not in names:
            raise NotPlain(f"a tensor within another argument: {argument}")
        return names[argument]
    if isinstance(argument, Sequence) and not isinstance(argument, str):
        return [_plain(part, {}) for part in argument]
    if argument is None or isinstance(argument, bool | int | float):
        return argument
    raise NotPlain(f"an argument that is neither number nor tensor: {argument!r}")


class GraphModule(nn.Module):
    """A network rebuilt from its list of calls and its weights, for use in eval mode."""

    def __init__(self, steps: Sequence[Step], weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._steps = check_graph(steps, weights)
        self._keys: dict[str, str] = {}
        self._last_use: dict[str, int] = {}
        for position, (_, _, arguments, _) in enumerate(self._steps):
            for name in _references(arguments):
                self._last_use[name] = position
                if name in weights and name not in self._keys:
                    self._keys[name] = name.replace(".", "/")  # torch allows no dot in a name
                    weight = nn.Parameter(weights[name], requires_grad=False)
                    self.register_parameter(self._keys[name], weight)

    def run(self, pixels: Tensor, *, steps: int | None = None) -> Tensor:
        """The result of the last step, or of the last of the first `steps`."""
        values: dict[str, Tensor] = {INPUT: pixels}
        result = pixels
        for position, (name, function, arguments, options) in enumerate(self._steps[:steps]):
            tensors = [self._value(a, values) if isinstance(a, str) else a for a in arguments]
            result = values[name] = FUNCTIONS[function](*tensors, **options)
            for used in _references(arguments):  # or a batch's every map would stay in memory
                if self._last_use[used] == position:
                    values.pop(used, None)
        return result

    def _value(self, name: str, values: Mapping[str, Tensor]) -> Tensor:
        return self.get_parameter(self._keys[name]) if name in self._keys else values[name]


def check_graph(steps: Sequence[Step], weights: Mapping[str, Tensor]) -> list[Step]:
    """The steps, if each is well formed and names only what is there by then.

    Raises:
        NotPlain: a step is not; it comes from a file, so nothing is taken on trust.
    """
    known = {INPUT, *weights}
    for step in steps:
        match step:
            case [str(name), str(function), list(arguments), dict()] if function in FUNCTIONS:
                missing = set(_references(arguments)) - known
                if missing:
                    raise NotPlain(f"step {name} uses {sorted(missing)}, which nothing gives")
                known.add(name)
            case _:
                raise NotPlain(f"not a step of a student's graph: {step!r:.200}")
    if not steps:
        raise NotPlain("a student's graph has at least one step, this one has none")
    return list(steps)


def _references(arguments: Sequence[Any]) -> list[str]:
    return [argument for argument in arguments if isinstance(argument, str)]
