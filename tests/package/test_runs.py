"""`Run` and `Runs`: the axes of a grid found again, and arrays along them."""

import numpy as np
import pytest

from unstuck.ensemble import grid
from unstuck.record import Record, Run, Runs

nan = np.nan


def run(settings, values=(1.0,), *, quantity="loss", layer="", stopped=None, every=1):
    record = Record((every * i, layer, quantity, value) for i, value in enumerate(values))
    if stopped is not None:
        record.stopped = (stopped, "the loss is nan")
    return Run(dict(settings), record)


def runs(settings):
    """One run for each of these settings; its loss is its number, then its number and a half."""
    return Runs(run(own, (i, i + 0.5)) for i, own in enumerate(settings))


# --- grid ---


def test_grid_is_the_product_in_the_order_of_the_settings_the_last_fastest():
    assert grid(lr=[0.1, 0.2], seed=range(3)) == [{"lr": lr, "seed": seed} for lr in (0.1, 0.2) for seed in (0, 1, 2)]
    assert [list(settings) for settings in grid(b=[1], a=[2])] == [["b", "a"]]


def test_grid_takes_lists_tuples_ranges_and_arrays_and_anything_else_as_one_value():
    one = {"a": 1, "text": "he", "nothing": None, "table": {1, 2}, "number": np.float64(2.0), "array": np.array(3)}
    (settings,) = grid(**one)
    assert settings == one and list(settings) == list(one)
    assert grid(lr=np.array([0.5, 0.25])) == grid(lr=(0.5, 0.25)) == [{"lr": 0.5}, {"lr": 0.25}]
    assert type(grid(lr=np.linspace(0, 1, 3))[1]["lr"]) is float and type(grid(n=np.arange(2))[1]["n"]) is int
    assert grid(shape=[(1, 2), (3, 4)]) == [{"shape": (1, 2)}, {"shape": (3, 4)}]
    assert grid(flag=np.array([True, False]))[0]["flag"] is True
    assert grid() == [{}]


@pytest.mark.parametrize("empty", [[], (), range(0), np.array([])])
def test_grid_refuses_an_empty_list_by_name(empty):
    with pytest.raises(ValueError, match=r"^lr: expected at least one value, got none"):
        grid(seed=range(2), lr=empty)


def test_grid_makes_settings_of_their_own():
    first, second = grid(seed=range(2))
    first["seed"] = 9
    assert second == {"seed": 1}


# --- axes and shape ---


def test_axes_are_the_settings_that_vary_in_their_order():
    found = runs(grid(scheme=["he", "xavier"], lr=0.1, seed=range(3)))
    assert found.axes == {"scheme": ["he", "xavier"], "seed": [0, 1, 2]} and found.shape == (2, 3)
    assert repr(found) == "Runs(6: 2 scheme x 3 seed)"
    assert found.last("loss").tolist() == [[0.5, 1.5, 2.5], [3.5, 4.5, 5.5]]
    steps, values = found.curves("loss")
    assert steps.tolist() == [0, 1] and values.shape == (2, 3, 2) and values[1, 2].tolist() == [5.0, 5.5]
    assert found.each(lambda run: run.settings["seed"]).tolist() == [[0, 1, 2]] * 2
    assert found.each(lambda run: [run.settings["seed"], 7]).shape == (2, 3, 2)


def test_a_slice_is_runs_with_axes_of_its_own():
    found = runs(grid(lr=[0.1, 0.2], seed=range(3)))
    assert type(found[:3]) is Runs and found[:3].axes == {"seed": [0, 1, 2]} and found[3:].last("loss")[0] == 3.5
    assert [run.settings["seed"] for run in found[::-2]] == [2, 0, 1] and found[9:] == [] and found[:] == found
    assert type(found[-1]) is Run and found[-1].settings == {"lr": 0.2, "seed": 2}


def test_one_run_and_none():
    (only,) = one = runs(grid(lr=[0.1]))
    assert one.axes == {} and one.shape == (1,) and one.last("loss").tolist() == [0.5] and repr(one) == "Runs(1)"
    assert one.curves("loss")[1].shape == (1, 2) and isinstance(only, Run)
    assert Runs().axes == {} and Runs().shape == (0,) and repr(Runs()) == "Runs(0)"
    for method in (lambda: Runs().last("loss"), lambda: Runs().curves("loss"), lambda: Runs().each(len)):
        with pytest.raises(ValueError, match=r"^runs: expected at least one, got none"):
            method()


