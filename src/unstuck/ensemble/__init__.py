"""Many networks at once: `stack` makes one module of them, `fit_many` trains a grid of settings."""

from unstuck.ensemble.stacked import Stack, stack, unstack
from unstuck.ensemble.training import fit_many, grid

__all__ = ["Stack", "fit_many", "grid", "stack", "unstack"]
