"""Which parts of somebody's model are measured: its activations, its parameters, and the axis of their units."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.nn.utils import parametrize

from unstuck import graph, private
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


# --- outputs of any kind ---


def tensors(value: object) -> Iterator[Tensor]:
    """The tensors in nested tuples, lists, mappings, dataclasses and other objects that are no modules, in order."""
    return _tensors(value, set())


def _tensors(value: object, above: set[int]) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
        return
    if value is None or isinstance(value, str | bytes | int | float | type | nn.Module) or id(value) in above:
        return
    if isinstance(value, Mapping):
        parts = list(value.values())
    elif isinstance(value, tuple | list | set | frozenset):
        parts = list(value)
    elif dataclasses.is_dataclass(value):
        parts = [getattr(value, field.name, None) for field in dataclasses.fields(value)]
    else:
        parts = list(getattr(value, "__dict__", {}).values())
    for part in parts:
        yield from _tensors(part, above | {id(value)})


def measurable(output: object) -> Tensor | None:
    """The first tensor of an output, without its graph, in at least float32; None if it cannot be measured."""
    a = output if isinstance(output, Tensor) else next(tensors(output), None)
    if a is None or not a.is_floating_point() or a.layout != torch.strided or a.is_nested or a.is_meta:
        return None
    if a.numel() == 0:
        return None
    a = a.detach()
    a = a if a.dtype.itemsize >= 4 else a.float()
    return a if a.ndim > 1 else a.reshape(1, -1)


def nodes(value: object) -> set[Node]:
    """What made the tensors of `value`, as nodes of autograd's graph."""
    return {tensor.grad_fn for tensor in tensors(value) if tensor.grad_fn is not None}


# --- activations ---


def may_be_activation(module: nn.Module) -> bool:
    """An activation of PyTorch's, or a module of the user's own without children, parameters and buffers."""
    if isinstance(module, ACTIVATION_CLASSES):
        return True
    own = all(kind is nn.Module or not kind.__module__.startswith("torch.") for kind in type(module).__mro__)
    return own and not any(True for part in (module.children, module.parameters, module.buffers) for _ in part())


def bends(given: object, output: object, since: int) -> bool | None:
    """Whether a module without state, which made `output` of `given`, is an activation.

    It is one if it is a function of each value by itself and no straight line; of the same shape, but for the number
    of features or channels (maxout, gated units). Told from autograd's graph; where there is none, or where it knows
    nothing of what is masked by what, from the values. The module is not called again: it may count or draw.

    Args:
        since: where autograd's counter stood when the module was entered.

    Returns None where it cannot be told this time: all values are alike, or fewer and without a graph.
    """
    x, y = next(tensors(given), None), output
    if not isinstance(y, Tensor) or not y.is_floating_point() or y.is_nested or y.layout != torch.strided:
        return False
    if x is not None and not _alike(x, y):
        return False
    if y.grad_fn is None:  # x: None where it is called with keywords, which global hooks do not see
        return None if x is None else _follows(x, y)
    made = graph.made_since({y.grad_fn}, since)
    kinds = {graph.kind(node) for node in made}
    if kinds & graph.ACROSS or graph.adds_to_its_input(y.grad_fn, made):
        return False
    if any(graph.activation(node) for node in made) or kinds & graph.CURVED:
        return True
    if x is not None and (kinds & graph.MASKING or any(graph.is_custom(node) for node in made)):
        return _follows(x, y)
    return False


def _alike(x: Tensor, y: Tensor) -> bool:
    """Whether the shapes are the same but for the number of features or channels, which is not pooled to one."""
    if not x.is_floating_point() or y.ndim != x.ndim or not y.ndim:
        return False
    others = [axis for axis in range(x.ndim) if y.shape[axis] != x.shape[axis]]
    return not others or (others in ([1], [y.ndim - 1]) and y.shape[others[0]] != 1)


