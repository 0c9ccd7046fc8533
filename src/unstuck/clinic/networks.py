"""Networks that several of the clinic's programs use."""

from __future__ import annotations

from torch import Tensor, nn


class Recurrent(nn.Module):
    """A GRU over a sequence (N, T, D), and a linear layer on its last state: (N, K)."""

    def __init__(self, features: int, units: int, classes: int, batch_first: bool = True) -> None:
        super().__init__()
        self.gru = nn.GRU(features, units, batch_first=batch_first)
        self.head = nn.Linear(units, classes)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.gru(x)
        return self.head(states[:, -1])
