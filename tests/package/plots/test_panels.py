"""Panels, reference lines, and names at the curves."""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest
from drawn import curves
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from scipy.optimize import minimize

from unstuck import plots
from unstuck.plots.panels import _apart


def shown(axis) -> bool:
    return axis.get_tick_params()["labelbottom" if axis.axis_name == "x" else "labelleft"]


# panels


def test_panels_are_titled_and_what_is_left_over_is_empty():
    axes = plots.panels(["relu", "my own", "he"], columns=2)
    assert list(axes) == ["relu", "my own", "he"]
    titles = [ax.get_title(loc=plt.rcParams["axes.titlelocation"]) for ax in axes.values()]
    assert titles == ["ReLU", "my own", "He"]
    assert plt.gcf().axes == list(axes.values())
    places = [ax.get_subplotspec() for ax in axes.values()]
    assert [(place.rowspan.start, place.colspan.start) for place in places] == [(0, 0), (0, 1), (1, 0)]


def test_shared_panels_are_labelled_on_the_outside_alone():
    axes = plots.panels(["a", "b", "c"])
    for k, ax in enumerate(axes.values()):
        plots.spread(np.full((2, 3), k + 1.0), quantity="loss", ax=ax)
    assert [ax.get_xlabel() for ax in axes.values()] == ["", "step", "step"]  # below b there is nothing
    assert [bool(ax.get_ylabel()) for ax in axes.values()] == [True, False, True]
    assert [shown(ax.xaxis) for ax in axes.values()] == [False, True, True]
    assert [shown(ax.yaxis) for ax in axes.values()] == [True, False, True]
    assert len({(ax.get_xlim(), ax.get_ylim()) for ax in axes.values()}) == 1


def test_panels_with_axes_of_their_own_are_all_labelled():
    axes = plots.panels(["a", "b", "c"], columns=3, sharex=False, sharey=False)
    for k, ax in enumerate(axes.values()):
        plots.spread(np.full((2, 3), k + 1.0), quantity="loss", ax=ax)
    assert all(ax.get_xlabel() == "step" and ax.get_ylabel() for ax in axes.values())
    assert len({ax.get_ylim() for ax in axes.values()}) == 3


@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_no_more_columns_than_panels_and_a_height_for_each_row(count):
    axes = plots.panels([str(i) for i in range(count)], columns=4, height=3)
    width, height = plt.gcf().get_size_inches()
    assert width == plt.rcParams["figure.figsize"][0]
    assert height == pytest.approx(0.6 + 3 * (2 if count == 5 else 1))
    assert axes["0"].get_subplotspec().get_gridspec().ncols == min(count, 4)


# reference lines


def test_a_reference_is_a_line_and_a_word():
    ax = plots.spread({"he": np.linspace(0, 4, 10).reshape(2, 5)}, legend=False)
    assert plots.reference(ax, "a guess", y=2.3) is ax
    plots.reference(ax, "the rate falls", x=3, colour=plots.RUST)
    level, moment = ax.lines[-2:]
    ax.set(xlim=(-5, 9))
    ax.figure.canvas.draw()
    ends = [line.get_transform().transform(line.get_xydata()) for line in (level, moment)]
    (x0, y0), (x1, y1) = ax.transData.inverted().transform(ends[0])
    assert (x0, x1) == pytest.approx((-5, 9)) and (y0, y1) == pytest.approx((2.3, 2.3))
    (x0, y0), (x1, y1) = ax.transData.inverted().transform(ends[1])
    assert (x0, x1) == pytest.approx((3, 3)) and (y0, y1) == pytest.approx(ax.get_ylim())
    assert [text.get_text() for text in ax.texts] == ["a guess", "the rate falls"]
    assert to_rgb(moment.get_color()) == to_rgb(ax.texts[1].get_color()) == to_rgb(plots.RUST)
    box, inside = ax.texts[0].get_window_extent(), ax.get_window_extent()
    line_at = ax.transData.transform((0, 2.3))[1]
    assert line_at <= box.y0 <= line_at + 10 and box.x1 <= inside.x1  # on the line, in the axes
    box, line_at = ax.texts[1].get_window_extent(), ax.transData.transform((3, 0))[0]
    assert line_at - 10 <= box.x1 <= line_at and box.y1 <= inside.y1
    assert ax.get_legend_handles_labels()[1] == ["He", "min to max, n = 2"]
    assert len(curves(ax)) == 1  # it takes no colour of the curves


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({}, ValueError, "x, y: give exactly one"),
        ({"x": 1, "y": 1}, ValueError, "x, y: give exactly one"),
        ({"y": np.nan}, ValueError, "y: expected a finite number"),
        ({"x": "3"}, TypeError, "x: expected a number"),
    ],
)
def test_a_reference_is_at_one_place(given, error, message):
    with pytest.raises(error, match=message):
        plots.reference(plt.subplots()[1], **given)


# names at the curves


def boxes_of(ax) -> list:
    """Where the words of the labels stand, without the lines that lead to them."""
    return [Text.get_window_extent(text) for text in ax.texts]


