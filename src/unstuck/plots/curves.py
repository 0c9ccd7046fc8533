"""Curves: a quantity against the training step, layer by layer or over seeds, and through the layers of a network."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes

from unstuck.arguments import instance, names, whole
from unstuck.plots.colours import GREY, INK
from unstuck.plots.drawing import Legend, axes_of, centre_and_band, checked, checked_colour, draw, finish
from unstuck.plots.series import Curves, floats, is_network, labelled, need, over_steps, runs_of, through_layers
from unstuck.plots.style import LINE_STYLES, label_of, layer_colour, layer_kind, layer_number, style_of

Band = Literal["range", "sd"]
Colour = str | Mapping[str, str] | None


def by_step(
    values: Any,
    quantity: str,
    *,
    layers: Iterable[str] | None = None,
    steps: Any = None,
    band: Band = "range",
    ax: Axes | None = None,
    legend: Legend = True,
) -> Axes:
    """A quantity against the training step: one line a layer, in the layer's colour.

    Args:
        values: a Record, a Run, Runs or a list of either (the mean over seeds, with a band), or
            `{layer: array (T,) or (S, T)}`.
        quantity: a name in `QUANTITIES`.
        layers: which of them to draw; None is all.
        steps: (T,) of the arrays; None counts from 0. Runs bring their own.
        band: over seeds, as in `spread`.

    Layers with the same number and another kind ("linear1", "norm1") differ in line style.
    """
    log = checked(quantity, legend, band)
    runs = runs_of(values, "values")
    if runs is not None:
        values = dict.fromkeys(runs[0].record.layers(quantity), runs)
    instance("values", values, Mapping, "runs or {layer: array}")
    given = labelled(values, "values", f"one layer with {quantity!r}")
    known = list(given)
    wanted = known if layers is None else names("layers", layers, known)
    need(wanted, "layers", "one layer")
    curves = {}
    for layer in wanted:
        where, series = given[layer]
        series = series if runs is not None else np.atleast_2d(floats(series, where))
        curves[layer] = over_steps(series, where, quantity, layer, steps)
    ax = axes_of(ax)
    kinds = list(dict.fromkeys(map(layer_kind, known)))
    for layer, series in curves.items():
        i = layer_number(layer, known.index(layer) + 1)
        dashes = LINE_STYLES[kinds.index(layer_kind(layer)) % len(LINE_STYLES)]
        style = {"color": layer_colour(i) if layer else INK, "linestyle": dashes}
        draw(ax, series, style, label=layer or "_network", log=log, band=band)
    return finish(ax, quantity, "step", legend)


def spread(
    runs: Any,
    x: Any = None,
    *,
    quantity: str | None = None,
    layer: str | None = None,
    band: Band = "range",
    label: str = "",
    colour: Colour = None,
    ax: Axes | None = None,
    legend: Legend = True,
) -> Axes:
    """The mean curve over seeds, with a band: of one set of runs, or one for each entry of a mapping.

    Args:
        runs: a Record, a Run, Runs or a list of either, of the same steps, which need `quantity`; or an array (S, T),
            a run a row. Or `{label: any of these}`.
        x: (T,) of the arrays; None counts steps from 0. Runs bring their own.
        quantity: a name in `QUANTITIES`, for label, axis and healthy band.
        layer: of the runs; None is the whole network, or the only layer.
        band: "range" (from the smallest to the largest run) or "sd" (one standard deviation, n - 1, either side).
        label: an activation, a scheme (each has its colour) or any text.
        colour: instead of the label's own, or the next of `PALETTE`; `{label: colour}` for some of a mapping.

    On a logarithmic axis mean and sd are those of the logarithm. Runs that ended early are marked with a cross
    where they ended and counted in the legend; mean and band go on with the others.

    Raises:
        ValueError: runs that differ in more than their seed, in their steps, or in what was recorded.
    """
    log = checked(quantity, legend, band, optional=True)
    instance("label", label, str, "a text")
    if isinstance(runs, Mapping) and label:
        raise ValueError(f"label: the mapping has labels of its own, got {label!r}")
    given = {
        name or label: over_steps(series, where, quantity, layer, x, "x")
        for name, (where, series) in labelled(runs, "runs", "one set of runs").items()
    }
    drawn = sum(line.get_gid() == "curve" for line in getattr(ax, "lines", ()))
    looks = styles(colour, given, drawn)
    ax = axes_of(ax)
    for name, curves in given.items():
        draw(ax, curves, looks[name], label=_counted(name, curves), log=log, band=band)
    return finish(ax, quantity, "step", legend)


def layer_curve(
    values: Any,
    quantity: str,
    *,
    step: int | None = None,
    band: Band = "range",
    colour: Colour = None,
    ax: Axes | None = None,
    legend: Legend = True,
) -> Axes:
    """A quantity through the network: layers on x, one line a network.

    Args:
        values: one network, or `{name: network}`. A network is a Record, a Run, Runs or a list of either (one a
            seed), `{layer: number}`, an array (L,), or an array (S, L) with a seed a row.
        quantity: a name in `QUANTITIES`.
        step: of the runs; None is each one's last recorded.
        band: over seeds, "range" or "sd", as in `spread`.
        colour: of several networks, as in `spread`.

    A single network has its points in the layers' colours.
    """
    log = checked(quantity, legend, band)
    if step is not None:
        step = whole("step", step, least=None)
    several = not is_network(values)
    given = labelled(values, "values", "one network") if several else {"": ("values", values)}
    networks = {name: through_layers(network, where, quantity, step) for name, (where, network) in given.items()}
    looks = styles(GREY if colour is None and not several else colour, networks)
    place, numbered = _places(list(dict.fromkeys(layer for layers, _ in networks.values() for layer in layers)))

    ax = axes_of(ax)
    for name, (layers, y) in networks.items():
        x = np.array([place[layer] for layer in layers])
        look = looks[name] | ({"marker": "o"} if several else {"linestyle": "-"})
        draw(ax, Curves(x, y), look, label=label_of(name) or "_network", log=log, band=band)
        if not several:
            dots = [layer_colour(layer_number(layer, place[layer])) for layer in layers]
            ax.scatter(x, centre_and_band(y, log, band)[0], c=dots, s=55, zorder=3)
    if not numbered:
        long = max(map(len, place)) * len(place) > 50
        slant: dict[str, Any] = {"rotation": 35, "ha": "right"} if long else {}
        ax.set_xticks(list(place.values()), list(place), **slant)
    elif len(place) <= 12:
        ax.set_xticks(list(place.values()))
    return finish(ax, quantity, "layer", legend)


def styles(colour: Colour, labels: Iterable[str], start: int = 0) -> dict[str, dict[str, str]]:
    """How each label is drawn: in its own style, or the next of `PALETTE` from `start`, or the colour chosen."""
    labels = list(labels)
    chosen = colour if isinstance(colour, Mapping) else {label: colour for label in labels if colour is not None}
    for label in names("colour", chosen, labels):
        checked_colour(chosen[label])
    own = {label: style_of(label, position) for position, label in enumerate(labels, start)}
    return {label: style | ({"color": chosen[label]} if label in chosen else {}) for label, style in own.items()}


def _counted(name: str, curves: Curves) -> str:
    """A label, and how many of its runs ended early."""
    stopped = 0 if curves.stopped is None else curves.stopped.sum()
    lost = f"\n({stopped} of {len(curves.y)} stopped)" if stopped else ""
    return (label_of(name) + lost).strip() or "_runs"


def _places(layers: list[str]) -> tuple[dict[str, int], bool]:
    """The position of each layer on x, and whether its number stands there or its name."""
    if all(layer.isdigit() for layer in layers):  # nn.Sequential's own names, which count what has no number too
        return {layer: number for number, layer in enumerate(layers, start=1)}, True
    numbers = [layer_number(layer, 0) for layer in layers]
    numbered = all(numbers) and len(set(map(layer_kind, layers))) == 1 and len(set(numbers)) == len(layers)
    return dict(zip(layers, numbers if numbered else range(1, len(layers) + 1), strict=True)), numbered
