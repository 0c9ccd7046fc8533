"""`make grade`: a folder of submissions to a folder of marks; what is marked already is not marked again."""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from assignments.grading.feedback import page
from assignments.grading.fence import FOLDERS
from assignments.grading.grade import Marks, grade, prepared
from assignments.grading.process import READABLE
from assignments.grading.source import FOLDER, Assignment, names
from assignments.grading.tables import by_hand, write_tables


@dataclass(frozen=True)
class HandedIn:
    """One student's file."""

    student: str
    path: Path


def handed_in(folder: Path, assignment: str | None = None) -> list[HandedIn]:
    """The submissions of a folder, sorted: STUDENT.ipynb, or STUDENT/.../anything.ipynb (nbgrader, Moodle).

    Of several notebooks in a student's folder those with the assignment's name count, and of these the newest.
    Raises ValueError where there is none, or two of one name.
    """
    found = []
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith((".", "_")):
            continue
        if entry.is_dir():
            inside = [
                path for path in entry.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts and path.is_file()
            ]
            inside = [path for path in inside if path.stem == assignment] or inside
            inside.sort(key=lambda path: (path.stat().st_mtime, path.as_posix()))
            found += [HandedIn(_name(entry.name), path) for path in inside[-1:]]
        elif entry.suffix == ".ipynb":
            found.append(HandedIn(_name(entry.stem), entry))
    if not found:
        raise ValueError(f"SUBMISSIONS: expected a folder of notebooks, or of folders with one, got {folder}")
    twice = [name for name, count in Counter(one.student for one in found).items() if count > 1]
    if twice:
        raise ValueError(f"SUBMISSIONS: two submissions have the name {', '.join(twice)}")
    return found


def _name(name: str) -> str:
    """A student's name as one sequence of characters, however the file system writes its accents."""
    return unicodedata.normalize("NFC", name)


def exposed(*secrets: Path) -> tuple[Path, str] | None:
    """The first of these folders that lies where submissions may read, and where that is."""
    for secret in secrets:
        for place in (*FOLDERS, *READABLE):
            if secret.resolve().is_relative_to(Path(place).resolve()):
                return secret, place
    return None


def which(found: list[HandedIn]) -> str:
    """The assignment to which most of these notebooks belong; raises ValueError where none says it."""
    counted: Counter[str] = Counter()
    known = names()
    for one in found:
        text = one.path.read_bytes()
        counted.update(name for name in known if f'"{name}-'.encode() in text)
    if not counted:
        raise ValueError(f"ASSIGNMENT: the notebooks do not say which; expected one of {', '.join(names())}")
    return counted.most_common(1)[0][0]


def grade_folder(
    folder: Path,
    to: Path | None = None,
    assignment: str | None = None,
    *,
    jobs: int = 1,
    seed: int = 0,
    executor: Executor | None = None,
) -> Path:
    """Mark a folder of submissions; returns the folder with marks.csv, the other tables and the feedback pages.

    Args:
        to: by default a folder beside the submissions, with "-marks" at its end.
        jobs: how many are marked at a time.
        seed: draws the inputs on which marks depend.
        executor: takes the work in place of threads, for instance that of a Dask client.
    """
    if open_to := exposed(folder, FOLDER):
        raise ValueError(f"{open_to[0]} lies in {open_to[1]}, which submissions may read; move it")
    found = handed_in(folder, assignment)
    name = assignment or which(found)
    source = Assignment(name)
    to = to or folder.with_name(folder.name + "-marks")
    kept = to / "results"
    kept.mkdir(parents=True, exist_ok=True)
    source.support()
    done: dict[str, Marks] = {}
    left: list[tuple[HandedIn, str, bytes]] = []
    for one in found:
        data = _bytes(one.path)
        key = hashlib.sha256(f"{source.digest} {seed} ".encode() + data).hexdigest()
        if marks := _stored(kept / f"{one.student}.json", key):
            done[one.student] = marks
        else:
            left.append((one, key, data))
    with tqdm(total=len(found), initial=len(done), unit="submission", desc=name) as bar:
        for one, key, marks in _all(left, name, seed, jobs, executor):
            if key:
                _store(kept / f"{one.student}.json", key, marks)
            done[one.student] = marks
            bar.update()
    done = {one.student: done[one.student] for one in found}
    given = by_hand(to / "by_hand.csv", source, done)
    write_tables(to, source, done, given, folder / "roster.csv")
    pages = to / "feedback"
    pages.mkdir(exist_ok=True)
    for student, marks in done.items():
        (pages / f"{student}.html").write_text(page(student, source, marks, given.get(student, {})), encoding="utf-8")
    return to


def _all(left, name: str, seed: int, jobs: int, executor: Executor | None) -> Iterator[tuple[HandedIn, str, Marks]]:
    """Mark these, in the order in which they are ready; an interrupt ends what has not begun.

    Without a key comes what could not be marked, and will be tried again by the next run.
    """
    if left and executor is None:
        prepared(name, seed)  # once, before threads ask for it
    pool = executor or ThreadPoolExecutor(jobs)
    futures: dict[Future[Marks], tuple[HandedIn, str]] = {}
    try:
        futures = {pool.submit(grade, data, name, seed): (one, key) for one, key, data in left}
        for future in as_completed(futures):
            one, key = futures[future]
            try:
                yield one, key, future.result()
            except Exception as error:  # a fault of ours, which must not cost the others their marks
                yield one, "", _not_marked(name, error)
    finally:
        for future in futures:
            future.cancel()
        if executor is None:
            pool.shutdown()


def _not_marked(name: str, error: Exception) -> Marks:
    ids = [part.id for part in Assignment(name).questions.parts]
    note = f"NOT MARKED, look at it by hand: {type(error).__name__}: {error}"
    return Marks(dict.fromkeys(ids, 0.0), dict.fromkeys(ids, "not marked"), [note])


def _bytes(path: Path) -> bytes:
    """A submission's bytes; what cannot be read is marked as what it is, an unreadable file."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _stored(path: Path, key: str) -> Marks | None:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return Marks(**stored["marks"]) if stored["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not there, or half written


def _store(path: Path, key: str, marks: Marks) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"key": key, "marks": marks.as_dict()}, ensure_ascii=False), encoding="utf-8")
    os.replace(part, path)
