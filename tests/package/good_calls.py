"""A good call of every public function, class and method of what needs PyTorch, with bad values of its arguments."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from bad_values import (
    SEED,
    TORCH_SEED,
    Argument,
    flag,
    function,
    integer,
    integers,
    mapping,
    model,
    name,
    names,
    nothing,
    number,
    optional,
    split,
    tensor,
)
from samples import images, points
from torch import nn
from torch.nn.functional import cross_entropy

from unstuck import data, ensemble, evaluate, features, init, models, probes, train
from unstuck.sharpness import sharpness


@dataclass(frozen=True)
class Call:
    """`make()` is what is called, with `arguments` by name; `*shapes` and the like by the name in the signature."""

    room: str
    label: str
    make: Callable[[], Callable]
    arguments: dict[str, Argument]


def room_of(target: Callable | type) -> str:
    return target.__module__.removeprefix("unstuck.").split(".")[0]


def call(target: Callable, /, **arguments: Argument) -> Call:
    return Call(room_of(target), target.__qualname__, lambda: target, arguments)


def method(make: Callable[[], Any], called: str, /, **arguments: Argument) -> Call:
    """A method of a new object for every call; a class for what is called on the class."""
    owner = make()
    owner = owner if isinstance(owner, type) else type(owner)
    return Call(room_of(owner), f"{owner.__name__}.{called}", lambda: getattr(make(), called), arguments)


POINTS, IMAGES = points(n=40), images(n=20)
X, Y = POINTS.x_train, POINTS.y_train
NUMPY = POINTS.numpy()


def net(features: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(features, 5), nn.ReLU(), nn.Linear(5, 4))


def wrong_split(*more):
    return split(POINTS, NUMPY, *more)  # where torch is due


DATA = [
    call(data.mnist),
    call(data.fashion),
    call(
        data.circle_and_cross,
        n=integer(2, least=2),
        size=integer(8, least=8),
        noise=number(0.1, least=0),
        seed=SEED,
        jitter=number(0.5, least=0, most=1),
        n_test=integer(2, least=2),
    ),
    call(
        data.spirals,
        n=integer(6, least=3),
        arms=integer(3, least=2),
        noise=number(0.1, least=0),
        seed=SEED,
        n_test=integer(6, least=3),
    ),
    call(data.solar_cells, size=integer(8, least=8, most=300), seed=SEED),
    call(data.standardise, split=split(POINTS), per=name("feature")),
    call(data.standardise, split=split(IMAGES), per=name("channel")),
    call(data.whiten, split=split(POINTS), eps=number(1e-5, least=0)),
    call(
        data.Split,
        x_train=Argument(X, (None, "x", X.tolist(), NUMPY.x_train, X.long(), X[..., None], X[:0], X[:9], X[0])),
        y_train=Argument(Y, (None, "x", Y.tolist(), NUMPY.y_train, Y.float(), Y[:, None], Y[:9], Y - 1, Y + 4)),
        x_test=Argument(X, (None, "x", X.tolist(), NUMPY.x_train, X.long(), X.double(), X[:, :2], X[:0], X[:9])),
        y_test=Argument(Y, (None, "x", Y.tolist(), NUMPY.y_train, Y.float(), Y[:, None], Y[:9], Y - 1, Y + 4)),
        classes=Argument(tuple("abcd"), ("abcd", None, 4, [1, 2, 3, 4], nothing)),
        meta=mapping({"name": "points"}, None, {"per_example": "a"}, {"per_example": ["a"]}),
    ),
    method(lambda: POINTS, "numpy"),
    method(
        lambda: POINTS,
        "map",
        f=function(lambda x: 2 * x, lambda x: None, lambda x: x.numpy(), lambda x: x[:3], lambda x: x[..., None]),
    ),
    method(lambda: POINTS, "subset", n=integer(8, most=40), seed=SEED),
    method(lambda: POINTS, "validation", fraction=number(0.5, above=0, most=1), seed=SEED),
]

ACTIVATION = Argument("relu", ("unknown", "", 3, None, ["relu"], nn.ReLU(), nn.Threshold, nothing, object))
NORM = optional(name("batch"))

MODELS = [
    call(models.Maxout, pieces=integer(2, least=2)),
    method(models.Maxout, "forward", z=tensor(torch.ones(2, 4), torch.ones(2, 3), torch.ones(2), torch.ones(()))),
    call(models.activation_module, activation=ACTIVATION),
    call(models.count_parameters, model=model(net())),
    call(
        models.gated_cnn,
        channels=integers((1, 4), [3], [1, 4, 4]),
        blocks=integer(2),
        classes=integer(2),
        reduction=Argument(2, (*integer(2).bad, 5)),
        norm=NORM,
        residual=flag(True),
        gate_bias=number(1.0),
    ),
    call(models.efficientnet_lite0, pretrained=flag(False), classes=integer(2)),
    call(models.freeze, model=model(net()), up_to=optional(name("0")), batchnorm=name("train")),
    call(models.mlp, widths=integers((3, 4, 2), [3]), activation=ACTIVATION, norm=NORM),
    call(models.small_cnn, channels=integers((1, 2), [3]), classes=integer(2), activation=ACTIVATION, norm=NORM),
    call(
        models.small_transformer,
        shape=integers((2, 4, 6), [3], [1, 2, 3, 4]),
        classes=integer(2),
        activation=Argument("relu", (*ACTIVATION.bad, "maxout")),
        norm=name("post"),
        patch=Argument(2, (*integer(2).bad, 4)),
        width=integer(6),
        layers=integer(1),
        heads=Argument(2, (*integer(2).bad, 4)),
        positions=flag(True),
    ),
    call(init.fans, weight=tensor(torch.ones(2, 3), torch.ones(3), torch.ones(()))),
    call(init.weighted_layers, model=model(net())),
    call(
        init.initialise,
        model=model(net(), nn.ReLU(), nn.LazyLinear(3)),
        scheme=name("normal"),
        scale=number(0.1, least=0),
        bias=optional(Argument(0.0, ("unknown", np.nan, 1j, True, [0.0], nothing))),
        seed=TORCH_SEED,
    ),
    call(
        init.check_scheme,
        scheme=name("uniform"),
        scale=number(0.1, least=0),
        bias=optional(Argument(0.0, ("unknown", np.nan, 1j, True, [0.0], nothing))),
    ),
    call(init.check_scheme, scheme=name("he"), gain=optional(number(1.0, least=0))),
    call(init.initialise, model=model(net()), scheme=name("he"), gain=optional(number(1.0, least=0))),
    call(init.initialise, model=model(net()), scheme=name("lsuv"), x=tensor(X, X[:, :2], X.long(), X[0, 0], X[:0])),
]

MEASURED = [
    call(
        features.features,
        model=model(net()),
        x=tensor(X, X[:0], X[0, 0]),
        batch_size=integer(10),
        keep=flag(False),
        progress=optional(flag(False)),
    ),
    call(features.fingerprint, model=model(net())),
    call(
        features.linear_classifier,
        x=tensor(X, X[:9], X[:0], X[0, 0]),
        y=tensor(Y, Y[:, None], Y[:9]),
        penalty=number(0.1, least=0),
        classes=integer(4),
        steps=integer(2),
    ),
    call(evaluate.in_mode, model=model(net()), training=flag(True)),
    call(
        evaluate.accuracy,
        model=model(net(), nn.Flatten(0), nn.LSTM(3, 4)),
        x=tensor(X, X[:9], X[:0], X[0, 0]),
        y=tensor(Y, Y.float(), Y[:, None], Y[:9], Y + 4, Y - 1, Y > 0),
        batch_size=integer(10),
    ),
    call(evaluate.trace, model=model(net()), x=tensor(X)),
    call(
        evaluate.dead_units,
        model=model(net(), nn.Linear(3, 4)),
        x=tensor(X, X[:0], X[0, 0]),
        batch_size=integer(10),
    ),
    call(evaluate.dead_units, model=model(net()), x=tensor(X), layers=optional(names(["1"]))),
    call(
        probes.norm_drift,
        model=model(nn.BatchNorm1d(3), net(), nn.BatchNorm1d(3, track_running_stats=False)),
        x=tensor(X, X[:0], X[0, 0]),
        batch_size=Argument(10, (*integer(10).bad, 1, 39)),
    ),
    call(
        sharpness,
        model=model(net(), nn.LazyLinear(3), nn.ReLU(), net().requires_grad_(False)),
        x=tensor(X, X[:9], X[:0], X[0, 0], X * math.nan),
        y=tensor(Y, Y[:9], Y[:0], Y[0]),
        loss_fn=function(
            cross_entropy,
            nn.CrossEntropyLoss,
            lambda logits, y: 1.0,
            lambda logits, y: logits,
            lambda logits, y: logits.detach().sum(),
            lambda logits, y: logits.sum() / 0,
            partial(cross_entropy, reduction="sum"),
        ),
        k=integer(2, most=44),
        batch_size=integer(10),
    ),
    call(
        probes.watch,
        model=model(net(), nn.LazyLinear(3)),
        every=integer(1),
        quantities=names(["dead"], ["loss"]),
        window=integer(10),
        layers=optional(names(["1"])),
        units=flag(False),
    ),
]

STEPS = integer(2)
OPTIMIZER = Argument("sgd", ("unknown", 3, None, ["sgd"], nothing, lambda parameters, lr: None))
SCHEDULE = optional(
    Argument("linear", ("unknown", 3, ["linear"], None, nothing, lambda step: "1", lambda step: None))
)
QUANTITIES = names([], ["loss", 3])

TRAIN = [
    call(
        train.fit,
        model=model(net()),
        split=wrong_split(),
        steps=STEPS,
        batch_size=integer(10, most=40),
        lr=number(0.1, least=0),
        optimizer=OPTIMIZER,
        schedule=SCHEDULE,
        loss_fn=function(cross_entropy, nn.CrossEntropyLoss, lambda logits, y: 1.0, lambda logits, y: logits),
        seed=TORCH_SEED,
        device=Argument("cpu", ("nowhere", "", None, ["cpu"], 1.5, nothing)),
        quantities=QUANTITIES,
        every=integer(1),
        each_step=optional(function(lambda step, model: None)),
        progress=optional(flag(False)),
    ),
    call(
        train.fit,
        model=model(net()),
        split=wrong_split(),
        epochs=integer(1),
        batch_size=integer(10),
        lr=number(0.1, least=0),
    ),
    call(
        train.batches,
        n=integer(4),
        batch_size=integer(2),
        steps=integer(2, least=0),
        seed=TORCH_SEED,
    ),
    call(train.schedule_factor, schedule=Argument("linear", SCHEDULE.bad[:4]), steps=STEPS),
    call(train.train_part, split=wrong_split()),
    call(train.test_part, split=wrong_split()),
    call(train.check_quantities, quantities=QUANTITIES),
    call(train.is_silent, progress=optional(flag(False))),
]

TWO = Argument([net(), net()], ([], None, 3, "models", net(), [net(), None], [net(), nn.ReLU()], [nn.Linear]))


def stacked() -> ensemble.Stack:
    return ensemble.stack([net(), net()])


WHICH = torch.tensor([True, False])
GRID = [{"lr": 0.1}, {"lr": 0.2, "seed": 1}]
BAD_GRIDS = (
    None,
    3,
    "lr",
    {"lr": 0.1},
    [3],
    [{}],
    [{"lr": "x"}],
    [{"lr": 0.1, "seed": -1}],
    [{"lr": 0.1, "rate": 2}],
)
BAD_BUILDS = (None, 3, "3", [3], [4, 4], [3, 2], [3, 2.5, 4], lambda settings: None, nn.Linear, nothing)
WIDTHS = Argument((3, 4, 4), BAD_BUILDS)

ENSEMBLE = [
    call(ensemble.Stack, models=TWO),
    call(ensemble.stack, models=TWO),
    call(ensemble.unstack, stacked=model(stacked(), net())),
    method(stacked, "member", m=Argument(0, (True, 1.5, "1", [1], None, -3, 2, nothing))),
    method(stacked, "keep", which=tensor(WHICH, WHICH[:1], WHICH[:, None])),
    method(stacked, "forward", x=tensor(X.expand(2, *X.shape))),
    call(
        ensemble.fit_many,
        shape_or_build=WIDTHS,
        split=wrong_split(),
        grid=Argument(GRID, BAD_GRIDS),
        steps=STEPS,
        batch_size=integer(10, most=40),
        optimizer=name("sgd"),
        schedule=SCHEDULE,
        clip=optional(number(1.0, above=0)),
        warmup=integer(0, least=0),
        quantities=QUANTITIES,
        every=integer(1),
        seed=optional(TORCH_SEED),
        progress=optional(flag(False)),
        executor=Argument(None, (3, "executor", nothing, object())),
    ),
    call(
        ensemble.fit_many,
        shape_or_build=Argument((3, 4, 4), ()),
        split=wrong_split(),
        grid=Argument(GRID, ()),
        steps=STEPS,
        batch_size=integer(10),
        norm=NORM,
    ),
    call(ensemble.grid, lr=Argument([0.1, 0.2], ([], np.array([])))),
]

CALLS = [*DATA, *MODELS, *MEASURED, *TRAIN, *ENSEMBLE]
