"""The long runs of chapter 10: bookkeeping, scores, and the file of results. No long run is made here."""

import itertools
import json

import numpy as np
import pytest
import torch

from unstuck import transfer


def test_roc_auc_is_the_share_of_pairs_in_the_right_order():
    rng = np.random.default_rng(0)
    score, y = rng.integers(0, 6, 40).astype(float), rng.integers(0, 2, 40)
    pairs = list(itertools.product(score[y == 1], score[y == 0]))
    brute = np.mean([1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs])
    assert transfer.roc_auc(score, y) == pytest.approx(brute)


def test_scores_by_hand():
    logits = torch.tensor([[0.0, 1.0], [0.0, 2.0], [1.0, 0.0], [2.0, 0.0]])
    found = transfer.scores(logits, torch.tensor([1, 0, 1, 0]))
    assert found == {"accuracy": 0.5, "f1": 0.5, "auc": 0.5}


def test_mirror_images():
    x = torch.arange(4.0).reshape(1, 1, 2, 2)
    assert transfer.mirrored(x).flatten(1).tolist() == [[0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]]


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """`main` with runs that cost nothing; of the settings the second has the highest AUC."""
    made = []

    def run(method, n, split, part, setting):
        made.append((method, n, split, part, setting))
        auc = 0.9 if setting == transfer.SETTINGS[method][1] else 0.8
        row = {"method": method, "n": n, "split": split, "part": part, "setting": setting}
        return row | {"accuracy": 0.5 + split / 100, "f1": 0.5, "auc": auc, "seconds": 1.0}

    monkeypatch.setattr(transfer, "run", run)
    path = tmp_path / "results.json"
    threads = torch.get_num_threads()
    yield lambda *more: transfer.main(["--run", "--file", str(path), *more]), path, made
    torch.set_num_threads(threads)


def test_runs_are_resumed_and_made_once(quick, capsys):
    main, path, made = quick
    main("--methods", "full", "--splits", "2", "--labels", "300")
    main("--methods", "full", "--splits", "2", "--labels", "100")
    lrs = transfer.SETTINGS["full"]
    assert made == [
        *(("full", 300, 0, "validation", lr) for lr in lrs),
        *(("full", n, split, "test", lrs[1]) for n in (300, 100) for split in (0, 1)),
    ]
    main()
    assert len(made) == len(set(made)) == len(transfer.load(path)["runs"])
    table = transfer.table(transfer.load(path)["runs"])
    assert set(table) == set(transfer.METHODS)
    assert all(np.allclose(table[method][n], 0.5 + np.arange(5) / 100) for method in table for n in transfer.STEPS)
    assert "full" in capsys.readouterr().out
    assert not list(path.parent.glob("*.part"))


def test_the_table_holds_the_setting_that_was_chosen():
    run = {"method": "full", "n": 300, "split": 0, "auc": 0.5}
    lrs = transfer.SETTINGS["full"]
    runs = [run | {"part": "validation", "setting": lr, "auc": lr} for lr in lrs]
    assert transfer.chosen(runs, "full", 100) == max(lrs) and transfer.chosen(runs[1:], "full", 300) is None
    runs += [run | {"part": "test", "setting": lr, "accuracy": lr} for lr in reversed(lrs)]
    assert transfer.table(runs)["full"][300].tolist() == [max(lrs)]


def test_a_file_of_another_protocol_is_refused(quick):
    main, path, _ = quick
    main("--methods", "frozen", "--labels", "30")
    content = json.loads(path.read_text())
    content["protocol"]["steps"]["30"] += 1
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="its protocol is not the one of this module"):
        transfer.load(path)


def test_the_stored_results_are_of_this_module_and_complete_in_themselves():
    found = transfer.load()
    assert found["runs"] and found["provenance"]["command"] == "python -m unstuck.transfer --run"
    rows = [tuple(run[name] for name in ("method", "n", "split", "part", "setting")) for run in found["runs"]]
    assert len(set(rows)) == len(rows)
    for run in found["runs"]:
        assert 0.3 < run["accuracy"] <= 1 and 0.3 < run["auc"] <= 1 and 0 <= run["f1"] <= 1 and run["seconds"] >= 0
        if run["part"] == "test":
            assert run["setting"] == transfer.chosen(found["runs"], run["method"], run["n"])
