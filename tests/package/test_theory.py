"""The closed forms against simulated networks, other people's formulas, printed numbers and plain iteration.

Functions and slopes come from PyTorch, means from Simpson's rule, and never from the code under test. Simulations are
held to five standard errors, which one run in two million exceeds; their seeds are fixed.
"""

import inspect
import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import simpson
from scipy.optimize import brentq
from scipy.special import ndtr
from torch import nn

from unstuck import theory
from unstuck.activations import ACTIVATIONS as TABLE
from unstuck.models import ACTIVATIONS, activation_module

NAMES = [name for name in ACTIVATIONS if name != "maxout"]
SMOOTH = ("sigmoid", "tanh", "gelu", "silu")
Q = (1e-4, 1.0, 50.0)


def torch_function(name, z):
    with torch.no_grad():
        return activation_module(name).double()(torch.as_tensor(z)).numpy()


def torch_slope(name, z):
    z = torch.tensor(z, requires_grad=True)
    activation_module(name).double()(z).sum().backward()
    return z.grad.numpy()


def by_simpson(name, q, of=lambda a: a, function=torch_function):
    """E[of(f(z))], z ~ N(0, q), each side of the kink for itself: 20 001 points to 10 standard deviations."""
    t = np.linspace(1e-13, 10, 20_001)
    density = np.exp(-(t**2) / 2) / math.sqrt(2 * math.pi)
    return sum(simpson(of(function(name, side * math.sqrt(q) * t)) * density, x=t) for side in (-1, 1))


def iterate(step, value, tolerance=1e-12, most=3000):
    for _ in range(most):
        value, last = step(value), value
        if abs(value - last) <= tolerance * abs(last):
            return value
    raise AssertionError("no fixed point within reach")


def assert_mean(samples, expected, slack=0.0):
    """The samples (M,) have the expected mean, to five of its standard errors and `slack`."""
    samples = np.asarray(samples, dtype=np.float64)
    error = samples.std(ddof=1) / math.sqrt(len(samples))
    assert abs(samples.mean() - expected) < 5 * error + slack


# --- means over z ---


@pytest.mark.parametrize("q", [1e-12, 0.3, 1.0, 1e6])
def test_expectation_of_known_means(q):
    for function, exact in [
        (np.ones_like, 1),
        (lambda z: z**2, q),
        (lambda z: z**4, 3 * q**2),
        (np.abs, math.sqrt(2 * q / math.pi)),  # a kink
        (lambda z: z > 0, 0.5),  # a jump
        (lambda z: np.exp(-z * z / (2 * q)), math.sqrt(0.5)),
    ]:
        # sums of some 600 terms of double precision, and 2e-19 beyond nine standard deviations
        assert theory.expectation(function, q) == pytest.approx(exact, rel=1e-12)
    assert theory.expectation(lambda z: z**3, q) == pytest.approx(0, abs=1e-12 * q**1.5)


def test_expectation_is_at_one_by_default():
    assert theory.expectation(np.cos) == pytest.approx(math.exp(-0.5), rel=1e-12)


@pytest.mark.parametrize("q", Q)
@pytest.mark.parametrize("name", NAMES)
def test_means_against_simpson_s_rule_on_torch_s_functions(name, q):
    # Simpson's steps are 0.0005 standard deviations, 0.0035 where z is widest: h^4 is below 1e-9
    assert theory.mean(name, q) == pytest.approx(by_simpson(name, q), rel=1e-9, abs=1e-12)
    assert theory.second_moment(name, q) == pytest.approx(by_simpson(name, q, np.square), rel=1e-9)
    assert theory.slope_moment(name, q) == pytest.approx(by_simpson(name, q, np.square, torch_slope), rel=1e-9)


@pytest.mark.parametrize("q", Q)
def test_closed_forms(q):
    same = {"rel": 1e-11}
    assert theory.mean("relu", q) == pytest.approx(math.sqrt(q / (2 * math.pi)), **same)
    assert theory.second_moment("relu", q) == pytest.approx(q / 2, **same)
    variance = theory.second_moment("relu", q) - theory.mean("relu", q) ** 2
    assert variance == pytest.approx(q * (1 / 2 - 1 / (2 * math.pi)), **same)
    assert theory.slope_moment("relu", q) == pytest.approx(0.5, **same)
    for name, slope in [("leaky_relu", 0.01), ("prelu", 0.25)]:
        assert theory.mean(name, q) == pytest.approx((1 - slope) * math.sqrt(q / (2 * math.pi)), **same)
        assert theory.second_moment(name, q) == pytest.approx(q * (1 + slope**2) / 2, **same)
        assert theory.slope_moment(name, q) == pytest.approx((1 + slope**2) / 2, **same)
    assert theory.mean("sigmoid", q) == pytest.approx(0.5, **same)  # s(z) + s(-z) = 1
    assert theory.mean("tanh", q) == theory.mean("identity", q) == 0.0  # odd
    # z ndtr(z), by parts
    assert theory.mean("gelu", q) == pytest.approx(q / math.sqrt(2 * math.pi * (1 + q)), **same)
    # E[e^(kz); z < 0] = e^(k^2 q / 2) ndtr(-k sqrt q); the terms cancel to 1e-2 at the smallest q
    once, twice = (math.exp(k * k * q / 2) * ndtr(-k * math.sqrt(q)) for k in (1, 2))
    assert theory.mean("elu", q) == pytest.approx(math.sqrt(q / (2 * math.pi)) + once - 0.5, rel=1e-9)
    assert theory.second_moment("elu", q) == pytest.approx(q / 2 + twice - 2 * once + 0.5, rel=1e-9)
    assert theory.slope_moment("elu", q) == pytest.approx(0.5 + twice, **same)


