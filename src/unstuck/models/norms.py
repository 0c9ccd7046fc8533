"""The normalisations that a perceptron may have before its activations, by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

GROUP = 16
"""Features in a group, where their number allows it: the best of the sizes that Wu & He 2018 tried."""


def group_norm(features: int) -> nn.GroupNorm:
    """Group norm in the smallest equal groups of at least `GROUP` features; in one, as layer norm, where none are."""
    groups = next((n for n in range(features // GROUP, 1, -1) if features % n == 0), 1)
    return nn.GroupNorm(groups, features)


def rms_norm(features: int) -> nn.RMSNorm:
    """RMS norm with the eps of the others: PyTorch's own is the precision of the numbers, 100 times smaller."""
    return nn.RMSNorm(features, eps=1e-5)


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm1d,
    "layer": nn.LayerNorm,
    "group": group_norm,
    "rms": rms_norm,
}
"""What makes a normalisation of so many features (N, C)."""
