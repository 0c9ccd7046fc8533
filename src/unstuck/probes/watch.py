"""`watch`: fills a Record while any `nn.Module` trains.

Nothing is waited for or copied to the host while the model trains: every step leaves a few small vectors on
the model's device, and they are read when the watch ends.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from torch import nn

from unstuck import private
from unstuck.arguments import instance, names, whole
from unstuck.probes.watcher import Watcher
from unstuck.record import Record, of_scope

DEFAULT = of_scope("activation", "parameter", "gradient", "update")
"""The quantities that a watch measures unless told otherwise: all that do not need a loss."""


def watch(
    model: nn.Module,
    *,
    every: int = 1,
    quantities: Sequence[str] = DEFAULT,
    window: int = 10,
    layers: Sequence[str] | None = None,
    units: bool = False,
) -> AbstractContextManager[Record]:
    """Record what happens inside `model` while the `with` block trains it; the rows are there at its end.

    A step is a forward of `model` in training mode with gradients enabled; each `every`-th is observed, the
    first being step 0. Recomputation inside a backward pass (gradient checkpointing) is no step.

    Args:
        model: any module; it needs no optimiser, and nothing in it is changed.
        every: observe each `every`-th step.
        quantities: names from `DEFAULT`.
        window: how many observed steps a unit must stay silent to be `dead`.
        layers: names (as in `model.named_modules()`) of the modules whose outputs are measured. None takes the
            activation modules: those of PyTorch, and your own modules without children, parameters and buffers
            that bend each value by itself. Name a linear layer for its pre-activations, a block that ends
            in a functional activation for what hooks cannot see otherwise.
        units: also keep numbers of each unit, (H,) each: `record.arrays[step, layer, "zero_fraction"]`, its share of
            zeros, "unit_std", its standard deviation, and "unit_range", its largest minus its smallest value, all
            over the examples and positions of the step. For a channel of a convolution or of what a gate lets
            through, name the module in `layers`.

    Activations: one row a layer and step; a second use in one forward is `name#2`. Of a tuple the first tensor
    is measured; an empty, integer or complex output leaves no row. A hook of yours that changes an output comes after
    the measurement. The units are the channels of what a convolution or a batch norm made, and the features (the last
    axis) of what a linear layer made, wherever they have been moved since; where neither is known, axis 1 of four and
    more axes, otherwise the last.

    Parameters: a module's row is its `weight`, or what that is computed from (pruning, parametrisations); where none
    is called so (an LSTM), all its parameters together. `grad_norm` is what `.grad` holds when a backward through the
    model's output has ended: before clipping, accumulated where you accumulate, scaled where a GradScaler scales,
    averaged where DistributedDataParallel averages. `update_ratio` is that of the first update after the observed
    forward; where none comes before the next observed forward or the end there is no row, nor where the weight is all
    zero. A module that you replace is followed under its name.

    A watch never costs the run: what cannot be measured is left out and listed. `record.meta` holds `every`,
    `window`, `kinds` (layer to class name); `unseen`, activations called as functions in the first observed step,
    `{"layer", "function", "calls"}` each; `no_update`, the observed steps without an update; and `failed`,
    `{"where", "error"}` each, the first error of its kind. Where nothing was recorded, a warning at the end says why.

    A forward that raises leaves no row (its number is used up); a backward that raises leaves no gradient. A copy of
    the model that is made in the block is not watched, and carries nothing of the watch.

    Raises ValueError for arguments that do not fit (compiled code calls no hooks: watch and train the module that was
    given to `torch.compile`), TypeError for those of the wrong kind.
    """
    instance("model", model, nn.Module, "a torch.nn.Module")
    quantities = names("quantities", quantities, DEFAULT)
    every, window = whole("every", every), whole("window", window)
    instance("units", units, bool, "True or False")
    if private.is_lazy(model):
        raise ValueError("model: expected initialised parameters, got lazy ones; run one batch through it first")
    if private.is_compiled(model):
        raise ValueError(
            "model: compiled code calls no hooks; watch and train the module that was given to torch.compile"
        )
    return _watching(Watcher(model, every, quantities, window, layers, units))


@contextmanager
def _watching(watcher: Watcher) -> Iterator[Record]:
    record = Record(meta=watcher.meta)
    watcher.attempt("the beginning of the watch", watcher.attach)
    try:
        yield record
    finally:
        watcher.attempt("the end of the watch", watcher.detach)
        watcher.attempt("reading out", watcher.fill, record)
    reason = "" if len(record) else watcher.why_nothing()
    if reason:
        warnings.warn(f"watch: nothing was recorded of {type(watcher.model).__name__}; {reason}", stacklevel=3)
