"""What can be learned: ten examples by heart, the labels from the inputs, the task by a network of this size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unstuck import parts
from unstuck.checks.behaviour import Loss, loss_of
from unstuck.checks.program import Batch, Program
from unstuck.checks.report import Finding, found, missing
from unstuck.checks.training import Trial
from unstuck.claims import number

TINY = 10
RATES = (3e-3, 3e-2, 3e-4)
LEFT = 0.5
"""What may be left of the loss at chance after hundreds of steps on ten examples; healthy networks leave less than a
tenth."""

RISEN, GAP = 1.5, 0.25
"""Validation loss over its lowest, and training accuracy above that of validation. Every network that goes through
few examples again and again gets some way there."""
NARROW, WELL = 4, 0.8
"""A layer this narrow passes so few numbers on that it is compared with a wider network."""


def first_examples(batch: Batch, n: int) -> Batch:
    """The first `n` examples, where inputs and labels count them along their first axis."""
    tensors = [t for t in parts.tensors(batch) if t.ndim]
    if len({len(t) for t in tensors}) != 1:
        return batch
    return _cut(batch[0], slice(n)), _cut(batch[1], slice(n))


def _cut(value: Any, which: slice | Tensor) -> Any:
    if isinstance(value, Tensor):
        return value[which] if value.ndim else value
    if isinstance(value, dict):
        return {key: _cut(part, which) for key, part in value.items()}
    return type(value)(_cut(part, which) for part in value) if isinstance(value, tuple | list) else value


def train(
    program: Program, batch: Batch, lr: float, steps: int, stop: float = -math.inf
) -> tuple[nn.Module, list[float]]:
    """A copy trained by Adam on one batch, without dropout, until the loss is below `stop` or not finite."""
    model = program.bare()
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    learning = [p for p in model.parameters() if p.requires_grad]
    losses: list[float] = []
    if not learning:
        return model, losses
    optimizer = torch.optim.Adam(learning, lr)
    program.seeded()
    for _ in range(steps):
        loss = program.plain_step(model, optimizer, batch)
        losses.append(loss.detach().float().item())
        if not math.isfinite(losses[-1]) or losses[-1] < stop:
            break
    return model, losses


def overfit(
    program: Program, n: int, steps: int, rates: Sequence[float], goal: float
) -> tuple[float, int, float, float]:
    """The lowest loss on `n` examples, the steps that it took, the learning rate, and the loss at the beginning."""
    batch = first_examples(program.batches[0], n)
    best = (math.inf, 0, rates[0], math.nan)
    for lr in rates:
        _, losses = train(program, batch, lr, steps, goal)
        finite = [value for value in losses if math.isfinite(value)]
        if finite and min(finite) < best[0]:
            best = (min(finite), finite.index(min(finite)) + 1, lr, losses[0])
        if best[0] < goal:
            break
    return best


def judge_overfit(program: Program, loss: Loss | None, steps: int) -> list[Finding]:
    """Whether ten examples can be learned by heart."""
    slug = "cannot_overfit"
    y = next(parts.tensors(program.y), None)
    if y is None:
        return [missing(slug, "labels as tensors")]
    if any(p.dtype in (torch.float16, torch.bfloat16) for p in program.model.parameters()):
        return [found(slug, "inconclusive", "Adam needs more than half precision")]
    sub = first_examples(program.batches[0], TINY)
    if program.task.kind == "unknown" and loss is None:
        return [missing(slug, "loss_fn")]
    chance = _chance(program, sub)
    if not math.isfinite(chance) or chance <= 0:
        return [found(slug, "inconclusive", "the loss of knowing nothing is not known")]
    lowest, taken, lr, _ = overfit(program, TINY, 2 * steps, RATES, 0.1 * chance)
    text = f"{TINY} examples: loss {number(lowest)} after {taken} steps of Adam at {lr:g}, {number(chance)} is"
    text += " that of chance"
    return [found(slug, "failure" if lowest > LEFT * chance else "ok", f"{text}; at most half of it may be left")]


def _chance(program: Program, batch: Batch) -> float:
    """The loss of a network that knows nothing, on a part of the examples."""
    one = program.at(batch)
    loss = loss_of(one)
    if loss is None and one.given_loss is None:
        task = one.task
        out = task.pick(task.output)
        y = batch[1]
        flat = (
            y.float().mean(0).expand_as(y).reshape(out.shape)
            if task.kind == "numbers" and y.numel() == out.numel()
            else out * 0
        )
        return float(task.loss(flat, y))
    return math.nan if loss is None else loss.chance


# --- imbalance ---


# --- labels that have nothing to do with the inputs ---


# --- capacity and overfitting ---


def overfitting(program: Program, own: Trial) -> list[Finding]:
    """The validation loss has passed its lowest value while the training loss went on falling."""
    slug = "overfitting"
    if not program.validation:
        return [missing(slug, "validation")]
    if not program.whole:
        return [missing(slug, "all batches of the training data", "training on one again and again always overfits")]
    curve = [value for value in own.validation if math.isfinite(value)]
    if len(curve) < 3:
        return [found(slug, "inconclusive", "the trial gave no validation loss")]
    lowest, last, trained = min(curve), curve[-1], own.end
    text = f"validation loss {number(lowest)} at best, {number(last)} at the end; training loss {number(trained)}"
    bad = last > RISEN * lowest and trained < 0.3 * last and own.gone() > 0.5
    x, y = program.validation[0]
    if bad and program.task.kind in ("classes", "binary"):
        _, output = program.measured(own.model, (x, y), training=False)
        there = program.task.accuracy(output, y)
        here = program.task.accuracy(program.measured(own.model, program.batches[0], training=False)[1], program.y)
        text += f"; accuracy {number(there)} there, {number(here)} in training"
        bad = here - there > GAP
    return [found(slug, "failure" if bad else "ok", f"{text}; a rise to {RISEN:g} times the lowest is no noise")]
