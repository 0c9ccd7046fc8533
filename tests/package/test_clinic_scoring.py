"""`python -m unstuck.clinic`: rows, what is resumed and what is not, and the table; with a `diagnose` of our own."""

import json
from collections import Counter
from types import SimpleNamespace

import pytest

from unstuck.clinic import HEALTHY, PATIENTS, healthy, patient, scoring
from unstuck.clinic.__main__ import main

NAME, FAULT = PATIENTS[0].build.__name__, PATIENTS[0].fault


def findings(*pairs):
    return SimpleNamespace(findings=[SimpleNamespace(fault=fault, verdict=verdict) for fault, verdict in pairs])


@pytest.fixture
def doctor(monkeypatch):
    """Three programs a seed, and a `diagnose` that finds the fault second on the sick one, and notes its calls."""
    both, calls = patient(1), []

    def diagnose(model, batch, **given):
        calls.append(given)
        if model is both.sick.model:
            return findings(("lr_small", "failure"), (FAULT, "warning"), ("lr_large", "ok"))
        return findings(("lr_small", "inconclusive"), ("lr_large", "ok"))

    def programs(seed):
        yield NAME, "sick", both.sick
        yield NAME, "repaired", both.repaired
        yield HEALTHY[0].__name__, "healthy", both.repaired

    monkeypatch.setattr(scoring, "diagnose", diagnose)
    monkeypatch.setattr(scoring, "programs", programs)
    return calls


def test_a_row_has_what_was_raised_in_its_order(doctor, tmp_path):
    rows = scoring.score(1, tmp_path / "scores.json", progress=False)
    assert [(row["name"], row["kind"], row["seed"], row["raised"]) for row in rows] == [
        (NAME, "sick", 0, ["lr_small", FAULT]),
        (NAME, "repaired", 0, []),
        (HEALTHY[0].__name__, "healthy", 0, []),
    ]
    assert set(doctor[0]) == {"loss_fn", "optimizer", "train_step", "validation"}


def test_the_file_says_what_it_was_made_with(doctor, tmp_path):
    out = tmp_path / "scores.json"
    rows = scoring.score(2, out, progress=False)
    held = json.loads(out.read_text(encoding="utf-8"))
    assert held["rows"] == rows and len(rows) == 6
    assert {key: held[key] for key in scoring.provenance()} == scoring.provenance()
    assert len(held["package"]) == 64 and held["date"].count("-") == 2
    assert list(tmp_path.iterdir()) == [out]


def test_what_is_there_is_not_done_again(doctor, tmp_path):
    out = tmp_path / "scores.json"
    scoring.score(1, out, progress=False)
    rows = scoring.score(2, out, progress=False)
    assert len(doctor) == 6 and [row["seed"] for row in rows] == [0, 0, 0, 1, 1, 1]
    assert len(scoring.score(1, out, progress=False)) == 3  # fewer seeds: only those


def test_an_interrupt_loses_one(doctor, tmp_path, monkeypatch):
    out, given = tmp_path / "scores.json", scoring.diagnose

    def interrupted(*args, **kwargs):
        if len(doctor) == 2:
            raise KeyboardInterrupt
        return given(*args, **kwargs)

    monkeypatch.setattr(scoring, "diagnose", interrupted)
    with pytest.raises(KeyboardInterrupt):
        scoring.score(1, out, progress=False)
    assert len(json.loads(out.read_text(encoding="utf-8"))["rows"]) == 2
    monkeypatch.setattr(scoring, "diagnose", given)
    assert len(scoring.score(1, out, progress=False)) == 3
    assert len(doctor) == 3


def test_other_sources_begin_anew(doctor, tmp_path, monkeypatch):
    out = tmp_path / "scores.json"
    scoring.score(1, out, progress=False)
    monkeypatch.setattr(scoring, "provenance", lambda: {"package": "another", "python": "3", "torch": "2"})
    scoring.score(1, out, progress=False)
    assert len(doctor) == 6 and json.loads(out.read_text(encoding="utf-8"))["package"] == "another"


def test_the_programs_are_all_patients_twice_and_all_healthy_ones(monkeypatch):
    monkeypatch.setattr(
        scoring, "patient", lambda n, seed: SimpleNamespace(sick=("sick", n, seed), repaired=(n, seed))
    )
    monkeypatch.setattr(scoring, "healthy", lambda n, seed: ("healthy", n, seed))
    found = list(scoring.programs(3))
    assert Counter(kind for _, kind, _ in found) == {"sick": len(PATIENTS), "repaired": len(PATIENTS), "healthy": 20}
    assert found[0] == (NAME, "sick", ("sick", 1, 3)) and found[1] == (NAME, "repaired", (1, 3))
    assert found[-1] == (HEALTHY[-1].__name__, "healthy", ("healthy", len(HEALTHY), 3))


def row(name, kind, seed, *raised):
    return {"name": name, "kind": kind, "seed": seed, "raised": list(raised), "seconds": 1.5}


def test_the_table_counts_first_places_ranks_and_false_alarms(monkeypatch):
    monkeypatch.setattr(scoring, "PATIENTS", PATIENTS[:2])
    monkeypatch.setattr(scoring, "HEALTHY", HEALTHY[:2])
    monkeypatch.setattr(scoring, "FIRST", 1)
    other, fault = PATIENTS[1].build.__name__, PATIENTS[1].fault
    rows = [row(NAME, "sick", seed, FAULT) for seed in (0, 1)] + [row(NAME, "repaired", seed) for seed in (0, 1)]
    rows += [row(other, "sick", 0, "lr_large", fault), row(other, "sick", 1)]
    rows += [row(other, "repaired", 0, "lr_small"), row(other, "repaired", 1)]
    rows += [row(HEALTHY[0].__name__, "healthy", 0), row(HEALTHY[1].__name__, "healthy", 0, "no_step")]
    lines = scoring.table(rows).splitlines()
    assert lines[1].split() == [NAME, FAULT, FAULT, "1", "1"]
    assert lines[2].split() == [other, fault, "lr_large", "2", "-", "lr_small", "(1)"]
    assert lines[3].split() == [HEALTHY[1].__name__, "healthy:", "no_step", "(1)"]
    assert lines[-3:] == [
        "the first 1 patients: named first 2 of 2, silent on 2 of 2 twins",
        "all patients: named first 2 of 4, silent on 3 of 4 twins",
        "healthy: silent on 1 of 2; 15 s, at most 1.5 s",
    ]


def test_the_command_scores_and_prints(doctor, tmp_path, monkeypatch, capsys):
    out = tmp_path / "scores.json"
    monkeypatch.setattr("sys.argv", ["unstuck.clinic", "--seeds", "1", "--out", str(out)])
    monkeypatch.setattr(scoring, "PATIENTS", PATIENTS[:1])
    main()
    assert out.exists() and "named first 0 of 1, silent on 1 of 1 twins" in capsys.readouterr().out


def test_what_is_scored_is_what_anybody_gets():
    """The first program of each kind is the one of `patient` and `healthy`, with the same seed."""
    name, kind, program = next(scoring.programs(2))
    assert (name, kind) == (NAME, "sick")
    assert repr(program) == repr(patient(1, 2).sick) and repr(healthy(1, 2)).startswith("Program(")
