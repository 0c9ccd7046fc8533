"""`fit_many` of networks that a function builds: what can be stacked, and what silently cannot."""

import pytest
import torch
from members import (
    EVERYTHING,
    SHAPE,
    D,
    K,
    N,
    alone,
    assert_equals_fit,
    assert_same,
    assert_same_weights,
    make_split,
    member,
)
from networks import (
    Chosen,
    Column,
    Concatenated,
    Dropping,
    Early,
    FirstThree,
    Grown,
    HiddenByZeros,
    Images,
    Masked,
    MeanOfExamples,
    OnlyInEvaluation,
    Overwriting,
    OwnBuffer,
    OwnVector,
    Residual,
    Scalar,
    Signed,
    SoftmaxOfAxis1,
    Squeezed,
    Transposed,
    Twice,
    Unlike,
    Viewed,
    convolutional,
    with_dropout,
)
from torch import nn

from unstuck.data import Split
from unstuck.ensemble import fit_many
from unstuck.models import mlp, small_cnn


@pytest.fixture
def split():
    return make_split()


def reasons(runs):
    return {run.record.meta["stacked"] for run in runs}


# --- what is stacked ---


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_a_forward_of_ones_own_is_stacked(split, optimizer):
    grid = [{"lr": lr, "seed": s} for s, lr in enumerate((0.01, 0.05, 0.02))]
    arguments = {"optimizer": optimizer, "weights": optimizer != "adam"}  # a bias before a batch norm is rounding
    runs = assert_equals_fit(grid, split, build=Residual, seed=None, **arguments)
    assert reasons(runs) == {True}
    assert {"act", "act#2", "shrink"} <= set(runs[0].record.layers("act_mean"))
    assert "twofold" not in runs[0].record.layers("act_mean")


def test_a_name_with_the_sign_of_a_later_call(split):
    runs = assert_equals_fit([{"lr": 0.1, "seed": s} for s in range(2)], split, build=Signed)
    assert set(runs[0].record.layers("act_mean")) == {"act.C#", "act.C"}


@pytest.mark.parametrize("batch_size", [4, 15])
def test_an_activation_that_is_known_at_its_second_call_only(split, batch_size):
    """The inputs of 4 examples are too few to tell an activation from; those of 15 are enough."""
    grid = [{"lr": 0.1, "seed": s} for s in range(2)]
    runs = assert_equals_fit(grid, split, build=Early, seed=None, batch_size=batch_size, every=1)
    first, second = (runs[0].record.get("act_mean", layer)[0] for layer in ("act", "act#2"))
    assert second.tolist() == list(range(50)) and first.tolist() == list(range(int(batch_size == 4), 50))


def test_a_parameter_of_one_number(split):
    runs = assert_equals_fit([{"lr": 0.1, "seed": s} for s in range(4)], split, build=Scalar, clip=None)
    assert reasons(runs) == {True} and runs[0].record.layers("update_ratio")[0] == ""


@pytest.mark.parametrize("build", [Images, Column])
def test_the_units_are_those_of_watch(split, build):
    x, x_test = split.x_train.clone(), split.x_test
    x[:, 0] = -x[:, 0].abs()  # at the input one channel of three is dead
    split = Split(x, split.y_train, x_test, split.y_test, split.classes)
    runs = assert_equals_fit([{"lr": 0.1, "seed": s} for s in range(3)], split, build=build, batch_size=N, every=2)
    assert reasons(runs) == {True}
    assert 0 < runs[0].record.last("dead", runs[0].record.layers("dead")[0]) < 1


def test_build_gets_all_settings_and_architectures_are_told_apart(split):
    grid = [
        {"lr": 0.05, "by": by, "activation": activation, "width": width, "gain": None, "bias": "mine", "what": [1]}
        for width in (4, 8)
        for by in (1.0, -2.0)
        for activation in ("tanh", "relu")
    ]
    seen = []

    def build(settings):
        seen.append(dict(settings))
        return Chosen(settings)

    runs = fit_many(build, split, grid, steps=20, batch_size=15, quantities=EVERYTHING, every=3)
    assert reasons(runs) == {True} and seen == [settings | {"seed": 0} for settings in grid]
    for settings, run in zip(grid, runs, strict=True):
        record, model = alone(settings, split, build=Chosen, steps=20, batch_size=15, quantities=EVERYTHING, every=3)
        assert_same(run.record, record)
        assert_same_weights(run.model, model)


def test_a_scheme_goes_with_a_function_that_builds(split):
    def build(settings):
        return mlp((D, settings["width"], K), norm="layer")

    grid = [
        *(member("normal", scale=0.4, width=5, bias="like weights"), member("lsuv", width=7, seed=1)),
        *(member("he", width=5, bias=None, seed=3), {"lr": 0.1, "width": 7, "seed": 4}),
    ]
    assert_equals_fit(grid, split, build=build, seed=None)


# --- what is not ---


def test_a_network_that_overwrites_its_input(split):
    before = split.x_train.clone()
    for m in (3, 1):
        grid = [{"lr": 0.1, "seed": s} for s in range(m)]
        runs = assert_equals_fit(grid, split, build=Overwriting, steps=5, every=1, quantities=())
        assert torch.equal(split.x_train, before)
        if m > 1:
            assert reasons(runs).pop().startswith(f"{LEADING} its forward raises RuntimeError: unsupported operation")


