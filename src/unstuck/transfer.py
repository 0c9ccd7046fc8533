"""How much of a trained network to keep: the long runs behind chapter 10, and their results.

    python -m unstuck.transfer            # shows what there is
    python -m unstuck.transfer --run      # computes what is missing; may be stopped at any time and started again

Each run trains on `n` labelled solar cells of one split and is tested on that split's test part. A learning rate (for
frozen features the penalty) is chosen for each method and each `n` on a validation part, a fifth of the training part
of one split, or of three where a tuned network sees few labels; those runs are in the file, too.

Networks that are tuned in few steps are tested twice: with BatchNorm's running statistics as training left them
("kept"), and with statistics taken anew from the training cells ("renewed"). The learning rate is chosen for each.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import update_bn
from tqdm import tqdm

from unstuck.data import Split, solar_cells
from unstuck.evaluate import in_mode
from unstuck.features import features, linear_classifier
from unstuck.models import efficientnet_lite0, small_cnn
from unstuck.train import batches, test_part, train_part

FILE = Path(__file__).parent / "_data" / "solar_transfer.json"

SIZE, BATCH = 96, 32
LAST_FROZEN = "block11"
"""Of "partly": the five blocks and the head above it are trained."""

STEPS = {30: 60, 100: 120, 300: 200, 1968: 500}
"""Updates for each number of labelled cells; 1,968 is the whole training part."""

CHEAPER = 3
"""The small network that starts from nothing gets so many times the steps; it is some ten times as fast."""

SMALL = (1, 8, 16, 32, 64)
"""Its channels."""

SETTINGS: dict[str, tuple[float, ...]] = {
    "frozen": (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0),
    "partly": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
    "full": (1e-4, 3e-4, 1e-3, 3e-3, 1e-2),
    "scratch": (1e-3, 3e-3, 1e-2, 3e-2),
}
"""What is chosen from: penalties for "frozen", Adam's learning rates for the others."""

CHOSEN_AT = {("full", 1968): 300}
"""Where the runs are costly: the number of labels from which the setting is taken over."""

RENEWED = {(method, n) for method in ("partly", "full") for n in (30, 100, 300)}
"""Tested with renewed statistics, too. After the 500 steps with 1,968 labels the old ones are 1 % of what is kept."""

CHOSEN_ON = {("partly", 30): 3, ("partly", 100): 3, ("full", 30): 3}
"""On how many splits a setting is chosen, by the mean AUC: where labels are few, one run is chance. Else on one."""

METHODS = tuple(SETTINGS)
SPLITS = range(5)


def load(path: Path = FILE) -> dict[str, Any]:
    """The results: `{"provenance": {...}, "runs": [...]}`. A ValueError where the file is not of this module.

    A run: method, n, split, part ("validation" or "test"), setting, the seconds of one core that it took, and under
    "kept" (also "renewed", where it was) what `scores` returns.
    """
    if not path.exists():
        return {"provenance": {}, "runs": []}
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict) or found.get("protocol") != protocol():
        raise ValueError(f"{path}: its protocol is not the one of this module; remove the file and run it again")
    return found


def protocol() -> dict[str, Any]:
    """All that the results depend on, as it stands in the file."""
    return {
        "data": f"elpv-dataset, {SIZE} px, defective above 1/2, 75/25 stratified; 4 mirror images to train on",
        "network": f"efficientnet-lite0, ImageNet; from scratch: small_cnn({SMALL}, norm='batch')",
        "optimizer": f"Adam, batches of {BATCH}, a tenth of the steps warm-up, then linear to 0",
        "last_frozen": LAST_FROZEN,
        "steps": {str(n): steps for n, steps in STEPS.items()},
        "settings": {name: list(values) for name, values in SETTINGS.items()},
        "chosen": "validation(0.2, seed=0) of the training part of split 0, highest AUC, for each memory",
        "chosen_on": {f"{method}, {n}": f"mean of {splits} splits" for (method, n), splits in CHOSEN_ON.items()},
        "chosen_at": {f"{method}, {n}": at for (method, n), at in CHOSEN_AT.items()},
        "memory": "kept: as training left it; renewed: torch's update_bn over the training cells' mirror images",
    }


def memories(method: str, n: int) -> tuple[str, ...]:
    """BatchNorm's running statistics with which a network is tested: "kept", and perhaps "renewed"."""
    return ("kept", "renewed") if (method, n) in RENEWED else ("kept",)


def chosen(runs: list[dict], method: str, n: int, memory: str = "kept") -> float | None:
    """The setting with the highest AUC on the validation part; None while runs are missing."""
    n = CHOSEN_AT.get((method, n), n)
    found: dict[float, list[float]] = {setting: [] for setting in SETTINGS[method]}
    for run in runs:
        if (run["method"], run["n"], run["part"]) == (method, n, "validation"):
            found[run["setting"]].append(run[memory]["auc"])
    if any(len(values) < CHOSEN_ON.get((method, n), 1) for values in found.values()):
        return None
    return max(found, key=lambda setting: sum(found[setting]) / len(found[setting]))


