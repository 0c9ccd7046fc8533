"""Assignment 1: what each part calls, and the mistakes that are known by name."""

import numpy as np

from assignments.grading.parts import Part, Questions

NEURON = "loss, dw, db, dx = neuron(x, w, b, y)\ngradient = [dw, db, dx]"
LINEAR = "dx, dW, db = linear_backward(G, x, W)"
SOFTMAX = "loss, dlogits = softmax_loss(logits, y)"
NUMERIC = """
x = x.copy()
before = x.copy()
calls = []
gradient = numeric_gradient(lambda: calls.append(1) or float((c * x**3).sum()), x, eps)
gradient, kept, tried = np.array(gradient), bool((x == before).all()), len(calls) >= x.size
"""
CHAIN = """
layers = [Scale(one) if kind else Shift(one) for kind, one in zip(kinds, numbers)]
output, dx, grads = chain(layers, x, G)
"""


def neuron_inputs(rng):
    x, w, b = map(float, rng.normal(size=3))
    return {"x": x + 1, "w": w, "b": b, "y": float(rng.uniform())}


def linear_inputs(rng):
    n, d, h = rng.permutation([3, 4, 6])
    return {"G": rng.normal(size=(n, h)), "x": rng.normal(size=(n, d)), "W": rng.normal(size=(h, d))}


def relu_inputs(rng):
    z = rng.normal(size=(4, 6))
    z[0, :2] = 0
    return {"da": rng.normal(size=(4, 6)), "z": z}


def softmax_inputs(rng):
    return {"logits": 3 * rng.normal(size=(5, 4)), "y": rng.integers(0, 4, size=5)}


def large_logits(rng):
    return {"logits": 1000 + 3 * rng.normal(size=(5, 4)), "y": rng.integers(0, 4, size=5)}


def numeric_inputs(rng):
    return {"x": rng.normal(size=(2, 3)) + 2, "c": rng.normal(size=(2, 3)), "eps": 1e-3}


def relative_inputs(rng):
    u = rng.normal(size=(3, 4)) * 10.0 ** rng.integers(-4, 3, size=(3, 4))
    v = u * (1 + 1e-3 * rng.normal(size=u.shape))
    u[0, 0] = v[0, 0] = 0
    return {"u": u, "v": v}


def chain_inputs(rng):
    kinds = [True, False, True, *rng.integers(0, 2, size=2).astype(bool).tolist()]
    return {
        "kinds": kinds,
        "numbers": rng.normal(size=5).tolist(),
        "x": rng.normal(size=(3, 2)),
        "G": rng.normal(size=(3, 2)),
    }


def suspects(values, inputs):
    found = {str(letter).strip().lower() for letter in values[0]["found"]}
    if found == {"b", "d"}:
        return ""
    return "a right derivative is called wrong" if found - {"b", "d"} else "not all of the wrong ones are found"


QUESTIONS = Questions(
    title="1. Back-propagation and the gradient check",
    parts=[
        Part("neuron-loss", NEURON, ("loss",), neuron_inputs),
        Part("neuron-gradient", NEURON, ("gradient",), neuron_inputs),
        Part("linear-dx", LINEAR, ("dx",), linear_inputs),
        Part("linear-dw", LINEAR, ("dW",), linear_inputs),
        Part("linear-db", LINEAR, ("db",), linear_inputs),
        Part("relu-gradient", "dz = relu_backward(da, z)", ("dz",), relu_inputs),
        Part("softmax-loss", SOFTMAX, ("loss",), softmax_inputs),
        Part("softmax-gradient", SOFTMAX, ("dlogits",), softmax_inputs),
        Part("softmax-stable", SOFTMAX, ("loss",), large_logits),
        Part("numeric-value", NUMERIC, ("gradient",), numeric_inputs, rtol=1e-7),
        Part("numeric-restores", NUMERIC, ("kept", "tried"), numeric_inputs),
        Part("relative-error", "error = relative_error(u, v)", ("error",), relative_inputs),
        Part("chain-gradient", CHAIN, ("output", "dx", "grads"), chain_inputs),
        Part("suspects", "found = list(wrong_ones)", ("found",), lambda rng: {}, cases=1, judge=suspects),
    ],
)
wrong = QUESTIONS.mistake


@wrong("neuron", "the slope of the sigmoid, a (1 - a), is missing", "neuron-gradient")
def no_slope(x, w, b, y):
    a = 1 / (1 + np.exp(-(w * x + b)))
    dz = 2 * (a - y)
    return (a - y) ** 2, dz * x, dz, dz * w


@wrong("neuron", "the derivative of the square is missing its factor 2", "neuron-gradient")
def no_two(x, w, b, y):
    a = 1 / (1 + np.exp(-(w * x + b)))
    dz = (a - y) * a * (1 - a)
    return (a - y) ** 2, dz * x, dz, dz * w


@wrong("neuron", "x and w are swapped: the gradient of w holds x, and that of x holds w", "neuron-gradient")
def swapped(x, w, b, y):
    a = 1 / (1 + np.exp(-(w * x + b)))
    dz = 2 * (a - y) * a * (1 - a)
    return (a - y) ** 2, dz * w, dz, dz * x


@wrong("linear_backward", "you divided by N, but the 1/N of the mean is in G already", ["linear-dw", "linear-db"])
def mean_over_batch(G, x, W):
    return G @ W, G.T @ x / len(x), G.mean(axis=0)


