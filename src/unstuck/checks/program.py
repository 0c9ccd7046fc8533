"""The program under examination: a copy of the model with its optimiser, its batches, its loss and its step.

Everything runs on copies. What a step or a loss of the user's own reaches besides (it may close over the very model)
is put back by `untouched` and `Surroundings`.
"""

from __future__ import annotations

import copy
import math
import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from unstuck import parts, private
from unstuck.arguments import function, instance
from unstuck.checks.batches import Batch, batches_of, cloned, first_of, is_pair, mapped, pooled
from unstuck.checks.surroundings import Surroundings, Version
from unstuck.checks.task import Task

ENOUGH = 32
"""Examples in which a difference between them is seen."""
DROPOUTS = nn.modules.dropout._DropoutNd
RATES = ("lr", "initial_lr", "max_lr", "min_lr", "swa_lr")
"""Settings of an optimiser that are learning rates: the one that counts, and those that schedulers keep there."""


def copied(model: nn.Module, optimizer: Optimizer | None) -> tuple[nn.Module, Optimizer | None]:
    """A copy of both, in which the optimiser holds the copy's parameters.

    What modules have computed and kept (pruning, a hidden state) may lie on a graph, which is not copied. Raises
    ValueError.
    """
    own = [a for m in model.modules() for a in vars(m).values() if isinstance(a, Tensor | tuple | list | dict)]
    memo: dict[int, Any] = {id(a): a.detach().clone() for a in parts.tensors(own) if not a.is_leaf}
    try:
        fresh = copy.deepcopy(model, memo)
    except Exception as error:
        raise ValueError(f"model: expected a module that can be copied ({error})") from error
    if optimizer is None:
        return fresh, None
    try:
        twin = copy.deepcopy(optimizer, memo)
        for name, value in vars(optimizer).items():  # what an optimiser keeps besides its state, as LBFGS does
            if name not in vars(twin) and name != "step":  # a scheduler replaces `step` on the object
                setattr(twin, name, copy.deepcopy(value, memo))
    except Exception as error:
        raise ValueError(f"optimizer: expected one that can be copied ({error})") from error
    return fresh, twin


def finite(model: nn.Module) -> bool:
    return all(bool(p.isfinite().all()) for p in model.parameters())


def without_dropout(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, DROPOUTS):
            module.p = 0.0
    return model


@contextmanager
def untouched(model: nn.Module, optimizer: Optimizer | None) -> Iterator[None]:
    """After it, weights, gradients, modes, the optimiser and every random state are bit by bit what they were."""
    tensors = [*model.parameters(), *model.buffers()]
    groups = [dict(group) for group in optimizer.param_groups] if optimizer is not None else []
    if optimizer is not None:
        tensors += [p for group in groups for p in group["params"]]
        tensors += [value for kept in optimizer.state.values() for value in parts.tensors(kept)]
    kept = [(t, t.detach().clone(), t.requires_grad) for t in tensors]
    grads = [(t, t.grad, None if t.grad is None else t.grad.detach().clone()) for t in tensors if t.is_leaf]
    modes = [(module, module.training) for module in model.modules()]
    states = {p: dict(value) for p, value in optimizer.state.items()} if optimizer is not None else {}
    drawn, numpy_drawn, dtype = random.getstate(), np.random.get_state(), torch.get_default_dtype()  # noqa: NPY002
    try:
        with torch.random.fork_rng(range(torch.cuda.device_count())), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with torch.inference_mode(False), torch.enable_grad():
                yield
    finally:
        random.setstate(drawn)
        np.random.set_state(numpy_drawn)  # noqa: NPY002
        torch.set_default_dtype(dtype)
        with torch.no_grad():
            for tensor, before, required in kept:
                if not _same(tensor, before):
                    tensor.copy_(before)
                if tensor.is_leaf and tensor.requires_grad != required:
                    tensor.requires_grad_(required)
            for tensor, grad, old in grads:
                if tensor.grad is not grad:
                    tensor.grad = grad
                if grad is not None and old is not None and not _same(grad, old):
                    grad.copy_(old)
        for module, training in modes:
            module.training = training
        if optimizer is not None:
            for group, settings in zip(optimizer.param_groups, groups, strict=True):
                group.clear()
                group.update(settings)
            optimizer.state.clear()
            for p, value in states.items():
                optimizer.state[p] = value


