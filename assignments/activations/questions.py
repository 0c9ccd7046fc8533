"""Assignment 2: what each part calls, and the mistakes that are known by name."""

import numpy as np

from assignments.grading.parts import Part, Questions

STEP = "new_w, new_b = one_step(x, y, w, b, lr)"
STABLE = """
import warnings
with warnings.catch_warnings(record=True) as heard, np.errstate(all="warn", under="ignore"):
    warnings.simplefilter("always")
    a = sigmoid(z)
quiet = not heard
"""


def pre_activations(rng):
    z = 2 * rng.normal(size=(4, 5))
    z[0, 0] = 0
    return {"z": z}


def large(rng):
    return {"z": np.array([-1000.0, 1000.0, *rng.normal(size=3)])}


def elu_inputs(rng):
    return {**pre_activations(rng), "alpha": float(rng.uniform(0.3, 1.7))}


def depth(rng):
    return {"depth": int(rng.integers(2, 12))}


def outputs(rng):
    return {"a": np.tanh(4 * rng.normal(size=(6, 5)) - 1)}


def layer(rng):
    x = np.abs(rng.normal(size=(8, 4)))
    W, b = rng.normal(size=(7, 4)), np.zeros(7)
    W[0], W[1], b[2] = -np.abs(W[0]), np.abs(W[1]), -50
    W[3], b[3] = -np.abs(W[3]), float(np.median(x @ np.abs(W[3])))  # fires for some of them
    return {"x": x, "W": W, "b": b}


def unit(rng):
    x, w, b = rng.normal(size=(9, 3)), rng.normal(size=3), float(rng.normal())
    return {"x": x, "y": rng.normal(size=9), "w": w, "b": b, "lr": float(rng.uniform(0.1, 2))}


def pushed(rng):
    x = rng.uniform(0.1, 1, size=(6, 4))
    w = rng.normal(size=4)
    b = float(rng.normal()) * 0.3 - float(np.median(x @ w))
    return {"x": x, "w": w, "b": b, "gw": rng.uniform(0.1, 1, size=4), "gb": float(rng.uniform(0.5, 1))}


def silent(rng):
    return {**pushed(rng), "b": -20.0}


def pushed_or_silent(rng):
    return silent(rng) if rng.integers(3) == 0 else pushed(rng)


def centred(rng):
    return {"x": 1.2 * rng.normal(size=(7, 3))}


QUESTIONS = Questions(
    title="2. Activations and dead units",
    parts=[
        Part("sigmoid", "a = sigmoid(z)", ("a",), pre_activations),
        Part("sigmoid-stable", STABLE, ("a", "quiet"), large),
        Part("sigmoid-slope", "slope = sigmoid_slope(z)", ("slope",), pre_activations),
        Part("elu-slope", "slope = elu_slope(z, alpha)", ("slope",), elu_inputs),
        Part("silu-slope", "slope = silu_slope(z)", ("slope",), pre_activations),
        Part("largest-factor", "found = largest_factor(depth)", ("found",), depth, atol=1e-14),
        Part("saturated-fraction", "found = saturated_fraction(a)", ("found",), outputs),
        Part("dead-units", "dead = dead_units(x, W, b)", ("dead",), layer),
        Part("step-w", STEP, ("new_w",), unit),
        Part("step-b", STEP, ("new_b",), unit),
        Part("deadly-rate", "lr = deadly_learning_rate(x, w, b, gw, gb)", ("lr",), pushed_or_silent, cases=6),
        Part("opposed-fraction", "found = opposed_fraction(x)", ("found",), centred),
    ],
)
wrong = QUESTIONS.mistake


@wrong("sigmoid", "e to a large power overflows: for negative z, use e^z / (1 + e^z)", "sigmoid-stable")
def overflows(z):
    return 1 / (1 + np.exp(-z))


@wrong("sigmoid", "the sign of the exponent is wrong: this falls from 1 to 0", ["sigmoid", "sigmoid-stable"])
def falls(z):
    e = np.exp(-np.abs(z))
    return np.where(z < 0, 1, e) / (1 + e)


@wrong("sigmoid_slope", "a (1 - a) is meant with a, the sigmoid of z; yours is z (1 - z)", "sigmoid-slope")
def of_z(z):
    return z * (1 - z)


@wrong("sigmoid_slope", "this is the slope of tanh, 1 - tanh(z)^2", "sigmoid-slope")
def slope_of_tanh(z):
    return 1 - np.tanh(z) ** 2


@wrong("elu_slope", "this is ELU itself on the left side; its derivative is alpha e^z", "elu-slope")
def elu_itself(z, alpha):
    return np.where(z > 0, 1.0, alpha * (np.exp(np.minimum(z, 0)) - 1))


