"""The table of patients, and how one is built."""

from __future__ import annotations

from unstuck.arguments import whole
from unstuck.clinic import patients_data as data
from unstuck.clinic import patients_optimisation as optimisation
from unstuck.clinic.program import Case, Patient, seeded

PATIENTS: tuple[Case, ...] = tuple(
    value for m in (data, optimisation) for value in vars(m).values() if isinstance(value, Case)
)
HEALTHY = ()


def patient(n: int, seed: int = 0) -> Patient:
    row = PATIENTS[whole("n", n, most=len(PATIENTS)) - 1]
    seed = whole("seed", seed, least=0)
    sick, repaired = (seeded(row.build, is_sick, seed=seed) for is_sick in (True, False))
    return Patient(row.fault, sick, repaired, f"{row.set_up}; repaired: {row.cure}")


def healthy(n, seed=0): ...
