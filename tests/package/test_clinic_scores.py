"""`diagnose` on every patient, its repaired twin and every healthy program, at one seed.

`python -m unstuck.clinic` does it over five seeds, and prints which cause came first.
"""

import pytest

from unstuck.clinic import HEALTHY, PATIENTS, healthy, patient
from unstuck.clinic.scoring import FIRST, raised

MISSED: dict[str, str] = {"filtered_figures": "lr_large"}
"""Patients whose named cause does not come first, with what does ("": nothing)."""
ALARMS: dict[str, str] = {}
"""Patients whose repaired twin raises something, with what comes first."""
NAMES = [case.build.__name__ for case in PATIENTS]


def test_what_is_missed_is_no_more_than_it_may_be():
    assert set(MISSED) | set(ALARMS) <= set(NAMES)
    assert sum(name in MISSED for name in NAMES[:FIRST]) <= 2
    assert len(MISSED) <= len(NAMES) * 2 / FIRST
    assert len(ALARMS) <= 1


@pytest.mark.parametrize("n", range(1, len(PATIENTS) + 1), ids=NAMES)
def test_the_cause_is_named_and_the_repaired_twin_is_let_alone(n):
    both, name = patient(n), NAMES[n - 1]
    first, *_ = raised(both.sick) or [""]
    assert first == MISSED.get(name, both.fault)
    alarm, *_ = raised(both.repaired) or [""]
    assert alarm == ALARMS.get(name, "")


@pytest.mark.parametrize("n", range(1, len(HEALTHY) + 1), ids=[build.__name__ for build in HEALTHY])
def test_nothing_is_raised_on_the_healthy(n):
    assert raised(healthy(n)) == []
