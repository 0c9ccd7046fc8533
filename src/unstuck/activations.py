"""The one table of activation functions: what every room of the package knows about each of them.

`kind` is the name of the class both in `torch.nn` (or `unstuck.models`) and in `unstuck.scratch`; which gain keeps a
signal's size follows from the function itself (`unstuck.theory.gain`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

SLOPE_LEFT = 0.02
"""A unit is saturated where the slope is below this share of its largest value."""


@dataclass(frozen=True)
class Activation:
    """One activation function.

    Attributes:
        kind: the class that makes it.
        label: what a figure writes.
        colour, dashes: how every figure draws it; relatives look alike.
        unsaturated: (centre, half-width) of the outputs whose slope is at least `SLOPE_LEFT` of the largest; None
            where a function does not saturate on both sides.
    """

    kind: str
    label: str
    colour: str
    dashes: str = "-"
    unsaturated: tuple[float, float] | None = None


# tanh has the slope 1 - a^2, so |a| < sqrt(0.98); a sigmoid is (1 + tanh(z / 2)) / 2
_HALF = math.sqrt(1 - SLOPE_LEFT)

ACTIVATIONS: dict[str, Activation] = {
    "identity": Activation("Identity", "identity", "#8f9194", ":"),
    "sigmoid": Activation("Sigmoid", "sigmoid", "#0272db", unsaturated=(0.5, _HALF / 2)),
    "tanh": Activation("Tanh", "tanh", "#119bd3", "--", unsaturated=(0.0, _HALF)),
    "relu": Activation("ReLU", "ReLU", "#993d00"),
    "leaky_relu": Activation("LeakyReLU", "leaky ReLU", "#c48400", "--"),
    "prelu": Activation("PReLU", "PReLU", "#5c1200", ":"),
    "elu": Activation("ELU", "ELU", "#4ba25d"),
    "selu": Activation("SELU", "SELU", "#2e6346", "--"),
    "gelu": Activation("GELU", "GELU", "#8b4687"),
    "silu": Activation("SiLU", "SiLU", "#6c0086", "--"),
    "maxout": Activation("Maxout", "Maxout", "#22303c", "-."),
}
"""By name; the order is the order of every table in the book."""
