"""Splits that several tests of the data use."""

import numpy as np
import torch

from unstuck.data import Split


def points(n=400, d=3, seed=0, classes=4):
    """A Split of correlated Gaussian features, with unequal classes."""
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((d, d)) + 2 * np.eye(d)
    x = [torch.from_numpy((rng.standard_normal((m, d)) @ mix + 5).astype(np.float32)) for m in (n, 50)]
    y = [torch.from_numpy(np.minimum(rng.geometric(0.4, m) - 1, classes - 1)) for m in (n, 50)]
    return Split(x[0], y[0], x[1], y[1], [f"c{k}" for k in range(classes)], {"name": "points"})


def images(n=60, seed=0):
    """A Split of random images (n, 2, 3, 4) whose channels differ in mean and scale."""
    rng = np.random.default_rng(seed)
    scale = np.array([1.0, 20.0]).reshape(2, 1, 1)
    x = [torch.from_numpy((rng.random((m, 2, 3, 4)) * scale + scale).astype(np.float32)) for m in (n, 10)]
    y = [torch.zeros(m, dtype=torch.int64) for m in (n, 10)]
    return Split(x[0], y[0], x[1], y[1], ["only"])