def test_tanh_by_its_series():
    q = 1e-3  # tanh^2 = z^2 - 2/3 z^4 + 17/45 z^6 - 62/315 z^8 + ...; the next term is 92 q^5 = 9e-14
    assert theory.second_moment("tanh", q) == pytest.approx(q - 2 * q**2 + 17 / 3 * q**3 - 62 / 3 * q**4, abs=2e-13)
    # tanh'^2 = 1 - 2 z^2 + 7/3 z^4 - 94/45 z^6 + ...; the next term is some 2e2 q^4
    assert theory.slope_moment("tanh", q) == pytest.approx(1 - 2 * q + 7 * q**2 - 94 / 3 * q**3, abs=5e-10)


def test_every_activation_has_a_gain():
    assert list(ACTIVATIONS) == list(TABLE)
    for name in TABLE:
        assert theory.second_moment_map(name, 1.0, theory.gain(name)) == pytest.approx(1, rel=1e-12)


def test_gains():
    assert theory.gain("identity") == pytest.approx(1, rel=1e-12)
    for name, parameter in [("relu", None), ("leaky_relu", 0.01), ("leaky_relu", None)]:
        assert theory.gain(name) == pytest.approx(nn.init.calculate_gain(name, parameter), rel=1e-12)
    assert theory.gain("prelu") == pytest.approx(nn.init.calculate_gain("leaky_relu", 0.25), rel=1e-12)
    assert theory.gain("selu") == pytest.approx(1, rel=1e-12)  # what its constants are for
    assert theory.gain("maxout") == pytest.approx(1, rel=1e-12)
    by_hand = {name: by_simpson(name, 1.0, np.square) ** -0.5 for name in NAMES}
    assert {name: theory.gain(name) for name in NAMES} == pytest.approx(by_hand, rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_the_gain_is_where_one_is_a_fixed_point(name):
    assert theory.second_moment_map(name, 1.0, theory.gain(name)) == pytest.approx(1, rel=1e-12)
    assert theory.fixed_point(name, theory.gain(name)) == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize("q", Q)
def test_maxout_by_the_larger_of_two(q):
    """Of two independent N(0, 1) the larger has the mean 1 / sqrt(pi), and by symmetry the second moment 1."""
    assert theory.mean("maxout", q) == pytest.approx(math.sqrt(q / math.pi), rel=1e-11)
    assert theory.second_moment("maxout", q) == pytest.approx(q, rel=1e-11)
    assert theory.slope_moment("maxout", q) == pytest.approx(1, rel=1e-11)  # one of the two is the larger
    z = torch.from_numpy(np.random.default_rng(0).normal(0, math.sqrt(q), (1_000_000, 2)))
    largest = activation_module("maxout")(z)[:, 0].numpy()
    assert_mean(largest, theory.mean("maxout", q))
    assert_mean(largest**2, theory.second_moment("maxout", q))


@pytest.mark.parametrize("c", [-1.0, -0.6, 0.0, 0.3, 0.9, 1.0])
def test_correlation_map_of_maxout(c):
    # (s + |d|) / sqrt(2): half the identity's, c, and half of |d|'s, by E[|d1 d2|] for normal numbers
    exact = (c + 2 / math.pi * (math.sqrt(1 - c * c) + c * math.asin(c))) / 2
    assert theory.correlation_map("maxout", c, 1.0, q=2.0) == pytest.approx(exact, abs=1e-12)
    rng = np.random.default_rng(1)
    first, other = rng.standard_normal((2, 500_000, 2))
    second = c * first + math.sqrt(1 - c * c) * other
    assert_mean(first.max(axis=1) * second.max(axis=1), exact)


def test_maxout_through_depth():
    assert theory.fixed_point("maxout", 1.0) == 1.0
    assert theory.fixed_point("maxout", 0.6, 0.8) == pytest.approx(1, rel=1e-9)
    assert theory.critical_sigma_w("maxout") == pytest.approx(1, abs=1e-9)
    assert theory.correlation_fixed_point("maxout", 1.0) == 1.0  # by a power of depth, as for a ReLU
    assert theory.depth_scale("maxout", 0.5) == pytest.approx(1 / math.log(4), rel=1e-9)


# --- wide random networks ---


def simulate(name, sigma_w, sigma_b, seed, width=400, depth=6):
    """q of each layer's z and the mean squared gradient of a random output with respect to it, (depth,) each."""
    generator = torch.Generator().manual_seed(seed)
    act = activation_module(name)
    rows = width * getattr(act, "pieces", 1)
    # the first layer's z is N(0, 1)
    z = torch.randn(1, rows, generator=generator).requires_grad_()
    layers = [z]
    for _ in range(depth - 1):
        w = torch.randn(rows, width, generator=generator) * (sigma_w / math.sqrt(width))
        layers.append(act(layers[-1]) @ w.T + sigma_b * torch.randn(1, rows, generator=generator))
    gradients = torch.autograd.grad((layers[-1] @ torch.randn(rows, 1, generator=generator)).sum(), layers)
    return [float((v.detach() ** 2).mean()) for v in layers], [float((g**2).mean()) for g in gradients]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_both_passes_of_a_wide_network(name):
    sigma_w, sigma_b, depth = 1.2, 0.3, 6
    runs = np.array([simulate(name, sigma_w, sigma_b, seed) for seed in range(12)])  # (12, 2, depth)
    forward = theory.through_depth(name, depth, sigma_w, sigma_b)
    backward = np.array([theory.chi(name, sigma_w, sigma_b, q) for q in forward])
    for layer in range(depth):
        # five layers of 400 units leave a bias of the order of 5 / 400
        assert_mean(runs[:, 0, layer] / forward[layer], 1, slack=0.0125)
        assert_mean(runs[:, 1, layer] / np.prod(backward[layer:-1]), 1, slack=0.0125)


@pytest.mark.parametrize("name", NAMES)
def test_two_inputs_in_a_wide_network(name):
    q, c, sigma_w, sigma_b, width = 1.7, 0.6, 1.3, 0.4, 500
    shared = []
    for seed in range(16):
        rng = np.random.default_rng(seed)
        z1, other = math.sqrt(q) * rng.standard_normal((2, width))
        a = torch_function(name, np.stack([z1, c * z1 + math.sqrt(1 - c * c) * other]))  # (2, width)
        w = rng.standard_normal((width, width)) * sigma_w / math.sqrt(width)
        z = a @ w.T + sigma_b * rng.standard_normal(width)
        shared.append(np.mean(z[0] * z[1]))
    # the numerator is linear in the draws, and has no bias
    expected = theory.correlation_map(name, c, sigma_w, sigma_b, q) * theory.second_moment_map(
        name, q, sigma_w, sigma_b
    )
    assert_mean(shared, expected)


# --- one input through depth ---


def test_relu_s_second_moment_is_halved():
    np.testing.assert_allclose(theory.through_depth("relu", 8, 1.0, q=3.0), 3 * 0.5 ** np.arange(8), rtol=1e-11)
    np.testing.assert_allclose(theory.through_depth("relu", 8, math.sqrt(2)), 1, rtol=1e-11)
    np.testing.assert_allclose(
        theory.through_depth("relu", 8, math.sqrt(2), 0.1, q=2.0), 2 + 0.01 * np.arange(8), rtol=1e-11
    )
    assert theory.second_moment_map("relu", 3.0, 2.0, 0.5) == pytest.approx(2 * 3 + 0.25, rel=1e-12)


def test_through_depth_begins_with_the_argument():
    assert theory.through_depth("tanh", 1, 1.0, q=0.3).tolist() == [0.3]
    q = theory.through_depth("tanh", 3, 1.5, 0.2, q=0.3)
    for before, after in itertools.pairwise(q):
        assert after == pytest.approx(1.5**2 * by_simpson("tanh", before, np.square) + 0.04, rel=1e-9)


def test_a_small_signal_falls_on_and_on():
    """tanh with standard deviation 0.01 and 500 units: sigma_w^2 = 0.05, and tanh is linear after a few layers."""
    q = theory.through_depth("tanh", 30, 0.01 * math.sqrt(500), q=0.05)
    np.testing.assert_allclose(q[12:] / q[11:-1], 0.05, rtol=1e-12)
    assert q[-1] < 1e-37


@pytest.mark.parametrize("name", NAMES)
def test_no_depth_leaves_floating_point(name):
    for sigma_w in (1e-3, 1e3):
        q = theory.through_depth(name, 200, sigma_w)
        assert np.isfinite(q).all() and (q > 0).all()


CASES = [
    ("tanh", 1.3, 0.0),
    ("tanh", 2.0, 0.3),
    ("tanh", 0.5, 0.3),
    ("tanh", 100.0, 0.0),
    ("sigmoid", 1.0, 0.0),
    ("sigmoid", 20.0, 1.0),
    ("relu", 1.3, 0.2),
    ("leaky_relu", 1.0, 2.0),
    ("elu", 1.2, 0.0),
    ("elu", 1.0, 0.5),
    ("selu", 0.9, 0.0),
    ("selu", 1.3, 0.1),
    ("gelu", 1.3, 0.5),
    ("silu", 1.2, 1.0),
]


@pytest.mark.parametrize(("name", "sigma_w", "sigma_b"), CASES)
def test_fixed_points_by_iteration(name, sigma_w, sigma_b):
    def step(q):
        return sigma_w**2 * by_simpson(name, q, np.square) + sigma_b**2

    # a step that moves q by a part of 1e-9 lies 1e-9 / |1 - slope| from the fixed point
    found = iterate(step, 1.0, tolerance=1e-9)
    assert theory.fixed_point(name, sigma_w, sigma_b) == pytest.approx(found, rel=1e-6)


def test_fixed_points_in_closed_form():
    for sigma_w, sigma_b in [(1.0, 0.1), (0.1, 1.0), (1.41, 0.5), (1.4, 30.0)]:
        exact = sigma_b**2 / (1 - sigma_w**2 / 2)
        # q* is as exact as the mean of its map, 1e-12, over 1 - sigma_w^2 / 2, which is at least 0.006
        assert theory.fixed_point("relu", sigma_w, sigma_b) == pytest.approx(exact, rel=1e-9)
    assert theory.fixed_point("identity", 0.6, 0.8) == pytest.approx(1, rel=1e-12)
    # tanh where it is nearly critical, by its series to q^3: 1/sigma_w^2 = 1 - 2 q + 17/3 q^2 - 62/3 q^3
    root = brentq(lambda q: 1 - 2 * q + 17 / 3 * q**2 - 62 / 3 * q**3 - 1.001**-2, 1e-5, 1e-2)
    assert theory.fixed_point("tanh", 1.001) == pytest.approx(root, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "sigma_w", "sigma_b", "limit"),
    [
        ("tanh", 0.5, 0.0, 0.0),
        ("tanh", 1.0, 0.0, 0.0),  # by a power of depth
        ("elu", 1.0, 0.0, 0.0),
        ("relu", 1.41, 0.0, 0.0),
        ("relu", math.sqrt(2), 0.0, 1.0),  # every q stays
        ("identity", 1.0, 0.0, 1.0),
        ("prelu", math.sqrt(2 / (1 + 0.25**2)), 0.0, 1.0),
        ("relu", 1.42, 0.0, math.inf),
        ("relu", math.sqrt(2), 1e-3, math.inf),  # q grows by 1e-6 a layer: slower and slower, without end
        ("relu", math.sqrt(2), 0.01, math.inf),
        ("relu", math.sqrt(2), 2.0, math.inf),
        ("identity", 1.0, 0.01, math.inf),
        ("elu", math.sqrt(2), 0.0, math.inf),
        ("gelu", 1.5, 0.0, 0.0),
        ("gelu", 1.6, 0.0, math.inf),
        ("silu", 1.6, 0.0, 0.0),
        ("silu", 1.7, 0.0, math.inf),
    ],
)
def test_limits_of_a_signal(name, sigma_w, sigma_b, limit):
    assert theory.fixed_point(name, sigma_w, sigma_b) == limit
    q = theory.through_depth(name, 300, sigma_w, sigma_b)  # and so does the map itself lead
    if limit == 1:
        np.testing.assert_allclose(q, 1, rtol=1e-9)
    else:
        assert (np.sign(np.diff(np.log(q))) == (1 if limit else -1)).all()


