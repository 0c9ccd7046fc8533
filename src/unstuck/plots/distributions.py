"""Distributions: histograms of the values in each layer of each network."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from unstuck.arguments import choice, instance, whole
from unstuck.claims import number
from unstuck.plots.colours import GREY
from unstuck.plots.grids import axes_grid, by_panel
from unstuck.plots.series import floats
from unstuck.plots.style import label_of, layer_colour, layer_number


def histograms(
    values: Mapping[str, Mapping[str, Any]],
    *,
    bins: int = 50,
    share: Literal["row", "all", "panel"] = "row",
    xlabel: str = "activation",
    axes: Any = None,
) -> np.ndarray:
    """Histograms of each layer's values: a row a network, a column a layer; returns the axes (rows, columns).

    Args:
        values: `{network: {layer: array of any shape}}`, the same number of layers for each network. Six layers
            can be read on a phone.
        share: which panels have one x axis: those of a "row", "all", or each "panel" its own.
        axes: rows x columns of axes, or None.

    Each panel has the height of its own largest bin. Exact zeros are counted above the panel instead of drawn (a
    ReLU's would dwarf the rest), so is what is not finite. An x axis spans 99.8 % of what it has to show.
    """
    choice("share", share, ("row", "all", "panel"))
    whole("bins", bins)
    instance("xlabel", xlabel, str, "a text")
    found = by_panel(values, "network", "layer", "array", lambda given, name: floats(given, name).ravel(), "layer")
    rows, columns = len(found), len(next(iter(found.values())))
    axes = axes_grid(axes, rows, columns, 0.7 + 1.65 * rows)

    everything = [panel for layers in found.values() for panel in layers.values()]
    for r, (name, layers) in enumerate(found.items()):
        for c, (layer, panel) in enumerate(layers.items()):
            limits = _limits({"all": everything, "row": list(layers.values()), "panel": [panel]}[share])
            colour = layer_colour(layer_number(layer, c + 1))
            _panel(axes[r, c], panel, limits, bins, colour, heading="" if r else layer, narrow=columns > 6)
        axes[r, 0].set_ylabel(label_of(name))
    for ax in axes[-1] if columns <= 5 else [axes[-1, columns // 2]]:
        ax.set_xlabel(xlabel)
    return axes


def _limits(panels: list[np.ndarray]) -> tuple[float, float]:
    values = np.concatenate(panels)
    values = values[np.isfinite(values) & (values != 0)]
    if not len(values):
        return -1.0, 1.0
    low, high = np.quantile(values, [0.001, 0.999])
    margin = 0.05 * (high - low) or 0.5 * abs(low)
    return min(low, 0.0) - margin, max(high, 0.0) + margin


def _panel(
    ax: Axes, values: np.ndarray, limits: tuple[float, float], bins: int, colour: str, heading: str, narrow: bool
) -> None:
    finite = values[np.isfinite(values)]
    counts, edges = np.histogram(finite[finite != 0], bins=bins, range=limits)
    if counts.any():
        ax.stairs(counts / counts.max(), edges, fill=True, color=colour)
    spread = f"sd {number(float(finite.std()), 2)}" if len(finite) else ""
    zeros, lost = (finite == 0).sum() / len(values), 1 - len(finite) / len(values)
    apart = f"{lost:.0%} not finite" if lost else f"{zeros:.0%} zeros" if zeros else ""
    ax.set_title("\n".join(filter(None, (heading, spread, apart))), fontsize="small", loc="center")
    ax.axvline(0, color=GREY, linewidth=0.8, zorder=0)
    ax.set(xlim=limits, ylim=(0, 1.05), yticks=[])
    ax.grid(False)
    ax.spines["left"].set_visible(False)
    ticks = [tick for tick in MaxNLocator(3).tick_values(*limits) if limits[0] <= tick <= limits[1]]
    ax.set_xticks(ticks[-1:] if narrow else ticks)  # the line at 0 stands for the other one
