"""What a patient is made of: a whole small program, and the table's row that builds it sick or repaired."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

Batch = tuple[Tensor, Tensor]
LossFn = Callable[[Tensor, Tensor], Tensor]
Step = Callable[[nn.Module, Optimizer, Batch], Tensor]


@dataclass(frozen=True, repr=False, eq=False)
class Program:
    """What a user has at hand: everything that `unstuck.checks.diagnose` takes.

    `batch` is `(x, y)` or a list of such pairs, which training goes through again and again; `validation` is a pair.
    `train_step(model, optimizer, batch) -> loss` is the user's own and keeps nothing between two calls.
    """

    model: nn.Module
    batch: Batch | list[Batch]
    validation: Batch
    loss_fn: LossFn
    optimizer: Optimizer
    train_step: Step

    def __repr__(self) -> str:  # the parts would tell a reader who treats it blind what is wrong
        examples = sum(len(x) for x, _ in self.batches)
        return f"Program({type(self.model).__name__}, {examples} examples, {type(self.optimizer).__name__})"

    @property
    def batches(self) -> list[Batch]:
        """The training data as a list of pairs, whatever form `batch` has."""
        return self.batch if isinstance(self.batch, list) else [self.batch]


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


def descend(loss_fn: LossFn) -> Step:
    """The training step as it ought to be."""

    def train_step(model: nn.Module, optimizer: Optimizer, batch: Batch) -> Tensor:
        x, y = batch
        model.train()
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return train_step


def program(
    model: nn.Module,
    data: tuple[Batch | list[Batch], Batch],
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
    loss_fn: LossFn = nn.functional.cross_entropy,
    train_step: Step | None = None,
) -> Program:
    """A Program on data of `loaders`, with the ordinary step where no other is given."""
    batch, validation = data
    return Program(model, batch, validation, loss_fn, optimizer(model.parameters()), train_step or descend(loss_fn))