# --- chi, the critical line, the depth scale ---


def test_chi_of_homogeneous_functions():
    for q in (None, 0.01, 5.0):
        assert theory.chi("relu", 1.5, 0.3, q) == pytest.approx(1.5**2 / 2, rel=1e-11)
        assert theory.chi("prelu", 1.5, 0.3, q) == pytest.approx(1.5**2 * (1 + 0.25**2) / 2, rel=1e-11)
        assert theory.chi("identity", 0.7, 0.3, q) == pytest.approx(0.49, rel=1e-11)


@pytest.mark.parametrize("name", SMOOTH)
def test_chi_is_the_correlation_map_s_slope_at_one(name):
    step, sigma_w, sigma_b = 1e-4, 1.2, 0.6
    q = theory.fixed_point(name, sigma_w, sigma_b)
    assert 0 < q < math.inf
    one, two = (1 - theory.correlation_map(name, 1 - k * step, sigma_w, sigma_b) for k in (1, 2))
    # a one-sided difference of second order: an error of the order of step^2, of 1e-12 / step in rounding
    slope = (4 * one - two) / (2 * step)
    assert theory.chi(name, sigma_w, sigma_b) == pytest.approx(slope, abs=1e-6)


def test_the_lecture_s_gradient_that_grows():
    """tanh with standard deviation 1 and 500 units: 3.48 a layer backwards, the root of 500 E[sech^4 z]."""
    chi = theory.chi("tanh", math.sqrt(500))
    assert math.sqrt(chi) == pytest.approx(3.48, abs=0.005)
    # sech^4 is narrow beside N(0, q): its integral is 4/3; the next order is 1 / (10 q)
    q = theory.fixed_point("tanh", math.sqrt(500))
    assert chi == pytest.approx(500 * 4 / 3 / math.sqrt(2 * math.pi * q), rel=1e-3)
    assert theory.chi("tanh", math.sqrt(500), q=500.0) == pytest.approx(
        500 * 4 / 3 / math.sqrt(1000 * math.pi), rel=1e-3
    )


