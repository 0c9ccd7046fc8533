"""What a model does on data, without training it: its accuracy, the output of each of its layers, its dead units."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from unstuck import measure, parts
from unstuck.arguments import instance, whole

INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


@contextmanager
def in_mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    """Within it `model` is in training or evaluation mode; after it every module is in the mode it was in.

    Raises TypeError for what is no module, or no yes or no.
    """
    _module(model)
    instance("training", training, bool, "True or False")
    before = [(module, module.training) for module in model.modules()]
    try:
        model.train(training)
        yield
    finally:
        for module, was_training in before:
            module.training = was_training


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor, batch_size: int = 1000) -> float:
    """The share, from 0 to 1, of the examples that `model` assigns to their label, in evaluation mode.

    Args:
        model: from x to logits (N, K); the class is the one with the largest.
        x: (N, ...), at least one example, on the model's device.
        y: (N,) integer labels from 0 to K - 1.
        batch_size: examples at a time; the result does not depend on it.

    Raises TypeError or ValueError, naming the argument, for whatever is something else: NumPy arrays, labels (N, 1),
    which would be compared with all examples, a model whose output is no logits.
    """
    _module(model)
    instance("x", x, Tensor, "a torch tensor")
    instance("y", y, Tensor, "a torch tensor")
    if y.dtype not in INTEGERS:
        raise TypeError(f"y: expected integer labels, got {y.dtype}")
    if y.ndim != 1:
        raise ValueError(f"y: expected labels (N,), got shape {tuple(y.shape)}")
    if x.ndim == 0 or len(x) != len(y) or len(y) == 0:
        raise ValueError(
            "x, y: expected as many labels as examples and at least one,"
            f" got x of shape {tuple(x.shape)} and y of shape {tuple(y.shape)}"
        )
    batch_size = whole("batch_size", batch_size)
    with in_mode(model, training=False):
        logits = torch.cat([_logits(model, batch) for batch in x.split(batch_size)])  # (N, K)
    low, high, k = int(y.min()), int(y.max()), logits.shape[1]
    if low < 0 or high >= k:
        raise ValueError(f"y: expected labels 0 to {k - 1} (the model has {k} logits), got {low} to {high}")
    return float((logits.argmax(dim=1) == y).sum()) / len(y)


@torch.no_grad()
def trace(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """The output of every leaf of `model` on `x`, in the order in which they run: `{layer: tensor}`.

    A leaf is a module without children; its name is the one in `model.named_modules()` ("" where the model is one
    itself), and `name#2`, `name#3`, ... where it is used again. The outputs are as they leave the leaf, even if
    a later module overwrites them in place: copies without gradients, of a tuple or a dict its first tensor. A leaf
    that is not run, or returns no tensor, is not there; functions that the model calls itself are no leaves.

    The model is run once, in evaluation mode. Nothing is changed: also after an exception every module has its own
    mode back and the hooks are gone. Raises TypeError for a model that is no module and an `x` that is no tensor.
    """
    _module(model)
    instance("x", x, Tensor, "a torch tensor")
    outputs: dict[str, Tensor] = {}
    calls: dict[str, int] = {}

    def keep(name: str, module: nn.Module, args: tuple, output: Any) -> None:
        layer, tensor = parts.call_name(name, calls), next(parts.tensors(output), None)
        if tensor is not None:
            outputs[layer] = tensor.detach().clone()

    handles = []
    try:
        for name, module in model.named_modules():
            if next(module.children(), None) is None:
                handles.append(module.register_forward_hook(partial(keep, name)))
        with in_mode(model, training=False):
            model(x.clone())  # its first module may work in place
    finally:
        for handle in handles:
            handle.remove()
    return outputs


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
    _module(model)
    instance("x", x, Tensor, "a torch tensor")
    batch_size = whole("batch_size", batch_size)
    if x.ndim == 0 or len(x) == 0:
        raise ValueError(f"x: expected at least one example, got shape {tuple(x.shape)}")
    measured = parts.Measured(chosen=layers is not None)
    measured.look(parts.layers(model, layers))
    silent: dict[str, Tensor] = {}

    def enter(module: nn.Module, args: tuple) -> None:
        measured.enter(module)

    def leave(module: nn.Module, args: tuple, output: Any) -> None:
        layer, a = measured.leave(module, args, output), parts.measurable(output)
        if layer is not None and a is not None:
            zeros = measure.Signal(a, unit_axis=measured.axis.of(layer, a, output)).zeros == 1
            silent[layer] = silent[layer] & zeros if layer in silent else zeros

    handles = []
    try:
        for module in model.modules():
            handles.append(module.register_forward_pre_hook(enter))
            handles.append(module.register_forward_hook(leave))
        with in_mode(model, training=False):
            batches = x.split(batch_size)
            try:  # the graph tells which modules are activations, and where their units lie; it need not hold tensors
                with torch.enable_grad(), saved_tensors_hooks(lambda tensor: None, lambda nothing: nothing):
                    model(batches[0])
            except Exception:  # a model that computes gradients itself, or is not made for them
                silent.clear()
                batches = (batches[0], *batches)  # once more
            for batch in batches[1:]:
                measured.begin()
                model(batch)
            for batch in batches if measured.late else ():  # calls before it was known what they are
                measured.begin()
                model(batch)
    finally:
        for handle in handles:
            handle.remove()
    if not silent:
        raise ValueError(f"model: {type(model).__name__} has no activation module that ran; name some layers")
    return {layer: zeros.cpu().numpy() for layer, zeros in silent.items()}


def _module(model: Any) -> None:
    instance("model", model, nn.Module, "a torch.nn.Module")


def _logits(model: nn.Module, x: Tensor) -> Tensor:
    logits = instance("model", model(x), Tensor, "to return a tensor of logits (N, K)")
    if logits.ndim != 2 or len(logits) != len(x):
        raise ValueError(f"model: expected to return logits ({len(x)}, K), got shape {tuple(logits.shape)}")
    return logits
