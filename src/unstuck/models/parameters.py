"""How large a network is."""

from __future__ import annotations

from torch import nn

from unstuck.arguments import instance


def count_parameters(model: nn.Module) -> int:
    """How many numbers the model learns; frozen ones are not counted. A TypeError for what is no module."""
    instance("model", model, nn.Module, "a torch.nn.Module")
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