def test_critical_line_of_the_papers():
    # Schoenholz et al. 2017 print 1.76 for tanh at sigma_b^2 = 0.05
    assert theory.critical_sigma_w("tanh", math.sqrt(0.05)) ** 2 == pytest.approx(1.76, abs=0.005)
    assert theory.critical_sigma_w("tanh") == pytest.approx(1, abs=1e-6)  # q* is never below SMALLEST
    assert theory.critical_sigma_w("identity") == pytest.approx(1, abs=1e-9)
    for sigma_b in (0.0, 0.5):
        assert theory.critical_sigma_w("relu", sigma_b) == pytest.approx(math.sqrt(2), abs=1e-9)


@pytest.mark.parametrize(
    ("name", "sigma_b"), [("tanh", 0.5), ("sigmoid", 0.0), ("elu", 0.5), ("selu", 0.5), ("silu", 2.0)]
)
def test_the_critical_line_divides_order_from_chaos(name, sigma_b):
    critical = theory.critical_sigma_w(name, sigma_b)
    q = iterate(lambda q: critical**2 * by_simpson(name, q, np.square) + sigma_b**2, 1.0, tolerance=1e-8)
    assert critical**2 * by_simpson(name, q, np.square, torch_slope) == pytest.approx(1, abs=1e-6)
    assert theory.chi(name, 0.99 * critical, sigma_b) < 1 < theory.chi(name, 1.01 * critical, sigma_b)
    assert theory.correlation_fixed_point(name, 0.99 * critical, sigma_b) == 1
    assert theory.depth_scale(name, 0.9 * critical, sigma_b) < theory.depth_scale(name, 0.99 * critical, sigma_b)
    assert theory.depth_scale(name, critical, sigma_b) == math.inf


