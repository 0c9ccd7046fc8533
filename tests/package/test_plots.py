"""`unstuck.plots`: what is drawn equals what was given, in the colours and bands of the tables."""

import subprocess
import sys
from itertools import pairwise

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from unstuck import init, models, plots
from unstuck.record import QUANTITIES, Record

# Machado, Oliveira & Fernandes 2009, table 1, severity 1, for linear RGB
VISION = {
    "usual": np.eye(3),
    "red-blind": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "green-blind": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
)


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


@pytest.fixture(autouse=True)
def no_figure_left():
    yield
    plt.close("all")


@pytest.fixture
def record():
    rows = []
    for step in (0, 10, 20):
        rows.append((step, "", "loss", 2.3 - step / 20))
        for i in (1, 2, 3):
            rows.append((step, f"act{i}", "act_std", 0.5**i + step / 100))
            rows.append((step, f"act{i}", "dead", step / 100 * i))
            rows.append((step, f"linear{i}", "update_ratio", 10.0**-i))
    arrays = {(step, "act1", "zero_fraction"): np.array([0.0, 0.5, step / 20]) for step in (20, 0, 10)}
    return Record(rows, arrays)


Z = np.linspace(-2, 2, 9)


def everything(record, ax):
    """Every public figure on the axes given (a grid for histograms)."""
    return {
        "by_step": lambda: plots.by_step(record, "act_std", ax=ax),
        "spread": lambda: plots.spread([record, record], quantity="loss", label="relu", ax=ax),
        "layer_curve": lambda: plots.layer_curve(record, "act_std", ax=ax),
        "histograms": lambda: plots.histograms({"he": {"act1": Z}}, axes=ax),
        "unit_heatmap": lambda: plots.unit_heatmap(record, "act1", ax=ax),
        "activation": lambda: plots.activation("relu", Z, np.maximum(Z, 0), Z > 0, ax=ax),
        "dots": lambda: plots.dots({"relu": [0.8, 0.9]}, "test_accuracy", ax=ax),
        "ledger": lambda: plots.ledger([{"fix": "none", "loss": 2.3}], ax=ax),
    }


FUNCTIONS = list(everything(None, None))


def curves(ax):
    return [line for line in ax.lines if line.get_gid() == "curve"]


def markers(ax, marker):
    return [line for line in ax.lines if line.get_marker() == marker and len(line.get_xdata())]


# every function


@pytest.mark.parametrize("name", FUNCTIONS)
def test_draws_on_the_axes_given_and_nowhere_else(name, record):
    fig, (ax, other) = plt.subplots(1, 2)
    before = len(other.get_children())
    result = everything(record, ax)[name]()
    assert (result.item() if name == "histograms" else result) is ax
    assert plt.get_fignums() == [fig.number]
    assert len(other.get_children()) == before
    assert len(fig.axes) == (3 if name == "unit_heatmap" else 2)  # the colour bar


@pytest.mark.parametrize("name", FUNCTIONS)
def test_makes_one_figure_without_axes(name, record):
    everything(record, None)[name]()
    assert len(plt.get_fignums()) == 1


