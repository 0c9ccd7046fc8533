"""Assignment 4: what each part calls, and the mistakes that are known by name."""

import numpy as np

from assignments.grading.parts import Part, Questions

BACKWARD = "dx, dgamma, dbeta = batchnorm_backward(G, x, gamma)"
RUNNING = "mean, var = update_running(mean, var, x, momentum)"
FOLD = "W, b = fold(W, b, gamma, beta, mean, var)"


def units(rng):
    n, h = rng.permutation([4, 5, 7])[:2]
    x = rng.normal(size=(n, h)) * rng.uniform(0.3, 4, size=h) + 3 * rng.normal(size=h)
    return {"x": x, "gamma": rng.normal(size=h), "beta": rng.normal(size=h)}


def small_units(rng):
    """One unit is so small that eps matters."""
    drawn = units(rng)
    drawn["x"][:, 0] *= 1e-3
    return drawn


def images(rng):
    shape = tuple(int(one) for one in rng.permutation([2, 3, 4, 5]))
    c = shape[1]
    x = rng.normal(size=shape) * rng.uniform(0.3, 4, size=(c, 1, 1)) + 3 * rng.normal(size=(c, 1, 1))
    return {"x": x, "gamma": rng.normal(size=c), "beta": rng.normal(size=c)}


def backward(rng):
    drawn = units(rng)
    return {"G": rng.normal(size=drawn["x"].shape), "x": drawn["x"], "gamma": drawn["gamma"]}


def running(rng):
    x = units(rng)["x"]
    h = x.shape[1]
    drawn = {"mean": rng.normal(size=h), "var": rng.uniform(0.5, 2, size=h), "x": x}
    return {**drawn, "momentum": float(rng.uniform(0.05, 0.4))}


def test_time(rng):
    drawn = small_units(rng)
    h = len(drawn["gamma"])
    return {**drawn, "mean": rng.normal(size=h), "var": rng.uniform(0.1, 4, size=h)}


def folding(rng):
    n = int(rng.integers(3, 7))  # square: a scale on the wrong axis has the right shape
    arrays = {name: rng.normal(size=n) for name in ("b", "gamma", "beta", "mean")}
    return {"W": rng.normal(size=(n, n)), **arrays, "var": rng.uniform(0.1, 4, size=n)}


def factor(rng):
    return {"c": float(rng.uniform(0.2, 5))}


QUESTIONS = Questions(
    title="4. Batch normalisation",
    parts=[
        Part("forward", "y = batchnorm(x, gamma, beta)", ("y",), small_units),
        Part("images", "y = batchnorm_images(x, gamma, beta)", ("y",), images),
        Part("backward-x", BACKWARD, ("dx",), backward),
        Part("backward-gamma", BACKWARD, ("dgamma",), backward),
        Part("backward-beta", BACKWARD, ("dbeta",), backward),
        Part("running-mean", RUNNING, ("mean",), running),
        Part("running-var", RUNNING, ("var",), running),
        Part("test-time", "y = batchnorm_test(x, gamma, beta, mean, var)", ("y",), test_time),
        Part("fold-weights", FOLD, ("W",), folding),
        Part("fold-bias", FOLD, ("b",), folding),
        Part("gradient-factor", "found = gradient_factor(c)", ("found",), factor),
    ],
)
wrong = QUESTIONS.mistake


@wrong("batchnorm", "you divided by the variance, not by the standard deviation", "forward")
def by_variance(x, gamma, beta, eps=1e-5):
    centred = x - x.mean(axis=0)
    return gamma * centred / ((centred**2).mean(axis=0) + eps) + beta


@wrong("batchnorm", "the variance divides by N - 1; here it is N", "forward")
def unbiased(x, gamma, beta, eps=1e-5):
    return gamma * (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0, ddof=1) + eps) + beta


@wrong("batchnorm", "mean and variance go over the units of one example: that is LayerNorm", "forward")
def layernorm(x, gamma, beta, eps=1e-5):
    centred = x - x.mean(axis=1, keepdims=True)
    return gamma * centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + eps) + beta


@wrong("batchnorm", "eps stands outside the root; it is added to the variance", "forward")
def eps_outside(x, gamma, beta, eps=1e-5):
    return gamma * (x - x.mean(axis=0)) / (x.std(axis=0) + eps) + beta


@wrong("batchnorm", "gamma and beta are swapped: gamma multiplies, beta is added", "forward")
def swapped(x, gamma, beta, eps=1e-5):
    return beta * (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + eps) + gamma


@wrong("batchnorm_images", "each pixel has a mean of its own; all pixels of a channel share one", "images")
def pixel_by_pixel(x, gamma, beta, eps=1e-5):
    centred = x - x.mean(axis=0)
    s = np.sqrt((centred**2).mean(axis=0) + eps)
    return gamma[:, None, None] * centred / s + beta[:, None, None]


@wrong("batchnorm_images", "each image has a mean of its own: that is instance normalisation", "images")
def image_by_image(x, gamma, beta, eps=1e-5):
    centred = x - x.mean(axis=(2, 3), keepdims=True)
    s = np.sqrt((centred**2).mean(axis=(2, 3), keepdims=True) + eps)
    return gamma[:, None, None] * centred / s + beta[:, None, None]


