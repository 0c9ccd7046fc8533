"""What holds for every figure of `unstuck.plots`: where it draws, what it labels, what it refuses."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from unstuck import plots
from unstuck.record import Record, Run

Z = np.linspace(-2, 2, 9)


def everything(record, runs, ax):
    """Every public figure on the axes given (a grid for histograms and images)."""
    return {
        "by_step": lambda: plots.by_step(record, "act_std", ax=ax),
        "spread": lambda: plots.spread([record, record], quantity="loss", label="relu", ax=ax),
        "layer_curve": lambda: plots.layer_curve(record, "act_std", ax=ax),
        "histograms": lambda: plots.histograms({"he": {"act1": Z}}, axes=ax),
        "images": lambda: plots.images({"he": {"act1": np.eye(3)}}, ranges=True, axes=ax),
        "unit_heatmap": lambda: plots.unit_heatmap(record, "act1", ax=ax),
        "grid_map": lambda: plots.grid_map(runs, "lr", "gain", quantity="loss", ax=ax),
        "activation": lambda: plots.activation("relu", Z, np.maximum(Z, 0), Z > 0, ax=ax),
        "dots": lambda: plots.dots({"relu": [0.8, 0.9]}, "test_accuracy", ax=ax),
    }


FUNCTIONS = list(everything(None, None, None))
MAPS = ("unit_heatmap", "grid_map")
GRIDS = ("histograms", "images")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_draws_on_the_axes_given_and_nowhere_else(name, record, runs):
    fig, (ax, other) = plt.subplots(1, 2)
    before = len(other.get_children())
    result = everything(record, runs, ax)[name]()
    assert (result.item() if name in GRIDS else result) is ax
    assert plt.get_fignums() == [fig.number]
    assert len(other.get_children()) == before
    assert len(fig.axes) == (3 if name in MAPS else 2)  # the colour bar


@pytest.mark.parametrize("name", FUNCTIONS)
def test_makes_one_figure_without_axes(name, record, runs):
    everything(record, runs, None)[name]()
    assert len(plt.get_fignums()) == 1


@pytest.mark.parametrize("styled", [False, True])
def test_rcparams_stay_as_they_are(record, runs, styled):
    with plt.style.context("unstuck.unstuck" if styled else "default"):
        before = dict(plt.rcParams)
        for draw in everything(record, runs, None).values():
            draw()
        ax = plots.panels(["relu", "tanh"])["tanh"]
        plots.reference(plots.spread(np.ones((2, 3)), label="relu", ax=ax), "one", y=1)
        plots.label_curves(ax)
        assert dict(plt.rcParams) == before


@pytest.mark.parametrize("name", FUNCTIONS)
def test_both_axes_are_labelled(name, record, runs):
    ax = everything(record, runs, None)[name]()
    ax = ax.item() if name in GRIDS else ax
    assert ax.get_xlabel()
    assert ax.get_ylabel() or [t.get_text() for t in ax.get_yticklabels()] == ["ReLU"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_legend_stays_off_the_data(name, record, runs):
    with plt.style.context("unstuck.unstuck"):
        ax = everything(record, runs, None)[name]()
        ax = ax.item() if name in GRIDS else ax
        ax.figure.canvas.draw()
        whole, inside = ax.figure.bbox, ax.get_window_extent()
        assert name not in ("by_step", "spread", "activation") or ax.get_legend() is not None
        if ax.get_legend() is not None:
            box = ax.get_legend().get_window_extent()
            assert box.x0 >= inside.x1 and box.x1 <= whole.x1 and box.y0 >= whole.y0


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


ENDED = Record([(0, "", "loss", 3.0)])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: plots.by_step({}, "loss"), "values: expected at least one layer"),
        (lambda r: plots.by_step({"act1": []}, "loss"), r"values\['act1'\]: expected at least one number"),
        (lambda r: plots.by_step(r, "act_std", layers=[]), "layers: expected at least one layer"),
        (lambda r: plots.by_step(r, "act_std", layers=["act9"]), r"layers: \['act9'\] are not among \['act1',"),
        (lambda r: plots.by_step({"act1": [1.0]}, "loss", layers=["x"]), r"layers: \['x'\] are not among"),
        (lambda r: plots.by_step({"act1": [1.0]}, "loss", steps=[1, 2]), r"steps: expected shape \(1,\)"),
        (lambda r: plots.by_step(r, "loss", steps=[1, 2]), r"steps: Records and Runs bring their own"),
        (lambda r: plots.by_step(r, "speed"), "quantity: 'speed' is not one of"),
        (lambda r: plots.by_step(r, "grad_norm"), "values: expected at least one layer with 'grad_norm'"),
        (lambda r: plots.by_step(r, "loss", band="iqr"), "band: 'iqr' is not one of"),
        (lambda r: plots.by_step(r, "loss", legend="left"), "legend: 'left' is not one of"),
        (lambda r: plots.spread([]), "runs: expected at least one number"),
        (lambda r: plots.spread({}), "runs: expected at least one set of runs"),
        (lambda r: plots.spread([1.0, 2.0]), r"runs: expected 2 dimensions, got shape \(2,\)"),
        (lambda r: plots.spread({"he": [1.0]}), r"runs\['he'\]: expected 2 dimensions, got shape \(1,\)"),
        (lambda r: plots.spread([[1.0]], band="iqr"), "band: 'iqr' is not one of"),
        (lambda r: plots.spread([[1.0]], [1, 2]), r"x: expected shape \(1,\), got \(2,\)"),
        (lambda r: plots.spread(r, [1, 2, 3], quantity="loss"), "x: Records and Runs bring their own"),
        (lambda r: plots.spread([r]), "quantity: needed with Records and Runs"),
        (lambda r: plots.spread([r], quantity="act_std"), "runs, layer: 'act_std' was recorded for several"),
        (lambda r: plots.spread({"he": r}, quantity="test_loss"), r"runs\['he'\]: quantity: 'test_loss' was not"),
        (lambda r: plots.spread([r, ENDED], quantity="loss"), "runs: expected 'loss' at the same steps .* run 1"),
        (lambda r: plots.spread({"he": r}, quantity="loss", label="x"), "label: the mapping has labels of its own"),
        (lambda r: plots.spread([[1.0]], colour="reddish"), "colour: expected a colour, got 'reddish'"),
        (lambda r: plots.spread({"a": [[1.0]]}, colour={"b": "red"}), r"colour: \['b'\] are not among \['a'\]"),
        (lambda r: plots.layer_curve({}, "act_std"), "values: expected at least one layer"),
        (lambda r: plots.layer_curve([], "act_std"), "values: expected at least one number"),
        (lambda r: plots.layer_curve(r, "loss"), "values: expected at least one layer with 'loss'"),
        (
            lambda r: plots.layer_curve(r, "dead", step=5),
            "values, step: 'dead' of 'act1' was recorded from 0 to 20, not at 5",
        ),
        (lambda r: plots.layer_curve({"he": np.ones((1, 2, 3))}, "dead"), r"values\['he'\]: expected shape"),
        (lambda r: plots.layer_curve(r, "dead", band="iqr"), "band: 'iqr' is not"),
        (lambda r: plots.images({}), "values: expected at least one row"),
        (lambda r: plots.images({"a": {}}), r"values\['a'\]: expected at least one image"),
        (
            lambda r: plots.images({"a": {"b": Z}}),
            r"values\['a'\]\['b'\]: expected shape \(Hi, Wi\) or \(3, Hi, Wi\), got \(9,\)",
        ),
        (lambda r: plots.images({"a": {"b": np.ones((2, 4, 4))}}), r"expected shape .*, got \(2, 4, 4\)"),
        (
            lambda r: plots.images({"a": {"b": np.full((3, 4, 4), 1.5)}}),
            r"expected colours in \[0, 1\], got 1.5 to 1.5",
        ),
        (
            lambda r: plots.images({"a": {"b": np.eye(2)}, "c": {"b": np.eye(2), "d": np.eye(2)}}),
            "values: expected as many",
        ),
        (lambda r: plots.images({"a": {"b": np.eye(2)}}, share="x"), "share: 'x' is not one of"),
        (lambda r: plots.images({"a": {"b": np.eye(2)}}, axes=[1, 2]), r"axes: expected 1 x 1, got \(2,\)"),
        (lambda r: plots.histograms({}), "values: expected at least one network"),
        (lambda r: plots.histograms({"he": {}}), r"values\['he'\]: expected at least one layer"),
        (lambda r: plots.histograms({"a": {"act1": Z}, "b": {"act1": Z, "act2": Z}}), "values: expected as many"),
        (lambda r: plots.histograms({"a": {"act1": []}}), r"values\['a'\]\['act1'\]: expected at least one number"),
        (lambda r: plots.histograms({"a": {"act1": Z}}, share="x"), "share: 'x' is not one of"),
        (lambda r: plots.histograms({"a": {"act1": Z}}, bins=0), "bins: expected an integer of at least 1"),
        (lambda r: plots.histograms({"a": {"act1": Z}}, axes=[1, 2]), r"axes: expected 1 x 1, got \(2,\)"),
        (lambda r: plots.unit_heatmap([]), "values: expected at least one number"),
        (lambda r: plots.unit_heatmap(r, "act2"), "values, layer, quantity: no arrays for"),
        (lambda r: plots.unit_heatmap([r, r], "act1"), "values: expected one run, got 2"),
        (lambda r: plots.unit_heatmap(np.ones((2, 3)), steps=[5, 5]), "steps: expected increasing numbers"),
        (lambda r: plots.activation("relu", Z, Z, Z[1:]), "z, f, df: expected equal lengths, got 9, 9, 8"),
        (lambda r: plots.activation("relu", [], [], []), "z: expected at least one number"),
        (lambda r: plots.dots({}, "loss"), "values: expected at least one name"),
        (lambda r: plots.dots({"relu": []}, "loss"), r"values\['relu'\]: expected at least one number"),
        (lambda r: plots.dots({"relu": {}}, "loss"), r"values\['relu'\]: expected at least one series"),
        (lambda r: plots.dots({"relu": r}, "accuracy"), r"values\['relu'\]: quantity: 'accuracy' was not recorded"),
        (lambda r: plots.dots({"relu": [1.0]}, "loss", groups=[["x"]]), r"groups: \['x'\] are not among"),
        (lambda r: plots.panels([]), "titles: expected at least one title"),
        (lambda r: plots.panels(["a", "a"]), r"titles: expected different ones, got \['a', 'a'\]"),
        (lambda r: plots.panels(["a"], columns=0), "columns: expected an integer of at least 1"),
        (lambda r: plots.panels(["a"], height=0), "height: expected a number above 0"),
    ],
)
def test_wrong_values_are_named_and_leave_no_figure(call, message, record):
    with pytest.raises(ValueError, match=message):
        call(record)
    assert plt.get_fignums() == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: plots.by_step([1.0, 2.0], "loss"), r"values: expected runs or \{layer: array\}, got"),
        (lambda r: plots.by_step({1: [1.0]}, "loss"), "values: expected names, got 1 among them"),
        (lambda r: plots.by_step(r, "act_std", layers="act1"), "layers: expected a sequence of names, got 'act1'"),
        (lambda r: plots.spread("act"), "runs: expected numbers, got 'act'"),
        (lambda r: plots.spread({"he": ["x"]}), r"runs\['he'\]: expected numbers, got \['x'\]"),
        (lambda r: plots.spread([r, [1.0]], quantity="loss"), r"runs: expected Records and Runs only, got \[1.0\]"),
        (lambda r: plots.spread([[1.0, 2.0], [1.0]]), "runs: expected numbers, got"),
        (lambda r: plots.spread([[1.0]], ax=3), "ax: expected matplotlib Axes or None, got 3"),
        (lambda r: plots.spread([[1.0]], quantity=3), "quantity: expected one of"),
        (lambda r: plots.dots([0.8, 0.9], "loss"), r"values: expected \{name: seeds\}, got \[0.8, 0.9\]"),
        (lambda r: plots.panels("relu"), "titles: expected a sequence of names, got 'relu'"),
        (lambda r: plots.reference(None, y=1), "ax: expected matplotlib Axes, got None"),
        (lambda r: plots.label_curves([]), r"ax: expected matplotlib Axes, got \[\]"),
    ],
)
def test_values_of_the_wrong_kind_are_named_and_leave_no_figure(call, message, record):
    with pytest.raises(TypeError, match=message):
        call(record)
    assert plt.get_fignums() == []


@pytest.mark.parametrize(
    "draw",
    [
        lambda runs: plots.spread(runs, quantity="loss"),
        lambda runs: plots.by_step(runs, "loss"),
        lambda runs: plots.layer_curve(list(runs), "dead"),
        lambda runs: plots.dots({"all": runs}, "loss"),
    ],
)
def test_runs_that_differ_in_more_than_their_seed_are_no_seeds(draw, runs):
    with pytest.raises(ValueError, match=r"differ in seed alone, these differ in lr and gain; choose with where"):
        draw(runs)
    draw(runs.where(lr=0.01, gain=1.0))


def test_settings_that_only_some_runs_have_do_not_count(record):
    plots.spread([Run({"seed": 0}, record), Run({"seed": 1}, record), record], quantity="loss")
