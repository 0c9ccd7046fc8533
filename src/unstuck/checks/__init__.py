"""What can be wrong with a network that does not learn, and how to find it."""

from unstuck.checks.diagnose import diagnose
from unstuck.checks.faults import FAULTS, Fault
from unstuck.checks.find_nan import NonFinite, find_nan
from unstuck.checks.report import Finding, Report

__all__ = ["FAULTS", "Fault", "Finding", "NonFinite", "Report", "diagnose", "find_nan"]
