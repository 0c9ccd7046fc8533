"""Curves: what is drawn equals what was given, in whatever form; what is not finite is said."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from drawn import band_at, curves, legend_texts, markers

from unstuck import plots
from unstuck.record import QUANTITIES, Record, Run, Runs

# against the step


def test_by_step_draws_the_record(record):
    ax = plots.by_step(record, "act_std")
    assert [line.get_label() for line in curves(ax)] == ["act1", "act2", "act3"]
    for line, layer in zip(curves(ax), ("act1", "act2", "act3"), strict=True):
        steps, values = record.get("act_std", layer)
        np.testing.assert_array_equal(line.get_xdata(), steps)
        np.testing.assert_array_equal(line.get_ydata(), values)
    assert len(curves(plots.by_step(record, "loss"))) == 1


def test_by_step_takes_runs_and_shades_their_seeds():
    def run(seed):
        return Run(
            {"seed": seed}, Record([(step, f"act{i}", "dead", step + i + seed) for step in (0, 5) for i in (1, 2)])
        )

    seeds = [run(0), run(4)]
    arrays = {f"act{i}": np.array([[i, 5 + i], [4 + i, 9 + i]]) for i in (1, 2)}
    alone = plots.by_step(seeds[1], "dead")
    np.testing.assert_array_equal(curves(alone)[1].get_ydata(), [6, 11])
    assert len(alone.collections) == 0
    records = [each.record for each in seeds]
    for ax in (
        *(plots.by_step(values, "dead") for values in (Runs(seeds), seeds, records)),
        plots.by_step(arrays, "dead", steps=[0, 5]),
    ):
        for k, line in enumerate(curves(ax)):
            np.testing.assert_array_equal(line.get_xdata(), [0, 5])
            np.testing.assert_array_equal(line.get_ydata(), [3 + k, 8 + k])
            assert band_at(ax, 5, k) == (6 + k, 10 + k)
        assert "min to max, n = 2" in legend_texts(ax)


def test_layers_of_one_number_differ_in_line_style():
    ax = plots.by_step({"linear1": [1.0, 2.0], "norm1": [1.0, 3.0]}, "weight_norm")
    linear1, norm1 = curves(ax)
    assert linear1.get_color() == norm1.get_color()
    assert linear1.get_linestyle() != norm1.get_linestyle()


# over seeds


@pytest.mark.parametrize("quantity", ["loss", "grad_norm"])
@pytest.mark.parametrize("band", ["range", "sd"])
def test_spread_is_mean_and_band(quantity, band):
    runs = np.random.default_rng(0).uniform(0.5, 2, (5, 7))
    x = np.arange(7) * 10
    ax = plots.spread(runs, x, quantity=quantity, band=band)
    seen = np.log(runs) if QUANTITIES[quantity].log else runs
    mean, sd = seen.mean(0), seen.std(0, ddof=1)
    low, high = (seen.min(0), seen.max(0)) if band == "range" else (mean - sd, mean + sd)
    back = np.exp if QUANTITIES[quantity].log else np.array
    np.testing.assert_array_equal(curves(ax)[0].get_xdata(), x)
    np.testing.assert_allclose(curves(ax)[0].get_ydata(), back(mean))
    for k in range(7):
        assert band_at(ax, x[k]) == pytest.approx((back(low)[k], back(high)[k]))
    assert legend_texts(ax) == ["min to max, n = 5" if band == "range" else "± 1 sd, n = 5"]


def test_steps_are_whole():
    ax = plots.spread(np.ones((1, 3)))
    assert all(tick % 1 == 0 for tick in ax.get_xticks()) and len(ax.get_xticks()) >= 3


def test_spread_takes_every_form():
    losses = np.array([[3.0, 2.0, 1.0], [5.0, 4.0, 0.0]])
    records = [Record([(10 * t, "", "loss", value) for t, value in enumerate(run)]) for run in losses]
    seeds = [Run({"lr": 0.1, "seed": seed}, record) for seed, record in enumerate(records)]
    x = [0, 10, 20]
    drawn = [plots.spread(form, quantity="loss", label="he") for form in (Runs(seeds), seeds, tuple(seeds), records)]
    drawn += [
        plots.spread(form, x, quantity="loss", label="he") for form in (losses, losses.tolist(), torch.tensor(losses))
    ]
    drawn += [plots.spread({"he": form}, quantity="loss") for form in (Runs(seeds), records)]
    for ax in drawn:
        (line,) = curves(ax)
        np.testing.assert_array_equal(line.get_xdata(), x)
        np.testing.assert_array_equal(line.get_ydata(), [4, 3, 0.5])
        assert [band_at(ax, at) for at in x] == [(3, 5), (2, 4), (0, 1)]
        assert legend_texts(ax) == ["He", "min to max, n = 2"]
    for alone in (seeds[0], records[0], Runs(seeds[:1]), losses[:1]):
        ax = plots.spread(alone, quantity="loss", label="he")
        np.testing.assert_array_equal(curves(ax)[0].get_ydata(), losses[0])
        assert legend_texts(ax) == ["He"] and len(ax.collections) == 0


def test_what_is_masked_is_not_drawn():
    ax = plots.spread(np.ma.masked_greater([[1, 2, 9], [3, 4, 5]], 8), label="he")
    np.testing.assert_array_equal(curves(ax)[0].get_ydata(), [2, 3, 5])
    assert curves(ax)[0].get_label() == "He\n(1 of 2 stopped)"


def test_spread_of_a_layer(record):
    line = curves(plots.spread(record, quantity="act_std", layer="act2"))[0]
    np.testing.assert_array_equal(line.get_ydata(), record.get("act_std", "act2")[1])


def test_a_mapping_is_a_curve_each(runs):
    ax = plots.spread({f"rate {lr:g}": runs.where(lr=lr, gain=1.0) for lr in (0.01, 0.1)}, quantity="loss")
    assert [line.get_label() for line in curves(ax)] == ["rate 0.01", "rate 0.1"]
    assert [list(line.get_ydata()) for line in curves(ax)] == [[42, 21], [222, 111]]
    assert [line.get_color() for line in curves(ax)] == list(plots.PALETTE[:2])
    plots.spread(np.ones((2, 2)), label="third", ax=ax)
    assert curves(ax)[2].get_color() == plots.PALETTE[2]
    chosen = plots.spread({"he": [[1.0]], "mine": [[2.0]]}, colour={"mine": "black"})
    assert [line.get_color() for line in curves(chosen)] == [plots.style_of("he")["color"], "black"]
    assert [line.get_color() for line in curves(plots.spread({"he": [[1.0]]}, colour="red"))] == ["red"]


def test_spread_of_records_that_stopped():
    whole = Record([(step, "", "loss", 1.0 + step) for step in range(4)])
    ended = Record([(0, "", "loss", 3.0), (1, "", "loss", 4.0), (2, "", "loss", np.nan)])
    ended.stopped = (2, "the loss is nan")
    ax = plots.spread([whole, ended], quantity="loss", label="he")
    np.testing.assert_allclose(curves(ax)[0].get_ydata(), [2, 3, 3, 4])
    assert curves(ax)[0].get_label() == "He\n(1 of 2 stopped)"
    (cross,) = markers(ax, "X")
    assert (cross.get_xdata()[0], cross.get_ydata()[0]) == (1, 4)


@pytest.mark.parametrize("lost", [0, 1, 2, 3])
def test_runs_that_ended_early_are_counted(lost):
    values = np.ones((3, 4))
    values[:lost, 2:] = [np.nan, np.inf]
    ax = plots.spread(values, label="he")
    assert curves(ax)[0].get_label() == ("He" if not lost else f"He\n({lost} of 3 stopped)")
    assert [cross.get_xdata()[0] for cross in markers(ax, "X")] == [1] * lost
    whole = Record([(0, "", "loss", 1.0), (1, "", "loss", 2.0)])
    stopped = Record([(0, "", "loss", 1.0), (1, "", "loss", 2.0)])
    stopped.stopped = (2, "the loss is nan")  # all that was recorded of it is finite
    ax = plots.spread([stopped] * lost + [whole] * (3 - lost), quantity="loss")
    assert curves(ax)[0].get_label() == ("_runs" if not lost else f"({lost} of 3 stopped)")
    assert [cross.get_xdata()[0] for cross in markers(ax, "X")] == [1] * lost


# through the network


def test_layer_curve_takes_every_form(record):
    expected = [record.last("act_std", f"act{i}") for i in (1, 2, 3)]
    layers = {f"act{i}": value for i, value in enumerate(expected, start=1)}
    seeds = [Run({"seed": seed}, record) for seed in (0, 1)]
    arrays = np.array(expected), np.array([expected, expected])
    for network in (record, seeds[0], Runs(seeds), seeds, [record, record], layers, *arrays):
        for values in (network, {"relu": network}):
            (line,) = curves(plots.layer_curve(values, "act_std"))
            np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
            np.testing.assert_allclose(line.get_ydata(), expected)
    first = curves(plots.layer_curve(record, "act_std", step=0))[0]
    np.testing.assert_allclose(first.get_ydata(), [0.5, 0.25, 0.125])


def test_several_networks_have_labels_colours_and_bands():
    values = {"he": np.array([[1.0, 2.0], [3.0, 8.0]]), "mine": {"layer1": 1.0, "layer2": 2.0}}
    ax = plots.layer_curve(values, "act_mean", colour={"mine": "black"})
    assert [line.get_label() for line in curves(ax)] == ["He", "mine"]
    assert [line.get_color() for line in curves(ax)] == [plots.style_of("he")["color"], "black"]
    assert [band_at(ax, x) for x in (1, 2)] == [(1, 3), (2, 8)]


def test_layer_curve_names_layers_of_several_kinds():
    ax = plots.layer_curve({"conv1": 0.1, "conv2": 0.2, "linear1": 0.3}, "grad_norm")
    assert [text.get_text() for text in ax.get_xticklabels()] == ["conv1", "conv2", "linear1"]
    np.testing.assert_array_equal(curves(ax)[0].get_xdata(), [1, 2, 3])


@pytest.mark.parametrize(("names", "slant"), [(["conv", "head"], 0), ([f"block{i}.conv" for i in "abcdef"], 35)])
def test_long_names_of_layers_are_slanted(names, slant):
    ax = plots.layer_curve(dict.fromkeys(names, 0.1), "grad_norm")
    assert {text.get_rotation() for text in ax.get_xticklabels()} == {slant}


def test_layer_curve_ticks_every_layer():
    assert plots.layer_curve(np.ones(10), "act_mean").get_xticks().tolist() == list(range(1, 11))


# what is not finite, and zeros


def test_a_curve_that_stops_ends_in_a_cross():
    ax = plots.by_step({"act1": [1.0, 2.0, np.inf], "act2": [1.0, np.nan, 3.0]}, "act_std", steps=[0, 5, 10])
    (cross,) = markers(ax, "X")
    assert (cross.get_xdata()[0], cross.get_ydata()[0]) == (5, 2.0)
    assert "not finite" in legend_texts(ax)
    assert np.isnan(curves(ax)[0].get_ydata()[2]) and np.isnan(curves(ax)[1].get_ydata()[1])


def test_a_record_that_stopped_ends_in_a_cross(record):
    record.stopped = (21, "the loss is nan")
    ax = plots.by_step(record, "dead")
    assert [cross.get_xdata()[0] for cross in markers(ax, "X")] == [20, 20, 20]


def test_a_curve_with_nothing_to_show_is_a_cross_on_the_edge():
    ax = plots.by_step({"act1": [np.nan, np.nan]}, "act_std", steps=[3, 4])
    (cross,) = markers(ax, "X")
    assert cross.get_transform() == ax.get_xaxis_transform()
    assert (cross.get_xdata()[0], cross.get_ydata()[0]) == (3, 0)
    ax.figure.canvas.draw()


def test_zeros_on_a_logarithmic_axis_are_triangles_on_the_edge():
    ax = plots.by_step({"linear1": [1e-3, 0.0, 0.0], "linear2": [0.0, 0.0, 0.0]}, "grad_norm")
    first, second = markers(ax, "v")
    assert list(first.get_xdata()) == [1, 2] and list(second.get_xdata()) == [0, 1, 2]
    assert {*first.get_ydata(), *second.get_ydata()} == {0.0}
    assert first.get_transform() == ax.get_xaxis_transform()
    assert ax.get_ylim()[0] > 0
    ax.figure.canvas.draw()
    assert markers(plots.by_step({"act1": [0.0, 0.1]}, "dead"), "v") == []


def test_marks_on_the_edge_have_the_colour_of_their_curve():
    ax = plots.spread(
        {"he": [[0.0, 1.0]], "mine": [[np.nan, np.nan]]}, quantity="grad_norm", colour={"mine": "black"}
    )
    (triangle,), (cross,) = markers(ax, "v"), markers(ax, "X")
    assert (triangle.get_color(), cross.get_color()) == (plots.style_of("he")["color"], "black")


def test_a_zero_has_no_part_in_the_mean_of_a_logarithm():
    ax = plots.spread([[1.0, 0.0, 0.0], [100.0, 4.0, 0.0]], quantity="grad_norm")
    np.testing.assert_allclose(curves(ax)[0].get_ydata(), [10, 4, np.nan])
    assert band_at(ax, 1) == pytest.approx((4, 4))
    (triangle,) = markers(ax, "v")
    assert list(triangle.get_xdata()) == [1, 2]


def test_layer_curve_marks_a_layer_that_is_not_finite():
    ax = plots.layer_curve({"he": np.array([[1.0, 2.0, np.inf], [1.0, 4.0, 3.0]])}, "act_mean")
    np.testing.assert_allclose(curves(ax)[0].get_ydata(), [1, 3, 3])
    (cross,) = markers(ax, "X")
    assert cross.get_xdata()[0] == 3


# the legend


def test_legend_inside_leaves_out_what_the_band_is():
    values = np.array([[1.0, 2.0], [1.0, np.nan]])
    with plt.style.context("unstuck.unstuck"):
        ax = plots.spread({"he": values}, legend="inside")
        ax.figure.canvas.draw()
        box, inside = ax.get_legend().get_window_extent(), ax.get_window_extent()
    assert legend_texts(ax) == ["He\n(1 of 2 stopped)", "not finite"]
    assert box.x0 >= inside.x0 and box.x1 <= inside.x1 and box.y0 >= inside.y0 and box.y1 <= inside.y1


def test_legend_below_is_one_for_all_panels():
    one, other = np.array([[1.0, 2.0], [1.0, np.nan]]), np.ones((2, 2))
    with plt.style.context("unstuck.unstuck"):
        axes = plots.panels(["left", "right"])
        plots.spread({"he": one, "xavier": other}, ax=axes["left"], legend="below")
        plots.spread({"xavier": other, "he": other}, ax=axes["right"], legend="below")
        fig = axes["left"].figure
        fig.canvas.draw()
        (legend,) = fig.legends
        assert [text.get_text() for text in legend.get_texts()] == ["He", "Xavier", "min to max, n = 2", "not finite"]
        assert all(ax.get_legend() is None for ax in axes.values())
        box = legend.get_window_extent()
        assert box.y0 >= 0 and box.y1 <= min(ax.get_tightbbox().y0 for ax in axes.values())


def test_no_legend_where_none_is_wanted_or_nothing_has_a_name():
    assert plots.spread({"he": [[1.0]]}, legend=False).get_legend() is None
    assert plots.spread([[1.0]]).get_legend() is None


def test_positions_in_a_sequential_are_counted():
    ax = plots.layer_curve({"2": 0.5, "4": 0.4, "6": 0.3}, "act_std")
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1", "2", "3"]
