"""What can be wrong with a network that does not learn, and how to find it."""

from unstuck.checks.faults import FAULTS, Fault

__all__ = ["FAULTS", "Fault"]
