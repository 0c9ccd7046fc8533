"""The data of the clinic's programs: all small, all drawn anew from a seed."""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from unstuck.clinic.program import Batch, Loaders
from unstuck.data import circle_and_cross, fashion, mnist, spirals
from unstuck.train import train_part


@cache
def _halved(name: str) -> Batch:
    x, y = train_part({"digits": mnist, "clothes": fashion}[name]())
    return avg_pool2d(x, 2), y


def images(name: str, seed: int, n: int = 1000) -> Batch:
    """`n` "digits" (MNIST) or "clothes" (Fashion-MNIST), at half size: (n, 1, 14, 14) in [0, 1], labels (n,)."""
    x, y = _halved(name)
    chosen = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:n]
    return x[chosen], y[chosen]


def digits(seed: int, size: int = 50) -> Loaders:
    """800 digits in batches, and 200 for validation."""
    return loaders(*images("digits", seed), size)


def clothes(seed: int, size: int = 50) -> Loaders:
    """800 pictures of clothes in batches, and 200 for validation."""
    return loaders(*images("clothes", seed), size)


def figures(seed: int, n: int = 400, size: int = 12, noise: float = 0.2) -> Batch:
    """Crosses and circles (n, 3, size, size) in [0, 1], with labels 0.0 and 1.0 (n, 1)."""
    x, y = train_part(circle_and_cross(n, size, noise, seed))
    return x, y[:, None].float()


def points(seed: int, n: int = 600, arms: int = 3) -> Batch:
    """Points (n, 2) on `arms` spirals, standard deviation near 1, and the arm of each (n,)."""
    x, y = train_part(spirals(n, arms, seed=seed))
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))  # the arms take turns
    return x[order] / 0.43, y[order]


def curve(seed: int, n: int = 600, features: int = 8) -> Batch:
    """A smooth function of Gaussian features (n, features), standardised: (n, 1)."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(n, features, generator=random)
    y = torch.sin(x[:, :1]) + 0.5 * x[:, 1:2] * x[:, 2:3] + 0.1 * torch.randn(n, 1, generator=random)
    return x, (y - y.mean()) / y.std()


def waves(seed: int, n: int = 600, steps: int = 12) -> Batch:
    """Noisy sines of four frequencies, from a random phase on: (n, steps, 1), with which of them it is (n,)."""
    random = torch.Generator().manual_seed(seed)
    y = torch.randint(4, (n,), generator=random)
    phase = 2 * math.pi * torch.rand(n, 1, generator=random)
    x = torch.sin(phase + (0.3 + 0.4 * y[:, None]) * torch.arange(steps))
    return (x + 0.2 * torch.randn(n, steps, generator=random)).unsqueeze(-1), y


def loaders(x: Tensor, y: Tensor, size: int = 50, held: int = 200) -> Loaders:
    """Batches of `size` examples, and the last `held` examples as validation data."""
    return list(zip(x[:-held].split(size), y[:-held].split(size), strict=True)), (x[-held:], y[-held:])
