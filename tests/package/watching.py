"""A small network, its data and its loop, which the tests of `watch` share."""

from collections.abc import Mapping
from contextlib import nullcontext

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.modules import module as torch_module
from torch.optim import optimizer as torch_optimizer

from unstuck.models import mlp
from unstuck.probes import watch

X = torch.randn(30, 8, generator=torch.Generator().manual_seed(1))
Y = torch.arange(30) % 3


def network(seed=0, widths=(8, 7, 6, 3), activation="relu"):
    torch.manual_seed(seed)
    return mlp(widths, activation)


class Twice(nn.Module):
    """One activation used twice, in place, with everything that has a state or draws at random."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.second = nn.Linear(8, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)
        self.act, self.drop = nn.ReLU(inplace=True), nn.Dropout(0.3)

    def forward(self, x):
        h = self.drop(self.act(self.norm(self.first(x))))
        return self.act(self.second(h) + 0.1) * 2


def sgd_step(model, optim, x=X, y=Y):
    optim.zero_grad()
    loss = cross_entropy(model(x), y)
    loss.backward()
    optim.step()
    return loss.detach()


def train(model, steps=3, lr=0.1, x=X, y=Y):
    optim = torch.optim.SGD(model.parameters(), lr)
    return [sgd_step(model, optim, x, y) for _ in range(steps)]


def manual_in_place(model):
    with torch.no_grad():
        for p in model.parameters():
            p -= 0.1 * p.grad
            p.grad = None


def by_hand(model, optim, x, y, steps, window):
    """Every quantity of a Sequential, from activations kept whole, in float64: {(quantity, layer): [values]}."""
    found, fired = {}, {}
    note = lambda quantity, layer, value: found.setdefault((quantity, layer), []).append(float(value))  # noqa: E731
    for _ in range(steps):
        a = x
        for name, module in model.named_children():
            z, a = a, module(a)
            if not name.startswith("act"):
                continue
            kept = a.detach().double().numpy()
            note("act_mean", name, kept.mean())
            note("act_std", name, kept.std())
            note("zero_fraction", name, (kept == 0).mean())
            history = fired.setdefault(name, [])
            history.append((kept != 0).any(axis=0))
            note("dead", name, 1 - np.any(history[-window:], axis=0).mean())
            note("never_fired", name, 1 - np.any(history, axis=0).mean())
            if isinstance(module, nn.Tanh | nn.Sigmoid):
                probe, origin = z.detach().double().requires_grad_(), torch.zeros(1, dtype=torch.float64)
                slope = torch.autograd.grad(module(probe).sum(), probe)[0]
                largest = torch.autograd.grad(module(origin.requires_grad_()).sum(), origin)[0]
                note("saturated_fraction", name, (slope < 0.02 * largest).double().mean())
        optim.zero_grad()
        cross_entropy(a, y).backward()
        linears = {name: module for name, module in model.named_children() if isinstance(module, nn.Linear)}
        before = {name: module.weight.detach().double().clone() for name, module in linears.items()}
        for name, module in linears.items():
            note("grad_norm", name, module.weight.grad.double().square().sum().sqrt())
            note("weight_norm", name, before[name].square().sum().sqrt())
        optim.step()
        for name, module in linears.items():
            moved = (module.weight.detach().double() - before[name]).square().sum().sqrt()
            note("update_ratio", name, moved / before[name].square().sum().sqrt())
    return found


def values(record, quantity, layer):
    return record.get(quantity, layer)[1]


def hooks_of(model):
    """Every hook dict of the modules and parameters, and torch's global ones, and what the modules hold at all."""
    held = [
        {
            key: dict(value) if "hooks" in key else id(value)
            for key, value in vars(module).items()
            if key != "training"
        }
        for module in model.modules()
    ]
    held += [(p._backward_hooks, p._post_accumulate_grad_hooks) for p in model.parameters()]
    for place in (torch_module, torch_optimizer):
        held += [dict(value) for key, value in sorted(vars(place).items()) if key.startswith("_global") and value]
    return held


def state_of(model, *more):
    """All that training changes: weights, buffers, gradients, modes, the random state, and the tensors in `more`."""
    found = [*model.parameters(), *model.buffers(), *(p.grad for p in model.parameters()), *tensors_in(more)]
    modes = [module.training for module in model.modules()]
    return [None if t is None else t.detach().clone() for t in found] + [torch.get_rng_state()], modes


def tensors_in(value):
    """The tensors in nested mappings and sequences."""
    if torch.is_tensor(value):
        return [value]
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple | list) else ()
    return [tensor for part in parts for tensor in tensors_in(part)]


def same(one, other):
    """Whether two states are bit-identical."""
    (first, modes), (second, other_modes) = one, other
    return modes == other_modes and all(identical(a, b) for a, b in zip(first, second, strict=True))


def identical(a, b):
    if a is None or b is None:
        return a is b
    a, b = (t.to_dense() if t.is_sparse else t for t in (a, b))
    return a.shape == b.shape and a.dtype == b.dtype and torch.equal(bits(a), bits(b))


def bits(tensor):
    return tensor.flatten().contiguous().view(torch.uint8)


def watched_and_not(build, loop, **arguments):
    """Train a model twice, by `loop(model)`, once watched: which must not be seen in anything. (model, record)"""
    states = []
    for watching in (False, True):
        torch.manual_seed(3)
        model = build()
        with watch(model, **arguments) if watching else nullcontext() as record:
            left = loop(model)
        states.append(state_of(model, left))
    assert same(*states)
    return model, record
