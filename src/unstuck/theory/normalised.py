"""What batch normalisation does to the gradients of a random network."""

from __future__ import annotations

from unstuck.theory.gaussian import mean, second_moment, slope_moment


def batchnorm_growth(activation: str) -> float:
    """By which factor a squared gradient grows with each layer that it goes back: E[f'(n)^2] / Var[f(n)], n ~ N(0, 1).

    The layer is linear, batch norm (gamma 1, beta 0), f; random, wide, in training on a large batch. pi / (pi - 1) =
    1.467 for ReLU (Yang et al. 2019), whatever the weights' scale. The gradient is that of a linear layer's
    outputs or weights.

    Derivation: weights of variance s^2 / fan_in take inputs f(n) to z, whose variance over the batch is s^2 Var[f(n)].
    On the way back they multiply a mean squared gradient by s^2, f by E[f'(n)^2], and batch norm divides it by the
    variance of z; what it takes away along 1 and n is one part in the size of the batch. s cancels. Poincaré's
    inequality, Var[f(n)] <= E[f'(n)^2], says that no activation gets below 1, and only a linear one reaches it.

    Raises TypeError or ValueError for an unknown activation.
    """
    variance = second_moment(activation) - mean(activation) ** 2
    return slope_moment(activation) / variance
