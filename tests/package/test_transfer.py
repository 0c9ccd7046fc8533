"""The long runs of chapter 10: bookkeeping, scores, and the file of results. No long run is made here."""

import copy
import itertools
import json

import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from unstuck import transfer
from unstuck.data import Split


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
    """`main` with runs that cost nothing; of the settings the second has the highest AUC, the third if renewed."""
    made = []

    def run(method, n, split, part, setting):
        made.append((method, n, split, part, setting))
        row = {"method": method, "n": n, "split": split, "part": part, "setting": setting, "seconds": 1.0}
        for k, memory in enumerate(transfer.memories(method, n)):
            auc = 0.9 if setting == transfer.SETTINGS[method][1 + k] else 0.8
            row[memory] = {"accuracy": 0.5 + split / 100 + k / 10, "f1": 0.5, "auc": auc}
        return row

    monkeypatch.setattr(transfer, "run", run)
    path = tmp_path / "results.json"
    threads = torch.get_num_threads()
    yield lambda *more: transfer.main(["--run", "--file", str(path), *more]), path, made
    torch.set_num_threads(threads)


def test_runs_are_resumed_and_made_once(quick, capsys):
    main, path, made = quick
    main("--methods", "full", "--splits", "2", "--labels", "300")
    lrs = transfer.SETTINGS["full"]
    assert made == [
        *(("full", 300, 0, "validation", lr) for lr in lrs),
        *(("full", 300, split, "test", lr) for lr in lrs[1:3] for split in (0, 1)),
    ]
    main()
    runs = transfer.load(path)["runs"]
    assert len(made) == len(set(made)) == len(runs)
    assert not [row for row in made if row[:2] == ("full", 1968) and row[3] == "validation"]  # taken over from 300
    for method in transfer.METHODS:
        for n in transfer.STEPS:
            for k, memory in enumerate(transfer.memories(method, n)):
                found = transfer.by_split(runs, method, n, memory=memory)
                assert found == pytest.approx({split: 0.5 + split / 100 + k / 10 for split in range(5)})
    assert "full" in capsys.readouterr().out
    assert not list(path.parent.glob("*.part"))


def test_the_table_holds_the_setting_that_was_chosen():
    run = {"method": "full", "n": 300, "split": 0}
    lrs = transfer.SETTINGS["full"]
    runs = [
        run | {"part": "validation", "setting": lr, "kept": {"auc": lr}, "renewed": {"auc": 1 - lr}} for lr in lrs
    ]
    assert transfer.chosen(runs, "full", 1968) == transfer.chosen(runs, "full", 300) == max(lrs)
    assert transfer.chosen(runs, "full", 300, "renewed") == min(lrs)
    few = [row | {"n": 30, "split": split} for split in range(3) for row in runs]
    assert transfer.chosen(few, "full", 30) == max(lrs) and transfer.chosen(few[1:], "full", 30) is None
    for row in few[-len(lrs) :]:
        row["kept"] = {"auc": -10 * row["setting"]}  # the third split outweighs the others
    assert transfer.chosen(few, "full", 30) == min(lrs)
    assert transfer.chosen(runs[1:], "full", 300) is None and transfer.chosen(runs, "full", 100) is None
    assert transfer.by_split(runs, "full", 300) == {}
    for lr in reversed(lrs):
        runs.append(run | {"part": "test", "setting": lr, "kept": {"accuracy": lr}, "renewed": {"accuracy": 2 * lr}})
    assert transfer.by_split(runs, "full", 300) == {0: max(lrs)}
    assert transfer.by_split(runs, "full", 300, memory="renewed") == {0: 2 * min(lrs)}


def test_a_run_of_tuning_is_tested_with_both_memories(monkeypatch):
    """Against statistics that are averaged over the batches by hand."""
    generator = torch.Generator().manual_seed(0)
    x, x_test = torch.randn(40, 1, 6, 6, generator=generator), torch.randn(30, 1, 6, 6, generator=generator)
    data = Split(x, torch.arange(40) % 2, x_test, torch.arange(30) % 2, ("functional", "defective"))
    monkeypatch.setattr(transfer, "solar_cells", lambda size, seed: data)
    networks = []

    def trained(data, n, seed, lr):
        torch.manual_seed(0)
        flat, norm = torch.nn.Flatten(), torch.nn.BatchNorm1d(36)
        network = torch.nn.Sequential(flat, norm, torch.nn.Linear(36, 2)).train()
        network(10 * x)  # a memory of other data
        networks.append(copy.deepcopy(network))
        return network, x, x_test

    monkeypatch.setattr(transfer, "_full", trained)
    found = transfer.run("full", 300, 0, "test", 0.1)
    many = transfer.run("full", 1968, 0, "test", 0.1)
    network = networks[0].eval()
    with torch.no_grad():
        assert found["kept"] == transfer.scores(network(x_test), data.y_test)
        assert many["kept"] == found["kept"]
        network.train()
        order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
        norm, batches = network[1], order.split(transfer.BATCH)
        flat = x.flatten(1)
        norm.running_mean = torch.stack([flat[i].mean(dim=0) for i in batches]).mean(dim=0)
        norm.running_var = torch.stack([flat[i].var(dim=0) for i in batches]).mean(dim=0)
        network.eval()
        assert found["renewed"] == transfer.scores(network(x_test), data.y_test)
    assert set(found) == {*["method", "n", "split", "part", "setting", "seconds"], "kept", "renewed"}
    assert found["renewed"] != found["kept"] and "renewed" not in many


def test_the_learning_rate_rises_over_a_tenth_of_the_steps_and_falls_to_zero():
    rates = []

    def see(optimizer, args, given):
        rates.append(optimizer.param_groups[0]["lr"])

    watching = register_optimizer_step_pre_hook(see)
    try:
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
        transfer._trained(network, torch.randn(8, 1, 2, 2), torch.arange(8) % 2, 0.1, steps=20, seed=0)
    finally:
        watching.remove()
    assert rates == pytest.approx(np.interp(range(20), [-1, 1, 2, 20], [0, 0.1, 0.1, 0]))


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
        memories = transfer.memories(run["method"], run["n"])
        for memory in memories:
            one = run[memory]
            assert 0.3 < one["accuracy"] <= 1 and 0.3 < one["auc"] <= 1 and 0 <= one["f1"] <= 1
        assert run["seconds"] >= 0
        if run["part"] == "test":
            settings = [transfer.chosen(found["runs"], run["method"], run["n"], memory) for memory in memories]
            assert run["setting"] in settings
    assert list(transfer.missing(found["runs"])) == []
