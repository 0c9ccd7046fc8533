"""`fit_many`: a grid of networks, trained side by side where they can be stacked, one after the other where not.

Axes: M networks, N examples, K classes.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from unstuck import measure, parts
from unstuck.arguments import choice, instance, real, whole
from unstuck.data import Split
from unstuck.ensemble.stacked import Leaf, Stack, signature, stack, unstack
from unstuck.evaluate import in_mode
from unstuck.init import initialise
from unstuck.models import mlp
from unstuck.probes.log import Log
from unstuck.record import Record, Run, Runs
from unstuck.train import (
    MOMENTUM,
    OPTIMIZERS,
    TEST_QUANTITIES,
    batches,
    check_quantities,
    fit,
    is_silent,
    schedule_factor,
    train_part,
)

MEMORY = 10**9
"""Bytes, roughly, that networks trained at a time may take; a larger grid is worked off in parts."""

STARTING = ("scale", "gain", "bias")  # settings of `initialise`, besides scheme and seed
WINDOW = 10  # observed steps without firing that make a unit `dead`, as in `watch`
TRIED = 16  # examples of the first batch on which a stack is compared with its members
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8  # Adam's, as in PyTorch
MEANS = {"sgd": 0, "momentum": 1, "adam": 2}  # running means of the gradient that an optimiser keeps

Settings = Mapping[str, Any]


def grid(**settings: Any) -> list[dict[str, Any]]:
    """Every combination of the settings given as lists (ranges, tuples, arrays), in their order, the last fastest."""
    lists = {
        name: list(value) if isinstance(value, list | tuple | range | np.ndarray) else [value]
        for name, value in settings.items()
    }
    for name, values in lists.items():
        if not values:
            raise ValueError(f"{name}: expected at least one value, got none")
    return [dict(zip(lists, chosen, strict=True)) for chosen in itertools.product(*lists.values())]


def fit_many(
    shape_or_build: Sequence[int] | Callable[[dict], nn.Module],
    split: Split,
    grid: Sequence[Settings],
    *,
    steps: int,
    batch_size: int = 100,
    optimizer: str = "sgd",
    schedule: str | Callable[[int], float] | None = None,
    norm: str | None = None,
    clip: float | None = None,
    warmup: int = 0,
    quantities: Sequence[str] = (),
    every: int = 10,
    seed: int | None = 0,
    progress: bool | None = None,
    executor: Executor | None = None,
) -> Runs:
    """Train one network for each member of `grid`; returns a `Run` for each, in the grid's order.

    A member is what this gives, to rounding (which training amplifies: float32 runs part after some ten steps)::

        model = initialise(mlp(shape, s["activation"], norm=norm), s["scheme"], scale=s["scale"], gain=s["gain"],
                           bias=s["bias"], seed=s["seed"])
        record = fit(model, split, steps=steps, lr=s["lr"], seed=seed, ...)

    Args:
        shape_or_build: widths, as for `mlp`; or a function from a member's settings to its network.
        split: its dtype is that of the networks.
        grid: settings by name, as `unstuck.ensemble.grid` makes them: `lr` (needed); `seed` (0), under which the
        network
            is made; scheme, scale, gain and bias of `initialise` (LSUV adjusts to the first batch), without a scheme
            the network stays as it was made; `activation` of `mlp`, or whatever `shape_or_build` takes.
        steps, batch_size, optimizer, schedule: as for `fit`, the optimizer by its name.
        norm: None, "batch" or "layer", as for `mlp`.
        clip: largest norm of a member's whole gradient, as `torch.nn.utils.clip_grad_norm_`; not in `grad_norm`.
        warmup: over that many steps the learning rate rises linearly: times min(1, (step + 1) / warmup).
        quantities, every: as for `fit`.
        seed: of the order of the batches, the same for all; None: each member's own seed orders its batches too.
        progress: True or False; None shows a bar on a terminal only.
        executor: where parts of the grid are trained, for instance a `concurrent.futures.ProcessPoolExecutor`, Dask's
            `client.get_executor()` or MPI's pool; the function that builds must be one that can be sent there.

    Networks of one architecture are stacked (`unstuck.ensemble.stack`) and tried on the first batch: where a stack
    does not compute what its members do, or there is none, they are trained one after the other, and
    `record.meta["stacked"]` says why; otherwise it is True. A member whose loss is not finite stays as it is,
    `record.stopped` says where, and the others go on. An interrupt (Ctrl-C) hands over what there is: the
    exception's attribute `record` holds the Runs so far.

    Raises ValueError for arguments that do not fit, TypeError for those of the wrong kind; a member is named.
    """
    n = len(train_part(split)[0])
    plan = _Plan(
        *_builder(shape_or_build, split, norm),
        split,
        whole("steps", steps),
        whole("batch_size", batch_size, most=n),
        choice("optimizer", optimizer, OPTIMIZERS),
        _rates(schedule, whole("steps", steps), whole("warmup", warmup, least=0)),
        None if clip is None else real("clip", clip, above=0),
        check_quantities(quantities),
        whole("every", every),
        None if seed is None else whole("seed", seed, least=0),
    )
    members = {}
    for i, given in enumerate(grid):
        try:
            members[i] = _settings(given, plan)
        except (TypeError, ValueError) as error:
            raise type(error)(f"grid[{i}]: {error}") from error
    if executor is not None:
        instance("executor", executor, Executor, "a concurrent.futures.Executor")
    runs: dict[int, Run] = {}
    with tqdm(total=len(members) * plan.steps, disable=is_silent(progress), unit="step") as bar:
        try:
            if executor is None:
                _train(plan, members, runs, bar.update)
            else:
                size = max(8, math.ceil(len(members) / 64))
                places = list(members)
                chunks = [{i: members[i] for i in places[k : k + size]} for k in range(0, len(places), size)]
                futures = [executor.submit(_train, plan, chunk) for chunk in chunks]
                for chunk, future in zip(chunks, futures, strict=True):
                    runs |= future.result()
                    bar.update(len(chunk) * plan.steps)
        except KeyboardInterrupt as interrupt:
            interrupt.record = Runs(runs[i] for i in sorted(runs))
            raise
    return Runs(runs[i] for i in range(len(members)))


@dataclass(frozen=True)
class _Plan:
    """What all members share; it can be sent to another process."""

    build: Callable[[dict], nn.Module]
    known: tuple[str, ...] | None  # the settings that `build` takes, None: any
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

    def batches(self, seed: int) -> Iterable[Tensor]:
        return batches(len(self.split.x_train), self.batch_size, self.steps, seed)

    def first_batch(self, settings: Settings) -> Tensor:
        return self.split.x_train[next(iter(self.batches(self.order(settings))))]

    def member(self, settings: Settings) -> nn.Module:
        """A member's network as it starts; the global random state is left as it is."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings["seed"])
            model = instance("shape_or_build", self.build(dict(settings)), nn.Module, "a function that makes modules")
        model.to(self.split.x_train.dtype)
        if settings.get("scheme") is not None:
            more = {name: settings[name] for name in STARTING if name in settings}
            x = self.first_batch(settings) if settings["scheme"] == "lsuv" else None
            initialise(model, settings["scheme"], seed=settings["seed"], x=x, **more)
        return model