def by_split(
    runs: list[dict], method: str, n: int, quantity: str = "accuracy", memory: str = "kept"
) -> dict[int, float]:
    """`{split: value from 0 to 1}` on the test parts, with the setting that was chosen; empty while that is open."""
    row = method, n, "test", chosen(runs, method, n, memory)
    found = {r["split"]: r[memory][quantity] for r in runs if (r["method"], r["n"], r["part"], r["setting"]) == row}
    return {split: found[split] for split in sorted(found)}


def missing(runs: list[dict], methods: tuple[str, ...] = METHODS, splits: range = SPLITS) -> Iterator[tuple]:
    """(method, n, split, part, setting) of all runs that are still to be made; None: a setting still to be chosen."""
    done = {(r["method"], r["n"], r["split"], r["part"], r["setting"]) for r in runs}
    for method, n in ((method, n) for n in STEPS for method in methods):
        at = CHOSEN_AT.get((method, n), n)
        for split, setting in product(range(CHOSEN_ON.get((method, at), 1)), SETTINGS[method]):
            row = method, at, split, "validation", setting
            if row not in done:
                done.add(row)
                yield row
        for best in dict.fromkeys(chosen(runs, method, n, memory) for memory in memories(method, n)):
            for split in splits:
                if best is None or (method, n, split, "test", best) not in done:
                    yield method, n, split, "test", best


def run(method: str, n: int, split: int, part: str, setting: float) -> dict[str, Any]:
    """One run, from the data to the row of the table."""
    data = solar_cells(SIZE, seed=split)
    if part == "validation":
        data = data.validation(0.2, seed=0)
    if n < len(data.x_train):
        data = data.subset(n, seed=split)
    began = time.process_time()
    train = {"frozen": _frozen, "partly": _partly, "full": _full, "scratch": _scratch}[method]
    network, x, x_test = train(data, n, split, setting)
    row: dict[str, Any] = {"method": method, "n": n, "split": split, "part": part, "setting": setting}
    row["seconds"] = round(time.process_time() - began, 1)
    y = test_part(data)[1]
    row["kept"] = scores(_logits(network, x_test), y)
    if "renewed" in memories(method, n):
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(split))  # the file is sorted by type
        update_bn((x[index] for index in order.split(BATCH)), network)
        row["renewed"] = scores(_logits(network, x_test), y)
    return row


def scores(logits: Tensor, y: Tensor) -> dict[str, float]:
    """Accuracy, F1 of class 1 and ROC AUC of logits (N, 2)."""
    answer, defective = logits.argmax(dim=1) == 1, y == 1
    hits = float((answer & defective).sum())
    return {
        "accuracy": round(float((answer == defective).double().mean()), 6),
        "f1": round(2 * hits / max(1.0, float(answer.sum() + defective.sum())), 6),
        "auc": round(roc_auc((logits[:, 1] - logits[:, 0]).double().numpy(), y.numpy()), 6),
    }


def roc_auc(score: np.ndarray, y: np.ndarray) -> float:
    """The probability that a random positive example has a higher score than a negative one; ties count half."""
    _, place, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[place]  # mean rank among equals, from 1
    positive = int((y == 1).sum())
    negative = len(y) - positive
    return float((rank[y == 1].sum() - positive * (positive + 1) / 2) / (positive * negative))


def mirrored(x: Tensor) -> Tensor:
    """(N, ..., Hi, Wi) to (4 N, ..., Hi, Wi): as it is, left to right, upside down, both."""
    return torch.cat([x, x.flip(-1), x.flip(-2), x.flip(-1, -2)])


@cache
def _cells() -> Tensor:
    """All cells in the package's order (N, 1, SIZE, SIZE)."""
    split = solar_cells(SIZE)
    train, _, test = _tensors(split)
    index = np.concatenate([split.meta["index"]["train"], split.meta["index"]["test"]])
    return torch.cat([train, test])[torch.from_numpy(index.argsort())]


@cache
def _all_features(layer: str) -> Tensor:
    """Of the four mirror images of all cells (4, N, ...), after a layer of the trained network."""
    network = efficientnet_lite0()
    lower = network[: list(dict(network.named_children())).index(layer) + 1]
    found = features(lower, mirrored(_cells()), batch_size=BATCH, progress=True)
    return found.unflatten(0, (4, -1))


def _of(data: Split, layer: str) -> tuple[Tensor, Tensor, Tensor]:
    """Features of the training part's mirror images (4 N, ...), their labels, and features of the test part."""
    found, index = _all_features(layer), data.meta["index"]
    train = found[:, torch.from_numpy(index["train"])].flatten(0, 1)
    return train, train_part(data)[1].repeat(4), found[0, torch.from_numpy(index["test"])]