@torch.no_grad()
def _follows(x: Tensor, y: Tensor) -> bool | None:
    """Whether `y` is a function of `x`, value by value, that turns at most once, and no straight line.

    Along the sorted values of `x` such a function goes at most twice through its range; what was dropped at random,
    moved elsewhere or scaled by its position goes up and down all the time.
    """
    if x.shape != y.shape:
        return None
    x, y = x.detach().flatten()[:20_000], y.detach().flatten()[:20_000]
    if len(x) < 64 or x.data_ptr() == y.data_ptr():  # in place: what came in is gone
        return None
    precision = max(torch.finfo(x.dtype).eps, torch.finfo(y.dtype).eps)
    x, order = x.double().sort(stable=True)
    y = y.double()[order]
    span, width = y.max() - y.min(), x[-1] - x[0]
    if not span > 0 or not width > 0:  # also where they are not finite
        return None
    if y.diff().abs().sum() > 2.02 * span:
        return False
    slope = ((x - x.mean()) * (y - y.mean())).mean() / x.var(correction=0)
    line = y.mean() + slope * (x - x.mean())
    return bool((y - line).abs().max() > max(1e-4, 8 * precision) * span)


def layers(model: nn.Module, names: Sequence[str] | None) -> dict[str, nn.Module]:
    """The modules whose outputs are measured, by name: those named, or all that may be activations."""
    modules = dict(model.named_modules())
    if names is None:
        return {name: module for name, module in modules.items() if may_be_activation(module)}
    return {name: modules[name] for name in check_names("layers", names, modules)}


class Measured:
    """The modules whose outputs are measured, and which of those that may be activations are some.

    Args:
        chosen: whether the user names them; else a module of the user's own counts from when it is known to bend.
    """

    def __init__(self, *, chosen: bool) -> None:
        self.chosen = chosen
        self.layers: dict[int, tuple[str, nn.Module]] = {}  # by identity; holding the module keeps it unique
        self.undecided: dict[int, int | None] = {}  # where autograd's counter stood when it was entered
        self.passed: set[int] = set()  # called when it could not be told
        self.late = False  # whether one of these turned out to be an activation
        self.refused: dict[int, nn.Module] = {}
        self.calls: dict[str, int] = {}  # of each in the forward under way
        self.axis = UnitAxis()

    def begin(self) -> None:
        """A forward begins."""
        self.calls.clear()
        self.axis.first.clear()

    def look(self, layers: Mapping[str, nn.Module]) -> None:
        """The model has these now, by name."""
        known = self.layers.keys() - self.undecided.keys()
        self.axis.known.clear()
        layers = {name: module for name, module in layers.items() if id(module) not in self.refused}
        self.layers = {id(module): (name, module) for name, module in layers.items()}
        self.undecided = {
            key: None
            for key, (_, module) in self.layers.items()
            if not (self.chosen or key in known or isinstance(module, ACTIVATION_CLASSES))
        }

    def names(self) -> list[str]:
        """Those whose outputs are measured as far as is known."""
        return [name for key, (name, _) in self.layers.items() if key not in self.undecided]

    def unclear(self) -> list[str]:
        """Those that were called, and of which it could not be told whether they are activations."""
        return [self.layers[key][0] for key, since in self.undecided.items() if since is not None]

    def __contains__(self, module: nn.Module) -> bool:
        return id(module) in self.layers

    def name(self, module: nn.Module) -> str:
        """The name in the model of a module that may be measured."""
        return self.layers[id(module)][0]

    def acts(self, module: nn.Module) -> bool:
        """Whether a module is an activation, as far as is known."""
        if isinstance(module, ACTIVATION_CLASSES):
            return True
        return not self.chosen and module in self and id(module) not in self.undecided

    def enter(self, module: nn.Module) -> None:
        """A module is called."""
        if id(module) in self.undecided:
            self.undecided[id(module)] = private.next_number()

    def leave(self, module: nn.Module, given: object, output: object) -> str | None:
        """A module has put out something: the name of this call (`call_name`) if that is to be measured."""
        self.axis.see(module, getattr(output, "ndim", 0))
        if id(module) not in self.layers:
            return None
        layer = call_name(self.name(module), self.calls)  # also while it is undecided: "act#2" is always its second
        if id(module) in self.undecided:
            bent = bends(given, output, self.undecided[id(module)] or 0)
            if bent is None:
                self.passed.add(id(module))
            else:
                del self.undecided[id(module)]
                self.late = self.late or (bent and id(module) in self.passed)
            if bent is False:
                del self.layers[id(module)]
                self.refused[id(module)] = module
            if not bent:
                return None
        return layer


