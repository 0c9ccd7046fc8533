"""Every activation of the book: a = f(z) elementwise, so dloss/dz = dloss/da * f'(z) in the same shape."""

import math

import numpy as np
from scipy.special import ndtr

from unstuck.activations import ACTIVATIONS as TABLE
from unstuck.arguments import real, whole
from unstuck.scratch.arrays import floats
from unstuck.scratch.layer import Layer


def sigmoid(z: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-z). Only e^-|z| is computed, which cannot overflow; for z < 0 it is e^z / (1 + e^z)."""
    z = floats("z", z)
    e = np.exp(-np.abs(z))
    return np.where(z < 0, e, 1) / (1 + e)


class Activation(Layer):
    """An activation; its input and output may have any shape. Integers become float64."""

    kind = "act"


class Identity(Activation):
    """f(z) = z, f' = 1."""

    def forward(self, z: np.ndarray) -> np.ndarray:
        return self.remember(floats("z", z), None)

    def backward(self, grad: np.ndarray) -> np.ndarray:
        self.recall(grad)
        return grad


class Sigmoid(Activation):
    """f(z) = 1 / (1 + e^-z), f' = a (1 - a)."""

    def forward(self, z: np.ndarray) -> np.ndarray:
        a = sigmoid(z)
        return self.remember(a, a)

    def backward(self, grad: np.ndarray) -> np.ndarray:
        a = self.recall(grad)
        return grad * a * (1 - a)


class Tanh(Activation):
    """f(z) = tanh z, f' = 1 - a^2."""

    def forward(self, z: np.ndarray) -> np.ndarray:
        a = np.tanh(floats("z", z))
        return self.remember(a, a)

    def backward(self, grad: np.ndarray) -> np.ndarray:
        a = self.recall(grad)
        return grad * (1 - a * a)


class ReLU(Activation):
    """f(z) = max(z, 0), f' = 1 where z > 0, else 0 (also at 0, as in PyTorch)."""

    def forward(self, z: np.ndarray) -> np.ndarray:
        a = np.maximum(floats("z", z), 0)
        return self.remember(a, a)

    def backward(self, grad: np.ndarray) -> np.ndarray:
        a = self.recall(grad)
        return grad * (a > 0)


class LeakyReLU(Activation):
    """f(z) = z where z > 0, else slope * z (Maas et al. 2013)."""

    def __init__(self, slope: float = 0.01) -> None:
        super().__init__()
        self.slope = real("slope", slope)

    def forward(self, z: np.ndarray) -> np.ndarray:
        z = floats("z", z)
        return self.remember(np.where(z > 0, z, self.slope * z), z)

    def backward(self, grad: np.ndarray) -> np.ndarray:
        z = self.recall(grad)
        return np.where(z > 0, grad, self.slope * grad)


class PReLU(Activation):
    """f(z) = z where z > 0, else slope * z, with one slope a layer that is learned (He et al. 2015, eq. 1).

    dloss/dslope is the sum of dloss/da * z over all z that are not positive.
    """

    def __init__(self, slope: float = 0.25) -> None:
        super().__init__()
        self.learns(slope=np.array([real("slope", slope)]))

    def forward(self, z: np.ndarray) -> np.ndarray:
        z = floats("z", z)
        return self.remember(np.where(z > 0, z, self.params["slope"] * z), z)

    def backward(self, grad: np.ndarray) -> np.ndarray:
        z = self.recall(grad)
        self.grads["slope"][0] = np.sum(grad * np.minimum(z, 0))
        return np.where(z > 0, grad, self.params["slope"] * grad)


class ELU(Activation):
    """f(z) = z where z > 0, else alpha (e^z - 1), both times `scale` (Clevert et al. 2016, eq. 15).

    f' = 1 where z > 0, else alpha e^z, both times `scale`. The exponential sees min(z, 0), so it cannot overflow.
    """

    def __init__(self, alpha: float = 1.0, scale: float = 1.0) -> None:
        super().__init__()
        self.alpha, self.scale = real("alpha", alpha), real("scale", scale)

    def forward(self, z: np.ndarray) -> np.ndarray:
        z = floats("z", z)
        a = np.where(z > 0, z, self.alpha * np.expm1(np.minimum(z, 0)))
        return self.remember(self.scale * a, z)

    def backward(self, grad: np.ndarray) -> np.ndarray:
        z = self.recall(grad)
        slope = np.where(z > 0, 1, self.alpha * np.exp(np.minimum(z, 0)))
        return grad * self.scale * slope


class SELU(ELU):
    """ELU with the two constants that keep mean 0 and variance 1 (Klambauer et al. 2017, eq. 14)."""

    def __init__(self) -> None:
        super().__init__(alpha=1.6732632423543772, scale=1.0507009873554805)


class GELU(Activation):
    """f(z) = z Phi(z), f' = Phi(z) + z phi(z), of the standard normal distribution (Hendrycks & Gimpel 2016).

    Phi(z) = (1 + erf(z / sqrt 2)) / 2 and phi(z) = e^(-z^2 / 2) / sqrt(2 pi); exact, not the approximation by tanh.
    """

    def forward(self, z: np.ndarray) -> np.ndarray:
        z = floats("z", z)
        cdf = ndtr(z)  # Phi: where z is far below 0, 1 + erf would cancel
        return self.remember(z * cdf, (z, cdf))

    def backward(self, grad: np.ndarray) -> np.ndarray:
        z, cdf = self.recall(grad)
        pdf = np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        return grad * (cdf + z * pdf)


class SiLU(Activation):
    """f(z) = z s with s = sigmoid(z), f' = s + z s (1 - s) (Elfwing et al. 2018)."""

    def forward(self, z: np.ndarray) -> np.ndarray:
        z = floats("z", z)
        s = sigmoid(z)
        return self.remember(z * s, (z, s))

    def backward(self, grad: np.ndarray) -> np.ndarray:
        z, s = self.recall(grad)
        return grad * s * (1 + z * (1 - s))


class Maxout(Activation):
    """The largest of `pieces` features (Goodfellow et al. 2013): (N, H * pieces) to (N, H), or images alike.

    Unit h is the maximum over features h, h + H, h + 2H, ... The gradient goes to the largest; where several tie,
    they share it (as in PyTorch's `amax`).
    """

    def __init__(self, pieces: int = 2) -> None:
        super().__init__()
        self.pieces = whole("pieces", pieces, least=2)

    def forward(self, z: np.ndarray) -> np.ndarray:
        z = self.expects(z, ("N", "C", ...), name="z")
        if z.shape[1] % self.pieces:
            raise ValueError(f"z: expected features in multiples of {self.pieces} in {self.name}, got {z.shape}")
        parts = z.reshape(len(z), self.pieces, -1, *z.shape[2:])  # (N, pieces, H, ...)
        a = parts.max(axis=1)  # (N, H, ...)
        return self.remember(a, parts == a[:, None])

    def backward(self, grad: np.ndarray) -> np.ndarray:
        largest = self.recall(grad)
        shared = grad / np.sum(largest, axis=1, dtype=grad.dtype)  # (N, H, ...)
        return (largest * shared[:, None]).reshape(len(grad), -1, *grad.shape[2:])


ACTIVATIONS: dict[str, type[Activation]] = {name: globals()[row.kind] for name, row in TABLE.items()}
"""The classes of `unstuck.activations.ACTIVATIONS`, by the same names in the same order."""
