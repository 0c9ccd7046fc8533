"""What wide-network theory leaves out: networks that are dead at birth, and how much their norms vary."""

from __future__ import annotations

import math
from collections.abc import Sequence

from unstuck.arguments import whole, wholes


def born_dead_upper(widths: Sequence[int]) -> float:
    """Upper bound on the probability that a ReLU network is constant at birth: 1 - prod(1 - 2^-H) over hidden layers.

    `widths` are those of the hidden layers; weights and biases symmetrically distributed (Lu et al. 2019). It is
    the probability that a single input reaches no output.
    """
    return 1 - math.prod(1 - 2.0**-width for width in wholes("widths", widths))


def born_dead_bounds(depth: int, width: int) -> tuple[float, float]:
    """(lower, upper) bound on the same for one input feature, no biases and `depth` - 1 hidden layers of `width`.

    Without biases such a network is two rays, x > 0 and x < 0. The lower bound (Lu et al. 2019) is that of a chain
    in which two rays live, one, or none: one dies with 2^-H, two of orthogonal activations with 4^-H. Two become one
    where one dies, and where both pass through one and the same unit only, which leaves them parallel.
    """
    hidden, width = whole("depth", depth, least=2) - 1, whole("width", width)
    h = 2.0**-width
    one, two = 1 - h, 1 - 2 * h - (width - 1) * h**2  # to stay with one ray, with two
    share = (1 - 2 * h) * (1 - h) / (1 + (width - 1) * h)
    lower = 1 - one ** (hidden - 1) + share * (two ** (hidden - 1) - one ** (hidden - 1))
    return max(lower, 0.0), born_dead_upper([width] * hidden)


def norm_fluctuation(widths: Sequence[int]) -> float:
    """Relative variance of ||a_L||^2 over draws of a ReLU network with He's weights: prod(1 + 5/H) - 1.

    `widths` are those of its L layers. A layer multiplies ||a||^2 by (2/H) sum_j max(g_j, 0)^2, g ~ N(0, 1), whose
    mean is 1 and whose variance is (4/H) (3/2 - 1/4) = 5/H, independently; about exp(5 L/H) - 1 for equal widths.
    (Hanin & Rolnick 2018 prove bounds of this form, Hanin 2018 for gradients, and Hanin & Nica 2020 that ln ||a_L||^2
    is nearly normal with variance sum(5/H).)
    """
    return math.prod(1 + 5 / width for width in wholes("widths", widths)) - 1