def _same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are the same bit by bit, or NaN at the same places."""
    return a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())


@contextmanager
def examined(
    model: nn.Module, batch: Any, *, optimizer: Optimizer | None = None, runs: bool = True, **given: Any
) -> Iterator[Program]:
    """The program of these arguments, as for `Program`, of which nothing is changed.

    Raises TypeError or ValueError, naming the argument; also where the model does not run, although it ought to.
    """
    instance("model", model, nn.Module, "a torch.nn.Module")
    if private.is_lazy(model):
        raise ValueError("model: expected initialised parameters, got lazy ones; run one batch through it first")
    if optimizer is not None:
        instance("optimizer", optimizer, Optimizer, "a torch optimizer")
    with ExitStack() as kept:
        kept.enter_context(untouched(model, optimizer))
        around = Surroundings([given.get("train_step"), given.get("loss_fn")], model, optimizer)
        for other in around.others:
            whole, own = (nn.Module(), other) if isinstance(other, Optimizer) else (other, None)
            kept.enter_context(untouched(whole, own))
        kept.callback(around.restore)
        program = Program(model, batch, optimizer=optimizer, around=around, **given)
        if runs:
            _ = program.task
        yield program


class Program:
    """What is examined. Nothing of it is changed by a check: each takes a `fresh()` pair."""

    def __init__(
        self,
        model: nn.Module,
        batch: Any,
        *,
        validation: Any = None,
        loss_fn: Callable | None = None,
        optimizer: Optimizer | None = None,
        train_step: Callable | None = None,
        steps: int = 100,
        seed: int = 0,
        device: torch.device | None = None,
        around: Surroundings,
    ) -> None:
        if loss_fn is not None:
            function("loss_fn", loss_fn, "output, y", made=True)
        if train_step is not None:
            function("train_step", train_step, "model, optimizer, batch")
        self.whole = not is_pair(batch)  # whether the batches are all the training data
        self.batches = batches_of("batch", batch)
        self.validation = [] if validation is None else batches_of("validation", validation)
        self.pair = copied(model, optimizer)
        if device is not None:
            self.pair[0].to(device)
            self.batches, self.validation = mapped(lambda t: t.to(device), (self.batches, self.validation))
        self.given_loss, self.train_step, self.steps, self.seed = loss_fn, train_step, steps, seed
        self.around, self.versions = around, WeakKeyDictionary[Optimizer, Version]()
        self.chance = math.inf  # the loss of knowing nothing, once it is known
        if isinstance(loss_fn, nn.Module):
            self.given_loss = copied(loss_fn, None)[0]

    @property
    def model(self) -> nn.Module:
        """To be looked at, and not to be run."""
        return self.pair[0]

    @property
    def optimizer(self) -> Optimizer | None:
        return self.pair[1]

    @property
    def x(self) -> Any:
        return self.batches[0][0]

    @property
    def y(self) -> Any:
        return self.batches[0][1]

    @cached_property
    def sample(self) -> Batch:
        """The first batch, and where it is small the next ones with it: a single example differs from none."""
        return first_of(self.batches, ENOUGH)[0]

    @cached_property
    def inputs(self) -> Tensor | None:
        """Those of all batches in one tensor, where they fit."""
        return pooled([x for x, _ in self.batches])

    @cached_property
    def labels(self) -> Tensor | None:
        return pooled([y for _, y in self.batches])

    def seeded(self, extra: int = 0) -> None:
        torch.manual_seed(self.seed + extra)
        np.random.seed((self.seed + extra) % 2**32)  # noqa: NPY002
        random.seed(self.seed + extra)

    def fresh(self, **settings: float) -> tuple[nn.Module, Optimizer]:
        """A copy to be run, and its optimiser: the user's, or Adam where none was given.

        `scale` multiplies every learning rate; other settings replace those of all groups.
        """
        model, optimizer = copied(*self.pair)
        if self.train_step is None and not model.training:  # handed over after an evaluation
            model.train()
        if optimizer is None:
            trained = [p for p in model.parameters() if p.requires_grad]
            optimizer = torch.optim.Adam(trained or [torch.zeros(1, requires_grad=True)], lr=1e-3)
        scale = settings.pop("scale", 1.0)
        self.versions[optimizer] = self.around.version(scale)
        for group in optimizer.param_groups:
            group.update({name: group[name] * scale for name in RATES if name in group})
            group.update({name: value for name, value in settings.items() if name in group})
        for p in model.parameters():
            p.grad = None
        return model, optimizer

    def at(self, batch: Batch, model: nn.Module | None = None) -> Program:
        """The same program with one batch, and perhaps with another model in its place."""
        one = self.like(*(self.pair if model is None else (model, None)))
        one.batches = [batch]
        for kept in ("task", "sample", "inputs", "labels"):
            one.__dict__.pop(kept, None)
        return one

    def like(self, model: nn.Module, optimizer: Optimizer | None) -> Program:
        """The same program with another model and optimiser in their place."""
        one = Program.__new__(Program)
        one.__dict__.update(self.__dict__, pair=(model, optimizer))
        return one

    def bare(self) -> nn.Module:
        """A copy of the model to be run, in training mode."""
        model = copied(self.model, None)[0]
        if not model.training:
            model.train()
        for p in model.parameters():
            p.grad = None
        return model

    def output(self, model: nn.Module, x: Any) -> Any:
        """What the model makes of `x`: several inputs come as a tuple, named ones as a mapping."""
        x = cloned(x)
        if isinstance(x, Mapping):
            return model(**x)
        return model(*x) if isinstance(x, tuple | list) else model(x)

    @cached_property
    def task(self) -> Task:
        """What is to be learned, from outputs and labels. Raises ValueError where the model fails on the batch."""
        self.seeded()
        try:
            with torch.no_grad():
                output = self.output(self.bare(), self.x)
        except Exception as error:
            text = f"model, batch: the model fails on the batch with {type(error).__name__}: {error}{self._types()}"
            raise ValueError(text) from error
        task = Task.of(output, self.y)
        return Task("unknown", task.place, output=output) if self._positions(task) else task

    def _types(self) -> str:
        """What is to be said of inputs and weights that are numbers of different kinds; "" where they are not."""
        known = {p.dtype for p in self.model.parameters() if p.is_floating_point()}
        given = {t.dtype for t in parts.tensors(self.x) if t.is_floating_point()}
        if len(known) != 1 or given <= known:
            return ""
        has, wants = (str(min(kinds, key=str)).removeprefix("torch.") for kinds in (given - known, known))
        cure = "x.float()" if wants == "float32" else f"x.to(torch.{wants})"
        return f"; the inputs are {has}, the weights {wants}: hand over {cure}"

    def _positions(self, task: Task) -> bool:
        """Whether labels that look like classes are examples' places in the batch: a loss on classes does not mind in
        which order the examples come."""
        y, n = self.y, len(self.y) if isinstance(self.y, Tensor) and self.y.ndim else 0
        if self.given_loss is None or task.kind != "classes" or n < 2:
            return False
        given = task.output, y
        turned = mapped(lambda t: t.roll(1, 0) if t.ndim and len(t) == n else t, given)
        try:
            with torch.no_grad():
                here, again, there = (float(self.loss(*pair).float().mean()) for pair in (given, given, turned))
        except Exception:  # labels that the loss refuses
            return False
        return here == again and abs(there - here) > 1e-2 * abs(here)

    def loss(self, output: Any, y: Any) -> Tensor:
        """The user's loss, or the one that goes with the task."""
        if self.given_loss is None:
            return self.task.loss(self.task.pick(output), y)
        loss = self.given_loss(output, y)
        loss = instance("loss_fn", loss, Tensor, "to return a tensor")
        return loss

    def step(self, model: nn.Module, optimizer: Optimizer, batch: Batch) -> float:
        """One training step, the user's or a plain one; the loss, NaN where the user's step returns none."""
        x, y = cloned(batch[0]), cloned(batch[1])
        if self.train_step is not None:
            with self.around.at(self.versions.setdefault(optimizer, {}), model, optimizer):
                loss = self.train_step(model, optimizer, (x, y))
        else:
            loss = self.plain_step(model, optimizer, (x, y))
        value = loss.detach().float().mean().item() if isinstance(loss, Tensor) else loss
        return float(value) if isinstance(value, int | float | np.number) else float("nan")

    def plain_step(self, model: nn.Module, optimizer: Optimizer, batch: Batch) -> Tensor:
        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = self.loss(self.output(model, batch[0]), batch[1])
            loss = loss if loss.ndim == 0 else loss.mean()
            if loss.requires_grad:
                loss.backward()
            return loss

        if isinstance(optimizer, torch.optim.LBFGS):  # it asks for the loss several times in each step
            return torch.as_tensor(optimizer.step(closure))
        loss = closure()
        if loss.requires_grad:
            optimizer.step()
        return loss

    def measured(self, model: nn.Module, batch: Batch, *, training: bool = True) -> tuple[float, Any]:
        """Loss and outputs on a batch, with the same random numbers at every call; a mode of the model's own is
        kept."""
        modes = [(module, module.training) for module in model.modules()]
        buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
        drawn = torch.get_rng_state()
        try:
            if not training:
                model.eval()
            elif not model.training:
                model.train()
            self.seeded()
            with torch.no_grad():
                output = self.output(model, batch[0])
                return self.loss(output, batch[1]).float().mean().item(), output
        finally:
            torch.set_rng_state(drawn)
            for module, mode in modes:
                module.training = mode
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)
