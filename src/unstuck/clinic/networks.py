"""What the clinic's networks are made of, besides the layers of PyTorch and the book's own networks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Apply(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Added(nn.Sequential):
    """Layers whose result is added to what came in."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class Chain(nn.Sequential):
    """Layers, of which `called` picks those that are called."""

    called = slice(None)

    def forward(self, x: Tensor) -> Tensor:
        for layer in list(self)[self.called]:
            x = layer(x)
        return x


class Recurrent(nn.Module):
    """A GRU over sequences (N, T, 1), and a linear layer on its last state: (N, K)."""

    def __init__(self, classes: int, units: int = 24, batch_first: bool = True) -> None:
        super().__init__()
        self.gru = nn.GRU(1, units, batch_first=batch_first)
        self.head = nn.Linear(units, classes)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.gru(x)
        return self.head(states[:, -1])


class Pooled(nn.Module):
    """Sequences (N, T, 1), padded with zeros: the features of each step, weighted by attention. (N, K)."""

    def __init__(self, classes: int, masked: float) -> None:
        super().__init__()
        self.features = nn.Conv1d(1, 24, kernel_size=7, padding=3)
        self.score, self.head = nn.Linear(24, 1), nn.Linear(24, classes)
        self.masked = masked

    def forward(self, x: Tensor) -> Tensor:
        features = torch.relu(self.features(x.mT)).mT  # (N, T, 24)
        weights = self.score(features).masked_fill(x == 0, self.masked).softmax(dim=1)
        return self.head((weights * features).sum(1))
