"""`BatchNorm`, for features and for the channels of images, and `LayerNorm`, for the features of each example."""

import numpy as np

from unstuck.arguments import real, whole
from unstuck.scratch.layer import Layer


class BatchNorm(Layer):
    """Each feature loses its mean and is divided by its standard deviation over the batch (Ioffe & Szegedy 2015).

        n = (x - mean) / sqrt(var + eps)          y = gamma n + beta

    (N, C) features, or (N, C, Hi, Wi) images, where every pixel counts as an example of its channel. With
    G = dloss/dy and M examples a feature (algorithm 1 and the equations of section 3, simplified):

        dloss/dgamma = sum G n          dloss/dbeta = sum G          H = gamma G
        dloss/dx = (H - mean H - n mean(H n)) / sqrt(var + eps)

    In training mean and var are the batch's (var with 1/M), and the running ones move towards them by `momentum`
    (var with 1/(M - 1), as in PyTorch). In evaluation the running ones are used: constants, so the last line ends
    at H.
    """

    kind = "norm"

    def __init__(self, features: int, *, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.features = whole("features", features)
        self.momentum, self.eps = real("momentum", momentum, least=0, most=1), real("eps", eps, least=0)
        self.learns(gamma=np.ones(self.features), beta=np.zeros(self.features))
        self.buffers = {"running_mean": np.zeros(self.features), "running_var": np.ones(self.features)}

    def forward(self, x: np.ndarray) -> np.ndarray:
        x = self.expects(x, ("N", self.features), ("N", self.features, "Hi", "Wi"))
        rows = to_rows(x)  # (M, C)
        mean, var = self.batch_statistics(rows) if self.training else self.buffers.values()
        std = np.sqrt(var + self.eps)
        n = (rows - mean) / std
        y = self.params["gamma"] * n + self.params["beta"]
        return self.remember(from_rows(y, x.shape), (n, std, self.training))

    def backward(self, grad: np.ndarray) -> np.ndarray:
        n, std, in_training = self.recall(grad)
        g = to_rows(grad)
        self.grads["gamma"][:] = (g * n).sum(axis=0)
        self.grads["beta"][:] = g.sum(axis=0)
        h = self.params["gamma"] * g
        if in_training:
            h = h - h.mean(axis=0) - n * (h * n).mean(axis=0)
        return from_rows(h / std, grad.shape)

    def batch_statistics(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of each column of (M, C); moves the running ones towards them."""
        m = len(rows)
        if m < 2:
            raise ValueError(f"x: expected more than one example a feature in training in {self.name}, got {m}")
        mean, var = rows.mean(axis=0), rows.var(axis=0)
        for name, value in (("running_mean", mean), ("running_var", var * m / (m - 1))):
            self.buffers[name] += self.momentum * (value - self.buffers[name])
        return mean, var


class LayerNorm(Layer):
    """Each example loses the mean of its features and is divided by their standard deviation (Ba et al. 2016).

        n = (x - mean) / sqrt(var + eps)          y = gamma n + beta

    (N, C) features, or (N, T, C), where each of the T positions is an example of its own: as PyTorch's, it works
    along the last axis, and in training and evaluation alike. With G = dloss/dy and H = gamma G it is BatchNorm's
    backward pass turned round: parameters sum over examples, the means of dloss/dx are over the features of one.

        dloss/dgamma = sum G n          dloss/dbeta = sum G
        dloss/dx = (H - mean H - n mean(H n)) / sqrt(var + eps)
    """

    kind = "norm"

    def __init__(self, features: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.features, self.eps = whole("features", features), real("eps", eps, least=0)
        self.learns(gamma=np.ones(self.features), beta=np.zeros(self.features))

    def forward(self, x: np.ndarray) -> np.ndarray:
        x = self.expects(x, ("N", self.features), ("N", "T", self.features))
        std = np.sqrt(x.var(axis=-1, keepdims=True) + self.eps)  # (N, 1) or (N, T, 1)
        n = (x - x.mean(axis=-1, keepdims=True)) / std
        return self.remember(self.params["gamma"] * n + self.params["beta"], (n, std))

    def backward(self, grad: np.ndarray) -> np.ndarray:
        n, std = self.recall(grad)
        examples = tuple(range(grad.ndim - 1))  # every axis but the features'
        self.grads["gamma"][:] = (grad * n).sum(axis=examples)
        self.grads["beta"][:] = grad.sum(axis=examples)
        h = self.params["gamma"] * grad
        return (h - h.mean(axis=-1, keepdims=True) - n * (h * n).mean(axis=-1, keepdims=True)) / std


def to_rows(x: np.ndarray) -> np.ndarray:
    """(N, C, Hi, Wi) to (N Hi Wi, C), a pixel a row; (N, C) stays as it is."""
    return np.moveaxis(x, 1, -1).reshape(-1, x.shape[1])


def from_rows(rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The inverse of `to_rows`, to this shape."""
    return np.moveaxis(rows.reshape(shape[0], *shape[2:], shape[1]), -1, 1)
