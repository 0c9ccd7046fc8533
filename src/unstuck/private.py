"""What this package needs of PyTorch and PyTorch does not promise: all of it is here, tried with torch 2.13."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.nn.parameter import UninitializedParameter

# --- the backward pass ---


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


# --- the graph ---


def next_number() -> int:
    """The number that autograd will give to the next node of this thread: they count up."""
    return torch.autograd._get_sequence_nr()


def number(node: Node) -> int:
    """The number of a node; that of a leaf is larger than any other."""
    return node._sequence_nr()


def shape(node: Node, output: int) -> tuple[int, ...] | None:
    """The shape of one output of the function that a node stands for; None where it is not known."""
    outputs = node._input_metadata  # what comes in on the way back has gone out on the way forward
    return tuple(outputs[output].shape) if output < len(outputs) else None


def saved(node: Node, name: str) -> Any:
    """What a function has kept of its arguments, by name, if it is no tensor; None where it keeps nothing such."""
    return None if hasattr(node, f"_raw_saved_{name}") else getattr(node, f"_saved_{name}", None)


def saved_axes(node: Node, name: str, ndim: int) -> list[int] | None:
    """The axes that a function has kept, counted from the front of `ndim`; None where there are none of that name."""
    kept = saved(node, name)
    if kept is None:
        return None
    kept = kept if isinstance(kept, tuple) else (kept,)
    return [(axis - 2**64 if axis >= 2**63 else axis) % ndim for axis in kept]  # -1 is kept as an unsigned number


def base(tensor: Tensor) -> Tensor | None:
    """The tensor that `tensor` is a view of; None if it is no view."""
    return tensor._base


# --- where no ordinary forward is under way ---


def transform() -> str:
    """What replaces tensors by others for now, whose values must not be kept; "" if nothing does."""
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return "a transform of torch.func"
    if torch.jit.is_tracing():
        return "torch.jit.trace"
    return "a mode of fake tensors" if torch._guards.active_fake_mode() is not None else ""


def plain_tensors() -> AbstractContextManager:
    """Within it a tensor class of the user's own is not told what is done with it."""
    return torch._C.DisableTorchFunctionSubclass()


def is_lazy(model: nn.Module) -> bool:
    """Whether a parameter has no shape yet."""
    return any(isinstance(p, UninitializedParameter) for p in model.parameters())


def is_compiled(model: nn.Module) -> bool:
    """Whether `torch.compile` or `model.compile()` made it, or a part of it: compiled code calls no hooks."""
    return any(hasattr(module, "_orig_mod") or module._compiled_call_impl is not None for module in model.modules())


def parameter(module: nn.Module, name: str) -> Tensor | None:
    """A module's own parameter, whatever a parametrisation or pruning makes of its name; None if it is gone."""
    return module._parameters[name] if name in module._parameters else None  # noqa: SIM401 (a scripted module's)


def has_hooks(optimizer: torch.optim.Optimizer) -> bool:
    """Whether hooks of its own may change the gradients before a step of this optimiser."""
    return bool(optimizer._optimizer_step_pre_hooks)