@wrong(
    "batchnorm_backward", "mean and standard deviation are treated as constants; they depend on x, too", "backward-x"
)
def constants(G, x, gamma, eps=1e-5):
    s = np.sqrt(x.var(axis=0) + eps)
    x_hat = (x - x.mean(axis=0)) / s
    return G * gamma / s, (G * x_hat).sum(axis=0), G.sum(axis=0)


@wrong("batchnorm_backward", "the way through the standard deviation is missing", "backward-x")
def no_way_through_s(G, x, gamma, eps=1e-5):
    s = np.sqrt(x.var(axis=0) + eps)
    x_hat = (x - x.mean(axis=0)) / s
    d_hat = G * gamma
    return (d_hat - d_hat.mean(axis=0)) / s, (G * x_hat).sum(axis=0), G.sum(axis=0)


@wrong("batchnorm_backward", "the way through the mean is missing", "backward-x")
def no_way_through_mean(G, x, gamma, eps=1e-5):
    s = np.sqrt(x.var(axis=0) + eps)
    x_hat = (x - x.mean(axis=0)) / s
    d_hat = G * gamma
    return (d_hat - x_hat * (d_hat * x_hat).mean(axis=0)) / s, (G * x_hat).sum(axis=0), G.sum(axis=0)


@wrong("batchnorm_backward", "gamma is missing: G belongs to y, and y is gamma times x-hat plus beta", "backward-x")
def no_gamma(G, x, gamma, eps=1e-5):
    s = np.sqrt(x.var(axis=0) + eps)
    x_hat = (x - x.mean(axis=0)) / s
    return (G - G.mean(axis=0) - x_hat * (G * x_hat).mean(axis=0)) / s, (G * x_hat).sum(axis=0), G.sum(axis=0)


@wrong(
    "batchnorm_backward",
    "gamma multiplies the normalised x-hat, so its gradient holds x-hat, not x",
    "backward-gamma",
)
def with_x(G, x, gamma, eps=1e-5):
    s = np.sqrt(x.var(axis=0) + eps)
    x_hat = (x - x.mean(axis=0)) / s
    d_hat = G * gamma
    dx = (d_hat - d_hat.mean(axis=0) - x_hat * (d_hat * x_hat).mean(axis=0)) / s
    return dx, (G * x).sum(axis=0), G.sum(axis=0)


@wrong(
    "batchnorm_backward",
    "these are means over the batch; beta and gamma act on all examples: sum",
    ["backward-gamma", "backward-beta"],
)
def means(G, x, gamma, eps=1e-5):
    s = np.sqrt(x.var(axis=0) + eps)
    x_hat = (x - x.mean(axis=0)) / s
    d_hat = G * gamma
    dx = (d_hat - d_hat.mean(axis=0) - x_hat * (d_hat * x_hat).mean(axis=0)) / s
    return dx, (G * x_hat).mean(axis=0), G.mean(axis=0)


@wrong(
    "update_running", "the momentum is on the wrong side: it belongs to the batch", ["running-mean", "running-var"]
)
def other_side(mean, var, x, momentum=0.1):
    m = 1 - momentum
    return (1 - m) * mean + m * x.mean(axis=0), (1 - m) * var + m * x.var(axis=0, ddof=1)


@wrong("update_running", "the running variance divides by N - 1; yours by N", "running-var")
def biased(mean, var, x, momentum=0.1):
    new_mean = (1 - momentum) * mean + momentum * x.mean(axis=0)
    return new_mean, (1 - momentum) * var + momentum * x.var(axis=0)


@wrong("update_running", "this keeps a standard deviation; it is the variance that is kept", "running-var")
def deviation(mean, var, x, momentum=0.1):
    new_mean = (1 - momentum) * mean + momentum * x.mean(axis=0)
    return new_mean, (1 - momentum) * var + momentum * x.std(axis=0, ddof=1)


@wrong("batchnorm_test", "this uses the statistics of the batch, as in training", "test-time")
def as_in_training(x, gamma, beta, mean, var, eps=1e-5):
    return gamma * (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + eps) + beta


@wrong("batchnorm_test", "you divided by the variance, not by the standard deviation", "test-time")
def test_by_variance(x, gamma, beta, mean, var, eps=1e-5):
    return gamma * (x - mean) / (var + eps) + beta


@wrong("fold", "the scale belongs to the rows of W, one for each output; yours is on the columns", "fold-weights")
def columns(W, b, gamma, beta, mean, var, eps=1e-5):
    scale = gamma / np.sqrt(var + eps)
    return scale * W, scale * (b - mean) + beta


@wrong("fold", "the bias b passes through the BatchNorm, too: it must be scaled", "fold-bias")
def bias_not_scaled(W, b, gamma, beta, mean, var, eps=1e-5):
    scale = gamma / np.sqrt(var + eps)
    return scale[:, None] * W, b - scale * mean + beta


@wrong("fold", "the running mean is missing in the new bias", "fold-bias")
def mean_missing(W, b, gamma, beta, mean, var, eps=1e-5):
    scale = gamma / np.sqrt(var + eps)
    return scale[:, None] * W, scale * b + beta


@wrong(
    "gradient_factor",
    "the loss is the same at c W as at W: larger weights must move further, so the slope falls",
    "gradient-factor",
)
def grows(c):
    return c


@wrong(
    "gradient_factor",
    "that is the factor for the relative change of the weights, gradient over weights",
    "gradient-factor",
)
def squared(c):
    return 1 / c**2
