"""`fit_many` of perceptrons against `fit` of each member alone, and against a loop written by hand."""

import io
import math
import sys

import numpy as np
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
    network,
)
from torch.nn.functional import cross_entropy

from unstuck.activations import ACTIVATIONS
from unstuck.data import Split
from unstuck.ensemble import fit_many, training
from unstuck.models import NORMS, mlp
from unstuck.record import Record


@pytest.fixture
def split():
    return make_split()


# --- every member is what `fit` makes of it ---


@pytest.mark.parametrize("norm", [None, *NORMS])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_every_activation_equals_fit(split, optimizer, norm):
    grid = [member(activation=name, seed=i, bias=0.1) for i, name in enumerate(ACTIVATIONS)]
    rounding = optimizer == "adam" and norm == "batch"  # all that Adam sees of a bias before a batch norm
    runs = assert_equals_fit(grid, split, optimizer=optimizer, norm=norm, weights=not rounding)
    assert all(run.record.meta["stacked"] is True for run in runs)


def test_several_groups_equal_fit(split):
    shape, grid = (D, 32, 48, K), [member(activation=a, seed=i) for i, a in enumerate(("relu", "tanh", "maxout"))]
    runs = assert_equals_fit(grid, split, norm="group", shape=shape)
    assert [run.model.norm1.num_groups for run in runs] == [2, 2, 4]
    assert [run.model.norm2.num_groups for run in runs] == [3, 3, 6]


@pytest.mark.parametrize("schedule", ["linear", "cosine", lambda step: 1 / (1 + step)])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_schedules_and_rates(split, optimizer, schedule):
    grid = [member(lr=lr, seed=2) for lr in (0.0, 0.003, 0.1)]
    assert_equals_fit(grid, split, optimizer=optimizer, schedule=schedule, quantities=("update_ratio",), every=3)


@pytest.mark.parametrize("activation", ["relu", "maxout"])
def test_schemes_scales_and_biases(split, activation):
    grid = [
        member("normal", scale=0.01),
        member("normal", scale=0.5, bias="like weights", seed=4),
        member("uniform", scale=0.3, bias=-0.2),
        member("xavier", gain=2.0),
        member("orthogonal", seed=7),  # under seed 0, which drew the data too, examples lie on the kinks
        member("rai"),
        member("pytorch"),
        member("he", bias=None, seed=5),
        member("lsuv", seed=3),
        {"lr": 0.05, "seed": 6},
        member(None, bias=None),
        member("constant", scale=0.1),
        member("zeros"),  # all units and all logits are ties
    ]
    grid = [settings | {"activation": activation} for settings in grid]
    if activation == "maxout":  # its pieces are equal but for rounding, which decides who gets the gradient
        grid = [settings for settings in grid if settings.get("scheme") != "constant"]
    for seed in (0, None):  # LSUV's first batch is that of the member's order
        assert_equals_fit(grid, split, seed=seed)


@pytest.mark.parametrize("norm", [None, "batch"])
def test_the_order_of_batches_is_of_the_call_or_of_each_member(split, norm):
    grid = [member(activation=a, seed=s) for s in (3, 1, 3, 2) for a in ("relu", "prelu")]
    shared = assert_equals_fit(grid, split, seed=5, norm=norm)
    own = assert_equals_fit(grid, split, seed=None, norm=norm)
    assert shared[0].record.last("loss") != own[0].record.last("loss")


@pytest.mark.parametrize("shape", [(D, K), (D, 1, K), (D, 5, 1, 6, K + 2)])
def test_other_shapes(split, shape):
    assert_equals_fit([member("xavier", seed=s) for s in range(3)], split, shape=shape)


def test_features_need_not_be_images_and_a_batch_may_be_everything(split):
    flat = Split(split.x_train.flatten(1), split.y_train, split.x_test.flatten(1), split.y_test, split.classes)
    assert_equals_fit([member()], flat, batch_size=N, steps=3, every=1)
    assert_equals_fit([member()], flat, batch_size=1, steps=3, every=1)