def labelled(ends, **options):
    with plt.style.context("unstuck.unstuck"):
        values = {f"curve {k}": np.array([[1.0, end]]) for k, end in enumerate(ends)}
        ax = plots.label_curves(plots.spread(values, **options))
        ax.figure.canvas.draw()
        return ax, boxes_of(ax)


def test_labels_stand_at_their_curves_and_replace_the_legend():
    ax, boxes = labelled([1.0, 4.0, 2.5])
    assert ax.get_legend() is None
    assert [text.get_text() for text in ax.texts] == ["curve 0", "curve 1", "curve 2"]
    for text, box, line, end in zip(ax.texts, boxes, curves(ax), (1.0, 4.0, 2.5), strict=True):
        x, y = ax.transData.transform((1, end))
        assert abs((box.y0 + box.y1) / 2 - y) < 4 and box.x0 > ax.get_window_extent().x1
        assert box.x1 <= ax.figure.bbox.x1
        leader = text.arrow_patch
        assert to_rgb(leader.get_edgecolor()) == to_rgb(line.get_color())
        np.testing.assert_allclose(ax.transAxes.transform(text.xy), (x, y), atol=0.5)


@pytest.mark.parametrize("ends", [[2, 2, 2, 2], [1, 4, 3.95, 4], [1, 1.01, 1.02, 4]])
@pytest.mark.parametrize("quantity", ["loss", "grad_norm"])
def test_labels_never_overlap_nor_leave_the_axes(ends, quantity):
    ax, boxes = labelled(ends, quantity=quantity)
    order = sorted(range(len(ends)), key=lambda k: (ends[k], k))
    for lower, upper in pairwise(order):
        assert boxes[lower].y1 <= boxes[upper].y0 + 1
        if ends[lower] == ends[upper]:  # nor do they move further than that
            assert boxes[upper].y0 - boxes[lower].y1 < boxes[lower].height / 2
    for text, box in zip(ax.texts, boxes, strict=True):  # the line ends where the words begin
        x, y = max(text.arrow_patch.get_path().vertices.tolist())
        assert abs(x - box.x0) < box.height / 2 > abs(y - (box.y0 + box.y1) / 2)
    inside = ax.get_window_extent()
    assert min(box.y0 for box in boxes) > inside.y0 - 3 and max(box.y1 for box in boxes) < inside.y1 + 3


def test_a_label_of_two_lines_has_room_for_both():
    values = {"a": [[1.0, 2.0]], "he": [[1.0, 2.0], [1.0, np.nan]], "b": [[1.0, 2.0]]}
    with plt.style.context("unstuck.unstuck"):
        ax = plots.label_curves(plots.spread(values))
        ax.figure.canvas.draw()
        boxes = sorted(boxes_of(ax), key=lambda box: box.y0)
    assert [text.get_text() for text in ax.texts] == ["a", "He\n(1 of 2 stopped)", "b"]
    assert all(lower.y1 <= upper.y0 + 1 for lower, upper in pairwise(boxes))


def test_a_curve_that_leaves_the_picture_is_named_where_it_leaves():
    ax = plots.spread(
        {"up": [[0.0, 1.0, 9.0]], "lost": [[0.0, 1.0, np.nan]], "long": [[0.0, 0.5, 0.6]], "high": [[0, 9, 9]]}
    )
    ax.set(xlim=(0, 1.5), ylim=(0, 2))
    plots.label_curves(ax)
    at = {text.get_text(): ax.transData.inverted().transform(ax.transAxes.transform(text.xy)) for text in ax.texts}
    np.testing.assert_allclose(at["up"], (1, 1))
    np.testing.assert_allclose(at["lost\n(1 of 1 stopped)"], (1, 1))
    np.testing.assert_allclose(at["long"], (1, 0.5))
    np.testing.assert_allclose(at["high"], (1, 2))
    with pytest.raises(ValueError, match="ax: expected at least one curve with a label"):
        plots.label_curves(plots.spread(np.ones((2, 2))))


@pytest.mark.parametrize("seed", range(5))
def test_labels_move_as_little_as_they_can(seed):
    rng = np.random.default_rng(seed)
    wanted, heights = rng.uniform(0.1, 0.9, 6).round(1), rng.choice([0.05, 0.1], 6)
    found = _apart(wanted, heights)
    order = np.argsort(wanted, kind="stable")
    gaps = (heights[order][1:] + heights[order][:-1]) / 2
    rules = [{"type": "ineq", "fun": lambda m, k=k: m[order[k + 1]] - m[order[k]] - gaps[k]} for k in range(5)]
    rules += [
        {"type": "ineq", "fun": lambda m: m - heights / 2},
        {"type": "ineq", "fun": lambda m: 1 - heights / 2 - m},
    ]
    best = minimize(lambda m: ((m - wanted) ** 2).sum(), found + 0.01, constraints=rules, tol=1e-12)
    assert best.success
    np.testing.assert_allclose(found, best.x, atol=1e-4)