class _Perceptron:
    """The `build` of widths: a function that can be sent to another process."""

    def __init__(self, widths: Sequence[int], norm: str | None):
        self.widths, self.norm = widths, norm

    def __call__(self, settings: dict) -> nn.Module:
        return mlp(self.widths, settings.get("activation", "relu"), norm=self.norm)


def _builder(shape_or_build, split: Split, norm: str | None) -> tuple[Callable[[dict], nn.Module], tuple | None]:
    """What makes a network, and the names of the settings that it takes; None: any."""
    if callable(shape_or_build):
        if norm is not None:
            raise ValueError(f"norm: goes with widths, not with a function that builds, got {norm!r}")
        return shape_or_build, None
    with torch.device("meta"):  # mlp's own checks
        mlp(shape_or_build, norm=norm)
    features, classes = math.prod(split.x_train.shape[1:]), len(split.classes)
    if shape_or_build[0] != features or shape_or_build[-1] < classes:
        raise ValueError(
            f"shape_or_build: expected {features} inputs and at least {classes} outputs, which split needs, "
            f"got {tuple(shape_or_build)}"
        )
    return _Perceptron(tuple(shape_or_build), norm), ("activation", "scheme", *STARTING, "lr", "seed")


def _rates(schedule, steps: int, warmup: int) -> list[float]:
    factor = schedule_factor(schedule, steps)
    return [factor(step) * min(1.0, (step + 1) / max(warmup, 1)) for step in range(steps)]


