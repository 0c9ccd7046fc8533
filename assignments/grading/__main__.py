"""`python -m assignments.grading release` and `... grade FOLDER`; make calls both."""

import argparse
import sys
from pathlib import Path

from assignments.grading.batch import grade_folder
from assignments.grading.fence import has_walls
from assignments.grading.release import BUILT, release


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m assignments.grading", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("release", help="write the students' versions and their zips")
    make.add_argument("--only", nargs="*", help="these assignments; all without it")
    mark = commands.add_parser("grade", help="mark a folder of submissions")
    mark.add_argument("folder", type=Path)
    mark.add_argument("--to", type=Path, help="the folder for the marks")
    mark.add_argument("--assignment", help="its name, where the notebooks do not say it")
    mark.add_argument("--jobs", type=int, default=1, help="how many are marked at a time")
    mark.add_argument("--seed", type=int, default=0, help="draws the inputs on which marks depend")
    mark.add_argument("--dask", metavar="ADDRESS", help="of a Dask scheduler, or `local`")
    return parser.parse_args()


def main() -> int:
    given = arguments()
    try:
        if given.command == "release":
            for path in release(only=given.only):
                print(path)
            print(f"nbgrader's exchange releases from {BUILT}")
            return 0
        to = graded(given)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on where this one ended.", file=sys.stderr)
        return 130
    print(f"The marks: {to / 'marks.csv'}\nOne page a student: {to / 'feedback'}\nFill in: {to / 'by_hand.csv'}")
    return 0


def graded(given: argparse.Namespace) -> Path:
    if not has_walls():
        print("This system has no Landlock and seccomp: grade strangers' code in a virtual machine.", file=sys.stderr)
    options = {"jobs": given.jobs, "seed": given.seed}
    if not given.dask:
        return grade_folder(given.folder, given.to, given.assignment, **options)
    from dask.distributed import Client

    with Client(None if given.dask == "local" else given.dask) as client:
        return grade_folder(given.folder, given.to, given.assignment, **options, executor=client.get_executor())


if __name__ == "__main__":
    sys.exit(main())
