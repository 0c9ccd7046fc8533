"""`Log`: what observed steps leave, kept as tensors on their device until it is read.

A step leaves three kinds of numbers at three times: those of its forward pass, of its backward pass and of the update
after it. Each kind is a `Stream`; where a function gives a number for each unit, a `UnitLog` joins the steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from unstuck import measure
from unstuck.record import QUANTITIES, Record

Key = tuple[str, str]
"""Quantity and layer."""

Series = tuple[np.ndarray, np.ndarray]
"""Steps (T,) and values (T,), or (T, M) of M networks."""


class Stream:
    """Rows of numbers, step by step; steps in a row with the same keys share a block."""

    PACK = 32  # steps that wait as tensors of one element before they are packed into one

    def __init__(self) -> None:
        self.blocks: list[tuple[tuple[Key, ...], list[int], Tensor]] = []  # keys, steps, values (T, K) or (T, K, M)
        self.keys: tuple[Key, ...] = ()
        self.waiting: list[tuple[int, list[Tensor]]] = []

    def add(self, step: int, keys: Sequence[Key], values: list[Tensor]) -> None:
        if not values:
            return
        if tuple(keys) != self.keys or len(self.waiting) == self.PACK:
            self._pack()
            self.keys = tuple(keys)
        self.waiting.append((step, values))

    def _pack(self) -> None:
        if self.waiting:
            steps = [step for step, _ in self.waiting]
            values = join(torch.stack, [value for _, row in self.waiting for value in row])
            self.blocks.append((self.keys, steps, values.unflatten(0, (len(steps), -1))))
            self.waiting = []

    def read(self) -> dict[Key, Series]:
        """All series, which leave the stream; of two rows of one step the later counts.

        The only place where the host waits for the device.
        """
        self._pack()
        found: dict[Key, list[Series]] = {}
        for keys, steps, values in self.blocks:
            block = values.detach().cpu().double().numpy()
            for k, key in enumerate(keys):
                found.setdefault(key, []).append((np.array(steps), block[:, k]))
        self.blocks = []
        return {key: _latest(*map(np.concatenate, zip(*parts, strict=True))) for key, parts in found.items()}


def _latest(steps: np.ndarray, values: np.ndarray) -> Series:
    order = np.argsort(steps, kind="stable")
    steps, values = steps[order], values[order]
    keep = np.append(steps[1:] != steps[:-1], True)
    return steps[keep], values[keep]


class UnitLog:
    """The quantities of one function that gives a number for each unit, (H,) or (M, H).

    The units of all layers lie in one vector, and `BLOCK` steps are worked off at once: a few operations for all.
    """

    BLOCK = 16

    def __init__(self, quantities: Sequence[str], window: int):
        self.quantities = list(quantities)
        self.window = float(min(window, 2**24))  # steps are counted in floating point
        self.observed = 0
        self.fired: dict[str, Tensor] = {}  # layer: the observed step in which each unit last fired, or -inf
        self.layout: list[tuple[str, int]] = []  # layers and their numbers of units in the waiting steps
        self.waiting: list[tuple[int, Tensor]] = []  # step, values of all units (..., U)
        self.stream = Stream()

    def add(self, step: int, units: dict[str, Tensor]) -> None:
        layout = [(layer, values.shape[-1]) for layer, values in units.items()]
        if layout != self.layout or len(self.waiting) == self.BLOCK:
            self._work_off()
        self.layout = layout
        self.waiting.append((step, join(lambda parts: torch.cat(parts, dim=-1), list(units.values()))))
        self.observed += 1

    def keep(self, members: Tensor) -> None:
        """Go on with the networks for which `members` (M,) is True."""
        self._work_off()
        self.fired = {layer: fired[members] for layer, fired in self.fired.items()}

    def _work_off(self) -> None:
        if not self.waiting:
            return
        layers, sizes = zip(*self.layout, strict=True)
        values = torch.stack([values for _, values in self.waiting])  # (T, ..., U)
        joined = {"none": values}
        if any(QUANTITIES[name].reduce != "none" for name in self.quantities):
            joined |= self._silence(values, layers, sizes)
        parts = [joined[QUANTITIES[name].reduce] for name in self.quantities]
        means = torch.stack([p.mean(dim=-1) for q in parts for p in q.to(values).split(sizes, dim=-1)], dim=1)
        keys = tuple((name, layer) for name in self.quantities for layer in layers)
        self.stream.blocks.append((keys, [step for step, _ in self.waiting], means))
        self.waiting = []

    def _silence(self, zeros: Tensor, layers: Sequence[str], sizes: Sequence[int]) -> dict[str, Tensor]:
        """Which units were silent in the whole window, and ever since: each (T, ..., U)."""
        first = self.observed - len(zeros)
        now = torch.arange(first, self.observed, dtype=zeros.dtype, device=zeros.device)
        now = now.view(-1, *[1] * (zeros.ndim - 1))
        last = torch.where(zeros == 1, -math.inf, now)
        known = [self._last_fired(layer, size, zeros) for layer, size in zip(layers, sizes, strict=True)]
        last[0] = last[0].maximum(torch.cat(known, dim=-1))
        last = last.cummax(dim=0).values
        self.fired.update(zip(layers, last[-1].clone().split(sizes, dim=-1), strict=True))
        return {"window": last <= now - self.window, "ever": last.isinf()}

    def _last_fired(self, layer: str, size: int, like: Tensor) -> Tensor:
        known = self.fired.get(layer)
        shape = (*like.shape[1:-1], size)
        return like.new_full(shape, -math.inf) if known is None or known.shape != shape else known

    def read(self) -> dict[Key, Series]:
        self._work_off()
        return self.stream.read()


class Log:
    """All that the observed steps of one model, or of M networks at once, leave.

    Args:
        quantities: names from `QUANTITIES`; those of scope "network" are the training loop's affair.
        window: of the quantities that are joined over a window.
    """

    def __init__(self, quantities: Iterable[str], window: int):
        quantities = list(dict.fromkeys(quantities))
        self.activation = measure.functions(quantities, "activation")
        self.parameter = measure.functions(quantities, "parameter")
        self.gradient = measure.functions(quantities, "gradient")
        self.update = measure.functions(quantities, "update")
        self.streams = {name: Stream() for name in ("forward", "parameter", "gradient", "update")}
        self.before = Stream()  # the norms of the weights that were updated: nothing is relative to zero
        self.window = window
        self.units: dict[Callable, UnitLog] = {}
        self.begin()

    def begin(self) -> None:
        """A forward pass begins; what an earlier one left without coming to its end is dropped."""
        self.keys: list[Key] = []
        self.values: list[Tensor] = []
        self.by_unit: dict[Callable, dict[str, Tensor]] = {}

    def see(self, layer: str, signal: measure.Signal) -> None:
        """Measure the output of an activation."""
        for function, quantities in self.activation.items():
            value = function(signal)
            if value is None:
                continue
            if value.ndim > int(signal.members):
                self.by_unit.setdefault(function, {})[layer] = value
            else:
                self.keys += [(name, layer) for name in quantities]
                self.values += [value] * len(quantities)

    def end(self, step: int) -> None:
        """The forward pass has come to its end."""
        self.streams["forward"].add(step, self.keys, self.values)
        for function, units in self.by_unit.items():
            if function not in self.units:
                self.units[function] = UnitLog(self.activation[function], self.window)
            self.units[function].add(step, units)

    def parameters(self, step: int, layers: Sequence[str], weights: measure.Tensors) -> None:
        self._add("parameter", self.parameter, step, layers, weights)

    def gradients(self, step: int, layers: Sequence[str], gradients: measure.Tensors) -> None:
        self._add("gradient", self.gradient, step, layers, gradients)

    def updates(self, step: int, layers: Sequence[str], update: measure.Tensors, before: measure.Tensors) -> None:
        self._add("update", self.update, step, layers, update, before)
        self.before.add(step, [("", layer) for layer in layers], before.norms)

    def _add(self, stream: str, functions: dict, step: int, layers: Sequence[str], *what: measure.Tensors) -> None:
        keys, values = [], []
        for function, quantities in functions.items():
            found = function(*what)
            for name in quantities:
                keys += [(name, layer) for layer in layers]
                values += found
        self.streams[stream].add(step, keys, values)

    def fill(self, records: Sequence[Record]) -> None:
        """Move everything into records, one for each network; an update of a layer that was all zero has no row."""
        found = self.streams["forward"].read()
        for units in self.units.values():
            found |= units.read()
        for name in ("parameter", "gradient"):
            found |= self.streams[name].read()
        updates, sizes = self.streams["update"].read(), self.before.read()
        for key, (steps, values) in (found | updates).items():
            values = values if values.ndim == 2 else values[:, None]  # (T, M)
            kept = np.ones(values.shape, dtype=bool)
            if key in updates:
                kept = sizes["", key[1]][1].reshape(values.shape) != 0
            for record, column, keep in zip(records, values.T, kept.T, strict=True):
                if keep.any():
                    record.add_series(key[1], key[0], steps[keep], column[keep])

    def keep(self, members: Tensor) -> None:
        """Go on with the networks for which `members` (M,) is True, after `fill`."""
        for units in self.units.values():
            units.keep(members)


def join(how: Callable[[list[Tensor]], Tensor], parts: Sequence[Tensor]) -> Tensor:
    """`how` of tensors that may lie on several devices."""
    if len({part.device for part in parts}) > 1:  # a model spread over several devices
        parts = [part.to(parts[0].device, non_blocking=True) for part in parts]
    return how(list(parts))
