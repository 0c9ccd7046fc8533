"""Maps: the units of a layer over time, and a quantity over two settings of a grid."""

from collections.abc import Sequence
from numbers import Real
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.ticker import MaxNLocator, NullLocator

from unstuck.arguments import choice, flag, real, short
from unstuck.plots.colours import BLUE, GREY, INK, MAROON, PAPER, RUST
from unstuck.plots.drawing import axes_of, name_axes
from unstuck.plots.series import alike, as_runs, floats, runs_of, steps_of
from unstuck.plots.style import axis_label, label_of, quantity_row
from unstuck.record import Runs

BLUES = (PAPER, "#a9cbe6", BLUE, "#0b2a4a")
SEQUENTIAL = LinearSegmentedColormap.from_list("unstuck", BLUES).with_extremes(bad=GREY, over=RUST)
DIVERGING = LinearSegmentedColormap.from_list("unstuck2", (MAROON, RUST, "#e9b893", *BLUES)).with_extremes(bad=GREY)

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
    fraction, silent = quantity_row(quantity).unit == "fraction", quantity == "zero_fraction"
    runs = runs_of(values, "values")
    if runs is not None:
        if len(runs) > 1:
            raise ValueError(f"values: expected one run, got {len(runs)}")
        arrays = runs[0].record.arrays
        found = {step: array for (step, at, of), array in arrays.items() if (at, of) == (layer, quantity)}
        if not found:
            known = sorted({(at, of) for _, at, of in arrays})
            raise ValueError(f"values, layer, quantity: no arrays for {(layer, quantity)}; there are {known}")
        steps = sorted(found)
        values = [found[step] for step in steps]
    grid = np.ma.masked_invalid(floats(values, "values", ndim=2))
    x, y = cell_edges(_increasing(steps_of(steps, len(grid)), "steps")), np.arange(grid.shape[1] + 1) + 0.5
    top = 1.0 if fraction or not grid.any() else float(np.abs(grid).max())
    low, colours = (-top, DIVERGING) if (grid.filled(0) < 0).any() else (0.0, SEQUENTIAL)
    look = {"cmap": colours, "vmin": low, "vmax": top - 1e-9 if silent else top}  # below 1: 1 itself is over it

    ax = axes_of(ax)
    label = axis_label(quantity) + (" (tip: all)" if silent else "")
    _mesh(ax, x, y, grid, look, label=label, extend="max" if silent else "neither")
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    name_axes(ax, "step", f"unit of {layer}" if layer else "unit")
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
    flag("colourbar", colourbar)
    runs = as_runs(values, "values")
    if runs is not None:
        array, x_values, y_values = _of_runs(runs, x, y, quantity, layer)
    else:
        array, x_values, y_values = floats(values, "values"), _listed(x, "x"), _listed(y, "y")
        if array.ndim not in (2, 3) or array.shape[:2] != (len(x_values), len(y_values)):
            shape = len(x_values), len(y_values)
            raise ValueError(f"values, x, y: expected values of shape {shape} or with seeds last, got {array.shape}")
        array = array.reshape(*array.shape[:2], -1)
    sides = _Side(x_values, "x", xscale), _Side(y_values, "y", yscale)
    seeds, lost = array.shape[2], (~np.isfinite(array)).sum(axis=2)
    mean = np.ma.masked_invalid(array).mean(axis=2)
    look = _colour_limits(limits, mean, fraction)

    ax = axes_of(ax)
    label = None if not colourbar else axis_label(quantity) if quantity is not None else ""
    if colourbar and lost.any():
        label = f"{label}\n(digits: lost of {seeds} seeds; rust: all)" if seeds > 1 else f"{label}\n(rust: lost)"
    look["cmap"] = SEQUENTIAL.with_extremes(bad=RUST, under=SEQUENTIAL(0.0), over=SEQUENTIAL(1.0))
    ground = _mesh(ax, sides[0].edges, sides[1].edges, mean, look, label=label).to_rgba(mean)  # (X, Y, 4)
    for i, j in np.argwhere(lost) if seeds > 1 else ():
        place, colour = (sides[0].centres[i], sides[1].centres[j]), _readable_on(ground[i, j])
        ax.text(*place, str(lost[i, j]), ha="center", va="center", fontsize="small", color=colour)
    for side in sides:
        side.dress(ax)
    if runs is not None:
        name_axes(ax, str(x), str(y))
    return ax


