"""What `unstuck.probes.watch` costs: watched training steps against bare ones, as ratios.

Random inputs: the cost does not depend on them. Reading out, once at the end of a watch, is shown apart.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

import torch
from _timing import interleaved, seconds
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
STEPS = 10  # in each turn: one of them is observed with every=10


def training(model: nn.Module, optimizer: type, x, y) -> Callable[[], None]:
    """A function that trains `model` for `STEPS` steps."""
    optim = optimizer(model.parameters(), lr=1e-3)

    def steps() -> None:
        for _ in range(STEPS):
            optim.zero_grad()
            cross_entropy(model(x), y).backward()
            optim.step()

    return steps


def read_out(watching: AbstractContextManager, steps: Callable[[], None], turns: int = 5) -> float:
    """Seconds an observed step to read the record out."""
    watching.__enter__()
    for _ in range(turns):
        steps()
    return seconds(lambda: watching.__exit__(None, None, None)) / (turns * STEPS)


def main() -> None:
    torch.manual_seed(0)
    for network, (model, shape) in NETWORKS.items():
        x, y = torch.randn(shape), torch.randint(10, shape[:1])
        for name, optimizer in OPTIMIZERS.items():
            with ExitStack() as watches:
                work = {"bare": training(copy.deepcopy(model), optimizer, x, y)}
                for every in (1, 10):
                    watched = copy.deepcopy(model)
                    watches.enter_context(watch(watched, every=every))
                    work[f"every={every}"] = training(watched, optimizer, x, y)
                ratios = interleaved(work, rounds=25)
            print(f"{network}, {name}: bare step {1000 * ratios['bare'].seconds / STEPS:.2f} ms")
            for every in (1, 10):
                ratio = ratios[f"every={every}"]
                verdict = "holds" if ratio.median <= LIMITS[name, every] else "BROKEN"
                print(f"    every={every:<3} {ratio}   limit {LIMITS[name, every]}: {verdict}")
        watched = copy.deepcopy(model)
        spent = read_out(watch(watched), training(watched, torch.optim.SGD, x, y))
        print(f"    reading out: {1e6 * spent:.0f} us an observed step")


if __name__ == "__main__":
    print("watch, every quantity: ratio to the bare step, median of rounds (quartiles)")
    main()
