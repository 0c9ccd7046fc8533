"""`python -m unstuck.clinic`: scores `diagnose` on all patients and healthy programs, and prints the table."""

import argparse
from pathlib import Path

from unstuck.clinic.scoring import score, table


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m unstuck.clinic", description="Score diagnose on all patients.")
    parser.add_argument("--seeds", type=int, default=5, help="so many of each program (default: 5)")
    parser.add_argument("--out", type=Path, default=Path("clinic.json"), help="written as it goes, and resumed from")
    given = parser.parse_args()
    print(table(score(given.seeds, given.out)))


if __name__ == "__main__":
    main()
