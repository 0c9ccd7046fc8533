"""What `unstuck.ensemble.fit_many` gains: 64 networks at once against a loop of plain PyTorch trainings.

Both draw the first weights and take the same steps, batch 100; the ensemble records loss, accuracy, dead units,
gradient norms and update ratios every 10 steps, the loop only looks whether its loss is finite. In the same rounds,
what `torch.mm` reaches with large matrices on the same cores: the peak.
"""

from __future__ import annotations

import argparse
import math
from itertools import pairwise

import torch
from _timing import interleaved
from torch.nn.functional import cross_entropy

from unstuck.data import mnist
from unstuck.ensemble import fit_many
from unstuck.init import initialise
from unstuck.models import mlp
from unstuck.train import OPTIMIZERS, batches

NETWORKS, STEPS, BATCH, SIZE = 64, 50, 100, 1024
LIMITS = {  # width: share of the peak on one thread, gain over the loop on one and two threads; for plain SGD
    100: (0.5, {1: 1.2, 2: 1.6}),
    32: (0.0, {1: 3.0, 2: 4.0}),
}
RECORDED = ("dead", "grad_norm", "update_ratio")


def peak(products: int):
    """A function that multiplies two large matrices."""
    a, b = torch.randn(SIZE, SIZE), torch.randn(SIZE, SIZE)
    out = torch.empty(SIZE, SIZE)

    def run() -> None:
        for _ in range(products):
            torch.mm(a, b, out=out)

    return run


def loop(shape, split, optimizer: str):
    """A function that trains the networks one after the other, as a reader would write it."""
    x, y = split.x_train, split.y_train

    def run() -> None:
        for seed in range(NETWORKS):
            model = initialise(mlp(shape), "he", seed=seed)
            optim = OPTIMIZERS[optimizer](model.parameters(), 0.001)
            for index in batches(len(x), BATCH, STEPS, 0):
                loss = cross_entropy(model(x[index]), y[index])
                if not math.isfinite(loss.item()):
                    break
                optim.zero_grad()
                loss.backward()
                optim.step()

    return run


def ensemble(shape, split, optimizer: str):
    grid = [{"scheme": "he", "lr": 0.001, "seed": seed} for seed in range(NETWORKS)]

    def run() -> None:
        fit_many(shape, split, grid, steps=STEPS, batch_size=BATCH, optimizer=optimizer, quantities=RECORDED)

    return run


def operations(shape) -> int:
    """Floating-point operations in all products; below the first layer no gradient is needed."""
    sizes = [fan_in * fan_out for fan_in, fan_out in pairwise(shape)]
    return 2 * BATCH * NETWORKS * STEPS * (3 * sum(sizes) - sizes[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=(1, 2))
    parser.add_argument("--optimizers", nargs="+", default=("sgd", "adam"))
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    split = mnist()
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        for width, (share_limit, gain_limits) in LIMITS.items():
            gain_limit = gain_limits.get(threads, 0.0)
            shape = (784, *[width] * 4, 10)
            products = 20
            for optimizer in arguments.optimizers:
                work = {
                    "ensemble": ensemble(shape, split, optimizer),
                    "loop": loop(shape, split, optimizer),
                    "peak": peak(products),
                }
                ratios = interleaved(work, rounds=arguments.rounds, warmup=1)
                share = ratios["peak"].median * operations(shape) / (products * 2 * SIZE**3)
                gain = ratios["loop"]
                print(f"{threads} thread(s), 784-4x{width}-10, {optimizer}")
                print(f"    {share:.0%} of the peak; {gain} times the loop", end="")
                holds = (threads > 1 or share >= share_limit) and gain.median >= gain_limit
                limits = f"   limits {share_limit:.0%}, {gain_limit}: {'hold' if holds else 'BROKEN'}"
                print(limits if optimizer == "sgd" else "")


if __name__ == "__main__":
    main()
