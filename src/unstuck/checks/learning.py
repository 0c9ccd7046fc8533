"""What can be learned: ten examples by heart, the labels from the inputs, the task by a network of this size."""

from __future__ import annotations

import math

import torch
from torch import nn

from unstuck.checks.batches import Batch, cloned, part_of, related
from unstuck.checks.behaviour import Loss, loss_of, unjudged
from unstuck.checks.first_pass import FirstPass
from unstuck.checks.program import Program, without_dropout
from unstuck.checks.report import Finding, found, judged, missing
from unstuck.checks.task import replaced, tensors_in
from unstuck.checks.training import Trial, within
from unstuck.claims import number

TINY = 10
RATES = (3e-3, 3e-2, 3e-4)
LEFT = 0.5
"""What may be left of the loss at chance after hundreds of steps on ten examples; healthy networks leave less than a
tenth."""

ENOUGH = 100
"""Steps after which ten examples that are not learned are a finding."""

RISEN, APART, GAP = 1.5, 0.3, 0.25
"""Validation loss above that of training, as a multiple of what it was at its lowest, and as a share of the whole
fall of the training loss; training accuracy above that of validation. Every network that goes through few examples
again and again gets some way there. Differences alone count: the negative logarithm of a density may be below 0."""


def train(
    program: Program, batch: Batch, lr: float, steps: int, stop: float = -math.inf
) -> tuple[nn.Module, list[float]]:
    """A copy trained by Adam on one batch, without dropout, until the loss is below `stop` or not finite."""
    model, losses = without_dropout(program.bare()), list[float]()
    learning = [p for p in model.parameters() if p.requires_grad]
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


def overfit(program: Program, n: int, steps: int, goal: float) -> tuple[float, int, float]:
    """The lowest loss on `n` examples, the steps that it took, and the learning rate, the first of `RATES` to reach
    the goal."""
    batch = part_of(program.batches[0], slice(n))
    best = (math.inf, 0, RATES[0])
    for lr in RATES:
        _, losses = train(program, batch, lr, steps, goal)
        finite = [value for value in losses if math.isfinite(value)]
        if finite and min(finite) < best[0]:
            best = (min(finite), finite.index(min(finite)) + 1, lr)
        if best[0] < goal:
            break
    return best


def judge_overfit(program: Program, loss: Loss | None, seen: FirstPass, steps: int) -> list[Finding]:
    slug = "cannot_overfit"
    if any(p.dtype in (torch.float16, torch.bfloat16) for p in program.model.parameters()):
        return [found(slug, "inconclusive", "Adam needs more than half precision")]
    if related(program.batches[0]):
        return [found(slug, "inconclusive", "an input relates the examples of a batch to each other")]
    if program.task.kind == "unknown" and loss is None:
        return [unjudged(program, slug)]
    chance, least = _ends(program.at(part_of(program.batches[0], slice(TINY))))
    if not math.isfinite(chance) or chance <= least:
        return [found(slug, "inconclusive", "the loss of knowing nothing is not known")]
    made = max(10, min(2 * steps, 2 * within(program, seen, TINY) // len(RATES)))
    lowest, taken, lr = overfit(program, TINY, made, least + 0.1 * (chance - least))
    if lowest > least + LEFT * (chance - least) and made < min(ENOUGH, program.steps):
        return [found(slug, "inconclusive", f"a step is so expensive that only {made} were made at each rate")]
    text = f"{TINY} examples: loss {number(lowest)} after {taken} steps of Adam at {lr:g}, {number(chance)} is"
    text += f" that of chance{f', {number(least)} the least' if least else ''}; at most half of it may be left"
    bad = lowest > least + LEFT * (chance - least)
    if bad and _has_a_floor(program):
        return [found(slug, "inconclusive", f"{text}, if no other output had a part in the loss, as one here has")]
    return [judged(slug, bad, text)]


def _has_a_floor(program: Program) -> bool:
    """Whether the loss depends on more than the output that is compared with the labels, as with a penalty on a code:
    then its least value is not known."""
    output, y, others = program.task.output, program.y, program.task.output
    for place, tensor in tensors_in(output):
        if place != program.task.place:
            others = replaced(others, place, 1.5 * tensor + 0.1)
    if program.given_loss is None or others is output:
        return False
    with torch.no_grad():
        here, there = (float(program.loss(cloned(out), y).float().mean()) for out in (output, others))
    return here != there


def _ends(program: Program) -> tuple[float, float]:
    """The loss of a network that knows nothing, and of one that knows all."""
    loss, task, y = loss_of(program), program.task, program.y
    if loss is not None:
        return loss.chance, loss.least
    if program.given_loss is not None:
        return math.nan, 0.0
    out = task.pick(task.output)
    of_numbers = task.kind == "numbers" and y.numel() == out.numel()
    return float(task.loss(y.float().mean(0).expand_as(y).reshape(out.shape) if of_numbers else 0 * out, y)), 0.0


def overfitting(program: Program, own: Trial) -> list[Finding]:
    slug = "overfitting"
    if not program.validation:
        return [missing(slug, "validation")]
    if not program.whole:
        return [missing(slug, "all batches of the training data", "training on one again and again always overfits")]
    curve = [value for value in own.validation if math.isfinite(value)]
    if len(curve) < 3:
        return [found(slug, "inconclusive", "the trial gave no validation loss")]
    lowest, last, trained = min(curve), curve[-1], own.end
    text = f"validation loss {number(lowest)} at best, {number(last)} at the end; training loss {number(own.before)}"
    text += f" at first, {number(trained)} at the end"
    fall = own.start - trained
    learned = fall > 0.5 * abs(own.start) and fall > 3 * own.noise
    bad = learned and last - trained > max(RISEN * (lowest - trained), APART * fall)
    if bad and program.task.kind in ("classes", "binary"):
        pairs = program.validation[0], program.batches[0]
        there, here = (
            program.task.accuracy(program.measured(own.model, pair, training=False)[1], pair[1]) for pair in pairs
        )
        text += f"; accuracy {number(there)} there, {number(here)} in training"
        bad = here - there > GAP
    text += f"; at the end validation is {number(last - trained)} above training, at best {number(lowest - trained)}:"
    text += f" more than {RISEN:g} times that and {100 * APART:.0f} % of the fall is no noise"
    return [judged(slug, bad, text)]
