"""`fit_many` against `fit` of each member alone, and against a loop written by hand where `fit` cannot."""

import gc
import io
import math
import sys

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from unstuck import ensemble
from unstuck.data import Split
from unstuck.ensemble import FUNCTIONS, fit_many, memory_needed
from unstuck.init import initialise
from unstuck.models import ACTIVATIONS, activation_module, mlp
from unstuck.probes import DEFAULT
from unstuck.record import Record
from unstuck.train import fit

N, D, K = 50, 12, 3  # batches of 15 leave one of 5
SHAPE = (D, 9, 7, K)
EVERYTHING = (*DEFAULT, "test_loss", "test_accuracy")


def make_split(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)

    def part(n):
        x = torch.randn(n, 3, 2, 2, generator=generator, dtype=dtype)
        return x, (x.flatten(1)[:, :K] + 0.3 * torch.randn(n, K, generator=generator)).argmax(1)

    return Split(*part(N), *part(40), classes=("a", "b", "c"))


@pytest.fixture
def split():
    return make_split()


def member(scheme="he", lr=0.05, **settings):
    return {"scheme": scheme, "lr": lr, **settings}


def network(settings, norm=None, shape=SHAPE, dtype=torch.float64):
    drawn = {name: settings[name] for name in ("scheme", "scale", "gain", "bias", "seed") if name in settings}
    return initialise(mlp(shape, settings.get("activation", "relu"), norm=norm).to(dtype), **drawn)


def alone(settings, split, norm=None, shape=SHAPE, seed=0, **arguments):
    """What the docstring promises: the record and the network of `fit`."""
    model = network(settings, norm, shape, split.x_train.dtype)
    order = settings.get("seed", 0) if seed is None else seed
    return fit(model, split, lr=settings["lr"], seed=order, **arguments), model


def assert_same(ours: Record, theirs: Record, rel=1e-8):
    """The same rows: the same steps of the same quantities in the same layers."""
    assert {q: sorted(ours.layers(q)) for q in ours.quantities()} == {
        q: sorted(theirs.layers(q)) for q in theirs.quantities()
    }
    for quantity in theirs.quantities():
        for layer in theirs.layers(quantity):
            (steps, values), (expected_steps, expected) = ours.get(quantity, layer), theirs.get(quantity, layer)
            assert steps.tolist() == expected_steps.tolist(), (quantity, layer)
            np.testing.assert_allclose(values, expected, rtol=rel, atol=1e-12, err_msg=f"{quantity} {layer}")
    assert ours.stopped == theirs.stopped


def assert_equals_fit(grid, split, *, norm=None, shape=SHAPE, seed=0, rel=1e-8, **arguments):
    arguments = {"steps": 50, "batch_size": 15, "every": 7, "quantities": EVERYTHING} | arguments
    results = fit_many(shape, split, grid, norm=norm, seed=seed, **arguments)
    assert len(results) == len(grid)
    for settings, (full, record) in zip(grid, results, strict=True):
        assert full.items() >= settings.items()
        assert_same(record, alone(settings, split, norm, shape, seed, **arguments)[0], rel)
    return results


# --- every member is what `fit` makes of it ---


@pytest.mark.parametrize("norm", [None, "batch", "layer"])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_every_activation_equals_fit(split, optimizer, norm):
    grid = [member(activation=name, seed=i, bias=0.1) for i, name in enumerate(ACTIVATIONS)]
    assert_equals_fit(grid, split, optimizer=optimizer, norm=norm)


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
        member("orthogonal"),
        member("rai"),
        member("pytorch"),
        member("constant", scale=0.1),
        member("zeros"),  # all units and all logits are ties
    ]
    grid = [settings | {"activation": activation} for settings in grid]
    if activation == "maxout":  # its pieces are equal but for rounding, which decides who gets the gradient
        grid = [settings for settings in grid if settings["scheme"] != "constant"]
    assert_equals_fit(grid, split)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_slopes_at_kinks_and_ties_are_those_of_autograd(name):
    z = torch.arange(-3.0, 4.0).repeat(12)[:60].view(2, 5, 6)  # zeros, and equal pieces for maxout
    z[0, 0] = 1.0
    act, forward, backward = activation_module(name), *FUNCTIONS[name]
    x = z.clone().requires_grad_()
    expected = torch.stack([act(part) for part in x])
    d = torch.randn(expected.shape, generator=torch.Generator().manual_seed(0))
    expected.backward(d)
    a, slope = torch.empty_like(expected), torch.full((2, 1), 0.25)
    forward(z, a, slope)
    backward(d, z, a, slope)
    torch.testing.assert_close(a, expected.detach())
    torch.testing.assert_close(z, x.grad)


