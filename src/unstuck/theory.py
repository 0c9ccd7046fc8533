"""Closed forms for wide random networks: how a signal, its gradient and two inputs get through depth.

The set-up is that of mean-field theory: weights N(0, sigma_w^2 / fan_in), biases N(0, sigma_b^2), independent, and
layers wide enough that a pre-activation z is Gaussian over the units. q is the second moment of z, f the activation
(a name in `unstuck.models.ACTIVATIONS`), f' its derivative. `sigma_w` is what `unstuck.init` calls the gain.
Means over z are integrals, taken numerically to some twelve digits. Where no paper is named the derivation is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from numbers import Real

import numpy as np

from unstuck.arguments import whole
from unstuck.scratch.activations import ACTIVATIONS

SMALLEST, LARGEST = 1e-9, 1e9
"""The q that stand for the limits 0 and infinity of a fixed point."""

ROUNDING = 1e-12  # how far the numerical mean of something that stays may lie from it
TAIL = 9.0  # standard deviations; beyond them lies 2e-19 of a normal distribution


def expectation(function: Callable[[np.ndarray], np.ndarray], q: float = 1.0) -> float:
    """E[function(z)] for z ~ N(0, q).

    `function` maps an array (P,) of points to an array (P,). It may have a kink, or a jump, at 0.
    """
    z, weights = _gaussian(0.0, math.sqrt(_positive("q", q)))
    return float(weights @ function(z))


def mean(activation: str, q: float = 1.0) -> float:
    """E[f(z)], z ~ N(0, q)."""
    return expectation(_function(activation), q)


def second_moment(activation: str, q: float = 1.0) -> float:
    """E[f(z)^2], z ~ N(0, q): for ReLU q / 2 (He et al. 2015, their forward case)."""
    f = _function(activation)
    return expectation(lambda z: f(z) ** 2, q)


def slope_moment(activation: str, q: float = 1.0) -> float:
    """E[f'(z)^2], z ~ N(0, q): what a layer's backward pass does to a squared gradient, but for the weights."""
    slope = _slope(activation)
    return expectation(lambda z: slope(z) ** 2, q)


def gain(activation: str) -> float:
    """The sigma_w that keeps q = 1 without biases: 1 / sqrt(E[f(z)^2]) for z ~ N(0, 1); sqrt(2) for ReLU.

    For "maxout" f is the larger of two independent z, and E[f^2] = 1 by symmetry.
    """
    return 1.0 if activation == "maxout" else second_moment(activation) ** -0.5


# --- one input ---


def second_moment_map(activation: str, q: float, sigma_w: float, sigma_b: float = 0.0) -> float:
    """q of the next layer: sigma_w^2 E[f(z)^2] + sigma_b^2 (the length map of Poole et al. 2016)."""
    _spreads(sigma_w, sigma_b)
    return sigma_w**2 * second_moment(activation, q) + sigma_b**2


def through_depth(activation: str, depth: int, sigma_w: float, sigma_b: float = 0.0, q: float = 1.0) -> np.ndarray:
    """q of the pre-activations of layers 1 to `depth`, (depth,); the argument `q` is that of layer 1."""
    values = [_positive("q", q)]
    for _ in range(whole("depth", depth) - 1):
        # a signal stays where floating point ends
        values.append(min(max(second_moment_map(activation, values[-1], sigma_w, sigma_b), 1e-300), 1e300))
    return np.array(values)


@cache
def fixed_point(activation: str, sigma_w: float, sigma_b: float = 0.0) -> float:
    """q*, to which depth drives a signal that starts at q = 1 (Poole et al. 2016).

    0.0 where the signal vanishes, inf where it explodes; 1.0 where q = 1 stays: every q does for ReLU at sigma_w =
    sqrt(2), and at its gain GELU has a fixed point there that repels whatever starts beside it.
    """

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
    _spreads(sigma_w, sigma_b)
    return sigma_w**2 * slope_moment(activation, _at(activation, sigma_w, sigma_b, q))


@cache
def critical_sigma_w(activation: str, sigma_b: float = 0.0) -> float:
    """The sigma_w of the critical line, chi_1 = 1: the edge of chaos (Poole et al. 2016; Schoenholz et al. 2017).

    Raises ValueError where there is none between 0.01 and 100: for GELU and SiLU with no or small biases chi_1 jumps
    over 1 (GELU: from 0.6 to 1.2), since q* jumps from 0 to inf.
    """

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
    _spreads(sigma_w, sigma_b)
    if not (isinstance(c, Real) and -1 <= c <= 1):
        raise ValueError(f"c: expected a number from -1 to 1, got {c!r}")
    q, f = _at(activation, sigma_w, sigma_b, q), _function(activation)
    shared = sigma_w**2 * _product(f, c, q) + sigma_b**2
    return shared / second_moment_map(activation, q, sigma_w, sigma_b)


@cache
def correlation_fixed_point(activation: str, sigma_w: float, sigma_b: float = 0.0) -> float:
    """c*, to which depth drives the correlation of two inputs: 1 in the ordered phase and, if q* > 0, on its border.

    In the chaotic phase it is the fixed point below 1 (Poole et al. 2016). nan where every correlation stays in the
    end: in a linear network, and where the signal vanishes (q* = 0), so that f becomes linear (tanh, sigma_w <= 1).
    """

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
    c = correlation_fixed_point(activation, sigma_w, sigma_b)
    q = fixed_point(activation, sigma_w, sigma_b)
    if q in (0.0, math.inf) or not c < 1:
        slope = chi(activation, sigma_w, sigma_b)
    else:
        slope = sigma_w**2 * _product(_slope(activation), c, q)
    return math.inf if abs(slope - 1) < 1e-8 else 1 / abs(math.log(slope))


# --- rules for first weights ---


def standard_deviation(scheme: str, fan_in: int, fan_out: int, gain: float | None = None) -> float:
    """The standard deviation of a weight under a scheme that scales with the layer.

    lecun: gain / sqrt(fan_in), gain 1 (LeCun et al. 1998, section 4.6).
    xavier: gain * sqrt(2 / (fan_in + fan_out)), gain 1 (Glorot & Bengio 2010, a compromise of both directions).
    he: gain / sqrt(fan_in), gain sqrt(2) (He et al. 2015, their forward case).
    pytorch: gain / sqrt(fan_in), gain 1 / sqrt(3): what `torch.nn.Linear` and `Conv2d` do by themselves, with weights
        (and biases) from U(-1 / sqrt(fan_in), 1 / sqrt(fan_in)).
    """
    fan_in, fan_out = whole("fan_in", fan_in), whole("fan_out", fan_out)
    if gain is not None:
        _not_negative("gain", gain)
    if scheme == "xavier":
        return (1.0 if gain is None else gain) * math.sqrt(2.0 / (fan_in + fan_out))
    own = {"lecun": 1.0, "he": math.sqrt(2.0), "pytorch": 1 / math.sqrt(3.0)}
    if scheme not in own:
        raise ValueError(
            f"scheme: {scheme!r} has no standard deviation of its own; use 'xavier' or one of {list(own)}"
        )
    return (own[scheme] if gain is None else gain) / math.sqrt(fan_in)


def tanh_second_moment(layer: int) -> float:
    """1 / (2 layer): E[a^2] of layer `layer` of a wide tanh network with sigma_w = 1 and no biases, for deep layers.

    E[tanh(z)^2] = q - 2 q^2 + O(q^3) for z ~ N(0, q); so 1/q grows by 2 a layer. It never settles: sigma_w = 1 is on
    the critical line, where q* = 0 is approached by a power of depth. (The next order: 1/q grows by 2 - 5 q / 3.)
    """
    return 1 / (2 * whole("layer", layer))


def selu_constants() -> tuple[float, float]:
    """(alpha, scale) for which z ~ N(0, 1) gives f(z) mean 0 and variance 1 (Klambauer et al. 2017).

    From the two conditions: with A = E[e^z - 1; z < 0] the mean is scale (1 / sqrt(2 pi) + alpha A), and the second
    moment scale^2 (1/2 + alpha^2 B) with B = E[(e^z - 1)^2; z < 0].
    """
    # E[e^(kz); z < 0] = e^(k^2 / 2) Phi(-k), Phi the normal distribution function
    once, twice = (math.exp(k * k / 2) * math.erfc(k / math.sqrt(2)) / 2 for k in (1, 2))
    alpha = 1 / (math.sqrt(2 * math.pi) * (0.5 - once))
    return alpha, (0.5 + alpha**2 * (twice - 2 * once + 0.5)) ** -0.5


# --- finite width ---


def born_dead_upper(widths: Sequence[int]) -> float:
    """Upper bound on the probability that a ReLU network is constant at birth: 1 - prod(1 - 2^-H) over hidden layers.

    `widths` are those of the hidden layers; weights and biases symmetrically distributed (Lu et al. 2019). It is
    the probability that a single input reaches no output.
    """
    return 1 - math.prod(1 - 2.0 ** -whole("widths", width) for width in widths)


def born_dead_bounds(depth: int, width: int) -> tuple[float, float]:
    """(lower, upper) bound on the same for one input feature, no biases and `depth` - 1 hidden layers of `width`.

    Without biases such a network is two rays, x > 0 and x < 0. The lower bound (Lu et al. 2019) is that of a chain
    in which two rays live, one, or none: one dies with 2^-H, two of orthogonal activations with 4^-H. Two become one
    where one dies, and where both pass through one and the same unit only, which leaves them parallel.
    """
    hidden, h = whole("depth", depth, least=2) - 1, 2.0 ** -whole("width", width)
    one, two = 1 - h, 1 - 2 * h - (width - 1) * h**2  # to stay with one ray, with two
    share = (1 - 2 * h) * (1 - h) / (1 + (width - 1) * h)
    lower = 1 - one ** (hidden - 1) + share * (two ** (hidden - 1) - one ** (hidden - 1))
    return max(lower, 0.0), born_dead_upper([width] * hidden)


def norm_fluctuation(widths: Sequence[int]) -> float:
    """Relative variance of ||a_L||^2 over draws of a ReLU network with He's weights: prod(1 + 5/H) - 1.

    `widths` are those of its L layers. A layer multiplies ||a||^2 by (2/H) sum_j max(g_j, 0)^2, g ~ N(0, 1), whose
    mean is 1 and whose variance is (4/H) (3/2 - 1/4) = 5/H, independently; about exp(5 L/H) - 1 for equal widths.
    (Hanin & Rolnick 2018 prove bounds of this form, Hanin 2018 for gradients, and Hanin & Nica 2020 that ln ||a_L||^2
    is nearly normal with variance sum(5/H).)
    """
    return math.prod(1 + 5 / whole("widths", width) for width in widths) - 1


# --- numerics and arguments ---


@cache
def _panel() -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(16)


def _gaussian(centre: float | np.ndarray, spread: float, detail: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
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


def _product(f: Callable, c: float, q: float) -> float:
    """E[f(z1) f(z2)] for z1, z2 ~ N(0, q) with correlation c."""
    spread = math.sqrt(q)
    rest = spread * math.sqrt(max(1 - c * c, 0.0))  # of z2, given z1: the width to which a kink is smoothed
    z1, weights = _gaussian(0.0, spread, detail=min(0.5, max(rest, 1e-9 * spread)))
    if rest < 1e-9 * spread:
        return float(weights @ (f(z1) * f(math.copysign(1.0, c) * z1)))
    z2, given = _gaussian(c * z1, rest)
    return float(weights @ (f(z1) * np.sum(given * f(z2), axis=-1)))  # the sum is E[f(z2) | z1]


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where `function` changes its sign between `low` and `high`, by bisection."""
    left = function(low) > 0
    for _ in range(45):  # 2^-45 is 3e-14
        middle = (low + high) / 2
        if (function(middle) > 0) == left:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _layer(activation: str):
    if activation not in ACTIVATIONS or activation == "maxout":
        known = [name for name in ACTIVATIONS if name != "maxout"]
        raise ValueError(f"activation: {activation!r} is not one of {known}")
    return ACTIVATIONS[activation]()


def _function(activation: str) -> Callable[[np.ndarray], np.ndarray]:
    return _layer(activation).forward


def _slope(activation: str) -> Callable[[np.ndarray], np.ndarray]:
    layer = _layer(activation)

    def slope(z: np.ndarray) -> np.ndarray:
        layer.forward(z)
        return layer.backward(np.ones_like(z))

    return slope


def _at(activation: str, sigma_w: float, sigma_b: float, q: float | None) -> float:
    """`q` itself, or the fixed point where it is None."""
    if q is not None:
        return _positive("q", q)
    return min(max(fixed_point(activation, sigma_w, sigma_b), SMALLEST), LARGEST)


def _spreads(sigma_w: float, sigma_b: float) -> None:
    _positive("sigma_w", sigma_w)
    _not_negative("sigma_b", sigma_b)


def _not_negative(name: str, value: float) -> None:
    if not (isinstance(value, Real) and math.isfinite(value) and value >= 0):
        raise ValueError(f"{name}: expected a finite number of at least 0, got {value!r}")


def _positive(name: str, value: float) -> float:
    if not (isinstance(value, Real) and math.isfinite(value) and value > 0):
        raise ValueError(f"{name}: expected a finite number above 0, got {value!r}")
    return float(value)
