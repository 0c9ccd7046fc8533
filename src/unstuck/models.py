"""The book's networks: plain PyTorch modules whose layers are named `linear1`, `act1`, `linear2`, ..."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from numbers import Integral

import torch
from torch import Tensor, nn


class Maxout(nn.Module):
    """The largest of `pieces` linear maps (Goodfellow et al. 2013): (N, H * pieces) to (N, H).

    Unit h is the maximum over features h, h + H, h + 2H, ...; the layer before it is `pieces` times as wide.
    """

    def __init__(self, pieces: int = 2):
        super().__init__()
        if pieces < 2:
            raise ValueError(f"pieces: expected at least 2, got {pieces}")
        self.pieces = pieces

    def forward(self, z: Tensor) -> Tensor:
        if z.shape[1] % self.pieces:
            raise ValueError(f"Maxout: {z.shape[1]} features do not divide into {self.pieces} pieces")
        return z.unflatten(1, (self.pieces, -1)).amax(dim=1)

    def extra_repr(self) -> str:
        return f"pieces={self.pieces}"


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "identity": nn.Identity,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "prelu": nn.PReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "maxout": Maxout,
}
"""Name to a function that makes the activation; the order is the order of every table in the book."""

NORMS = ("batch", "layer")


def activation_module(name: str) -> nn.Module:
    """The activation of that name; an unknown one is a ValueError."""
    if name not in ACTIVATIONS:
        raise ValueError(f"activation: {name!r} is not one of {sorted(ACTIVATIONS)}")
    return ACTIVATIONS[name]()


def mlp(widths: Sequence[int], activation: str = "relu", *, norm: str | None = None) -> nn.Sequential:
    """A multilayer perceptron: `flatten`, then `linear1`, (`norm1`,) `act1`, ..., ending with a linear layer.

    Args:
        widths: features of input, hidden layers and output, e.g. `(784, 64, 64, 10)`.
        activation: a name in `ACTIVATIONS`; "maxout" doubles the width of the linear layers before it.
        norm: None, "batch" or "layer": a normalisation before each activation.

    Weights are PyTorch's defaults, from the global random state: call `unstuck.init.initialise` next.
    """
    widths = _sizes("widths", widths)
    activation_module(activation)  # also where no hidden layer uses it
    if norm is not None and norm not in NORMS:
        raise ValueError(f"norm: expected None or one of {NORMS}, got {norm!r}")
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    for i, (fan_in, fan_out) in enumerate(pairwise(widths[:-1]), start=1):
        act = activation_module(activation)
        features = fan_out * getattr(act, "pieces", 1)
        layers[f"linear{i}"] = nn.Linear(fan_in, features)
        if norm is not None:
            layers[f"norm{i}"] = nn.BatchNorm1d(features) if norm == "batch" else nn.LayerNorm(features)
        layers[f"act{i}"] = act
    layers[f"linear{len(widths) - 1}"] = nn.Linear(widths[-2], widths[-1])
    return nn.Sequential(layers)


def small_cnn(
    channels: Sequence[int] = (1, 16, 32),
    classes: int = 10,
    activation: str = "relu",
    *,
    norm: str | None = None,
) -> nn.Sequential:
    """A small convolutional network: 3x3 convolutions, each followed by (`norm1`,) `act1`, `pool1` (2x2), ...

    Args:
        channels: of the input and of each convolution.
        classes: outputs of the linear layer that ends it, behind an average over all positions.
        activation: a name in `ACTIVATIONS`; "maxout" doubles the channels of the convolutions.
        norm: None or "batch".

    Images are (N, C, Hi, Wi) with Hi and Wi at least 2 to the power of the number of convolutions.
    """
    channels = _sizes("channels", channels)
    if not isinstance(classes, Integral) or classes < 1:
        raise ValueError(f"classes: expected a positive integer, got {classes!r}")
    if norm not in (None, "batch"):
        raise ValueError(f"norm: expected None or 'batch', got {norm!r}")
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, (c_in, c_out) in enumerate(pairwise(channels), start=1):
        act = activation_module(activation)
        features = c_out * getattr(act, "pieces", 1)
        layers[f"conv{i}"] = nn.Conv2d(c_in, features, kernel_size=3, padding=1)
        if norm is not None:
            layers[f"norm{i}"] = nn.BatchNorm2d(features)
        layers[f"act{i}"] = act
        layers[f"pool{i}"] = nn.MaxPool2d(2)
    layers["average"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["linear1"] = nn.Linear(channels[-1], int(classes))
    return nn.Sequential(layers)


def _sizes(name: str, values: Sequence[int]) -> list[int]:
    try:
        sizes = list(values)
    except TypeError as error:
        raise TypeError(f"{name}: expected a sequence of integers, got {values!r}") from error
    if len(sizes) < 2 or any(not isinstance(size, Integral) or size < 1 for size in sizes):
        raise ValueError(f"{name}: expected at least two positive integers, got {values!r}")
    return [int(size) for size in sizes]


def count_parameters(model: nn.Module) -> int:
    """How many numbers the model learns."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@contextmanager
def in_mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    """Within it `model` is in training or evaluation mode; after it every module is in the mode it was in."""
    before = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, was_training in before:
            module.training = was_training


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor, batch_size: int = 1000) -> float:
    """The share of `x` (N, ...) that `model` assigns to its label in `y` (N,), in evaluation mode."""
    if len(x) != len(y) or len(y) == 0:
        raise ValueError(f"x, y: expected as many labels as examples and at least one, got {len(x)} and {len(y)}")
    with in_mode(model, training=False):
        pairs = zip(x.split(batch_size), y.split(batch_size), strict=True)
        right = [(model(xb).argmax(dim=1) == yb).sum() for xb, yb in pairs]
    return float(torch.stack(right).sum()) / len(y)
