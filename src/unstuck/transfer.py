"""How much of a trained network to keep: the long runs behind chapter 10, and their results.

    python -m unstuck.transfer            # shows what there is
    python -m unstuck.transfer --run      # computes what is missing; may be stopped at any time and started again

Each run trains on `n` labelled solar cells of one split and is tested on that split's test part. A learning rate (for
frozen features the penalty) is chosen for each method and each `n` on a validation part of split 0, a fifth of its
training part; those runs are in the file, too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
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
    "partly": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
    "full": (3e-4, 1e-3, 3e-3, 1e-2),
    "scratch": (1e-3, 3e-3, 1e-2, 3e-2),
}
"""What is chosen from: penalties for "frozen", Adam's learning rates for the others."""

CHOSEN_AT = {"full": 300}
"""Where the runs are costly, the number of labels at which the setting of all is chosen."""

METHODS = tuple(SETTINGS)
SPLITS = range(5)


def load(path: Path = FILE) -> dict[str, Any]:
    """The results: `{"provenance": {...}, "runs": [...]}`. A ValueError where the file is not of this module.

    A run: method, n, split, part ("validation" or "test"), setting, accuracy, f1 of the defective and auc from 0 to
    1, and the seconds of one core that it took.
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
        "chosen": "on split 0: validation(0.2, seed=0) of its training part, highest AUC",
        "chosen_at": CHOSEN_AT,
    }


def chosen(runs: list[dict], method: str, n: int) -> float | None:
    """The setting with the highest AUC on the validation part; None while runs are missing."""
    n = CHOSEN_AT.get(method, n)
    found = {
        run["setting"]: run["auc"]
        for run in runs
        if (run["method"], run["n"], run["part"]) == (method, n, "validation")
    }
    if len(found) < len(SETTINGS[method]):
        return None
    return max(found, key=lambda setting: found[setting])


def table(runs: list[dict], quantity: str = "accuracy") -> dict[str, dict[int, np.ndarray]]:
    """`{method: {n: values}}` on the test parts; values (S,) in the order of the splits that are there.

    With the setting that was chosen, where all from which it is chosen are there.
    """
    found: dict[str, dict[int, np.ndarray]] = {}
    for method in METHODS:
        for n in STEPS:
            row = method, n, "test", chosen(runs, method, n)
            of = {r["split"]: r[quantity] for r in runs if (r["method"], r["n"], r["part"], r["setting"]) == row}
            if of:
                found.setdefault(method, {})[n] = np.array([of[split] for split in sorted(of)])
    return found


def missing(runs: list[dict], methods: tuple[str, ...] = METHODS, splits: range = SPLITS) -> Iterator[tuple]:
    """(method, n, split, part, setting) of all runs that are still to be made; None: a setting still to be chosen."""
    done = {(r["method"], r["n"], r["split"], r["part"], r["setting"]) for r in runs}
    for method in methods:
        for n in STEPS:
            for setting in SETTINGS[method]:
                row = method, CHOSEN_AT.get(method, n), 0, "validation", setting
                if row not in done:
                    done.add(row)
                    yield row
            best = chosen(runs, method, n)
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
    logits = {"frozen": _frozen, "partly": _partly, "full": _full, "scratch": _scratch}[method](
        data, n, split, setting
    )
    row = {"method": method, "n": n, "split": split, "part": part, "setting": setting}
    return row | scores(logits, test_part(data)[1]) | {"seconds": round(time.process_time() - began, 1)}


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
    """Of the four mirror images of all cells (4, N, ...), behind a layer of the trained network."""
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


def _frozen(data: Split, n: int, seed: int, penalty: float) -> Tensor:
    x, y, x_test = _of(data, "flatten")
    with torch.no_grad():
        return linear_classifier(x, y, penalty=penalty)(x_test)


def _partly(data: Split, n: int, seed: int, lr: float) -> Tensor:
    x, y, x_test = _of(data, LAST_FROZEN)
    torch.manual_seed(seed)
    network = efficientnet_lite0()
    upper = network[list(dict(network.named_children())).index(LAST_FROZEN) + 1 :]
    return _trained(upper, x, y, x_test, lr, STEPS[n], seed)


def _full(data: Split, n: int, seed: int, lr: float) -> Tensor:
    torch.manual_seed(seed)
    network = efficientnet_lite0()
    x, y, x_test = _tensors(data)
    return _trained(network, mirrored(x), y.repeat(4), x_test, lr, STEPS[n], seed)


def _scratch(data: Split, n: int, seed: int, lr: float) -> Tensor:
    torch.manual_seed(seed)
    network = small_cnn(SMALL, 2, norm="batch")
    x, y, x_test = _tensors(data)
    mean, std = x.mean(), x.std()
    steps = CHEAPER * STEPS[n]
    return _trained(network, (mirrored(x) - mean) / std, y.repeat(4), (x_test - mean) / std, lr, steps, seed)


def _trained(network: nn.Module, x: Tensor, y: Tensor, x_test: Tensor, lr: float, steps: int, seed: int) -> Tensor:
    """Logits of the test part (N, 2) after training."""
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
    with in_mode(network, training=False), torch.no_grad():
        return torch.cat([network(part) for part in x_test.split(BATCH)])


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
    for method, by_n in table(runs).items():
        for n, values in by_n.items():
            auc = table(runs, "auc")[method][n].mean()
            print(
                f"{method:8} {n:5} labels: {100 * values.mean():.1f} % on {len(values)} splits, AUC {auc:.3f},"
                f" setting {chosen(runs, method, n):g}"
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
