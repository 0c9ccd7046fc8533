"""`stack`: M networks of one architecture as one module, whose parameters and activations have a leading axis M."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from unstuck.arguments import instance, short, whole
from unstuck.parts import ACTIVATION_CLASSES

Forward = Callable[[Any, Tensor], Tensor]  # of a leaf whose parameters are (M, ...), and x (M, N, ...)


def _linear(own: Any, x: Tensor) -> Tensor:
    weight, rows = own.weight.mT, x.flatten(1, -2)  # (M, in, out), (M, rows, in)
    z = torch.bmm(rows, weight) if own.bias is None else torch.baddbmm(own.bias[:, None], rows, weight)
    return z if x.ndim == 3 else z.unflatten(1, x.shape[1:-1])


def _side_by_side(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """What PyTorch does to each feature, with those of all networks beside each other: (N, M F, ...)."""
    return function(x.transpose(0, 1).flatten(1, 2)).unflatten(1, (len(x), -1)).transpose(0, 1)


def _batch_norm(own: Any, x: Tensor) -> Tensor:
    tracking = own.track_running_stats or not own.training
    running: list[Any] = [own.running_mean, own.running_var] if tracking else [None, None]
    batch = own.training or running[0] is None
    gamma, beta = (None if p is None else p.flatten() for p in (own.weight, own.bias))
    seen: list[Any] = [None if t is None else t.flatten().clone() for t in running]  # becomes that of this batch
    z = _side_by_side(lambda x: F.batch_norm(x, seen[0], seen[1], gamma, beta, batch, 1.0, own.eps), x)
    if batch and running[0] is not None:
        own.num_batches_tracked += 1
        # without a momentum over all batches, of which each network may have seen its own number
        share = 1 / own.num_batches_tracked[:, None].to(running[0]) if own.momentum is None else own.momentum
        for old, new in zip(running, seen, strict=True):
            old.lerp_(new.view_as(old), share)
    return z


def _group_norm(own: Any, x: Tensor) -> Tensor:
    gamma, beta = (None if p is None else p.flatten() for p in (own.weight, own.bias))
    return _side_by_side(lambda side: F.group_norm(side, len(x) * own.num_groups, gamma, beta, own.eps), x)


def _normalised(function: Callable) -> Forward:
    def run(own: Any, x: Tensor) -> Tensor:
        shape = own.normalized_shape
        z, ones = function(x, shape, eps=own.eps), [1] * (x.ndim - 1 - len(shape))
        z = z if own.weight is None else z * own.weight.view(len(x), *ones, *shape)
        bias = getattr(own, "bias", None)
        return z if bias is None else z + bias.view(len(x), *ones, *shape)

    return run


def _prelu(own: Any, x: Tensor) -> Tensor:
    slopes = own.weight.expand(len(x), x.shape[2]).flatten()  # of (M, 1) or (M, F)
    return _side_by_side(lambda x: F.prelu(x, slopes), x)


def _flatten(own: nn.Flatten, x: Tensor) -> Tensor:
    start, end = (axis if axis < 0 else axis + 1 for axis in (own.start_dim, own.end_dim))
    return x.flatten(start, end)


def _each_example(forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A module without state sees all examples of all networks as one batch."""
    return forward(x.flatten(0, 1)).unflatten(0, x.shape[:2])


RANDOM = (
    *(nn.RReLU, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout),
    *(nn.FractionalMaxPool2d, nn.FractionalMaxPool3d),
)  # each network would have to draw for itself

LEAVES: dict[type[nn.Module], Forward | None] = {
    **dict.fromkeys(kind for kind in (nn.Identity, *ACTIVATION_CLASSES) if kind is not nn.GLU),
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d), _batch_norm),
    **{nn.LayerNorm: _normalised(F.layer_norm), nn.RMSNorm: _normalised(F.rms_norm), nn.GroupNorm: _group_norm},
    **{nn.Linear: _linear, nn.PReLU: _prelu, nn.Flatten: _flatten},
}
"""What a leaf becomes in a stack, by the class whose forward it has; None: it works with any axes as it is."""

CONTAINERS = (nn.Module, nn.Sequential, nn.ModuleList, nn.ModuleDict)
HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
PLAIN = (bool, int, float, complex, str, type(None))


