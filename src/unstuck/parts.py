"""Which parts of somebody's model are measured: its activations, its parameters, and the axis of their units."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import Node

from unstuck.arguments import names as check_names

NOT_UNITS = ("MultiheadAttention", "Softmax", "Softmax2d", "Softmin", "LogSoftmax")
ACTIVATION_CLASSES = tuple(
    getattr(nn.modules.activation, name) for name in nn.modules.activation.__all__ if name not in NOT_UNITS
)

CHANNELS_FIRST = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.GroupNorm),
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
)
CHANNELS_LAST = (nn.Linear, nn.Bilinear, nn.LayerNorm, nn.RMSNorm, nn.Embedding, nn.RNNBase, nn.MultiheadAttention)

# what autograd calls the nodes of activations (ReLU6 is a hardtanh to it, SELU an ELU)
GRAPH_NAMES = {
    "PreluKernel": "prelu",
    "RreluWithNoise": "rrelu",
    "LeakyRelu": "leaky_relu",
    "LogSigmoid": "logsigmoid",
} | {
    name.capitalize(): name
    for name in (
        *("relu", "sigmoid", "tanh", "elu", "celu", "gelu", "silu", "mish", "glu", "softplus", "threshold"),
        *("hardtanh", "hardswish", "hardsigmoid"),
    )
}
CURVED = {
    "Abs",
    "Amax",
    "Clamp",
    "ClampMin",
    "ClampMax",
    "Cos",
    "Erf",
    "Exp",
    "Expm1",
    "Log",
    "Log1P",
    "Maximum",
    "Minimum",
}
CURVED |= {"Pow", "Reciprocal", "Sgn", "Sign", "Sin", "Sqrt", "Where", "Hardshrink", "Softshrink"}
"""Nodes that a user's own activation may be made of, besides the activations themselves."""


def tensors(value: object) -> Iterator[Tensor]:
    """The tensors in nested tuples, lists, mappings and dataclasses, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from tensors(list(value.values()))
    elif isinstance(value, tuple | list):
        for item in value:
            yield from tensors(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from tensors([getattr(value, field.name) for field in dataclasses.fields(value)])


def measurable(output: object) -> Tensor | None:
    """The first tensor of an output, without its graph, in at least float32; None if it cannot be measured."""
    a = next(tensors(output), None)
    if a is None or not a.is_floating_point() or a.layout != torch.strided or a.is_nested or a.numel() == 0:
        return None
    a = a.detach()
    a = a if a.dtype.itemsize >= 4 else a.float()
    return a if a.ndim > 1 else a.reshape(1, -1)


def nodes(value: object) -> set[Node]:
    """What made the tensors of `value`, as nodes of autograd's graph."""
    return {tensor.grad_fn for tensor in tensors(value) if tensor.grad_fn is not None}


def function_of(node: Node) -> str | None:
    """The activation that made a node of the graph, or None."""
    kind = node_kind(node)
    if kind in ("Clamp", "ClampMin"):
        return "clamp" if node._saved_min == 0 else None
    return GRAPH_NAMES.get(kind)


def node_kind(node: Node) -> str:
    """ "Relu" of "ReluBackward0"."""
    return node.name().rstrip("0123456789").removesuffix("Backward")


def may_be_activation(module: nn.Module) -> bool:
    """An activation of PyTorch's, or a module of the user's own without children, parameters and buffers."""
    if isinstance(module, ACTIVATION_CLASSES):
        return True
    own = all(kind is nn.Module or not kind.__module__.startswith("torch.") for kind in type(module).__mro__)
    return own and not any(True for part in (module.children, module.parameters, module.buffers) for _ in part())


def bends(module: nn.Module, args: tuple) -> bool:
    """Whether a module without state is an activation: a function that is not a straight line, of the same shape.

    Only the number of features, axis 1, may differ (maxout). It is tried on a copy of its own input; what merely
    reshapes, adds, scales or drops is none, nor what fails.
    """
    if isinstance(module, ACTIVATION_CLASSES):
        return True
    given = next(tensors(args), None)
    if given is None or not given.is_floating_point() or given.ndim == 0:
        return False
    x = given.detach()[:1].clone().requires_grad_()
    devices = [] if x.device.type == "cpu" else [x.device]
    try:
        with torch.enable_grad(), torch.random.fork_rng(devices=devices):
            y = copy.copy(module).forward(x * 1)  # in place on a leaf is forbidden
    except Exception:  # somebody else's code, on an input it may not be meant for
        return False
    if not isinstance(y, Tensor) or y.grad_fn is None or y.ndim != x.ndim:
        return False
    if any(y.shape[axis] != x.shape[axis] for axis in range(x.ndim) if axis != 1):
        return False
    waiting, seen = {y.grad_fn}, set()
    while waiting:
        node = waiting.pop()
        seen.add(node)
        # the last: a function of the user's own, with a backward pass of its own
        if function_of(node) or node_kind(node) in CURVED or isinstance(node, BackwardCFunction):
            return True
        waiting |= {behind for behind, _ in node.next_functions if behind is not None} - seen
    return False


def layers(model: nn.Module, names: Sequence[str] | None) -> dict[str, nn.Module]:
    """The modules whose outputs are measured, by name: those named, or all that may be activations."""
    modules = dict(model.named_modules())
    if names is None:
        return {name: module for name, module in modules.items() if may_be_activation(module)}
    return {name: modules[name] for name in check_names("layers", names, modules)}


def parameters(model: nn.Module) -> list[tuple[str, nn.Module, tuple[str, ...]]]:
    """(layer, module, names of its parameters): the `weight` alone where there is one; only what is no integer."""
    found = []
    for layer, module in model.named_modules():
        own = [name for name, p in module.named_parameters(recurse=False) if p.is_floating_point() or p.is_complex()]
        if own:
            found.append((layer, module, ("weight",) if "weight" in own else tuple(own)))
    return found


def call_name(name: str, calls: dict[str, int]) -> str:
    """`name` at its first call in a forward, then `name#2`, ...; counts the call."""
    calls[name] = calls.get(name, 0) + 1
    return name if calls[name] == 1 else f"{name}#{calls[name]}"


class UnitAxis:
    """Which axis of an activation holds its units: that of the module that ran last before it and has one.

    Channels are axis 1 behind a convolution or a batch norm, features the last axis behind a linear layer, whatever
    the number of axes. Where no such module ran: axis 1 of four and more axes, otherwise the last.
    """

    def __init__(self) -> None:
        self.first: bool | None = None
        self._known: dict[type, bool | None] = {}

    def see(self, module: nn.Module) -> None:
        """A module has run."""
        kind = type(module)
        if kind not in self._known:
            first, last = issubclass(kind, CHANNELS_FIRST), issubclass(kind, CHANNELS_LAST)
            self._known[kind] = first if first or last else None
        if self._known[kind] is not None:
            self.first = self._known[kind]

    def of(self, a: Tensor) -> int:
        """The axis of the units of `a`, of at least two axes."""
        first = a.ndim >= 4 if self.first is None else self.first
        return 1 if first else a.ndim - 1