@pytest.mark.parametrize("name", ["gelu", "silu"])
def test_where_chi_jumps_there_is_no_critical_line(name):
    with pytest.raises(ValueError, match=rf"^activation: '{name}' with sigma_b = 0.0 has no critical sigma_w"):
        theory.critical_sigma_w(name)
    # from q* = 0, where the slope is 1/2, to inf, where it is a ReLU's
    jump = theory.gain(name)
    # 1e-3 either side of the jump; q* stands for its limits to 1e-9, and a slope moment to its root
    assert theory.chi(name, 0.999 * jump) == pytest.approx((0.999 * jump) ** 2 / 4, rel=1e-4)
    assert theory.chi(name, 1.001 * jump) == pytest.approx((1.001 * jump) ** 2 / 2, rel=1e-4)
    assert theory.chi(name, 0.999 * jump) < 1 < theory.chi(name, 1.001 * jump)


@pytest.mark.parametrize(
    ("name", "sigma_w", "sigma_b", "start"),
    [
        ("tanh", 1.0, 0.3, 0.2),  # ordered
        ("relu", 1.0, 0.5, 0.2),
        ("sigmoid", 3.0, 0.2, 0.9),
        ("selu", 0.8, 0.5, 0.2),
        ("tanh", 3.0, 0.3, 0.9),  # chaotic
        ("tanh", 4.0, 0.3, 0.05),
        ("tanh", 3.0, 0.0, 0.5),
        ("sigmoid", 30.0, 0.5, 0.5),
        ("selu", 1.2, 0.0, 0.9),
    ],
)
def test_correlations_by_iteration(name, sigma_w, sigma_b, start):
    """The map itself leads to c*, and the distance falls as exp(-layer / xi): a line fitted to its last layers."""
    limit = theory.correlation_fixed_point(name, sigma_w, sigma_b)
    layers = int(10 * theory.depth_scale(name, sigma_w, sigma_b))  # to exp(-10) = 5e-5
    c = [start]
    for _ in range(layers):
        c.append(theory.correlation_map(name, c[-1], sigma_w, sigma_b))
    assert c[-1] == pytest.approx(limit, abs=2e-4)
    late = np.arange(layers // 2, layers + 1)
    rate = np.polyfit(late, np.log(np.abs(np.array(c)[late] - limit)), 1)[0]
    # half-way the distance is 7e-3, and the rate is off by the map's curvature times it; for a ReLU by its root
    assert -1 / rate == pytest.approx(theory.depth_scale(name, sigma_w, sigma_b), rel=0.01)


def test_depth_scale_where_q_itself_runs_away():
    for name, sigma_w, q in [("tanh", 0.5, 1.0), ("relu", 1.0, 1.0), ("relu", 2.0, 1.0), ("gelu", 1.0, 1.0)]:
        path = theory.through_depth(name, 40, sigma_w, q=q)
        rate = math.log(path[-1] / path[-2])
        assert theory.depth_scale(name, sigma_w) == pytest.approx(1 / abs(rate), rel=1e-6)
    assert theory.depth_scale("relu", 1.0) == pytest.approx(1 / math.log(2), rel=1e-9)
    for name, sigma_w in [("relu", math.sqrt(2)), ("identity", 1.0)]:
        assert theory.depth_scale(name, sigma_w) == math.inf


# --- two inputs ---


def arc_cosine(c):
    """Cho & Saul 2009: the ReLU kernel of degree one, as a correlation."""
    angle = math.acos(c)
    return (math.sin(angle) + (math.pi - angle) * c) / math.pi


CORRELATIONS = (-1, -0.999999, -0.7, 0, 0.3, 0.9, 0.999, 0.9999, 0.999999, 1)


@pytest.mark.parametrize("c", CORRELATIONS)
@pytest.mark.parametrize("q", [1e-6, 1.0, 1e6])
def test_relu_s_correlation_map_is_the_arc_cosine_kernel(c, q):
    # 1 - c^2 cancels: an angle of 1e-3 is known to 1e-13
    assert theory.correlation_map("relu", c, math.sqrt(2), q=q) == pytest.approx(arc_cosine(c), abs=1e-12)
    # f = a z + (1 - a) relu(z), a = 1/4; E[z1 relu(z2)] = c q / 2
    leaky = (c / 16 + 2 * 3 / 16 * c / 2 + 9 / 16 * arc_cosine(c) / 2) / ((1 + 1 / 16) / 2)
    assert theory.correlation_map("prelu", c, 1.0, q=q) == pytest.approx(leaky, abs=1e-12)
    assert theory.correlation_map("identity", c, 0.6, 0.8) == pytest.approx(0.36 * c + 0.64, abs=1e-12)


@pytest.mark.parametrize("c", [-0.8, 0.0, 0.5, 0.95])
@pytest.mark.parametrize("name", SMOOTH)
def test_correlation_map_of_smooth_functions_by_gauss_hermite(name, c):
    """A product rule of 100 points a side. tanh's and the sigmoid's poles leave it 1e-7."""
    z, weights = np.polynomial.hermite_e.hermegauss(100)
    weights = weights / weights.sum()
    sigma_w, sigma_b, q = 1.3, 0.4, 0.8
    first = torch_function(name, math.sqrt(q) * z)[:, None]
    second = torch_function(name, math.sqrt(q) * (c * z[:, None] + math.sqrt(1 - c * c) * z))
    shared = sigma_w**2 * weights @ (first * second) @ weights + sigma_b**2
    own = sigma_w**2 * by_simpson(name, q, np.square) + sigma_b**2
    assert theory.correlation_map(name, c, sigma_w, sigma_b, q) == pytest.approx(shared / own, abs=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_equal_inputs_stay_equal(name):
    for sigma_b in (0.0, 0.5):
        assert theory.correlation_map(name, 1, 1.3, sigma_b, 0.8) == pytest.approx(1, abs=1e-12)
    # independent inputs share the mean, and the bias
    shared = 1.3**2 * by_simpson(name, 0.8) ** 2 + 0.25
    own = 1.3**2 * by_simpson(name, 0.8, np.square) + 0.25
    assert theory.correlation_map(name, 0, 1.3, 0.5, 0.8) == pytest.approx(shared / own, abs=1e-9)


def test_opposite_inputs_of_an_odd_function_stay_opposite():
    assert theory.correlation_map("tanh", -1, 1.5) == pytest.approx(-1, abs=1e-12)
    assert theory.correlation_map("tanh", -0.4, 1.5) == pytest.approx(-theory.correlation_map("tanh", 0.4, 1.5))


def test_the_fixed_point_is_the_default_q():
    q = theory.fixed_point("tanh", 1.7, 0.2)
    assert theory.correlation_map("tanh", 0.4, 1.7, 0.2) == theory.correlation_map("tanh", 0.4, 1.7, 0.2, q)
    assert theory.chi("tanh", 1.7, 0.2) == theory.chi("tanh", 1.7, 0.2, q)


def test_limits_of_the_correlation():
    for name, sigma_w, sigma_b in [
        ("relu", 0.5, 0.0),  # at every sigma_w: by a power of depth
        ("relu", math.sqrt(2), 0.0),
        ("relu", math.sqrt(2), 0.1),
        ("relu", 3.0, 0.0),
        ("prelu", 1.0, 0.0),
        ("selu", 0.3, 0.0),  # its kink remains where the signal vanishes
        ("gelu", 1.7, 0.0),  # a ReLU where it explodes
        ("silu", 1.8, 0.1),
        ("identity", 0.5, 0.1),  # the shared bias is what remains
        ("tanh", 0.5, 0.1),
    ]:
        assert theory.correlation_fixed_point(name, sigma_w, sigma_b) == 1, (name, sigma_w, sigma_b)
    for sigma_w in (1.1, 2.0, 100.0):  # odd, chaotic, no biases: everything decorrelates
        assert theory.correlation_fixed_point("tanh", sigma_w) == 0
    for name, sigma_w in [("identity", 0.5), ("identity", 1.0), ("identity", 2.0), ("tanh", 0.9), ("gelu", 1.0)]:
        assert math.isnan(theory.correlation_fixed_point(name, sigma_w)), (name, sigma_w)


def test_two_inputs_of_a_relu_network_become_one():
    """By a power of depth: 1 - c is about 9 pi^2 / (2 layer^2), since the kernel is c + 0.3 (1 - c)^(3/2) near 1."""
    c, layers = 0.0, 10_000
    for _ in range(layers):
        c = arc_cosine(c)
    assert (1 - c) * layers**2 == pytest.approx(9 * math.pi**2 / 2, rel=0.01)  # but for ln(layer) / layer
    assert theory.correlation_fixed_point("relu", math.sqrt(2)) == 1


# --- rules for first weights ---


@pytest.mark.parametrize(
    ("scheme", "gain", "expected"),
    [
        ("lecun", None, 1 / math.sqrt(50)),
        ("lecun", 3.0, 3 / math.sqrt(50)),
        ("xavier", None, math.sqrt(2 / 80)),
        ("xavier", 5 / 3, 5 / 3 * math.sqrt(2 / 80)),
        ("he", None, math.sqrt(2 / 50)),
        ("he", 1.0, 1 / math.sqrt(50)),
        ("he", 0.0, 0.0),
        ("pytorch", None, 1 / math.sqrt(150)),
        ("pytorch", 1.0, 1 / math.sqrt(50)),
    ],
)
def test_standard_deviations(scheme, gain, expected):
    assert theory.standard_deviation(scheme, 50, 30, gain) == pytest.approx(expected, rel=1e-12)


def test_pytorch_s_own_standard_deviation_is_that_of_a_layer():
    torch.manual_seed(0)
    weight = nn.Linear(300, 1000).weight.detach()
    # a uniform sample's variance has the relative error sqrt(0.8 / n), its root half of that
    error = math.sqrt(0.8 / weight.numel()) / 2
    assert float(weight.std()) == pytest.approx(theory.standard_deviation("pytorch", 300, 1000), rel=5 * error)


def test_tanh_behind_xavier():
    """1 / (2 layer), which the map approaches by ln(layer) / layer: 4.4 % at layer 10, 0.23 % at layer 1000."""
    q = theory.through_depth("tanh", 1001, 1.0)  # E[a^2] of a layer is q of the next
    for layer, within in [(10, 0.05), (50, 0.025), (1000, 0.0025)]:
        assert q[layer] == pytest.approx(theory.tanh_second_moment(layer), rel=within)
    assert theory.tanh_second_moment(10) == 0.05
    # a network of 30 layers; at this depth 1 / (2 layer) is 3 % low
    runs = [simulate("tanh", 1.0, 0.0, seed, width=300, depth=31)[0][30] for seed in range(8)]
    assert_mean(runs, theory.tanh_second_moment(30), slack=0.05 * theory.tanh_second_moment(30))


def test_selu_s_constants():
    # as printed by Klambauer et al. 2017 and, to all digits, in their code
    alpha, scale = theory.selu_constants()
    assert (round(alpha, 4), round(scale, 4)) == (1.6733, 1.0507)
    assert alpha == pytest.approx(1.6732632423543772848170429916717, rel=1e-14)
    assert scale == pytest.approx(1.0507009873554804934193349852946, rel=1e-14)
    far = nn.functional.selu(torch.tensor([1.0, -60.0], dtype=torch.float64))
    np.testing.assert_allclose(far, [scale, -scale * alpha], rtol=1e-14)


# --- finite width ---


def dead_rays(widths, nets, seed):
    """Whether x = 1 and x = -1 die in networks of one input feature without biases, (nets, 2).

    With no bias the network is linear on either ray: a ray is dead where all units of one layer are 0 on it.
    """
    rng = np.random.default_rng(seed)
    a = np.broadcast_to(np.array([1.0, -1.0]), (nets, 1, 2))
    for width in widths:
        w = rng.standard_normal((nets, width, a.shape[1]))
        a = np.maximum(w @ a, 0)
        # a scale of its own keeps a ray from underflowing; one that is dead stays 0
        a = a / np.maximum(a.max(axis=1, keepdims=True), np.finfo(float).tiny)
    return (a == 0).all(axis=1)


@pytest.mark.parametrize(("depth", "width"), [(2, 3), (5, 1), (3, 2), (10, 2), (10, 3), (25, 3), (20, 4), (30, 6)])
def test_born_dead_networks(depth, width):
    nets = 20_000
    dead = dead_rays([width] * (depth - 1), nets, seed=depth)
    both = dead.all(axis=1).mean()
    lower, upper = theory.born_dead_bounds(depth, width)
    assert 0 <= lower <= upper <= 1
    error = math.sqrt(max(both * (1 - both), 1 / nets) / nets)
    assert lower - 4 * error <= both <= upper + 4 * error
    # for a single input the upper bound is the probability
    single = dead[:, 0].mean()
    assert single == pytest.approx(upper, abs=4 * math.sqrt(upper * (1 - upper) / nets))


def test_born_dead_networks_of_unequal_widths():
    widths, nets = [5, 2, 3, 4], 40_000
    upper = theory.born_dead_upper(widths)
    assert upper == pytest.approx(1 - 31 / 32 * 3 / 4 * 7 / 8 * 15 / 16, rel=1e-12)
    single = dead_rays(widths, nets, seed=0)[:, 0].mean()
    assert single == pytest.approx(upper, abs=4 * math.sqrt(upper * (1 - upper) / nets))
    assert theory.born_dead_bounds(6, 3)[1] == theory.born_dead_upper([3] * 5)
    assert theory.born_dead_upper([]) == 0


@pytest.mark.parametrize("width", [1, 2, 3, 5])
def test_lower_bound_by_counting_signs(width):
    """The chain of rays alive, its transitions counted over all 4^H signs that two orthogonal rays may meet."""
    two_to = np.zeros(3)
    for first in itertools.product((0, 1), repeat=width):
        for second in itertools.product((0, 1), repeat=width):
            parallel = first == second and sum(first) == 1
            two_to[1 if parallel else any(first) + any(second)] += 4.0**-width
    one_dies = 2.0**-width
    step = np.array([[1, 0, 0], [one_dies, 1 - one_dies, 0], two_to])  # from 0, 1, 2 rays
    # the first layer's weights have one sign each: never both rays die, and each alone with 2^-H
    chain = np.array([0, 2 * one_dies, 1 - 2 * one_dies])
    for depth in range(2, 40):
        assert theory.born_dead_bounds(depth, width)[0] == pytest.approx(chain[0], abs=1e-12)
        chain = chain @ step


def test_a_network_one_unit_wide_dies_by_halves():
    # one ray survives the first layer; after that the chain is exact
    for depth in (2, 3, 6):
        assert theory.born_dead_bounds(depth, 1)[0] == pytest.approx(1 - 0.5 ** (depth - 2), abs=1e-12)


@pytest.mark.parametrize("widths", [[30], [20, 20], [25] * 4, [40, 15, 30]])
def test_fluctuation_of_the_norm(widths):
    """Real layers with He's weights. Heavy-tailed: the standard error of a variance is that of the squares."""
    rng, nets = np.random.default_rng(0), 10_000
    a = np.ones((nets, 10, 1)) / math.sqrt(10)
    for width in widths:
        fan_in = a.shape[1]
        w = rng.standard_normal((nets, width, fan_in)) * theory.standard_deviation("he", fan_in, width)
        a = np.maximum(w @ a, 0)
    norm = (a**2).sum(axis=(1, 2)) * 10 / widths[-1]  # 1 on average
    assert_mean(norm, 1)
    assert_mean((norm - 1) ** 2, theory.norm_fluctuation(widths))


def test_fluctuation_in_closed_form():
    assert theory.norm_fluctuation([]) == 0
    assert theory.norm_fluctuation([5]) == 1
    assert theory.norm_fluctuation([10] * 3) == pytest.approx(1.5**3 - 1)
    # 25 L / (2 H^2) of a part short of the exponential
    assert theory.norm_fluctuation([1000] * 100) == pytest.approx(math.exp(0.5) - 1, rel=0.005)


# --- batch norm ---


def test_batchnorm_growth_in_closed_form():
    same = {"rel": 1e-11}
    assert theory.batchnorm_growth("relu") == pytest.approx(math.pi / (math.pi - 1), **same)  # Yang et al. 2019
    assert theory.batchnorm_growth("identity") == pytest.approx(1, **same)
    # of two the larger has the variance 1 - 1 / pi, and one slope of the two is 1
    assert theory.batchnorm_growth("maxout") == pytest.approx(math.pi / (math.pi - 1), **same)
    for name, slope in [("leaky_relu", 0.01), ("prelu", 0.25)]:
        squares, edge = 1 + slope**2, (1 - slope) ** 2 / math.pi
        assert theory.batchnorm_growth(name) == pytest.approx(squares / (squares - edge), **same)


@pytest.mark.parametrize("name", NAMES)
def test_batchnorm_growth_against_simpson_s_rule(name):
    variance = by_simpson(name, 1.0, np.square) - by_simpson(name, 1.0) ** 2
    expected = by_simpson(name, 1.0, np.square, torch_slope) / variance
    assert theory.batchnorm_growth(name) == pytest.approx(expected, rel=1e-8)
    assert theory.batchnorm_growth(name) > 1 or name == "identity"  # Poincaré's inequality


def simulate_batchnorm(name, sigma_w, seed, width=300, batch=400, depth=7):
    """Growth per layer of the squared gradients of z, and of the weights, over the layers behind the first."""
    generator = torch.Generator().manual_seed(seed)
    double = {"generator": generator, "dtype": torch.float64}
    act = activation_module(name).double()
    rows = width * getattr(act, "pieces", 1)
    norm = nn.BatchNorm1d(rows, eps=1e-12, affine=False, dtype=torch.float64)
    weights = [
        (torch.randn(rows, width, **double) * sigma_w / math.sqrt(width)).requires_grad_() for _ in range(depth)
    ]
    z = [torch.randn(batch, rows, **double)]
    for w in weights:
        z.append(act(norm(z[-1])) @ w.T)
    loss = (norm(z[-1]) * torch.randn(batch, rows, **double)).sum()
    squares = [
        [float((g**2).sum()) for g in torch.autograd.grad(loss, of, retain_graph=True)] for of in (z[1:], weights)
    ]
    return [(of[0] / of[-1]) ** (1 / (depth - 1)) for of in squares]


@pytest.mark.parametrize(
    ("name", "sigma_w"), [(name, 1.0) for name in ACTIVATIONS] + [("relu", 0.02), ("relu", 50.0)]
)
def test_batchnorm_growth_of_wide_networks(name, sigma_w):
    growth = np.array([simulate_batchnorm(name, sigma_w, seed) for seed in range(5)])  # (5, 2)
    for of in growth.T / theory.batchnorm_growth(name):
        # what batch norm projects out is a share of some 2 / 400, and 300 units correlate to 1 / 300
        assert_mean(of, 1, slack=0.01)


# --- wrong arguments ---


GIVEN = {
    "function": np.abs,
    "activation": "tanh",
    "q": 1.0,
    "sigma_w": 1.5,
    "sigma_b": 0.1,
    "c": 0.5,
    "depth": 4,
    "width": 3,
    "widths": [3, 4],
    "layer": 3,
    "scheme": "he",
    "fan_in": 3,
    "fan_out": 4,
    "gain": 1.0,
}
WRONG_KIND = {
    "function": None,
    "activation": None,
    "q": True,
    "sigma_w": np.ones(2),
    "sigma_b": "0.1",
    "c": "1",
    "depth": 2.5,
    "width": 2.5,
    "widths": 5,
    "layer": True,
    "scheme": ["he"],
    "fan_in": 2.5,
    "fan_out": True,
    "gain": "1",
}
OUT_OF_BOUNDS = {
    "function": [np.sum, lambda z: 1.0, lambda z: z[:-1]],
    "activation": ["swish"],
    "q": [0.0, math.inf],
    "sigma_w": [0.0, math.nan],
    "sigma_b": [-0.1],
    "c": [-1.01, 1.01],
    "depth": [0],
    "width": [0],
    "widths": [[3, 0]],
    "layer": [0],
    "scheme": ["normal"],
    "fan_in": [0],
    "fan_out": [0],
    "gain": [-1.0],
}
FUNCTIONS = [
    function
    for name, function in vars(theory).items()
    if not name.startswith("_") and getattr(function, "__module__", "").startswith("unstuck.theory.")
]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_wrong_arguments_are_named(function):
    names = list(inspect.signature(function).parameters)
    good = {name: GIVEN[name] for name in names}
    function(**good)
    for name in names:
        with pytest.raises(TypeError, match=f"^{name}: expected "):
            function(**good | {name: WRONG_KIND[name]})
        for wrong in OUT_OF_BOUNDS[name]:
            with pytest.raises(ValueError, match=f"^{name}: "):
                function(**good | {name: wrong})


def test_every_function_was_tried_with_wrong_arguments():
    assert {function.__name__ for function in FUNCTIONS} | {"SMALLEST", "LARGEST"} == set(theory.__all__)
    assert len(FUNCTIONS) == 20


def test_what_is_remembered_is_not_taken_for_a_wrong_argument():
    """1.0 == True, to a dict; and numbers that are equal are one, whosever they are."""
    for function in (theory.fixed_point, theory.correlation_fixed_point):
        function("tanh", 1.0, 1.0)
        with pytest.raises(TypeError, match=r"^sigma_w: expected a number, got True"):
            function("tanh", True, 1.0)
        assert function("tanh", np.float64(1.5), np.array(1)) == function("tanh", 1.5, 1.0)
    theory.critical_sigma_w("tanh", 1.0)
    with pytest.raises(TypeError, match=r"^sigma_b: expected a number, got True"):
        theory.critical_sigma_w("tanh", True)


def test_single_precision_does_not_make_a_result_coarse():
    for name, sigma_w in [("tanh", np.float32(2.3)), ("relu", np.float32(0.7))]:  # its square would be: to 1e-8
        assert theory.depth_scale(name, sigma_w) == theory.depth_scale(name, float(sigma_w))
        assert theory.chi(name, sigma_w) == theory.chi(name, float(sigma_w))


def test_a_born_dead_bound_needs_a_hidden_layer():
    with pytest.raises(ValueError, match=r"^depth: .* at least 2, got 1"):
        theory.born_dead_bounds(1, 3)
