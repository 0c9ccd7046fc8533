"""Means over a Gaussian pre-activation z: integrals, taken numerically to some twelve digits."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np

from unstuck import arguments
from unstuck.arguments import choice, real
from unstuck.scratch.activations import ACTIVATIONS

Function = Callable[[np.ndarray], np.ndarray]

TAIL = 9.0  # standard deviations; beyond them lies 2e-19 of a normal distribution


def expectation(function: Function, q: float = 1.0) -> float:
    """E[function(z)] for z ~ N(0, q), q above 0.

    `function` maps an array (P,) of points to an array (P,). It may have a kink, or a jump, at 0. Raises TypeError or
    ValueError where it does not.
    """
    arguments.function("function", function, "z")
    z, weights = _points(0.0, math.sqrt(real("q", q, above=0)))
    values = function(z)
    if np.shape(values) != z.shape:
        raise ValueError(f"function: expected an array of shape {z.shape} for one, got shape {np.shape(values)}")
    return float(weights @ values)


def _squared(f: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda z: f(z) ** 2


def _even(f: Function) -> Function:
    """The even part of a function: it has the same mean, for z and -z are equally likely."""
    return lambda z: (f(z) + f(-z)) / 2


def mean(activation: str, q: float = 1.0) -> float:
    """E[f(z)], z ~ N(0, q): exactly 0 for tanh and every other odd function."""
    parts = _parts(activation)
    return sum(expectation(_even(f), q) for f, _ in parts) / math.sqrt(len(parts))


def second_moment(activation: str, q: float = 1.0) -> float:
    """E[f(z)^2], z ~ N(0, q): for ReLU q / 2 (He et al. 2015, their forward case)."""
    parts = _parts(activation)
    return sum(expectation(_squared(f), q) for f, _ in parts) / len(parts)


def slope_moment(activation: str, q: float = 1.0) -> float:
    """E[f'(z)^2], z ~ N(0, q): what a layer's backward pass does to a squared gradient, but for the weights.

    Of "maxout" it is the sum over both z of a unit.
    """
    parts = _parts(activation)
    return sum(expectation(_squared(slope), q) for _, slope in parts) / len(parts)


def gain(activation: str) -> float:
    """The gain g that keeps the second moment of a signal: 1 / sqrt(E[f(z)^2]) for z ~ N(0, 1); sqrt(2) for ReLU.

    With weights of standard deviation g / sqrt(fan_in) and no biases, q = 1 stays 1 from layer to layer.
    """
    return second_moment(activation) ** -0.5


def product_moment(activation: str, c: float, q: float) -> float:
    """E[f(z1) f(z2)] for z1, z2 ~ N(0, q) with correlation c."""
    parts = _parts(activation)
    return sum(_product(f, c, q) for f, _ in parts) / len(parts)


def slope_product_moment(activation: str, c: float, q: float) -> float:
    """E[f'(z1) f'(z2)] for z1, z2 ~ N(0, q) with correlation c."""
    parts = _parts(activation)
    return sum(_product(slope, c, q) for _, slope in parts) / len(parts)


def _parts(activation: str) -> list[tuple[Function, Function]]:
    """Functions f_i and their slopes: f is the sum of the f_i, each of a z of its own, over the root of their number.

    One for most. Maxout, the larger of two independent z, is (s + |d|) / sqrt(2), where s and d, their sum and
    difference over sqrt(2), are N(0, q) and independent too. Since E[s] = 0, second moments are the parts' mean.
    """
    if choice("activation", activation, ACTIVATIONS) == "maxout":
        return [(np.positive, np.ones_like), (np.abs, np.sign)]
    layer = ACTIVATIONS[activation]()

    def slope(z: np.ndarray) -> np.ndarray:
        layer.forward(z)
        return layer.backward(np.ones_like(z))

    return [(layer.forward, slope)]


def _product(f: Function, c: float, q: float) -> float:
    """E[f(z1) f(z2)] for z1, z2 ~ N(0, q) with correlation c."""
    spread = math.sqrt(q)
    rest = spread * math.sqrt(max(1 - c * c, 0.0))  # of z2, given z1: the width to which a kink is smoothed
    z1, weights = _points(0.0, spread, detail=min(0.5, max(rest, 1e-9 * spread)))
    if rest < 1e-9 * spread:
        return float(weights @ (f(z1) * f(math.copysign(1.0, c) * z1)))
    z2, given = _points(c * z1, rest)
    return float(weights @ (f(z1) * np.sum(given * f(z2), axis=-1)))  # the sum is E[f(z2) | z1]


@cache
def _panel() -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(16)


def _points(centre: float | np.ndarray, spread: float, detail: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Points and weights, (..., P) for `centre` (...): sum(weights * f(points)) = E[f(z)], z ~ N(centre, spread^2).

    Gauss-Legendre in panels as narrow as the normal density needs, and near 0 as narrow as `detail`, with an edge
    at 0 itself. (Gauss-Hermite would be exact for polynomials, and is slow to converge at a kink.)
    """
    centre = np.asarray(centre)[..., None]
    low, high = centre - TAIL * spread, centre + TAIL * spread
    normal = centre + spread * np.arange(-TAIL, TAIL + 1, 2)
    doublings = min(math.log2(max(high.max(), -low.min()) / detail), 60)  # so far out an activation has no detail
    doubling = detail * 2.0 ** np.arange(doublings)
    shared = np.concatenate([doubling, -doubling, [0.0]])
    # clipped edges coincide, and a panel of no width weighs nothing
    edges = np.sort(np.concatenate([normal, np.clip(shared, low, high)], axis=-1))
    half = np.diff(edges)[..., None] / 2
    nodes, weights = _panel()
    z = edges[..., :-1, None] + half * (1 + nodes)  # (..., panels, nodes of one)
    density = np.exp(-0.5 * ((z - centre[..., None]) / spread) ** 2) / (spread * math.sqrt(2 * math.pi))
    flat = (*edges.shape[:-1], -1)
    return z.reshape(flat), (half * weights * density).reshape(flat)
