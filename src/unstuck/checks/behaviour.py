"""What a loss and a model's last layer do, told from how they behave and never from their names."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.graph import Node

from unstuck import graph
from unstuck.checks.batches import mapped
from unstuck.checks.program import Program
from unstuck.checks.report import Finding, found, missing
from unstuck.checks.task import Task

Kind = Literal["softmax", "sigmoid", "probabilities", "log-probabilities", "distance", "unknown"]
Ending = Literal["linear", "softmax", "log_softmax", "sigmoid", "tanh", "relu", "free"]

FAR = 40.0
"""Logits at which a sigmoid and a softmax have reached their ends in float32."""

PASSED = {
    *("View", "UnsafeView", "ReshapeAlias", "Squeeze", "Unsqueeze", "Transpose", "Permute", "T", "Select", "Slice"),
    *("Clone", "ToCopy", "Expand", "Alias", "AsStrided", "SqueezeDim"),
}
"""Nodes of autograd's graph that move values and do not change them."""

STRAIGHT = {
    *("Addmm", "Mm", "Bmm", "Baddbmm", "Linear", "MkldnnLinear", "Convolution", "MkldnnConvolution", "Addmv", "Mv"),
}
ENDS: dict[str, Ending] = {"Softmax": "softmax", "LogSoftmax": "log_softmax", "Sigmoid": "sigmoid"}
ENDS |= {"Tanh": "tanh", "Relu": "relu"}


