"""Scores `unstuck.checks.diagnose` on every patient, its repaired twin and every healthy program."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from unstuck.checks import diagnose
from unstuck.clinic.program import Program
from unstuck.clinic.table import HEALTHY, PATIENTS, healthy, patient

PACKAGE = Path(__file__).parents[1]
FIRST = 24
"""How many of the patients are counted by themselves, too."""

Row = dict[str, Any]


def raised(program: Program) -> list[str]:
    """The faults that `diagnose` reports as failures and warnings, most likely first."""
    given = {name: getattr(program, name) for name in ("loss_fn", "optimizer", "train_step", "validation")}
    findings = diagnose(program.model, program.batch, **given).findings
    return [finding.fault for finding in findings if finding.verdict in ("failure", "warning")]


def programs(seed: int) -> Iterator[tuple[str, str, Program]]:
    """Name, kind (sick, repaired or healthy) and program, one after the other."""
    for n, case in enumerate(PATIENTS, start=1):
        both = patient(n, seed)
        yield case.build.__name__, "sick", both.sick
        yield case.build.__name__, "repaired", both.repaired
    for n, build in enumerate(HEALTHY, start=1):
        yield build.__name__, "healthy", healthy(n, seed)


def provenance() -> Row:
    """With which sources and versions a score was made."""
    sources = sorted(PACKAGE.rglob("*.py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    return {"package": digest, "python": platform.python_version(), "torch": torch.__version__}


def score(seeds: int, out: Path, *, progress: bool | None = None) -> list[Row]:
    """A row a program and seed: name, kind, seed, what was raised and the seconds it took; all of it goes to `out`.

    What `out` holds already is taken over if it was made with the same sources and versions. It is written after
    each program, so that an interrupt loses one.
    """
    made = provenance()
    held = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    rows = held["rows"] if {key: held.get(key) for key in made} == made else []
    done = {(row["name"], row["kind"], row["seed"]) for row in rows}
    total = seeds * (2 * len(PATIENTS) + len(HEALTHY))
    bar = tqdm(total=total, disable=None if progress is None else not progress)
    for seed in range(seeds):
        for name, kind, program in programs(seed):
            bar.update()
            if (name, kind, seed) in done:
                continue
            begin = time.perf_counter()
            found = raised(program)
            row = {"name": name, "kind": kind, "seed": seed, "raised": found}
            rows.append(row | {"seconds": round(time.perf_counter() - begin, 2)})
            text = json.dumps({**made, "date": time.strftime("%Y-%m-%d"), "rows": rows})
            part = out.with_suffix(".part")
            part.write_text(text.replace('{"name"', '\n{"name"') + "\n", encoding="utf-8")
            part.replace(out)
    bar.close()
    return [row for row in rows if row["seed"] < seeds]


def table(rows: list[Row]) -> str:
    """Patient by patient: the fault, what came first, the fault's rank at each seed, and what its twin raises."""
    lines = [f"{'patient':22} {'fault':22} {'first finding':22} {'rank':14} repaired twin"]
    of = {kind: [row for row in rows if row["kind"] == kind] for kind in ("sick", "repaired", "healthy")}
    for case in PATIENTS:
        name = case.build.__name__
        sick, twin = ([row["raised"] for row in of[kind] if row["name"] == name] for kind in ("sick", "repaired"))
        ((first, _),) = Counter(found[0] if found else "nothing" for found in sick).most_common(1)
        ranks = " ".join(str(found.index(case.fault) + 1) if case.fault in found else "-" for found in sick)
        alarms = Counter(fault for found in twin for fault in found)
        lines.append(f"{name:22} {case.fault:22} {first:22} {ranks:14} {counted(alarms)}")
    for build in HEALTHY:
        if alarms := Counter(f for row in of["healthy"] if row["name"] == build.__name__ for f in row["raised"]):
            lines.append(f"{build.__name__:45} healthy: {counted(alarms)}")
    return "\n".join([*lines, "", *summary(rows)])


def counted(faults: Counter[str]) -> str:
    return ", ".join(f"{fault} ({count})" for fault, count in faults.items())


def summary(rows: list[Row]) -> list[str]:
    """How often the named cause comes first, and how often nothing is raised where nothing is wrong."""
    fault = {case.build.__name__: case.fault for case in PATIENTS}
    groups = {f"the first {FIRST} patients": list(fault)[:FIRST], "all patients": list(fault)}
    lines = []
    for label, names in groups.items():
        sick = [row for row in rows if row["kind"] == "sick" and row["name"] in names]
        twins = [row for row in rows if row["kind"] == "repaired" and row["name"] in names]
        named = sum(row["raised"][:1] == [fault[row["name"]]] for row in sick)
        silent = sum(not row["raised"] for row in twins)
        lines.append(f"{label}: named first {named} of {len(sick)}, silent on {silent} of {len(twins)} twins")
    well = [not row["raised"] for row in rows if row["kind"] == "healthy"]
    seconds = [row["seconds"] for row in rows]
    return [
        *lines,
        f"healthy: silent on {sum(well)} of {len(well)}; {sum(seconds):.0f} s, at most {max(seconds):.1f} s",
    ]
