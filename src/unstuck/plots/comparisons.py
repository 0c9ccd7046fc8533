"""Comparisons: named results with their seeds, and an activation function beside its derivative."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from unstuck.arguments import instance, names, words
from unstuck.plots.colours import GREY, INK
from unstuck.plots.curves import Colour, styles
from unstuck.plots.drawing import Legend, add_legend, axes_of, centre_and_band, checked, edge, note
from unstuck.plots.series import at_the_end, floats, labelled, said_lost
from unstuck.plots.style import axis_label, label_of, style_of

MARKERS = ("o", "s", "D", "^", "v")


def dots(
    values: Mapping[str, Any],
    quantity: str,
    *,
    groups: Iterable[Sequence[str]] = (),
    colour: Colour = None,
    ax: Axes | None = None,
    legend: Legend = True,
) -> Axes:
    """One row a name: a dot a seed, a tick at the mean, and a bar of one standard deviation (n - 1) either side.

    Args:
        values: `{name: seeds}`, drawn from the top in this order; or `{name: {series: seeds}}`, several series a row,
            side by side and each in its colour. Seeds are an array (S,), or Runs (a list of Records, ...), of which
            each one's last value is taken, NaN where it stopped.
        quantity: a name in `QUANTITIES`.
        groups: sets of neighbouring names that cannot be told apart; each is a bar at the right (Demsar 2006).
        colour: instead of the names' own, or `{name: colour}`; of the series, where there are some.

    A seed that is not finite is left out of mean and bar, and is counted beside its name. On a logarithmic axis mean
    and bar are those of the logarithm, and a zero is a triangle on the edge.
    """
    log = checked(quantity, legend)
    instance("values", values, Mapping, "{name: seeds}")
    rows = {name: _series(given, where, quantity) for name, (where, given) in labelled(values, "values").items()}
    instance("groups", groups, Iterable, "a sequence of sets of names")
    groups = [names("groups", group, values) for group in groups]
    series = list(dict.fromkeys(key for each in rows.values() for key in each))
    looks = styles(colour, dict.fromkeys(key or name for name, each in rows.items() for key in each))

    ax = axes_of(ax)
    if log:
        ax.set_xscale("log")
    apart = min(0.22, 0.7 / len(series))
    for y, (name, by_series) in enumerate(rows.items()):
        for key, seeds in by_series.items():
            k = series.index(key)
            at = y + apart * (k - (len(series) - 1) / 2)
            marker, shade = MARKERS[k % len(MARKERS)], looks[key or name]["color"]
            _row(ax, seeds, at, shade, marker, size=9 if key else 18, log=log)
            if key:
                note(ax, label_of(key), gid="series", marker=marker, color=shade)
    ax.set_yticks(range(len(rows)), [_name_and_lost(name, by_series) for name, by_series in rows.items()])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.grid(False, axis="y")
    ax.set_xlabel(f"{axis_label(quantity)}\ndots: seeds; bar: mean ± 1 standard deviation")
    _group_bars(ax, groups, list(rows))
    return add_legend(ax, legend)


def activation(name: str, z: Any, f: Any, df: Any, *, ax: Axes | None = None, legend: Legend = True) -> Axes:
    """An activation function f(z), drawn through, with its derivative f'(z), dashed, both in its colour.

    Args:
        name: for title and colour, e.g. "relu".
        z, f, df: arrays (N,).
    """
    words("name", name)
    z, f, df = floats(z, "z", ndim=1), floats(f, "f", ndim=1), floats(df, "df", ndim=1)
    if not len(z) == len(f) == len(df):
        raise ValueError(f"z, f, df: expected equal lengths, got {len(z)}, {len(f)}, {len(df)}")
    checked(None, legend, optional=True)
    ax = axes_of(ax)
    colour = style_of(name)["color"]
    ax.axhline(0, color=GREY, linewidth=0.8, zorder=1)
    ax.axvline(0, color=GREY, linewidth=0.8, zorder=1)
    ax.plot(z, np.ma.masked_invalid(f), color=colour, label="$f(z)$")
    ax.plot(z, np.ma.masked_invalid(df), color=colour, linestyle=(0, (3, 1.5)), linewidth=1.6, label="$f\\,'(z)$")
    ax.set(xlabel="$z$", ylabel="$f(z)$, $f\\,'(z)$", title=label_of(name))
    return add_legend(ax, legend)


def _series(given: Any, where: str, quantity: str) -> dict[str, np.ndarray]:
    """The seeds of each series of a row; a row without series has one, ""."""
    return {key: at_the_end(seeds, at, quantity) for key, (at, seeds) in labelled(given, where, "one series").items()}


def _row(ax: Axes, seeds: np.ndarray, y: float, colour: str, marker: str, *, size: float, log: bool) -> None:
    shown = seeds[np.isfinite(seeds) & ((seeds > 0) | (not log))]
    ax.plot(shown, np.full(len(shown), y), marker, color=colour, alpha=0.45, markeredgewidth=0, markersize=7)
    if len(shown):
        centre, low, high = centre_and_band(shown[:, None], log, "sd")
        bar = np.abs([centre - low, high - centre])
        ax.errorbar(centre, [y], xerr=bar, color=colour, linewidth=2, marker="|", markersize=size, mew=2.5)
    if log and (seeds <= 0).any():
        edge(ax, np.array([y]), "<", colour, "exactly 0", left=True)


def _name_and_lost(name: str, by_series: Mapping[str, np.ndarray]) -> str:
    lost = {key: said_lost(seeds) for key, seeds in by_series.items()}
    texts = [f"{label_of(key)}: {text}" if key else text for key, text in lost.items() if text]
    return "\n".join([label_of(name), *(f"({text})" for text in texts)])


def _group_bars(ax: Axes, groups: Sequence[Sequence[str]], rows: list[str]) -> None:
    for k, group in enumerate(groups):
        at = [rows.index(name) for name in group]
        x = 1.02 + 0.025 * k
        look: dict[str, Any] = {"color": INK, "linewidth": 4, "solid_capstyle": "butt", "clip_on": False}
        ax.plot([x, x], [min(at) - 0.25, max(at) + 0.25], transform=ax.get_yaxis_transform(), **look)
    if groups:
        ax.text(1.02 + 0.025 * len(groups), 0.5, "not told apart", rotation=90, va="center", transform=ax.transAxes)
