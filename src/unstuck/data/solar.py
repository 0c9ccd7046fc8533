"""Photographs of solar cells in their own infrared light, from the package `elpv-dataset`."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import torch

from unstuck.arguments import whole
from unstuck.cache import cached
from unstuck.data.split import Split

GRADES = {0.0: 1508, 1 / 3: 295, 2 / 3: 106, 1.0: 715}
"""How many cells have each defect probability."""

SIDE = 300
"""Pixels of the original images."""

SOURCE = (
    "ELPV dataset: Buerhop-Lutz et al. 2018, Deitsch et al. 2019, 2021; licence CC BY-NC-SA 4.0;"
    " from the PyPI package elpv-dataset"
)


def solar_cells(size: int = 96, *, seed: int = 0) -> Split:
    """2,624 solar cells in their own infrared light: is the cell defective? Images (N, 1, size, size) in [0, 1].

    The ELPV dataset (Deitsch et al. 2019): 300 x 300 grey images of single cells from 44 modules, each with the
    probability that it is defective: 0, 1/3, 2/3 or 1. Class 1, "defective", means a probability above one half.

    Args:
        size: of the images, in pixels, from 8 to 300. Each pixel is the average of those that it covers, rounded to
            one of 256 grey levels.
        seed: of the split: 1,968 cells for training and 656 for testing, so that each part has three quarters and a
            quarter of every type of cell and of every probability, to less than one cell.

    `meta` has, for every example, its `probability`, its `cell_type` ("mono" or "poly", crystalline) and its `index`
    in the package's list. The package does not say which cells come from the same module. The small images are kept
    in the cache (`unstuck.cache`). They are under CC BY-NC-SA 4.0: not for commercial use.

    Raises ModuleNotFoundError, with the line that installs it, where the package is missing, ValueError where it is
    not the one that is expected.
    """
    size, seed = whole("size", size, least=8, most=SIDE), whole("seed", seed, least=0)
    package = _package()
    key = {"size": size, "package": getattr(package, "__version__", package.__name__)}
    cells = cached("solar-cells", key, lambda: _small(package, size))
    images, probability, cell_type = (cells[name] for name in ("images", "probability", "cell_type"))
    _, group = np.unique(np.stack([probability.astype(str), cell_type]), axis=1, return_inverse=True)
    test = _quarter(group.ravel(), seed)
    train = np.setdiff1d(np.arange(len(group)), test)
    x = torch.from_numpy(images).unsqueeze(1).float().div_(255)  # (N, 1, size, size)
    y = torch.from_numpy((probability > 0.5).astype(np.int64))
    about = {"probability": probability, "cell_type": cell_type, "index": np.arange(len(group))}
    meta = {"name": "solar_cells", "source": SOURCE, "size": size, "seed": seed, "per_example": tuple(about)}
    meta |= {name: {"train": values[train], "test": values[test]} for name, values in about.items()}
    return Split(x[train], y[train], x[test], y[test], ("functional", "defective"), meta)


def _package() -> ModuleType:
    try:
        from elpv_dataset import utils
    except ModuleNotFoundError as error:
        line = "solar_cells needs the package elpv-dataset (90 MB): pip install elpv-dataset"
        raise ModuleNotFoundError(line, name=error.name) from error
    return utils


def _small(package: ModuleType, size: int) -> dict[str, np.ndarray]:
    """Images (N, size, size) of bytes, defect probabilities (N,) and cell types (N,)."""
    images, probability, cell_type = package.load_dataset()
    grades = {float(p): int(n) for p, n in zip(*np.unique(probability.round(6), return_counts=True), strict=True)}
    expected = {round(p, 6): n for p, n in GRADES.items()}
    if grades != expected or images.shape[1:] != (SIDE, SIDE) or images.dtype != np.uint8:
        raise ValueError(
            f"elpv-dataset: expected images of {SIDE} x {SIDE} bytes, of each probability {expected};"
            f" got {images.dtype} {images.shape} and {grades}"
        )
    weights = _averaging(size)  # (size, SIDE)
    small = np.stack([weights @ image.astype(np.float64) @ weights.T for image in images])
    return {
        "images": small.round().astype(np.uint8),
        "probability": probability.astype(np.float64),
        "cell_type": np.asarray(cell_type, dtype="<U4"),
    }


def _averaging(size: int) -> np.ndarray:
    """The (size, SIDE) matrix that averages SIDE pixels to `size`: a row has the share in which it covers each."""
    edges = np.arange(size + 1) * SIDE / size
    start, pixel = edges[:-1, None], np.arange(SIDE)[None, :]
    covered = np.minimum(edges[1:, None], pixel + 1) - np.maximum(start, pixel)
    return np.clip(covered, 0, None) * size / SIDE


def _quarter(group: np.ndarray, seed: int) -> np.ndarray:
    """Sorted positions of a quarter of the examples: of each group its share, to less than one."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(group))
    order = order[np.argsort(group[order], kind="stable")]  # group by group, each in random order
    return np.sort(order[rng.integers(4) :: 4])