class Stack(nn.Module):
    """M networks side by side: x (M, N, ...) to (M, N, K); shared inputs are `x.expand(M, *x.shape)`.

    `body` has the members' modules under their own names, so `body.state_dict()` has their keys, with a leading
    axis M. Raises ValueError for networks that differ and for what cannot be stacked, as `stack` says.
    """

    def __init__(self, models: Iterable[nn.Module]):
        super().__init__()
        instance("models", models, Iterable, "a list of torch.nn.Module")
        models = [instance("models", model, nn.Module, "a torch.nn.Module each") for model in models]
        if not models:
            raise ValueError("models: expected at least one, got none")
        _check(models)
        self.size = len(models)
        self.template = [copy.deepcopy(models[0])]  # in a list: it is no part of this module
        self.body = copy.deepcopy(models[0])
        _spread(self.body)
        each = [_tensors(model) for model in models]
        for name, tensor in _tensors(self.body).items():
            joined = torch.stack([own[name].detach() for own in each])
            # weights lie in memory as (M, in, out), as products make their gradients: else those would be copied
            tensor.data = joined.mT.contiguous().mT if joined.ndim == 3 else joined

    def __len__(self) -> int:
        return self.size

    def forward(self, x: Tensor) -> Tensor:
        if instance("x", x, Tensor, "a torch.Tensor").shape[:1] != (self.size,):
            raise ValueError(f"x: expected (M, N, ...) with M = {self.size}, got {short(x)}")
        return self.body(x)

    def member(self, m: int) -> nn.Module:
        """A copy of network `m`, as a model of its own."""
        return self.write(whole("m", m, least=0, most=self.size - 1), copy.deepcopy(self.template[0]))

    def write(self, m: int, model: nn.Module) -> nn.Module:
        """`model`, of the same architecture, with the values of network `m`."""
        stacked = _tensors(self.body)
        for name, tensor in _tensors(model).items():
            tensor.data = stacked[name].detach()[m].clone(memory_format=torch.contiguous_format)
        return model

    @torch.no_grad()
    def keep(self, which: Tensor) -> None:
        """Go on with the networks for which `which` (M,) is True; gradients go along."""
        if instance("which", which, Tensor, "a torch.Tensor").shape != (self.size,) or which.dtype != torch.bool:
            raise ValueError(f"which: expected {self.size} times True or False, got {short(which)}")
        self.size = int(which.sum())
        for tensor in _tensors(self.body).values():
            grad, tensor.grad = tensor.grad, None
            tensor.data = tensor.data[which]
            tensor.grad = None if grad is None else grad[which]


def stack(models: Iterable[nn.Module]) -> Stack:
    """Networks of one architecture as one module: what it computes for each is what the network itself computes.

    Stacked are linear layers, batch, layer, group and RMS norm, PReLU, activations, modules without parameters that
    treat each example by itself (maxout), and a `forward` of your own that adds, multiplies or concatenates features
    (`dim=-1`). It must not count axes from the front: `unstuck.ensemble.fit_many` tries it on a few examples.

    Raises ValueError for networks that differ, and for what cannot be stacked: convolutions, dropout, hooks, parts
    that are used twice, weights that are computed from others.
    """
    return Stack(models)


def unstack(stacked: Stack) -> list[nn.Module]:
    """The inverse of `stack`: each network as a model of its own."""
    instance("stacked", stacked, Stack, "what unstuck.ensemble.stack made")
    return [stacked.member(m) for m in range(len(stacked))]


def signature(model: nn.Module) -> str:
    """What models that can be stacked have in common: modules, their settings and modes, shapes of tensors."""
    shapes = [(name, tuple(t.shape), t.dtype, t.requires_grad) for name, t in _tensors(model).items()]
    parts = [(name, type(module), module.extra_repr(), _plain(module)) for name, module in model.named_modules()]
    return f"{shapes} {parts}"


def _plain(module: nn.Module) -> dict[str, object]:
    """A module's own settings, also functions, `self.act = torch.relu`."""
    own = {name: value for name, value in vars(module).items() if isinstance(value, PLAIN) or callable(value)}
    return {name: getattr(value, "__code__", value) for name, value in own.items()}


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, also those that are in no state_dict."""
    return dict((*model.named_parameters(), *model.named_buffers()))


def _check(models: list[nn.Module]) -> None:
    """Refuse what differs, hooks, and parts that are used twice."""
    first, kind = models[0], type(models[0]).__name__
    all_of = (first.named_modules, first.named_parameters, first.named_buffers)
    parts = [id(part) for each in all_of for _, part in each(remove_duplicate=False)]
    if len(set(parts)) < len(parts):
        raise ValueError(f"models: {kind} uses a part of itself twice, and cannot be stacked")
    expected = signature(first)
    for i, model in enumerate(models):
        hooked = any(getattr(module, hooks) for module in model.modules() for hooks in HOOKS)
        if hooked or any(p._backward_hooks or p._post_accumulate_grad_hooks for p in model.parameters()):
            raise ValueError(f"models: {type(model).__name__} has hooks, which a stack would not call")
        if signature(model) != expected:
            raise ValueError(f"models: expected one architecture, number {i} differs from number 0")


def _spread(module: nn.Module) -> None:
    """Give every leaf its stacked forward; the values of its parameters come later."""
    kind = type(module)
    if parametrize.is_parametrized(module):
        raise ValueError(f"models: {kind.__name__} has parametrised weights, which cannot be stacked")
    if isinstance(module, RANDOM):
        raise ValueError(f"models: {kind.__name__} draws at random, and cannot be stacked")
    for known, forward in LEAVES.items():
        if isinstance(module, known) and getattr(module.forward, "__func__", None) is known.forward:
            if forward is not None:
                module.forward = partial(forward, module)
            return
    has_state = any(True for own in (module.parameters, module.buffers) for _ in own())
    has_children = any(True for _ in module.children())
    foreign = any(base.__module__.startswith("torch.") and base not in CONTAINERS for base in kind.__mro__)
    if foreign and (has_state or has_children):  # its forward knows nothing of a leading axis
        raise ValueError(f"models: {kind.__name__} cannot be stacked")
    if not has_state and not has_children:
        module.forward = partial(_each_example, module.forward)
    for child in module.children():
        _spread(child)
