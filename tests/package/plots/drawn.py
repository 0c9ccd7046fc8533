"""What the tests of `unstuck.plots` read back from drawn axes."""

import numpy as np
from matplotlib.axes import Axes


def curves(ax: Axes) -> list:
    """The lines that are curves, in the order drawn."""
    return [line for line in ax.lines if line.get_gid() == "curve"]


def markers(ax: Axes, marker: str) -> list:
    """The lines of this marker that show anything."""
    return [line for line in ax.lines if line.get_marker() == marker and len(line.get_xdata())]


def legend_texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def band_at(ax: Axes, x: float, which: int = 0) -> tuple[float, float]:
    """The lower and the upper end of a shaded band at x."""
    corners = ax.collections[which].get_paths()[0].vertices
    at = corners[corners[:, 0] == x, 1]
    return at.min(), at.max()


def value_at(ax: Axes, x: float, y: float):
    """The value of the cell that is drawn over the point (x, y); a point on a border belongs to no cell."""
    mesh = ax.collections[0]
    corners, values = mesh.get_coordinates(), np.ma.asarray(mesh.get_array())
    left, right = corners[0, :-1, 0], corners[0, 1:, 0]
    low, high = np.sort([corners[:-1, 0, 1], corners[1:, 0, 1]], axis=0)
    columns, rows = np.flatnonzero((left < x) & (x < right)), np.flatnonzero((low < y) & (y < high))
    assert len(columns) == len(rows) == 1, f"{len(columns)} x {len(rows)} cells over ({x}, {y})"
    return values[rows[0], columns[0]]