class Loss:
    """The behaviour of a loss, tried on outputs of our own making: `value` of them and of labels; it may raise."""

    def __init__(self, value: Callable[[Tensor, Tensor], float], task: Task, y: Tensor) -> None:
        self.value, self.task, self.y = value, task, y
        out = task.pick(task.output)
        draw = torch.Generator().manual_seed(0)
        self.random = torch.randn(out.shape, generator=draw).to(out.device, out.dtype)
        self.error: Exception | None = None

    @cached_property
    def squashed(self) -> Tensor:
        """Outputs that no loss refuses: from 0 to 1, and of several classes with the sum 1."""
        several = self.random.ndim > 1 and self.random.shape[self.task.axis] > 1
        return self.random.softmax(self.task.axis) if several else self.random.sigmoid()

    def at(self, out: Tensor, y: Tensor | None = None) -> float:
        """The loss at an output; NaN where it refuses it."""
        try:
            return self.value(out, self.y if y is None else y)
        except Exception as error:
            self.error = error
            return math.nan

    @cached_property
    def kind(self) -> Kind:
        """What it does with an output before it compares it with the labels.

        A loss that applies a softmax does not change when a constant is added to all logits of an example. One that
        applies a sigmoid grows as fast as a wrong logit does, and costs nothing at a right one.
        """
        r, axis = self.random, self.task.axis
        here = self.at(r)
        several = r.ndim > 1 and r.shape[axis] > 1
        if math.isfinite(here) and several:
            shift = 3.0 * self.random.select(axis, 0).unsqueeze(axis)
            if _close(self.at(r + shift), here) and not _close(self.at(2 * r), here):
                return "softmax"
        if math.isfinite(here):
            ends = self.at(torch.full_like(r, FAR)) + self.at(torch.full_like(r, -FAR))
            half = self.at(torch.full_like(r, FAR / 2)) + self.at(torch.full_like(r, -FAR / 2))
            zero = self.at(torch.zeros_like(r))
            if zero > 0 and _close(ends, 2 * half, 1e-2) and _close(ends * math.log(2), zero * FAR, 1e-2):
                return "sigmoid"
            if several and zero == 0 and _close(self.at(2 * r), 2 * here) and here != 0:
                return "log-probabilities"
            as_numbers = self.task.kind == "binary"
            right = self.y.to(r.dtype).reshape(r.shape) if as_numbers else self.task.right(self.y, 1.0)
            # a best loss of NaN is below nothing
            if right is not None and abs(self.at(right)) < 1e-6 * abs(here):
                off = max(1.0, float((right - r).abs().mean()))  # as far as these outputs are
                if self.at(right + off) > 1e-3 * abs(here):
                    return "distance"
            if several and self.bounded is not None:
                return "softmax"
        inside = self.at(self.squashed)
        if math.isfinite(inside) and (not math.isfinite(here) or not math.isfinite(self.at(2 * r))):
            shares = several and (self.task.kind == "classes" or self.task.shares(self.y))
            # the likelihood of a count or a width takes logarithms too, of numbers that may be above 1
            return "probabilities" if shares or not math.isfinite(self.at(torch.full_like(r, 2.0))) else "unknown"
        return "unknown"

    @cached_property
    def bounded(self) -> float | None:
        """The loss at outputs that are as sure and right as can be, where a softmax or sigmoid before it bounds it.

        Cross-entropy of a softmax of a softmax goes from ln(1 + (K - 1) / e) to 1 above it, instead of from 0 to
        infinity; with sigmoids from mean(y) ln(1 + 1 / e) + mean(1 - y) ln 2 to the same with 1 - y for y at its
        ends.
        """
        right = self.task.right(self.y, FAR)
        if right is None or self.task.kind not in ("classes", "binary"):
            return None
        best, chance = self.at(right), self.at(torch.zeros_like(right))
        if self.task.kind == "classes":
            worst = self.at(right.roll(1, self.task.axis))
            floor = math.log1p((self.task.classes - 1) / math.e)
            # the differences do not depend on what is added to the loss, a penalty on weights
            if _close(worst - best, 1.0, 1e-3) and _close(chance - best, math.log(self.task.classes) - floor, 1e-2):
                return floor
            return None
        worst, share = self.at(-right), float((right > 0).float().mean())
        floor = share * math.log1p(1 / math.e) + (1 - share) * math.log(2)
        ceiling = share * math.log(2) + (1 - share) * math.log1p(math.e)
        return floor if _close(worst - best, ceiling - floor, 1e-3) and floor > 0 else None

    @cached_property
    def chance(self) -> float:
        """The loss of a network that knows nothing: equal logits, or the mean of the numbers."""
        if self.kind == "log-probabilities":
            return self.at(torch.full_like(self.random, -math.log(self.task.classes)))
        if self.kind == "probabilities":
            return self.at(torch.full_like(self.random, 1 / self.task.classes if self.task.classes > 1 else 0.5))
        numbers = self.task.kind == "numbers" and self.kind not in ("softmax", "sigmoid")
        if numbers and self.y.is_floating_point() and self.y.numel() == self.random.numel():
            y = self.y.to(self.random.dtype).reshape(self.random.shape)
            return self.at(y.mean(0, keepdim=True).expand_as(y))
        return self.at(torch.zeros_like(self.random))

    @cached_property
    def least(self) -> float:
        """The loss of outputs that meet the labels: 0, or of soft labels in a cross-entropy their entropy."""
        if self.task.kind != "numbers" or self.y.shape != self.random.shape:
            return 0.0
        y = self.y.to(self.random.dtype)
        if self.kind == "softmax" and self.task.shares(y):
            return max(0.0, self.at(y.clamp(min=1e-9).log()))
        if self.kind == "sigmoid" and bool(((y >= 0) & (y <= 1)).all()):
            return max(0.0, self.at(torch.logit(y, 1e-6)))
        return 0.0

    @cached_property
    def summed(self) -> bool | None:
        """Whether the loss of a batch repeated twice is twice as large, and its size is that of a sum."""
        if not isinstance(self.task.output, Tensor) or len(self.y) != len(self.random) or len(self.y) < 2:
            return None
        out, axis = self.random, self.task.axis
        if self.kind == "probabilities":
            out = out.softmax(axis) if out.ndim > 1 and out.shape[axis] > 1 else out.sigmoid()
        once, twice = self.at(out), self.at(torch.cat([out, out]), torch.cat([self.y, self.y]))
        if not (math.isfinite(once) and math.isfinite(twice)) or once == 0:
            return None
        if not _close(twice, 2 * once, 1e-3):
            return False
        if self.kind not in ("softmax", "sigmoid"):
            return True
        return self.chance / math.log(max(2, self.task.classes) if self.kind == "softmax" else 2) > 2


def _close(a: float, b: float, rel: float = 1e-4) -> bool:
    return math.isfinite(a) and math.isfinite(b) and abs(a - b) <= rel * max(abs(a), abs(b)) + 1e-7


def loss_of(program: Program) -> Loss | None:
    """The behaviour of the loss that is given, or of the one inside the training step; None where neither is."""
    task = program.task
    if not isinstance(program.y, Tensor) or not _has_tensor(task):
        return None
    if program.given_loss is not None:

        def value(out: Tensor, y: Tensor) -> float:
            with torch.no_grad():
                return program.loss(task.put(task.output, out), y.clone()).float().mean().item()

        return Loss(value, task, program.y)
    return None if program.train_step is None else step_loss(program)


