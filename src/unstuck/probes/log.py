"""`Log`: what observed steps leave, kept as tensors on their device until it is read.

A step leaves three kinds of numbers at three times: those of its forward pass, of its backward pass and of the update
after it. Each kind is a `Stream`; where a function gives a number for each unit, a `UnitLog` joins the steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from unstuck import measure
from unstuck.record import QUANTITIES, Record

Key = tuple[str, str]
"""Quantity and layer."""

Series = tuple[np.ndarray, np.ndarray]
"""Steps (T,) and values (T,), or (T, M) of M networks; series of the same steps share them."""


class Stream:
    """Rows of numbers, step by step; steps in a row with the same keys share a block."""

    PACK = 32  # steps that wait as tensors of one element before they are packed into one

    def __init__(self) -> None:
        self.blocks: list[tuple[tuple[Key, ...], list[int], Tensor]] = []  # keys, steps, values (T, K) or (T, K, M)
        self.keys: tuple[Key, ...] = ()
        self.waiting: list[tuple[int, list[Tensor]]] = []
        self._known: dict[tuple[Key, ...], tuple[Key, ...]] = {}  # thousands of blocks share few tuples of keys

    def add(self, step: int, keys: Sequence[Key], values: list[Tensor]) -> None:
        """The values of one step, each () or (M,)."""
        if not values:
            return
        keys = tuple(keys)
        if keys != self.keys or len(self.waiting) == self.PACK:
            self.work_off()
            self.keys = self._known.setdefault(keys, keys)
        self.waiting.append((step, values))

    def add_block(self, steps: list[int], keys: Sequence[Key], values: Tensor) -> None:
        """The values of several steps, (T, K) or (T, K, M)."""
        keys = tuple(keys)
        self.blocks.append((self._known.setdefault(keys, keys), steps, values))

    def work_off(self) -> None:
        waiting, self.waiting = self.waiting, []
        if waiting:
            steps = [step for step, _ in waiting]
            values = join(torch.stack, [value for _, row in waiting for value in row])
            self.blocks.append((self.keys, steps, values.unflatten(0, (len(steps), -1))))

    def read(self) -> dict[Key, Series]:
        """All series, which leave the stream; of two rows of one step the later counts.

        The only place where the host waits for the device.
        """
        self.work_off()
        blocks, self.blocks = self.blocks, []
        found: dict[Key, list[Series]] = {}
        while blocks:
            keys = blocks[0][0]
            alike = blocks[: next((i for i, block in enumerate(blocks) if block[0] is not keys), len(blocks))]
            steps = np.array([step for _, own, _ in alike for step in own])
            values = np.concatenate([block.detach().cpu().numpy() for *_, block in alike])  # (T, K) or (T, K, M)
            del blocks[: len(alike)]
            for k, key in enumerate(keys):
                found.setdefault(key, []).append((steps, values[:, k]))
        return {key: _latest(parts) for key, parts in found.items()}


def _latest(parts: list[Series]) -> Series:
    """Series of one quantity one after the other, by step."""
    steps, values = parts[0] if len(parts) == 1 else map(np.concatenate, zip(*parts, strict=True))
    if np.all(steps[1:] > steps[:-1]):
        return steps, values
    order = np.argsort(steps, kind="stable")
    steps, values = steps[order], values[order]
    keep = np.append(steps[1:] != steps[:-1], True)
    return steps[keep], values[keep]


class UnitLog:
    """The quantities of one function that gives a number for each unit, (H,) or (M, H).

    The units of all layers lie in one vector, and `BLOCK` steps are worked off at once: a few operations for all.
    """

    BLOCK = 16

    def __init__(self, quantities: Sequence[str], window: int) -> None:
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
            self.work_off()
        self.layout = layout
        self.waiting.append((step, join(lambda parts: torch.cat(parts, dim=-1), list(units.values()))))
        self.observed += 1

    def keep(self, members: Tensor) -> None:
        """Go on with the networks for which `members` (M,) is True."""
        self.work_off()
        self.fired = {layer: fired[members] for layer, fired in self.fired.items()}

    def work_off(self) -> None:
        waiting, self.waiting = self.waiting, []
        if not waiting:
            return
        layers, sizes = zip(*self.layout, strict=True)
        values = torch.stack([values for _, values in waiting])  # (T, ..., U)
        joined = {"none": values}
        if any(QUANTITIES[name].reduce != "none" for name in self.quantities):
            joined |= self._silence(values, layers, sizes)
        parts = [joined[QUANTITIES[name].reduce] for name in self.quantities]
        means = torch.stack([p.mean(dim=-1) for q in parts for p in q.to(values).split(sizes, dim=-1)], dim=1)
        keys = tuple((name, layer) for name in self.quantities for layer in layers)
        self.stream.add_block([step for step, _ in waiting], keys, means)

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


class Log:
    """All that the observed steps of one model, or of M networks at once, leave.

    Args:
        quantities: names from `QUANTITIES`; those of scope "network" are the training loop's affair, see `network`.
        window: of the quantities that are joined over a window.
    """

    def __init__(self, quantities: Iterable[str], window: int) -> None:
        quantities = list(dict.fromkeys(quantities))
        self.activation = measure.functions(quantities, "activation")
        self.parameter = measure.functions(quantities, "parameter")
        self.gradient = measure.functions(quantities, "gradient")
        self.update = measure.functions(quantities, "update")
        self.streams = {name: Stream() for name in ("network", "forward", "parameter", "gradient", "update")}
        self.before = Stream()  # the norms of the weights that were updated: nothing is relative to zero
        self.window = window
        self.units: dict[Callable, UnitLog] = {}
        self.room = measure.Room()
        self.begin()

    def network(self, step: int, values: Mapping[str, Tensor]) -> None:
        """What belongs to the whole network, by quantity, each () or (M,)."""
        self.streams["network"].add(step, [(name, "") for name in values], list(values.values()))

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

    def fill(self, records: Sequence[Record], attempt: Callable | None = None) -> None:
        """Move everything into records, one for each network; an update of a layer that was all zero has no row.

        Args:
            attempt: how each stream is read, `attempt(what, method, *arguments)`: what fails costs no other.
        """
        attempt = attempt or (lambda what, method, *args: method(*args))
        for units in self.units.values():
            attempt("the units", units.work_off)
        streams = {"network": self.streams["network"], "activations": self.streams["forward"]} | {
            f"units ({function.__name__})": units.stream for function, units in self.units.items()
        }
        streams |= {f"{name}s": self.streams[name] for name in ("parameter", "gradient")}
        for name, stream in streams.items():
            attempt(f"reading the {name}", self._fill, records, stream)
        attempt("reading the updates", self._fill_updates, records)

    def _fill(self, records: Sequence[Record], stream: Stream) -> None:
        for (quantity, layer), (steps, values) in stream.read().items():
            for record, column in zip(records, values.reshape(len(steps), -1).T, strict=True):
                record.add_series(layer, quantity, steps, column)

    def _fill_updates(self, records: Sequence[Record]) -> None:
        sizes = self.before.read()
        for (quantity, layer), (steps, values) in self.streams["update"].read().items():
            columns, kept = values.reshape(len(steps), -1).T, sizes["", layer][1].reshape(len(steps), -1).T != 0
            for record, column, keep in zip(records, columns, kept, strict=True):
                if keep.any():
                    record.add_series(layer, quantity, steps[keep], column[keep])

    def keep(self, members: Tensor) -> None:
        """Go on with the networks for which `members` (M,) is True, after `fill`."""
        for units in self.units.values():
            units.keep(members)


def join(how: Callable[[list[Tensor]], Tensor], parts: Sequence[Tensor]) -> Tensor:
    """`how` of tensors that may lie on several devices."""
    if len({part.device for part in parts}) > 1:  # a model spread over several devices
        parts = [part.to(parts[0].device, non_blocking=True) for part in parts]
    return how(list(parts))
