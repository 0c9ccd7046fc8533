"""Closed forms for random networks: how a signal, its gradient and two inputs get through depth, and how to start.

The set-up is that of mean-field theory: weights N(0, sigma_w^2 / fan_in), biases N(0, sigma_b^2), independent, and
layers wide enough that a pre-activation z is Gaussian over the units. `sigma_w`, the papers' name, is the gain g of
`unstuck.init.initialise`; q is the second moment of z, f the activation (a name in
`unstuck.activations.ACTIVATIONS`), f' its derivative. Where no paper is named the derivation is given.
"""

from unstuck.theory.finite_width import born_dead_bounds, born_dead_upper, norm_fluctuation
from unstuck.theory.gaussian import expectation, gain, mean, second_moment, slope_moment
from unstuck.theory.normalised import batchnorm_growth
from unstuck.theory.signals import (
    LARGEST,
    SMALLEST,
    chi,
    correlation_fixed_point,
    correlation_map,
    critical_sigma_w,
    depth_scale,
    fixed_point,
    second_moment_map,
    through_depth,
)
from unstuck.theory.starts import selu_constants, standard_deviation, tanh_second_moment

__all__ = [
    "LARGEST",
    "SMALLEST",
    "batchnorm_growth",
    "born_dead_bounds",
    "born_dead_upper",
    "chi",
    "correlation_fixed_point",
    "correlation_map",
    "critical_sigma_w",
    "depth_scale",
    "expectation",
    "fixed_point",
    "gain",
    "mean",
    "norm_fluctuation",
    "second_moment",
    "second_moment_map",
    "selu_constants",
    "slope_moment",
    "standard_deviation",
    "tanh_second_moment",
    "through_depth",
]