@pytest.mark.parametrize("styled", [False, True])
def test_rcparams_stay_as_they_are(record, styled):
    with plt.style.context("unstuck.unstuck" if styled else "default"):
        before = dict(plt.rcParams)
        for draw in everything(record, None).values():
            draw()
        assert dict(plt.rcParams) == before


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name != "ledger"])
def test_both_axes_are_labelled(name, record):
    ax = everything(record, None)[name]()
    ax = ax.item() if name == "histograms" else ax
    assert ax.get_xlabel()
    assert ax.get_ylabel() or [t.get_text() for t in ax.get_yticklabels()] == ["ReLU"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_legend_stays_off_the_data(name, record):
    with plt.style.context("unstuck.unstuck"):
        ax = everything(record, None)[name]()
        ax = ax.item() if name == "histograms" else ax
        ax.figure.canvas.draw()
        whole, inside = ax.figure.bbox, ax.get_window_extent()
        assert name not in ("by_step", "spread", "activation") or ax.get_legend() is not None
        if ax.get_legend() is not None:
            box = ax.get_legend().get_window_extent()
            assert box.x0 >= inside.x1 and box.x1 <= whole.x1 and box.y0 >= whole.y0


def test_importing_brings_no_torch():
    code = "import sys, unstuck.plots; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# style and colours


def test_style_sheet_is_found_and_fits(tmp_path, record):
    with plt.style.context("unstuck.unstuck"):
        assert plt.rcParams["axes.prop_cycle"].by_key()["color"] == list(plots.PALETTE)
        assert {to_rgb(plt.rcParams[f"{part}.facecolor"]) for part in ("figure", "axes")} == {to_rgb(plots.PAPER)}
        assert to_rgb(plt.rcParams["text.color"]) == to_rgb(plots.INK)
        widths = set()
        for i, box in enumerate((None, None, "tight")):
            fig = plots.by_step(record, "act_std").figure
            fig.savefig(tmp_path / f"{i}.png", bbox_inches=box)
            widths.add(plt.imread(tmp_path / f"{i}.png").shape[1])
        assert (tmp_path / "0.png").read_bytes() == (tmp_path / "1.png").read_bytes()
        assert all(abs(width - 770) <= 4 for width in widths)
        assert (tmp_path / "0.png").stat().st_size < 60_000


def test_tables_cover_the_package():
    assert list(plots.ACTIVATION_COLOURS) == list(models.ACTIVATIONS)
    assert list(plots.SCHEME_COLOURS) == list(init.SCHEMES)
    assert set(plots.LABELS) == {*models.ACTIVATIONS, *init.SCHEMES}


def test_palette_is_told_apart_by_everybody():
    colours = [*plots.PALETTE, plots.GREY]
    assert min(apart(a, b) for i, a in enumerate(colours) for b in colours[:i]) > 25
    assert min(contrast(colour) for colour in colours) >= 3


@pytest.mark.parametrize("table", [plots.ACTIVATION_COLOURS, plots.SCHEME_COLOURS], ids=["activations", "schemes"])
def test_each_name_has_a_colour_of_its_own(table):
    assert len(set(table.values())) == len(table)
    assert set(table.values()) <= {*plots.PALETTE, plots.GREY}
    relatives = [plots.style_of(name) for name in ("relu", "leaky_relu", "prelu")]
    assert len({style["linestyle"] for style in relatives}) == 3


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
    with pytest.raises(ValueError, match=r"i: layers are numbered from 1, got 0"):
        plots.layer_colour(0)


@pytest.mark.parametrize(
    ("name", "number"), [("act3", 3), ("linear12", 12), ("act3#2", 3), ("head", 7), ("0", 7), ("block1.conv2", 7)]
)
def test_layer_number(name, number):
    assert plots.layer_number(name, 7) == number


def test_a_layer_keeps_its_colour(record):
    third = plots.by_step(record, "act_std", layers=["act3"])
    every = plots.by_step(record, "update_ratio")
    through = plots.layer_curve(record, "act_std")
    colour = to_rgb(plots.layer_colour(3))
    assert to_rgb(curves(third)[0].get_color()) == colour
    assert to_rgb(curves(every)[2].get_color()) == colour
    assert tuple(through.collections[0].get_facecolors()[2][:3]) == pytest.approx(colour)


def test_an_activation_keeps_its_colour():
    ax = plots.spread(np.ones((2, 3)), label="tanh")
    plots.spread(np.ones((2, 3)), label="relu", ax=ax)
    alone = plots.spread(np.ones((2, 3)), label="relu")
    panel = plots.activation("relu", Z, Z, Z)
    seen = {to_rgb(line.get_color()) for line in (curves(ax)[1], curves(alone)[0], *panel.lines[-2:])}
    assert seen == {to_rgb(plots.ACTIVATION_COLOURS["relu"])}
    assert alone.get_legend().get_texts()[0].get_text() == "ReLU"


# labels, scales and bands from QUANTITIES


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
        box = bands[0].get_extents().transformed(ax.transData.inverted())
        assert (box.y0, box.y1) == pytest.approx(row.healthy)
        low, high = ax.get_ylim()
        assert low <= row.healthy[0] * (1 + 1e-9) and high >= row.healthy[1] * (1 - 1e-9)


def test_band_is_drawn_once():
    _, ax = plt.subplots()
    for _ in range(2):
        assert plots.healthy_band(ax, "dead") is ax
    assert len(ax.patches) == 1
    assert len(plots.healthy_band(plt.subplots()[1], "loss").patches) == 0


# the data drawn


def test_by_step_draws_the_record(record):
    ax = plots.by_step(record, "act_std")
    assert [line.get_label() for line in curves(ax)] == ["act1", "act2", "act3"]
    for line, layer in zip(curves(ax), ("act1", "act2", "act3"), strict=True):
        steps, values = record.get("act_std", layer)
        np.testing.assert_array_equal(line.get_xdata(), steps)
        np.testing.assert_array_equal(line.get_ydata(), values)
    assert len(curves(plots.by_step(record, "loss"))) == 1


def test_layers_of_one_number_differ_in_line_style():
    ax = plots.by_step({"linear1": [1.0, 2.0], "norm1": [1.0, 3.0]}, "weight_norm")
    linear1, norm1 = curves(ax)
    assert linear1.get_color() == norm1.get_color()
    assert linear1.get_linestyle() != norm1.get_linestyle()


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
    corners = ax.collections[0].get_paths()[0].vertices
    for k in range(7):
        at = corners[corners[:, 0] == x[k], 1]
        assert (at.min(), at.max()) == pytest.approx((back(low)[k], back(high)[k]))
    note = ax.get_legend().get_texts()[0].get_text()
    assert note == ("min to max, n = 5" if band == "range" else "± 1 sd, n = 5")


def test_spread_of_records_that_stopped():
    whole = Record([(step, "", "loss", 1.0 + step) for step in range(4)])
    ended = Record([(0, "", "loss", 3.0), (1, "", "loss", 4.0), (2, "", "loss", np.nan)])
    ended.stopped = (2, "the loss is nan")
    ax = plots.spread([whole, ended], quantity="loss", label="he")
    np.testing.assert_allclose(curves(ax)[0].get_ydata(), [2, 3, 3, 4])
    assert curves(ax)[0].get_label() == "He\n(1 of 2 stopped)"
    (cross,) = markers(ax, "X")
    assert (cross.get_xdata()[0], cross.get_ydata()[0]) == (1, 4)

    short = Record([(0, "", "loss", 3.0)])
    with pytest.raises(ValueError, match=r"runs: expected Records of the same steps, number 1 differs"):
        plots.spread([whole, short], quantity="loss")


def test_layer_curve_takes_every_form(record):
    expected = [record.last("act_std", f"act{i}") for i in (1, 2, 3)]
    layers = {f"act{i}": value for i, value in enumerate(expected, start=1)}
    for network in (record, [record, record], layers, np.array(expected), np.array([expected, expected])):
        for values in (network, {"relu": network}):
            (line,) = curves(plots.layer_curve(values, "act_std"))
            np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
            np.testing.assert_allclose(line.get_ydata(), expected)
    first = curves(plots.layer_curve(record, "act_std", step=0))[0]
    np.testing.assert_allclose(first.get_ydata(), [0.5, 0.25, 0.125])


def test_layer_curve_names_layers_of_several_kinds():
    ax = plots.layer_curve({"conv1": 0.1, "conv2": 0.2, "linear1": 0.3}, "grad_norm")
    assert [text.get_text() for text in ax.get_xticklabels()] == ["conv1", "conv2", "linear1"]
    np.testing.assert_array_equal(curves(ax)[0].get_xdata(), [1, 2, 3])


def test_layer_curve_ticks_every_layer():
    assert plots.layer_curve(np.ones(10), "act_mean").get_xticks().tolist() == list(range(1, 11))


def test_histograms_count_what_they_do_not_draw():
    values = np.array([0.0, 0.0, np.nan, 1.0, 1.0, 2.0, 3.0, 4.0])
    axes = plots.histograms({"he": {"act1": values[3:], "act2": values}, "xavier": {"act1": np.zeros(3), "act2": Z}})
    assert axes.shape == (2, 2)
    assert "12% not finite" in axes[0, 1].get_title() and "100% zeros" in axes[1, 0].get_title()
    assert f"sd {values[3:].std():.1f}" in axes[0, 0].get_title()
    drawn = axes[0, 0].patches[0].get_data()
    counts, _ = np.histogram(values[3:], bins=drawn.edges)
    np.testing.assert_allclose(drawn.values, counts / counts.max())
    assert axes[0, 0].get_xlim() == axes[0, 1].get_xlim() != axes[1, 0].get_xlim()
    assert len(axes[1, 0].patches) == 0
    assert [ax.get_ylabel() for ax in axes[:, 0]] == ["He", "Xavier"]


def test_histograms_share_what_is_asked():
    values = {"he": {"act1": Z, "act2": 9 * Z}, "xavier": {"act1": Z, "act2": 3 * Z}}
    for share, different in (("all", 1), ("row", 2), ("panel", 3)):
        axes = plots.histograms(values, share=share)
        assert len({ax.get_xlim() for ax in axes.flat}) == different


def test_heatmap_orders_steps_and_scales_fractions(record):
    ax = plots.unit_heatmap(record, "act1")
    mesh = ax.collections[0]
    np.testing.assert_array_equal(mesh.get_array(), [[0, 0, 0], [0.5, 0.5, 0.5], [0, 0.5, 1]])  # (H, T)
    assert mesh.get_clim() == pytest.approx((0, 1))
    rust = [to_rgb(colour[:3]) == to_rgb(plots.RUST) for colour in mesh.to_rgba(np.array([0.0, 0.999, 1.0]))]
    assert rust == [False, False, True]  # only a unit that did not fire at all
    np.testing.assert_allclose(ax.get_xlim(), (-5, 25))
    assert ax.figure.axes[1].get_ylabel() == "fraction of zeros (tip: all)"


def test_heatmap_of_signed_and_broken_values():
    grid = np.array([[1.0, -3.0], [np.nan, 2.0]])
    mesh = plots.unit_heatmap(grid, quantity="act_mean").collections[0]
    assert mesh.get_clim() == (-3, 3)
    assert np.ma.getmaskarray(mesh.get_array()).tolist() == [[False, True], [False, False]]
    plots.unit_heatmap(np.zeros((1, 2)), quantity="act_mean").figure.canvas.draw()


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
    mean = next(line for line in ax.lines if line.get_marker() == "|")
    assert mean.get_xdata()[0] == pytest.approx(finite.mean())
    bar = ax.collections[0].get_segments()[0]
    np.testing.assert_allclose(bar[:, 0], finite.mean() + np.array([-1, 1]) * finite.std(ddof=1))
    assert [t.get_text() for t in ax.get_yticklabels()] == ["ReLU\n(1 of 4 not finite)", "tanh"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first name is on top
    assert list(ax.lines[-1].get_ydata()) == [-0.25, 1.25]


def test_ledger_writes_every_cell():
    rows = [
        {"fix": "as found", "loss": 2.302, "dead": 0.434, "gradient ratio": 3.2e-7},
        {"fix": "too much", "loss": float("nan"), "dead": 1.0},
    ]
    texts = [text.get_text().replace("\n", " ") for text in plots.ledger(rows).texts]
    assert texts[:4] == ["fix", "training loss", "dead units", "gradient ratio"]
    assert texts[4:] == ["as found", "2.30", "43.4 %", "3.20e-7", "too much", "nan", "100 %", "–"]


# what is not finite, and zeros


def test_a_curve_that_stops_ends_in_a_cross():
    ax = plots.by_step({"act1": [1.0, 2.0, np.inf], "act2": [1.0, np.nan, 3.0]}, "act_std", steps=[0, 5, 10])
    (cross,) = markers(ax, "X")
    assert (cross.get_xdata()[0], cross.get_ydata()[0]) == (5, 2.0)
    assert "not finite" in [text.get_text() for text in ax.get_legend().get_texts()]
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
    assert ax.get_ylim()[0] > 0
    ax.figure.canvas.draw()
    assert markers(plots.by_step({"act1": [0.0, 0.1]}, "dead"), "v") == []


def test_layer_curve_marks_a_layer_that_is_not_finite():
    ax = plots.layer_curve({"he": np.array([[1.0, 2.0, np.inf], [1.0, 4.0, 3.0]])}, "act_mean")
    np.testing.assert_allclose(curves(ax)[0].get_ydata(), [1, 3, 3])
    (cross,) = markers(ax, "X")
    assert cross.get_xdata()[0] == 3


# errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: plots.by_step({}, "loss"), "values: expected at least one layer"),
        (lambda r: plots.by_step({"act1": []}, "loss"), r"values\['act1'\]: expected at least one number"),
        (lambda r: plots.by_step(r, "act_std", layers=[]), "layers: expected at least one layer"),
        (lambda r: plots.by_step(r, "act_std", layers=["act9"]), "layer: 'act_std' was not recorded for 'act9'"),
        (lambda r: plots.by_step({"act1": [1.0]}, "loss", layers=["x"]), r"layers: \['x'\] are not among"),
        (lambda r: plots.by_step({"act1": [1.0]}, "loss", steps=[1, 2]), r"steps: expected shape \(1,\)"),
        (lambda r: plots.by_step(r, "speed"), "quantity: 'speed' is not one of"),
        (lambda r: plots.spread([]), "runs: expected at least one number"),
        (lambda r: plots.spread([1.0, 2.0]), r"runs: expected 2 dimensions, got shape \(2,\)"),
        (lambda r: plots.spread([[1.0]], band="iqr"), "band: expected 'range' or 'sd', got 'iqr'"),
        (lambda r: plots.spread([r]), "quantity: needed with Records"),
        (lambda r: plots.layer_curve({}, "act_std"), "values: expected at least one layer"),
        (lambda r: plots.layer_curve([], "act_std"), "values: expected at least one number"),
        (lambda r: plots.layer_curve(r, "loss"), "values: expected at least one layer with 'loss'"),
        (
            lambda r: plots.layer_curve(r, "dead", step=5),
            "step: 'dead' of 'act1' was recorded from 0 to 20, not at 5",
        ),
        (lambda r: plots.layer_curve({"he": np.ones((1, 2, 3))}, "dead"), r"values\['he'\]: expected shape"),
        (lambda r: plots.layer_curve(r, "dead", band="iqr"), "band: expected"),
        (lambda r: plots.histograms({}), "values: expected at least one network"),
        (lambda r: plots.histograms({"he": {}}), r"values\['he'\]: expected at least one layer"),
        (lambda r: plots.histograms({"a": {"act1": Z}, "b": {"act1": Z, "act2": Z}}), "values: expected as many"),
        (lambda r: plots.histograms({"a": {"act1": []}}), r"values\['a'\]\['act1'\]: expected at least one number"),
        (lambda r: plots.histograms({"a": {"act1": Z}}, share="x"), "share: expected"),
        (lambda r: plots.histograms({"a": {"act1": Z}}, axes=[1, 2]), r"axes: expected 1 x 1, got \(2,\)"),
        (lambda r: plots.unit_heatmap([]), "values: expected at least one number"),
        (lambda r: plots.unit_heatmap(r, "act2"), "layer, quantity: no arrays for"),
        (lambda r: plots.activation("relu", Z, Z, Z[1:]), "z, f, df: expected equal lengths, got 9, 9, 8"),
        (lambda r: plots.activation("relu", [], [], []), "z: expected at least one number"),
        (lambda r: plots.dots({}, "loss"), "values: expected at least one name"),
        (lambda r: plots.dots({"relu": []}, "loss"), r"values\['relu'\]: expected at least one number"),
        (lambda r: plots.dots({"relu": [1.0]}, "loss", groups=[["x"]]), r"groups: \['x'\] are not among"),
        (lambda r: plots.ledger([]), "rows: expected at least one row"),
        (lambda r: plots.ledger([{"fix": "a"}, {"loss": 1.0}]), "rows: expected 'fix' in each"),
    ],
)
def test_wrong_arguments_are_named_and_leave_no_figure(call, message, record):
    with pytest.raises(ValueError, match=message):
        call(record)
    assert plt.get_fignums() == []
