"""What batch normalisation does to the gradients of a random network."""

from __future__ import annotations

from unstuck.theory.gaussian import mean, second_moment, slope_moment


def batchnorm_growth(activation: str) -> float:
    """By which factor a squared gradient grows with each layer that it goes back: E[f'(n)^2] / Var[f(n)].

    n ~ N(0, 1). A layer is linear, batch norm (gamma 1, beta 0) and f; random, wide, in training on a large batch;
    the gradient is that of a linear layer's outputs or weights. pi / (pi - 1) = 1.467 for ReLU (Yang et al. 2019).

    Derivation: weights of variance s^2 / fan_in make of f(n) a z whose variance over the batch is s^2 Var[f(n)]. On
    the way back they multiply a mean squared gradient by s^2 and f does by E[f'(n)^2]; batch norm divides it by the
    variance of z, and of what it projects out, along 1 and n, there is one part in the size of the batch. So the
    weights' scale does not matter. Var[f(n)] <= E[f'(n)^2] for every f, with equality for a straight line alone
    (Poincaré's inequality): no activation keeps the gradients from growing.

    Raises TypeError or ValueError for an unknown activation.
    """
    variance = second_moment(activation) - mean(activation) ** 2
    return slope_moment(activation) / variance