def _settings(given: Settings, plan: _Plan) -> dict[str, Any]:
    """A member's settings, checked, with plain numbers in place of NumPy's."""
    if not isinstance(given, Mapping):
        raise TypeError(f"expected a dict of settings, got {given!r}")
    if plan.known is not None and (unknown := [name for name in given if name not in plan.known]):
        raise ValueError(f"{unknown} are not among the settings {list(plan.known)}")
    if "lr" not in given:
        raise ValueError(f"lr: expected a learning rate, got the settings {dict(given)}")
    settings = {k: v.item() if isinstance(v, np.generic) else v for k, v in given.items()}
    settings["lr"] = real("lr", settings["lr"], least=0)
    settings["seed"] = whole("seed", settings.get("seed", 0), least=0)
    if settings.get("scheme") is None and (idle := [name for name in STARTING if settings.get(name) is not None]):
        raise ValueError(f"scheme: {idle} need one, got none")
    if plan.known is not None:  # the checks of `mlp` and `initialise`, on the smallest network
        plan_of_one = mlp((1, 1, 1), settings.get("activation", "relu"))
        if settings.get("scheme") is not None:
            more = {name: settings[name] for name in STARTING if name in settings}
            x = torch.randn(8, 1) if settings["scheme"] == "lsuv" else None
            initialise(plan_of_one, settings["scheme"], x=x, **more)
    return settings


# --- training ---


def _train(
    plan: _Plan,
    members: Mapping[int, Settings],
    runs: dict[int, Run] | None = None,
    advance: Callable[[int], object] = lambda steps: None,
) -> dict[int, Run]:
    """Train the members, `{place in the grid: settings}`, into `runs`: stacks of one architecture, and the others."""
    runs = {} if runs is None else runs
    waiting: dict[str, dict[int, nn.Module]] = {}
    for i, settings in members.items():
        model = plan.member(settings)
        alike = waiting.setdefault(signature(model), {})
        alike[i] = model
        if (len(alike) + 1) * _bytes(model, plan) > MEMORY:
            _train_alike(plan, {i: members[i] for i in alike}, waiting.pop(signature(model)), runs, advance)
    for alike in waiting.values():
        _train_alike(plan, {i: members[i] for i in alike}, alike, runs, advance)
    return runs


def _bytes(model: nn.Module, plan: _Plan) -> int:
    """What a member takes in training, roughly: parameters, gradients, means, and the activations of a batch."""
    tensors = list(model.parameters())
    units = sum(len(p) for p in tensors if p.ndim > 1)
    numbers = (3 + MEANS[plan.optimizer]) * sum(p.numel() for p in tensors) + 6 * units * plan.batch_size
    return numbers * plan.split.x_train.dtype.itemsize


def _train_alike(plan, members: dict[int, Settings], models: dict[int, nn.Module], runs, advance) -> None:
    alone = [models[i] for i in members]
    try:
        stacked = stack(alone)
        reason = _differs(stacked, alone, plan.first_batch(next(iter(members.values()))))
        alone = unstack(stacked) if reason else []
    except ValueError as error:
        reason = str(error)
    if reason:
        for (i, settings), model in zip(members.items(), alone, strict=True):
            runs[i] = _train_alone(plan, settings, model, reason)
            advance(plan.steps)
    else:
        _Population(plan, members, stacked, runs).run(advance)


def _differs(stacked: Stack, models: Sequence[nn.Module], x: Tensor) -> str:
    """Why a stack does not compute what its members do on a batch; "" if it does.

    In float64, for rounding grows with depth; `models` are used up by it.
    """
    x, twin = x[:TRIED].double(), copy.deepcopy(stacked).double()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            together = twin(x.expand(len(models), *x.shape))
            apart = torch.stack([model.double()(x) for model in models])
    except Exception as error:  # somebody's forward, with an axis it was not written for
        return f"with a leading axis its forward raises {type(error).__name__}: {error}"
    if together.shape != apart.shape:
        return f"with a leading axis its output has the shape {tuple(together.shape)}, not {tuple(apart.shape)}"
    size = apart.abs().nan_to_num(posinf=0).amax()
    same = torch.allclose(together, apart, rtol=1e-6, atol=1e-6 * float(size), equal_nan=True)
    return "" if same else "with a leading axis its forward computes something else"


