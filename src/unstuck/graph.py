"""What autograd's graph tells about somebody's forward: which functions it called, and where the units lie."""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import Node

from unstuck import private

# what autograd calls the nodes of activations (ReLU6 is a hardtanh to it, SELU an ELU)
ACTIVATIONS = {
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
    *("Abs", "Amax", "Asinh", "Atan", "Clamp", "ClampMin", "ClampMax", "Cos", "Cosh", "Erf", "Erfc", "Exp", "Expm1"),
    *("Fmax", "Fmin", "Hardshrink", "Log", "Log1P", "Max", "Maximum", "Minimum", "Pow", "Reciprocal", "Rsqrt"),
    *("Sgn", "Sign", "Sin", "Sinh", "Softshrink", "Sqrt"),
}
"""Nodes that an activation of somebody's own may be made of, besides the activations themselves."""

MASKING = {"Mul", "Where", "MaskedFill"}
"""Nodes that bend only if what they mask with comes from the values themselves, of which autograd knows nothing."""

CHANNELS = {"Convolution", "ConvolutionOverrideable", "MkldnnConvolution", "NativeGroupNorm"}
CHANNELS |= {"NativeBatchNorm", "CudnnBatchNorm", "MiopenBatchNorm"}
FEATURES = {"Addmm", "Mm", "Bmm", "Baddbmm", "Linear", "MkldnnLinear", "Embedding", "NativeLayerNorm", "FusedRmsNorm"}
ACROSS = {"Sum", "Mean", "Prod", "Norm", "LinalgVectorNorm", "Std", "Var", "StdMean", "VarMean", "Cumsum"}
ACROSS |= {"Softmax", "LogSoftmax", "Logsumexp", "Addmv", "Dot", "Mv"} | CHANNELS | FEATURES
"""Nodes whose values come from several values of the same example, or from several examples."""

LEAF = "torch::autograd::AccumulateGrad"


def kind(node: Node) -> str:
    """ "Relu" of "ReluBackward0"."""
    return node.name().rstrip("0123456789").removesuffix("Backward")


def activation(node: Node) -> str | None:
    """The activation, as a function of PyTorch's, that made a node; or None."""
    name = kind(node)
    if name in ("Clamp", "ClampMin"):
        return "clamp" if private.saved(node, "min") == 0 else None
    return ACTIVATIONS.get(name)


def is_custom(node: Node) -> bool:
    """Whether somebody's own `torch.autograd.Function` made a node."""
    return isinstance(node, BackwardCFunction)


def made_since(roots: Iterable[Node], first: int) -> set[Node]:
    """`roots` and what lies behind them, as far as it was made since autograd's counter stood at `first`."""
    found: set[Node] = set()
    waiting = list(roots)
    while waiting:
        node = waiting.pop()
        if node not in found and kind(node) != LEAF and private.number(node) >= first:
            found.add(node)
            waiting += [behind for behind, _ in node.next_functions if behind is not None]
    return found


def behind(tensor: Tensor) -> list[Node]:
    """Every node that a tensor was made by, leaves among them."""
    waiting, found = [tensor.grad_fn], {}
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found:
            found[node] = True
            waiting += [before for before, _ in node.next_functions]
    return list(found)


def adds_to_its_input(root: Node, made: set[Node]) -> bool:
    """Whether a function ends in adding something to what came in: a skip connection."""
    behind = [node for node, _ in root.next_functions if node is not None]
    return kind(root) == "Add" and any(node not in made for node in behind)


def unit_axis(node: Node, output: int = 0) -> int | None:
    """The axis of the units of what a node made, from the layer that it comes from; None if the graph does not tell.

    Channels are axis 1 of what a convolution, a batch or a group norm makes, features the last axis of what a matrix
    product, a layer norm or an embedding makes; from there the axis is followed through everything that moves it.
    """
    return _axis(node, output, set(), 60)


def _axis(node: Node, output: int, seen: set[tuple[Node, int]], depth: int) -> int | None:
    here, name = private.shape(node, output), kind(node)
    if depth == 0 or not here or name == LEAF or (node, output) in seen:
        return None
    seen.add((node, output))
    if name in CHANNELS and not (name.endswith("BatchNorm") and here[0] == 1):  # an instance norm: of one example
        return 1
    if name in FEATURES:
        return len(here) - 1
    for behind, which in node.next_functions:
        if behind is None or (before := private.shape(behind, which)) is None:
            continue
        axis = _axis(behind, which, seen, depth - 1)
        moved = None if axis is None else _moved(node, name, axis, before, here)
        if moved is not None:
            return moved
    return 1 if name in CHANNELS else None


def _moved(node: Node, name: str, axis: int, before: tuple[int, ...], here: tuple[int, ...]) -> int | None:
    """Where `axis` of a tensor of shape `before` lies behind a node that made the shape `here` of it."""
    if name == "Permute":
        order = private.saved_axes(node, "dims", len(here))
        return order.index(axis) if order else None
    if name == "Transpose":
        ends = [private.saved_axes(node, end, len(here)) for end in ("dim0", "dim1")]
        pair = [end[0] for end in ends if end]
        return pair[1 - pair.index(axis)] if axis in pair else axis
    if name in ("View", "UnsafeView", "ReshapeAlias", "AsStrided"):
        inner = math.prod(before[axis + 1 :])
        fits = [i for i, n in enumerate(here) if n == before[axis] and math.prod(here[i + 1 :]) == inner]
        return fits[0] if fits else None
    more = len(here) - len(before)
    if more == 0:
        return axis
    axes = private.saved_axes(node, "dim", max(len(here), len(before)))
    if axes is None:  # broadcast, or axes of size 1 left out
        kept = [i for i, n in enumerate(before) if n != 1]
        return axis + more if more > 0 else kept.index(axis) if len(kept) == len(here) and axis in kept else None
    if more > 0:  # unsqueeze, stack
        return axis + sum(new <= axis for new in axes)
    return None if axis in axes else axis - sum(left < axis for left in axes)
