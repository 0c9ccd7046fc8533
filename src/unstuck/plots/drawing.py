"""What every curve is drawn with: mean and band, marks for what cannot be drawn, axis labels, the legend.

What is not finite is never drawn as if it were: a curve that ends there ends in a cross. A zero has no place on a
logarithmic axis: it is a triangle on the edge.
"""

import re
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import is_color_like
from matplotlib.ticker import MaxNLocator

from unstuck.arguments import choice, instance, short
from unstuck.plots.colours import GREY, INK, PAPER
from unstuck.plots.series import Curves
from unstuck.plots.style import axis_label, healthy_band, quantity_row

Legend = bool | Literal["inside", "below"]
"""Where a legend stands. True: beside the axes. "inside": in the axes, without the word on the band. "below": one for
the whole figure, below its panels; it needs the constrained layout of the book's style. False: none."""


def checked(quantity: Any, legend: Legend, band: str = "range", optional: bool = False) -> bool:
    """Whether the quantity's axis is logarithmic; a ValueError for what is no quantity, no place, no kind of band."""
    choice("band", band, ("range", "sd"))
    if not isinstance(legend, bool):
        choice("legend", legend, ("inside", "below"))
    return not (optional and quantity is None) and quantity_row(quantity).log


def checked_colour(colour: Any) -> Any:
    """`colour`, which must be one that matplotlib knows."""
    if not is_color_like(colour):
        raise ValueError(f"colour: expected a colour, got {short(colour)}")
    return colour


def axes_of(ax: Axes | None) -> Axes:
    """The axes given, or those of a new figure."""
    return plt.subplots()[1] if ax is None else instance("ax", ax, Axes, "matplotlib Axes or None")


def centre_and_band(y: np.ndarray, log: bool, band: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and limits over the rows of y (S, T) that are finite (and, for logarithms, positive): three (T,)."""
    y = np.where(np.isfinite(y) & ((y > 0) | (not log)), y, np.nan)
    if len(y) == 1:
        return y[0], y[0], y[0]
    shown = np.ma.masked_invalid(np.log10(y) if log else y)
    low, centre, high = shown.min(axis=0), shown.mean(axis=0), shown.max(axis=0)
    if band == "sd":
        sd = np.ma.filled(shown.std(axis=0, ddof=1), 0.0)  # of a single run: none
        low, high = centre - sd, centre + sd
    centre, low, high = (np.ma.filled(part, np.nan) for part in (centre, low, high))
    return (10**centre, 10**low, 10**high) if log else (centre, low, high)


def draw(ax: Axes, curves: Curves, style: dict, *, label: str, log: bool, band: str = "range") -> None:
    """The mean of the runs with its band, crosses where runs end early, triangles where a logarithm has a zero."""
    x, y, colour = curves.x, curves.y, style["color"]
    centre, low, high = centre_and_band(y, log, band)
    ax.plot(x, centre, **style, label=label, gid="curve")
    if np.issubdtype(x.dtype, np.integer):
        ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 2.5, 5, 10]))
    if len(y) > 1:
        ax.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0, zorder=1.5)
        text = "min to max" if band == "range" else "± 1 sd"
        note(ax, f"{text}, n = {len(y)}", gid="band", marker="s", color=GREY, alpha=0.35, markersize=11)
    if curves.stopped is None:
        edge(ax, x[~np.isfinite(y).all(axis=0)], "X", colour, "not finite")
    else:
        for run in y[curves.stopped]:
            _cross(ax, x, run, colour, log)
    if log:
        at = x[(y <= 0).any(axis=0)]
        edge(ax, at[:: max(1, len(at) // 12)], "v", colour, "exactly 0")


def _cross(ax: Axes, x: np.ndarray, run: np.ndarray, colour: str, log: bool) -> None:
    """A cross at the last finite value; on the lower edge where there is none to be shown."""
    last = int(max(np.flatnonzero(np.isfinite(run)), default=0))
    if np.isfinite(run[last]) and (run[last] > 0 or not log):
        note(ax, "not finite", marker="X", color=INK)
        ax.plot(x[last], run[last], "X", color=colour, markersize=10, markeredgecolor=PAPER, zorder=4)
    else:
        edge(ax, x[[last]], "X", colour, "not finite")


def edge(ax: Axes, at: np.ndarray, marker: str, colour: str, meaning: str, left: bool = False) -> None:
    """Markers on the lower or the left edge of the axes, at positions (n,) along it, and what they mean."""
    if len(at):
        note(ax, meaning, marker=marker, color=INK)
        place = (np.zeros(len(at)), at) if left else (at, np.zeros(len(at)))
        transform = ax.get_yaxis_transform() if left else ax.get_xaxis_transform()
        style: dict[str, Any] = {"markersize": 9, "markeredgecolor": PAPER, "clip_on": False, "zorder": 4}
        ax.plot(*place, marker, color=colour, transform=transform, **style)


def note(ax: Axes, label: str, *, gid: str = "note", **style: Any) -> None:
    """An entry for the legend alone, once."""
    if label not in ax.get_legend_handles_labels()[1]:
        ax.plot([], [], linestyle="", label=label, gid=gid, **style)


def name_axes(ax: Axes, xlabel: str, ylabel: str | None) -> None:
    """Label the axes; of panels that share an axis, only the outer ones."""
    if ax.xaxis.get_tick_params()["labelbottom"]:
        ax.set_xlabel(xlabel)
    if ylabel is not None and ax.yaxis.get_tick_params()["labelleft"]:
        ax.set_ylabel(ylabel)


def finish(ax: Axes, quantity: str | None, xlabel: str, legend: Legend) -> Axes:
    """Axis labels, scale and healthy band of a quantity on y, and the legend."""
    name_axes(ax, xlabel, None if quantity is None else axis_label(quantity))
    if quantity is not None:
        if quantity_row(quantity).log:
            ax.set_yscale("log")
        healthy_band(ax, quantity)
    return add_legend(ax, legend)


def add_legend(ax: Axes, legend: Legend) -> Axes:
    """The legend where it covers nothing: curves first, then what the marks mean."""
    entries: dict[str, Any] = {}
    for each in ax.figure.axes if legend == "below" else [ax]:
        for handle, label in zip(*each.get_legend_handles_labels(), strict=True):
            if legend == "below":
                label = re.sub(r"\n\(\d+ of \d+ stopped\)$", "", label)  # it may differ from panel to panel
            if legend != "inside" or _gid(handle) != "band":
                entries.setdefault(label, handle)
    if not (legend and entries):
        return ax
    labels = sorted(entries, key=lambda label: label == "healthy" or _gid(entries[label]) in ("note", "band"))
    handles = [entries[label] for label in labels]
    if legend == "below":
        for old in list(ax.figure.legends):
            old.remove()
        width = max(len(line) for label in labels for line in label.split("\n"))
        columns = min(len(labels), max(1, 72 // (width + 6)))
        ax.figure.legend(handles, labels, loc="outside lower center", ncols=columns)
    elif legend == "inside":
        ax.legend(handles, labels, loc="best", fontsize="small")
    else:
        ax.legend(handles, labels, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0)
    return ax


def _gid(handle: Any) -> str | None:
    return handle.get_gid() if hasattr(handle, "get_gid") else None  # a container of error bars has none
