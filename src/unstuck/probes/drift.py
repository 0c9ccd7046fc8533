"""`norm_drift`: batch norm is two networks in one, and this is how far apart they are, layer by layer."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from unstuck import measure, parts
from unstuck.arguments import instance, whole
from unstuck.evaluate import in_mode

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class NormDrift(NamedTuple):
    """How far each batch's statistics are from the running ones, in one layer: see `norm_drift`."""

    mean: np.ndarray
    std: np.ndarray


@torch.no_grad()
def norm_drift(model: nn.Module, x: Tensor, *, batch_size: int = 100) -> dict[str, NormDrift]:
    """How far the statistics of batches of `x` are from the running ones: `{layer: (mean, std)}`, each (batches,).

    In training a channel has n = (z - m) / sqrt(v + eps) with the batch's mean m and variance v (with 1 / N), in
    evaluation (z - M) / sqrt(V + eps) with the running ones: that is s n + d with

        d = (m - M) / sqrt(V + eps)          s = sqrt((v + eps) / (V + eps))

    `mean` is the root mean square of d over channels, `std` that of ln s; both are 0 where training and evaluation
    are the same. Of N independent normal values a channel, chance alone makes them 1 / sqrt(N) and 1 / sqrt(2 N).

    Args:
        model: run in training mode, dropout too, whatever mode its layers are in.
        x: (N, ...), on the model's device: training data, or what the model will be used on.
        batch_size: of training; `x` is cut in its order, and the last batch may be smaller.

    A layer is a batch norm module, under its name as in `trace`; what is called as a function is not seen, and what
    does not run is not there. Nothing is changed, also after an exception: every buffer, mode and hook is what it
    was, and so is the random state (the CPU's).

    Raises TypeError or ValueError, naming the argument: for a model in which no batch norm runs or one has no running
    statistics, and for a batch that has one value a channel, and so no variance.
    """
    instance("model", model, nn.Module, "a torch.nn.Module")
    instance("x", x, Tensor, "a torch tensor")
    batch_size = whole("batch_size", batch_size)
    if x.ndim == 0 or len(x) == 0:
        raise ValueError(f"x: expected at least one example, got shape {tuple(x.shape)}")
    norms = {name: module for name, module in model.named_modules() if isinstance(module, BATCH_NORMS)}
    running = {
        name: (module.running_mean, module.running_var)
        for name, module in norms.items()
        if module.running_mean is not None and module.running_var is not None
    }
    if untracked := [name for name in norms if name not in running]:
        raise ValueError(
            f"model: layers {untracked} keep no running statistics (track_running_stats=False), and use those of the "
            "batch in evaluation too"
        )
    found: dict[str, list[tuple[Tensor, Tensor]]] = {}
    calls: dict[str, int] = {}

    def see(name: str, module: Any, args: tuple, kwargs: dict) -> None:
        given = next(parts.tensors((args, kwargs)), None)
        z = None if given is None or given.ndim < 2 else parts.measurable(given)
        if z is None:
            return  # the layer will say what is wrong
        if z.numel() == z.shape[1]:
            raise ValueError(
                f"batch_size: layer {name!r} gets one value a channel, which has no variance, from the last of"
                f" {len(x)} examples in batches of {batch_size}"
            )
        var, mean = torch.var_mean(z, dim=[axis for axis in range(z.ndim) if axis != 1], correction=0)
        old_mean, old_var = running[name]
        drift = measure.mean_drift(mean, old_mean, old_var, module.eps), measure.std_drift(var, old_var, module.eps)
        found.setdefault(parts.call_name(name, calls), []).append(drift)

    handles = [
        module.register_forward_pre_hook(partial(see, name), with_kwargs=True) for name, module in norms.items()
    ]
    try:
        with in_mode(model, training=True), torch.random.fork_rng(devices=[]):
            for batch in x.split(batch_size):
                calls.clear()
                # what the layers write to is not the model's
                buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
                functional_call(model, buffers, (batch.clone(),))
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise ValueError(f"model: {type(model).__name__} has no batch norm module that ran")
    columns = {layer: zip(*rows, strict=True) for layer, rows in found.items()}
    return {layer: NormDrift(*(torch.stack(own).cpu().numpy() for own in both)) for layer, both in columns.items()}
