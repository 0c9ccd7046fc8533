"""Sick programs, each with its repaired twin, and healthy ones: to try `unstuck.checks` on."""

from unstuck.clinic.program import Case, Patient, Program
from unstuck.clinic.table import HEALTHY, PATIENTS, healthy, patient

__all__ = ["HEALTHY", "PATIENTS", "Case", "Patient", "Program", "healthy", "patient"]
