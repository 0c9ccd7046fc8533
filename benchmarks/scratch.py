"""`unstuck.scratch` against PyTorch: training a perceptron 784-200-200-200-200-10 in float32, batch 100, plain SGD.

The same steps on the same batches from the same weights, with one thread and with two. NumPy's threads are fixed when
it is imported, so each count has a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import torch
from _timing import interleaved
from torch.nn.functional import cross_entropy

from unstuck.models import mlp
from unstuck.scratch import Network, perceptron

WIDTHS = (784, 200, 200, 200, 200, 10)
STEPS, BATCH, LR = 20, 100, 0.01
GOAL, LIMIT = 1.0, 0.7


def in_numpy(network: Network, x: np.ndarray, y: np.ndarray) -> Callable[[], None]:
    """A function that trains `network` for `STEPS` steps."""

    def run() -> None:
        for i in range(STEPS):
            batch = slice(i * BATCH, (i + 1) * BATCH)
            network.loss.forward(network.forward(x[batch]), y[batch])
            network.backward()
            network.step(LR)

    return run


def in_torch(network: Network, x: np.ndarray, y: np.ndarray) -> Callable[[], None]:
    """The same for a PyTorch model with the same weights."""
    model = mlp(WIDTHS)
    model.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in network.params.items()})
    optim = torch.optim.SGD(model.parameters(), lr=LR)
    images, labels = torch.from_numpy(x), torch.from_numpy(y)

    def run() -> None:
        for i in range(STEPS):
            batch = slice(i * BATCH, (i + 1) * BATCH)
            loss = cross_entropy(model(images[batch]), labels[batch])
            optim.zero_grad()
            loss.backward()
            optim.step()

    return run


def compare(threads: int) -> None:
    """Print the ratio with this many threads."""
    torch.set_num_threads(threads)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(STEPS * BATCH, 784)).astype(np.float32), rng.integers(10, size=STEPS * BATCH)
    network = perceptron(WIDTHS, dtype=np.float32)
    ratio = interleaved({"NumPy": in_numpy(network, x, y), "PyTorch": in_torch(network, x, y)}, rounds=31)["PyTorch"]
    verdict = "goal reached" if ratio.median >= GOAL else "goal missed" if ratio.median >= LIMIT else "BROKEN"
    print(
        f"{threads} thread{'s' * (threads > 1)}: PyTorch {1000 * ratio.seconds / STEPS:.2f} ms a step,"
        f" time over NumPy's {ratio}   goal {GOAL}, limit {LIMIT}: {verdict}",
        flush=True,
    )


def main() -> None:
    print("NumPy against PyTorch: PyTorch's time over NumPy's, median of rounds (quartiles)", flush=True)
    for threads in (1, 2):
        count = {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
        subprocess.run([sys.executable, __file__, str(threads)], check=True, env=os.environ | count)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        compare(int(sys.argv[1]))
    else:
        main()