@pytest.mark.parametrize("norm", [None, "batch"])
def test_the_order_of_batches_is_of_the_call_or_of_each_member(split, norm):
    grid = [member(activation=a, seed=s) for s in (3, 1, 3, 2) for a in ("relu", "prelu")]
    shared = assert_equals_fit(grid, split, seed=5, norm=norm)
    own = assert_equals_fit(grid, split, seed=None, norm=norm)
    assert shared[0][1].last("loss") != own[0][1].last("loss")


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
    for norm in (None, "batch"):
        assert_equals_fit(grid, split, norm=norm, steps=10, every=1, rel=1e-4, quantities=("dead", "test_accuracy"))


# --- what `fit` does not know: clipping and warm-up ---


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize(("clip", "warmup"), [(1.0, 0), (None, 8), (1.0, 8)])
def test_clipping_and_warm_up_equal_a_loop_by_hand(split, optimizer, clip, warmup):
    grid = [member(activation=a, lr=lr) for a in ("tanh", "prelu") for lr in (0.05, 0.5)]
    arguments = {"steps": 20, "batch_size": 25, "every": 1, "schedule": "linear", "quantities": ("grad_norm",)}
    results = fit_many(SHAPE, split, grid, clip=clip, warmup=warmup, optimizer=optimizer, **arguments)
    clipped = []
    for settings, record in results:
        model = network(settings)
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
        np.testing.assert_allclose(record.get("loss")[1], losses, rtol=1e-8)
        np.testing.assert_allclose(record.get("grad_norm", "linear1")[1], norms, rtol=1e-8)  # before clipping
    assert not clipped or {True, False} == set(clipped)


# --- members that are no longer finite ---


# Rates with which a tanh network overflows in one step, whatever the rounding; the others live through the schedule.
LOST = (1e-310, 1.5e308, 2e-310, 1.5, 3e-310)
SHALLOW = (D, 9, K)


def huge_after_20(step):
    return 1.0 if step < 20 else 1e308


@pytest.mark.parametrize(("optimizer", "every"), [("sgd", 1), ("sgd", 4), ("momentum", 1), ("adam", 4)])
def test_a_member_that_is_not_finite_stops_as_in_fit_and_the_others_go_on(split, optimizer, every):
    grid = [member(lr=lr, seed=s, activation="tanh") for s, lr in enumerate(LOST)]
    arguments = {"optimizer": optimizer, "every": every, "schedule": huge_after_20, "shape": SHALLOW}
    for seed in (0, None):
        results = assert_equals_fit(grid, split, seed=seed, **arguments)
        assert [record.stopped and record.stopped[0] for _, record in results] == [None, 1, None, 21, None]
    assert results[0][1].last("loss") < results[0][1].get("loss")[1][0]


def test_members_may_be_lost_at_step_0_and_all_may_be_lost(split):
    split = Split(1e200 * split.x_train, split.y_train, split.x_test, split.y_test, split.classes)
    grid = [member("normal", scale=1e120, seed=s) for s in range(3)] + [member("normal", scale=1e-202, lr=0)]
    quantities = ("weight_norm", "grad_norm", "update_ratio", "test_accuracy")
    results = assert_equals_fit([*grid, member("zeros", activation="tanh", lr=0)], split, quantities=quantities)
    assert [record.stopped and record.stopped[0] for _, record in results] == [0, 0, 0, None, None]
    assert_equals_fit(grid[:2], split, quantities=quantities)


