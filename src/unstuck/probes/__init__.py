"""Probes: what happens inside a model while it trains (`watch`), or on a data set (the others)."""

from unstuck.evaluate import dead_units, trace
from unstuck.probes.drift import NormDrift, norm_drift
from unstuck.probes.watch import DEFAULT, watch
from unstuck.sharpness import sharpness

__all__ = ["DEFAULT", "NormDrift", "dead_units", "norm_drift", "sharpness", "trace", "watch"]
