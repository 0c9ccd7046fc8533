"""Distributions: histograms of the values in each layer of each network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from unstuck.arguments import choice, names, whole
from unstuck.claims import number
from unstuck.plots.series import floats, need
from unstuck.plots.style import GREY, label_of, layer_colour, layer_number


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
    need(names("values", values), "values", "one network")
    for name, layers in values.items():
        need(layers, f"values[{name!r}]", "one layer")
    shape = len(values), max(len(layers) for layers in values.values())
    if any(len(layers) != shape[1] for layers in values.values()):
        raise ValueError(f"values: expected as many layers for each network, got {[len(v) for v in values.values()]}")
    choice("share", share, ("row", "all", "panel"))
    whole("bins", bins)
    grid = [
        [floats(v, f"values[{name!r}][{layer!r}]").ravel() for layer, v in layers.items()]
        for name, layers in values.items()
    ]
    if axes is None:
        size = plt.rcParams["figure.figsize"][0], 0.7 + 1.65 * shape[0]
        _, axes = plt.subplots(*shape, figsize=size, squeeze=False)
    axes = np.asarray(axes, dtype=object)
    if axes.size != shape[0] * shape[1]:
        raise ValueError(f"axes: expected {shape[0]} x {shape[1]}, got {axes.shape}")
    axes = axes.reshape(shape)

    everything = [panel for row in grid for panel in row]
    for r, (name, layers) in enumerate(values.items()):
        for c, layer in enumerate(layers):
            limits = _limits({"all": everything, "row": grid[r], "panel": [grid[r][c]]}[share])
            colour = layer_colour(layer_number(layer, c + 1))
            _panel(
                axes[r, c], grid[r][c], limits, bins, colour, heading=[layer] if r == 0 else [], narrow=shape[1] > 6
            )
        axes[r, 0].set_ylabel(label_of(name))
    bottom = axes[-1] if shape[1] <= 5 else [axes[-1, shape[1] // 2]]
    for ax in bottom:
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


def _panel(ax: Axes, values: np.ndarray, limits, bins: int, colour: str, heading: list[str], narrow: bool) -> None:
    finite = values[np.isfinite(values)]
    shown = finite[(finite != 0) & (finite >= limits[0]) & (finite <= limits[1])]
    if len(shown):
        counts, edges = np.histogram(shown, bins=bins, range=limits)
        ax.stairs(counts / counts.max(), edges, fill=True, color=colour)
    lines = list(heading)
    lines.append(f"sd {number(float(finite.std()), 2)}" if len(finite) else "")
    zeros, lost = (finite == 0).sum() / len(values), 1 - len(finite) / len(values)
    lines.append(f"{lost:.0%} not finite" if lost else f"{zeros:.0%} zeros" if zeros else "")
    ax.set_title("\n".join(filter(None, lines)), fontsize="small", loc="center")
    ax.axvline(0, color=GREY, linewidth=0.8, zorder=0)
    ax.set(xlim=limits, ylim=(0, 1.05), yticks=[])
    ax.grid(False)
    ax.spines["left"].set_visible(False)
    ticks = [tick for tick in MaxNLocator(3).tick_values(*limits) if limits[0] <= tick <= limits[1]]
    ax.set_xticks(ticks[-1:] if narrow else ticks)  # the line at 0 stands for the other one