def test_float32_equals_fit_over_the_first_steps():
    split = make_split(torch.float32)
    grid = [member(activation=name, seed=i) for i, name in enumerate(ACTIVATIONS)]
    arguments = {"steps": 10, "every": 1, "rel": 1e-4, "quantities": ("dead", "test_accuracy"), "weights": False}
    for norm in (None, "batch"):
        assert_equals_fit(grid, split, norm=norm, **arguments)


# --- clipping and warm-up ---


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize(("clip", "warmup"), [(1.0, 0), (None, 8), (1.0, 8)])
def test_clipping_and_warm_up_equal_a_loop_by_hand(split, optimizer, clip, warmup):
    grid = [member(activation=a, lr=lr) for a in ("tanh", "prelu") for lr in (0.05, 0.5)]
    arguments = {"steps": 20, "batch_size": 25, "every": 1, "schedule": "linear", "quantities": ("grad_norm",)}
    runs = fit_many(SHAPE, split, grid, clip=clip, warmup=warmup, optimizer=optimizer, **arguments)
    clipped = []
    for settings, run in zip(grid, runs, strict=True):
        model = network(settings, split, lambda s: mlp(SHAPE, s["activation"]))
        optim = {
            "sgd": torch.optim.SGD(model.parameters(), 1.0),
            "momentum": torch.optim.SGD(model.parameters(), 1.0, momentum=0.9),
            "adam": torch.optim.Adam(model.parameters(), 1.0),
        }[optimizer]
        generator, losses, norms = torch.Generator().manual_seed(0), [], []
        for step in range(20):
            if step % 2 == 0:
                order = torch.randperm(N, generator=generator)
            batch = order[:25] if step % 2 == 0 else order[25:]
            rising = min(1.0, (step + 1) / warmup) if warmup else 1.0
            optim.param_groups[0]["lr"] = settings["lr"] * (1 - step / 20) * rising
            optim.zero_grad()
            loss = cross_entropy(model(split.x_train[batch]), split.y_train[batch])
            loss.backward()
            norms.append(float(model.linear1.weight.grad.norm()))
            if clip is not None:
                clipped.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), clip)) > clip)
            optim.step()
            losses.append(float(loss.detach()))
        np.testing.assert_allclose(run.record.get("loss")[1], losses, rtol=1e-8)
        np.testing.assert_allclose(run.record.get("grad_norm", "linear1")[1], norms, rtol=1e-8)  # before clipping
    assert not clipped or {True, False} == set(clipped)


# --- members that are no longer finite ---


# Rates with which a network overflows in one step, whatever the rounding; the others live through a schedule that
# jumps at step 20 by the last number. In the linear one the weights and their squares stay finite.
TANH = ("tanh", (D, 9, K), (1e-310, 1.5e308, 2e-310, 1.5, 3e-310), 1e308)
LINEAR = ("identity", SHAPE, (1e-112, 1e110, 2e-112, 0.05, 3e-112), 1e110)


@pytest.mark.parametrize(
    ("activation", "shape", "rates", "jump", "optimizer", "every"),
    [
        *((*network, *trained) for network in (TANH, LINEAR) for trained in (("sgd", 1), ("sgd", 4), ("adam", 4))),
        *((*TANH, "momentum", 4), (*LINEAR, "momentum", 1)),
    ],
)
def test_a_member_that_is_not_finite_stops_as_in_fit_and_the_others_go_on(
    split, activation, shape, rates, jump, optimizer, every
):
    grid = [member(lr=lr, seed=s, activation=activation) for s, lr in enumerate(rates)]
    arguments = {"optimizer": optimizer, "every": every, "shape": shape}
    arguments["schedule"] = lambda step: 1.0 if step < 20 else jump
    for seed in (0, None):
        runs = assert_equals_fit(grid, split, seed=seed, **arguments)  # also what a stopped one is left as
        assert [run.record.stopped and run.record.stopped[0] for run in runs] == [None, 1, None, 21, None]
    assert runs[0].record.last("loss") < runs[0].record.get("loss")[1][0]


