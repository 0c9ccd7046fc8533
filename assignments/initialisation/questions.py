"""Assignment 3: what each part calls, and the mistakes that are known by name."""

from itertools import pairwise

import numpy as np

from assignments.grading.parts import Part, Questions


def layer_inputs(rng):
    return {"n": int(rng.integers(10, 1000)), "sigma": float(rng.uniform(0.01, 1)), "s": float(rng.uniform(0.1, 3))}


def linear_shape(rng):
    h, d = rng.permutation(np.arange(10, 600))[:2]
    return {"shape": [int(h), int(d)]}


def convolution_shape(rng):
    c_out, c_in = rng.permutation(np.arange(3, 64))[:2]
    k = int(rng.integers(2, 6))
    return {"shape": [int(c_out), int(c_in), k, k]}


def either_shape(rng):
    return linear_shape(rng) if rng.integers(2) else convolution_shape(rng)


def samples(rng):
    return {"z": rng.normal(size=2000), "a": float(rng.uniform(0, 0.5)), "t": float(rng.uniform(0.5, 2))}


def chi_samples(rng):
    return {"z": 2 * rng.normal(size=500), "g": float(rng.uniform(0.5, 3))}


def network(rng):
    widths = rng.permutation([4, 6, 7, 9])
    weights = [rng.normal(size=(h, d)) / np.sqrt(d) for d, h in pairwise(widths)]
    return {"x": 0.5 + rng.normal(size=(5, widths[0])), "weights": weights}


def network_and_gradient(rng):
    drawn = network(rng)
    return {**drawn, "gradient": rng.normal(size=(5, len(drawn["weights"][-1])))}


def chi_value(rng):
    return {"chi": float(np.exp(rng.choice([-1, 1]) * rng.uniform(0.1, 2)))}


QUESTIONS = Questions(
    title="3. Initialisation",
    parts=[
        Part("size-after-layer", "found = size_after_layer(n, sigma, s)", ("found",), layer_inputs),
        Part("he-std", "found = he_std(shape)", ("found",), linear_shape),
        Part("xavier-std", "found = xavier_std(shape)", ("found",), either_shape, cases=6),
        Part("he-convolution", "found = he_std(shape)", ("found",), convolution_shape),
        Part("gain", "found = gain(lambda z: np.where(z > 0, t * z, a * z), z)", ("found",), samples),
        Part("forward-sizes", "found = forward_sizes(x, weights, relu)", ("found",), network),
        Part(
            "backward-sizes",
            "found = backward_sizes(x, weights, np.tanh, tanh_slope, gradient)",
            ("found",),
            network_and_gradient,
        ),
        Part("chi", "found = chi(g, tanh_slope, z)", ("found",), chi_samples),
        Part("layers-for-ten", "found = layers_for_ten(chi)", ("found",), chi_value, cases=6),
        Part("measured-start", "found = measured_start(x, weights, relu)", ("found",), network),
    ],
)
wrong = QUESTIONS.mistake


@wrong(
    "size_after_layer",
    "the n products have both signs: their sum grows with the root of n, not with n",
    "size-after-layer",
)
def without_root(n, sigma, s):
    return sigma * n * s


@wrong("size_after_layer", "this is the square of the size; take the root", "size-after-layer")
def squared(n, sigma, s):
    return n * sigma**2 * s**2


@wrong("he_std", "this is the variance, not the standard deviation", ["he-std", "he-convolution"])
def variance(shape):
    return 2 / np.prod(shape[1:])


@wrong(
    "he_std",
    "this uses the fan-out; He's rule for the way up asks for the number of inputs",
    ["he-std", "he-convolution"],
)
def fan_out(shape):
    return np.sqrt(2 / (shape[0] * np.prod(shape[2:])))


@wrong("he_std", "the fan-in of a convolution is C_in times k times k: the window is missing", "he-convolution")
def no_window(shape):
    return np.sqrt(2 / shape[1])


@wrong("he_std", "the 2 of He's rule is missing: a ReLU cuts half of the signal away", ["he-std", "he-convolution"])
def lecun(shape):
    return np.sqrt(1 / np.prod(shape[1:]))


@wrong(
    "xavier_std",
    "fan-in and fan-out are added, then the 2 is divided by the sum: yours is 1 over the sum",
    "xavier-std",
)
def one_over_sum(shape):
    return np.sqrt(1 / ((shape[0] + shape[1]) * np.prod(shape[2:])))


