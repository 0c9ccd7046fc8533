"""The multilayer perceptron."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import nn

from unstuck.arguments import choice, wholes
from unstuck.models.activations import activation_module, pieces_of
from unstuck.models.norms import NORMS


def mlp(
    widths: Sequence[int], activation: str | Callable[[], nn.Module] = "relu", *, norm: str | None = None
) -> nn.Sequential:
    """A multilayer perceptron: `flatten`, then `linear1`, (`norm1`,) `act1`, ..., ending with a linear layer.

    Args:
        widths: features of input, hidden layers and output, e.g. `(784, 64, 64, 10)`.
        activation: a name in `ACTIVATIONS`, or what makes a module when called without arguments, such as
            `nn.Softplus`. Maxout widens the linear layer before it, "maxout" to double.
        norm: a normalisation before each activation: None, "batch", "layer", "group" (equal groups of features, the
            smallest of at least 16; below 32 features there is one, and it is "layer") or "rms" (divides by the root
            mean square of an example's features; Zhang & Sennrich 2019). All have eps = 1e-5.

    From (N, D) or images of D values to (N, K). Weights are PyTorch's defaults, from the global random state: call
    `unstuck.init.initialise` next. Raises TypeError for what is of the wrong kind, ValueError for unknown names,
    fewer than two widths and widths below 1.
    """
    widths = wholes("widths", widths, fewest=2)
    activation_module(activation)  # checked also where no hidden layer uses it
    if norm is not None:
        choice("norm", norm, NORMS)
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    for i, (fan_in, fan_out) in enumerate(pairwise(widths[:-1]), start=1):
        act = activation_module(activation)
        features = fan_out * pieces_of(act)
        layers[f"linear{i}"] = nn.Linear(fan_in, features)
        if norm is not None:
            layers[f"norm{i}"] = NORMS[norm](features)
        layers[f"act{i}"] = act
    layers[f"linear{len(widths) - 1}"] = nn.Linear(widths[-2], widths[-1])
    return nn.Sequential(layers)
