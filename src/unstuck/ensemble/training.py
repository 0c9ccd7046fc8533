"""`fit_many`: a grid of networks, trained side by side where they can be stacked, one after the other where not."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, as_completed
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from unstuck.arguments import choice, function, instance, real, whole, wholes
from unstuck.data import Split
from unstuck.ensemble.population import MEANS, Advance, Members, Plan, Population, Settings, Trained
from unstuck.ensemble.stacked import signature, stack
from unstuck.ensemble.trial import differs, seeded
from unstuck.init import check_scheme, initialise
from unstuck.models import NORMS, activation_module, mlp
from unstuck.record import Record, Run, Runs
from unstuck.train import OPTIMIZERS, check_quantities, fit, is_silent, schedule_factor, train_part

MEMORY = 10**9
"""Bytes, roughly, that networks trained at a time may take; a larger grid is worked off in parts."""

STARTING = ("scale", "gain", "bias")  # settings of `initialise`, besides scheme and seed


def grid(**settings: Any) -> list[dict[str, Any]]:
    """Every combination of the settings given as lists (ranges, tuples, arrays), in their order, the last fastest."""
    lists = {}
    for name, value in settings.items():
        value = value.tolist() if isinstance(value, np.ndarray) else value
        lists[name] = list(value) if isinstance(value, list | tuple | range) else [value]
        if not lists[name]:
            raise ValueError(f"{name}: expected at least one value, got none")
    return [dict(zip(lists, chosen, strict=True)) for chosen in itertools.product(*lists.values())]


def fit_many(
    shape_or_build: Sequence[int] | Callable[[dict], nn.Module],
    split: Split,
    grid: Iterable[Settings],
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

        torch.manual_seed(s["seed"])
        model = initialise(mlp(shape, s["activation"], norm=norm), s["scheme"], scale=s["scale"], gain=s["gain"],
                           bias=s["bias"], seed=s["seed"])
        record = fit(model, split, steps=steps, lr=s["lr"], seed=seed, ...)

    Args:
        shape_or_build: widths, as for `mlp`; or a function from a member's settings to its network.
        split: its dtype is that of the networks.
        grid: settings by name, as `unstuck.ensemble.grid` makes them: `lr` (needed); `seed` (0), under which the
            network is made, and draws in training (dropout); scheme, scale, gain and bias of `initialise` (LSUV
            adjusts to the first batch), without a scheme the network stays as it was made; `activation` of `mlp`, or
            whatever `shape_or_build` takes.
        steps, batch_size, optimizer, schedule, quantities, every: as for `fit`, the optimizer by its name.
        norm: None, "batch", "layer", "group" or "rms", as for `mlp`.
        clip: largest norm of a member's whole gradient, as `torch.nn.utils.clip_grad_norm_`; not in `grad_norm`.
        warmup: over that many steps the learning rate rises linearly: times min(1, (step + 1) / warmup).
        seed: of the order of the batches, the same for all; None: each member's own seed orders its batches too.
        progress: True or False; None shows a bar on a terminal only.
        executor: where parts of the grid are trained, for instance a `concurrent.futures.ProcessPoolExecutor`, Dask's
            `client.get_executor()` or MPI's pool; the function that builds must be one that can be sent there. Rather
            processes than threads: a process has one random state, for which its threads wait.

    Networks of one architecture are stacked (`unstuck.ensemble.stack`), which is tried on a few examples: where a
    stack does not compute what its members do, or there is none, they are trained one after the other, and
    `record.meta["stacked"]` says why; otherwise it is True. A member whose loss is not finite stays as it is,
    `record.stopped` says where, and the others go on. An interrupt (Ctrl-C) hands over what there is: the
    exception's attribute `record` holds the Runs so far.

    Raises ValueError for arguments that do not fit, TypeError for those of the wrong kind; a member is named.
    """
    n = len(train_part(split)[0])
    steps, batch_size, every = whole("steps", steps), whole("batch_size", batch_size, most=n), whole("every", every)
    build, known = _builder(shape_or_build, split, norm)
    if norm == "batch" and 1 in (batch_size, n % batch_size):
        raise ValueError(f"batch_size: {batch_size} of {n} examples leave a batch of one, and norm='batch' fails")
    choice("optimizer", optimizer, OPTIMIZERS)
    factor, warmup = schedule_factor(schedule, steps), whole("warmup", warmup, least=0)
    clip = None if clip is None else real("clip", clip, above=0)
    quantities = check_quantities(quantities)
    seed = None if seed is None else whole("seed", seed, least=0, most=2**64 - 1)
    if executor is not None:
        instance("executor", executor, Executor, "a concurrent.futures.Executor")
    silent = is_silent(progress)
    runs: Trained = {}
    try:
        rates = [factor(step) * min(1.0, (step + 1) / max(warmup, 1)) for step in range(steps)]
        plan = Plan(build, split, steps, batch_size, optimizer, rates, clip, quantities, every, seed)
        members = {}
        for i, given in enumerate(instance("grid", grid, Iterable, "a list of settings")):
            with _naming(i):
                members[i] = _settings(given, known)
        with tqdm(total=len(members) * steps, disable=silent, unit="step") as bar:
            if executor is None:
                _train(plan, members, runs, bar.update)
            elif members:
                _train_elsewhere(executor, plan, members, runs, bar.update)
    except KeyboardInterrupt as interrupt:
        interrupt.record = Runs(runs[i] for i in sorted(runs))  # type: ignore[attr-defined]
        raise
    return Runs(runs[i] for i in members)


