"""One pure function for each measured quantity; `QUANTITIES` names them, and everything that measures calls them.

A function of scope "activation" takes a `Signal` and gives a number, or one for each unit, or None where it has no
meaning there; one of scope "unit" gives one for each unit. One of scope "parameter" or "gradient" takes `Tensors`,
one of scope "update" two of them, the update and the parameters before it; it gives a number for each layer. All of
them also measure M networks at once: then tensors have a leading axis M, and so have the results. Nothing is read
from the device: numbers stay tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from unstuck.activations import ACTIVATIONS
from unstuck.record import QUANTITIES

UNSATURATED = {row.kind: row.unsaturated for row in ACTIVATIONS.values() if row.unsaturated}


class Room:
    """Memory to work in, kept from one signal to the next: new memory costs more than what is computed in it."""

    def __init__(self) -> None:
        self.flat: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def like(self, a: Tensor) -> Tensor:
        """Room of the shape of `a`, whose content is anything, until it is asked for again."""
        if not a.is_contiguous():
            return torch.empty_like(a)
        flat = self.flat.get((a.dtype, a.device))
        if flat is None or len(flat) < a.numel():
            flat = self.flat[a.dtype, a.device] = torch.empty(a.numel(), dtype=a.dtype, device=a.device)
        return flat[: a.numel()].view(a.shape)


class Signal:
    """What one activation put out, and what several quantities need of it, computed once.

    Args:
        a: (N, ..., H), or (M, N, ..., H) of M networks; floating, not changed.
        kind: the class of the module that made it, "ReLU".
        unit_axis: the axis of `a` whose places are the units: 1 for the channels of images, -1 for features.
        members: whether the first axis counts networks.
        room: to work in; None: its own.
    """

    def __init__(
        self, a: Tensor, *, kind: str = "", unit_axis: int = -1, members: bool = False, room: Room | None = None
    ) -> None:
        self.a, self.kind, self.members = a, kind, members
        self.unit_axis = unit_axis % a.ndim
        self.room = Room() if room is None else room

    @property
    def flat(self) -> Tensor:
        """All values of a network in one axis: (n,) or (M, n)."""
        return self.a.flatten(1) if self.members else self.a.flatten()

    @cached_property
    def buffer(self) -> Tensor:
        """Room of the shape of `a`, to be overwritten: `out=` costs a fraction of a new tensor."""
        return self.room.like(self.a)

    @cached_property
    def mean(self) -> Tensor:
        """() or (M,)."""
        return self.flat.mean(-1) if self.members else self.a.mean()

    @property
    def over(self) -> list[int]:
        """The axes of the examples and positions that a unit has values on."""
        kept = {self.unit_axis, 0} if self.members else {self.unit_axis}
        return [axis for axis in range(self.a.ndim) if axis not in kept]

    @cached_property
    def zeros(self) -> Tensor:
        """The share of examples (and positions) on which each unit is exactly 0: (H,) or (M, H)."""
        # as floats in the buffer this costs a quarter of `any` or `count_nonzero`
        zero = torch.eq(self.a, 0, out=self.buffer)
        return zero.mean(self.over) if self.over else zero.clone()

    def like(self, values: Tensor) -> Tensor:
        """() or (M,) as a tensor that broadcasts against `a`."""
        return values.view(-1, *[1] * (self.a.ndim - 1)) if self.members else values


class Tensors:
    """The parameters (or gradients, or updates) of several layers.

    Args:
        groups: for each layer its tensors, usually one; the layer's numbers are those of all of them together.
        members: whether the first axis of each counts networks.
    """

    def __init__(self, groups: Iterable[Sequence[Tensor]], *, members: bool = False) -> None:
        self.groups, self.members = [list(group) for group in groups], members

    def __sub__(self, other: Tensors) -> Tensors:
        pairs = zip(self.groups, other.groups, strict=True)
        return Tensors([[p - q for p, q in zip(*pair, strict=True)] for pair in pairs], members=self.members)

    @property
    def flat(self) -> list[Tensor]:
        """For each layer all its values in one axis: (n,) or (M, n)."""
        first = int(self.members)
        return [torch.cat([tensor.flatten(first) for tensor in group], dim=-1) for group in self.groups]

    @cached_property
    def norms(self) -> list[Tensor]:
        """The Euclidean norm of each layer, in at least float32: () or (M,) each."""
        tensors = [tensor for group in self.groups for tensor in group]
        tensors = [tensor if tensor.dtype.itemsize >= 4 else tensor.float() for tensor in tensors]
        if self.members:
            tensors = [t if t.ndim > 1 else t[:, None] for t in tensors]
            found = iter([torch.linalg.vector_norm(t, dim=tuple(range(1, t.ndim))) for t in tensors])
        else:
            found = iter(torch._foreach_norm(tensors))  # all at once
        joined = [[next(found) for _ in group] for group in self.groups]
        return [own[0] if len(own) == 1 else torch.linalg.vector_norm(torch.stack(own), dim=0) for own in joined]


# --- scope "activation" ---


def act_mean(signal: Signal) -> Tensor:
    """E[a] over batch and units."""
    return signal.mean


def act_std(signal: Signal) -> Tensor:
    """sqrt(E[(a - E[a])^2]) over batch and units; `std` or `var_mean` cost many times as much."""
    torch.sub(signal.a, signal.like(signal.mean), out=signal.buffer)
    distance = signal.buffer.flatten(1) if signal.members else signal.buffer
    norm = torch.linalg.vector_norm(distance, dim=1 if signal.members else None)
    return norm.div_(math.sqrt(distance[0].numel() if signal.members else distance.numel()))


def zeros(signal: Signal) -> Tensor:
    """For each unit the share of examples on which it is exactly 0: (H,) or (M, H)."""
    return signal.zeros


def saturated_fraction(signal: Signal) -> Tensor | None:
    """Share of values where the slope is below 2 % of its largest; None for what does not saturate on both sides."""
    if signal.kind not in UNSATURATED:
        return None
    centre, half = UNSATURATED[signal.kind]
    distance = torch.sub(signal.a, centre, out=signal.buffer).abs_()
    beyond = torch.gt(distance, half, out=signal.buffer)
    return beyond.flatten(1).mean(1) if signal.members else beyond.mean()


# --- scope "unit": (H,) or (M, H) ---


def unit_std(signal: Signal) -> Tensor:
    """sqrt(E[(a - E[a])^2]) of each unit, over examples and positions."""
    if not signal.over:  # a unit with one value: without axes torch would reduce all
        return torch.zeros_like(signal.a)
    return torch.std(signal.a, signal.over, correction=0)


def unit_range(signal: Signal) -> Tensor:
    """The largest value of each unit minus its smallest, over examples and positions."""
    if not signal.over:
        return torch.zeros_like(signal.a)
    return signal.a.amax(signal.over) - signal.a.amin(signal.over)


# --- scopes "parameter", "gradient" and "update" ---


def norm(tensors: Tensors) -> list[Tensor]:
    """The Euclidean norm of each layer."""
    return tensors.norms


def update_ratio(update: Tensors, before: Tensors) -> list[Tensor]:
    """||dw|| / ||w|| of each layer."""
    return [step / size for step, size in zip(update.norms, before.norms, strict=True)]


# --- batch norm: the batch's statistics against the running ones, (C,) or (M, C), by `unstuck.probes.norm_drift` ---


def mean_drift(mean: Tensor, running_mean: Tensor, running_var: Tensor, eps: float) -> Tensor:
    """Root mean square over channels of (mean - running mean) / sqrt(running var + eps)."""
    return ((mean - running_mean).square() / (running_var + eps)).mean(-1).sqrt()


def std_drift(var: Tensor, running_var: Tensor, eps: float) -> Tensor:
    """Root mean square over channels of ln sqrt((var + eps) / (running var + eps))."""
    return ((var + eps) / (running_var + eps)).log().div(2).square().mean(-1).sqrt()


def functions(quantities: Iterable[str], scope: str) -> dict[Callable, list[str]]:
    """Those of `quantities` that are measured on `scope`, by the function that measures them.

    Raises ValueError for a row of the table whose function is not here.
    """
    found: dict[Callable, list[str]] = {}
    for name in quantities:
        row = QUANTITIES[name]
        if row.scope != scope:
            continue
        function = globals().get(row.measure)
        if not callable(function):
            raise ValueError(
                f"quantities: {name!r} is measured by {row.measure!r}, which unstuck.measure does not have"
            )
        found.setdefault(function, []).append(name)
    return found
