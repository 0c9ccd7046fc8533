"""`make assignments`: the students' versions and a zip of each, and the files with which a source can be tried.

nbgrader's own steps strip solutions, lock cells and check their metadata. Its hidden tests are not used: ours are not
in the notebook at all.
"""

import shutil
import zipfile
from pathlib import Path

import nbformat
from nbgrader.preprocessors import CheckCellMetadata, ClearOutput, ClearSolutions, LockCells
from tqdm import tqdm

from assignments.grading.source import ROOT, Assignment, names

BUILT = ROOT / "course"
"""Not below _build, which a fresh build deletes: nbgrader collects submissions here."""
CONFIGURATION = """c = get_config()
c.CourseDirectory.course_id = "unstuck"
c.ClearSolutions.code_stub = {"python": "raise NotImplementedError"}
"""


def released(assignment: Assignment):
    """The students' notebook: a copy of the source without solutions and outputs, its tests locked."""
    notebook = nbformat.from_dict(assignment.notebook)
    steps = (CheckCellMetadata(), LockCells(), ClearSolutions(), ClearOutput(), CheckCellMetadata())
    for step in steps:
        if isinstance(step, ClearSolutions):
            step.code_stub = {"python": "raise NotImplementedError"}
        notebook, _ = step.preprocess(notebook, {"nbgrader": {}})
    if "### BEGIN" in "".join(cell.source for cell in notebook.cells):
        raise ValueError(f"{assignment.name}: a marked region was not taken out")
    return notebook


def write(assignment: Assignment, to: Path) -> Path:
    """Write an assignment's release below `to`, which nbgrader's exchange knows as a course; returns the zip."""
    folder = to / "release" / assignment.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _ = assignment.points  # notebook and questions fit together
    nbformat.write(released(assignment), folder / assignment.path.name)
    assignment.support()
    for file in ("examples.json", "visible.py"):
        shutil.copyfile(assignment.folder / file, folder / file)
    (to / "nbgrader_config.py").write_text(CONFIGURATION, encoding="utf-8")
    return zipped(folder, to / f"{assignment.name}.zip")


def zipped(folder: Path, to: Path) -> Path:
    """A zip of a folder, the same bytes for the same files."""
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.iterdir()):
            archive.writestr(zipfile.ZipInfo(f"{folder.name}/{path.name}"), path.read_bytes(), zipfile.ZIP_DEFLATED)
    return to


def release(to: Path = BUILT, only: list[str] | None = None) -> list[Path]:
    """Write all assignments, or those named; returns the zips."""
    return [write(Assignment(name), to) for name in tqdm(only or names(), unit="assignment")]
