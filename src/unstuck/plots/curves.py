"""Curves: a quantity against the training step, layer by layer or over seeds, and through the layers of a network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import is_color_like

from unstuck.arguments import choice, names, short
from unstuck.plots.drawing import Legend, axes_of, centre_and_band, check_legend, draw, finish
from unstuck.plots.series import Curves, is_network, labelled, layers_over_steps, over_steps, through_layers
from unstuck.plots.style import (
    GREY,
    INK,
    LINE_STYLES,
    label_of,
    layer_colour,
    layer_kind,
    layer_number,
    quantity_row,
    style_of,
)

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
    row = quantity_row(quantity)
    choice("band", band, ("range", "sd"))
    check_legend(legend)
    known, curves = layers_over_steps(values, "values", quantity, layers=layers, steps=steps)
    ax = axes_of(ax)
    kinds = list(dict.fromkeys(layer_kind(layer) for layer in known))
    for layer, series in curves.items():
        i = layer_number(layer, known.index(layer) + 1)
        dashes = LINE_STYLES[kinds.index(layer_kind(layer)) % len(LINE_STYLES)]
        style = {"color": layer_colour(i) if layer else INK, "linestyle": dashes}
        draw(ax, series, style, label=layer or "_network", log=row.log, band=band)
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
    log = quantity is not None and quantity_row(quantity).log
    choice("band", band, ("range", "sd"))
    check_legend(legend)
    if isinstance(runs, Mapping) and label:
        raise ValueError(f"label: the mapping has labels of its own, got {label!r}")
    given = {
        name or label: over_steps(series, where, quantity, layer=layer, steps=x, where="x")
        for name, (where, series) in labelled(runs, "runs", "one set of runs").items()
    }
    colours = chosen_colours(colour, given)
    ax = axes_of(ax)
    drawn = sum(line.get_gid() == "curve" for line in ax.lines)
    for position, (name, curves) in enumerate(given.items(), start=drawn):
        draw(ax, curves, style_of(name, position) | colours[name], label=_counted(name, curves), log=log, band=band)
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
    row = quantity_row(quantity)
    choice("band", band, ("range", "sd"))
    check_legend(legend)
    several = not is_network(values)
    given = labelled(values, "values", "one network") if several else {"": ("values", values)}
    networks = {name: through_layers(network, where, quantity, step) for name, (where, network) in given.items()}
    colours = chosen_colours(colour, networks)
    place, numbered = _places(list(dict.fromkeys(layer for layers, _ in networks.values() for layer in layers)))

    ax = axes_of(ax)
    for k, (name, (layers, y)) in enumerate(networks.items()):
        x = np.array([place[layer] for layer in layers])
        style = style_of(name, k) | {"marker": "o"} if several else {"color": GREY, "linestyle": "-"}
        curves = Curves(x, y, np.zeros(len(y), dtype=bool))
        label = label_of(name) or "_network"
        draw(ax, curves, style | colours[name], label=label, log=row.log, band=band, ends=False)
        if not several:
            centre, _, _ = centre_and_band(y, row.log, band)
            dots = [layer_colour(layer_number(layer, place[layer])) for layer in layers]
            ax.scatter(x, centre, c=dots, s=55, zorder=3)
    if numbered and len(place) <= 12:
        ax.set_xticks(list(place.values()))
    elif not numbered:
        long = max(map(len, place)) * len(place) > 50
        ax.set_xticks(list(place.values()), list(place), **({"rotation": 35, "ha": "right"} if long else {}))
    return finish(ax, quantity, "layer", legend)


def chosen_colours(colour: Colour, labels: Iterable[str]) -> dict[str, dict[str, str]]:
    """What the argument `colour` adds to the style of each label."""
    labels = list(labels)
    chosen = colour if isinstance(colour, Mapping) else {label: colour for label in labels if colour is not None}
    names("colour", chosen, labels)
    for each in chosen.values():
        if not is_color_like(each):
            raise ValueError(f"colour: expected a colour, got {short(each)}")
    return {label: {"color": chosen[label]} if label in chosen else {} for label in labels}


def _counted(name: str, curves: Curves) -> str:
    """A label, and how many of its runs ended early."""
    lost = f"\n({curves.lost} of {len(curves.y)} stopped)" if curves.lost else ""
    return (label_of(name) + lost).strip() or "_runs"


def _places(layers: list[str]) -> tuple[dict[str, int], bool]:
    """The position of each layer on x, and whether it is the number in its name."""
    numbers = [layer_number(layer, 0) for layer in layers]
    numbered = all(numbers) and len(set(map(layer_kind, layers))) == 1 and len(set(numbers)) == len(layers)
    return dict(zip(layers, numbers if numbered else range(1, len(layers) + 1), strict=True)), numbered
