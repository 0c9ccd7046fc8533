"""`find_nan`: where the first value that is not finite arises, and in which operation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from unstuck import graph, parts, private
from unstuck.checks.operations import Call, Operations
from unstuck.checks.program import Program, examined

FILLING = {
    *("fill", "fill_", "masked_fill", "masked_fill_", "full", "full_like", "new_full", "scalar_tensor", "where"),
    *("masked_scatter", "index_put_", "index_put", "index_fill_", "lift_fresh", "_to_copy", "copy_", "triu", "tril"),
}
"""Operations that put a constant in place: -inf as the mask of a softmax is no fault by itself."""
EMPTY = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "resize_"}

OVERFLOWS = "Its numbers are float16, of which the largest is 65,504"
FAULT_OF = {"forward": "nan_in_forward", "loss": "nan_in_loss", "backward": "nan_in_backward"}

Where = Literal["nowhere", "data", "weights", "forward", "loss", "backward"]


@dataclass(frozen=True)
class NonFinite:
    """Where the first value that is not finite arises.

    Attributes:
        where: "nowhere", or in the data, the weights, a module ("forward"), the loss, or the backward pass.
        layer: the path of the module, or the name of the parameter; "" where it is none.
        operation: PyTorch's name of it, "log"; of the backward pass autograd's, "SqrtBackward0".
        value: "NaN" or "infinite".
        detail: what came in.
        half: whether it is infinite in float16, whose largest number is 65,504.
    """

    where: Where
    layer: str = ""
    operation: str = ""
    value: str = ""
    detail: str = ""
    half: bool = False

    def __bool__(self) -> bool:
        return self.where != "nowhere"

    def __str__(self) -> str:
        if not self:
            return "All values are finite: data, weights, outputs, loss and gradients."
        place = f" of {self.layer}" if self.layer else ""
        said = {
            "data": f"The data hold values that are not finite{place}",
            "weights": f"The parameter {self.layer} holds values that are not finite",
            "forward": f"The first {self.value} value is made in the forward pass{place}, by {self.operation}",
            "loss": f"The first {self.value} value is made in the loss, by {self.operation}",
            "backward": f"The first {self.value} value is made in the backward pass{place}, by {self.operation}",
        }[self.where]
        return f"{said}{f' ({self.detail})' if self.detail else ''}."


def find_nan(model: nn.Module, batch: Any, loss_fn: Callable | None = None) -> NonFinite:
    """Where the first value arises that is NaN or infinite, if outputs, loss or gradients hold such.

    The origin is the operation that makes it of finite values. An infinite constant (a mask of -inf before a softmax)
    is none, and neither is an infinity that vanishes again; a row that is masked completely is found, at its softmax.

    Args:
        model: any module that can be copied; it is not changed.
        batch: `(x, y)`, or an iterable of such pairs, of which the first is taken that shows something.
        loss_fn: of (output, y); None takes the usual one of the task.

    Raises TypeError or ValueError, naming the argument.
    """
    with examined(model, batch, loss_fn=loss_fn) as program:
        for pair in program.batches:
            if result := locate(program.at(pair)):
                return result
    return NonFinite("nowhere")


def locate(program: Program) -> NonFinite:
    """The origin in the program's first batch."""
    for name, tensor in (("the inputs", program.x), ("the labels", program.y)):
        for part in parts.tensors(tensor):
            if part.is_floating_point() and not part.isfinite().all():
                return NonFinite("data", name, value=_kind(part))
    model = program.bare()
    masks = {name for name, b in model.named_buffers() if bool(((b == 0) | (b == -math.inf)).all())}
    for name, p in [*model.named_parameters(), *model.named_buffers()]:
        if p.is_floating_point() and not p.isfinite().all() and name not in masks:
            return NonFinite("weights", name, value=_kind(p))
    trail = Trail()
    watching = Operations(trail.see)
    program.seeded()
    with watching.watching(model):
        output = program.output(model, program.x)
        trail.in_loss = True
        outputs = [t for t in parts.tensors(output) if t.is_floating_point()]
        bad = next((t for t in outputs if not t.isfinite().all()), None)
        if bad is not None and bool(bad.isnan().any() or _harmful(bad)):
            return trail.origin(bad)
        try:
            loss = program.loss(output, program.y)
        except Exception as error:
            return NonFinite("nowhere", detail=f"the loss raises {error}")
        if not loss.isfinite().all():
            return trail.origin(loss)
    if not loss.requires_grad:
        return NonFinite("nowhere")
    return _backward(loss.sum() if loss.ndim else loss, watching)