def _tensors(data: Split) -> tuple[Tensor, Tensor, Tensor]:
    """Images of the training part, their labels, and images of the test part."""
    (x, y), (x_test, _) = train_part(data), test_part(data)
    return x, y, x_test


Trained = tuple[nn.Module, Tensor, Tensor]
"""A network, what it was trained on, and what it is to be tested on."""


def _frozen(data: Split, n: int, seed: int, penalty: float) -> Trained:
    x, y, x_test = _of(data, "flatten")
    return linear_classifier(x, y, penalty=penalty), x, x_test


def _partly(data: Split, n: int, seed: int, lr: float) -> Trained:
    x, y, x_test = _of(data, LAST_FROZEN)
    torch.manual_seed(seed)
    network = efficientnet_lite0()
    upper = network[list(dict(network.named_children())).index(LAST_FROZEN) + 1 :]
    return _trained(upper, x, y, lr, STEPS[n], seed), x, x_test


def _full(data: Split, n: int, seed: int, lr: float) -> Trained:
    torch.manual_seed(seed)
    network = efficientnet_lite0()
    x, y, x_test = _tensors(data)
    x = mirrored(x)
    return _trained(network, x, y.repeat(4), lr, STEPS[n], seed), x, x_test


def _scratch(data: Split, n: int, seed: int, lr: float) -> Trained:
    torch.manual_seed(seed)
    network = small_cnn(SMALL, 2, norm="batch")
    x, y, x_test = _tensors(data)
    mean, std = x.mean(), x.std()
    x = (mirrored(x) - mean) / std
    return _trained(network, x, y.repeat(4), lr, CHEAPER * STEPS[n], seed), x, (x_test - mean) / std


def _trained(network: nn.Module, x: Tensor, y: Tensor, lr: float, steps: int, seed: int) -> nn.Module:
    """The same network, after training; in training mode."""
    network.train()
    x = x.contiguous(memory_format=torch.channels_last)
    for parameter in network.parameters():  # as those of the trained network lie, which is faster
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), lr)
    warm_up = max(1, steps // 10)
    order = batches(len(x), min(BATCH, len(x)), steps, seed)
    for step, index in enumerate(tqdm(order, total=steps, leave=False)):
        for group in optimizer.param_groups:
            group["lr"] = lr * min((step + 1) / warm_up, (steps - step) / (steps - warm_up))
        loss = cross_entropy(network(x[index]), y[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network


@torch.no_grad()
def _logits(network: nn.Module, x: Tensor) -> Tensor:
    """(N, 2), in evaluation mode."""
    with in_mode(network, training=False):
        return torch.cat([network(part) for part in x.split(BATCH)])


def _save(path: Path, runs: list[dict]) -> None:
    """Under another name first: an interrupted write leaves the old file."""
    where = {"python": platform.python_version(), "torch": torch.__version__, "machine": platform.machine()}
    provenance = {"command": "python -m unstuck.transfer --run", **where}
    rows = ",\n".join(f"  {json.dumps(row)}" for row in runs)
    head = f'"provenance": {json.dumps(provenance)},\n "protocol": {json.dumps(protocol())}'
    temporary = path.with_suffix(".part")
    temporary.write_text(f'{{{head},\n "runs": [\n{rows}\n]}}\n', encoding="utf-8")
    os.replace(temporary, path)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="unstuck.transfer", description=__doc__)
    parser.add_argument("--run", action="store_true", help="compute what is missing")
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=METHODS)
    parser.add_argument("--splits", type=int, default=len(SPLITS), help="only the first so many")
    parser.add_argument("--labels", type=int, nargs="*", choices=tuple(STEPS), default=tuple(STEPS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--file", type=Path, default=FILE)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    runs = load(options.file)["runs"]
    while options.run:
        rows = missing(runs, tuple(options.methods), range(options.splits))
        left = [row for row in rows if row[1] in options.labels and row[4] is not None]
        if not left:
            break
        method, n, split, part, setting = left[0]
        print(f"{len(left)} runs left: {method}, {n} labels, split {split}, {part}, {setting:g}", flush=True)
        runs.append(run(method, n, split, part, setting))
        _save(options.file, runs)
    for method, n in ((method, n) for method in METHODS for n in STEPS):
        for memory in memories(method, n):
            values = {name: list(by_split(runs, method, n, name, memory).values()) for name in ("accuracy", "auc")}
            if values["auc"]:
                print(
                    f"{method:8} {memory:8}{n:5} labels: {100 * np.mean(values['accuracy']):.1f} %"
                    f" on {len(values['auc'])} splits, AUC {np.mean(values['auc']):.3f},"
                    f" setting {chosen(runs, method, n, memory):g}"
                )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
