"""`stack`: M networks of one architecture as one module, whose parameters and activations have a leading axis M."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from unstuck.arguments import instance
from unstuck.parts import ACTIVATION_CLASSES


class Leaf(nn.Module):
    """The stacked form of a leaf: `run(own, x)` with x (M, N, ...), and parameters as `own.weight` (M, ...)."""

    weight: Any  # these have what the leaf has: a tensor, None, or nothing
    bias: Any
    running_mean: Any
    running_var: Any
    num_batches_tracked: Any

    def __init__(self, template: nn.Module, run: Callable[[Leaf, Tensor], Tensor]) -> None:
        super().__init__()
        self.template = [template]  # in a list, so that its parameters are not ours
        self.run = run

    @property
    def of(self) -> Any:
        return self.template[0]

    def forward(self, x: Tensor) -> Tensor:
        self.of.training = self.training
        return self.run(self, x)


def _linear(own: Leaf, x: Tensor) -> Tensor:
    weight, rows = own.weight.mT, x.flatten(1, -2)  # (M, in, out), (M, rows, in)
    z = torch.bmm(rows, weight) if own.bias is None else torch.baddbmm(own.bias[:, None], rows, weight)
    return z if x.ndim == 3 else z.unflatten(1, x.shape[1:-1])


def _side_by_side(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """What PyTorch does to each feature, with those of all networks beside each other: (N, M F, ...)."""
    return function(x.transpose(0, 1).flatten(1, 2)).unflatten(1, (len(x), -1)).transpose(0, 1)


def _batch_norm(own: Leaf, x: Tensor) -> Tensor:
    norm, running = own.of, [own.running_mean, own.running_var]
    if own.training and not norm.track_running_stats:
        running = [None, None]
    batch, tracked = own.training or running[0] is None, own.training and running[0] is not None
    # over all batches, of which each network may have seen its own number
    averaged = tracked and norm.momentum is None
    if tracked:
        own.num_batches_tracked += 1
    # views of what is updated
    flat: list[Any] = [None if t is None else t.flatten() for t in (*running, own.weight, own.bias)]
    mean, variance, gamma, beta = flat
    if averaged:
        mean, variance = mean.clone(), variance.clone()
    momentum = 1.0 if averaged else norm.momentum or 0.0
    z = _side_by_side(lambda x: F.batch_norm(x, mean, variance, gamma, beta, batch, momentum, norm.eps), x)
    for old, new in zip(running, (mean, variance), strict=True) if averaged else ():
        old.lerp_(new.view_as(old), 1 / own.num_batches_tracked[:, None].to(old))
    return z


def _normalised(function: Callable) -> Callable[[Leaf, Tensor], Tensor]:
    def run(own: Leaf, x: Tensor) -> Tensor:
        shape = own.of.normalized_shape
        z = function(x, shape, eps=own.of.eps)
        weight, bias = (
            None if p is None else p.view(len(x), *[1] * (x.ndim - 1 - len(shape)), *shape)
            for p in (own.weight, getattr(own, "bias", None))
        )
        z = z if weight is None else z * weight
        return z if bias is None else z + bias

    return run


def _prelu(own: Leaf, x: Tensor) -> Tensor:
    slopes = own.weight.expand(len(x), x.shape[2]).flatten()  # of (M, 1) or (M, F)
    return _side_by_side(lambda x: F.prelu(x, slopes), x)


def _flatten(own: Leaf, x: Tensor) -> Tensor:
    start, end = (axis if axis < 0 else axis + 1 for axis in (own.of.start_dim, own.of.end_dim))
    return x.flatten(start, end)


def _each_example(own: Leaf, x: Tensor) -> Tensor:
    """A module without state sees all examples of all networks as one batch."""
    return own.of(x.flatten(0, 1)).unflatten(0, x.shape[:2])


RANDOM = (
    *(nn.RReLU, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout),
    *(nn.FractionalMaxPool2d, nn.FractionalMaxPool3d),
)

LEAVES: tuple[tuple[tuple[type[nn.Module], ...], Callable[[Leaf, Tensor], Tensor] | None], ...] = (
    ((nn.Linear,), _linear),
    ((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d), _batch_norm),
    ((nn.LayerNorm,), _normalised(F.layer_norm)),
    ((nn.RMSNorm,), _normalised(F.rms_norm)),
    ((nn.PReLU,), _prelu),
    ((nn.Flatten,), _flatten),
    (RANDOM, None),  # each network would have to draw for itself
    ((nn.Identity, *(kind for kind in ACTIVATION_CLASSES if kind is not nn.GLU)), lambda own, x: own.of(x)),
)
"""How a leaf is stacked, by its class, the first that fits; None: not at all."""

CONTAINERS = (nn.Module, nn.Sequential, nn.ModuleList, nn.ModuleDict)
HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
PLAIN = (bool, int, float, complex, str, type(None))


class Stack(nn.Module):
    """M networks side by side: x (M, N, ...) to (M, N, K); shared inputs are `x.expand(M, *x.shape)`.

    `body` has the members' modules under their own names, so `body.state_dict()` has their keys, with a leading
    axis M.
    """

    def __init__(self, models: Sequence[nn.Module]):
        super().__init__()
        self.size = len(models)
        self.template = [copy.deepcopy(models[0])]  # in a list: it is no part of this module
        self.body = _stacked(copy.deepcopy(models[0]))
        each = [_tensors(model) for model in models]
        for name, tensor in _tensors(self.body).items():
            joined = torch.stack([own[name].detach() for own in each])
            # weights lie in memory as (M, in, out), as products make their gradients: else those would be copied
            tensor.data = joined.mT.contiguous().mT if joined.ndim == 3 else joined

    def __len__(self) -> int:
        return self.size

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)

    def member(self, m: int) -> nn.Module:
        """A copy of network `m`, as a model of its own."""
        model, stacked = copy.deepcopy(self.template[0]), _tensors(self.body)
        for name, tensor in _tensors(model).items():
            tensor.data = stacked[name].detach()[m].clone(memory_format=torch.contiguous_format)
        return model

    @torch.no_grad()
    def keep(self, which: Tensor) -> None:
        """Go on with the networks for which `which` (M,) is True; gradients go along."""
        self.size = int(which.sum())
        for tensor in _tensors(self.body).values():
            grad, tensor.grad = tensor.grad, None
            tensor.data = tensor.data[which]
            tensor.grad = None if grad is None else grad[which]


def stack(models: Iterable[nn.Module]) -> Stack:
    """Networks of one architecture as one module: what it computes for each is what the network itself computes.

    Stacked are linear layers, batch, layer and RMS norm, PReLU, activations, modules without parameters that treat
    each example by itself (maxout), and a `forward` of your own that adds, multiplies or concatenates features
    (`dim=-1`). It must not count axes from the front: `unstuck.ensemble.fit_many` tries it on a few examples.

    Raises ValueError for networks that differ, and for what cannot be stacked: convolutions, dropout, hooks, parts
    that are used twice, weights that are computed from others.
    """
    instance("models", models, Iterable, "a list of torch.nn.Module")
    models = [instance("models", model, nn.Module, "a torch.nn.Module each") for model in models]
    if not models:
        raise ValueError("models: expected at least one, got none")
    all_of = ("named_modules", "named_parameters", "named_buffers")
    parts = [id(part) for each in all_of for _, part in getattr(models[0], each)(remove_duplicate=False)]
    if len(set(parts)) < len(parts):
        raise ValueError(f"models: {type(models[0]).__name__} uses a part of itself twice, and cannot be stacked")
    first = signature(models[0])
    for i, model in enumerate(models):
        hooked = any(getattr(module, hooks) for module in model.modules() for hooks in HOOKS)
        if hooked or any(p._backward_hooks or p._post_accumulate_grad_hooks for p in model.parameters()):
            raise ValueError(f"models: {type(model).__name__} has hooks, which a stack would not call")
        if signature(model) != first:
            raise ValueError(f"models: expected one architecture, number {i} differs from number 0")
    return Stack(models)


def unstack(stacked: Stack) -> list[nn.Module]:
    """The inverse of `stack`: each network as a model of its own."""
    instance("stacked", stacked, Stack, "what unstuck.ensemble.stack made")
    return [stacked.member(m) for m in range(len(stacked))]


def signature(model: nn.Module) -> str:
    """What models that can be stacked have in common: modules, their settings and modes, shapes of tensors."""
    shapes = [(name, tuple(t.shape), t.dtype, t.requires_grad) for name, t in _tensors(model).items()]
    return f"{type(model)} {model!r} {shapes} {[_plain(module) for module in model.modules()]}"


def _plain(module: nn.Module) -> dict[str, object]:
    """A module's own settings, also functions, `self.act = torch.relu`."""
    own = {name: value for name, value in vars(module).items() if isinstance(value, PLAIN) or callable(value)}
    return {name: getattr(value, "__code__", value) for name, value in own.items()}


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, also those that are in no state_dict."""
    return dict((*model.named_parameters(), *model.named_buffers()))


def _stacked(module: nn.Module) -> nn.Module:
    """`module` with every leaf in its stacked form; the values of its parameters come later."""
    kind = type(module)
    if parametrize.is_parametrized(module):
        raise ValueError(f"models: {kind.__name__} has parametrised weights, which cannot be stacked")
    for kinds, run in LEAVES:
        known = next((known for known in kinds if isinstance(module, known)), None)
        if known is None:
            continue
        if run is None:
            raise ValueError(f"models: {kind.__name__} draws at random, and cannot be stacked")
        if getattr(module.forward, "__func__", None) is known.forward:
            return _leaf(module, run)
    has_state = any(True for own in (module.parameters, module.buffers) for _ in own())
    has_children = any(True for _ in module.children())
    foreign = any(base.__module__.startswith("torch.") and base not in CONTAINERS for base in kind.__mro__)
    if foreign and (has_state or has_children):  # its forward knows nothing of a leading axis
        raise ValueError(f"models: {kind.__name__} cannot be stacked")
    if not has_state and not has_children:
        return _leaf(module, _each_example)
    for name, child in module.named_children():
        setattr(module, name, _stacked(child))
    return module


def _leaf(module: nn.Module, run: Callable[[Leaf, Tensor], Tensor]) -> Leaf:
    leaf = Leaf(copy.deepcopy(module), run)
    for name in ("_parameters", "_buffers", "_non_persistent_buffers_set", "training"):
        setattr(leaf, name, getattr(module, name))
    return leaf