@pytest.mark.parametrize("norm", NORMS)
def test_a_member_is_lost_in_the_middle_with_a_norm(split, norm):
    grid = [member(lr=lr, seed=s, activation="prelu") for s, lr in enumerate((0.1, 1e160, 0.02, 1e200))]
    arguments = {"norm": norm, "optimizer": "momentum", "every": 1, "steps": 30, "batch_size": 15}
    runs = assert_equals_fit(grid, split, weights=False, **arguments)
    assert [run.record.stopped is not None for run in runs] == [False, True, False, True]
    for m in (0, 2):  # what is beyond the largest number depends on the order of the sums
        assert_same_weights(runs[m].model, alone(grid[m], split, **arguments)[1])


def test_members_may_be_lost_at_step_0_and_all_may_be_lost(split):
    split = Split(1e200 * split.x_train, split.y_train, split.x_test, split.y_test, split.classes)
    grid = [member("normal", scale=1e120, seed=s) for s in range(3)] + [member("normal", scale=1e-202, lr=0)]
    quantities = ("weight_norm", "grad_norm", "update_ratio", "test_accuracy")
    runs = assert_equals_fit([*grid, member("zeros", activation="tanh", lr=0)], split, quantities=quantities)
    assert [run.record.stopped and run.record.stopped[0] for run in runs] == [0, 0, 0, None, None]
    assert_equals_fit(grid[:2], split, quantities=quantities)


# --- chunks, determinism ---


def test_results_do_not_depend_on_the_chunks(split, monkeypatch):
    grid = [member(activation=a, seed=s) for s in range(5) for a in ("relu", "maxout")]
    arguments = {"steps": 10, "batch_size": 15, "every": 2, "quantities": EVERYTHING, "seed": None}
    whole = fit_many(SHAPE, split, grid, **arguments)
    sizes, population = [], training.Population

    def counted(plan, members, stacked, runs):
        sizes.append(len(members))
        return population(plan, members, stacked, runs)

    monkeypatch.setattr(training, "Population", counted)
    plan = training.Plan(None, split, 10, 15, "sgd", [], None, (), 2, None)
    largest = training._bytes(mlp(SHAPE, "maxout"), plan)
    for limit, expected in ((1, [1] * 10), (2.5 * largest, None)):
        monkeypatch.setattr(training, "MEMORY", limit)
        sizes.clear()
        for run, reference in zip(fit_many(SHAPE, split, grid, **arguments), whole, strict=True):
            assert run.settings == reference.settings
            assert_same(run.record, reference.record, rel=1e-12)
        assert sum(sizes) == 10 and 1 < max(sizes) < 5 if expected is None else sizes == expected


def test_the_same_call_gives_the_same_bits(split):
    runs = [
        fit_many(SHAPE, split, [member(seed=s) for s in range(3)], steps=10, quantities=EVERYTHING, batch_size=10)
        for _ in range(2)
    ]
    assert [run.record.rows for run in runs[0]] == [run.record.rows for run in runs[1]]


def test_an_empty_grid_gives_nothing(split):
    assert fit_many(SHAPE, split, [], steps=3, batch_size=10) == []


# --- what is recorded ---


def test_settings_are_kept_as_given_and_the_record_can_be_saved(split, tmp_path):
    given = {"lr": np.float32(0.5), "scheme": "normal", "scale": np.float64(0.1), "bias": 0}
    (run,) = fit_many(SHAPE, split, (g for g in [given]), steps=2, batch_size=10)
    assert run.settings == {"lr": 0.5, "scheme": "normal", "scale": 0.1, "bias": 0, "seed": 0}
    assert {type(run.settings[name]) for name in ("lr", "scale")} == {float}
    assert run.record.meta == {"every": 10, "window": 10, "stacked": True}
    run.record.save(tmp_path / "record.npz")
    assert Record.load(tmp_path / "record.npz").meta == run.record.meta
    (run,) = fit_many(SHAPE, split, [given | {"seed": np.int64(3)}], steps=2, batch_size=10, every=2)
    assert run.settings["seed"] == 3 and type(run.settings["seed"]) is int and run.record.meta["every"] == 2


