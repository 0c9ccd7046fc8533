"""The single trials that `diagnose` is made of, each usable alone: `first_loss`, `overfit_tiny`, `rate_range`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer

from unstuck import private
from unstuck.arguments import function, instance, real, whole
from unstuck.checks.behaviour import loss_of
from unstuck.checks.learning import RATES, first_examples, overfit
from unstuck.checks.program import Program, batches_of, untouched
from unstuck.checks.training import LEARNED
from unstuck.claims import number


def _program(model: Any, batch: Any, loss_fn: Any, optimizer: Any = None, seed: int = 0) -> Program:
    instance("model", model, nn.Module, "a torch.nn.Module")
    if private.is_lazy(model):
        raise ValueError("model: expected initialised parameters, got lazy ones; run one batch through it first")
    if loss_fn is not None:
        function("loss_fn", loss_fn, "output, y", made=True)
    if optimizer is not None:
        instance("optimizer", optimizer, Optimizer, "a torch optimizer")
    program = Program(model, batches_of("batch", batch), loss_fn=loss_fn, optimizer=optimizer, seed=seed)
    try:
        _ = program.task
    except Exception as error:
        raise ValueError(
            f"model, batch: the model fails on the batch with {type(error).__name__}: {error}"
        ) from error
    return program


@dataclass(frozen=True)
class FirstLoss:
    """The loss before training.

    Attributes:
        measured: on the first batch, in training mode.
        expected: of outputs that know nothing: ln K for K classes and cross-entropy, the variance of the targets for
        the
            squared error. NaN where it is not known.
        classes: K; 1 where there are none.
        added: what the loss adds that does not depend on outputs: a penalty on weights, 0 where there is none.
    """

    measured: float
    expected: float
    classes: int
    added: float

    def __str__(self) -> str:
        name = (
            f"ln {self.classes} = " if self.classes > 1 and abs(self.expected - math.log(self.classes)) < 1e-3 else ""
        )
        text = f"first loss {number(self.measured)}; outputs that know nothing have {name}{number(self.expected)}"
        return f"{text}, and {number(self.added)} is added to it" if self.added > 1e-6 else text


def first_loss(model: nn.Module, batch: Any, loss_fn: Callable | None = None) -> FirstLoss:
    """The loss of an untrained model beside that of knowing nothing.

    Of an added penalty the loss at outputs that are sure and right is left. The model is not changed. Raises
    TypeError or ValueError, naming the argument.
    """
    instance("model", model, nn.Module, "a torch.nn.Module")
    with untouched(model, None):
        program = _program(model, batch, loss_fn)
        task = program.task
        given = program.given_loss
        program.given_loss = given or (lambda output, y: task.loss(task.pick(output), y))
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
    instance("model", model, nn.Module, "a torch.nn.Module")
    with untouched(model, None):
        program = _program(model, batch, loss_fn, seed=seed)
        part = first_examples(program.batches[0], n)
        before, _ = program.measured(program.bare(), part)
        goal = 0.1 * abs(before)
        lowest, taken, lr, _ = overfit(program, n, steps, RATES, goal)
        count = min(n, len(program.y)) if hasattr(program.y, "__len__") else n
        return Overfit(count, before, lowest, taken, lr, bool(lowest <= goal))


@dataclass(frozen=True)
class RateRange:
    """Learning rates, the loss after a step at each, and the one that is suggested: NaN where none is any good."""

    rates: list[float]
    losses: list[float]
    suggestion: float
    reason: str

    def __str__(self) -> str:
        return f"suggested learning rate {number(self.suggestion, 2)}: {self.reason}"


def rate_range(
    model: nn.Module,
    batch: Any,
    *,
    loss_fn: Callable | None = None,
    optimizer: Optimizer | None = None,
    lowest: float = 1e-6,
    highest: float = 10.0,
    steps: int = 100,
    seed: int = 0,
) -> RateRange:
    """A range test: one step at each learning rate, from the lowest up (Smith 2017, "Cyclical learning rates").

    It ends at the first loss that is not finite, or four times the lowest so far. Suggested is the rate at which
    the smoothed loss falls fastest. Where it is lowest would be too high: with one step at each rate it still falls
    where a constant rate diverges.

    Args:
        optimizer: None takes Adam.
        lowest, highest: of the learning rates; `steps` of them, in equal ratios.

    Raises TypeError or ValueError, naming the argument.
    """
    lowest, highest = real("lowest", lowest, above=0), real("highest", highest, above=0)
    if not lowest < highest:
        raise ValueError(f"lowest, highest: expected lowest to be the smaller, got {lowest} and {highest}")
    steps, seed = whole("steps", steps, least=10), whole("seed", seed, least=0, most=2**32 - 1)
    instance("model", model, nn.Module, "a torch.nn.Module")
    with untouched(model, optimizer):
        program = _program(model, batch, loss_fn, optimizer, seed)
        copy, optim = program.fresh()
        rates: list[float] = []
        losses: list[float] = []
        program.seeded()
        first, _ = program.measured(copy, program.batches[0])
        for i in range(steps):
            rate = lowest * (highest / lowest) ** (i / (steps - 1))
            for group in optim.param_groups:
                group["lr"] = rate
            pair = program.batches[i % len(program.batches)]
            program.step(copy, optim, pair)
            value, _ = program.measured(copy, pair)
            rates.append(rate)
            losses.append(value)
            best = min([first, *losses]) if math.isfinite(value) else -math.inf
            if not math.isfinite(value) or value > 4 * abs(best) + abs(first):
                break
        return _suggest(rates, losses, first)


def _suggest(rates: list[float], losses: list[float], first: float) -> RateRange:
    finite = [value for value in losses if math.isfinite(value)]
    if not finite or not math.isfinite(first):
        return RateRange(rates, losses, math.nan, "no step left a finite loss; see find_nan")
    smooth, kept = [], finite[0]
    for value in finite:
        kept = 0.8 * kept + 0.2 * value
        smooth.append(kept)
    lowest = min(range(len(smooth)), key=lambda i: smooth[i])
    falls = [smooth[i - 1] - smooth[i] for i in range(1, lowest + 1)]
    at = 1 + max(range(len(falls)), key=lambda i: falls[i]) if falls else 0
    end = "" if len(finite) == len(losses) else f", and is not finite at {number(rates[len(finite)], 2)}"
    text = f"there the loss, averaged over some steps, falls fastest; it is {number(first)} at first, and lowest,"
    text += f" {number(smooth[lowest])}, at {number(rates[lowest], 2)}{end}"
    if first - smooth[lowest] < 0.1 * LEARNED * abs(first):
        return RateRange(
            rates, losses, math.nan, f"no rate lowers the loss of {number(first)}; something else is wrong"
        )
    return RateRange(rates, losses, rates[at], text)