@wrong("xavier_std", "this is He's rule", "xavier-std")
def he_instead(shape):
    return np.sqrt(2 / np.prod(shape[1:]))


@wrong("gain", "you divided by the mean square, not by its root", "gain")
def no_root(f, z):
    return 1 / np.mean(f(z) ** 2)


@wrong("gain", "this is the standard deviation of f(z), which forgets its mean; the size counts both", "gain")
def with_std(f, z):
    return 1 / np.std(f(z))


@wrong("gain", "this is upside down: it is the size that one layer leaves over", "gain")
def inverse(f, z):
    return np.sqrt(np.mean(f(z) ** 2))


@wrong("forward_sizes", "these are the sizes of the pre-activations, before f", "forward-sizes")
def before_activation(x, weights, f):
    sizes = []
    for W in weights:
        z = x @ W.T
        sizes.append(float(np.sqrt(np.mean(z**2))))
        x = f(z)
    return sizes


@wrong(
    "forward_sizes", "these are standard deviations: the mean of the activations is missing in them", "forward-sizes"
)
def standard_deviations(x, weights, f):
    sizes = []
    for W in weights:
        x = f(x @ W.T)
        sizes.append(float(np.std(x)))
    return sizes


@wrong(
    "backward_sizes", "the slope is taken at the activation a; it belongs to the pre-activation z", "backward-sizes"
)
def slope_at_activation(x, weights, f, slope, gradient):
    activations = []
    for W in weights:
        x = f(x @ W.T)
        activations.append(x)
    sizes = []
    for W, a in zip(weights[::-1], activations[::-1], strict=True):
        delta = gradient * slope(a)
        sizes.append(float(np.sqrt(np.mean(delta**2))))
        gradient = delta @ W
    return sizes[::-1]


@wrong("backward_sizes", "the list begins with the last layer", "backward-sizes")
def last_layer_first(x, weights, f, slope, gradient):
    zs = []
    for W in weights:
        zs.append(x @ W.T)
        x = f(zs[-1])
    sizes = []
    for W, z in zip(weights[::-1], zs[::-1], strict=True):
        delta = gradient * slope(z)
        sizes.append(float(np.sqrt(np.mean(delta**2))))
        gradient = delta @ W
    return sizes


@wrong("backward_sizes", "the slope of f is missing", "backward-sizes")
def no_slope(x, weights, f, slope, gradient):
    sizes = []
    for W in weights[::-1]:
        sizes.append(float(np.sqrt(np.mean(gradient**2))))
        gradient = gradient @ W
    return sizes[::-1]


@wrong("chi", "this squares the mean of the slopes; it is the mean of their squares that counts", "chi")
def square_of_mean(g, slope, z):
    return g**2 * np.mean(slope(z)) ** 2


@wrong("chi", "g must be squared, since chi belongs to the square of the size", "chi")
def g_not_squared(g, slope, z):
    return g * np.mean(slope(z) ** 2)


@wrong(
    "layers_for_ten",
    "chi belongs to the square of the size: this is the number for a factor of the root of 10",
    "layers-for-ten",
)
def for_the_square(chi):
    return abs(np.log(10) / np.log(chi))


@wrong("layers_for_ten", "the number of layers is positive, also where the gradient fades", "layers-for-ten")
def negative(chi):
    return 2 * np.log(10) / np.log(chi)


@wrong(
    "measured_start",
    "every layer is measured with the old weights below it, which are no longer there",
    "measured-start",
)
def old_weights_below(x, weights, f):
    scaled = []
    for W in weights:
        z = x @ W.T
        scaled.append(W / np.sqrt(np.mean(z**2)))
        x = f(z)
    return scaled


@wrong("measured_start", "you divided by the mean square, not by its root", "measured-start")
def by_mean_square(x, weights, f):
    scaled = []
    for W in weights:
        scaled.append(W / np.mean((x @ W.T) ** 2))
        x = f(x @ scaled[-1].T)
    return scaled


@wrong("measured_start", "this makes the activations of size 1; the pre-activations are asked for", "measured-start")
def activations_of_size_one(x, weights, f):
    scaled = []
    for W in weights:
        scaled.append(W / np.sqrt(np.mean(f(x @ W.T) ** 2)))
        x = f(x @ scaled[-1].T)
    return scaled
