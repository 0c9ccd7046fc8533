"""`Linear` and `Flatten`."""

import numpy as np
from numpy.typing import ArrayLike

from unstuck.arguments import whole
from unstuck.scratch.arrays import copied, he_normal
from unstuck.scratch.layer import Layer


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

    def __init__(
        self,
        fan_in: int,
        fan_out: int,
        *,
        weight: ArrayLike | None = None,
        bias: ArrayLike | None = None,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__()
        self.fan_in, self.fan_out = whole("fan_in", fan_in), whole("fan_out", fan_out)
        weight = he_normal((self.fan_out, self.fan_in), weight, rng)
        self.learns(weight=weight, bias=copied("bias", bias, (self.fan_out,)))

    def forward(self, x: np.ndarray) -> np.ndarray:
        x = self.expects(x, ("N", self.fan_in))
        z = x @ self.params["weight"].T  # (N, fan_out)
        z += self.params["bias"]
        return self.remember(z, x)

    def backward(self, grad: np.ndarray) -> np.ndarray:
        x = self.recall(grad)
        np.matmul(grad.T, x, out=self.grads["weight"])  # (fan_out, fan_in)
        np.sum(grad, axis=0, out=self.grads["bias"])  # (fan_out,)
        return grad @ self.params["weight"]  # (N, fan_in)


class Flatten(Layer):
    """(N, C, Hi, Wi) to (N, C Hi Wi); the gradient goes back into the old shape."""

    kind = "flatten"

    def forward(self, x: np.ndarray) -> np.ndarray:
        x = self.expects(x, ("N", ...))
        return self.remember(x.reshape(len(x), -1), x.shape)

    def backward(self, grad: np.ndarray) -> np.ndarray:
        shape = self.recall(grad)
        return grad.reshape(shape)
