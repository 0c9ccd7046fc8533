"""One input, and two, through depth: the moment maps of mean-field theory and their fixed points."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from itertools import pairwise

import numpy as np
from scipy.optimize import brentq

from unstuck.arguments import choice, real, whole
from unstuck.scratch.activations import ACTIVATIONS
from unstuck.theory.gaussian import product_moment, second_moment, slope_moment, slope_product_moment

SMALLEST, LARGEST = 1e-9, 1e9
"""The q that stand for the limits 0 and infinity of a fixed point."""

ROUNDING = 1e-12  # how far the numerical mean of something that stays may lie from it


# --- one input ---


def second_moment_map(activation: str, q: float, sigma_w: float, sigma_b: float = 0.0) -> float:
    """q of the next layer: sigma_w^2 E[f(z)^2] + sigma_b^2 (the length map of Poole et al. 2016).

    Raises, as all functions here, TypeError or ValueError for an unknown activation, a q or sigma_w that is no finite
    number above 0, and a sigma_b that is none of at least 0.
    """
    activation, sigma_w, sigma_b = _checked(activation, sigma_w, sigma_b)
    return sigma_w**2 * second_moment(activation, q) + sigma_b**2


def through_depth(activation: str, depth: int, sigma_w: float, sigma_b: float = 0.0, q: float = 1.0) -> np.ndarray:
    """q of the pre-activations of layers 1 to `depth`, (depth,); the argument `q` is that of layer 1."""
    values = [real("q", q, above=0)]
    for _ in range(whole("depth", depth) - 1):
        # a signal stays where floating point ends
        values.append(min(max(second_moment_map(activation, values[-1], sigma_w, sigma_b), 1e-300), 1e300))
    return np.array(values)


def fixed_point(activation: str, sigma_w: float, sigma_b: float = 0.0) -> float:
    """q*, to which depth drives a signal that starts at q = 1 (Poole et al. 2016).

    0.0 where the signal vanishes, inf where it explodes; 1.0 where q = 1 stays: every q does for ReLU at sigma_w =
    sqrt(2), and at its gain GELU has a fixed point there that repels whatever starts beside it.
    """
    return _fixed_point(*_checked(activation, sigma_w, sigma_b))


@cache
def _fixed_point(activation: str, sigma_w: float, sigma_b: float) -> float:
    def growth(log_q: float) -> float:
        q = math.exp(log_q)
        return second_moment_map(activation, q, sigma_w, sigma_b) / q - 1

    here = growth(0.0)
    if abs(here) < ROUNDING:
        return 1.0
    direction = math.copysign(1.0, here)
    # walk from 1 the way the map leads until it turns; a growth that merely fades (ReLU, sqrt(2), biases) is no turn
    near = 0.0
    for far in direction * np.arange(0.25, math.log(LARGEST), 0.25):
        ahead = growth(far) * direction
        if ahead < -ROUNDING:
            return math.exp(_root(growth, near, far))
        if ahead > ROUNDING:
            near = far
    return math.inf if direction > 0 else 0.0


def chi(activation: str, sigma_w: float, sigma_b: float = 0.0, q: float | None = None) -> float:
    """chi_1 = sigma_w^2 E[f'(z)^2] at `q`, by default at the fixed point (Poole et al. 2016).

    A layer multiplies a mean squared gradient by it (Schoenholz et al. 2017, on back-propagation), and so the squared
    distance of two inputs that are close. Below 1 is the ordered phase, above 1 the chaotic one.
    """
    activation, sigma_w, sigma_b = _checked(activation, sigma_w, sigma_b)
    return sigma_w**2 * slope_moment(activation, _at(activation, sigma_w, sigma_b, q))


def critical_sigma_w(activation: str, sigma_b: float = 0.0) -> float:
    """The sigma_w of the critical line, chi_1 = 1: the edge of chaos (Poole et al. 2016; Schoenholz et al. 2017).

    Raises ValueError where there is none between 0.01 and 100: for GELU and SiLU with no or small biases chi_1 jumps
    over 1 (GELU: from 0.6 to 1.2), since q* jumps from 0 to inf.
    """
    activation, _, sigma_b = _checked(activation, 1.0, sigma_b)
    return _critical_sigma_w(activation, sigma_b)


@cache
def _critical_sigma_w(activation: str, sigma_b: float) -> float:
    def excess(log_sigma: float) -> float:
        return chi(activation, math.exp(log_sigma), sigma_b) - 1

    logs = np.linspace(math.log(0.01), math.log(100.0), 65)
    for low, high in pairwise(logs):
        if excess(low) < 0 <= excess(high) and abs(excess(root := _root(excess, low, high))) < 1e-4:
            return math.exp(root)
    raise ValueError(f"activation: {activation!r} with sigma_b = {sigma_b} has no critical sigma_w in 0.01 to 100")


# --- two inputs ---


def correlation_map(activation: str, c: float, sigma_w: float, sigma_b: float = 0.0, q: float | None = None) -> float:
    """The next layer's correlation of two inputs' pre-activations whose correlation is `c` and whose q are equal.

    (sigma_w^2 E[f(z1) f(z2)] + sigma_b^2) / q', where q' is the next layer's q (the correlation map of Poole et al.
    2016). `q` is by default the fixed point. Correlation is about 0, not about the mean: the cosine of a layer's two
    vectors.
    """
    activation, sigma_w, sigma_b = _checked(activation, sigma_w, sigma_b)
    c, q = real("c", c, least=-1, most=1), _at(activation, sigma_w, sigma_b, q)
    shared = sigma_w**2 * product_moment(activation, c, q) + sigma_b**2
    return shared / second_moment_map(activation, q, sigma_w, sigma_b)


def correlation_fixed_point(activation: str, sigma_w: float, sigma_b: float = 0.0) -> float:
    """c*, to which depth drives the correlation of two inputs: 1 in the ordered phase and, if q* > 0, on its border.

    In the chaotic phase it is the fixed point below 1 (Poole et al. 2016). nan where every correlation stays in the
    end: in a linear network, and where the signal vanishes (q* = 0), so that f becomes linear (tanh, sigma_w <= 1).
    """
    return _correlation_fixed_point(*_checked(activation, sigma_w, sigma_b))


@cache
def _correlation_fixed_point(activation: str, sigma_w: float, sigma_b: float) -> float:
    def growth(c: float) -> float:
        return correlation_map(activation, c, sigma_w, sigma_b) - c

    q = _at(activation, sigma_w, sigma_b, None)
    if abs(growth(0.0)) < 1e-8 and abs(growth(0.5)) < 1e-8:
        return math.nan
    stretch = chi(activation, sigma_w, sigma_b, q) * q / second_moment_map(activation, q, sigma_w, sigma_b)
    if stretch <= 1 + 1e-9:  # the map's slope at c = 1
        return 1.0
    # at c = 0 the map is not negative, just left of 1 it lies below the diagonal
    high = 1 - 1e-6
    if growth(high) >= 0:
        return 1.0
    return 0.0 if growth(0.0) <= 1e-12 else _root(growth, 0.0, high)


def depth_scale(activation: str, sigma_w: float, sigma_b: float = 0.0) -> float:
    """xi, in layers: two inputs' correlation nears c* as exp(-layer / xi) (xi_c of Schoenholz et al. 2017).

    1 / |ln slope|, the slope of the correlation map at c*: chi_1 where c* = 1. Where q* is 0 or inf it is the scale
    of q itself, not of the correlation: 1 / |ln chi_1|, which is the scale of gradients everywhere. inf on the
    critical line.
    """
    activation, sigma_w, sigma_b = _checked(activation, sigma_w, sigma_b)
    c = correlation_fixed_point(activation, sigma_w, sigma_b)
    q = fixed_point(activation, sigma_w, sigma_b)
    if q in (0.0, math.inf) or not c < 1:
        slope = chi(activation, sigma_w, sigma_b)
    else:
        slope = sigma_w**2 * slope_product_moment(activation, c, q)
    return math.inf if abs(slope - 1) < 1e-8 else 1 / abs(math.log(slope))


# --- arguments and roots ---


def _checked(activation: str, sigma_w: float, sigma_b: float) -> tuple[str, float, float]:
    """The three, checked: also before a cache sees them, to which True is 1 and which an array would break."""
    known = choice("activation", activation, ACTIVATIONS)
    return known, real("sigma_w", sigma_w, above=0), real("sigma_b", sigma_b, least=0)


def _at(activation: str, sigma_w: float, sigma_b: float, q: float | None) -> float:
    """`q` itself, or the fixed point where it is None."""
    if q is not None:
        return real("q", q, above=0)
    return min(max(_fixed_point(activation, sigma_w, sigma_b), SMALLEST), LARGEST)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where `function` changes its sign between `low` and `high`, to some 1e-14."""
    # at a jump Brent's method can take far more steps than at a root
    return brentq(function, low, high, xtol=1e-14, maxiter=1000)
