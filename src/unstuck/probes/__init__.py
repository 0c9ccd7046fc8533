"""Probes: what happens inside a model while it trains (`watch`), or on a data set (`trace`, `dead_units`)."""

from unstuck.evaluate import dead_units, trace
from unstuck.probes.watch import DEFAULT, watch

__all__ = ["DEFAULT", "dead_units", "trace", "watch"]
