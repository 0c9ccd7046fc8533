"""Convolutional networks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import nn

from unstuck.arguments import choice, whole, wholes
from unstuck.models.activations import activation_module, pieces_of


def small_cnn(
    channels: Sequence[int] = (1, 16, 32),
    classes: int = 10,
    activation: str | Callable[[], nn.Module] = "relu",
    *,
    norm: str | None = None,
) -> nn.Sequential:
    """A small convolutional network: 3x3 convolutions, each followed by (`norm1`,) `act1`, `pool1` (2x2), ...

    Args:
        channels: of the input and of each convolution.
        classes: outputs of the linear layer that ends it, after an average over all positions.
        activation: as for `mlp`; Maxout multiplies the channels of the convolution before it.
        norm: None or "batch".

    From images (N, C, Hi, Wi), with Hi and Wi at least 2 to the power of the number of convolutions, to (N, K).
    Weights are PyTorch's defaults, from the global random state. Raises as `mlp` does.
    """
    channels, classes = wholes("channels", channels, fewest=2), whole("classes", classes)
    if norm is not None:
        choice("norm", norm, ("batch",))
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, (c_in, c_out) in enumerate(pairwise(channels), start=1):
        act = activation_module(activation)
        features = c_out * pieces_of(act)
        layers[f"conv{i}"] = nn.Conv2d(c_in, features, kernel_size=3, padding=1)
        if norm is not None:
            layers[f"norm{i}"] = nn.BatchNorm2d(features)
        layers[f"act{i}"] = act
        layers[f"pool{i}"] = nn.MaxPool2d(2)
    layers["average"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["linear1"] = nn.Linear(channels[-1], classes)
    return nn.Sequential(layers)