def test_a_stopped_member_is_handed_over_as_fit_leaves_it(split):
    grid, models = [member(lr=lr, activation="tanh") for lr in LOST], {}
    arguments = {"steps": 30, "batch_size": 10, "schedule": huge_after_20}
    fit_many(SHALLOW, split, grid, finished=models.__setitem__, **arguments)
    assert list(models) == [1, 3, 0, 2, 4]  # the order in which they end
    for i, settings in enumerate(grid):
        assert_same_weights(models[i], alone(settings, split, None, SHALLOW, **arguments)[1])


# --- trained networks ---


def assert_same_weights(ours, theirs):
    for (name, a), (expected_name, b) in zip(ours.state_dict().items(), theirs.state_dict().items(), strict=True):
        assert name == expected_name
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-12, msg=name)


@pytest.mark.parametrize("norm", [None, "batch", "layer"])
def test_finished_gets_every_network_under_its_place(split, norm):
    grid = [member(activation=a, seed=s) for s in (1, 0) for a in ("maxout", "prelu", "tanh")]
    arguments = {"steps": 12, "batch_size": 10}
    models = {}
    fit_many(SHAPE, split, grid, norm=norm, finished=models.__setitem__, **arguments)
    assert sorted(models) == list(range(6))
    for i, settings in enumerate(grid):
        assert_same_weights(models[i], alone(settings, split, norm, **arguments)[1])


def test_which_test_examples_are_right(split):
    models = {}
    arguments = {"steps": 12, "batch_size": 10, "quantities": ("test_accuracy",)}
    results = fit_many(SHAPE, split, [member(seed=s) for s in range(3)], finished=models.__setitem__, **arguments)
    for i, (_, record) in enumerate(results):
        right = record.arrays[11, "", "test_accuracy"]
        assert right.dtype == bool and right.shape == (40,)
        with torch.no_grad():
            expected = models[i].eval()(split.x_test).argmax(1) == split.y_test
        assert right.tolist() == expected.tolist()
        assert record.last("test_accuracy") == pytest.approx(right.mean())


# --- chunks, memory, determinism ---


def test_results_do_not_depend_on_the_chunks(split, monkeypatch):
    grid = [member(activation=a, seed=s) for s in range(5) for a in ("relu", "maxout")]
    arguments = {"steps": 10, "batch_size": 15, "every": 2, "quantities": EVERYTHING, "seed": None}
    whole = fit_many(SHAPE, split, grid, **arguments)
    made = []
    networks = ensemble._Networks
    monkeypatch.setattr(
        ensemble, "_Networks", lambda settings, plan: made.append(settings) or networks(settings, plan)
    )
    for limit in (1, 2.5 * memory_needed(SHAPE, 1, batch_size=15, dtype=torch.float64)):
        monkeypatch.setattr(ensemble, "MEMORY", limit)
        made.clear()
        for (settings, record), (expected_settings, expected) in zip(
            fit_many(SHAPE, split, grid, **arguments), whole, strict=True
        ):
            assert settings == expected_settings
            assert_same(record, expected, rel=1e-12)
        sizes = [len(chunk) for chunk in made]
        assert sum(sizes) == 10 and max(sizes) == (1 if limit == 1 else 2)


