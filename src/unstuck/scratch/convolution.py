"""`Conv2d`, fast and naive, and `MaxPool2d`: images are (N, C, Hi, Wi), kernels k x k."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike

from unstuck.arguments import whole, wholes
from unstuck.scratch.arrays import copied, floats, he_normal
from unstuck.scratch.layer import Layer

IMAGES = ("N", "C", "Hi", "Wi")


def windows(x: np.ndarray, size: int, stride: int) -> np.ndarray:
    """Every window of an image: (N, C, Hi, Wi) to (N, C, k, k, Ho, Wo), a read-only view without a copy.

    Ho = (Hi - k) // stride + 1: a border that no whole window reaches is left out.
    """
    size, stride = whole("size", size), whole("stride", stride)
    x = floats("x, size", floats("x", x, IMAGES), IMAGES, smallest=size)
    view = sliding_window_view(x, (size, size), axis=(2, 3))  # (N, C, Hi - k + 1, Wi - k + 1, k, k)
    return view[:, :, ::stride, ::stride].transpose(0, 1, 4, 5, 2, 3)


def fold(parts: np.ndarray, shape: tuple[int, ...], stride: int) -> np.ndarray:
    """Backward of `windows`: (N, C, k, k, Ho, Wo) to `shape` = (N, C, Hi, Wi), a pixel summed over its windows."""
    parts, stride = floats("parts", parts, ("N", "C", "k", "k", "Ho", "Wo")), whole("stride", stride)
    n, c, hi, wi = wholes("shape", shape, count=4)
    size = parts.shape[2]
    height, width = ((pixels - size) // stride + 1 for pixels in (hi, wi))
    parts = floats("parts, shape", parts, (n, c, size, size, height, width))
    x = np.zeros((n, c, hi, wi), dtype=parts.dtype)
    for i in range(size):
        for j in range(size):
            x[:, :, i : i + stride * height : stride, j : j + stride * width : stride] += parts[:, :, i, j]
    return x


def pad(x: np.ndarray, padding: int) -> np.ndarray:
    """Zeros around each image: (N, C, Hi, Wi) to (N, C, Hi + 2 padding, Wi + 2 padding)."""
    padding = whole("padding", padding, least=0)
    return np.pad(floats("x", x, IMAGES), ((0, 0), (0, 0), (padding, padding), (padding, padding)))


def conv2d_naive(x: np.ndarray, w: np.ndarray, b: np.ndarray, stride: int = 1, padding: int = 0) -> np.ndarray:
    """The definition in loops: x (N, C, Hi, Wi), w (C_out, C, k, k), b (C_out,) to (N, C_out, Ho, Wo).

        z[n, o, i, j] = b[o] + sum over c, u, v of w[o, c, u, v] x[n, c, i stride + u, j stride + v]

    As everywhere in the field the kernel is not flipped: mathematics calls this a cross-correlation. Raises
    ValueError where image, kernel and bias do not fit together.
    """
    w = floats("w", w, ("C_out", "C", "k", "k"))
    c_out, c_in, k, _ = w.shape
    padding, stride, b = whole("padding", padding, least=0), whole("stride", stride), floats("b", b, (c_out,))
    x = pad(floats("x", x, ("N", c_in, "Hi", "Wi"), smallest=k - 2 * padding), padding)
    height, width = ((size - k) // stride + 1 for size in x.shape[2:])
    z = np.empty((len(x), len(w), height, width), dtype=x.dtype)
    for n in range(len(x)):
        for o in range(len(w)):
            for i in range(height):
                for j in range(width):
                    top, left = i * stride, j * stride
                    z[n, o, i, j] = np.sum(w[o] * x[n, :, top : top + k, left : left + k]) + b[o]
    return z


class Conv2d(Layer):
    """A linear layer on every window: (N, c_in, Hi, Wi) to (N, c_out, Ho, Wo).

    Ho = (Hi + 2 padding - k) // stride + 1, and Wo alike.

    Args:
        weight: w, (c_out, c_in, k, k); without it w is drawn as He proposes, fan-in c_in k k, from `rng`.
        bias: b, (c_out,); zeros without it.

    X (N, c_in k k, Ho Wo) holds each window as a column (im2col) and W (c_out, c_in k k) each kernel as a row, so
    z = W X + b for every image. With G = dloss/dz, (N, c_out, Ho Wo):

        dloss/dW = sum over the batch of G X^T          dloss/db = the sum of G over batch and positions
        dloss/dX = W^T G, and a pixel sums what it gets in all its windows (`fold`)
    """

    kind = "conv"

    def __init__(
        self,
        c_in: int,
        c_out: int,
        size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        weight: ArrayLike | None = None,
        bias: ArrayLike | None = None,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__()
        self.c_in, self.c_out, self.size = whole("c_in", c_in), whole("c_out", c_out), whole("size", size)
        self.stride, self.padding = whole("stride", stride), whole("padding", padding, least=0)
        weight = he_normal((self.c_out, self.c_in, self.size, self.size), weight, rng)
        self.learns(weight=weight, bias=copied("bias", bias, (self.c_out,)))

    def forward(self, x: np.ndarray) -> np.ndarray:
        x = self.expects(x, ("N", self.c_in, "Hi", "Wi"), smallest=self.size - 2 * self.padding)
        x = pad(x, self.padding)
        seen = windows(x, self.size, self.stride)  # (N, c_in, k, k, Ho, Wo)
        columns = seen.reshape(len(x), self.c_in * self.size**2, -1)  # (N, c_in k k, Ho Wo)
        z = self.kernels() @ columns + self.params["bias"][:, None]  # (N, c_out, Ho Wo)
        return self.remember(z.reshape(len(x), self.c_out, *seen.shape[4:]), (columns, seen.shape, x.shape))

    def backward(self, grad: np.ndarray) -> np.ndarray:
        columns, seen_shape, padded_shape = self.recall(grad)
        g = grad.reshape(len(grad), self.c_out, -1)  # (N, c_out, Ho Wo)
        dw = (g @ columns.swapaxes(1, 2)).sum(axis=0)  # (c_out, c_in k k)
        self.grads["weight"][:] = dw.reshape(self.grads["weight"].shape)
        self.grads["bias"][:] = g.sum(axis=(0, 2))
        dcolumns = self.kernels().T @ g  # (N, c_in k k, Ho Wo)
        dx, p = fold(dcolumns.reshape(seen_shape), padded_shape, self.stride), self.padding
        return dx[:, :, p : dx.shape[2] - p, p : dx.shape[3] - p]

    def kernels(self) -> np.ndarray:
        """The weight as a matrix, (c_out, c_in k k)."""
        return self.params["weight"].reshape(self.c_out, -1)


class MaxPool2d(Layer):
    """The largest of every window: (N, C, Hi, Wi) to (N, C, Ho, Wo), Ho = (Hi - size) // stride + 1.

    The gradient goes to the largest pixel of the window, the first of them where several tie. `stride`: as `size`
    without it.
    """

    kind = "pool"

    def __init__(self, size: int, *, stride: int | None = None) -> None:
        super().__init__()
        self.size = whole("size", size)
        self.stride = self.size if stride is None else whole("stride", stride)

    def forward(self, x: np.ndarray) -> np.ndarray:
        x = self.expects(x, IMAGES, smallest=self.size)
        seen = windows(x, self.size, self.stride)
        flat = seen.reshape(*x.shape[:2], self.size**2, *seen.shape[4:])  # (N, C, k k, Ho, Wo)
        winner = flat.argmax(axis=2)[:, :, None]  # (N, C, 1, Ho, Wo)
        a = np.take_along_axis(flat, winner, axis=2)[:, :, 0]
        return self.remember(a, (winner, seen.shape, x.shape))

    def backward(self, grad: np.ndarray) -> np.ndarray:
        winner, seen_shape, x_shape = self.recall(grad)
        parts = np.zeros((*seen_shape[:2], self.size**2, *seen_shape[4:]), dtype=grad.dtype)
        np.put_along_axis(parts, winner, grad[:, :, None], axis=2)
        return fold(parts.reshape(seen_shape), x_shape, self.stride)
