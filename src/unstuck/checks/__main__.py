"""`python -m unstuck.checks FILE --model NAME --batch NAME`: the report on a program that is no notebook.

FILE is run as a module called "examined", so that what stands behind `if __name__ == "__main__":` does not train;
NAME is what is called so in it. Ends with 1 where something was found.
"""

from __future__ import annotations

import argparse
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unstuck.checks.diagnose import diagnose

NAMES = ("loss_fn", "optimizer", "train_step", "validation")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the file, diagnose what it defines, print the report; 1 where something was found, else 0."""
    parser = argparse.ArgumentParser(prog="python -m unstuck.checks", description="What is wrong with a network.")
    parser.add_argument("file", type=Path, help="a Python file that defines the model and a batch")
    parser.add_argument("--model", required=True, help="its name in the file")
    parser.add_argument("--batch", required=True, help="(x, y), or batches of them")
    for name in NAMES:
        parser.add_argument(
            f"--{name.replace('_', '-')}", dest=name, help=f"the name of what diagnose takes as {name}"
        )
    parser.add_argument("--steps", type=int, default=100, help="of the trial training")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    if not given.file.is_file():
        parser.error(f"file: there is no {given.file}")
    sys.path.insert(0, str(given.file.parent))
    try:
        defined = runpy.run_path(str(given.file), run_name="examined")
    finally:
        sys.path.remove(str(given.file.parent))
    wanted = {name: getattr(given, name) for name in ("model", "batch", *NAMES) if getattr(given, name)}
    unknown = [f"--{name} {value}" for name, value in wanted.items() if value not in defined]
    if unknown:
        parser.error(f"{given.file} defines no {', '.join(unknown)}")
    values: dict[str, Any] = {name: defined[value] for name, value in wanted.items()}
    report = diagnose(**values, steps=given.steps, seed=given.seed)
    print(report)
    return 0 if report.silent else 1


if __name__ == "__main__":
    sys.exit(main())
