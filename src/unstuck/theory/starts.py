"""Rules for initial weights, and what follows from them."""

from __future__ import annotations

import math

from scipy.special import ndtr

from unstuck.arguments import choice, real, whole

OWN_GAINS = {"lecun": 1.0, "xavier": 1.0, "he": math.sqrt(2), "pytorch": 1 / math.sqrt(3)}
"""The gain of each scheme that scales with the layer, where none is given."""


def standard_deviation(scheme: str, fan_in: int, fan_out: int, gain: float | None = None) -> float:
    """The standard deviation of a weight under a scheme that scales with the layer.

    lecun: gain / sqrt(fan_in), gain 1 (LeCun et al. 1998, section 4.6).
    xavier: gain * sqrt(2 / (fan_in + fan_out)), gain 1 (Glorot & Bengio 2010, a compromise of both directions).
    he: gain / sqrt(fan_in), gain sqrt(2) (He et al. 2015, their forward case).
    pytorch: gain / sqrt(fan_in), gain 1 / sqrt(3): what `torch.nn.Linear` and `Conv2d` do by themselves, with weights
        (and biases) from U(-1 / sqrt(fan_in), 1 / sqrt(fan_in)).

    Raises TypeError or ValueError for another scheme, fans that are no positive integers and a negative gain.
    """
    own = OWN_GAINS[choice("scheme", scheme, OWN_GAINS)]
    fan_in, fan_out = whole("fan_in", fan_in), whole("fan_out", fan_out)
    factor = own if gain is None else real("gain", gain, least=0)
    return factor * math.sqrt(2 / (fan_in + fan_out) if scheme == "xavier" else 1 / fan_in)


def tanh_second_moment(layer: int) -> float:
    """1 / (2 layer): E[a^2] of layer `layer` of a wide tanh network with sigma_w = 1 and no biases, for deep layers.

    E[tanh(z)^2] = q - 2 q^2 + O(q^3) for z ~ N(0, q); so 1/q grows by 2 a layer. It never settles: sigma_w = 1 is on
    the critical line, where q* = 0 is approached by a power of depth. (The next order: 1/q grows by 2 - 5 q / 3.)
    """
    return 1 / (2 * whole("layer", layer))


def selu_constants() -> tuple[float, float]:
    """(alpha, scale) for which z ~ N(0, 1) gives f(z) mean 0 and variance 1 (Klambauer et al. 2017).

    From the two conditions: with A = E[e^z - 1; z < 0] the mean is scale (1 / sqrt(2 pi) + alpha A), and the second
    moment scale^2 (1/2 + alpha^2 B) with B = E[(e^z - 1)^2; z < 0].
    """
    # E[e^(kz); z < 0] = e^(k^2 / 2) Phi(-k), Phi the normal distribution function
    once, twice = (math.exp(k * k / 2) * float(ndtr(-k)) for k in (1, 2))
    alpha = 1 / (math.sqrt(2 * math.pi) * (0.5 - once))
    return alpha, (0.5 + alpha**2 * (twice - 2 * once + 0.5)) ** -0.5
