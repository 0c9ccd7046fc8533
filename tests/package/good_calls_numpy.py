"""A good call of every public function, class and method of `scratch` and `theory`, with the bad values of each."""

import numpy as np
from bad_values import (
    DTYPE,
    RNG,
    SEED,
    Argument,
    array,
    function,
    gradient,
    integer,
    integers,
    name,
    nothing,
    number,
    optional,
)
from good_calls import Call, call, method, net

from unstuck import scratch, theory

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

F = name("relu")
SIGMA_W, SIGMA_B, Q = number(1.5, above=0), number(0.1, least=0), number(1.0, above=0)

THEORY = [
    call(theory.born_dead_bounds, depth=integer(3, least=2), width=integer(3)),
    call(theory.born_dead_upper, widths=integers((3, 4))),
    call(theory.norm_fluctuation, widths=integers((3, 4))),
    call(theory.expectation, function=function(np.abs, lambda z: 1.0, lambda z: z[:3], lambda z: "x"), q=Q),
    call(theory.gain, activation=F),
    call(theory.batchnorm_growth, activation=F),
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

CALLS = [*SCRATCH, *THEORY]
