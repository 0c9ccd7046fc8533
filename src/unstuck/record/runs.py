"""`Run` and `Runs`: the records of a grid of trainings, as arrays along the grid's own axes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, SupportsIndex, overload

import numpy as np

from unstuck import arguments
from unstuck.arguments import instance
from unstuck.record.record import Record


@dataclass(frozen=True)
class Run:
    """One training: its settings by name, its `Record`, and the model as training left it."""

    settings: dict[str, Any]
    record: Record
    model: Any = None

    def __post_init__(self) -> None:
        instance("settings", self.settings, Mapping, "a dict")
        instance("record", self.record, Record, "a Record")

    def __repr__(self) -> str:
        return f"Run({self.settings}, {self.record!r})"


class Runs(list[Run]):
    """A list of `Run`s that knows the axes of its grid.

    An axis is a setting that varies. Arrays have one axis for each, in the order of the settings, where the runs
    are the full product of these values in that order; otherwise they have shape (n,), a number a run.
    """

    def __init__(self, runs: Iterable[Run] = ()) -> None:
        super().__init__(instance("runs", runs, Iterable, "a sequence of Runs"))
        for i, run in enumerate(self):
            if not isinstance(run, Run):
                raise TypeError(f"runs: expected a Run, got {type(run).__name__} at {i}")

    @overload
    def __getitem__(self, index: SupportsIndex) -> Run: ...

    @overload
    def __getitem__(self, index: slice) -> Runs: ...

    def __getitem__(self, index: SupportsIndex | slice) -> Run | Runs:
        """One run, or of a slice the Runs."""
        return Runs(super().__getitem__(index)) if isinstance(index, slice) else super().__getitem__(index)

    @property
    def axes(self) -> dict[str, list]:
        """Each setting that varies, with its values in order of first appearance."""
        found: dict[str, list] = {}
        for run in self:
            for name, value in run.settings.items():
                values = found.setdefault(name, [])
                if not any(_same(value, known) for known in values):
                    values.append(value)
        return {name: values for name, values in found.items() if len(values) > 1}

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the axes; (n,) where the runs are no full product."""
        axes = self.axes
        shape = tuple(len(values) for values in axes.values())
        places = itertools.product(*axes.values()) if axes and math.prod(shape) == len(self) else ()
        full = [_has(run, zip(axes, place, strict=True)) for run, place in zip(self, places, strict=False)]
        return shape if full and all(full) else (len(self),)

    def where(self, **settings: Any) -> Runs:
        """Those with these settings; a ValueError names what none has."""
        found = Runs(self)
        for name, value in settings.items():
            known = [run.settings.get(name) for run in found]
            found = Runs(run for run in found if _has(run, [(name, value)]))
            if not found:
                distinct = list(dict.fromkeys(map(repr, known)))
                raise ValueError(f"{name}: no run has {value!r}; there are {', '.join(distinct)}")
        return found

    def last(self, quantity: str, layer: str | None = None, over: int = 1) -> np.ndarray:
        """The mean of each run's last `over` values, shaped by the axes; NaN for a run that stopped.

        A plain mean over seeds is then NaN, which hides those that are left, and `np.nanmean` alone hides those that
        are lost: give the mean of the former with the number of the latter, `np.nanmean(values, axis=-1)` with
        `np.isnan(values).sum(axis=-1)`.
        """
        return self.each(lambda run: run.record.last(quantity, layer, over) if run.record.stopped is None else np.nan)

    def curves(self, quantity: str, layer: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Steps (T,), and values shaped by the axes and (T,) last; NaN after a run stopped."""
        if not self:
            raise ValueError("runs: expected at least one, got none")
        found = [_series(run.record, quantity, layer) for run in self]
        steps = max((steps for steps, _ in found), key=len)
        values = np.full((len(self), len(steps)), np.nan)
        for i, (own, series) in enumerate(found):
            ended = len(own) == len(steps) or self[i].record.stopped is not None
            if not (ended and np.array_equal(own, steps[: len(own)])):
                raise ValueError(f"runs: expected {quantity!r} at the same steps in all, run {i} differs")
            values[i, : len(own)] = series
        return steps, values.reshape(*self.shape, len(steps))

    def each(self, function: Callable[[Run], float]) -> np.ndarray:
        """A function of each run, shaped by the axes: `runs.each(lambda run: accuracy(run.model, x, y))`."""
        if not self:
            raise ValueError("runs: expected at least one, got none")
        arguments.function("function", function, "run")
        values = np.array([function(run) for run in self])
        return values.reshape(*self.shape, *values.shape[1:])

    def __repr__(self) -> str:
        axes = " x ".join(f"{len(values)} {name}" for name, values in self.axes.items())
        return f"Runs({len(self)}{': ' + axes if axes else ''})"


def _series(record: Record, quantity: str, layer: str | None) -> tuple[np.ndarray, np.ndarray]:
    if record.stopped is not None and quantity not in record.quantities():  # stopped before the first row
        return np.empty(0, dtype=np.int64), np.empty(0)
    return record.get(quantity, layer)


def _has(run: Run, settings: Iterable[tuple[str, Any]]) -> bool:
    return all(name in run.settings and _same(run.settings[name], value) for name, value in settings)


def _same(a: Any, b: Any) -> bool:
    """Whether two settings are one value; True is not 1, and what cannot be compared is the same only as itself."""
    if a is b:
        return True
    if isinstance(a, bool) != isinstance(b, bool):
        return False
    try:
        return bool(a == b)
    except Exception:  # an array, a tensor: their == is no yes or no
        return False
