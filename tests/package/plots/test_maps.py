"""Maps: every cell lies over what it shows, in the unit's row, at the step, at the pair of settings."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from drawn import value_at
from matplotlib.colors import to_rgb

from unstuck import plots
from unstuck.record import Record, Run, Runs

EDGES = np.array([-0.49, 0.0, 0.49])  # of a cell one wide: just inside it, and its middle


def texts(ax) -> dict[tuple[float, float], str]:
    return {tuple(np.round(text.get_position(), 9)): text.get_text() for text in ax.texts}


@pytest.mark.parametrize(
    "draw", [lambda: plots.unit_heatmap(np.ones((2, 2))), lambda: plots.grid_map(np.ones((2, 2)), [1, 2], [1, 2])]
)
def test_a_map_is_framed_on_all_four_sides(draw):
    with plt.style.context("unstuck.unstuck"):
        ax = draw()
    assert [side for side, spine in ax.spines.items() if not spine.get_visible()] == []


# units over time


def test_every_unit_and_step_is_where_its_number_says(record):
    for ax in (plots.unit_heatmap(record, "act1"), plots.unit_heatmap(Run({"seed": 0}, record), "act1")):
        for step in (0, 10, 20):
            for unit, expected in enumerate((0.0, 0.5, step / 20), start=1):
                for right in 10 * EDGES:
                    for up in EDGES:
                        assert value_at(ax, step + right, unit + up) == expected
        np.testing.assert_allclose(ax.get_xlim(), (-5, 25))
        np.testing.assert_allclose(ax.get_ylim(), (0.5, 3.5))
        assert all(tick == int(tick) for tick in ax.get_yticks())
        assert ax.get_ylabel() == "unit of act1"


def test_steps_that_are_not_even_meet_halfway():
    ax = plots.unit_heatmap([[1.0], [2.0], [3.0]], quantity="act_mean", steps=[0, 1, 5])
    np.testing.assert_allclose(ax.collections[0].get_coordinates()[0, :, 0], [-0.5, 0.5, 3, 7])
    single = plots.unit_heatmap([[1.0]], quantity="act_mean", steps=[4])
    np.testing.assert_allclose(single.get_xlim(), (3.5, 4.5))


def test_heatmap_scales_fractions_and_marks_silent_units(record):
    ax = plots.unit_heatmap(record, "act1")
    mesh = ax.collections[0]
    assert mesh.get_clim() == pytest.approx((0, 1))
    rust = [to_rgb(colour[:3]) == to_rgb(plots.RUST) for colour in mesh.to_rgba(np.array([0.0, 0.999, 1.0]))]
    assert rust == [False, False, True]  # only a unit that did not fire at all
    assert ax.figure.axes[1].get_ylabel() == "fraction of zeros (tip: all)"


def test_fractions_end_at_one_and_a_map_of_zeros_has_a_scale():
    assert plots.unit_heatmap(np.full((2, 2), 0.5), quantity="dead").collections[0].get_clim() == (0, 1)
    assert plots.unit_heatmap(np.zeros((2, 2)), quantity="act_mean").collections[0].get_clim() == (0, 1)
    assert plots.unit_heatmap(np.full((2, 2), 0.5), quantity="act_mean").collections[0].get_clim() == (0, 0.5)


def test_heatmap_of_signed_and_broken_values():
    grid = np.array([[1.0, -3.0], [np.nan, 2.0]])
    mesh = plots.unit_heatmap(grid, quantity="act_mean").collections[0]
    assert mesh.get_clim() == (-3, 3)
    assert np.ma.getmaskarray(mesh.get_array()).tolist() == [[False, True], [False, False]]
    plots.unit_heatmap(np.zeros((1, 2)), quantity="act_mean").figure.canvas.draw()


@pytest.mark.parametrize("sign", [1, -1])
def test_what_is_not_finite_is_grey(sign):
    mesh = plots.unit_heatmap(np.array([[1.0, sign * 2.0], [np.nan, np.inf]]), quantity="act_mean").collections[0]
    colours = mesh.to_rgba(mesh.get_array()).reshape(-1, 4)
    grey = [to_rgb(colour[:3]) == to_rgb(plots.GREY) for colour in colours]
    assert grey == [False, True, False, True]  # by units: the second step of each


# a quantity over two settings


def test_a_map_of_runs_has_their_means_and_counts_what_was_lost(runs):
    ax = plots.grid_map(runs, "lr", "gain", quantity="loss", xscale="log")
    third = 10**0.49
    for lr in (0.01, 0.1):
        for gain in (1.0, 2.0):
            end = 1000 * lr + 10 * gain + (0 if (lr, gain) == (0.1, 2.0) else 1)  # there seed 0 alone is left
            for right in (1 / third, 1.0, third):
                for up in EDGES:
                    assert value_at(ax, lr * right, gain + up) == pytest.approx(end)
    assert texts(ax) == {(0.1, 2.0): "2"}
    np.testing.assert_allclose(ax.get_xlim(), (10**-2.5, 10**-0.5))
    np.testing.assert_allclose(ax.get_ylim(), (0.5, 2.5))
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "linear")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("lr", "gain")
    assert ax.collections[0].get_clim() == (21, 120)
    assert ax.figure.axes[1].get_ylabel() == "training loss (nats)\n(digits: lost of 3 seeds; rust: all)"
    turned = plots.grid_map(runs, "gain", "lr", quantity="loss", yscale="log")
    assert value_at(turned, 2.0, 0.01) == value_at(ax, 0.01, 2.0)


def test_a_map_of_an_array_equals_that_of_its_runs(runs):
    array = runs.last("loss")[:, ::-1]  # the gains from the smaller one
    for ax in (
        plots.grid_map(runs, "lr", "gain", quantity="loss"),
        plots.grid_map(array, [0.01, 0.1], np.array([1, 2]), quantity="loss"),
    ):
        np.testing.assert_allclose(ax.collections[0].get_array(), [[21, 111], [31, 120]])
        np.testing.assert_allclose(ax.collections[0].get_coordinates()[0, :, 0], [-0.035, 0.055, 0.145])


def test_uneven_coordinates_meet_halfway_in_the_logarithm():
    ax = plots.grid_map(np.ones((3, 1)), [1, 4, 64], [5], xscale="log", yscale="log")
    np.testing.assert_allclose(ax.collections[0].get_coordinates()[0, :, 0], [0.5, 2, 16, 256])
    assert ax.get_ylim()[0] < 5 and ax.get_ylim()[1] == pytest.approx(25 / ax.get_ylim()[0])  # the 5 in the middle
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1", "4", "64"]
    assert ax.get_xticks().tolist() == [1, 4, 64]


def test_up_to_six_values_have_a_tick_each():
    six, seven = np.arange(6) * 0.37, np.arange(7) * 0.37
    ax = plots.grid_map(np.ones((6, 7)), six, seven)
    np.testing.assert_allclose(ax.get_xticks(), six)
    assert not set(ax.get_yticks().round(6)) >= set(seven.round(6))


def test_texts_stand_in_their_order_from_the_top():
    values = np.arange(6.0).reshape(2, 3)
    ax = plots.grid_map(values, ["relu", "mine"], ["2 layers", "4 layers", "8 layers"])
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["ReLU", "mine"]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["2 layers", "4 layers", "8 layers"]
    seen = [[value_at(ax, x, y) for y in ax.get_yticks()] for x in ax.get_xticks()]
    np.testing.assert_array_equal(seen, values)
    assert ax.get_ylim()[0] > ax.get_ylim()[1]


def test_lost_seeds_are_counted_and_a_cell_without_any_is_rust():
    values = np.full((2, 2, 5), 0.5)
    values[0, 0, :2], values[1, 1], values[1, 0, 4] = np.nan, np.nan, np.inf
    ax = plots.grid_map(values, [1, 2], [1, 2], quantity="test_accuracy")
    assert texts(ax) == {(1, 1): "2", (2, 2): "5", (2, 1): "1"}
    assert value_at(ax, 1, 1) == value_at(ax, 2, 1) == 0.5
    assert value_at(ax, 2, 2) is np.ma.masked
    mesh = ax.collections[0]
    assert mesh.get_clim() == (0, 1)
    assert to_rgb(mesh.to_rgba(np.ma.masked_all(1))[0][:3]) == to_rgb(plots.RUST)
    for extreme in (-1.0, 0.0, 1.0, 2.0):  # beyond the limits: not rust
        assert to_rgb(mesh.to_rgba(extreme)[:3]) != to_rgb(plots.RUST)
    single = plots.grid_map(values[..., 4], [1, 2], [1, 2])
    assert texts(single) == {}
    assert single.figure.axes[1].get_ylabel() == "(rust: lost)"
    plots.grid_map(np.full((1, 1, 2), np.nan), [1], [1]).figure.canvas.draw()


def test_digits_can_be_read_on_every_colour():
    values = np.linspace(0, 1, 41)[:, None, None] * [[[1.0, np.nan]]]
    ax = plots.grid_map(values, range(41), [1], limits=(0, 1))

    def luminance(colour):
        c = np.array(to_rgb(colour))
        return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722] + 0.05

    for text, value in zip(ax.texts, values[:, 0, 0], strict=True):
        one, other = luminance(text.get_color()), luminance(ax.collections[0].to_rgba(value)[:3])
        assert max(one, other) / min(one, other) >= 3.5


def test_several_maps_share_limits_and_one_colour_bar():
    axes = plots.panels(["relu", "tanh"])
    for ax in axes.values():
        plots.grid_map(np.ones((2, 2)), [1, 2], [1, 2], limits=(0, 4), colourbar=False, ax=ax)
    assert len(plt.gcf().axes) == 2
    assert {ax.collections[0].get_clim() for ax in axes.values()} == {(0.0, 4.0)}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda r: plots.grid_map(r, "lr", "gain"), ValueError, "quantity: needed with Runs"),
        (
            lambda r: plots.grid_map(r, "lr", "depth", quantity="loss"),
            ValueError,
            r"y: 'depth' is not one of \['gain', 'seed'\]",
        ),
        (lambda r: plots.grid_map(r, "lr", "lr", quantity="loss"), ValueError, "y: 'lr' is not one of"),
        (
            lambda r: plots.grid_map(r, "lr", "seed", quantity="loss"),
            ValueError,
            "values: expected runs that differ in lr and seed alone, these differ in gain",
        ),
        (
            lambda r: plots.grid_map(r.where(lr=0.1), "lr", "gain", quantity="loss"),
            ValueError,
            r"x: 'lr' is not one of \['gain', 'seed'\]",
        ),
        (
            lambda r: plots.grid_map(r.where(lr=0.1), "gain", "gain", quantity="loss"),
            ValueError,
            r"y: 'gain' is not one of \['seed'\]",
        ),
        (lambda r: plots.grid_map(r[1:], "lr", "gain", quantity="loss"), ValueError, "values: .* with gaps"),
        (
            lambda r: plots.grid_map(r, [1], [2], quantity="loss"),
            TypeError,
            r"x: expected one of \['lr', 'gain', 'seed'\], got \[1\]",
        ),
        (lambda r: plots.grid_map(r, "lr", "gain", quantity="speed"), ValueError, "quantity: 'speed' is not one of"),
        (lambda r: plots.grid_map(r, "lr", "gain", quantity="act_std"), ValueError, "quantity: 'act_std' was not"),
        (lambda r: plots.grid_map(np.ones((2, 2)), "lr", [1, 2]), TypeError, "x: expected the coordinates"),
        (lambda r: plots.grid_map(np.ones((2, 2)), [1, 2], 3), TypeError, "y: expected the coordinates"),
        (
            lambda r: plots.grid_map(np.ones((2, 2)), [1, 2, 3], [1, 2]),
            ValueError,
            r"values, x, y: expected values of shape \(3, 2\)",
        ),
        (
            lambda r: plots.grid_map(np.ones(4), [1, 2], [1, 2]),
            ValueError,
            r"values, x, y: .* got \(4,\)",
        ),
        (lambda r: plots.grid_map(np.ones((2, 2)), [2, 1], [1, 2]), ValueError, "x: expected increasing numbers"),
        (
            lambda r: plots.grid_map(np.ones((2, 2)), [1, 2], [0, 1], yscale="log"),
            ValueError,
            "yscale: a log.* for 0",
        ),
        (lambda r: plots.grid_map(np.ones((1, 1)), ["a"], [1], xscale="log"), ValueError, "xscale: texts have no"),
        (lambda r: plots.grid_map(np.ones((1, 1)), [1], [1], xscale="symlog"), ValueError, "xscale: 'symlog' is not"),
        (
            lambda r: plots.grid_map(np.ones((1, 1)), [1], [1], limits=(1, 0)),
            ValueError,
            "limits: expected a number abo",
        ),
        (
            lambda r: plots.grid_map(np.ones((1, 1)), [1], [1], limits=1),
            ValueError,
            r"limits: expected \(low, high\)",
        ),
    ],
)
def test_wrong_arguments_of_a_map_are_named_and_leave_no_figure(call, error, message, runs):
    with pytest.raises(error, match=message):
        call(runs)
    assert plt.get_fignums() == []


def test_settings_that_are_texts_keep_the_order_of_the_runs():
    def run(name, lr):
        return Run({"activation": name, "lr": lr}, Record([(0, "", "loss", len(name) + lr)]))

    runs = Runs(run(name, lr) for name in ("sigmoid", "relu") for lr in (2, 1))
    ax = plots.grid_map(runs, "activation", "lr", quantity="loss")
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["sigmoid", "ReLU"]
    assert [[value_at(ax, x, lr) for lr in (1, 2)] for x in (0, 1)] == [[8, 9], [5, 6]]
