"""Temporary."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from unstuck import measure, parts
from unstuck.arguments import instance, whole
from unstuck.models import in_mode


def trace(model, x):
    a = {}
    h = x
    for n, m in model.named_children():
        h = m(h)
        a[n] = h.detach()
    return a


@torch.no_grad()
def dead_units(
    model: nn.Module, x: Tensor, *, batch_size: int = 1000, layers: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Which units fire on no example of `x` at all: `{layer: bool array (H,)}`, True where dead.

    A unit fires if its output after the activation is not zero on some example; for a convolution a unit is a
    channel.

    Args:
        model: run in evaluation mode; every module's mode is restored.
        x: (N, ...), all the data to be judged on, on the model's device.
        batch_size: examples at a time; the result does not depend on it.
        layers: as for `unstuck.probes.watch`, with the same meaning of layer and unit.

    Raises ValueError where there is nothing to judge: no activation module, or no example.
    """
    instance("model", model, nn.Module, "a torch.nn.Module")
    instance("x", x, Tensor, "a tensor")
    whole("batch_size", batch_size)
    if x.ndim == 0 or len(x) == 0:
        raise ValueError(f"x: expected at least one example, got shape {tuple(x.shape)}")
    watched = {id(module): name for name, module in parts.layers(model, layers).items()}
    undecided = set(watched) if layers is None else set()
    silent: dict[str, Tensor] = {}
    calls: dict[str, int] = {}
    axis = parts.UnitAxis()

    def note(module: nn.Module, args, output) -> None:
        if id(module) in undecided:
            undecided.discard(id(module))
            if not parts.bends(module, args):
                del watched[id(module)]
        if id(module) in watched:
            layer, a = parts.call_name(watched[id(module)], calls), parts.measurable(output)
            if a is not None:
                zeros = measure.Signal(a, unit_axis=axis.of(a)).zeros == 1
                silent[layer] = silent[layer] & zeros if layer in silent else zeros
        axis.see(module)

    handles = [module.register_forward_hook(note) for module in model.modules()]
    try:
        with in_mode(model, training=False):
            for batch in x.split(batch_size):
                calls.clear()
                model(batch)
    finally:
        for handle in handles:
            handle.remove()
    if not silent:
        raise ValueError(f"model: {type(model).__name__} has no activation module that ran; name some layers")
    return {layer: zeros.cpu().numpy() for layer, zeros in silent.items()}
