"""Images: pictures, channels and filters side by side, as they are: small, square and not smoothed."""

from collections.abc import Mapping
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from unstuck.arguments import choice, flag
from unstuck.claims import number
from unstuck.plots.colours import RUST
from unstuck.plots.grids import axes_grid, by_panel
from unstuck.plots.maps import DIVERGING
from unstuck.plots.series import floats
from unstuck.plots.style import label_of

GREYS = plt.get_cmap("gray").with_extremes(bad=RUST)


def images(
    values: Mapping[str, Mapping[str, Any]],
    *,
    share: Literal["row", "all", "panel"] = "panel",
    signed: bool = False,
    ranges: bool = False,
    axes: Any = None,
) -> np.ndarray:
    """Images in rows and columns; returns the axes (rows, columns).

    Args:
        values: `{row: {column: image}}`, the same number of columns in each row. An image is (Hi, Wi), or (3, Hi, Wi)
            for red, green and blue in [0, 1], which is shown in its own colours.
        share: which images (Hi, Wi) have one scale: those of a "row", "all", or each "panel" its own.
        signed: False: black is 0 or less, white the largest value (activations, pixels). True: red is negative, blue
            positive, paper 0, and the scale symmetric (filters, gradients).
        ranges: whether each image's smallest and largest value stand below it.
        axes: rows x columns of axes, or None.

    A value that is not finite is rust, or grey where `signed`. The columns' names stand above the first row.
    """
    choice("share", share, ("row", "all", "panel"))
    signed, ranges = flag("signed", signed), flag("ranges", ranges)
    found = by_panel(values, "row", "column", "image", _image, counted="image")
    rows, columns = len(found), len(next(iter(found.values())))
    side = min(plt.rcParams["figure.figsize"][0] / columns, 1.9)
    axes = axes_grid(axes, rows, columns, 0.3 + (side + (0.3 if ranges else 0.05)) * rows)
    everything = [image for row in found.values() for image in row.values()]
    for r, (name, row) in enumerate(found.items()):
        for c, (column, image) in enumerate(row.items()):
            top = _top({"all": everything, "row": list(row.values()), "panel": [image]}[share], signed)
            _panel(axes[r, c], image, top, signed, ranges)
            if not r:
                axes[r, c].set_title(label_of(column), fontsize="small", loc="center")
        axes[r, 0].set_ylabel(label_of(name))
    return axes


def _image(given: Any, name: str) -> np.ndarray:
    image = floats(given, name)
    if image.ndim != 2 and not (image.ndim == 3 and len(image) == 3):
        raise ValueError(f"{name}: expected shape (Hi, Wi) or (3, Hi, Wi), got {image.shape}")
    if image.ndim == 3 and not (image.min() >= 0 and image.max() <= 1):
        raise ValueError(f"{name}: expected colours in [0, 1], got {image.min():g} to {image.max():g}")
    return image


def _top(shown: list[np.ndarray], signed: bool) -> float:
    """The end of the scale; 1 where there is nothing above 0 (and nothing else, if signed)."""
    values = np.concatenate([image.ravel() for image in shown if image.ndim == 2] or [np.zeros(1)])
    values = values[np.isfinite(values)]
    largest = np.abs(values).max(initial=0) if signed else values.max(initial=0)
    return float(largest) if largest > 0 else 1.0


def _panel(ax: Axes, image: np.ndarray, top: float, signed: bool, ranges: bool) -> None:
    if image.ndim == 3:
        ax.imshow(image.transpose(1, 2, 0), interpolation="nearest")
    else:
        look: dict[str, Any] = {"cmap": DIVERGING, "vmin": -top} if signed else {"cmap": GREYS, "vmin": 0.0}
        ax.imshow(np.ma.masked_invalid(image), vmax=top, interpolation="nearest", **look)
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    ax.spines[:].set_visible(True)
    if ranges:
        finite = image[np.isfinite(image)]
        low, high = (number(float(end)) for end in (finite.min(), finite.max())) if len(finite) else ("NaN", "NaN")
        ax.set_xlabel(low if low == high else f"{low} to {high}", fontsize="small")