def cell_edges(centres: np.ndarray, log: bool = False) -> np.ndarray:
    """The T + 1 borders of cells around increasing centres (T,): halfway, in the logarithm if `log`."""
    at = np.log(centres) if log else np.asarray(centres, dtype=np.float64)
    half = np.diff(at) / 2 if len(at) > 1 else np.array([0.5])
    edges = np.concatenate([[at[0] - half[0]], at[:-1] + half[: len(at) - 1], [at[-1] + half[-1]]])
    return np.exp(edges) if log else edges


class _Side:
    """One axis of a map: where its cells lie, and how it is labelled."""

    def __init__(self, values: list, name: str, scale: str) -> None:
        self.name, self.scale = name, choice(f"{name}scale", scale, ("linear", "log"))
        self.texts = None if _numeric(values) else [label_of(str(value)) for value in values]
        if self.texts and scale == "log":
            raise ValueError(f"{name}scale: texts have no logarithm, got {short(values)}")
        self.centres = _increasing(floats(range(len(values)) if self.texts else values, name, ndim=1), name)
        if scale == "log" and self.centres[0] <= 0:
            raise ValueError(f"{name}scale: a logarithmic axis has no place for {self.centres[0]:g}")
        self.edges = cell_edges(self.centres, log=scale == "log")

    def dress(self, ax: Axes) -> None:
        """Scale, limits and, where there are few values, a tick at each."""
        top_down = self.texts is not None and self.name == "y"
        ax.set(**{f"{self.name}scale": self.scale})
        ax.set(**{f"{self.name}lim": self.edges[[-1, 0] if top_down else [0, -1]]})
        if self.texts or len(self.centres) <= 6:
            axis = ax.xaxis if self.name == "x" else ax.yaxis
            axis.set_ticks(self.centres, self.texts or [f"{value:.3g}" for value in self.centres])
            axis.set_minor_locator(NullLocator())


def _mesh(
    ax: Axes, x: np.ndarray, y: np.ndarray, values: np.ndarray, look: dict, label: str | None, **bar: Any
) -> QuadMesh:
    """Cells (X, Y) between borders x (X + 1,) and y (Y + 1,), with a colour bar unless its label is None."""
    mesh = ax.pcolormesh(x, y, values.T, rasterized=True, **look)
    ax.grid(False)
    ax.spines[:].set_visible(True)
    if label is not None:
        ax.figure.colorbar(mesh, ax=ax, label=label.strip(), pad=0.02, **bar)
    return mesh


def _of_runs(runs: Runs, x: Any, y: Any, quantity: str | None, layer: str | None) -> tuple[np.ndarray, list, list]:
    """The last values (X, Y, S) of Runs, and what they have for x and y, numbers increasing."""
    if quantity is None:
        raise ValueError("quantity: needed with Runs, got None")
    axes = runs.axes
    choice("x", x, axes)
    choice("y", y, [axis for axis in axes if axis != x])
    alike(runs, "values", may_vary=tuple(dict.fromkeys((x, y, "seed"))))
    if runs.shape != tuple(map(len, axes.values())):
        raise ValueError(f"values: expected every pair of {x} and {y} with every seed, got {runs!r} with gaps")
    ranks = [np.argsort(axes[name]) if _numeric(axes[name]) else np.arange(len(axes[name])) for name in (x, y)]
    array = np.moveaxis(runs.last(quantity, layer), [list(axes).index(name) for name in (x, y)], (0, 1))[
        np.ix_(*ranks)
    ]
    x_values, y_values = ([axes[name][i] for i in rank] for name, rank in zip((x, y), ranks, strict=True))
    return array.reshape(*array.shape[:2], -1), x_values, y_values


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


def _colour_limits(limits: Any, mean: np.ma.MaskedArray, fraction: bool) -> dict[str, Any]:
    if limits is None:
        limits = (0.0, 1.0) if fraction or not mean.count() else (mean.min(), mean.max())
    elif np.shape(limits) != (2,):
        raise ValueError(f"limits: expected (low, high), got {short(limits)}")
    else:
        real("limits", limits[1], above=real("limits", limits[0]))
    return {"vmin": float(limits[0]), "vmax": float(limits[1])}


def _readable_on(colour: np.ndarray) -> str:
    """White or ink, whichever has the greater contrast (WCAG 2) with a colour (RGBA)."""
    c = np.array([colour[:3], to_rgb(INK)])
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    ground, ink = linear @ [0.2126, 0.7152, 0.0722] + 0.05  # luminances
    return "white" if 1.05 / ground > ground / ink else INK
