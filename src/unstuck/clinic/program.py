"""What a patient is made of: a whole small program, and the table's row that builds it sick or repaired."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

Batch = tuple[Tensor, Tensor]
LossFn = Callable[[Tensor, Tensor], Tensor]
Loaders = tuple[list[Batch], Batch]
"""Batches to train on, and a pair for validation."""
Making = Callable[[Iterable[nn.Parameter]], Optimizer]
Step = Callable[[nn.Module, Optimizer, Batch], Tensor]


@dataclass(frozen=True, repr=False, eq=False)
class Program:
    """What a user has at hand: everything that `unstuck.checks.diagnose` takes.

    `batch` is a list of pairs (x, y), which training goes through again and again; `validation` is one such pair.
    `train_step(model, optimizer, batch) -> loss` is the user's own and keeps nothing between two calls.
    """

    model: nn.Module
    batch: list[Batch]
    validation: Batch
    loss_fn: LossFn
    optimizer: Optimizer
    train_step: Step

    def __repr__(self) -> str:  # the parts would tell a reader who treats it blind what is wrong
        examples = sum(len(x) for x, _ in self.batch)
        return f"Program({type(self.model).__name__}, {examples} examples, {type(self.optimizer).__name__})"


@dataclass(frozen=True, repr=False, eq=False)
class Patient:
    """A sick program and its repaired twin, with the fault's slug in `unstuck.checks.FAULTS` and what was done."""

    fault: str
    sick: Program
    repaired: Program
    note: str

    def __repr__(self) -> str:
        return f"Patient({self.sick!r})"


@dataclass(frozen=True)
class Case:
    """A row of the table: the fault, the set-up and the cure in words, and `build(sick, seed) -> Program`."""

    fault: str
    set_up: str
    cure: str
    build: Callable[[bool, int], Program]


def case(fault: str, set_up: str, cure: str) -> Callable[[Callable[[bool, int], Program]], Case]:
    """Makes a row of the table from a builder. Its name is that of the program, and says nothing of the fault."""
    return lambda build: Case(fault, set_up, cure, build)


def seeded(build: Callable[..., Program], *args: Any, seed: int) -> Program:
    """What a builder makes from this seed; the global random state is as it was afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(*args, seed)


def descend(
    loss_fn: LossFn,
    *,
    train: bool = True,
    zero_grad: str = "first",
    clip: float = math.inf,
    dtype: torch.dtype | None = None,
    scale: float = 1.0,
) -> Step:
    """A training step, as it ought to be unless told otherwise.

    Args:
        train: whether it calls `model.train()`.
        zero_grad: when it calls `optimizer.zero_grad()`: "first", "late" (after the backward pass) or "never".
        clip: the gradient's largest norm.
        dtype: of the forward pass, under autocast; None leaves it alone.
        scale: the loss is multiplied by it before the backward pass, and the gradients divided by it after.
    """

    def train_step(model: nn.Module, optimizer: Optimizer, batch: Batch) -> Tensor:
        x, y = batch
        if train:
            model.train()
        if zero_grad == "first":
            optimizer.zero_grad()
        with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
            loss = loss_fn(model(x), y)
        (loss * scale).backward()
        if zero_grad == "late":
            optimizer.zero_grad()
        for parameter in model.parameters():
            if scale != 1 and parameter.grad is not None:
                parameter.grad /= scale
        if clip < math.inf:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        return loss.detach()

    return train_step


def adam(lr: float, **settings: Any) -> Making:
    """What makes Adam of parameters."""
    return partial(torch.optim.Adam, lr=lr, **settings)


def sgd(lr: float, **settings: Any) -> Making:
    """What makes gradient descent of parameters, with momentum where `settings` have it."""
    return partial(torch.optim.SGD, lr=lr, **settings)


def program(
    model: nn.Module, data: Loaders, optimizer: Making, loss_fn: LossFn = cross_entropy, **step: Any
) -> Program:
    """A Program on data of `loaders`, with the step that `descend` makes of the loss and of `step`."""
    return Program(model, *data, loss_fn, optimizer(model.parameters()), descend(loss_fn, **step))
