"""`Network`: layers in a row, and a loss at their end; `perceptron` builds the book's."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from unstuck.arguments import choice, flag, instance, real, short, whole, wholes
from unstuck.record import Record
from unstuck.scratch.activations import ACTIVATIONS
from unstuck.scratch.arrays import floats, numbers, precision
from unstuck.scratch.layer import Layer
from unstuck.scratch.linear import Flatten, Linear
from unstuck.scratch.losses import Loss, SoftmaxCrossEntropy


class Network:
    """Layers one after the other, and a loss.

    Args:
        layers: they are named and numbered by kind: "linear1", "act1", "linear2", ...
        loss: what ends the network in training.
        dtype: np.float64 or np.float32, of all parameters and of what goes through.

    One step of training: `output = network.forward(x)`, `network.loss.forward(output, y)`, `network.backward()`,
    `network.step(lr)`.
    """

    def __init__(self, layers: Sequence[Layer], loss: Loss, *, dtype: DTypeLike = np.float64) -> None:
        instance("layers", layers, Sequence, "a sequence of layers")
        for layer in layers:
            instance("layers", layer, Layer, "layers")
        if len({id(layer) for layer in layers}) < len(layers) or not layers:
            raise ValueError("layers: expected at least one, and each only once, since it remembers its own input")
        self.layers, self.loss = list(layers), instance("loss", loss, Loss, "a Loss")
        self.dtype = precision("dtype", dtype)
        counts: Counter[str] = Counter()
        for layer in self.layers:
            counts[layer.kind] += 1
            layer.name = f"{layer.kind}{counts[layer.kind]}"
            layer.astype(self.dtype)

    def forward(self, x: np.ndarray) -> np.ndarray:
        """The output of the last layer, (N, K); remembers what `backward` needs."""
        x = floats("x", x).astype(self.dtype, copy=False)
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self) -> np.ndarray:
        """Fill the gradients of every layer, from the loss backwards; returns dloss/dx, in the shape of x."""
        grad = self.loss.backward()
        for layer in reversed(self.layers):
            grad = layer.backward(grad)
        return grad

    def step(self, lr: float) -> None:
        """Gradient descent: parameter -= lr * gradient, in place; `lr` is finite and at least 0."""
        rate = real("lr", lr, least=0)  # Python's: a NumPy float64 would make float64 of what it multiplies
        for layer in self.layers:
            for name, param in layer.params.items():
                param -= rate * layer.grads[name]

    @property
    def params(self) -> dict[str, np.ndarray]:
        """The parameters themselves, not copies, as "linear1.weight", "linear1.bias", ..."""
        return {f"{layer.name}.{name}": array for layer in self.layers for name, array in layer.params.items()}

    @property
    def grads(self) -> dict[str, np.ndarray]:
        """The gradients of the last `backward`, by the same names."""
        return {f"{layer.name}.{name}": array for layer in self.layers for name, array in layer.grads.items()}

    @property
    def training(self) -> bool:
        """Whether the layers are in training mode; setting it sets all of them."""
        return self.layers[0].training

    @training.setter
    def training(self, mode: bool) -> None:
        mode = flag("training", mode)
        for layer in self.layers:
            layer.training = mode

    def accuracy(self, x: np.ndarray, y: np.ndarray) -> float | None:
        """The share of `x` (N, ...) that gets its label in `y` (N,), in evaluation mode; None without classes."""
        before, self.training = self.training, False
        try:
            return self.loss.accuracy(self.forward(x), y)
        finally:
            self.training = before

    def fit(
        self, data: Any, *, steps: int, lr: float, batch_size: int = 100, seed: int = 0, every: int = 1
    ) -> Record:
        """Train in place by stochastic gradient descent and return what happened.

        Args:
            data: a `Split`, of which the training part is used, or arrays `(x, y)`.
            steps: how many batches.
            lr: the learning rate, finite and at least 0.
            batch_size: the last batch of an epoch may be smaller.
            seed: of the order of the batches, and of nothing else. NumPy draws another order than
                `unstuck.train.fit` does from the same seed.
            every: record each `every`-th step.

        The record holds the batch's loss, as a mean also where the reduction is a sum, and its accuracy where the
        loss classifies. Training ends when a loss is not finite; `record.stopped` then says where. NumPy's warnings
        on the way there are those that `np.errstate` allows.
        """
        x, y = _examples(data)
        x = x.astype(self.dtype, copy=False)
        steps, every, lr = whole("steps", steps), whole("every", every), real("lr", lr, least=0)
        batch_size, seed = whole("batch_size", batch_size, most=len(x)), whole("seed", seed, least=0)
        record = Record()
        before, self.training = self.training, True
        try:
            for step, index in enumerate(_batches(len(x), batch_size, steps, seed)):
                output = self.forward(x[index])
                self.loss.forward(output, y[index])
                if step % every == 0:
                    record.add(step, "", "loss", self.loss.mean)
                    if (accuracy := self.loss.accuracy(output, y[index])) is not None:
                        record.add(step, "", "accuracy", accuracy)
                if not math.isfinite(self.loss.mean):
                    record.stopped = (step, f"the loss is {self.loss.mean}")
                    break
                self.backward()
                self.step(lr)
        finally:
            self.training = before
        return record

    def __repr__(self) -> str:
        lines = [f"  {layer.name}: {layer!r}" for layer in self.layers]
        return "\n".join([f"Network, {self.dtype}", *lines, f"  {self.loss!r}"])


def _examples(data: Any) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and labels, as many of each, of a `Split` or a pair."""
    pair = (data.x_train, data.y_train) if hasattr(data, "x_train") else data
    if not (isinstance(pair, tuple | list) and len(pair) == 2):
        raise TypeError(f"data: expected a Split or a pair of arrays (x, y), got {short(data)}")
    x, y = floats("data", pair[0], ("N", ...)), numbers("data", pair[1])
    if y.shape[:1] != x.shape[:1]:
        raise ValueError(f"data: expected as many labels as examples, got {y.shape} for {x.shape}")
    return x, y


