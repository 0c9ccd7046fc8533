"""What an exponential costs: each activation against ReLU, alone and as part of a whole training step.

Alone: forward and backward through the activation of a (1000, 1000) tensor. In a step: a network 784-64-64-64-64-10
of chapter 3, batch 100, momentum. Maxout is compared at its own width: twice the inputs.
"""

from __future__ import annotations

import torch
from _timing import interleaved
from torch.nn.functional import cross_entropy

from unstuck.models import ACTIVATIONS, activation_module, mlp


def alone(name: str, repeats: int = 10):
    """A function that sends a tensor forward and backward through one activation."""
    act = activation_module(name)
    z = torch.randn(1000, 2000 if name == "maxout" else 1000, requires_grad=True)
    grad = torch.randn(1000, 1000)

    def run() -> None:
        for _ in range(repeats):
            act(z).backward(grad)
            z.grad = None

    return run


def in_a_step(name: str, steps: int = 30):
    """A function that trains a small perceptron for some steps."""
    model = mlp((784, 64, 64, 64, 64, 10), name)
    optim = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    x, y = torch.randn(100, 784), torch.randint(10, (100,))

    def run() -> None:
        for _ in range(steps):
            optim.zero_grad()
            cross_entropy(model(x), y).backward()
            optim.step()

    return run


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)  # with two, who gets the second core decides
    names = ["relu", *(name for name in ACTIVATIONS if name not in ("relu", "identity"))]
    print("time over that of ReLU: median (quartiles)")
    print(f"{'':12}{'alone':<24}{'in a training step'}")
    ratios = [interleaved({name: work(name) for name in names}) for work in (alone, in_a_step)]
    for name in names:
        print(f"{name:12}{ratios[0][name]!s:<24}{ratios[1][name]!s}")


if __name__ == "__main__":
    main()
