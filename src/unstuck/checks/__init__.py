"""What can be wrong with a network that does not learn, and how to find it."""

from unstuck.checks.diagnose import diagnose
from unstuck.checks.find_nan import NonFinite, find_nan
from unstuck.checks.rates import RateRange, rate_range
from unstuck.checks.report import Finding, Report
from unstuck.checks.trials import FirstLoss, Overfit, first_loss, overfit_tiny
from unstuck.faults import FAULTS, Fault

__all__ = [
    "FAULTS",
    "Fault",
    "Finding",
    "FirstLoss",
    "NonFinite",
    "Overfit",
    "RateRange",
    "Report",
    "diagnose",
    "find_nan",
    "first_loss",
    "overfit_tiny",
    "rate_range",
]
