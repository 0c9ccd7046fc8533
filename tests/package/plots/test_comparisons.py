"""Rows of dots, and an activation beside its derivative."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from drawn import legend_texts, markers
from matplotlib.colors import to_rgb

from unstuck import plots

Z = np.linspace(-2, 2, 9)


def ticks(ax) -> list[str]:
    return [text.get_text() for text in ax.get_yticklabels()]


def test_activation_draws_function_and_derivative():
    f, df = np.tanh(Z), 1 - np.tanh(Z) ** 2
    ax = plots.activation("tanh", Z, f, df)
    for line, expected in zip(ax.lines[-2:], (f, df), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), Z)
        np.testing.assert_array_equal(line.get_ydata(), expected)
    assert ax.lines[-1].get_linestyle() == "--"
    assert ax.get_title(loc=plt.rcParams["axes.titlelocation"]) == "tanh"


def test_dots_show_seeds_mean_and_sd():
    seeds = np.array([0.80, 0.83, 0.84, np.nan])
    ax = plots.dots({"relu": seeds, "tanh": [0.9]}, "test_accuracy", groups=[["relu", "tanh"]])
    finite = seeds[:3]
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), finite)
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [0, 0, 0])
    mean = markers(ax, "|")[0]
    assert (mean.get_xdata()[0], mean.get_ydata()[0]) == (pytest.approx(finite.mean()), 0)
    bar = ax.collections[0].get_segments()[0]
    np.testing.assert_allclose(bar[:, 0], finite.mean() + np.array([-1, 1]) * finite.std(ddof=1))
    assert ticks(ax) == ["ReLU\n(1 of 4 NaN)", "tanh"]
    assert ax.get_ylim() == pytest.approx((1.6, -0.6))  # the first name is on top, and every row is there
    assert list(ax.lines[-1].get_ydata()) == [-0.25, 1.25] and min(ax.lines[-1].get_xdata()) > 1
    assert ax.lines[-1].get_transform() == ax.get_yaxis_transform()  # beside the axes


def test_a_logarithmic_row_has_the_mean_of_the_logarithm_and_says_where_a_zero_is():
    ax = plots.dots({"he": [1e-4, 1e-2, 0.0]}, "update_ratio")
    assert ax.get_xscale() == "log"
    assert markers(ax, "|")[0].get_xdata()[0] == pytest.approx(1e-3)
    bar = ax.collections[0].get_segments()[0][:, 0]
    np.testing.assert_allclose(np.log10(bar), [-3 - np.sqrt(2), -3 + np.sqrt(2)])
    (triangle,) = markers(ax, "<")
    assert (triangle.get_xdata()[0], triangle.get_ydata()[0]) == (0, 0)
    assert triangle.get_transform() == ax.get_yaxis_transform()
    assert legend_texts(ax) == ["exactly 0"]


def test_dots_take_the_last_of_runs_and_nan_of_those_that_stopped(runs):
    forms = runs.where(lr=0.1, gain=2.0), list(runs.where(lr=0.1, gain=2.0))
    for form in (*forms, [run.record for run in forms[0]]):
        ax = plots.dots({"he": form, "xavier": runs.where(lr=0.1, gain=1.0)}, "loss")
        assert list(ax.lines[0].get_xdata()) == [120]
        assert list(markers(ax, "o")[1].get_xdata()) == [110, 111, 112]
        assert ticks(ax) == ["He\n(2 of 3 NaN)", "Xavier"]
    assert list(plots.dots({"he": runs[0]}, "loss").lines[0].get_xdata()) == [30]


def test_nothing_finite_is_a_row_without_dots():
    ax = plots.dots({"he": [np.nan, np.nan], "xavier": [np.inf, np.nan], "mine": [1.0, 2.0]}, "loss")
    assert ticks(ax) == ["He\n(2 of 2 NaN)", "Xavier\n(2 of 2 not finite)", "mine"]
    assert [len(line.get_xdata()) for line in ax.lines if line.get_marker() == "o"] == [0, 0, 2]


def test_series_stand_side_by_side_in_their_row():
    values = {"plain": {"he": [0.8, 0.9], "mine": [0.1, np.nan]}, "BatchNorm": {"mine": [0.5], "he": [0.7]}}
    ax = plots.dots(values, "test_accuracy", colour={"mine": "black"})
    circles, squares = markers(ax, "o"), markers(ax, "s")
    assert [list(line.get_xdata()) for line in circles] == [[0.8, 0.9], [0.7]]
    assert [list(line.get_xdata()) for line in squares] == [[0.1], [0.5]]
    at = [[line.get_ydata()[0] for line in lines] for lines in (circles, squares)]
    np.testing.assert_allclose(at, [[-0.11, 0.89], [0.11, 1.11]])
    assert {to_rgb(line.get_color()) for line in circles} == {to_rgb(plots.style_of("he")["color"])}
    assert {line.get_color() for line in squares} == {"black"}
    assert ticks(ax) == ["plain\n(mine: 1 of 2 NaN)", "BatchNorm"]
    assert legend_texts(ax) == ["He", "mine"]
    many = plots.dots({"a": {str(k): [k] for k in range(6)}, "b": {"5": [5]}}, "loss")
    heights = sorted(y for line in many.lines for y in np.atleast_1d(line.get_ydata()))
    assert heights[0] > -0.5 and heights[-1] < 1.5  # no row reaches into another


def test_colours_of_rows():
    ax = plots.dots({"relu, small": [0.1], "other": [0.2]}, "loss", colour={"relu, small": "red"})
    assert [line.get_color() for line in markers(ax, "o")] == ["red", plots.PALETTE[1]]
