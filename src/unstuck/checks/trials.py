"""Two single trials that `diagnose` is made of, each usable alone: `first_loss` and `overfit_tiny`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from unstuck.arguments import whole
from unstuck.checks.batches import examples, part_of
from unstuck.checks.behaviour import loss_of
from unstuck.checks.learning import overfit
from unstuck.checks.program import examined
from unstuck.claims import number


@dataclass(frozen=True)
class FirstLoss:
    """The loss before training.

    Attributes:
        measured: on the first batch, in training mode.
        expected: of outputs that know nothing: ln K for K classes and cross-entropy, the variance of the targets for
            the squared error. NaN where it is not known.
        classes: K; 1 where there are none.
        added: what the loss adds that does not depend on outputs: a penalty on weights, 0 where there is none.
    """

    measured: float
    expected: float
    classes: int
    added: float

    def __str__(self) -> str:
        known = self.classes > 1 and abs(self.expected - math.log(self.classes)) < 1e-3
        name = f"ln {self.classes} = " if known else ""
        text = f"first loss {number(self.measured)}; outputs that know nothing have {name}{number(self.expected)}"
        return f"{text}, and {number(self.added)} is added to it" if self.added > 1e-6 else text


def first_loss(model: nn.Module, batch: Any, loss_fn: Callable | None = None) -> FirstLoss:
    """The loss of an untrained model beside that of knowing nothing.

    Of an added penalty the loss at outputs that are sure and right is left. The model is not changed. Raises
    TypeError or ValueError, naming the argument.
    """
    with examined(model, batch, loss_fn=loss_fn) as program:
        task = program.task
        program.given_loss = program.given_loss or (lambda output, y: task.loss(task.pick(output), y))
        loss = loss_of(program)
        measured, _ = program.measured(program.bare(), program.batches[0])
        if loss is None:
            return FirstLoss(measured, math.nan, task.classes, 0.0)
        right = task.right(program.y) if loss.kind in ("softmax", "sigmoid", "distance") else None
        least = 0.0 if right is None else max(0.0, loss.at(right))
        return FirstLoss(measured, loss.chance - least, task.classes, least)


@dataclass(frozen=True)
class Overfit:
    """What became of a few examples: the lowest `loss`, after `steps` at learning rate `lr`; the first loss; the
    verdict."""

    examples: int
    first: float
    loss: float
    steps: int
    lr: float
    learned: bool

    def __str__(self) -> str:
        verdict = "can be learned by heart" if self.learned else "could not be learned by heart"
        numbers = f"loss {number(self.first)} to {number(self.loss)} in {self.steps} steps of Adam at {self.lr:g}"
        return f"{self.examples} examples {verdict}: {numbers}"


def overfit_tiny(
    model: nn.Module, batch: Any, n: int = 10, *, loss_fn: Callable | None = None, steps: int = 300, seed: int = 0
) -> Overfit:
    """Whether the model, with its loss, can learn the first `n` examples by heart.

    It is trained on a copy with Adam, without dropout, at up to three learning rates; learned means that at most a
    tenth of the first loss is left. Not to manage it shows that something is broken; to manage it shows less, since
    some broken programs do. Raises TypeError or ValueError, naming the argument.
    """
    n, steps, seed = whole("n", n), whole("steps", steps), whole("seed", seed, least=0, most=2**32 - 1)
    with examined(model, batch, loss_fn=loss_fn, seed=seed) as program:
        part = part_of(program.batches[0], slice(n))
        before, _ = program.measured(program.bare(), part)
        goal = 0.1 * abs(before)
        lowest, taken, lr = overfit(program, n, steps, goal)
        return Overfit(min(n, examples(program.batches[0])), before, lowest, taken, lr, bool(lowest <= goal))
