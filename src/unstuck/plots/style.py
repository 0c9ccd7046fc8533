"""How a figure looks: colours, dashes and labels of activations, schemes and layers, axis labels, healthy bands.

Activations are drawn as `unstuck.activations.ACTIVATIONS` says, schemes as the one table here does; what a quantity
is called comes from `QUANTITIES`.
"""

import re
from dataclasses import dataclass

from matplotlib.axes import Axes

from unstuck.activations import ACTIVATIONS, Activation
from unstuck.arguments import choice, instance, whole
from unstuck.plots.colours import AMBER, BAND, BLUE, GREEN, GREY, INK, MAROON, PINE, PLUM, RUST, SKY, VIOLET
from unstuck.record import QUANTITIES, Quantity

PALETTE = (BLUE, RUST, GREEN, PLUM, AMBER, SKY, VIOLET, PINE, MAROON, INK)
"""Ten colours found by search, as is `GREY`: any two differ by more than 25 (CIE76), also for red-blind and
green-blind readers (Machado et al. 2009), and each has a contrast of 3 or more with the paper (WCAG 1.4.11)."""

LAYER_COLOURS = ["#1c2d31", "#002f5e", "#0447dd", "#6f45ad", "#af599c"]
LAYER_COLOURS += ["#b7607f", "#c26462", "#d46847", "#df6d07", "#cb7d65"]
"""Layers 1 to 10: each lighter than the one before; neighbours differ by more than 19, found as `PALETTE` was."""

LINE_STYLES = ("-", "--", ":", "-.")
LAYER_NAME = re.compile(r"([A-Za-z_]+)(\d+)(#\d+)?")


@dataclass(frozen=True)
class Scheme:
    """How every figure names and draws a scheme of initialisation."""

    label: str
    colour: str
    dashes: str = "-"


SCHEMES: dict[str, Scheme] = {
    "zeros": Scheme("zeros", GREY, ":"),
    "constant": Scheme("constant", INK, "-."),
    "normal": Scheme("normal", RUST),
    "uniform": Scheme("uniform", AMBER, "--"),
    "lecun": Scheme("LeCun", SKY, "--"),
    "xavier": Scheme("Xavier", BLUE),
    "he": Scheme("He", GREEN),
    "pytorch": Scheme("PyTorch's default", MAROON, "-."),
    "orthogonal": Scheme("orthogonal", PINE, "--"),
    "lsuv": Scheme("LSUV", PLUM),
    "rai": Scheme("randomised asymmetric", VIOLET, "--"),
}
"""The schemes of `unstuck.init`, by name."""


KNOWN: dict[str, Activation | Scheme] = {**ACTIVATIONS, **SCHEMES}


def label_of(name: str) -> str:
    """What a figure writes for an activation or a scheme, "ReLU" for "relu"; anything else as it is."""
    instance("name", name, str, "a text")
    return KNOWN[name].label if name in KNOWN else name


def style_of(name: str, position: int = 0) -> dict[str, str]:
    """Colour and line style of an activation or a scheme, for `ax.plot`; of anything else, by its position."""
    instance("name", name, str, "a text")
    position = whole("position", position, least=0)
    if name in KNOWN:
        return {"color": KNOWN[name].colour, "linestyle": KNOWN[name].dashes}
    turn, index = divmod(position, len(PALETTE))
    return {"color": PALETTE[index], "linestyle": LINE_STYLES[turn % len(LINE_STYLES)]}


def layer_number(name: str, position: int) -> int:
    """The number of a layer: 3 for "act3", "linear3" or "act3#2"; `position` where the name has no number."""
    found = LAYER_NAME.fullmatch(name)
    return int(found[2]) if found else position


def layer_kind(name: str) -> str:
    """What comes before the number: "linear" of "linear3"; "" where there is none."""
    found = LAYER_NAME.fullmatch(name)
    return found[1] if found else ""


def layer_colour(i: int) -> str:
    """The colour of layer i (from 1); the layers beyond the tenth share its colour."""
    return LAYER_COLOURS[min(whole("i", i), len(LAYER_COLOURS)) - 1]


def quantity_row(name: str) -> Quantity:
    """The row of `QUANTITIES`; an unknown name is a ValueError."""
    return QUANTITIES[choice("quantity", name, QUANTITIES)]


def axis_label(quantity: str) -> str:
    """Label and unit of a quantity, "training loss (nats)"; a unit of 1, or one the label names, is not written."""
    row = quantity_row(quantity)
    return row.label if row.unit == "1" or row.unit in row.label else f"{row.label} ({row.unit})"


def healthy_band(ax: Axes, quantity: str) -> Axes:
    """Shade the healthy band of a quantity across `ax`, once; a quantity without one leaves `ax` as it is."""
    instance("ax", ax, Axes, "matplotlib Axes")
    band = quantity_row(quantity).healthy
    if band is not None and "healthy" not in ax.get_legend_handles_labels()[1]:
        ax.axhspan(*band, color=BAND, linewidth=0, zorder=0, label="healthy")
    return ax
