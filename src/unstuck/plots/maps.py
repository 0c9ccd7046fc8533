"""Maps: the units of a layer over time, and a quantity over two settings of a grid."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.ticker import MaxNLocator, NullLocator

from unstuck.arguments import choice, real, short
from unstuck.plots.drawing import axes_of, name_axes
from unstuck.plots.series import floats, one_record, runs_of, steps_of
from unstuck.plots.style import DIVERGING, INK, RUST, SEQUENTIAL, axis_label, label_of, quantity_row
from unstuck.record import Runs

Scale = Literal["linear", "log"]


def unit_heatmap(
    values: Any,
    layer: str | None = None,
    quantity: str = "zero_fraction",
    *,
    steps: Any = None,
    ax: Axes | None = None,
) -> Axes:
    """A layer's units over time: steps on x, units (from 1) on y, the value as colour, with a labelled colour bar.

    Args:
        values: an array (T, H), or a Record or a Run with arrays `(step, layer, quantity)` of shape (H,).
        layer: of the Record.
        quantity: what is shown, a name in `QUANTITIES`.
        steps: (T,) of an array; None counts from 0.

    Zero is the colour of the paper, what is not finite is grey. Fractions have the scale 0 to 1, values of both
    signs one that is symmetric about zero. A fraction of zeros of exactly 1, the unit did not fire at all, is rust.
    """
    fraction = quantity_row(quantity).unit == "fraction"
    record = one_record(values, "values")
    if record is not None:
        arrays = {step: a for (step, at, q), a in record.arrays.items() if at == layer and q == quantity}
        if not arrays:
            known = sorted({(at, q) for _, at, q in record.arrays})
            raise ValueError(f"layer, quantity: no arrays for {(layer, quantity)}; there are {known}")
        steps = sorted(arrays)
        values = [arrays[step] for step in steps]
    grid = floats(values, "values", ndim=2)
    x = _increasing(steps_of(steps, len(grid)), "steps")
    shown = np.ma.masked_invalid(grid)
    top = 1.0 if fraction or not shown.any() else float(np.abs(shown).max())
    signed = bool((shown.filled(0) < 0).any())
    silent = quantity == "zero_fraction"

    ax = axes_of(ax)
    mesh = ax.pcolormesh(
        cell_edges(x),
        np.arange(grid.shape[1] + 1) + 0.5,
        shown.T,
        cmap=DIVERGING if signed else SEQUENTIAL,
        vmin=-top if signed else 0.0,
        vmax=top - 1e-9 if silent else top,  # just below 1, so that 1 itself is over it
        rasterized=True,
    )
    _frame(ax)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    name_axes(ax, "step", f"unit of {layer}" if layer else "unit")
    label = axis_label(quantity) + (" (tip: all)" if silent else "")
    ax.figure.colorbar(mesh, ax=ax, label=label, pad=0.02, extend="max" if silent else "neither")
    return ax


def grid_map(
    values: Any,
    x: str | Sequence,
    y: str | Sequence,
    *,
    quantity: str | None = None,
    layer: str | None = None,
    xscale: Scale = "linear",
    yscale: Scale = "linear",
    limits: tuple[float, float] | None = None,
    colourbar: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """A quantity over two settings of a grid: a cell a pair, in it the number of seeds that were lost.

    The colour is the mean over the seeds that are finite; where there is none, the cell is rust.

    Args:
        values: Runs that vary in x, y and their seed alone, of which the last `quantity` is shown (a run that stopped
            is lost); or an array (X, Y) or (X, Y, S), NaN where a seed was lost.
        x, y: names of settings of the Runs; the coordinates (X,) and (Y,) of an array. Numbers stand where they are
            on their axis, each cell reaching halfway to its neighbours; those of an array must increase. Texts stand
            in their order, on y from the top.
        quantity: a name in `QUANTITIES`, for the colour bar; fractions have the scale 0 to 1.
        layer: of the Runs.
        xscale, yscale: "linear" or "log"; halfway is then in the logarithm.
        limits: (low, high) of the colours; None is 0 to 1 for a fraction, else those of the means.
        colourbar: whether to draw one. For several panels give all the same `limits` and draw a single one,
            `fig.colorbar(ax.collections[0], ax=axes)`.

    Raises:
        ValueError: Runs that vary in something else or have gaps; coordinates that do not fit array or scale.
    """
    fraction = quantity is not None and quantity_row(quantity).unit == "fraction"
    settings = [name for name in (x, y) if isinstance(name, str)]
    runs = runs_of(values, "values", may_vary=(*settings, "seed"))
    if runs is not None:
        array, x_values, y_values = _of_runs(runs, x, y, quantity, layer)
    else:
        array, x_values, y_values = floats(values, "values"), _listed(x, "x"), _listed(y, "y")
        if array.ndim not in (2, 3) or array.shape[:2] != (len(x_values), len(y_values)):
            raise ValueError(
                f"values: expected shape ({len(x_values)}, {len(y_values)}) or with seeds last, got {array.shape}"
            )
        array = array.reshape(*array.shape[:2], -1)
    sides = _Side(x_values, "x", xscale), _Side(y_values, "y", yscale)
    lost = (~np.isfinite(array)).sum(axis=2)
    mean = np.ma.masked_invalid(array).mean(axis=2)
    low, high = _colour_limits(limits, mean, fraction)

    ax = axes_of(ax)
    colours = SEQUENTIAL.with_extremes(bad=RUST, under=SEQUENTIAL(0.0), over=SEQUENTIAL(1.0))
    mesh = ax.pcolormesh(*(side.edges for side in sides), mean.T, cmap=colours, vmin=low, vmax=high, rasterized=True)
    ground = mesh.to_rgba(mean)  # (X, Y, 4)
    for i, j in np.argwhere(lost) if array.shape[2] > 1 else ():
        style = {"ha": "center", "va": "center", "fontsize": "small", "color": _readable_on(ground[i, j])}
        ax.text(sides[0].centres[i], sides[1].centres[j], str(lost[i, j]), **style)
    for side in sides:
        side.dress(ax)
    _frame(ax)
    if runs is not None:
        name_axes(ax, x, y)
    if colourbar:
        label = axis_label(quantity) if quantity is not None else ""
        if lost.any():
            seeds = array.shape[2]
            label += f"\n(digits: lost of {seeds} seeds; rust: all)" if seeds > 1 else "\n(rust: lost)"
        ax.figure.colorbar(mesh, ax=ax, label=label.strip(), pad=0.02)
    return ax


def cell_edges(centres: np.ndarray, log: bool = False) -> np.ndarray:
    """The T + 1 borders of cells around increasing centres (T,): halfway, in the logarithm if `log`."""
    at = np.log(centres) if log else np.asarray(centres, dtype=np.float64)
    if len(at) == 1:
        edges = at[0] + np.array([-0.5, 0.5])
    else:
        edges = np.concatenate([[1.5 * at[0] - 0.5 * at[1]], (at[1:] + at[:-1]) / 2, [1.5 * at[-1] - 0.5 * at[-2]]])
    return np.exp(edges) if log else edges


class _Side:
    """One axis of a map: where its cells lie, and how it is labelled."""

    def __init__(self, values: list, name: str, scale: str):
        self.name, self.scale = name, choice(f"{name}scale", scale, ("linear", "log"))
        self.texts: list[str] | None = None
        if _numeric(values):
            self.centres = _increasing(floats(values, name, ndim=1), name)
            if scale == "log" and self.centres[0] <= 0:
                raise ValueError(f"{name}scale: a logarithmic axis has no place for {self.centres[0]:g}")
        elif scale == "log":
            raise ValueError(f"{name}scale: texts have no logarithm, got {short(values)}")
        else:
            self.texts, self.centres = [label_of(str(value)) for value in values], np.arange(len(values))
        self.edges = cell_edges(self.centres, log=scale == "log")

    def dress(self, ax: Axes) -> None:
        """Scale, limits and, where there are few values, a tick at each."""
        ax.set(**{f"{self.name}scale": self.scale})
        top_down = self.texts is not None and self.name == "y"
        ax.set(**{f"{self.name}lim": self.edges[[-1, 0] if top_down else [0, -1]]})
        if self.texts is not None or len(self.centres) <= 6:
            axis = getattr(ax, f"{self.name}axis")
            axis.set_ticks(self.centres, self.texts or [f"{value:.3g}" for value in self.centres])
            axis.set_minor_locator(NullLocator())


def _of_runs(runs: Runs, x: Any, y: Any, quantity: str | None, layer: str | None) -> tuple[np.ndarray, list, list]:
    """The last values (X, Y, S) of Runs, and what they have for x and y, numbers increasing."""
    if quantity is None:
        raise ValueError("quantity: needed with Runs, got None")
    axes = runs.axes
    choice("x", x, axes)
    choice("y", y, [axis for axis in axes if axis != x])
    if runs.shape != tuple(map(len, axes.values())):
        raise ValueError(f"values: expected every pair of {x} and {y} with every seed, got {runs!r} with gaps")
    order = list(axes)
    array = np.moveaxis(runs.last(quantity, layer), (order.index(x), order.index(y)), (0, 1))
    array = array.reshape(*array.shape[:2], -1)
    found = []
    for k, name in enumerate((x, y)):
        values = axes[name]
        rank = np.argsort(values) if _numeric(values) else np.arange(len(values))
        array = np.take(array, rank, axis=k)
        found.append([values[i] for i in rank])
    return array, *found


def _listed(values: Any, name: str) -> list:
    if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray):
        raise TypeError(f"{name}: expected the coordinates of an array, got {short(values)}")
    return list(values)


def _numeric(values: Sequence) -> bool:
    return all(isinstance(value, Real) and not isinstance(value, bool | np.bool_) for value in values)


def _increasing(x: np.ndarray, name: str) -> np.ndarray:
    if not (np.diff(x) > 0).all():
        raise ValueError(f"{name}: expected increasing numbers, got {short(x.tolist())}")
    return x


def _colour_limits(limits: Any, mean: np.ma.MaskedArray, fraction: bool) -> tuple[float, float]:
    if limits is not None:
        if np.shape(limits) != (2,):
            raise ValueError(f"limits: expected (low, high), got {short(limits)}")
        low = real("limits", limits[0])
        return low, real("limits", limits[1], above=low)
    if fraction or not mean.count():
        return 0.0, 1.0
    return float(mean.min()), float(mean.max())


def _readable_on(colour: np.ndarray) -> str:
    """White or ink, whichever has the greater contrast (WCAG 2) with a colour (RGBA)."""

    def luminance(rgb: Any) -> float:
        c = np.array(rgb)
        return float(np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])

    ground = luminance(colour[:3]) + 0.05
    return "white" if 1.05 / ground > ground / (luminance(to_rgb(INK)) + 0.05) else INK


def _frame(ax: Axes) -> None:
    ax.grid(False)
    ax.spines[:].set_visible(True)
