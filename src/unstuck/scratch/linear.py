"""`Linear` and `Flatten`, and how weights start."""

from __future__ import annotations

import math

import numpy as np

from unstuck.scratch.layer import Layer


def starting_weight(name: str, shape: tuple[int, ...], weight, rng) -> np.ndarray:
    """A copy of the given `weight`, or N(0, 2 / fan_in) drawn from `rng` (He et al. 2015, eq. 10), as float64.

    Exactly one of the two must be given; `rng` is a seed or a generator. The first axis of `shape` is the output's.
    """
    if (weight is None) == (rng is None):
        raise ValueError(f"{name}: expected either weight or rng (a seed or a generator), got {weight!r} and {rng!r}")
    if weight is None:
        return np.random.default_rng(rng).normal(0.0, math.sqrt(2 / math.prod(shape[1:])), shape)
    return given(f"{name}.weight", weight, shape)


def given(name: str, values, shape: tuple[int, ...]) -> np.ndarray:
    """A float64 copy of `values`, which must have this shape; None is zeros."""
    array = np.zeros(shape) if values is None else np.array(values, dtype=np.float64)
    if array.shape != shape:
        raise ValueError(f"{name}: expected {shape}, got {array.shape}")
    return array


class Linear(Layer):
    """z = x W^T + b: (N, fan_in) to (N, fan_out).

    Args:
        weight: W, (fan_out, fan_in); without it W is drawn as He proposes, from `rng`, a seed or a generator.
        bias: b, (fan_out,); zeros without it.

    With G = dloss/dz, (N, fan_out):

        dloss/dW = G^T x        (fan_out, fan_in)
        dloss/db = 1^T G        (fan_out,), the sum over the batch
        dloss/dx = G W          (N, fan_in)

    A parameter's gradient has the parameter's shape: that alone decides what is transposed.
    """

    kind = "linear"

    def __init__(self, fan_in: int, fan_out: int, *, weight=None, bias=None, rng=None):
        super().__init__()
        self.fan_in, self.fan_out = fan_in, fan_out
        self.learns(
            weight=starting_weight(self.name, (fan_out, fan_in), weight, rng),
            bias=given(f"{self.name}.bias", bias, (fan_out,)),
        )

    def forward(self, x):
        self.expects(x, ("N", self.fan_in))
        z = x @ self.params["weight"].T  # (N, fan_out)
        z += self.params["bias"]
        return self.remember(z, x)

    def backward(self, grad):
        x = self.recall(grad)
        np.matmul(grad.T, x, out=self.grads["weight"])  # (fan_out, fan_in)
        np.sum(grad, axis=0, out=self.grads["bias"])  # (fan_out,)
        return grad @ self.params["weight"]  # (N, fan_in)


class Flatten(Layer):
    """(N, C, Hi, Wi) to (N, C Hi Wi); the gradient goes back into the old shape."""

    kind = "flatten"

    def forward(self, x):
        return self.remember(x.reshape(len(x), -1), x.shape)

    def backward(self, grad):
        return grad.reshape(self.recall(grad))
