"""The one normaliser: whatever a figure is given becomes labelled numbers, a run a row.

A Record, a Run, Runs and lists of either are runs; everything else is an array. A mapping labels several of these.
Runs that share one row or band may differ in their seed alone: a mean over learning rates would be one of nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from unstuck.arguments import instance, names, short
from unstuck.record import Record, Run, Runs


@dataclass(frozen=True)
class Curves:
    """Runs drawn as one: x (T,), y (S, T) with a run a row, and which of the S ended early.

    `stopped` is None through the layers of networks: there a run has no end.
    """

    x: np.ndarray
    y: np.ndarray
    stopped: np.ndarray | None = None


# what is given ------------------------------------------------------------------------------------------------


def floats(values: Any, name: str, ndim: int | None = None) -> np.ndarray:
    """`values` as an array of at least one number, what is masked as NaN."""
    if values is None:  # which NumPy takes for NaN
        raise TypeError(f"{name}: expected numbers, got None")
    try:
        array = np.ma.filled(np.ma.asarray(values, dtype=np.float64), np.nan)
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: a tensor that requires a gradient
        raise TypeError(f"{name}: expected numbers, got {short(values)} ({error})") from error
    if array.size == 0:
        raise ValueError(f"{name}: expected at least one number, got none")
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"{name}: expected {ndim} dimension{'s' * (ndim > 1)}, got shape {array.shape}")
    return array


def need(values: Any, name: str, what: str) -> None:
    """A ValueError where there is nothing to draw."""
    if len(values) == 0:
        raise ValueError(f"{name}: expected at least {what}, got none")


def labelled(values: Any, name: str, what: str = "one name") -> dict[str, tuple[str, Any]]:
    """Each entry of a mapping by its label, or `values` by ""; with what an error calls the entry."""
    if not isinstance(values, Mapping):
        return {"": (name, values)}
    need(values, name, what)
    return {label: (f"{name}[{label!r}]", values[label]) for label in names(name, values)}


def steps_of(steps: Any, n: int, name: str = "steps") -> np.ndarray:
    """The n steps, or positions, at which something was measured; None counts from 0."""
    steps = np.arange(n) if steps is None else np.asarray(steps)
    if steps.dtype.kind not in "iuf":
        raise TypeError(f"{name}: expected numbers, got {short(steps.tolist())}")
    if steps.shape != (n,):
        raise ValueError(f"{name}: expected shape ({n},), got {steps.shape}")
    return steps


def runs_of(values: Any, name: str) -> Runs | None:
    """`as_runs` of what may differ in the seed alone."""
    runs = as_runs(values, name)
    return None if runs is None else alike(runs, name)


def as_runs(values: Any, name: str) -> Runs | None:
    """A Record, a Run, Runs or a list of either as Runs; None for what is none, TypeError for a list of more."""
    values = [values] if isinstance(values, Record | Run) else values
    if not isinstance(values, Sequence) or not any(isinstance(each, Record | Run) for each in values):
        return None
    for each in values:
        instance(name, each, (Record, Run), "Records and Runs only")
    return Runs(each if isinstance(each, Run) else Run({}, each) for each in values)


def alike(runs: Runs, name: str, may_vary: Sequence[str] = ("seed",)) -> Runs:
    """The runs themselves; a ValueError where they differ in a setting that is not among `may_vary`."""
    varied = [setting for setting in runs.axes if setting not in may_vary]
    if varied:
        expected, cure = " and ".join(may_vary), "choose with where(), or give {label: runs.where(...)}"
        found = " and ".join(varied)
        raise ValueError(f"{name}: expected runs that differ in {expected} alone, these differ in {found}; {cure}")
    return runs


# what is drawn ------------------------------------------------------------------------------------------------


def over_steps(
    values: Any, name: str, quantity: str | None, layer: str | None = None, steps: Any = None, where: str = "steps"
) -> Curves:
    """Curves against the training step, of runs or of an array (S, T); `where` is what the caller calls `steps`."""
    runs = runs_of(values, name)
    if runs is None:
        y = floats(values, name, ndim=2)
        return Curves(steps_of(steps, y.shape[1], where), y, ~np.isfinite(y[:, -1]))
    if quantity is None:
        raise ValueError("quantity: needed with Records and Runs, got None")
    if steps is not None:
        raise ValueError(f"{where}: Records and Runs bring their own, got {short(steps)}")
    with _naming(name, "layer"):
        x, y = runs.curves(quantity, layer)
    y = y.reshape(len(runs), -1)
    return Curves(x, y, ~np.isfinite(y[:, -1]) | [run.record.stopped is not None for run in runs])


def through_layers(values: Any, name: str, quantity: str, step: int | None = None) -> tuple[list[str], np.ndarray]:
    """The layers (L,) of a network, and its values (S, L); of runs, `{layer: number}`, an array (L,) or (S, L).

    `step`: of the runs; None is each one's last recorded.
    """
    runs = runs_of(values, name)
    if runs is not None:
        known = [layer for layer in runs[0].record.layers(quantity) if layer]
        need(known, name, f"one layer with {quantity!r}")
        with _naming(name, "step"):
            return known, np.array([[_at(run.record, quantity, layer, step) for layer in known] for run in runs])
    if isinstance(values, Mapping):
        need(values, name, "one layer")
        return list(names(name, values)), floats(list(values.values()), name, ndim=1)[None]
    y = np.atleast_2d(floats(values, name))
    if y.ndim > 2:
        raise ValueError(f"{name}: expected shape (L,) or (S, L), got {y.shape}")
    return [f"layer{i}" for i in range(1, y.shape[1] + 1)], y


def is_network(values: Any) -> bool:
    """Whether it is one network by itself, `{layer: number}` too, and not `{name: network}`."""
    several = Record | Run | Mapping | Sequence
    return not isinstance(values, Mapping) or not any(isinstance(v, several) or np.ndim(v) for v in values.values())


def at_the_end(values: Any, name: str, quantity: str) -> np.ndarray:
    """One number a seed (S,): given as such, or the last of each run, NaN where it stopped."""
    runs = runs_of(values, name)
    if runs is None:
        return floats(values, name, ndim=1)
    with _naming(name):
        return runs.last(quantity).ravel()


def said_lost(values: np.ndarray) -> str:
    """ "2 of 5 NaN" for values (S,) of which some are not finite; "" where all are."""
    lost = values[~np.isfinite(values)]
    return f"{len(lost)} of {len(values)} {'NaN' if np.isnan(lost).all() else 'not finite'}" if len(lost) else ""


def _at(record: Record, quantity: str, layer: str, step: int | None) -> float:
    steps, values = record.get(quantity, layer)
    if step is None:
        return values[-1]
    if step not in steps:
        recorded = f"was recorded from {steps[0]} to {steps[-1]}"
        raise ValueError(f"step: {quantity!r} of {layer!r} {recorded}, not at {step}")
    return values[steps == step][0]


@contextmanager
def _naming(name: str, also: str = "") -> Iterator[None]:
    """What Runs and Records object to, said of our argument: they know neither its name nor the label.

    `also`: another argument of ours, which their own error may name.
    """
    try:
        yield
    except ValueError as error:
        joint = ", " if also and str(error).startswith(f"{also}:") else ": "
        raise ValueError(f"{name}{joint}{str(error).removeprefix('runs: ')}") from error