def _harmful(output: Tensor) -> bool:
    """Whether infinities in an output are none of a mask's: -inf as a logit is one."""
    if output.ndim < 2 or bool((output == math.inf).any()):
        return True
    return bool((output == -math.inf).flatten(1).all(1).any())


def _kind(tensor: Tensor) -> str:
    return "NaN" if bool(tensor.isnan().any()) else "infinite"


@dataclass
class Step:
    """An operation with a result that is not finite, and the steps that made what was not finite among its
    arguments."""

    call: Call
    in_loss: bool
    has_nan: bool
    nan_given: bool
    behind: list[Step]
    constant: bool
    detail: str


class Trail:
    """Remembers which operation made what is not finite, to go back from the end to the beginning."""

    def __init__(self) -> None:
        self.made: dict[int, tuple[Tensor, Step]] = {}
        self.in_loss = False

    def see(self, call: Call) -> None:
        if call.name in EMPTY:
            return
        outputs = [t for t in parts.tensors(call.output) if t.is_floating_point()]
        bad = [t for t in outputs if t.layout == torch.strided and not t.isfinite().all()]
        if not bad:
            return
        given = [t for t in call.tensors() if t.is_floating_point()]
        behind = [self.made[id(t)][1] for t in given if id(t) in self.made]
        numbers = [a for a in (*call.args, *call.kwargs.values()) if isinstance(a, float)]
        constant = call.name in FILLING and (any(not math.isfinite(a) for a in numbers) or not behind)
        has_nan = any(bool(t.isnan().any()) for t in bad)
        before = [t for t in given if not any(t is out for out in outputs)]
        nan_given = any(bool(t.isnan().any()) for t in before) or any(step.has_nan for step in behind)
        sizes = [f"{float(t.min()):.3g} to {float(t.max()):.3g}" for t in before[:2] if t.numel()]
        detail = f"its arguments go from {' and '.join(sizes)}" if sizes else ""
        step = Step(call, self.in_loss, has_nan, nan_given, behind, constant and not has_nan, detail)
        for tensor in bad:
            self.made[id(tensor)] = (tensor, step)

    def origin(self, tensor: Tensor) -> NonFinite:
        """Back from a tensor that is not finite to the operation that made it of finite values."""
        if id(tensor) not in self.made:
            return NonFinite("forward", "", "an operation that could not be followed", _kind(tensor))
        step = self._first(self.made[id(tensor)][1])
        where: Where = "loss" if step.in_loss else "forward"
        half = any(t.dtype == torch.float16 for t in parts.tensors(step.call.output)) and not step.has_nan
        value = "NaN" if step.has_nan else "infinite"
        return NonFinite(where, step.call.path, step.call.name, value, step.detail, half)

    def _first(self, step: Step) -> Step:
        while True:
            behind = [b for b in step.behind if (b.has_nan if step.nan_given else not _from_mask(b))]
            if not behind:
                return step
            step = behind[0]


def _from_mask(step: Step) -> bool:
    return step.constant or (bool(step.behind) and not step.has_nan and all(_from_mask(b) for b in step.behind))


def _backward(loss: Tensor, watching: Operations) -> NonFinite:
    first: list[tuple[Node, str, bool]] = []
    handles = []

    def bad(values: Any) -> Tensor | None:
        return next((t for t in values if isinstance(t, Tensor) and not t.isfinite().all()), None)

    def look(node: Node, made: Any, given: Any) -> None:
        culprit = bad(made)
        if not first and culprit is not None and bad(given) is None:
            first.append((node, _kind(culprit), culprit.dtype == torch.float16))

    for node in graph.behind(loss):
        if graph.kind(node) != graph.LEAF:
            handles.append(node.register_hook(lambda made, given, node=node: look(node, made, given)))
    try:
        loss.backward()
    finally:
        for handle in handles:
            handle.remove()
    if not first:
        return NonFinite("nowhere")
    node, value, half = first[0]
    return NonFinite("backward", watching.module_of(private.number(node)) or "", node.name(), value, half=half)
