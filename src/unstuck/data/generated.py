"""Generated data: images of circles and crosses, and points on spirals."""

import math

import numpy as np
import torch

from unstuck.arguments import real, whole
from unstuck.data.split import Split

Part = tuple[np.ndarray, np.ndarray]
"""Inputs and labels."""


def circle_and_cross(
    n: int = 2, size: int = 32, noise: float = 0.0, seed: int = 0, *, jitter: float = 0.5, n_test: int = 100
) -> Split:
    """Dark circles (label 1) and crosses (label 0) on white: RGB images (N, 3, size, size) in [0, 1].

    Args:
        n: training images, at least 2. Circle and cross alternate; the first of each is centred and at full
            size, so the default is one circle and one cross, and every other one is a variant.
        size: of the image, in pixels, at least 8.
        noise: standard deviation of Gaussian noise on each pixel and colour; the result is clipped to [0, 1].
        seed: of noise and variants; the two parts draw from streams of their own.
        jitter: 0 to 1, how far variants differ: the radius shrinks by up to `jitter` / 2 of itself, and the
            centre moves by up to `jitter` of the free room. 0: all figures are centred and at full size.
        n_test: test images, at least 2, all of them variants.
    """
    n, size, n_test = whole("n", n, least=2), whole("size", size, least=8), whole("n_test", n_test, least=2)
    noise, jitter = real("noise", noise, least=0), real("jitter", jitter, least=0, most=1)
    seed = whole("seed", seed, least=0)
    train = _figures(n, size, noise, jitter, np.random.default_rng((seed, 0)), centred=2)
    test = _figures(n_test, size, noise, jitter, np.random.default_rng((seed, 1)), centred=0)
    settings = {"n": n, "size": size, "noise": noise, "seed": seed, "jitter": jitter, "n_test": n_test}
    return _split(train, test, ("cross", "circle"), {"name": "circle_and_cross", **settings})


def spirals(n: int = 300, arms: int = 3, noise: float = 0.02, seed: int = 0, *, n_test: int = 300) -> Split:
    """Points (N, 2) on interleaved spirals, one class an arm; not linearly separable.

    Arm k is r (cos, sin)(2 pi (r + k / arms)) for r from 0.1 to 1: one turn each.

    Args:
        n: training points; arms take turns, so their sizes differ by one at most.
        arms: at least 2.
        noise: standard deviation of Gaussian noise on each coordinate. Arms are 1 / `arms` apart.
        seed: of the points; the two parts draw from streams of their own.
        n_test: test points.
    """
    arms = whole("arms", arms, least=2)
    n, n_test = whole("n", n, least=arms), whole("n_test", n_test, least=arms)
    noise, seed = real("noise", noise, least=0), whole("seed", seed, least=0)
    train = _spiral_points(n, arms, noise, np.random.default_rng((seed, 0)))
    test = _spiral_points(n_test, arms, noise, np.random.default_rng((seed, 1)))
    settings = {"n": n, "arms": arms, "noise": noise, "seed": seed, "n_test": n_test}
    return _split(train, test, tuple(f"arm {k}" for k in range(arms)), {"name": "spirals", **settings})


def _figures(n: int, size: int, noise: float, jitter: float, rng: np.random.Generator, centred: int) -> Part:
    """n images (n, 3, size, size) and labels (n,), circle first; the first `centred` are not jittered."""
    stroke = size / 16
    full = 0.35 * size
    y = 1 - np.arange(n) % 2  # circle, cross, circle, ...
    spread = jitter * (np.arange(n) >= centred)
    radius = full * (1 - spread / 2 * rng.random(n))
    room = size / 2 - stroke - radius  # half a stroke of white stays at the border
    shift = rng.uniform(-1, 1, (2, n)) * spread * room
    axis = np.arange(size) - (size - 1) / 2
    v = axis[:, None] - shift[0, :, None, None]  # (n, size, 1)
    u = axis[None, :] - shift[1, :, None, None]  # (n, 1, size)
    r = radius[:, None, None]
    to_circle = np.abs(np.hypot(u, v) - r)
    # Distance to a segment from -r to r; a cross is two of them, along the diagonals.
    along, across = np.abs(u + v) / math.sqrt(2), np.abs(u - v) / math.sqrt(2)
    to_cross = np.minimum(np.hypot(np.maximum(along - r, 0), across), np.hypot(np.maximum(across - r, 0), along))
    distance = np.where(y[:, None, None] == 1, to_circle, to_cross)  # (n, size, size), in pixels
    ink = np.clip(stroke / 2 + 0.5 - distance, 0, 1)  # smooth over one pixel
    colour = np.array([0.1, 0.1, 0.3])[:, None, None]  # one for both: it must not give the class away
    x = 1 - ink[:, None] * (1 - colour)  # (n, 3, size, size)
    return np.clip(x + noise * rng.standard_normal(x.shape), 0, 1), y


def _spiral_points(n: int, arms: int, noise: float, rng: np.random.Generator) -> Part:
    """n points (n, 2) and the arms (n,) they lie on."""
    y = np.arange(n) % arms
    r = rng.uniform(0.1, 1.0, n)
    angle = 2 * math.pi * (r + y / arms)
    x = np.stack([r * np.cos(angle), r * np.sin(angle)], axis=1)  # (n, 2)
    return x + noise * rng.standard_normal(x.shape), y


def _split(train: Part, test: Part, classes: tuple[str, ...], meta: dict) -> Split:
    x_train, x_test = (torch.from_numpy(x.astype(np.float32)) for x, _ in (train, test))
    y_train, y_test = (torch.from_numpy(y.astype(np.int64)) for _, y in (train, test))
    return Split(x_train, y_train, x_test, y_test, classes, meta)
