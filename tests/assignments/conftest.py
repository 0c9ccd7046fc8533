"""Lets these tests import the assignments, and gives a class of submissions."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "assignments")]


@pytest.fixture
def quick(monkeypatch):
    """Short limits of time, so that what never ends is ended soon."""
    from assignments.grading.grade import prepared

    def shorten(name):
        questions = prepared(name, 0)[0].questions
        monkeypatch.setattr(questions, "seconds", 2)
        monkeypatch.setattr(questions, "memory", 512)

    return shorten
