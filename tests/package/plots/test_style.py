"""Colours that everybody tells apart, labels and bands of the tables."""

from colorsys import rgb_to_hsv
from itertools import combinations, pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest
from drawn import curves
from matplotlib.colors import to_rgb

from unstuck import init, plots
from unstuck.activations import ACTIVATIONS
from unstuck.plots.style import LINE_STYLES, SCHEMES, axis_label, layer_number
from unstuck.record import QUANTITIES

# Machado, Oliveira & Fernandes 2009, table 1, severity 1, for linear RGB
VISION = {
    "usual": np.eye(3),
    "red-blind": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "green-blind": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
)
Z = np.linspace(-2, 2, 9)


def linear(colour) -> np.ndarray:
    c = np.array(to_rgb(colour))
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(colour, vision="usual") -> np.ndarray:
    """CIE L*a*b* (D65) of a colour as somebody with that vision sees it."""
    seen = np.clip(np.asarray(VISION[vision]) @ linear(colour), 0, 1)
    t = TO_XYZ @ seen / TO_XYZ.sum(axis=1)
    x, y, z = np.where(t > 216 / 24389, np.cbrt(t), (24389 / 27 * t + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def apart(one, other) -> float:
    """The smallest CIE76 difference over the three kinds of vision."""
    return min(float(np.linalg.norm(lab(one, v) - lab(other, v))) for v in VISION)


def contrast(colour, on=plots.PAPER) -> float:
    """WCAG's contrast ratio with the paper."""
    one, other = (TO_XYZ[1] @ linear(c) + 0.05 for c in (colour, on))
    return max(one, other) / min(one, other)


def test_the_table_covers_the_schemes():
    assert list(SCHEMES) == list(init.SCHEMES)
    assert not set(SCHEMES) & set(ACTIVATIONS)


def test_palette_is_told_apart_by_everybody():
    colours = [*plots.PALETTE, plots.GREY]
    assert min(apart(a, b) for i, a in enumerate(colours) for b in colours[:i]) > 25
    assert min(contrast(colour) for colour in colours) >= 3


@pytest.mark.parametrize("table", [ACTIVATIONS, SCHEMES], ids=["activations", "schemes"])
def test_each_name_has_a_colour_of_its_own(table):
    colours = [row.colour for row in table.values()]
    assert len(set(colours)) == len(table)
    assert set(colours) <= {*plots.PALETTE, plots.GREY}


def test_names_are_written_as_in_the_papers():
    written = "identity, sigmoid, tanh, ReLU, leaky ReLU, PReLU, ELU, SELU, GELU, SiLU, Maxout"
    assert ", ".join(row.label for row in ACTIVATIONS.values()) == written
    written = "zeros, constant, normal, uniform, LeCun, Xavier, He, PyTorch's default, orthogonal, LSUV"
    assert ", ".join(row.label for row in SCHEMES.values()) == f"{written}, randomised asymmetric"


def test_quantities_are_written_with_their_unit():
    written = {
        "loss": "training loss (nats)",
        "accuracy": "training accuracy (fraction)",
        "test_loss": "test loss (nats)",
        "test_accuracy": "test accuracy (fraction)",
        "act_mean": "mean activation",
        "act_std": "standard deviation of activations",
        "zero_fraction": "fraction of zeros",
        "saturated_fraction": "saturated fraction",
        "dead": "dead units (fraction)",
        "never_fired": "units that never fired (fraction)",
        "unit_std": "standard deviation of a unit",
        "unit_range": "range of a unit",
        "grad_norm": "gradient norm",
        "weight_norm": "weight norm",
        "update_ratio": "update ratio",
    }
    assert {name: axis_label(name) for name in written} == written


@pytest.mark.parametrize("table", [ACTIVATIONS, SCHEMES], ids=["activations", "schemes"])
def test_dashes_are_matplotlib_s(table):
    assert {row.dashes for row in table.values()} <= set(LINE_STYLES)


@pytest.mark.parametrize("relatives", [("relu", "leaky_relu", "prelu"), ("xavier", "lecun", "pytorch")])
def test_relatives_differ_in_line_style(relatives):
    assert len({plots.style_of(name)["linestyle"] for name in relatives}) == 3


@pytest.mark.parametrize("table", [ACTIVATIONS, SCHEMES], ids=["activations", "schemes"])
def test_labels_and_styles_are_those_of_the_tables(table):
    for name, row in table.items():
        assert plots.label_of(name) == row.label
        assert plots.style_of(name, 3) == {"color": row.colour, "linestyle": row.dashes}
    assert plots.label_of("my own") == "my own"


def test_other_names_take_their_turn_and_then_other_dashes():
    styles = [tuple(plots.style_of("mine", i).values()) for i in range(40)]
    assert [colour for colour, _ in styles[:10]] == list(plots.PALETTE)
    assert len(set(styles)) == 40
    assert tuple(plots.style_of("mine", 40).values()) == styles[0]


def test_the_measure_of_colours_finds_a_bad_pair():
    assert apart("#d62728", "#2ca02c") < 0.6 * float(np.linalg.norm(lab("#d62728") - lab("#2ca02c")))
    assert lab("white") == pytest.approx([100, 0, 0], abs=0.01)


def test_layer_colours_are_ordered_and_told_apart():
    colours = [plots.layer_colour(i) for i in range(1, 11)]
    lightness = [lab(colour)[0] for colour in colours]
    assert lightness == sorted(lightness)
    assert min(apart(a, b) for a, b in pairwise(colours)) > 19
    assert min(contrast(colour) for colour in colours) >= 3
    assert plots.layer_colour(50) == plots.layer_colour(10)
    with pytest.raises(ValueError, match=r"i: expected an integer of at least 1, got 0"):
        plots.layer_colour(0)


@pytest.mark.parametrize(
    ("name", "number"), [("act3", 3), ("linear12", 12), ("act3#2", 3), ("head", 7), ("0", 7), ("block1.conv2", 7)]
)
def test_layer_number(name, number):
    assert layer_number(name, 7) == number


def test_a_layer_keeps_its_colour(record):
    third = plots.by_step(record, "act_std", layers=["act3"])
    every = plots.by_step(record, "update_ratio")
    through = plots.layer_curve(record, "act_std")
    colour = to_rgb(plots.layer_colour(3))
    assert to_rgb(curves(third)[0].get_color()) == colour
    assert to_rgb(curves(every)[2].get_color()) == colour
    assert tuple(through.collections[0].get_facecolors()[2][:3]) == pytest.approx(colour)


def test_an_activation_keeps_its_colour():
    ax = plots.spread({"tanh": np.ones((2, 3)), "relu": np.ones((2, 3))})
    alone = plots.spread(np.ones((2, 3)), label="relu")
    panel = plots.activation("relu", Z, Z, Z)
    row = plots.dots({"tanh": [0.1], "relu": [0.8]}, "accuracy")
    lines = (curves(ax)[1], curves(alone)[0], *panel.lines[-2:], row.lines[-1])
    assert {to_rgb(line.get_color()) for line in lines} == {to_rgb(ACTIVATIONS["relu"].colour)}
    assert alone.get_legend().get_texts()[0].get_text() == "ReLU"


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_axis_follows_the_table(quantity):
    ax = plots.by_step({"act1": np.array([0.5, 0.6])}, quantity)
    row = QUANTITIES[quantity]
    assert ax.get_ylabel().startswith(row.label)
    assert row.unit == "1" or row.unit in ax.get_ylabel()
    assert ax.get_yscale() == ("log" if row.log else "linear")
    bands = [patch for patch in ax.patches if patch.get_label() == "healthy"]
    assert len(bands) == (row.healthy is not None)
    if bands:
        ax.figure.canvas.draw()
        box = bands[0].get_extents().transformed(ax.transData.inverted())
        assert (box.y0, box.y1) == pytest.approx(row.healthy)
        assert (box.x0, box.x1) == pytest.approx(ax.get_xlim())
        assert to_rgb(bands[0].get_facecolor()) == to_rgb(plots.BAND)
        low, high = ax.get_ylim()
        assert low <= row.healthy[0] * (1 + 1e-9) and high >= row.healthy[1] * (1 - 1e-9)


def test_band_is_drawn_once():
    _, ax = plt.subplots()
    for _ in range(2):
        assert plots.healthy_band(ax, "dead") is ax
    assert len(ax.patches) == 1
    assert len(plots.healthy_band(plt.subplots()[1], "loss").patches) == 0


def test_activations_of_nearly_the_same_colour_have_other_dashes():
    def hue(row):
        return 360 * rgb_to_hsv(*to_rgb(row.colour))[0]

    alike = [(a, b) for a, b in combinations(ACTIVATIONS.values(), 2) if 180 - abs(180 - abs(hue(a) - hue(b))) < 30]
    assert len(alike) >= 5  # sigmoid and tanh, the ReLUs, ELU and SELU, GELU and SiLU
    assert [(a.label, b.label) for a, b in alike if a.dashes == b.dashes] == []
