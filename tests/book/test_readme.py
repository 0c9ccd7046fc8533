"""The README's table of chapters says what book/chapters.yml and the table of contents say, and its snippet runs."""

import re
from pathlib import Path

import pytest
import torch
import yaml

from unstuck.init import initialise
from unstuck.models import mlp

ROOT = Path(__file__).resolve().parents[2]


def test_chapter_table():
    chapters = yaml.safe_load((ROOT / "book/chapters.yml").read_text(encoding="utf-8"))["chapters"]
    written = set(re.findall(r"file: book/(\S+)", (ROOT / "_toc.yml").read_text(encoding="utf-8")))
    expected = []
    for row in chapters:
        there = row["file"] in written
        number = f"[{row['number']}](book/{row['file']}.ipynb)" if there else str(row["number"])
        expected.append((number, row["question"], "" if there else "planned"))
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\[?\d+[a-z]?\]?(?:\([^)]*\))?) \| (.*?) \|(?: (planned) )?\s*\|$", text, re.MULTILINE)
    assert rows == expected


def snippet(heading: str) -> str:
    """The first Python code under a heading."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").split(f"## {heading}\n")[1]
    return re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)


LAYERS = ["linear1", "linear2", "linear3"]


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        ("he", {"grad_norm": LAYERS, "update_ratio": LAYERS, "dead": ["act1", "act2"]}),
        ("zeros", {"grad_norm": LAYERS, "dead": ["act1", "act2"]}),  # nothing is relative to zero
    ],
)
def test_the_snippet_on_your_own_model(scheme, expected, capsys):
    model = initialise(mlp((8, 6, 6, 3)), scheme)
    x, y = torch.randn(20, 8, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 3
    names = {
        "model": model,
        "loader": [(x, y)] * 12,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "loss_fn": torch.nn.functional.cross_entropy,
    }
    exec(snippet("On your own model"), names)
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[:2] for line in printed] == [[name, layer] for name, layers in expected.items() for layer in layers]
    record = names["record"]
    assert all(float(value) == record.last(quantity, layer) for quantity, layer, value in printed)
    assert {step for step, *_ in record.rows} == {0, 10} and (record.last("dead", "act1") == 1) == (scheme == "zeros")


@pytest.mark.parametrize(
    ("scheme", "said"),
    [("he", "Nothing was found"), ("zeros", "the weights of a layer are all zero")],
)
def test_the_doctor_as_the_readme_calls_it(scheme, said, capsys):
    model = initialise(mlp((8, 6, 6, 3)), scheme)
    x = torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
    names = {"model": model, "x": x, "y": x[:, :3].argmax(dim=1), "loss_fn": torch.nn.functional.cross_entropy}
    names["optimizer"] = torch.optim.SGD(model.parameters(), lr=0.3)
    exec(snippet("When it does not learn"), names)
    assert said in " ".join(capsys.readouterr().out.split())


def test_windows_is_told_the_same():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.search(r"^\.venv.Scripts.python tools.lab\.py  .*# make lab", text, re.MULTILINE)
