"""A good call of every public function, class and method of what computes, with the bad values of each argument."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from bad_values import (
    DTYPE,
    RNG,
    SEED,
    TORCH_SEED,
    Argument,
    array,
    flag,
    function,
    gradient,
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

from unstuck import data, ensemble, evaluate, init, models, probes, scratch, theory, train


@dataclass(frozen=True)
class Call:
    """`make()` is what is called, with `arguments` by name; `*shapes` and the like by the name in the signature."""

    label: str
    make: Callable[[], Callable]
    arguments: dict[str, Argument]


def call(target: Callable, /, **arguments: Argument) -> Call:
    return Call(target.__qualname__, lambda: target, arguments)


def method(make: Callable[[], Any], called: str, /, **arguments: Argument) -> Call:
    """A method of a new object for every call; a class for what is called on the class."""
    owner = make()
    owner = owner if isinstance(owner, type) else type(owner)
    return Call(f"{owner.__name__}.{called}", lambda: getattr(make(), called), arguments)


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

Z, IMAGE = np.ones((2, 3)), np.ones((2, 3, 4, 4))
KERNEL = np.ones((5, 3, 2, 2))
LABELS = np.array([0, 2])


def layer(make, x: np.ndarray, *wrong: np.ndarray, given: str = "x") -> list[Call]:
    """Both passes of a layer: inputs of a wrong shape are `wrong`, gradients are in the shape of the output."""

    def after_forward():
        made = make()
        made.forward(x)
        return made

    output = make().forward(x)
    return [
        method(make, "forward", **{given: array(x, *wrong)}),
        method(after_forward, "backward", grad=gradient(np.ones_like(output))),
    ]


def network() -> scratch.Network:
    return scratch.Network([scratch.Linear(3, 3, rng=0)], scratch.SoftmaxCrossEntropy())


def report() -> scratch.GradientReport:
    return scratch.gradient_check(network(), Z, LABELS)


CLASSES = array(LABELS, LABELS + 0.5, LABELS[:, None], LABELS[:1], LABELS + 1, LABELS - 1, 3)
SHARES = array(np.array([0.0, 1.0]), np.ones((2, 1)), np.ones(3), np.array([0.0, 2.0]), np.array([0.0, np.nan]), 3)
LOSSES = [
    (scratch.SoftmaxCrossEntropy, array(Z, Z[0], Z[:0], 3), CLASSES),
    (scratch.LogisticLoss, array(Z[:, :1], Z, Z[0], Z[:0], 3), SHARES),
    (scratch.SquaredError, array(Z, Z[:0], 3), array(Z, Z[0], Z[:, :1], 3)),
]
PAIR = ("mnist", None, 3, (Z,), (Z, LABELS, Z), ("x", LABELS), (Z, "y"), (Z, LABELS[:1]), (None, None), nothing)

SCRATCH = [
    call(scratch.sigmoid, z=array(Z)),
    *[
        each
        for kind in scratch.ACTIVATIONS.values()
        if kind is not scratch.Maxout
        for each in layer(kind, Z, given="z")
    ],
    *layer(scratch.Maxout, np.ones((2, 4)), Z, np.ones(4), 3, given="z"),
    call(scratch.LeakyReLU, slope=number(0.1)),
    call(scratch.PReLU, slope=number(0.1)),
    call(scratch.ELU, alpha=number(1.0), scale=number(1.0)),
    call(scratch.Maxout, pieces=integer(2, least=2)),
    call(
        scratch.Linear,
        fan_in=integer(3),
        fan_out=integer(5),
        weight=array(np.ones((5, 3)), np.ones((3, 5)), 3),
        bias=optional(array(np.ones(5), np.ones((5, 1)), 3)),
    ),
    call(scratch.Linear, fan_in=integer(3), fan_out=integer(5), rng=RNG),
    *layer(lambda: scratch.Linear(3, 5, rng=0), Z, np.ones((2, 4)), np.ones(3), 3),
    *layer(scratch.Flatten, IMAGE, np.ones((0, 3)), 3),
    call(
        scratch.Conv2d,
        c_in=integer(3),
        c_out=integer(5),
        size=integer(2),
        stride=integer(1),
        padding=integer(0, least=0),
        weight=array(KERNEL, np.ones((5, 3, 2, 3)), 3),
        bias=optional(array(np.ones(5), np.ones((5, 1)), 3)),
    ),
    call(scratch.Conv2d, c_in=integer(3), c_out=integer(5), size=integer(2), rng=RNG),
    *layer(lambda: scratch.Conv2d(3, 5, 2, rng=0), IMAGE, IMAGE[0], IMAGE[:, :2], IMAGE[:, :, :1], 3),
    call(scratch.MaxPool2d, size=integer(2), stride=optional(integer(2))),
    *layer(lambda: scratch.MaxPool2d(2), IMAGE, IMAGE[0], IMAGE[:, :, :1], 3),
    call(
        scratch.BatchNorm,
        features=integer(3),
        momentum=number(0.1, least=0, most=1),
        eps=number(1e-5, least=0),
    ),
    *layer(lambda: scratch.BatchNorm(3), Z, Z[:, :2], Z[:1], Z[0], 3),
    call(scratch.LayerNorm, features=integer(3), eps=number(1e-5, least=0)),
    *layer(lambda: scratch.LayerNorm(3), Z, Z[:, :2], Z[0], 3),
    method(lambda: scratch.Linear(3, 3, rng=0), "astype", dtype=DTYPE),
    call(scratch.windows, x=array(IMAGE, IMAGE[0], 3), size=integer(2, most=4), stride=integer(1)),
    call(
        scratch.fold,
        parts=array(np.ones((2, 3, 2, 2, 3, 3)), IMAGE, np.ones((2, 3, 2, 2, 3, 2)), 3),
        shape=integers((2, 3, 4, 4), (2, 3, 4), (2, 3, 4, 5)),
        stride=integer(1),
    ),
    call(scratch.pad, x=array(IMAGE, IMAGE[0], 3), padding=integer(1, least=0)),
    call(
        scratch.conv2d_naive,
        x=array(IMAGE, IMAGE[0], IMAGE[:, :2], 3),
        w=array(KERNEL, KERNEL[0], KERNEL[:, :, :1], 3),
        b=array(np.ones(5), np.ones(4), np.ones((5, 1)), 3),
        stride=integer(1),
        padding=integer(0, least=0),
    ),
    *[call(loss, reduction=name("mean")) for loss, _, _ in LOSSES],
    *[
        method(loss, called, output=output, y=y)
        for loss, output, y in LOSSES
        for called in ("forward", "accuracy")
        if (loss, called) != (scratch.SquaredError, "accuracy")  # which is None for everything
    ],
    call(
        scratch.Network,
        layers=Argument([scratch.Flatten()], ([], None, 3, "linear", scratch.Flatten(), [scratch.Flatten], [None])),
        loss=Argument(scratch.SquaredError(), ("mse", None, 3, scratch.SquaredError, nothing)),
        dtype=DTYPE,
    ),
    method(network, "forward", x=array(Z, Z[0], Z[:, :2], 3)),
    method(network, "step", lr=number(0.1, least=0)),
    method(network, "accuracy", x=array(Z, Z[0], Z[:, :2], 3), y=CLASSES),
    method(
        network,
        "fit",
        data=Argument((Z, LABELS), PAIR),
        steps=integer(2),
        lr=number(0.1, least=0),
        batch_size=integer(2, most=2),
        seed=SEED,
        every=integer(1),
    ),
    call(
        scratch.perceptron,
        widths=integers((3, 4, 2), [3]),
        activation=name("relu"),
        weight_std=optional(number(0.1, least=0)),
        loss=Argument(None, ("mse", 3, scratch.SquaredError, nothing)),
        seed=SEED,
        dtype=DTYPE,
    ),
    call(
        scratch.gradient_check,
        network=Argument(network(), (None, "network", scratch.Network, net(), scratch.perceptron((3, 3), dtype="f"))),
        x=array(Z, Z[0], Z[:, :2], 3),
        y=CLASSES,
        eps=number(1e-5, above=0),
        entries=optional(integer(3)),
        seed=SEED,
    ),
    method(report, "__getitem__", parameter=name("linear1.weight")),
]

ACTIVATION = Argument("relu", ("unknown", "", 3, None, ["relu"], nn.ReLU(), nn.Threshold, nothing, object))
NORM = optional(name("batch"))

MODELS = [
    call(models.Maxout, pieces=integer(2, least=2)),
    method(models.Maxout, "forward", z=tensor(torch.ones(2, 4), torch.ones(2, 3), torch.ones(2), torch.ones(()))),
    call(models.activation_module, activation=ACTIVATION),
    call(models.count_parameters, model=model(net())),
    call(models.mlp, widths=integers((3, 4, 2), [3]), activation=ACTIVATION, norm=NORM),
    call(models.small_cnn, channels=integers((1, 2), [3]), classes=integer(2), activation=ACTIVATION, norm=NORM),
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
    call(init.initialise, model=model(net()), scheme=name("he"), gain=optional(number(1.0, least=0))),
    call(init.initialise, model=model(net()), scheme=name("lsuv"), x=tensor(X, X[:, :2], X.long(), X[0, 0], X[:0])),
]

MEASURED = [
    call(evaluate.in_mode, model=model(net()), training=flag(True)),
    call(
        evaluate.accuracy,
        model=model(net(), nn.Identity(), nn.LSTM(3, 4)),
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
        layers=optional(names(["1"])),
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
OPTIMIZER = Argument("sgd", ("unknown", 3, None, ["sgd"], nothing, lambda parameters, lr: None, torch.optim.Adam))
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
    call(train.schedule_factor, schedule=SCHEDULE, steps=STEPS),
    call(train.train_part, split=wrong_split()),
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

ENSEMBLE = [
    call(ensemble.Stack, models=TWO),
    call(ensemble.stack, models=TWO),
    call(ensemble.unstack, stacked=model(stacked(), net())),
    method(stacked, "member", m=integer(0, least=-2, most=1)),
    method(stacked, "keep", which=tensor(WHICH, WHICH[:1], WHICH[:, None])),
    method(stacked, "forward", x=tensor(X.expand(2, *X.shape))),
    call(
        ensemble.fit_many,
        shape_or_build=Argument((3, 4, 4), BAD_BUILDS),
        split=wrong_split(),
        grid=Argument(GRID, BAD_GRIDS),
        steps=STEPS,
        batch_size=integer(10, most=40),
        optimizer=name("sgd"),
        schedule=SCHEDULE,
        norm=NORM,
        clip=optional(number(1.0, above=0)),
        warmup=integer(0, least=0),
        quantities=QUANTITIES,
        every=integer(1),
        seed=optional(TORCH_SEED),
        progress=optional(flag(False)),
        executor=Argument(None, (3, "executor", nothing, object())),
    ),
    call(ensemble.grid, lr=Argument([0.1, 0.2], ([], np.array([])))),
]

F = name("relu")
SIGMA_W, SIGMA_B, Q = number(1.5, above=0), number(0.1, least=0), number(1.0, above=0)

THEORY = [
    call(theory.born_dead_bounds, depth=integer(3, least=2), width=integer(3)),
    call(theory.born_dead_upper, widths=integers((3, 4))),
    call(theory.norm_fluctuation, widths=integers((3, 4))),
    call(theory.expectation, function=function(np.abs, lambda z: 1.0, lambda z: z[:3], lambda z: "x"), q=Q),
    call(theory.gain, activation=F),
    *[call(each, activation=F, q=Q) for each in (theory.mean, theory.second_moment, theory.slope_moment)],
    call(theory.chi, activation=F, sigma_w=SIGMA_W, sigma_b=SIGMA_B, q=optional(Q)),
    *[
        call(each, activation=F, sigma_w=SIGMA_W, sigma_b=SIGMA_B)
        for each in (theory.fixed_point, theory.correlation_fixed_point, theory.depth_scale)
    ],
    call(
        theory.correlation_map,
        activation=F,
        c=number(0.5, least=-1, most=1),
        sigma_w=SIGMA_W,
        sigma_b=SIGMA_B,
        q=optional(Q),
    ),
    call(theory.critical_sigma_w, activation=F, sigma_b=SIGMA_B),
    call(theory.second_moment_map, activation=F, q=Q, sigma_w=SIGMA_W, sigma_b=SIGMA_B),
    call(theory.through_depth, activation=F, depth=integer(3), sigma_w=SIGMA_W, sigma_b=SIGMA_B, q=Q),
    call(theory.selu_constants),
    call(
        theory.standard_deviation,
        scheme=name("he"),
        fan_in=integer(3),
        fan_out=integer(3),
        gain=optional(number(1.0, least=0)),
    ),
    call(theory.tanh_second_moment, layer=integer(3)),
]

CALLS = [*DATA, *SCRATCH, *MODELS, *MEASURED, *TRAIN, *ENSEMBLE, *THEORY]
