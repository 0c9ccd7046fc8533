"""Releases the assignments and marks submissions: `python -m assignments.grading --help`, book/teachers.md."""