def test_a_unit_killed_late_is_dead_but_has_fired(split):
    """One large step kills; `dead` follows after the window of 10 observed steps, `never_fired` does not.

    Some networks are lost by it: what is known of the units of the others goes on.
    """
    grid = [member(lr=1e160 if s % 3 == 1 else 200.0, seed=s) for s in range(6)]
    runs = assert_equals_fit(
        grid, split, steps=60, every=2, quantities=("dead", "never_fired"), schedule=lambda step: float(step == 5)
    )
    left = [run for run in runs if run.record.stopped is None]
    dead, never = (np.array([run.record.last(q, "act2") for run in left]) for q in ("dead", "never_fired"))
    assert len(left) == 4 and (dead > never).any() and (never <= dead).all()


# --- what is left alone ---


def test_global_state_is_untouched(split):
    torch_state, threads = torch.get_rng_state(), torch.get_num_threads()
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002  (the global state is what is tested)
    before = [t.clone() for t in (split.x_train, split.y_train, split.x_test, split.y_test)]
    grid = [member(activation=a, scheme=scheme) for a in ACTIVATIONS for scheme in ("he", None, "lsuv")]
    fit_many(SHAPE, split, grid, steps=3, batch_size=10, norm="batch", quantities=EVERYTHING)
    assert torch.equal(torch.get_rng_state(), torch_state) and torch.get_num_threads() == threads
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert torch.is_grad_enabled() and torch.get_default_dtype() == torch.float32
    for old, new in zip(before, (split.x_train, split.y_train, split.x_test, split.y_test), strict=True):
        assert torch.equal(old, new)


def test_it_makes_no_difference_whether_gradients_are_enabled(split):
    grid, arguments = [member(activation="prelu")], {"steps": 5, "batch_size": 10, "norm": "layer"}
    expected = fit_many(SHAPE, split, grid, **arguments)[0].record.rows
    with torch.no_grad():
        assert fit_many(SHAPE, split, grid, **arguments)[0].record.rows == expected


def test_progress(split, capsys, monkeypatch):
    arguments = {"steps": 4, "batch_size": 10}
    grid = [member(lr=1e200), member(activation="tanh"), member(activation="tanh")]
    fit_many(SHAPE, split, grid, **arguments)
    fit_many(SHAPE, split, grid, progress=False, **arguments)
    assert capsys.readouterr() == ("", "")
    fit_many(SHAPE, split, grid, progress=True, **arguments)
    out, bar = capsys.readouterr()
    assert out == "" and "12/12" in bar
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    fit_many(SHAPE, split, grid, **arguments)
    assert "12/12" in terminal.getvalue()