@wrong("elu_slope", "alpha is missing on the left side", "elu-slope")
def no_alpha(z, alpha):
    return np.where(z > 0, 1.0, np.exp(np.minimum(z, 0)))


@wrong("elu_slope", "this is the slope of a leaky ReLU, which is constant on the left side", "elu-slope")
def leaky(z, alpha):
    return np.where(z > 0, 1.0, alpha)


@wrong("silu_slope", "the product rule has two terms; the one with the sigmoid itself is missing", "silu-slope")
def one_term(z):
    a = 1 / (1 + np.exp(-z))
    return z * a * (1 - a)


@wrong("silu_slope", "the product rule has two terms; the one with the sigmoid's slope is missing", "silu-slope")
def other_term(z):
    return 1 / (1 + np.exp(-z))


@wrong("silu_slope", "the derivative of the sigmoid is a (1 - a); the second factor is missing", "silu-slope")
def slope_not_complete(z):
    a = 1 / (1 + np.exp(-z))
    return a + z * a


@wrong("largest_factor", "the largest slope of a sigmoid is 1/4, at 0; one half is its value there", "largest-factor")
def one_half(depth):
    return 0.5**depth


@wrong("largest_factor", "slopes are multiplied, not divided by the number of layers", "largest-factor")
def divided(depth):
    return 0.25 / depth


@wrong("saturated_fraction", "only the upper side is counted; a tanh saturates at -1, too", "saturated-fraction")
def upper_side(a):
    return float(np.mean(a > 0.99))


@wrong(
    "saturated_fraction",
    "this counts units that are saturated for some example; count all numbers",
    "saturated-fraction",
)
def units_sometimes(a):
    return float(np.mean((np.abs(a) > 0.99).any(axis=0)))


@wrong("dead_units", "this marks units that are silent for some example; dead means for every one", "dead-units")
def sometimes_silent(x, W, b):
    return (x @ W.T + b <= 0).any(axis=0)


@wrong("dead_units", "the bias is missing", "dead-units")
def no_bias(x, W, b):
    return (x @ W.T <= 0).all(axis=0)


@wrong("dead_units", "True and False are swapped: this marks the units that are alive", "dead-units")
def alive(x, W, b):
    return (x @ W.T + b > 0).any(axis=0)


@wrong(
    "one_step", "the mask is missing: examples for which the unit is silent give no gradient", ["step-w", "step-b"]
)
def no_mask(x, y, w, b, lr):
    delta = np.maximum(x @ w + b, 0) - y
    return w - lr * (delta @ x) / len(x), b - lr * delta.mean()


@wrong("one_step", "this goes uphill: the gradient must be subtracted", ["step-w", "step-b"])
def uphill(x, y, w, b, lr):
    z = x @ w + b
    delta = (np.maximum(z, 0) - y) * (z > 0)
    return w + lr * (delta @ x) / len(x), b + lr * delta.mean()


@wrong("one_step", "this is the step of a sum; the loss is a mean over N examples", ["step-w", "step-b"])
def summed(x, y, w, b, lr):
    z = x @ w + b
    delta = (np.maximum(z, 0) - y) * (z > 0)
    return w - lr * (delta @ x), b - lr * delta.sum()


@wrong("one_step", "the bias has not learned", "step-b")
def bias_as_before(x, y, w, b, lr):
    z = x @ w + b
    delta = (np.maximum(z, 0) - y) * (z > 0)
    return w - lr * (delta @ x) / len(x), b


@wrong(
    "deadly_learning_rate",
    "at this learning rate the first example is lost; the unit dies with the last one",
    "deadly-rate",
)
def first_example(x, w, b, gw, gb):
    ratio = (x @ w + b) / (x @ gw + gb)
    return float(ratio[ratio > 0].min()) if (ratio > 0).any() else 0.0


@wrong("deadly_learning_rate", "the gradient of the bias is missing: the bias moves, too", "deadly-rate")
def bias_forgotten(x, w, b, gw, gb):
    return float(max(np.max((x @ w + b) / (x @ gw)), 0))


@wrong("deadly_learning_rate", "a learning rate is not negative: a unit that is dead already needs 0", "deadly-rate")
def negative(x, w, b, gw, gb):
    return float(np.max((x @ w + b) / (x @ gw + gb)))


@wrong("opposed_fraction", "the 1 of the bias is missing", "opposed-fraction")
def without_bias(x):
    return float((x @ x.T < 0).sum() / (len(x) * (len(x) - 1)))


@wrong(
    "opposed_fraction",
    "an example does not pull against itself: divide by N (N - 1), the pairs of different ones",
    "opposed-fraction",
)
def with_itself(x):
    return float((x @ x.T + 1 < 0).mean())