@wrong("linear_backward", "dW is transposed: it must have the shape of W, (H, D)", "linear-dw")
def transposed(G, x, W):
    return G @ W, x.T @ G, G.sum(axis=0)


@wrong(
    "linear_backward",
    "db is a sum over the units; the bias of a unit acts on all examples, so sum over these",
    "linear-db",
)
def bias_over_units(G, x, W):
    return G @ W, G.T @ x, G.sum(axis=1)


@wrong("linear_backward", "db is G itself; the bias acts on all examples, so sum over these", "linear-db")
def bias_not_summed(G, x, W):
    return G @ W, G.T @ x, G


@wrong("relu_backward", "this is the derivative of the sigmoid, not of your ReLU", "relu-gradient")
def sigmoid_slope(da, z):
    a = 1 / (1 + np.exp(-z))
    return da * a * (1 - a)


@wrong("relu_backward", "the mask is missing: where z is not positive, nothing goes down", "relu-gradient")
def no_mask(da, z):
    return da


@wrong("relu_backward", "the mask looks at the gradient; it must look at z", "relu-gradient")
def mask_of_gradient(da, z):
    return np.maximum(da, 0)


@wrong("relu_backward", "the slope at z = 0 is 0 here, yours is 1", "relu-gradient")
def slope_at_zero(da, z):
    return da * (z >= 0)


@wrong("softmax_loss", "the gradient is not divided by N: the loss is a mean over the batch", "softmax-gradient")
def gradient_of_sum(logits, y):
    N = len(logits)
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    dlogits = np.exp(log_p)
    dlogits[np.arange(N), y] -= 1
    return -log_p[np.arange(N), y].mean(), dlogits


@wrong(
    "softmax_loss",
    "these are the probabilities over N; the 1 of the right class is not subtracted",
    "softmax-gradient",
)
def nothing_subtracted(logits, y):
    N = len(logits)
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -log_p[np.arange(N), y].mean(), np.exp(log_p) / N


@wrong("softmax_loss", "the loss is a sum over the batch; it should be the mean", ["softmax-loss", "softmax-stable"])
def loss_summed(logits, y):
    N = len(logits)
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    dlogits = np.exp(log_p)
    dlogits[np.arange(N), y] -= 1
    return -log_p[np.arange(N), y].sum(), dlogits / N


@wrong(
    "softmax_loss",
    "exp of a large logit is infinite: subtract the largest logit of each example first",
    "softmax-stable",
)
def overflows(logits, y):
    N = len(logits)
    with np.errstate(all="ignore"):
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        loss = -np.log(p[np.arange(N), y]).mean()
    dlogits = p.copy()
    dlogits[np.arange(N), y] -= 1
    return loss, dlogits / N


@wrong("numeric_gradient", "you divided by eps; the two points are 2 eps apart", "numeric-value")
def divided_by_eps(f, x, eps=1e-5):
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        before = x[index]
        x[index] = before + eps
        above = f()
        x[index] = before - eps
        below = f()
        x[index] = before
        gradient[index] = (above - below) / eps
    return gradient


@wrong(
    "numeric_gradient",
    "this is the one-sided difference; its error is far larger than that of the central one",
    "numeric-value",
)
def one_sided(f, x, eps=1e-5):
    gradient = np.zeros_like(x)
    here = f()
    for index in np.ndindex(x.shape):
        before = x[index]
        x[index] = before + eps
        gradient[index] = (f() - here) / eps
        x[index] = before
    return gradient


@wrong("numeric_gradient", "x is not as it was: an entry is not put back exactly", "numeric-restores")
def not_put_back(f, x, eps=1e-5):
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        x[index] += eps
        above = f()
        x[index] -= 2 * eps
        below = f()
        gradient[index] = (above - below) / (2 * eps)
    return gradient


@wrong("relative_error", "this is the largest absolute error; divide by the size of the numbers", "relative-error")
def absolute(u, v):
    return np.max(np.abs(u - v))


@wrong(
    "relative_error", "this is the mean; one wrong entry among many right ones would be lost in it", "relative-error"
)
def mean_error(u, v):
    return np.mean(np.abs(u - v) / np.maximum(np.maximum(np.abs(u), np.abs(v)), 1e-12))


@wrong("chain", "the backward pass goes through the layers in the order of the forward pass", "chain-gradient")
def forwards(layers, x, G):
    for layer in layers:
        x = layer.forward(x)
    for layer in layers:
        G = layer.backward(G)
    return x, G, [layer.grad for layer in layers]


@wrong("chain", "the list of gradients is in the order of the backward pass", "chain-gradient")
def gradients_backwards(layers, x, G):
    grads = []
    for layer in layers:
        x = layer.forward(x)
    for layer in reversed(layers):
        G = layer.backward(G)
        grads.append(layer.grad)
    return x, G, grads


@wrong("neuron", "the loss is the square of the error; half of it is another loss", "neuron-loss")
def half_the_loss(x, w, b, y):
    a = 1 / (1 + np.exp(-(w * x + b)))
    dz = 2 * (a - y) * a * (1 - a)
    return (a - y) ** 2 / 2, dz * x, dz, dz * w


@wrong("linear_backward", "you divided dx by N; the 1/N of the mean is in G already", "linear-dx")
def input_divided(G, x, W):
    return G @ W / len(x), G.T @ x, G.sum(axis=0)