# --- wrong arguments ---


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"steps": 0}, ValueError, "steps: .* got 0"),
        ({"steps": 1.5}, TypeError, "steps: expected an integer, got 1.5"),
        ({"batch_size": N + 1}, ValueError, f"batch_size: .*{N}.* got {N + 1}"),
        ({"batch_size": 7, "norm": "batch"}, ValueError, "batch_size: 7 of 50 .* batch of one"),
        ({"batch_size": 1, "norm": "batch"}, ValueError, "batch_size: 1 of 50 .* batch of one"),
        ({"every": 0}, ValueError, "every"),
        ({"warmup": -1}, ValueError, "warmup: expected .* at least 0, got -1"),
        ({"warmup": 0.5}, TypeError, "warmup"),
        ({"seed": -1}, ValueError, "seed"),
        ({"seed": 2**64}, ValueError, "seed"),
        ({"seed": "0"}, TypeError, "seed"),
        ({"optimizer": "Adam"}, ValueError, "optimizer: 'Adam' is not one of .*'adam'"),
        ({"optimizer": torch.optim.SGD}, TypeError, "optimizer: expected one of"),
        ({"schedule": "step"}, ValueError, "schedule: 'step' is not one of"),
        ({"norm": "instance"}, ValueError, "norm: .*'instance'"),
        ({"clip": 0}, ValueError, "clip: .*got 0"),
        ({"clip": math.nan}, ValueError, "clip: .*got nan"),
        ({"clip": "1"}, TypeError, "clip: .*got '1'"),
        ({"quantities": "loss"}, TypeError, "quantities: .*'loss'"),
        ({"quantities": ("grad_nrom",)}, ValueError, r"quantities: \['grad_nrom'\]"),
        ({"executor": 2}, TypeError, r"executor: expected a concurrent.futures.Executor, got 2"),
        ({"shape_or_build": (D,)}, ValueError, "shape_or_build: expected at least"),
        ({"shape_or_build": 5}, TypeError, "shape_or_build: expected a sequence of integers, got 5"),
        (
            {"shape_or_build": (D + 1, 4, K)},
            ValueError,
            rf"shape_or_build: expected {D} inputs .*\({D + 1}, 4, {K}\)",
        ),
        ({"shape_or_build": (D, 4, K - 1)}, ValueError, f"shape_or_build: .*at least {K} outputs"),
        ({"shape_or_build": mlp(SHAPE)}, TypeError, "shape_or_build: .* got a network"),
        ({"shape_or_build": mlp, "norm": "batch"}, ValueError, "norm: goes with widths"),
        ({"grid": 3}, TypeError, "grid: expected a list of settings, got 3"),
        ({"grid": member()}, TypeError, r"grid\[0\]: expected a dict of settings, got 'scheme'"),
        ({"grid": [member(), {"scheme": "he"}]}, ValueError, r"grid\[1\]: lr: expected a learning rate, got"),
        ({"grid": [member(lr=-1)]}, ValueError, r"grid\[0\]: lr: .*got -1"),
        ({"grid": [member(lr=math.inf)]}, ValueError, r"grid\[0\]: lr: .*got inf"),
        ({"grid": [member(lr="0.1")]}, TypeError, r"grid\[0\]: lr: .*got '0.1'"),
        ({"grid": [member()] * 3 + [member("normal")]}, ValueError, r"grid\[3\]: scale: needed by 'normal'"),
        ({"grid": [member(activation="swish")]}, ValueError, r"grid\[0\]: activation: 'swish'"),
        ({"grid": [member("lsuv", gain=1.0)]}, ValueError, r"grid\[0\]: gain: not used by 'lsuv'"),
        ({"grid": [member("glorot")]}, ValueError, r"grid\[0\]: scheme: 'glorot'"),
        ({"grid": [member(None, gain=2.0)]}, ValueError, r"grid\[0\]: scheme: \['gain'\] need one, got none"),
        ({"grid": [member(bias="like weights")]}, ValueError, r"grid\[0\]: bias: 'like weights' goes with"),
        ({"grid": [member(seed=0.5)]}, TypeError, r"grid\[0\]: seed"),
        ({"grid": [member(seed=-1)]}, ValueError, r"grid\[0\]: seed"),
        ({"grid": [member(width=3)]}, ValueError, r"grid\[0\]: \['width'\] are not among"),
        ({"grid": [("he", 0.1)]}, TypeError, r"grid\[0\]: expected a dict"),
        (
            {"shape_or_build": lambda s: mlp(SHAPE), "grid": [member("normal")]},
            ValueError,
            r"grid\[0\]: scale: needed",
        ),
    ],
)
def test_wrong_arguments_are_named_before_anything_is_trained(split, monkeypatch, wrong, error, message):
    monkeypatch.setattr(training, "_train", None)
    arguments = {"shape_or_build": SHAPE, "split": split, "grid": [member()], "steps": 2, "batch_size": 10} | wrong
    with pytest.raises(error, match=f"^{message}"):
        fit_many(**arguments)


def test_a_split_of_arrays_is_refused(split):
    with pytest.raises(TypeError, match=r"^split: expected torch tensors, got ndarray"):
        fit_many(SHAPE, split.numpy(), [member()], steps=2, batch_size=10)