# --- what a member is ---


def _perceptron(widths: tuple[int, ...], norm: str | None, settings: dict) -> nn.Module:
    return mlp(widths, settings.get("activation", "relu"), norm=norm)


def _builder(shape_or_build, split: Split, norm: str | None) -> tuple[Callable[[dict], nn.Module], tuple | None]:
    """What makes a network, and the names of the settings that it takes; None: any."""
    if isinstance(shape_or_build, nn.Module):
        raise TypeError("shape_or_build: expected widths or a function that makes a network, got a network")
    if callable(shape_or_build):
        if norm is not None:
            raise ValueError(f"norm: goes with widths, not with a function that builds, got {norm!r}")
        return function("shape_or_build", shape_or_build, "settings", made=True), None
    widths = wholes("shape_or_build", shape_or_build, fewest=2)
    if norm is not None:
        choice("norm", norm, NORMS)
    features, classes = math.prod(split.x_train.shape[1:]), len(split.classes)
    if widths[0] != features or widths[-1] < classes:
        expected = f"{features} inputs and at least {classes} outputs"
        raise ValueError(f"shape_or_build: expected {expected}, which split needs, got {widths}")
    return partial(_perceptron, widths, norm), ("activation", "scheme", *STARTING, "lr", "seed")


def _settings(given: Settings, known: tuple[str, ...] | None) -> dict[str, Any]:
    """A member's settings, checked, with plain numbers in place of NumPy's."""
    if not isinstance(given, Mapping):
        raise TypeError(f"expected a dict of settings, got {given!r}")
    settings = {name: value.item() if isinstance(value, np.generic) else value for name, value in given.items()}
    if "lr" not in settings:
        raise ValueError(f"lr: expected a learning rate, got the settings {settings}")
    settings["lr"] = real("lr", settings["lr"], least=0)
    settings["seed"] = whole("seed", settings.get("seed", 0), least=0, most=2**64 - 1)
    if known is not None:
        if unknown := [name for name in settings if name not in known]:
            raise ValueError(f"{unknown} are not among the settings {list(known)}")
        if settings.get("scheme") is None and (idle := [s for s in STARTING if settings.get(s) is not None]):
            raise ValueError(f"scheme: {idle} need one, got none")
        activation_module(settings.get("activation", "relu"))
    if settings.get("scheme") is not None:
        check_scheme(settings["scheme"], **_starting(settings))
    return settings


def _starting(settings: Settings) -> dict[str, Any]:
    return {name: settings[name] for name in STARTING if name in settings}


def _member(plan: Plan, i: int, settings: Settings) -> Run:
    """A member with its network as it starts."""
    with seeded(settings["seed"]):
        with _naming(i):
            model = plan.build(dict(settings))
        model = instance(f"shape_or_build, grid[{i}]", model, nn.Module, "a function that makes modules")
        model.to(plan.split.x_train.dtype)
        if (scheme := settings.get("scheme")) is not None:
            x = plan.split.x_train[next(plan.batches(plan.order(settings)))] if scheme == "lsuv" else None
            with _naming(i):
                initialise(model, scheme, seed=settings["seed"], x=x, **_starting(settings))
    return Run(dict(settings), Record(meta=plan.meta(stacked=True)), model)