LEADING = "with a leading axis"
NOT_STACKED = [
    (MeanOfExamples, f"{LEADING} its forward computes something else"),
    (FirstThree, f"{LEADING} its forward raises RuntimeError"),
    (Concatenated, f"{LEADING} its forward raises RuntimeError"),
    (SoftmaxOfAxis1, f"{LEADING} its forward computes something else"),
    (Viewed, f"{LEADING} its forward raises RuntimeError"),
    (Transposed, f"{LEADING} its forward computes something else"),
    (OwnVector, f"{LEADING} its forward raises RuntimeError"),
    (OwnBuffer, f"{LEADING} its forward raises RuntimeError"),
    (HiddenByZeros, f"{LEADING} its forward computes something else"),
    (Squeezed, f"{LEADING} its forward raises RuntimeError"),
    (Grown, f"{LEADING} its output has the shape (3, 9, 3), not (3, 8, 3)"),
    (OnlyInEvaluation, f"{LEADING} its forward computes something else"),
    (Unlike, f"{LEADING} its forward computes something else"),
    (Dropping, f"{LEADING} its forward computes something else"),
    (Masked, "models: Masked has hooks"),
    (Twice, "models: Twice uses a part of itself twice"),
    (convolutional, "models: Conv2d cannot be stacked"),
    (with_dropout, "models: Dropout draws at random"),
]


@pytest.mark.parametrize(("build", "reason"), NOT_STACKED)
def test_what_breaks_under_a_leading_axis_is_trained_one_by_one(split, build, reason):
    state = torch.get_rng_state()
    grid = [{"lr": lr, "seed": s} for s, lr in enumerate((0.01, 0.05, 0.02))]
    # as many examples as networks: what then broadcasts is wrong without an error
    runs = assert_equals_fit(grid, split, build=build, seed=None, batch_size=3, steps=25, rel=1e-12)
    assert len(reasons(runs)) == 1 and reasons(runs).pop().startswith(reason)
    assert {run.record.meta["every"] for run in runs} == {7} and {run.record.meta["window"] for run in runs} == {10}
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize(("clip", "warmup"), [(0.5, 0), (None, 8), (0.5, 8)])
def test_clip_and_warm_up_in_the_loop(split, optimizer, clip, warmup):
    """Against `fit` with an optimiser that clips, and against the stack of the same networks."""
    grid = [{"lr": lr, "seed": 1} for lr in (0.05, 0.5)]
    arguments = {"steps": 20, "batch_size": 15, "every": 1, "quantities": ("grad_norm", "update_ratio")}
    arguments |= {"optimizer": optimizer, "clip": clip, "warmup": warmup}

    def build(settings):
        return mlp(SHAPE, "tanh")

    def looped(settings):
        model = build(settings)
        model.act1.register_forward_hook(lambda *args: None)
        return model

    loop, together = (fit_many(make, split, grid, **arguments) for make in (looped, build))
    assert reasons(loop) != reasons(together) == {True}
    for settings, one, other in zip(grid, loop, together, strict=True):
        record, model = alone(settings, split, build=build, **arguments)
        assert_same(one.record, record, rel=1e-12)
        assert_same_weights(one.model, model, rel=1e-12)
        assert_same(other.record, record)
        assert_same_weights(other.model, model)


def test_a_gradient_of_zero_is_not_clipped(split):
    def build(settings):
        model = nn.Sequential(nn.Flatten(), nn.Linear(D, K), nn.Dropout(0.0), nn.Hardtanh())
        nn.init.constant_(model[1].bias, 9.0)  # saturated for good
        nn.init.zeros_(model[1].weight)
        return model

    (run,) = fit_many(build, split, [{"lr": 0.1}], steps=3, batch_size=10, clip=1.0, every=1)
    assert len(set(run.record.get("loss")[1])) == 1


def test_a_member_that_is_lost_in_the_loop(split):
    grid = [{"lr": lr} for lr in (0.1, 1e300, 0.05)]
    runs = assert_equals_fit(grid, split, build=convolutional, weights=False, steps=12)
    assert [run.record.stopped is not None for run in runs] == [False, True, False]


# --- how a network is made ---


def test_the_global_random_state_is_left_alone_by_building(split):
    state = torch.get_rng_state()
    runs = [fit_many(lambda s: Residual(s), split, [{"lr": 0.1, "seed": 3}], steps=2, batch_size=9) for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), state)
    assert_same_weights(runs[0][0].model, runs[1][0].model, rel=0)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda s: None, TypeError, r"shape_or_build, grid\[0\]: expected a function that makes modules, got None"),
        (lambda s: nn.ReLU(), ValueError, r"grid\[0\]: model: ReLU has no linear"),
        (lambda s: mlp((D, s["width"], K)), ValueError, r"grid\[1\]: widths: expected"),
    ],
)
def test_what_goes_wrong_in_a_build_names_the_member(split, build, error, message):
    grid = [member(width=4), member(width=0)]
    with pytest.raises(error, match=f"^{message}"):
        fit_many(build, split, grid, steps=2, batch_size=10)


def test_one_network_for_all_members_is_refused(split):
    model = small_cnn((3, 4), K)
    with pytest.raises(ValueError, match=r"^shape_or_build: expected a new network for each member, got one twice"):
        fit_many(lambda s: model, split, [{"lr": 0.1}] * 2, steps=2, batch_size=10)


def test_what_fails_in_training_fails_as_in_fit(split):
    def build(settings):
        return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(D + 1), nn.Linear(D, K))

    with pytest.raises(RuntimeError, match="running_mean"):
        fit_many(build, split, [{"lr": 0.1}] * 2, steps=2, batch_size=10)
    images = Split(split.x_train, split.y_train, split.x_test, split.y_test, split.classes)
    with pytest.raises(ValueError, match="expected 2D or 3D input"):
        fit_many(
            lambda s: nn.Sequential(nn.BatchNorm1d(3), nn.Flatten(), nn.Linear(D, K)),
            images,
            [{"lr": 0.1}] * 2,
            steps=2,
            batch_size=10,
        )
