"""`Population`: stacked networks in training, from their first step to their runs. Axes: M networks, N examples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from unstuck import measure, parts
from unstuck.data import Split
from unstuck.ensemble.activations import Activations
from unstuck.ensemble.stacked import Stack
from unstuck.evaluate import in_mode
from unstuck.probes.log import Log
from unstuck.record import Run
from unstuck.train import MOMENTUM, TEST_QUANTITIES, batches, test_part, train_part

WINDOW = 10  # observed steps without firing that make a unit `dead`, as in `watch`
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8  # Adam's, as in PyTorch
MEANS = {"sgd": 0, "momentum": 1, "adam": 2}  # running means of the gradient that an optimiser keeps

Settings = Mapping[str, Any]
Members = Mapping[int, Settings]  # by their places in the grid
Trained = dict[int, Run]
Advance = Callable[[int], object]  # is told of n steps taken


@dataclass(frozen=True)
class Plan:
    """How the networks of a grid are made and trained; it can be sent to another process."""

    build: Callable[[dict], nn.Module]  # from a member's settings
    split: Split
    steps: int
    batch_size: int
    optimizer: str
    rates: list[float]  # what a learning rate is multiplied by in each step
    clip: float | None
    quantities: tuple[str, ...]
    every: int
    seed: int | None

    def order(self, settings: Settings) -> int:
        """The seed of the order in which a member sees the batches."""
        return settings["seed"] if self.seed is None else self.seed

    def batches(self, seed: int) -> Iterator[Tensor]:
        return batches(len(self.split.x_train), self.batch_size, self.steps, seed)

    def meta(self, stacked: bool | str) -> dict[str, Any]:
        return {"every": self.every, "window": WINDOW, "stacked": stacked}


class Population:
    """Stacked members, the runs of a grid by their places; `run` trains them into `runs`."""

    def __init__(self, plan: Plan, members: Trained, stacked: Stack, runs: Trained):
        self.plan, self.stacked, self.runs = plan, stacked, runs
        self.x, self.y = train_part(plan.split)
        self.members = list(members.items())  # those still training
        settings = [run.settings for run in members.values()]
        self.orders = {seed: plan.batches(seed) for seed in map(plan.order, settings)}
        self.lr = torch.tensor([own["lr"] for own in settings], dtype=self.x.dtype)
        self.parameters = [p for p in stacked.parameters() if p.requires_grad]
        self.means = [[torch.zeros_like(p) for p in self.parameters] for _ in range(MEANS[plan.optimizer])]
        self.log = Log(plan.quantities, WINDOW)
        # as in `watch`: an update of plain descent is known before it is made
        self.plain = plan.optimizer == "sgd" and set(self.log.update) == {measure.update_ratio}
        self.layers = parts.parameters(stacked.body)
        self.activations = Activations(stacked)

    def run(self, advance: Advance) -> None:
        """Train; also on an exception there are the runs so far."""
        total, per_epoch = len(self.members), math.ceil(len(self.x) / self.plan.batch_size)
        tested = [name for name in self.plan.quantities if name in TEST_QUANTITIES]
        try:
            self.stacked.train()
            for step in range(self.plan.steps):
                if self.members:
                    self.step(step)
                last = step + 1 == self.plan.steps
                if self.members and tested and (last or (step + 1) % per_epoch == 0):
                    self.test(step, tested)
                advance(total)
        finally:
            self.leave(torch.ones(len(self.members), dtype=torch.bool))

    def step(self, step: int) -> None:
        observed = step % self.plan.every == 0
        x, y = self.batch()  # (M, N, ...), (M, N)
        logits = self.observed_forward(step, x) if observed else self.stacked(x)  # (M, N, K)
        # the classes in axis 1, where PyTorch works on all examples at once
        loss = cross_entropy(logits.mT, y, reduction="none").mean(dim=1)  # (M,)
        if observed:
            right = (logits.argmax(dim=2) == y).float().mean(dim=1)
            self.log.network(step, {"loss": loss.detach(), "accuracy": right})
        self.stacked.zero_grad()
        loss.sum().backward()
        finite = loss.detach().isfinite()
        if not finite.all():
            for m in (~finite).nonzero().flatten().tolist():
                self.members[m][1].record.stopped = (step, f"the loss is {loss[m].item()}")
            self.leave(~finite)
        if not self.members:
            return
        if observed and self.log.gradient:
            self.log.gradients(step, *self.grouped(lambda p: p.grad))
        if self.plan.clip is not None:
            self.clip(self.plan.clip)
        if observed and self.log.update:
            self.observed_update(step)
        else:
            self.update(step)

    def batch(self) -> tuple[Tensor, Tensor]:
        """The next examples and labels of each network."""
        index = {seed: next(order) for seed, order in self.orders.items()}
        if len(index) == 1:
            (mine,) = index.values()
            x, y = self.x[mine], self.y[mine]
            return x.expand(len(self.members), *x.shape), y.expand(len(self.members), -1)
        mine = torch.stack([index[self.plan.order(run.settings)] for _, run in self.members])
        return self.x[mine], self.y[mine]

    def observed_forward(self, step: int, x: Tensor) -> Tensor:
        """A forward in which every activation is measured."""
        self.log.begin()
        calls: dict[str, int] = {}
        axes = self.activations.unit_axes(x[0]) if self.log.activation else {}

        def see(name: str, module: nn.Module, args: tuple, output: object) -> None:
            layer, a = parts.call_name(name, calls), parts.measurable(output)
            if a is not None and layer in axes:
                a = a if a.ndim > 2 else a[:, None]  # at least one row a network
                signal = measure.Signal(a, kind=type(module).__name__, unit_axis=1 + axes[layer], members=True)
                self.log.see(layer, signal)

        own = dict(self.stacked.body.named_modules())
        watched = {layer if layer in own else layer.rpartition("#")[0] for layer in axes}  # "act#2": its second call
        modules = [(name, module) for name, module in own.items() if name in watched]
        handles = [module.register_forward_hook(partial(see, name)) for name, module in modules]
        try:
            logits = self.stacked(x)
        finally:
            for handle in handles:
                handle.remove()
        self.log.end(step)
        if self.log.parameter:
            self.log.parameters(step, *self.grouped(lambda p: p.detach()))
        return logits

    def grouped(self, of: Callable[[Tensor], Tensor | None]) -> tuple[list[str], measure.Tensors]:
        """Something of the parameters, layer by layer; layers that have none are left out."""
        found = {
            layer: [t for name in own if (t := of(getattr(module, name))) is not None]
            for layer, module, own in self.layers
        }
        found = {layer: group for layer, group in found.items() if group}
        return list(found), measure.Tensors(found.values(), members=True)

    @torch.no_grad()
    def test(self, step: int, names: list[str], size: int = 500) -> None:
        """The quantities of the test part."""
        (x_test, y_test), m = test_part(self.plan.split), len(self.members)
        right, loss = torch.zeros(m), torch.zeros(m, dtype=self.x.dtype)
        with in_mode(self.stacked, training=False):
            for x, y in zip(x_test.split(size), y_test.split(size), strict=True):
                logits, y = self.stacked(x.expand(m, *x.shape)), y.expand(m, -1)
                right += (logits.argmax(dim=2) == y).sum(dim=1)
                loss += cross_entropy(logits.mT, y, reduction="none").sum(dim=1)
        found = {"test_accuracy": right / len(y_test), "test_loss": loss / len(y_test)}
        self.log.network(step, {name: found[name] for name in names})

    @torch.no_grad()
    def clip(self, limit: float) -> None:
        """As `torch.nn.utils.clip_grad_norm_` does, the gradient of each network."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        total = measure.Tensors([gradients], members=True).norms[0]  # (M,)
        scale = (limit / (total + 1e-6)).clamp(max=1)
        for gradient in gradients:
            gradient.mul_(_along(scale, gradient))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """One step of the optimiser, each network at its own learning rate."""
        rate, kind, t = self.lr * self.plan.rates[step], self.plan.optimizer, step + 1
        if kind == "adam":
            rate = rate / (1 - BETA1**t)
        for p, *means in zip(self.parameters, *self.means, strict=True):
            if p.grad is None:
                continue
            direction = p.grad
            if kind == "momentum":
                direction = means[0].mul_(MOMENTUM).add_(p.grad)
            elif kind == "adam":
                first, second = means[0].lerp_(p.grad, 1 - BETA1), means[1].mul_(BETA2)
                second.addcmul_(p.grad, p.grad, value=1 - BETA2)
                direction = first / second.sqrt().div_(math.sqrt(1 - BETA2**t)).add_(EPS)
            p.addcmul_(direction, _along(rate, p), value=-1)

    def observed_update(self, step: int) -> None:
        """An update that is measured."""
        if self.plain:
            layers, weights = self.grouped(lambda p: p.detach())
            _, moved = self.grouped(lambda p: torch.zeros_like(p) if p.grad is None else p.grad)
            moved.norms = [self.lr * self.plan.rates[step] * norm for norm in moved.norms]
            self.log.updates(step, layers, moved, weights)
            self.update(step)
        else:
            layers, before = self.grouped(lambda p: p.detach().clone())
            self.update(step)
            self.log.updates(step, layers, self.grouped(lambda p: p.detach())[1] - before, before)

    def leave(self, which: Tensor) -> None:
        """The networks for which `which` (M,) is True are done: their runs are stored, the others go on."""
        self.log.fill([run.record for _, run in self.members])
        stay = ~which
        for m in which.nonzero().flatten().tolist():
            i, run = self.members[m]
            self.stacked.write(m, run.model)
            self.runs[i] = run
        self.members = [member for member, on in zip(self.members, stay.tolist(), strict=True) if on]
        self.lr, self.means = self.lr[stay], [[mean[stay] for mean in means] for means in self.means]
        self.log.keep(stay)
        self.stacked.keep(stay)


def _along(values: Tensor, tensor: Tensor) -> Tensor:
    return values.view(-1, *[1] * (tensor.ndim - 1))  # (M,) to (M, 1, ...)
