"""What the probes need of PyTorch and PyTorch does not promise: all of it is here, tried with torch 2.13."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


def backward_pass() -> int:
    """The number of the backward pass that runs now in this thread, -1 outside of one."""
    return torch._C._current_graph_task_id()


def when_backward_ends(callback: Callable[[], None]) -> None:
    """Call it once, when the backward pass under way has ended and every gradient is final.

    Callbacks are called in the order in which they came. DistributedDataParallel queues its own, which averages the
    gradients, late in the pass: one that is queued from within a callback comes behind it.
    """
    engine = torch.autograd.Variable._execution_engine
    engine.queue_callback(lambda: engine.queue_callback(callback))


def is_alive(handle: torch.utils.hooks.RemovableHandle) -> bool:
    """Whether what a hook was registered on still exists."""
    return handle.hooks_dict_ref() is not None


def is_transformed() -> bool:
    """Whether a transform of torch.func (vmap, grad) is under way: its tensors must not be kept."""
    return torch._C._functorch.peek_interpreter_stack() is not None


def is_compiled(model: nn.Module) -> bool:
    """Whether `torch.compile` or `model.compile()` made it, or a part of it: compiled code calls no hooks."""
    return any(hasattr(module, "_orig_mod") or module._compiled_call_impl is not None for module in model.modules())


def parameter(module: nn.Module, name: str) -> torch.Tensor:
    """A module's own parameter, without what parametrisation or pruning makes of its name; KeyError without it."""
    return module._parameters[name]
