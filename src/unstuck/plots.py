"""Figures: arrays or a `Record` and an optional `ax` go in, the `ax` comes out.

Nothing here computes a diagnostic, knows torch or touches rcParams; the look is `unstuck.mplstyle`, applied with
`plt.style.use("unstuck.unstuck")`. Labels, units, logarithmic axes and healthy bands come from `QUANTITIES`.
Each layer, each activation and each initialisation has one colour, the same in every figure.

What is not finite is never drawn as if it were: a curve that ends there ends in a cross. A zero has no place on
a logarithmic axis: it is a triangle on the lower edge.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import MaxNLocator

from unstuck.claims import number
from unstuck.record import QUANTITIES, Record

INK, PAPER, GREY, BAND = "#22303c", "#fbfaf7", "#8f9194", "#e2eedd"

PALETTE = (
    "#0272db",  # blue
    "#993d00",  # rust
    "#4ba25d",  # green
    "#8b4687",  # plum
    "#c48400",  # amber
    "#119bd3",  # sky
    "#6c0086",  # violet
    "#2e6346",  # pine
    "#5c1200",  # maroon
    INK,
)
"""Ten colours found by search, as is `GREY`: any two differ by more than 25 (CIE76), also for red-blind and
green-blind readers (Machado et al. 2009), and each has a contrast of 3 or more with the paper (WCAG 1.4.11)."""

BLUE, RUST, GREEN, PLUM, AMBER, SKY, VIOLET, PINE, MAROON, _ = PALETTE

ACTIVATION_COLOURS = {
    "identity": GREY,
    "sigmoid": BLUE,
    "tanh": SKY,
    "relu": RUST,
    "leaky_relu": AMBER,
    "prelu": MAROON,
    "elu": GREEN,
    "selu": PINE,
    "gelu": PLUM,
    "silu": VIOLET,
    "maxout": INK,
}
"""The colour of each activation of `unstuck.models.ACTIVATIONS`; relatives look alike."""

SCHEME_COLOURS = {
    "zeros": GREY,
    "constant": INK,
    "normal": RUST,
    "uniform": AMBER,
    "lecun": SKY,
    "xavier": BLUE,
    "he": GREEN,
    "pytorch": MAROON,
    "orthogonal": PINE,
    "lsuv": PLUM,
    "rai": VIOLET,
}
"""The colour of each scheme of `unstuck.init.SCHEMES`."""

LAYER_COLOURS = (
    "#1c2d31",
    "#002f5e",
    "#0447dd",
    "#6f45ad",
    "#af599c",
    "#b7607f",
    "#c26462",
    "#d46847",
    "#df6d07",
    "#cb7d65",
)
"""Layers 1 to 10: each lighter than the one before; neighbours differ by more than 19, found as `PALETTE` was."""

_DASHES = {
    **dict.fromkeys(("tanh", "leaky_relu", "selu", "silu", "uniform", "lecun", "orthogonal", "rai"), "--"),
    **dict.fromkeys(("identity", "prelu", "zeros"), ":"),
    **dict.fromkeys(("maxout", "constant", "pytorch"), "-."),
}
_STYLES = ("-", "--", ":", "-.")

LABELS = {
    "identity": "identity",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "relu": "ReLU",
    "leaky_relu": "leaky ReLU",
    "prelu": "PReLU",
    "elu": "ELU",
    "selu": "SELU",
    "gelu": "GELU",
    "silu": "SiLU",
    "maxout": "Maxout",
    "zeros": "zeros",
    "constant": "constant",
    "normal": "normal",
    "uniform": "uniform",
    "lecun": "LeCun",
    "xavier": "Xavier",
    "he": "He",
    "pytorch": "PyTorch's default",
    "orthogonal": "orthogonal",
    "lsuv": "LSUV",
    "rai": "randomised asymmetric",
}
"""What a figure writes for the name of an activation or a scheme."""

_SEQUENTIAL = LinearSegmentedColormap.from_list("unstuck", [PAPER, "#a9cbe6", BLUE, "#0b2a4a"]).with_extremes(
    bad=GREY, over=RUST
)
_DIVERGING = LinearSegmentedColormap.from_list(
    "unstuck2", [MAROON, RUST, "#e9b893", PAPER, "#a9cbe6", BLUE, "#0b2a4a"]
).with_extremes(bad=GREY)


# names, colours and labels ------------------------------------------------------------------------------------


def layer_number(name: str, position: int) -> int:
    """The number of a layer: 3 for "act3", "linear3" or "act3#2"; `position` where the name has no number."""
    found = re.fullmatch(r"[A-Za-z_]+(\d+)(#\d+)?", name)
    return int(found[1]) if found else position


def _kind(layer: str) -> str:
    """What comes before the number: "linear" of "linear3"; "" where there is none."""
    return re.split(r"\d", layer)[0] if layer_number(layer, 0) else ""


def layer_colour(i: int) -> str:
    """The colour of layer i (from 1); the layers beyond the tenth share its colour."""
    if i < 1:
        raise ValueError(f"i: layers are numbered from 1, got {i}")
    return LAYER_COLOURS[min(i, len(LAYER_COLOURS)) - 1]


def style_of(name: str, position: int = 0) -> dict[str, str]:
    """Colour and line style of an activation or a scheme, for `ax.plot`; of anything else, by its position."""
    colours = ACTIVATION_COLOURS | SCHEME_COLOURS
    if name in colours:
        return {"color": colours[name], "linestyle": _DASHES.get(name, "-")}
    turn, index = divmod(position, len(PALETTE))
    return {"color": PALETTE[index], "linestyle": _STYLES[turn % len(_STYLES)]}


def axis_label(quantity: str) -> str:
    """Label and unit of a quantity, "training loss (nats)"; a unit of 1, or one the label names, is not written."""
    row = _quantity(quantity)
    return row.label if row.unit == "1" or row.unit in row.label else f"{row.label} ({row.unit})"


def healthy_band(ax: Axes, quantity: str) -> Axes:
    """Shade the healthy band of a quantity across `ax`, once; a quantity without one leaves `ax` as it is."""
    band = _quantity(quantity).healthy
    if band is not None and "healthy" not in ax.get_legend_handles_labels()[1]:
        ax.axhspan(*band, color=BAND, linewidth=0, zorder=0, label="healthy")
    return ax


# curves -------------------------------------------------------------------------------------------------------


def by_step(
    values, quantity: str, *, layers: Sequence[str] | None = None, steps=None, ax: Axes | None = None, legend=True
) -> Axes:
    """A quantity against the training step: one line a layer, in the layer's colour.

    Args:
        values: a Record, or `{layer: array (T,)}`.
        quantity: a name in `QUANTITIES`.
        layers: which of them to draw; None is all.
        steps: (T,) of the arrays; None counts from 0. A Record brings its own.

    Layers with the same number and another kind ("linear1", "norm1") differ in line style.
    """
    row = _quantity(quantity)
    if isinstance(values, Record):
        known = values.layers(quantity)
        curves = {layer: values.get(quantity, layer) for layer in (known if layers is None else layers)}
        stopped = values.stopped is not None
    else:
        known, stopped = list(values), False
        missing = [layer for layer in layers or () if layer not in values]
        if missing:
            raise ValueError(f"layers: {missing} are not among {known}")
        curves = {}
        for layer in known if layers is None else layers:
            y = _floats(values[layer], f"values[{layer!r}]", ndim=1)
            curves[layer] = (_steps(steps, len(y)), y)
    _need(curves, "values" if not known else "layers", "one layer")

    ax = _axes(ax)
    kinds = list(dict.fromkeys(_kind(layer) for layer in known))
    for layer, (x, y) in curves.items():
        i = layer_number(layer, known.index(layer) + 1)
        dashes = _STYLES[kinds.index(_kind(layer)) % len(_STYLES)]
        style = {"color": layer_colour(i) if layer else INK, "linestyle": dashes}
        _curve(ax, x, y[None], style, label=layer or "_network", log=row.log, stopped=stopped)
    return _finish(ax, quantity, "step", legend)


def spread(
    runs,
    x=None,
    *,
    quantity: str | None = None,
    band: str = "range",
    label: str = "",
    colour: str | None = None,
    ax: Axes | None = None,
    legend=True,
) -> Axes:
    """The mean curve over seeds, with a band; call it once for each set of runs.

    Args:
        runs: an array (S, T), a run a row; or a list of Records of the same steps, which need `quantity`.
        x: (T,); None counts steps from 0. Records bring their own.
        quantity: a name in `QUANTITIES`, for label, axis and healthy band.
        band: "range" (from the smallest to the largest run) or "sd" (one standard deviation, n - 1, either side).
        label: an activation, a scheme (each has its colour) or any text.
        colour: instead of the label's own, or the next of `PALETTE`.

    On a logarithmic axis mean and sd are those of the logarithm. Runs that ended early are marked with a cross
    where they ended and counted in the legend; mean and band go on with the others.
    """
    row = _quantity(quantity) if quantity is not None else None
    if band not in ("range", "sd"):
        raise ValueError(f"band: expected 'range' or 'sd', got {band!r}")
    if isinstance(runs, Record):
        runs = [runs]
    if isinstance(runs, Sequence) and runs and all(isinstance(run, Record) for run in runs):
        if row is None:
            raise ValueError("quantity: needed with Records, got None")
        x, y = _stack(runs, quantity)
        stopped = [run.stopped is not None for run in runs]
    else:
        y = _floats(runs, "runs", ndim=2)
        x, stopped = _steps(x, y.shape[1]), False

    ax = _axes(ax)
    drawn = sum(line.get_gid() == "curve" for line in ax.lines)
    style = style_of(label, drawn) | ({} if colour is None else {"color": colour})
    lost = int((~np.isfinite(y[:, -1]) | np.asarray(stopped)).sum())
    text = LABELS.get(label, label) + (f"\n({lost} of {len(y)} stopped)" if lost else "")
    _curve(
        ax, x, y, style, label=text.strip() or "_runs", log=row is not None and row.log, stopped=stopped, band=band
    )
    return _finish(ax, quantity, "step", legend)


def layer_curve(
    values, quantity: str, *, step: int | None = None, band: str = "range", ax: Axes | None = None, legend=True
) -> Axes:
    """A quantity through the network: layers on x, one line a network.

    Args:
        values: one network, or `{name: network}`. A network is a Record, a list of Records (one a seed),
            `{layer: number}`, an array (L,), or an array (S, L) with a seed a row.
        quantity: a name in `QUANTITIES`.
        step: of the Records; None is each one's last.
        band: over seeds, "range" or "sd", as in `spread`.

    A single network has its points in the layers' colours.
    """
    row = _quantity(quantity)
    if band not in ("range", "sd"):
        raise ValueError(f"band: expected 'range' or 'sd', got {band!r}")
    several = isinstance(values, Mapping) and any(
        np.ndim(v) or isinstance(v, Record | Mapping) for v in values.values()
    )
    networks = {
        name: _through(network, quantity, step, f"values[{name!r}]" if several else "values")
        for name, network in (values if several else {"": values}).items()
    }
    _need(networks, "values", "one network")
    names = list(dict.fromkeys(layer for layers, _ in networks.values() for layer in layers))
    numbers = [layer_number(name, 0) for name in names]
    numbered = all(numbers) and len(set(map(_kind, names))) == 1 and len(set(numbers)) == len(names)
    place = dict(zip(names, numbers if numbered else range(1, len(names) + 1), strict=True))

    ax = _axes(ax)
    for k, (name, (layers, y)) in enumerate(networks.items()):
        x = np.array([place[layer] for layer in layers])
        style = style_of(name, k) if several else {"color": GREY, "linestyle": "-"}
        style |= {"marker": "o"} if several else {}
        _curve(ax, x, y, style, label=LABELS.get(name, name) or "_network", log=row.log, ends=False, band=band)
        if not several:
            centre, _, _ = _centre_and_band(y, row.log, band)
            colours = [layer_colour(layer_number(layer, place[layer])) for layer in layers]
            ax.scatter(x, centre, c=colours, s=55, zorder=3)
    if numbered and len(names) <= 12:
        ax.set_xticks(list(place.values()))
    elif not numbered:
        long = max(map(len, names)) * len(names) > 50
        ax.set_xticks(list(place.values()), names, **({"rotation": 35, "ha": "right"} if long else {}))
    return _finish(ax, quantity, "layer", legend)


# distributions and units --------------------------------------------------------------------------------------


def histograms(
    values: Mapping[str, Mapping[str, np.ndarray]],
    *,
    bins: int = 50,
    share: str = "row",
    xlabel: str = "activation",
    axes=None,
) -> np.ndarray:
    """Histograms of each layer's values: a row a network, a column a layer; returns the axes (rows, columns).

    Args:
        values: `{network: {layer: array of any shape}}`, the same number of layers for each network. Six layers
            can be read on a phone.
        share: which panels have one x axis: those of a "row", "all", or each "panel" its own.
        axes: rows x columns of axes, or None.

    Each panel has the height of its own largest bin. Exact zeros are counted above the panel instead of drawn (a
    ReLU's would dwarf the rest), so is what is not finite. An x axis spans 99.8 % of what it has to show.
    """
    _need(values, "values", "one network")
    for name, layers in values.items():
        _need(layers, f"values[{name!r}]", "one layer")
    shape = len(values), max(len(layers) for layers in values.values())
    if any(len(layers) != shape[1] for layers in values.values()):
        raise ValueError(f"values: expected as many layers for each network, got {[len(v) for v in values.values()]}")
    if share not in ("row", "all", "panel"):
        raise ValueError(f"share: expected 'row', 'all' or 'panel', got {share!r}")
    grid = [
        [_floats(v, f"values[{name!r}][{layer!r}]").ravel() for layer, v in layers.items()]
        for name, layers in values.items()
    ]
    if axes is None:
        size = plt.rcParams["figure.figsize"][0], 0.7 + 1.65 * shape[0]
        _, axes = plt.subplots(*shape, figsize=size, squeeze=False)
    axes = np.asarray(axes, dtype=object)
    if axes.size != shape[0] * shape[1]:
        raise ValueError(f"axes: expected {shape[0]} x {shape[1]}, got {axes.shape}")
    axes = axes.reshape(shape)

    everything = [panel for row in grid for panel in row]
    for r, (name, layers) in enumerate(values.items()):
        for c, layer in enumerate(layers):
            limits = _limits({"all": everything, "row": grid[r], "panel": [grid[r][c]]}[share])
            colour = layer_colour(layer_number(layer, c + 1))
            _panel(
                axes[r, c], grid[r][c], limits, bins, colour, heading=[layer] if r == 0 else [], narrow=shape[1] > 6
            )
        axes[r, 0].set_ylabel(LABELS.get(name, name))
    bottom = axes[-1] if shape[1] <= 5 else [axes[-1, shape[1] // 2]]
    for ax in bottom:
        ax.set_xlabel(xlabel)
    return axes


def unit_heatmap(
    values, layer: str | None = None, quantity: str = "zero_fraction", *, steps=None, ax: Axes | None = None
) -> Axes:
    """A layer's units over time: steps on x, units on y, the value as colour, with a labelled colour bar.

    Args:
        values: an array (T, H), or a Record with arrays `(step, layer, quantity)` of shape (H,).
        layer: of the Record.
        quantity: what is shown, a name in `QUANTITIES`.
        steps: (T,) of an array; None counts from 0.

    Zero is the colour of the paper, what is not finite is grey. Fractions have the scale 0 to 1, values of both
    signs one that is symmetric about zero. A fraction of zeros of exactly 1, the unit did not fire at all, is rust.
    """
    fraction = _quantity(quantity).unit == "fraction"
    if isinstance(values, Record):
        arrays = {step: a for (step, at, q), a in values.arrays.items() if at == layer and q == quantity}
        if not arrays:
            known = sorted({(at, q) for _, at, q in values.arrays})
            raise ValueError(f"layer, quantity: no arrays for {(layer, quantity)}; there are {known}")
        steps = sorted(arrays)
        values = [arrays[step] for step in steps]
    grid = _floats(values, "values", ndim=2)
    x = _steps(steps, len(grid))
    shown = np.ma.masked_invalid(grid)
    top = 1.0 if fraction or not shown.any() else float(np.abs(shown).max())
    signed = bool((shown.filled(0) < 0).any())
    silent = quantity == "zero_fraction"

    ax = _axes(ax)
    mesh = ax.pcolormesh(
        _edges(x),
        np.arange(grid.shape[1] + 1) + 0.5,
        shown.T,
        cmap=_DIVERGING if signed else _SEQUENTIAL,
        vmin=-top if signed else 0.0,
        vmax=top - 1e-9 if silent else top,  # just below 1, so that 1 itself is over it
        rasterized=True,
    )
    ax.grid(False)
    ax.spines[:].set_visible(True)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="step", ylabel=f"unit of {layer}" if layer else "unit")
    label = axis_label(quantity) + (" (tip: all)" if silent else "")
    ax.figure.colorbar(mesh, ax=ax, label=label, pad=0.02, extend="max" if silent else "neither")
    return ax


def activation(name: str, z, f, df, *, ax: Axes | None = None, legend=True) -> Axes:
    """An activation function f(z), drawn through, with its derivative f'(z), dashed, both in its colour.

    Args:
        name: for title and colour, e.g. "relu".
        z, f, df: arrays (N,).
    """
    z, f, df = _floats(z, "z", ndim=1), _floats(f, "f", ndim=1), _floats(df, "df", ndim=1)
    if not len(z) == len(f) == len(df):
        raise ValueError(f"z, f, df: expected equal lengths, got {len(z)}, {len(f)}, {len(df)}")
    ax = _axes(ax)
    colour = style_of(name)["color"]
    ax.axhline(0, color=GREY, linewidth=0.8, zorder=1)
    ax.axvline(0, color=GREY, linewidth=0.8, zorder=1)
    ax.plot(z, _finite(f), color=colour, label="$f(z)$")
    ax.plot(z, _finite(df), color=colour, linestyle=(0, (3, 1.5)), linewidth=1.6, label="$f\\,'(z)$")
    ax.set(xlabel="$z$", ylabel="$f(z)$, $f\\,'(z)$", title=LABELS.get(name, name))
    return _legend(ax, legend)


# comparisons --------------------------------------------------------------------------------------------------


def dots(
    values: Mapping[str, Sequence[float]],
    quantity: str,
    *,
    groups: Iterable[Sequence[str]] = (),
    ax: Axes | None = None,
) -> Axes:
    """One row a name: a dot a seed, a tick at the mean, and a bar of one standard deviation (n - 1) either side.

    Args:
        values: `{name: (S,)}`, drawn from the top in this order.
        quantity: a name in `QUANTITIES`.
        groups: sets of neighbouring names that cannot be told apart; each is a bar at the right (Demsar 2006).

    A seed that is not finite is left out of mean and bar, and is counted beside its name.
    """
    row = _quantity(quantity)
    _need(values, "values", "one name")
    seeds = {name: _floats(given, f"values[{name!r}]", ndim=1) for name, given in values.items()}
    groups = [list(group) for group in groups]
    unknown = sorted({name for group in groups for name in group} - set(values))
    if unknown:
        raise ValueError(f"groups: {unknown} are not among {list(values)}")
    ax = _axes(ax)
    if row.log:
        ax.set_xscale("log")
    labels = []
    for y, (name, given) in enumerate(seeds.items()):
        finite = given[np.isfinite(given)]
        colour = style_of(name, y)["color"]
        lost = len(given) - len(finite)
        labels.append(LABELS.get(name, name) + (f"\n({lost} of {len(given)} not finite)" if lost else ""))
        ax.plot(finite, np.full(len(finite), y), "o", color=colour, alpha=0.45, markeredgewidth=0, markersize=7)
        if len(finite):
            sd = finite.std(ddof=1) if len(finite) > 1 else 0.0
            ax.errorbar(finite.mean(), y, xerr=sd, color=colour, linewidth=2, marker="|", markersize=18, mew=2.5)
    ax.set_yticks(range(len(values)), labels)
    ax.set_ylim(len(values) - 0.4, -0.6)
    ax.grid(False, axis="y")
    ax.set_xlabel(f"{axis_label(quantity)}\ndots: seeds; bar: mean ± 1 standard deviation")
    return _group_bars(ax, groups, list(values))


def ledger(rows: Sequence[Mapping], *, ax: Axes | None = None) -> Axes:
    """The fix ledger as a table: a row a fix, in order, with what it bought.

    Args:
        rows: mappings with the same first key (the fix, text) and any further columns. A column named in
            `QUANTITIES` gets its label, and fractions are shown in per cent. Numbers have 3 significant figures; a
            missing one is a dash, one that is not finite stands out.
    """
    _need(rows, "rows", "one row")
    columns = list(dict.fromkeys(key for row in rows for key in row))
    first = columns[0]
    short = [i for i, row in enumerate(rows) if first not in row]
    if short:
        raise ValueError(f"rows: expected {first!r} in each, missing in rows {short}")
    head = [
        textwrap.fill(QUANTITIES[c].label if c in QUANTITIES else str(c), 9, break_long_words=False) for c in columns
    ]
    body = [[textwrap.fill(str(row[first]), 34), *(_cell(c, row.get(c)) for c in columns[1:])] for row in rows]
    heights = [max(text.count("\n") + 1 for text in line) + 0.7 for line in [head, *body]]
    if ax is None:
        _, ax = plt.subplots(figsize=(plt.rcParams["figure.figsize"][0], 0.23 * sum(heights) + 0.1))

    rights = np.linspace(1, 0.42 if len(columns) < 6 else 0.34, len(columns) - 1, endpoint=False)[::-1]
    ax.set(xlim=(0, 1), ylim=(sum(heights), 0))
    ax.axis("off")
    y = 0.0
    for k, (line, height) in enumerate(zip([head, *body], heights, strict=True)):
        weight = "bold" if k == 0 else "normal"
        ax.text(0.005, y + height / 2, line[0], va="center", weight=weight)
        for right, text in zip(rights, line[1:], strict=True):
            lost = text in ("nan", "inf", "-inf")
            ax.text(
                right - 0.005,
                y + height / 2,
                text,
                va="center",
                ha="right",
                weight="bold" if lost else weight,
                color=RUST if lost else INK,
            )
        y += height
        ax.plot([0, 1], [y, y], color=INK if k == 0 else "#d8d3c6", linewidth=1.2 if k == 0 else 0.8)
    return ax


# shared parts -------------------------------------------------------------------------------------------------


def _quantity(name: str):
    if name not in QUANTITIES:
        raise ValueError(f"quantity: {name!r} is not one of {sorted(QUANTITIES)}")
    return QUANTITIES[name]


def _need(values, name: str, what: str) -> None:
    if len(values) == 0:
        raise ValueError(f"{name}: expected at least {what}, got none")


def _floats(values, name: str, ndim: int | None = None) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        raise ValueError(f"{name}: expected at least one number, got none")
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"{name}: expected {ndim} dimension{'s' * (ndim > 1)}, got shape {array.shape}")
    return array


def _steps(steps, n: int) -> np.ndarray:
    steps = np.arange(n) if steps is None else np.asarray(steps)
    if steps.shape != (n,):
        raise ValueError(f"steps: expected shape ({n},), got {steps.shape}")
    return steps


def _axes(ax: Axes | None) -> Axes:
    return plt.subplots()[1] if ax is None else ax


def _finite(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), values, np.nan)


def _stack(records: Sequence[Record], quantity: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps (T,) and values (S, T); records that ended early are filled up with NaN."""
    curves = [record.get(quantity) for record in records]
    steps = max((x for x, _ in curves), key=len)
    y = np.full((len(curves), len(steps)), np.nan)
    for i, (x, values) in enumerate(curves):
        ended = len(x) == len(steps) or records[i].stopped is not None
        if not (ended and np.array_equal(x, steps[: len(x)])):
            raise ValueError(f"runs: expected Records of the same steps, number {i} differs")
        y[i, : len(x)] = values
    return steps, y


def _through(network, quantity: str, step: int | None, name: str) -> tuple[list[str], np.ndarray]:
    """Layers (L,) and values (S, L) of whatever `layer_curve` accepts as a network."""
    if isinstance(network, Record):
        network = [network]
    if isinstance(network, Mapping):
        _need(network, name, "one layer")
        return list(network), _floats(list(network.values()), name, ndim=1)[None]
    if isinstance(network, Sequence) and network and all(isinstance(run, Record) for run in network):
        layers = [layer for layer in network[0].layers(quantity) if layer]
        _need(layers, name, f"one layer with {quantity!r}")
        return layers, np.array([[_at(run, quantity, layer, step) for layer in layers] for run in network])
    y = _floats(network, name)
    if y.ndim not in (1, 2):
        raise ValueError(f"{name}: expected shape (L,) or (S, L), got {y.shape}")
    y = np.atleast_2d(y)
    return [f"layer{i}" for i in range(1, y.shape[1] + 1)], y


def _at(record: Record, quantity: str, layer: str, step: int | None) -> float:
    steps, values = record.get(quantity, layer)
    if step is None:
        return float(values[-1])
    if step not in steps:
        raise ValueError(
            f"step: {quantity!r} of {layer!r} was recorded from {steps[0]} to {steps[-1]}, not at {step}"
        )
    return float(values[steps == step][0])


def _centre_and_band(y: np.ndarray, log: bool, band: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and limits over the rows of y (S, T) that are finite (and, for logarithms, positive): three (T,)."""
    y = np.where(np.isfinite(y) & ((y > 0) | (not log)), y, np.nan)
    if len(y) == 1:
        return y[0], y[0], y[0]
    shown = np.ma.masked_invalid(np.log10(y) if log else y)
    centre = shown.mean(axis=0)
    if band == "range":
        low, high = shown.min(axis=0), shown.max(axis=0)
    else:
        sd = np.ma.filled(shown.std(axis=0, ddof=1), 0.0)  # of a single run: none
        low, high = centre - sd, centre + sd
    centre, low, high = (np.ma.filled(part, np.nan) for part in (centre, low, high))
    return (10**centre, 10**low, 10**high) if log else (centre, low, high)


def _curve(ax: Axes, x, y, style: dict, *, label: str, log: bool, stopped=False, ends=True, band: str = "range"):
    """The mean of y (S, T) with its band, crosses where runs end early, triangles where a logarithm has a zero."""
    centre, low, high = _centre_and_band(y, log, band)
    ax.plot(x, centre, **style, label=label, gid="curve")
    if np.issubdtype(x.dtype, np.integer):
        ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 2.5, 5, 10]))
    colour = style["color"]
    if len(y) > 1:
        ax.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0, zorder=1.5)
        text = "min to max" if band == "range" else "± 1 sd"
        _note(ax, f"{text}, n = {len(y)}", marker="s", color=GREY, alpha=0.35, markersize=11)
    for run, run_stopped in zip(y, np.broadcast_to(stopped, len(y)), strict=True):
        good = np.flatnonzero(np.isfinite(run))
        if ends and (run_stopped or not np.isfinite(run[-1])):
            _cross(ax, x, run, good, colour, log)
        elif not ends:
            for k in np.flatnonzero(~np.isfinite(run)):
                _cross(ax, x[k : k + 1], run[k : k + 1], [], colour, log)
    if log and (y <= 0).any():
        at = x[(y <= 0).any(axis=0)]
        at = at[:: max(1, len(at) // 12)]
        _edge(ax, at, "v", colour)
        _note(ax, "exactly 0", marker="v", color=INK)


def _cross(ax: Axes, x, run, good, colour: str, log: bool) -> None:
    """A cross at the last finite value; on the lower edge where there is none to be shown."""
    _note(ax, "not finite", marker="X", color=INK)
    if len(good) and (run[good[-1]] > 0 or not log):
        ax.plot(x[good[-1]], run[good[-1]], "X", color=colour, markersize=10, markeredgecolor=PAPER, zorder=4)
    else:
        _edge(ax, x[good[-1] if len(good) else 0], "X", colour)


def _edge(ax: Axes, x, marker: str, colour: str) -> None:
    ax.plot(
        x,
        np.full(np.shape(x), 0.0),
        marker,
        color=colour,
        markersize=9,
        clip_on=False,
        zorder=4,
        markeredgecolor=PAPER,
        transform=ax.get_xaxis_transform(),
    )


def _note(ax: Axes, label: str, **style) -> None:
    """An entry for the legend alone, once."""
    if label not in ax.get_legend_handles_labels()[1]:
        ax.plot([], [], linestyle="", label=label, gid="note", **style)


def _finish(ax: Axes, quantity: str | None, xlabel: str, legend) -> Axes:
    ax.set_xlabel(xlabel)
    if quantity is not None:
        if QUANTITIES[quantity].log:
            ax.set_yscale("log")
        ax.set_ylabel(axis_label(quantity))
        healthy_band(ax, quantity)
    return _legend(ax, legend)


def _legend(ax: Axes, wanted) -> Axes:
    """The legend beside the axes, where it covers nothing: curves first, then what the marks mean."""
    handles, labels = ax.get_legend_handles_labels()
    if wanted and handles:
        notes = [
            handle.get_gid() == "note" or label == "healthy" for handle, label in zip(handles, labels, strict=True)
        ]
        order = sorted(range(len(handles)), key=lambda i: notes[i])
        ax.legend(
            [handles[i] for i in order],
            [labels[i] for i in order],
            loc="upper left",
            bbox_to_anchor=(1.01, 1.0),
            borderaxespad=0,
        )
    return ax


def _edges(x: np.ndarray) -> np.ndarray:
    """The T + 1 borders of cells around x (T,)."""
    if len(x) == 1:
        return np.array([x[0] - 0.5, x[0] + 0.5])
    middle = (x[1:] + x[:-1]) / 2
    return np.concatenate([[1.5 * x[0] - 0.5 * x[1]], middle, [1.5 * x[-1] - 0.5 * x[-2]]])


def _limits(panels: list[np.ndarray]) -> tuple[float, float]:
    values = np.concatenate(panels)
    values = values[np.isfinite(values) & (values != 0)]
    if not len(values):
        return -1.0, 1.0
    low, high = np.quantile(values, [0.001, 0.999])
    margin = 0.05 * (high - low) or 0.5 * abs(low)
    return min(low, 0.0) - margin, max(high, 0.0) + margin


def _panel(ax: Axes, values: np.ndarray, limits, bins: int, colour: str, heading: list[str], narrow: bool) -> None:
    finite = values[np.isfinite(values)]
    shown = finite[(finite != 0) & (finite >= limits[0]) & (finite <= limits[1])]
    if len(shown):
        counts, edges = np.histogram(shown, bins=bins, range=limits)
        ax.stairs(counts / counts.max(), edges, fill=True, color=colour)
    lines = list(heading)
    lines.append(f"sd {number(float(finite.std()), 2)}" if len(finite) else "")
    zeros, lost = (finite == 0).sum() / len(values), 1 - len(finite) / len(values)
    lines.append(f"{lost:.0%} not finite" if lost else f"{zeros:.0%} zeros" if zeros else "")
    ax.set_title("\n".join(filter(None, lines)), fontsize="small", loc="center")
    ax.axvline(0, color=GREY, linewidth=0.8, zorder=0)
    ax.set(xlim=limits, ylim=(0, 1.05), yticks=[])
    ax.grid(False)
    ax.spines["left"].set_visible(False)
    ticks = [tick for tick in MaxNLocator(3).tick_values(*limits) if limits[0] <= tick <= limits[1]]
    ax.set_xticks(ticks[-1:] if narrow else ticks)  # the line at 0 stands for the other one


def _group_bars(ax: Axes, groups: list[list[str]], names: list[str]) -> Axes:
    for k, group in enumerate(groups):
        at = [names.index(name) for name in group]
        x = 1.02 + 0.025 * k
        ax.plot([x, x], [min(at) - 0.25, max(at) + 0.25], color=INK, linewidth=4, solid_capstyle="butt",
                clip_on=False, transform=ax.get_yaxis_transform())  # fmt: skip
    if groups:
        ax.text(1.02 + 0.025 * len(groups), 0.5, "not told apart", rotation=90, va="center", transform=ax.transAxes)
    return ax


def _cell(column: str, value) -> str:
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if column in QUANTITIES and QUANTITIES[column].unit == "fraction" and np.isfinite(value):
        return f"{100 * value:.3g} %"
    return number(float(value))