def _batches(n: int, batch_size: int, steps: int, seed: int) -> Iterator[np.ndarray]:
    """`steps` index arrays: each epoch a new permutation of range(n), cut into batches."""
    rng, starts = np.random.default_rng(seed), range(0, n, batch_size)
    for step in range(steps):
        place = step % len(starts)
        if place == 0:
            order = rng.permutation(n)
        yield order[starts[place] : starts[place] + batch_size]


def perceptron(
    widths: Sequence[int],
    activation: str = "relu",
    *,
    weight_std: float | None = None,
    loss: Loss | None = None,
    seed: int = 0,
    dtype: DTypeLike = np.float64,
) -> Network:
    """The book's multilayer perceptron: `flatten1`, then `linear1`, `act1`, ..., ending with a linear layer.

    Args:
        widths: features of input, hidden layers and output, e.g. `(784, 64, 64, 10)`.
        activation: a name in `ACTIVATIONS`; "maxout" doubles the width of the linear layers before it.
        weight_std: the weights are N(0, weight_std^2); None is He's, sqrt(2 / fan_in). Biases are 0.
        loss: `SoftmaxCrossEntropy()` without it.
        seed: of the weights. The same seed draws the same numbers whatever `weight_std` and dtype are.
    """
    widths, activation = wholes("widths", widths, fewest=2), choice("activation", activation, ACTIVATIONS)
    rng = np.random.default_rng(whole("seed", seed, least=0))
    layers: list[Layer] = [Flatten()]
    for fan_in, fan_out in pairwise(widths[:-1]):
        act = ACTIVATIONS[activation]()
        layers += [Linear(fan_in, fan_out * getattr(act, "pieces", 1), rng=rng), act]
    layers.append(Linear(widths[-2], widths[-1], rng=rng))
    if weight_std is not None:
        std = real("weight_std", weight_std, least=0)
        for layer in layers:
            if isinstance(layer, Linear):
                layer.params["weight"] *= std / math.sqrt(2 / layer.fan_in)
    return Network(layers, SoftmaxCrossEntropy() if loss is None else loss, dtype=dtype)
