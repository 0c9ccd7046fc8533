"""`Layer`: what every layer of `unstuck.scratch` has, so that the layers themselves are only mathematics."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from unstuck.arguments import instance
from unstuck.scratch.arrays import Shape, floats, numbers, precision


class Layer:
    """A layer computes its output in `forward(x)`; `backward(grad)` takes dloss/doutput and returns dloss/dx.

    Attributes:
        name: for messages and for the keys of `Network.params`; a `Network` numbers it: "linear1", "act1", ...
        training: True or False; only `BatchNorm` cares.
        params: the arrays that are learned, by name.
        grads: dloss/dparameter by the same names and in the same shapes; every `backward` overwrites them.
        buffers: arrays that are kept but not learned, by name.
    """

    kind = "layer"

    def __init__(self) -> None:
        self.name = self.kind
        self.training = True
        self.params: dict[str, np.ndarray] = {}
        self.grads: dict[str, np.ndarray] = {}
        self.buffers: dict[str, np.ndarray] = {}
        self._remembered: tuple[tuple[int, ...], Any] | None = None  # (shape of the output, what backward needs)

    def forward(self, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def backward(self, grad: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def learns(self, **params: np.ndarray) -> None:
        """Make these arrays the parameters, with gradients of 0."""
        self.params = params
        self.grads = {name: np.zeros_like(array) for name, array in params.items()}

    def astype(self, dtype: DTypeLike) -> Layer:
        """Turn all arrays into float64 or float32; returns the layer."""
        dtype = precision("dtype", dtype)
        for arrays in (self.params, self.grads, self.buffers):
            arrays.update({name: array.astype(dtype) for name, array in arrays.items()})
        return self

    def expects(self, x: np.ndarray, *shapes: Shape, smallest: int = 1, name: str = "x") -> np.ndarray:
        """`x` as floats in one of these shapes, as `arrays.floats` has it; an error says in which layer."""
        return floats(name, x, *shapes, smallest=smallest, where=f" in {self.name}")

    def remember(self, output: np.ndarray, needed: Any) -> np.ndarray:
        """Keep what `backward` will need; returns the output."""
        self._remembered = (output.shape, needed)
        return output

    def recall(self, grad: np.ndarray) -> Any:
        """What the last `forward` kept; refuses a gradient that does not have its output's shape."""
        if self._remembered is None:
            raise RuntimeError(f"{self.name}: backward before forward")
        shape, needed = self._remembered
        instance("grad", grad, np.ndarray, f"an array in {self.name}")
        numbers("grad", grad, f" in {self.name}")
        if grad.shape != shape:
            raise ValueError(f"grad: expected {shape} in {self.name}, got {grad.shape}")
        return needed

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in self.params.items())
        return f"{type(self).__name__}({shapes})"