def unjudged(program: Program, slug: str) -> Finding:
    """A finding that could not be judged because there is no loss of one output and one label to be looked at."""
    if program.given_loss is None:
        return missing(slug, "loss_fn")
    what = "outputs" if isinstance(program.y, Tensor) else "labels"
    return found(slug, "inconclusive", f"the loss takes several {what}: only one output and its label can be judged")


def _has_tensor(task: Task) -> bool:
    return isinstance(task.output, Tensor) or bool(task.place)


def step_loss(program: Program) -> Loss | None:
    """The loss inside the training step, which runs on a model whose outputs are replaced by ours; None where it does
    not call the model once and return a number, or where it fails."""
    task = program.task
    if not _has_tensor(task) or not isinstance(program.y, Tensor):
        return None
    model, optimizer = program.fresh(scale=0.0)
    given: list[Tensor] = []
    calls: list[int] = []

    def replace(module: Any, args: Any, output: Any) -> Any:
        calls.append(1)
        return task.put(output, given[-1].clone().requires_grad_())

    model.register_forward_hook(replace)

    def value(out: Tensor, y: Tensor) -> float:
        given[:], calls[:] = [out], []
        x = program.x if len(y) == len(program.y) else mapped(lambda t: torch.cat([t, t]), program.x)
        program.seeded()
        found = program.step(model, optimizer, (x, y))
        return found if len(calls) == 1 else math.nan

    loss = Loss(value, task, program.y)
    return loss if math.isfinite(loss.at(torch.sigmoid(loss.random))) else None


# --- the last layer ---


def ending(program: Program) -> Ending:
    """What the outputs went through at last: from autograd's graph, or from the range of the outputs of copies with
    other weights."""
    task, model = program.task, program.bare()
    program.seeded()
    with torch.enable_grad():
        out = task.pick(program.output(model, program.x))
    node: Node | None = out.grad_fn
    while node is not None and graph.kind(node) in PASSED:
        node = next((behind for behind, _ in node.next_functions if behind is not None), None)
    kind = "" if node is None else graph.kind(node)
    if kind in STRAIGHT:
        return "linear"
    found = ENDS.get(kind, "free")
    if node is not None and kind in ("Clamp", "ClampMin") and graph.activation(node) == "clamp":
        found = "relu"
    if found == "softmax" and not _sums_to_one(out, task):
        return "sigmoid" if out.ndim < 2 or out.shape[task.axis] > 1 else "softmax"
    if found != "free":
        return found
    return _by_range(program)


def _sums_to_one(out: Tensor, task: Task) -> bool:
    axis = task.axis if task.kind == "classes" else out.ndim - 1
    return bool((out.sum(axis) - 1).abs().max() < 1e-2)


@torch.no_grad()
def reached(program: Program) -> list[Tensor]:
    """Outputs of copies with other weights, of the size that they have, three times and ten times as large."""
    task, outputs = program.task, []
    for number, scale in enumerate((1.0, 3.0, -3.0, 10.0)):
        model = program.bare()
        program.seeded(number)
        for p in model.parameters():
            if p.is_floating_point():  # those of zeros are to be others, too
                least = 0.1 / math.sqrt(p[0].numel() if p.ndim > 1 else 1)
                noise = abs(scale) * torch.maximum(0.3 * p.std(correction=0).nan_to_num(0), p.new_tensor(least))
                p.mul_(scale).add_(noise * torch.randn_like(p))
        outputs.append(task.pick(program.output(model, program.x)).float())
    return outputs


def _by_range(program: Program) -> Ending:
    task, outputs = program.task, reached(program)
    joined = torch.cat([out.flatten() for out in outputs])
    if not torch.isfinite(joined).all() or joined.max() == joined.min():
        return "free"
    if task.classes > 1 and all(_sums_to_one(out, task) for out in outputs) and joined.min() >= 0:
        return "softmax"
    if task.classes > 1 and all(_sums_to_one(out.exp(), task) for out in outputs):
        return "log_softmax"
    low, high = float(joined.min()), float(joined.max())
    if low >= 0 and high <= 1 and low < 0.5 < high:  # less is some other number that is small
        return "sigmoid"
    if low >= -1 and high <= 1 and low < -0.5 and high > 0.5:
        return "tanh"
    return "relu" if low == 0 and float((joined == 0).float().mean()) > 0.02 else "free"
