"""What `unstuck.probes.watch` costs: watched training steps against bare ones, as ratios.

Random inputs: the cost does not depend on them.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from contextlib import nullcontext

import torch
from _timing import interleaved
from torch import nn
from torch.nn.functional import cross_entropy

from unstuck.models import mlp, small_cnn
from unstuck.probes import watch

NETWORKS = {
    "perceptron 5x256, batch 128": (mlp((784, 256, 256, 256, 256, 256, 10)), (128, 1, 28, 28)),
    "small CNN, batch 64": (small_cnn(), (64, 1, 28, 28)),
}
OPTIMIZERS = {"SGD": torch.optim.SGD, "Adam": torch.optim.Adam}
LIMITS = {("SGD", 1): 1.25, ("Adam", 1): 1.35, ("SGD", 10): 1.08, ("Adam", 10): 1.08}
STEPS = 100  # in each turn, with the beginning of the watch and its read-out


def training(model: nn.Module, optimizer: type, x, y, every: int | None = None) -> Callable[[], None]:
    """A function that trains `model` for `STEPS` steps, watched at every `every`-th or not at all."""
    optim = optimizer(model.parameters(), lr=1e-3)

    def steps() -> None:
        # hooks are global: a watch is open in its own turn only
        with nullcontext() if every is None else watch(model, every=every):
            for _ in range(STEPS):
                optim.zero_grad()
                cross_entropy(model(x), y).backward()
                optim.step()

    return steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=(1, 2))
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        for network, (model, shape) in NETWORKS.items():
            x, y = torch.randn(shape), torch.randint(10, shape[:1])
            for name, optimizer in OPTIMIZERS.items():
                work = {"bare": training(copy.deepcopy(model), optimizer, x, y)}
                for every in (1, 10):
                    work[f"every={every}"] = training(copy.deepcopy(model), optimizer, x, y, every)
                ratios = interleaved(work, rounds=arguments.rounds, warmup=1)
                bare = 1000 * ratios["bare"].seconds / STEPS
                print(f"{threads} thread(s), {network}, {name}: bare step {bare:.2f} ms")
                for every in (1, 10):
                    ratio = ratios[f"every={every}"]
                    verdict = "holds" if ratio.median <= LIMITS[name, every] else "BROKEN"
                    print(f"    every={every:<3} {ratio}   limit {LIMITS[name, every]}: {verdict}")


if __name__ == "__main__":
    print("watch, every quantity: ratio to the bare step, median of rounds (quartiles)")
    main()
