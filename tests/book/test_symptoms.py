"""The symptom index: its table is whole, its tree leads to symptoms that exist, and every line of code runs."""

import sys
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from unstuck.faults import FAULTS

BOOK = Path(__file__).resolve().parents[2] / "book"
sys.path.insert(0, str(BOOK / "_ext"))
from symptoms import causes_of, picture, read_symptoms, rows_of  # noqa: E402

STORED = read_symptoms()
ROWS = rows_of(STORED)


def test_the_table_is_whole():
    assert len(ROWS) >= 30
    assert len({row["id"] for row in ROWS}) == len({row["symptom"] for row in ROWS}) == len(ROWS)
    chapters = {
        row["file"] for row in yaml.safe_load((BOOK / "chapters.yml").read_text(encoding="utf-8"))["chapters"]
    }
    for row in ROWS:
        assert len(row["look"]) == 3, row["symptom"]
        assert not row["symptom"].endswith((".", "?"))
        assert {cause["page"] for cause in causes_of(row)} <= chapters


def test_every_fault_that_can_be_seen_stands_behind_a_symptom():
    unseen = {"bias_before_norm"}  # it costs nothing but the bias
    assert set(FAULTS) - {slug for row in ROWS for slug in row["faults"]} == unseen


def test_the_tree_leads_to_symptoms():
    drawn = picture(STORED)
    for row in STORED["tree"]:
        for name in row["no"]:
            assert name in {row["id"] for row in ROWS}
            assert f'href="#{name}"' in drawn


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_the_line_of_code_runs_as_it_stands(row, capsys):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))
    x, y, loss_fn = torch.randn(40, 8), torch.arange(40) % 3, nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loss_fn(model(x), y).backward()
    given = {"torch": torch, "model": model, "x": x, "y": y, "loss_fn": loss_fn, "optimizer": optimizer}
    exec(compile(row["line"], row["id"], "exec"), given)
    assert capsys.readouterr().out.strip()