def call_name(name: str, calls: dict[str, int]) -> str:
    """`name` at its first call in a forward, then `name#2`, ...; counts the call."""
    calls[name] = calls.get(name, 0) + 1
    return name if calls[name] == 1 else f"{name}#{calls[name]}"


class UnitAxis:
    """Which axis of an activation holds its units.

    That which the graph of its first forward tells. Where it does not (frozen layers in front): axis 1 if the
    module that last put out as many axes was a convolution or a norm of channels, the last axis if it was a linear
    layer or a norm of features. Where no such module ran: axis 1 of four and more axes, otherwise the last.
    """

    def __init__(self) -> None:
        self.first: dict[int, bool] = {}  # number of axes: whether the units are axis 1
        self.known: dict[tuple[str, int], int] = {}
        self._kinds: dict[type, bool | None] = {}

    def see(self, module: nn.Module, ndim: int) -> None:
        """A module has put out a tensor of `ndim` axes."""
        kind = type(module)
        if kind not in self._kinds:
            first, last = issubclass(kind, CHANNELS_FIRST), issubclass(kind, CHANNELS_LAST)
            self._kinds[kind] = first if first or last else None
        first_here = self._kinds[kind]
        if first_here is not None:
            self.first[ndim] = first_here

    def of(self, layer: str, a: Tensor, output: object = None) -> int:
        """The axis of the units of `a`, of at least two axes, which a layer put out as `output`."""
        if (layer, a.ndim) not in self.known:
            made = next(tensors(output), a)
            found = graph.unit_axis(made.grad_fn, made.output_nr) if made.grad_fn and made.ndim == a.ndim else None
            if found is None:
                found = 1 if self.first.get(a.ndim, a.ndim >= 4) else a.ndim - 1
            self.known[layer, a.ndim] = found
        return self.known[layer, a.ndim]


# --- parameters ---


def parameters(model: nn.Module) -> list[tuple[str, nn.Module, tuple[str, ...]]]:
    """(layer, module that holds them, names of its parameters); only what is no integer.

    The `weight` alone where there is one; where it is computed (pruned, parametrised, weight norm): what it is
    computed from, under the name of the same layer.
    """
    found = []
    for layer, module in model.named_modules():
        if isinstance(module, parametrize.ParametrizationList):
            continue
        holder, own = module, _learnable(module)
        if parametrize.is_parametrized(module, "weight"):
            holder = module.parametrizations["weight"]
            own = _learnable(holder)
        elif "weight" in own:
            own = ["weight"]
        elif "weight" in vars(module):  # pruning and the older weight norm compute it before each forward
            own = [name for name in own if name.startswith("weight_")]
        if own:
            found.append((layer, holder, tuple(own)))
    return found


def _learnable(module: nn.Module) -> list[str]:
    return [
        name for name, p in module._parameters.items() if p is not None and (p.is_floating_point() or p.is_complex())
    ]


class Structure:
    """What a model is made of, to notice when a part of it has been replaced."""

    def __init__(self, model: nn.Module) -> None:
        self.seen = [(module, *self._of(module)) for module in model.modules()]

    @staticmethod
    def _of(module: nn.Module) -> tuple[list, list]:
        return [*module._modules.values()], [*module._parameters.keys()]

    def holds(self) -> bool:
        """Whether it is what it was."""
        return all(self._of(module) == (children, names) for module, children, names in self.seen)
