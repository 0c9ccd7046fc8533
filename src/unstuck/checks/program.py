"""The program under examination: a copy of the model with its optimiser, its batches, its loss and its step.

Everything runs on copies. What a step or a loss of the user's own reaches besides (it may close over the very model)
is put back by `untouched`.
"""

from __future__ import annotations

import copy
import math
import random
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from unstuck import parts
from unstuck.arguments import instance, short
from unstuck.checks.task import Task

MOST_BATCHES = 50
ENOUGH = 32
"""Examples in which a difference between them is seen."""
Batch = tuple[Any, Any]


def batches_of(name: str, given: Any) -> list[Batch]:
    """`(x, y)`, or the first of an iterable of such pairs, as a list of pairs.

    Raises TypeError or ValueError, naming the argument, for anything else.
    """
    expected = "(x, y) with torch tensors, or an iterable of such pairs"
    if is_pair(given):
        return [tuple(given)]
    if isinstance(given, Tensor | str | bytes | Mapping | nn.Module) or not isinstance(given, Iterable):
        raise TypeError(f"{name}: expected {expected}, got {short(given)}")
    found = list(islice(given, MOST_BATCHES))
    if not found:
        raise ValueError(f"{name}: expected {expected}, got nothing")
    for pair in found:
        if not is_pair(pair):
            raise TypeError(f"{name}: expected {expected}, got {short(pair)} among them")
    return [tuple(pair) for pair in found]


def is_pair(value: Any) -> bool:
    """Whether it is one batch: a list of two batches is none."""
    if (
        not isinstance(value, tuple | list)
        or len(value) != 2
        or any(next(parts.tensors(v), None) is None for v in value)
    ):
        return False
    return isinstance(value, tuple) or not all(isinstance(v, tuple | list) for v in value)


def cloned(value: Any) -> Any:
    """The same structure with copies of its tensors: a model may work in place."""
    if isinstance(value, Tensor):
        return value.detach().clone().requires_grad_(value.requires_grad)
    if isinstance(value, Mapping):
        fresh = copy.copy(value)
        for key, part in value.items():
            fresh[key] = cloned(part)  # type: ignore[index]
        return fresh
    if isinstance(value, tuple | list):
        made = [cloned(part) for part in value]
        return type(value)(*made) if hasattr(value, "_fields") else type(value)(made)
    return value


def on_device(value: Any, device: torch.device | None) -> Any:
    """The same structure with its tensors on a device."""
    if device is None:
        return value
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {key: on_device(part, device) for key, part in value.items()}
    return type(value)(on_device(part, device) for part in value) if isinstance(value, tuple | list) else value


def copied(model: nn.Module, optimizer: Optimizer | None) -> tuple[nn.Module, Optimizer | None]:
    """A copy of both, in which the optimiser holds the copy's parameters.

    What modules have computed and kept (pruning, weight norm) may lie on a graph, which is not copied. Raises
    ValueError.
    """
    own = [a for m in model.modules() for a in (*vars(m).values(), *m._buffers.values()) if isinstance(a, Tensor)]
    memo: dict[int, Any] = {id(a): a.detach().clone() for a in own if not a.is_leaf}
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


class Program:
    """What is examined. Nothing of it is changed by a check: each takes a `fresh()` pair."""

    def __init__(
        self,
        model: nn.Module,
        batches: list[Batch],
        *,
        validation: list[Batch] | None = None,
        loss_fn: Callable | None = None,
        optimizer: Optimizer | None = None,
        train_step: Callable | None = None,
        steps: int = 100,
        seed: int = 0,
        device: torch.device | None = None,
        whole: bool = True,
    ) -> None:
        self.pair = copied(model, optimizer)
        if device is not None:
            self.pair[0].to(device)
        self.batches = [(on_device(x, device), on_device(y, device)) for x, y in batches]
        self.validation = [(on_device(x, device), on_device(y, device)) for x, y in validation or ()]
        self.given_loss, self.train_step, self.steps, self.seed = loss_fn, train_step, steps, seed
        self.chance = math.inf  # the loss of knowing nothing, once it is known
        self.whole = whole  # whether the batches are all the training data
        if isinstance(loss_fn, nn.Module):
            self.given_loss = copied(loss_fn, None)[0]

    @property
    def model(self) -> nn.Module:
        """To be looked at, and not to be run."""
        return self.pair[0]

    @property
    def optimizer(self) -> Optimizer | None:
        """To be looked at."""
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
        x, y = self.batches[0]
        if not isinstance(x, Tensor) or not isinstance(y, Tensor) or not y.ndim or len(x) != len(y):
            return x, y
        chosen, count = [], 0
        for pair in self.batches:
            fits = (
                isinstance(pair[0], Tensor) and pair[0].shape[1:] == x.shape[1:] and pair[1].shape[1:] == y.shape[1:]
            )
            if count >= ENOUGH or not fits:
                break
            chosen.append(pair)
            count += len(pair[0])
        return torch.cat([a for a, _ in chosen]), torch.cat([b for _, b in chosen])

    def seeded(self, extra: int = 0) -> None:
        """Start all random numbers again."""
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
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * scale
            group.update({name: value for name, value in settings.items() if name in group})
        for p in model.parameters():
            p.grad = None
        return model, optimizer

    def at(self, batch: Batch, model: nn.Module | None = None) -> Program:
        """The same program with one batch, and perhaps with another model in its place."""
        one = Program.__new__(Program)
        one.__dict__.update(self.__dict__, batches=[batch])
        for kept in ("task", "sample"):
            one.__dict__.pop(kept, None)
        if model is not None:
            one.pair = (model, None)
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
        """What is to be learned, from outputs and labels."""
        self.seeded()
        with torch.no_grad():
            return Task.of(self.output(self.bare(), self.x), self.y)

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
            loss = self.train_step(model, optimizer, (x, y))
        else:
            loss = self.plain_step(model, optimizer, (x, y))
        value = loss.detach().float().mean().item() if isinstance(loss, Tensor) else loss
        return float(value) if isinstance(value, int | float | np.number) else float("nan")

    def plain_step(self, model: nn.Module, optimizer: Optimizer, batch: Batch) -> Tensor:
        """Forward, loss, backward, update."""
        optimizer.zero_grad()
        loss = self.loss(self.output(model, batch[0]), batch[1])
        loss = loss if loss.ndim == 0 else loss.mean()
        if loss.requires_grad:
            loss.backward()
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