@pytest.mark.parametrize(
    "settings",
    [
        [{"lr": 0.1, "seed": 0}, {"lr": 0.2, "seed": 1}],  # a diagonal
        [{"lr": lr, "seed": seed} for seed in (0, 1) for lr in (0.1, 0.2)],  # the first setting fastest
        [{"lr": 0.1}, {"lr": 0.2}, {"lr": 0.1}],  # repeated
        [{"lr": 0.1}] * 3,
        [{"lr": 0.1, "seed": 0}, {"lr": 0.1, "seed": 1}, {"lr": 0.2, "seed": 0}],  # one is missing
        [{"lr": 0.1}, {"lr": 0.2}, {"lr": 0.1, "seed": 0}, {"lr": 0.2, "seed": 1}],  # a setting that some lack
        [{"lr": 0.1, "seed": 0}, {"lr": 0.1, "seed": 0}, {"lr": 0.2, "seed": 1}, {"lr": 0.2, "seed": 1}],
    ],
)
def test_what_is_no_full_product_is_a_plain_list(settings):
    found = runs(settings)
    assert found.shape == (len(settings),)
    assert found.last("loss").tolist() == [i + 0.5 for i in range(len(settings))]
    assert found.curves("loss")[1].shape == (len(settings), 2)


def test_settings_that_cannot_be_hashed():
    shapes = [[4, 8], [4, 16]]
    found = runs([{"widths": list(widths), "seed": seed} for widths in shapes for seed in (0, 1)])
    assert found.shape == (2, 2) and found.axes["widths"] == shapes
    assert found.where(widths=[4, 16]).last("loss").tolist() == [2.5, 3.5]


def test_settings_that_cannot_be_compared_are_the_same_only_as_themselves():
    one, other = np.array([1.0, 2.0]), np.array([1.0, 2.0])
    found = runs([{"prior": prior, "seed": seed} for prior in (one, other) for seed in (0, 1)])
    assert found.shape == (2, 2) and found.where(prior=other).last("loss").tolist() == [2.5, 3.5]


def test_functions_as_settings():
    def scale(step):
        return step

    found = runs([{"schedule": schedule, "seed": seed} for schedule in (scale, abs, None) for seed in (0, 1)])
    assert found.shape == (3, 2) and found.axes["schedule"] == [scale, abs, None]
    assert found.where(schedule=abs, seed=1).last("loss").tolist() == [3.5]
    assert found.where(schedule=None).shape == (2,)


def test_true_is_not_1_and_0_is_not_none():
    found = runs([{"bias": bias} for bias in (True, 1, 0, False, None, "")])
    assert found.shape == (6,) and len(found.axes["bias"]) == 6
    for i, bias in enumerate((True, 1, 0, False, None, "")):
        assert found.where(bias=bias).last("loss").tolist() == [i + 0.5]


def test_numpy_scalars_are_the_numbers_they_hold():
    found = runs([{"lr": lr, "seed": seed} for lr in (0.5, 0.25) for seed in (0, 1)])
    assert found.where(lr=np.float32(0.25), seed=np.int64(1)).last("loss").tolist() == [3.5]
    mixed = runs([{"lr": lr, "seed": np.int64(seed)} for lr in (np.float64(0.5), 0.25) for seed in (0, 1)])
    assert mixed.shape == (2, 2) and mixed.where(lr=0.5, seed=1).last("loss").tolist() == [1.5]
    assert runs([{"lr": 0.5}, {"lr": np.float64(0.5)}]).axes == {}


# --- where ---


def test_where_keeps_the_axes_that_are_left():
    found = runs(grid(scheme=["he", "xavier"], lr=[0.1, 0.2], seed=range(3)))
    part = found.where(lr=0.2)
    assert isinstance(part, Runs) and part.axes == {"scheme": ["he", "xavier"], "seed": [0, 1, 2]}
    assert part.last("loss").tolist() == [[3.5, 4.5, 5.5], [9.5, 10.5, 11.5]]
    assert found.where(scheme="he", lr=0.1, seed=2)[0] is found[2]
    assert len(found.where()) == 12


