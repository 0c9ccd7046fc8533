"""`stack`: M networks of one architecture as one module, whose parameters and activations have a leading axis M."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from unstuck.arguments import instance
from unstuck.parts import ACTIVATION_CLASSES


class Leaf(nn.Module):
    """The stacked form of a leaf: `run(own, x)` with x (M, N, ...), and parameters as `own.weight` (M, ...)."""

    def __init__(self, template: nn.Module, run: Callable[[Leaf, Tensor], Tensor]):
        super().__init__()
        self.template = [template]  # in a list, so that its parameters are not ours
        self.run = run

    @property
    def of(self) -> nn.Module:
        return self.template[0]

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


def _linear(own: Leaf, x: Tensor) -> Tensor:
    weight, rows = own.weight.mT, x.flatten(1, -2)  # (M, in, out), (M, rows, in)
    z = torch.bmm(rows, weight) if own.bias is None else torch.baddbmm(own.bias[:, None], rows, weight)
    return z if x.ndim == 3 else z.unflatten(1, x.shape[1:-1])


def _batch_norm(own: Leaf, x: Tensor) -> Tensor:
    """The features of all networks side by side, (N, M F, ...): one batch norm of PyTorch's."""
    norm, m = own.of, len(x)
    factor = norm.momentum
    if own.training and norm.track_running_stats:
        own.num_batches_tracked += 1
        factor = 1.0 / float(own.num_batches_tracked[0]) if norm.momentum is None else norm.momentum
    flat = [None if t is None else t.flatten() for t in (own.running_mean, own.running_var, own.weight, own.bias)]
    batch = own.training or own.running_mean is None
    z = F.batch_norm(x.transpose(0, 1).flatten(1, 2), *flat, batch, factor, norm.eps)
    return z.unflatten(1, (m, -1)).transpose(0, 1)


def _normalised(function: Callable) -> Callable[[Leaf, Tensor], Tensor]:
    def run(own: Leaf, x: Tensor) -> Tensor:
        norm = own.of
        z = function(x, norm.normalized_shape, eps=norm.eps)
        along = (len(x), *[1] * (x.ndim - 1 - len(norm.normalized_shape)), *norm.normalized_shape)
        z = z if own.weight is None else z * own.weight.view(along)
        bias = getattr(own, "bias", None)
        return z if bias is None else z + bias.view(along)

    return run


def _prelu(own: Leaf, x: Tensor) -> Tensor:
    slope = own.weight  # (M, 1) or (M, features)
    slope = slope.view(len(x), 1, -1, *[1] * (x.ndim - 3)) if x.ndim > 2 else slope
    return torch.where(x > 0, x, slope * x)


def _flatten(own: Leaf, x: Tensor) -> Tensor:
    start, end = (axis if axis < 0 else axis + 1 for axis in (own.of.start_dim, own.of.end_dim))
    return x.flatten(start, end)


def _as_is(own: Leaf, x: Tensor) -> Tensor:
    return own.of(x)


def _each_example(own: Leaf, x: Tensor) -> Tensor:
    """A module without state sees all examples of all networks as one batch."""
    return own.of(x.flatten(0, 1)).unflatten(0, x.shape[:2])


RANDOM = (nn.RReLU, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)

LEAVES: tuple[tuple[type | tuple, Callable[[Leaf, Tensor], Tensor] | None], ...] = (
    (nn.Linear, _linear),
    ((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d), _batch_norm),
    (nn.LayerNorm, _normalised(F.layer_norm)),
    (nn.RMSNorm, _normalised(F.rms_norm)),
    (nn.PReLU, _prelu),
    (nn.Flatten, _flatten),
    (RANDOM, None),  # each network would have to draw for itself
    ((nn.Identity, *(kind for kind in ACTIVATION_CLASSES if kind is not nn.GLU)), _as_is),
)
"""How a leaf is stacked, by its class, the first that fits; None: not at all."""