def _train_alone(plan: _Plan, settings: Settings, model: nn.Module, reason: str) -> Run:
    def optimizer(parameters, lr):
        parameters = list(parameters)
        optim = OPTIMIZERS[plan.optimizer](parameters, lr)
        if plan.clip is not None:
            optim.register_step_pre_hook(lambda *_: nn.utils.clip_grad_norm_(parameters, plan.clip) and None)
        return optim

    record = fit(
        model,
        plan.split,
        steps=plan.steps,
        batch_size=plan.batch_size,
        lr=settings["lr"],
        optimizer=optimizer,
        schedule=plan.rates.__getitem__,
        seed=plan.order(settings),
        quantities=plan.quantities,
        every=plan.every,
        progress=False,
    )
    record.meta |= {"every": plan.every, "stacked": reason}
    return Run(dict(settings), record, model)


class _Population:
    """Stacked members, `{place in the grid: settings}`, from their first step to their runs."""

    def __init__(self, plan: _Plan, members: Mapping[int, Settings], stacked: Stack, runs: dict[int, Run]):
        self.plan, self.stacked, self.runs = plan, stacked, runs
        self.x, self.y = plan.split.x_train, plan.split.y_train
        self.members = list(members.items())  # those still training
        meta = {"every": plan.every, "window": WINDOW, "stacked": True}
        self.records = [Record(meta=meta) for _ in self.members]
        self.log = Log(plan.quantities, WINDOW)
        self.seeds = [plan.order(settings) for settings in members.values()]
        self.orders = {seed: iter(plan.batches(seed)) for seed in self.seeds}
        self.lr = torch.tensor([settings["lr"] for settings in members.values()], dtype=self.x.dtype)
        self.groups = parts.parameters(stacked.body)
        self.parameters = [p for p in stacked.parameters() if p.requires_grad]
        self.means = [[torch.zeros_like(p) for p in self.parameters] for _ in range(MEANS[plan.optimizer])]

    def run(self, advance: Callable[[int], object]) -> None:
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
        finally:  # also on an interrupt: what there is
            self.leave(torch.ones(len(self.members), dtype=torch.bool))

    def step(self, step: int) -> None:
        plan, observed = self.plan, step % self.plan.every == 0
        x, y = self.batch()  # (M, N, ...), (M, N)
        logits = self.observed_forward(x, step) if observed else self.stacked(x)  # (M, N, K)
        loss = cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none").view_as(y).mean(dim=1)  # (M,)
        finite = loss.detach().isfinite()
        if observed:
            self.note(step, "loss", loss.detach())
            self.note(step, "accuracy", (logits.argmax(dim=2) == y).float().mean(dim=1))
        for p in self.parameters:
            p.grad = None
        if not finite.all():
            if finite.any():
                loss[finite].sum().backward()
            for m in (~finite).nonzero().flatten().tolist():
                self.records[m].stopped = (step, f"the loss is {loss[m].item()}")
            self.leave(~finite)
        else:
            loss.sum().backward()
        if not self.members:
            return
        if observed and self.log.gradient:
            self.log.gradients(step, *self.grouped(lambda p: p.grad))
        if plan.clip is not None:
            self.clip()
        before = self.before() if observed and self.log.update else None
        self.update(step)
        if before is not None:
            layers, now = self.grouped(lambda p: p.detach())
            moved = [
                [q - p for p, q in zip(*pair, strict=True)] for pair in zip(before.groups, now.groups, strict=True)
            ]
            self.log.updates(step, layers, measure.Tensors(moved, members=True), before)

    def batch(self) -> tuple[Tensor, Tensor]:
        """The next examples and labels of each network."""
        index = {seed: next(order) for seed, order in self.orders.items()}
        if len(set(self.seeds)) == 1:
            mine, m = index[self.seeds[0]], len(self.members)
            x, y = self.x[mine], self.y[mine]
            return x.expand(m, *x.shape), y.expand(m, -1)
        mine = torch.stack([index[seed] for seed in self.seeds])
        return self.x[mine], self.y[mine]

    def observed_forward(self, x: Tensor, step: int) -> Tensor:
        """A forward in which every activation is measured."""
        self.log.begin()
        axis, calls = parts.UnitAxis(), {}

        def see(name: str, module: nn.Module, output: Tensor) -> None:
            kind = module.of if isinstance(module, Leaf) else module
            if parts.may_be_activation(kind) and self.log.activation:
                a = parts.measurable(output)
                layer = parts.call_name(name, calls)
                unit_axis = 1 + axis.of(layer, a[0])  # that of one network
                signal = measure.Signal(a, kind=type(kind).__name__, unit_axis=unit_axis, members=True)
                self.log.see(layer, signal)
            axis.see(kind, output.ndim - 1)

        def hook(name: str) -> Callable:
            return lambda module, args, output: see(name, module, output)

        handles = [m.register_forward_hook(hook(name)) for name, m in self.stacked.body.named_modules()]
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
        found = {layer: [of(module._parameters[name]) for name in own] for layer, module, own in self.groups}
        found = {layer: [t for t in group if t is not None] for layer, group in found.items()}
        found = {layer: group for layer, group in found.items() if group}
        return list(found), measure.Tensors(found.values(), members=True)

    def before(self) -> measure.Tensors:
        _, tensors = self.grouped(lambda p: p.detach().clone())
        _ = tensors.norms
        return tensors

    def note(self, step: int, quantity: str, values: Tensor) -> None:
        for record, value in zip(self.records, values.tolist(), strict=True):
            record.add(step, "", quantity, value)

    @torch.no_grad()
    def clip(self) -> None:
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        total = measure.Tensors([gradients], members=True).norms[0]  # (M,)
        scale = (self.plan.clip / (total + 1e-6)).clamp(max=1)
        for gradient in gradients:
            gradient.mul_(_like(scale, gradient))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """One step of the optimiser, each network at its own learning rate."""
        rate = self.lr * self.plan.rates[step]
        for k, p in enumerate(self.parameters):
            if p.grad is None:
                continue
            direction = p.grad
            if self.plan.optimizer == "momentum":
                direction = self.means[0][k].mul_(MOMENTUM).add_(p.grad)
            elif self.plan.optimizer == "adam":
                first, second = self.means[0][k], self.means[1][k]
                first.lerp_(p.grad, 1 - BETA1)
                second.mul_(BETA2).addcmul_(p.grad, p.grad, value=1 - BETA2)
                deviation = (second / (1 - BETA2 ** (step + 1))).sqrt_().add_(EPS)
                direction = first / deviation / (1 - BETA1 ** (step + 1))
            p.addcmul_(direction, _like(rate, p), value=-1)

    @torch.no_grad()
    def test(self, step: int, names: Sequence[str], size: int = 500) -> None:
        """The quantities of the test part."""
        split, m, right, loss = self.plan.split, len(self.members), 0.0, 0.0
        with in_mode(self.stacked, training=False):
            for x, y in zip(split.x_test.split(size), split.y_test.split(size), strict=True):
                logits, y = self.stacked(x.expand(m, *x.shape)), y.expand(m, -1)
                right = right + (logits.argmax(dim=2) == y).sum(dim=1)
                loss = loss + cross_entropy(logits.mT, y, reduction="none").sum(dim=1)
        for name in names:
            self.note(step, name, (right if name == "test_accuracy" else loss) / len(split.y_test))

    def leave(self, which: Tensor) -> None:
        """The networks for which `which` (M,) is True are done: their runs are stored, the others go on."""
        self.log.fill(self.records)
        for m in which.nonzero().flatten().tolist():
            i, settings = self.members[m]
            self.runs[i] = Run(dict(settings), self.records[m], self.stacked.member(m))
        stay = ~which
        places = stay.nonzero().flatten().tolist()
        self.members, self.records = [self.members[m] for m in places], [self.records[m] for m in places]
        self.seeds, self.lr = [self.seeds[m] for m in places], self.lr[stay]
        self.log.keep(stay)
        self.stacked.keep(stay)
        self.means = [[mean[stay] for mean in means] for means in self.means]


def _like(values: Tensor, tensor: Tensor) -> Tensor:
    return values.view(-1, *[1] * (tensor.ndim - 1))  # (M,) to (M, 1, ...)
