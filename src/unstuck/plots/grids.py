"""What is drawn in rows and columns: the values of each panel, and the axes for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from unstuck.arguments import instance, names
from unstuck.plots.series import need


def by_panel(
    values: Any, row: str, column: str, what: str, read: Callable[[Any, str], np.ndarray], counted: str
) -> dict[str, dict[str, np.ndarray]]:
    """`{row: {column: what}}`, each entry as `read(entry, name)` makes it; `counted` is what an error calls one.

    Raises TypeError and ValueError with the place of what does not fit: no mapping, nothing in it, or rows of
    different lengths.
    """
    inner = f"{{{column}: {what}}}"
    need(names("values", instance("values", values, Mapping, f"{{{row}: {inner}}}")), "values", f"one {row}")
    for name, entries in values.items():
        where = f"values[{name!r}]"
        need(names(where, instance(where, entries, Mapping, inner)), where, f"one {counted}")
    counts = [len(entries) for entries in values.values()]
    if len(set(counts)) > 1:
        raise ValueError(f"values: expected as many {counted}s for each {row}, got {counts}")
    return {
        name: {key: read(entry, f"values[{name!r}][{key!r}]") for key, entry in entries.items()}
        for name, entries in values.items()
    }


def axes_grid(axes: Any, rows: int, columns: int, height: float) -> np.ndarray:
    """The axes given, or those of a new figure of the style's width and this height in inches: (rows, columns)."""
    if axes is None:
        size = plt.rcParams["figure.figsize"][0], height
        _, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    axes = np.asarray(axes, dtype=object)
    if axes.size != rows * columns:
        raise ValueError(f"axes: expected {rows} x {columns}, got {axes.shape}")
    for ax in axes.flat:
        instance("axes", ax, Axes, "matplotlib Axes")
    return axes.reshape(rows, columns)