@pytest.mark.parametrize("norm", [None, "batch"])
@pytest.mark.parametrize("activation", ["relu", "maxout"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_memory_needed_is_what_the_tensors_take(optimizer, activation, norm):
    split, shape, taken = make_split(torch.float32), (D, 60, 60, 60, K), []

    def storages():
        tensors = [thing for thing in gc.get_objects() if type(thing) is torch.Tensor]
        return {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}

    def count(i, model):
        if i == 0:  # all networks are still there
            taken.append(sum(nbytes for where, nbytes in storages().items() if where not in before))

    before = storages()
    grid = [member(activation=activation, seed=s) for s in range(20)]
    arguments = {"batch_size": 25, "optimizer": optimizer, "norm": norm}
    fit_many(shape, split, grid, steps=3, finished=count, **arguments)
    needed = memory_needed(shape, 20, activation=activation, **arguments)
    assert 0.95 * taken[0] < needed < 1.1 * taken[0]


def test_the_same_call_gives_the_same_bits(split):
    runs = [
        fit_many(SHAPE, split, [member(seed=s) for s in range(3)], steps=10, quantities=EVERYTHING, batch_size=10)
        for _ in range(2)
    ]
    assert [record.rows for _, record in runs[0]] == [record.rows for _, record in runs[1]]


def test_an_empty_grid_gives_nothing(split):
    assert fit_many(SHAPE, split, [], steps=3, batch_size=10) == []


# --- what is recorded ---


def test_settings_are_given_back_in_full_and_kept_in_the_record(split, tmp_path):
    given = {"lr": np.float32(0.5), "scheme": "normal", "scale": np.float64(0.1), "seed": np.int64(3), "bias": 0}
    (settings, record), *_ = fit_many(SHAPE, split, (g for g in [given]), steps=2, batch_size=10)
    assert settings == {
        **{"activation": "relu", "scheme": "normal", "scale": 0.1, "gain": None, "bias": 0.0, "lr": 0.5, "seed": 3}
    }
    assert record.meta == {"settings": settings, "every": 10, "window": 10}
    record.save(tmp_path / "record.npz")
    assert Record.load(tmp_path / "record.npz").meta == record.meta


def test_a_unit_killed_late_is_dead_but_has_fired(split):
    """One large step kills; `dead` follows after the window of 10 observed steps, `never_fired` does not."""
    grid = [member(lr=200.0, seed=s) for s in range(6)]
    results = assert_equals_fit(
        grid, split, steps=60, every=2, quantities=("dead", "never_fired"), schedule=lambda step: float(step == 5)
    )
    dead, never = (np.array([r.last(q, "act2") for _, r in results]) for q in ("dead", "never_fired"))
    assert (dead > never).any() and (never <= dead).all()


# --- what is left alone ---


def test_global_state_is_untouched(split):
    torch_state, threads = torch.get_rng_state(), torch.get_num_threads()
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002  (the global state is what is tested)
    before = [t.clone() for t in (split.x_train, split.y_train, split.x_test, split.y_test)]
    grid = [member(activation=a) for a in ACTIVATIONS]
    fit_many(
        SHAPE, split, grid, steps=3, batch_size=10, norm="batch", quantities=EVERYTHING, finished=lambda i, m: None
    )
    memory_needed(SHAPE, 3)
    assert torch.equal(torch.get_rng_state(), torch_state) and torch.get_num_threads() == threads
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert torch.is_grad_enabled() and torch.get_default_dtype() == torch.float32
    for old, new in zip(before, (split.x_train, split.y_train, split.x_test, split.y_test), strict=True):
        assert torch.equal(old, new)


def test_it_makes_no_difference_whether_gradients_are_enabled(split):
    grid, arguments = [member(activation="prelu")], {"steps": 5, "batch_size": 10, "norm": "layer"}
    expected = fit_many(SHAPE, split, grid, **arguments)[0][1].rows
    with torch.no_grad():
        assert fit_many(SHAPE, split, grid, **arguments)[0][1].rows == expected


def test_progress(split, capsys, monkeypatch):
    arguments = {"steps": 4, "batch_size": 10}
    grid = [member(lr=1e200), member(activation="tanh"), member(activation="tanh")]
    fit_many(SHAPE, split, grid, **arguments)
    fit_many(SHAPE, split, grid, progress=False, **arguments)
    assert capsys.readouterr() == ("", "")
    fit_many(SHAPE, split, grid, progress=True, **arguments)
    out, bar = capsys.readouterr()
    assert out == "" and "12/12" in bar and "2 of 3 networks, 0 MB" in bar
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
        ({"batch_size": N + 1}, ValueError, f"batch_size: .*{N} .*got {N + 1}"),
        ({"batch_size": 7, "norm": "batch"}, ValueError, "batch_size: 7 of 50 .* batch of one"),
        ({"batch_size": 1, "norm": "batch"}, ValueError, "batch_size: 1 of 50 .* batch of one"),
        ({"every": 0}, ValueError, "every"),
        ({"warmup": -1}, ValueError, "warmup: expected at least 0, got -1"),
        ({"warmup": 0.5}, TypeError, "warmup"),
        ({"seed": -1}, ValueError, "seed"),
        ({"seed": "0"}, TypeError, "seed"),
        ({"optimizer": "Adam"}, ValueError, "optimizer: 'Adam' is not one of .*'adam'"),
        ({"schedule": "step"}, ValueError, "schedule: .*got 'step'"),
        ({"norm": "group"}, ValueError, "norm: .*got 'group'"),
        ({"clip": 0}, ValueError, "clip: .*got 0"),
        ({"clip": math.nan}, ValueError, "clip: .*got nan"),
        ({"clip": "1"}, ValueError, "clip: .*got '1'"),
        ({"quantities": "loss"}, TypeError, "quantities: .*'loss'"),
        ({"quantities": ("grad_nrom",)}, ValueError, r"quantities: \['grad_nrom'\]"),
        ({"shape": (D,)}, ValueError, "widths: expected at least 2"),
        ({"shape": (D + 1, 4, K)}, ValueError, rf"shape: expected {D} inputs .*got \({D + 1}, 4, {K}\)"),
        ({"shape": (D, 4, K - 1)}, ValueError, f"shape: .*at least {K} outputs"),
        ({"grid": [member(), {"lr": 0.1}]}, ValueError, r"grid\[1\]: scheme: None is not one of"),
        ({"grid": [member(), {"scheme": "he"}]}, TypeError, r"grid\[1\]: lr: expected a number, got None"),
        ({"grid": [member(lr=-1)]}, ValueError, r"grid\[0\]: lr: .*got -1"),
        ({"grid": [member(lr=math.inf)]}, ValueError, r"grid\[0\]: lr: .*got inf"),
        ({"grid": [member()] * 3 + [member("normal")]}, ValueError, r"grid\[3\]: scale: needed by 'normal'"),
        ({"grid": [member(activation="swish")]}, ValueError, r"grid\[0\]: activation: 'swish'"),
        ({"grid": [member("lsuv")]}, ValueError, r"grid\[0\]: x: needed by 'lsuv'"),
        (
            {"grid": [member(bias=None)]},
            ValueError,
            r"grid\[0\]: bias: expected a number or 'like weights', got None",
        ),
        ({"grid": [member(seed=0.5)]}, TypeError, r"grid\[0\]: seed"),
        ({"grid": [member(width=3)]}, ValueError, r"grid\[0\]: \['width'\] are not among"),
        ({"grid": [("he", 0.1)]}, TypeError, r"grid\[0\]: expected a dict"),
    ],
)
def test_wrong_arguments_are_named_before_anything_is_trained(split, monkeypatch, wrong, error, message):
    monkeypatch.setattr(ensemble, "_Networks", None)
    arguments = {"shape": SHAPE, "split": split, "grid": [member()], "steps": 2, "batch_size": 10} | wrong
    with pytest.raises(error, match=f"^{message}"):
        fit_many(**arguments)


def test_a_split_of_arrays_is_refused(split):
    with pytest.raises(TypeError, match=r"^split: expected torch tensors, got ndarray"):
        fit_many(SHAPE, split.numpy(), [member()], steps=2, batch_size=10)