class Stack(nn.Module):
    """M networks side by side: x (M, N, ...) to (M, N, K); shared inputs are `x.expand(M, *x.shape)`.

    `body` has the members' modules under their own names, so `body.state_dict()` has their keys, with a leading
    axis M.
    """

    def __init__(self, models: Sequence[nn.Module]):
        super().__init__()
        self.template = [copy.deepcopy(models[0])]  # in a list: it is no part of this module
        self.body = _stacked(copy.deepcopy(models[0]))
        states = [model.state_dict() for model in models]
        for name in states[0]:
            parent, _, own = name.rpartition(".")
            joined = torch.stack([state[name] for state in states])
            if joined.ndim == 3:  # in memory (M, in, out), as products make its gradient: else that would be copied
                joined = joined.mT.contiguous().mT
            module = self.body.get_submodule(parent)
            if own in module._parameters:
                module._parameters[own] = nn.Parameter(joined, requires_grad=_learns(models[0], name))
            else:
                module._buffers[own] = joined

    def __len__(self) -> int:
        return len(next(self.parameters()))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)

    def member(self, m: int) -> nn.Module:
        """A copy of network `m`, as a model of its own."""
        model = copy.deepcopy(self.template[0])
        model.load_state_dict({name: tensor[m] for name, tensor in self.body.state_dict().items()})
        return model

    @torch.no_grad()
    def keep(self, which: Tensor) -> None:
        """Go on with the networks for which `which` (M,) is True; gradients go along."""
        for module in self.body.modules():
            for p in module._parameters.values():
                if p is not None:
                    grad, p.grad = p.grad, None
                    p.data = p.data[which]
                    p.grad = None if grad is None else grad[which]
            for name, buffer in module._buffers.items():
                module._buffers[name] = None if buffer is None else buffer[which]


def stack(models: Sequence[nn.Module]) -> Stack:
    """Networks of one architecture as one module: what it computes for each is what the network itself computes.

    Stacked are linear layers, batch, layer and RMS norm, PReLU, activations, modules without parameters that treat
    each example by itself (maxout), and a `forward` of your own that adds, multiplies or concatenates features
    (`dim=-1`). It must not count axes from the front: `unstuck.ensemble.fit_many` tries it on the first batch.

    Raises ValueError for networks that differ, and for what cannot be stacked (convolutions, dropout).
    """
    models = [instance("models", model, nn.Module, "a torch.nn.Module each") for model in models]
    if not models:
        raise ValueError("models: expected at least one, got none")
    parts = [*models[0].named_modules(remove_duplicate=False), *models[0].named_parameters(remove_duplicate=False)]
    if len({id(part) for _, part in parts}) < len(parts):
        raise ValueError(f"models: {type(models[0]).__name__} uses a part of itself twice, and cannot be stacked")
    first = signature(models[0])
    for i, model in enumerate(models):
        if signature(model) != first:
            raise ValueError(f"models: expected one architecture, number {i} differs from number 0")
    return Stack(models)


def unstack(stacked: Stack) -> list[nn.Module]:
    """The inverse of `stack`: each network as a model of its own."""
    instance("stacked", stacked, Stack, "what unstuck.ensemble.stack made")
    return [stacked.member(m) for m in range(len(stacked))]


def signature(model: nn.Module) -> str:
    """What two models have in common that can be stacked: modules, settings, shapes, and what is learned."""
    shapes = [(name, tuple(tensor.shape), tensor.dtype) for name, tensor in model.state_dict().items()]
    learned = [name for name, p in model.named_parameters() if p.requires_grad]
    return f"{type(model)} {model!r} {shapes} {learned}"


def _learns(model: nn.Module, name: str) -> bool:
    return model.get_parameter(name).requires_grad


def _stacked(module: nn.Module) -> nn.Module:
    """`module` with every leaf in its stacked form; its parameters are filled in by `Stack`."""
    if parametrize.is_parametrized(module):
        raise ValueError(f"models: {type(module).__name__} has parametrised weights, which cannot be stacked")
    for kinds, run in LEAVES:
        if isinstance(module, kinds):
            if run is None:
                raise ValueError(f"models: {type(module).__name__} draws at random, and cannot be stacked")
            return _leaf(module, run)
    if any(True for _ in module.children()):
        for name, child in module.named_children():
            setattr(module, name, _stacked(child))
        return module
    if any(True for _ in module.parameters()) or any(True for _ in module.buffers()):
        if type(module).__module__.startswith("torch."):
            raise ValueError(f"models: {type(module).__name__} cannot be stacked")
        return module  # the user's own: its forward may do with a leading axis
    return _leaf(module, _each_example)


def _leaf(module: nn.Module, run: Callable[[Leaf, Tensor], Tensor]) -> Leaf:
    leaf = Leaf(copy.deepcopy(module), run)
    for name in module._parameters:
        leaf.register_parameter(name, None if module._parameters[name] is None else nn.Parameter(torch.empty(0)))
    for name, buffer in module._buffers.items():
        leaf.register_buffer(name, buffer)
    return leaf
