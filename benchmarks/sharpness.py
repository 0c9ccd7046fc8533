"""What one call of `unstuck.probes.sharpness` costs, in evaluations of the gradient on the same data."""

from __future__ import annotations

import argparse

import torch
from _timing import interleaved
from torch import nn
from torch.nn.functional import cross_entropy

from unstuck.data import mnist
from unstuck.models import mlp, small_cnn
from unstuck.probes import sharpness
from unstuck.train import fit

WIDTHS = (784, 100, 100, 10)


def networks() -> dict[str, tuple[nn.Module, int]]:
    """A model and the number of images, by name."""
    torch.manual_seed(0)
    trained = mlp(WIDTHS)
    fit(trained, mnist(), steps=300, lr=0.1)
    return {
        "784-100-100-10 at its start, 1,000 images": (mlp(WIDTHS), 1000),
        "784-100-100-10 trained, 1,000 images": (trained, 1000),
        "784-100-100-10 trained, 4,000 images": (trained, 4000),
        "small CNN at its start, 200 images": (small_cnn(), 200),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=(1, 2))
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    data = mnist()
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        for name, (model, n) in networks().items():
            x, y = data.x_train[:n], data.y_train[:n]
            parameters = list(model.parameters())

            def gradient(model=model, x=x, y=y, parameters=parameters):
                return torch.autograd.grad(cross_entropy(model(x), y), parameters)

            work = {"gradient": gradient}
            for k in (1, 5):
                work[f"k={k}"] = lambda model=model, x=x, y=y, k=k: sharpness(model, x, y, k=k)
            ratios = interleaved(work, rounds=arguments.rounds, warmup=1)
            print(f"{threads} thread(s), {name}: one gradient {1000 * ratios['gradient'].seconds:.1f} ms")
            for k in (1, 5):
                ratio = ratios[f"k={k}"]
                print(f"    k={k} {ratio} gradients, {ratio.seconds:.2f} s")


if __name__ == "__main__":
    print("sharpness: in gradients of the same data, median of rounds (quartiles)")
    main()