def test_where_names_what_none_has():
    found = runs(grid(lr=[0.1, 0.2], seed=range(2)))
    with pytest.raises(ValueError, match=r"^lr: no run has 0.3; there are 0.1, 0.2"):
        found.where(lr=0.3)
    with pytest.raises(ValueError, match=r"^width: no run has 4"):
        found.where(width=4)
    with pytest.raises(ValueError, match=r"^seed: no run has True; there are 0, 1"):
        found.where(seed=True)
    partly = runs([{"lr": 0.1}, {"lr": 0.1, "seed": None}])
    assert len(partly.where(seed=None)) == 1


# --- arrays ---


def test_last_is_the_mean_over_the_last_values_and_nan_for_a_run_that_stopped():
    found = Runs(
        [run({"seed": 0}, (3.0, 2.0, 1.0)), run({"seed": 1}, (9.0, 7.0), stopped=2), run({"seed": 2}, (4, 4, 5))]
    )
    np.testing.assert_array_equal(found.last("loss"), [1.0, nan, 5.0])
    np.testing.assert_array_equal(found.last("loss", over=2), [1.5, nan, 4.5])
    never = Runs([run({"seed": 0}, (), stopped=0), run({"seed": 1}, (0.5,))])
    np.testing.assert_array_equal(never.last("loss"), [nan, 0.5])
    with pytest.raises(ValueError, match=r"^quantity: 'accuracy' was not recorded"):
        found.last("accuracy")


def test_a_layer_is_named_as_in_a_record():
    found = Runs(
        Run({"seed": seed}, Record([(0, "a", "grad_norm", seed), (0, "b", "grad_norm", 5.0)])) for seed in (0, 1)
    )
    assert found.last("grad_norm", "a").tolist() == [0, 1] and found.curves("grad_norm", "b")[1].tolist() == [
        [5],
        [5],
    ]
    with pytest.raises(ValueError, match=r"^layer: 'grad_norm' was recorded for several layers"):
        found.last("grad_norm")


def test_curves_are_nan_after_a_stop():
    found = Runs(
        [
            run({"lr": 0, "seed": 0}, (3.0, 2.0, 1.0), every=10),
            run({"lr": 0, "seed": 1}, (3.0, nan), every=10, stopped=10),
            run({"lr": 1, "seed": 0}, (3.0,), every=10, stopped=4),
            run({"lr": 1, "seed": 1}, (4.0, 5.0, 6.0), every=10),
        ]
    )
    steps, values = found.curves("loss")
    assert steps.tolist() == [0, 10, 20]
    np.testing.assert_array_equal(values, [[[3, 2, 1], [3, nan, nan]], [[3, nan, nan], [4, 5, 6]]])


def test_curves_of_runs_that_all_stopped():
    found = Runs([run({"seed": 0}, (3.0,), stopped=1), run({"seed": 1}, (3.0, 2.0), stopped=2)])
    steps, values = found.curves("loss")
    assert steps.tolist() == [0, 1]
    np.testing.assert_array_equal(values, [[3, nan], [3, 2]])


@pytest.mark.parametrize(
    "other",
    [
        run({"seed": 1}, (1.0, 2.0)),  # shorter, but did not stop
        run({"seed": 1}, (1.0, 2.0, 3.0), every=2),
        run({"seed": 1}, (1.0, 2.0), every=2, stopped=3),
    ],
)
def test_curves_at_different_steps_are_refused(other):
    with pytest.raises(ValueError, match=r"^runs: expected 'loss' at the same steps in all, run 1 differs"):
        Runs([run({"seed": 0}, (1.0, 2.0, 3.0)), other]).curves("loss")


def test_anything_but_runs_is_refused():
    with pytest.raises(TypeError, match=r"^runs: expected a Run, got Record at 1"):
        Runs([run({}), Record()])


def test_what_a_run_shows():
    assert repr(run({"lr": 0.1})) == "Run({'lr': 0.1}, Record(1 rows of loss))"


def test_a_run_that_stopped_before_the_first_row_has_a_curve_of_nothing():
    lost, whole = (
        Record([(0, "", "loss", np.nan)]),
        Record([(4, "", "test_accuracy", 0.5), (9, "", "test_accuracy", 0.6)]),
    )
    lost.stopped = (0, "the loss is nan")
    runs = Runs([Run({"seed": 0}, lost), Run({"seed": 1}, whole)])
    steps, values = runs.curves("test_accuracy")
    assert steps.tolist() == [4, 9] and values[1].tolist() == [0.5, 0.6] and np.isnan(values[0]).all()