@contextmanager
def _naming(i: int) -> Iterator[None]:
    try:
        yield
    except (TypeError, ValueError) as error:
        raise type(error)(f"grid[{i}]: {error}") from error


# --- training ---


def _train_elsewhere(executor: Executor, plan: Plan, members: Members, runs: Trained, advance: Advance) -> None:
    """Train parts of the grid where the executor has room."""
    places = list(members)
    try:
        stack([_member(plan, places[0], members[places[0]]).model])
        size = max(8, math.ceil(len(places) / 64))  # fewer networks gain nothing from a stack
    except ValueError:
        size = math.ceil(len(places) / 64)
    parts = [{i: members[i] for i in places[k : k + size]} for k in range(0, len(places), size)]
    futures = [executor.submit(_train, plan, part) for part in parts]
    try:
        for future in as_completed(futures):
            runs.update(future.result())
            advance(len(future.result()) * plan.steps)
    finally:
        for future in futures:
            future.cancel()


@torch.enable_grad()
def _train(plan: Plan, members: Members, runs: Trained | None = None, advance: Advance = lambda n: None) -> Trained:
    """Train the members into `runs`: stacks of one architecture, and the others."""
    runs = {} if runs is None else runs
    waiting: dict[str, Trained] = {}
    for i, settings in members.items():
        member = _member(plan, i, settings)
        architecture = signature(member.model)
        alike = waiting.setdefault(architecture, {})
        alike[i] = member
        if (len(alike) + 1) * _bytes(member.model, plan) > MEMORY:
            _train_alike(plan, waiting.pop(architecture), runs, advance)
    for alike in waiting.values():
        _train_alike(plan, alike, runs, advance)
    return runs


def _bytes(model: nn.Module, plan: Plan) -> int:
    """What a member takes in training, roughly: parameters (twice), gradients, means, activations of a batch."""
    tensors = list(model.parameters())
    units = sum(len(p) for p in tensors if p.ndim > 1)
    numbers = (4 + MEANS[plan.optimizer]) * sum(p.numel() for p in tensors) + 6 * units * plan.batch_size
    return numbers * plan.split.x_train.dtype.itemsize


def _train_alike(plan: Plan, members: Trained, runs: Trained, advance: Advance) -> None:
    """Train networks of one architecture."""
    models = [member.model for member in members.values()]
    if len(set(map(id, models))) < len(models):
        raise ValueError("shape_or_build: expected a new network for each member, got one twice")
    try:
        stacked = stack(models)
        reason = differs(models, train_part(plan.split)[0])
    except ValueError as error:
        reason = str(error)
    if not reason:
        Population(plan, members, stacked, runs).run(advance)
        return
    for i, member in members.items():
        _train_alone(plan, i, member, runs, reason)
        advance(plan.steps)


def _train_alone(plan: Plan, i: int, member: Run, runs: Trained, reason: str) -> None:
    model, settings, record = member.model, member.settings, None

    def clip(limit: float, *_) -> None:
        nn.utils.clip_grad_norm_(model.parameters(), limit)

    def optimizer(parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        optim = OPTIMIZERS[plan.optimizer](parameters, lr)
        if plan.clip is not None:  # without a hook `watch` knows the update of plain descent before it is made
            optim.register_step_pre_hook(partial(clip, plan.clip))
        return optim

    more: dict[str, Any] = {"steps": plan.steps, "batch_size": plan.batch_size, "seed": plan.order(settings)}
    more |= {"quantities": plan.quantities, "every": plan.every, "schedule": plan.rates.__getitem__}
    try:
        with seeded(settings["seed"]):
            record = fit(model, plan.split, lr=settings["lr"], optimizer=optimizer, progress=False, **more)
    except KeyboardInterrupt as interrupt:
        record = getattr(interrupt, "record", None)
        raise
    finally:
        if record is not None:
            record.meta |= plan.meta(stacked=reason)
            runs[i] = Run(settings, record, model)
