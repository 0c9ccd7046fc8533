"""The losses: `forward(output, y)` returns a number, `backward()` its gradient, in the shape of the output.

`reduction` says what is made of the many terms: their "mean", or their "sum", whose gradient is as many times
larger as there are terms. A learning rate means nothing before this is said.
"""

import math

import numpy as np

from unstuck.arguments import choice
from unstuck.scratch.activations import sigmoid
from unstuck.scratch.arrays import floats, numbers

REDUCTIONS = ("mean", "sum")


class Loss:
    """A loss: subclasses compute the terms and their gradients, this class sums or averages both.

    After `forward`, `mean` is the mean of the terms whatever the reduction: what two runs can be compared by.
    """

    name = "loss"

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = choice("reduction", reduction, REDUCTIONS)
        self.mean = math.nan
        self._grad: np.ndarray | None = None  # of the sum of the terms
        self._factor = 1.0

    def forward(self, output: np.ndarray, y: np.ndarray) -> float:
        raise NotImplementedError

    def backward(self) -> np.ndarray:
        """dloss/doutput at the last `forward`."""
        if self._grad is None:
            raise RuntimeError(f"{self.name}: backward before forward")
        return self._factor * self._grad

    def accuracy(self, output: np.ndarray, y: np.ndarray) -> float | None:
        """The share of examples classified correctly; None for a loss that does not classify."""
        return None

    def reduce(self, terms: np.ndarray, grad: np.ndarray) -> float:
        """The mean or the sum of `terms`; keeps `grad`, the gradient of their sum, for `backward`."""
        self.mean = float(np.mean(terms))
        self._grad, self._factor = grad, 1 / terms.size if self.reduction == "mean" else 1.0
        return self.mean if self.reduction == "mean" else float(np.sum(terms))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(reduction={self.reduction!r})"


class SoftmaxCrossEntropy(Loss):
    """-log p(y) with p = softmax(logits): logits (N, K), labels y (N,) from 0 to K - 1.

        term_n = log sum_k e^(z_nk) - z_ny          dloss/dz_nk = p_nk - [k = y_n]

    Before the exponential each row loses its maximum, which changes neither line and keeps it from overflowing.
    """

    def forward(self, output: np.ndarray, y: np.ndarray) -> float:
        output, y = _classes(output, y)
        rows = np.arange(len(y))
        z = output - output.max(axis=1, keepdims=True)  # (N, K), at most 0
        e = np.exp(z)
        total = e.sum(axis=1, keepdims=True)  # (N, 1), at least 1
        p = e / total
        p[rows, y] -= 1
        return self.reduce(np.log(total[:, 0]) - z[rows, y], p)

    def accuracy(self, output: np.ndarray, y: np.ndarray) -> float:
        output, y = _classes(output, y)
        return float(np.mean(output.argmax(axis=1) == y))


class LogisticLoss(Loss):
    """-log p(y) with p(1) = sigmoid(z): logits z (N, 1), labels y (N,) of 0 and 1 (or between).

    term = log(1 + e^z) - y z = max(z, 0) + log(1 + e^-|z|) - y z          dloss/dz = sigmoid(z) - y
    """

    def forward(self, output: np.ndarray, y: np.ndarray) -> float:
        output, y = _shares(output, y)
        y = y[:, None].astype(output.dtype)  # (N, 1), as the logits: (N,) would broadcast to (N, N)
        terms = np.maximum(output, 0) + np.log1p(np.exp(-np.abs(output))) - y * output
        return self.reduce(terms, sigmoid(output) - y)

    def accuracy(self, output: np.ndarray, y: np.ndarray) -> float:
        output, y = _shares(output, y)
        return float(np.mean((output[:, 0] > 0) == (y > 0.5)))


class SquaredError(Loss):
    """(output - y)^2, without a factor 1/2: output and y in one shape (N, ...); the mean is over all their numbers.

    dloss/doutput = 2 (output - y).
    """

    def forward(self, output: np.ndarray, y: np.ndarray) -> float:
        output = floats("output", output, ("N", ...))
        y = floats("y", y, output.shape)
        difference = output - y.astype(output.dtype)
        return self.reduce(difference**2, 2 * difference)


def _classes(output: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, K) as floats, and labels (N,), which are integers from 0 to K - 1."""
    output, y = floats("output", output, ("N", "K")), numbers("y", y)
    if y.dtype.kind not in "iu":
        raise TypeError(f"y: expected integer labels, got {y.dtype}")
    floats("y", y, (len(output),))
    if y.min() < 0 or y.max() >= output.shape[1]:
        raise ValueError(f"y: expected labels 0 to {output.shape[1] - 1}, got {y.min()} to {y.max()}")
    return output, y


def _shares(output: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, 1) and labels (N,) from 0 to 1, as floats."""
    output = floats("output", output, ("N", 1))
    y = floats("y", y, (len(output),))
    if not (y.min() >= 0 and y.max() <= 1):
        raise ValueError(f"y: expected labels from 0 to 1, got {y.min():g} to {y.max():g}")
    return output, y
