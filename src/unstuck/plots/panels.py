"""What makes several curves one figure: a panel a setting, reference lines, names at the curves."""

from collections.abc import Iterable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from unstuck.arguments import flag, instance, names, real, whole
from unstuck.plots.colours import INK
from unstuck.plots.drawing import checked_colour
from unstuck.plots.series import need
from unstuck.plots.style import label_of


def panels(
    titles: Iterable[str], *, columns: int = 2, height: float = 2.4, sharex: bool = True, sharey: bool = True
) -> dict[str, Axes]:
    """A new figure with a panel for each title; returns `{title: axes}`.

    Args:
        titles: an activation, a scheme (each is written by its label) or any text, row by row.
        columns: panels in a row; places left over at the end stay empty.
        height: of a row, in inches.
        sharex, sharey: whether all panels have one x axis, one y axis. What this module draws then labels only the
            outer ones.
    """
    titles = names("titles", titles)
    need(titles, "titles", "one title")
    if len(set(titles)) < len(titles):
        raise ValueError(f"titles: expected different ones, got {list(titles)}")
    sharex, sharey = flag("sharex", sharex), flag("sharey", sharey)
    columns = min(whole("columns", columns), len(titles))
    rows = -(-len(titles) // columns)
    size = plt.rcParams["figure.figsize"][0], 0.6 + real("height", height, above=0) * rows
    grid = plt.figure(figsize=size).subplots(rows, columns, sharex=sharex, sharey=sharey, squeeze=False)
    for ax in grid.flat[len(titles) :]:
        ax.remove()
    for ax in grid.flat[max(0, len(titles) - columns) : len(titles)]:  # the lowest of their columns
        ax.tick_params(labelbottom=True)
    found = dict(zip(titles, grid.flat, strict=False))
    for title, ax in found.items():
        ax.set_title(label_of(title))
    return found


def reference(ax: Axes, text: str = "", *, x: float | None = None, y: float | None = None, colour: str = INK) -> Axes:
    """A dotted line across `ax` at x or at y, with a word on it: what theory gives, what a guess costs."""
    instance("ax", ax, Axes, "matplotlib Axes")
    instance("text", text, str, "a text")
    checked_colour(colour)
    if (x is None) == (y is None):
        raise ValueError(f"x, y: give exactly one, got x={x}, y={y}")
    at = real("x", x) if y is None else real("y", y)
    line: dict[str, Any] = {"color": colour, "linestyle": ":", "linewidth": 1.3, "zorder": 1.8, "gid": "reference"}
    word: dict[str, Any] = {"textcoords": "offset points", "color": colour, "fontsize": "small", "ha": "right"}
    if y is None:
        ax.axvline(at, **line)
        ax.annotate(text, (at, 1), (-2, -3), xycoords=ax.get_xaxis_transform(), va="top", rotation=90, **word)
    else:
        ax.axhline(at, **line)
        ax.annotate(text, (1, at), (-3, 2), xycoords=ax.get_yaxis_transform(), va="bottom", **word)
    return ax


def label_curves(ax: Axes) -> Axes:
    """Write each curve's label at its right end, and take the legend away.

    Call it last, when scales and limits are set: a label stands at the height of its curve's last point, moved as
    little as keeps it off its neighbours, and a line in the curve's colour leads to it.
    """
    instance("ax", ax, Axes, "matplotlib Axes")
    lines = [line for line in ax.lines if not str(line.get_label()).startswith("_") and np.size(line.get_xdata())]
    labels = [str(line.get_label()) for line in lines]
    need(lines, "ax", "one curve with a label")
    if (legend := ax.get_legend()) is not None:
        legend.remove()
    ax.figure.figure.draw_without_rendering()  # limits and layout, which the places of the labels depend on
    ends = np.array([_end(ax, line) for line in lines])  # (n, 2)
    size = plt.rcParams["font.size"] * 0.9
    row = size * 1.25 / 72 * ax.figure.dpi / ax.get_window_extent().height  # of text, in heights of the axes
    middles = _apart(ends[:, 1], np.array([row * (label.count("\n") + 1) for label in labels]))
    place: dict[str, Any] = {"xycoords": "axes fraction", "annotation_clip": False, "va": "center"}
    leader: dict[str, Any] = {"arrowstyle": "-", "linewidth": 1.4, "relpos": (0, 0.5), "shrinkA": 2, "shrinkB": 0}
    for line, label, end, middle in zip(lines, labels, ends, middles, strict=True):
        look = leader | {"color": line.get_color(), "linestyle": line.get_linestyle()}
        ax.annotate(label, end, (1.04, middle), fontsize=size, arrowprops=look, textcoords="axes fraction", **place)
    return ax


def _end(ax: Axes, line: Line2D) -> tuple[float, float]:
    """Where a curve's last point that can be seen stands, in widths and heights of the axes."""
    points = np.column_stack(np.broadcast_arrays(line.get_xdata(), line.get_ydata())).astype(float)
    with np.errstate(invalid="ignore"):
        places = ax.transAxes.inverted().transform(line.get_transform().transform(points))
    places = places[np.isfinite(places).all(axis=1) & (places[:, 0] <= 1 + 1e-9)]
    x, y = places[np.argmax(places[:, 0])] if len(places) else (1.0, 0.0)
    return float(x), float(np.clip(y, 0, 1))


def _apart(wanted: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """Middles (n,) between 0 and 1 as near to the wanted ones as lets texts of these heights not overlap.

    With each text's own place in a stack taken off, the middles need only be increasing: isotonic regression.
    """
    from scipy.optimize import isotonic_regression  # here, because importing it takes longer than everything else

    order = np.argsort(wanted, kind="stable")
    stack = np.cumsum(heights[order]) - heights[order] / 2
    free = isotonic_regression(wanted[order] - stack).x
    middles = np.empty(len(wanted))
    middles[order] = np.clip(free, 0, max(0.0, 1 - heights.sum())) + stack
    return middles
