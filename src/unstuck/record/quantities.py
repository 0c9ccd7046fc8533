"""`QUANTITIES`: the one table of what is measured, from which everything about a quantity follows."""

from dataclasses import dataclass
from typing import Literal, get_args

from unstuck.arguments import choice

Scope = Literal["network", "activation", "unit", "parameter", "gradient", "update"]


@dataclass(frozen=True)
class Quantity:
    """One measured quantity: how it is called, measured and judged.

    Attributes:
        label, unit, formula: for axes, tables and the glossary.
        scope: what it is measured on: the output of an activation, a layer's parameters, their gradients, or the
            update of one step. What belongs to the whole network ("network") the training loop fills in; what is
            kept for each unit alone ("unit") has arrays and no rows.
        measure: the name of its function in `unstuck.measure`; "" for the scope "network".
        reduce: how observed steps are joined. "none": each step by itself (a number for each unit: its mean). Where
            the function gives each unit's share of zeros, 1 where it is silent: "window", the share of units silent
            in all of the last `window` observed steps; "ever", in all since the beginning.
        healthy: `(low, high)`, or None where no band is known; `source` says where the band comes from.
        log: whether its axis is logarithmic.
    """

    label: str
    unit: str
    formula: str
    scope: Scope
    measure: str = ""
    reduce: Literal["none", "window", "ever"] = "none"
    healthy: tuple[float, float] | None = None
    source: str = ""
    log: bool = False


QUANTITIES: dict[str, Quantity] = {
    "loss": Quantity("training loss", "nats", r"$-\frac{1}{N}\sum_n \log p(y_n \mid x_n)$", "network"),
    "accuracy": Quantity("training accuracy", "fraction", "share of the batch classified correctly", "network"),
    "test_loss": Quantity("test loss", "nats", "the loss on the test part, evaluation mode", "network"),
    "test_accuracy": Quantity("test accuracy", "fraction", "share of the test part classified correctly", "network"),
    "act_mean": Quantity(
        "mean activation", "1", r"$\mathrm{E}[a]$ over batch and units", "activation", measure="act_mean"
    ),
    "act_std": Quantity(
        "standard deviation of activations",
        "1",
        r"$\sqrt{\mathrm{E}[(a - \mathrm{E}[a])^2]}$ over batch and units",
        "activation",
        measure="act_std",
        healthy=(0.3, 3.0),
        source="within a factor 3 of the unit variance that LSUV aims at (Mishkin & Matas 2016)",
        log=True,
    ),
    "zero_fraction": Quantity(
        "fraction of zeros",
        "fraction",
        "share of activations that are exactly 0",
        "activation",
        measure="zeros",
        healthy=(0.0, 0.85),
        source="rectifier networks lose accuracy only beyond about 85 % zeros (Glorot et al. 2011, figure 3)",
    ),
    "saturated_fraction": Quantity(
        "saturated fraction",
        "fraction",
        "share of activations of a sigmoid or tanh where the slope is below 2 % of its largest value",
        "activation",
        measure="saturated_fraction",
    ),
    "dead": Quantity(
        "dead units",
        "fraction",
        "share of units that did not fire on any example in the last `window` observed steps",
        "activation",
        measure="zeros",
        reduce="window",
        healthy=(0.0, 0.1),
        source="our working limit: just below the 10 to 20 % that lecture notes call common in big networks",
    ),
    "never_fired": Quantity(
        "units that never fired",
        "fraction",
        "share of units that have not fired on any example since the watch began",
        "activation",
        measure="zeros",
        reduce="ever",
        healthy=(0.0, 0.1),
        source="as for dead units",
    ),
    "unit_std": Quantity(
        "standard deviation of a unit",
        "1",
        r"$\sqrt{\mathrm{E}[(a - \mathrm{E}[a])^2]}$ over batch and positions",
        "unit",
        measure="unit_std",
        log=True,
    ),
    "unit_range": Quantity(
        "range of a unit",
        "1",
        r"$\max a - \min a$ over batch and positions",
        "unit",
        measure="unit_range",
        log=True,
    ),
    "grad_norm": Quantity(
        "gradient norm", "1", r"$\| \partial\,\mathrm{loss}/\partial w \|_2$", "gradient", measure="norm", log=True
    ),
    "weight_norm": Quantity("weight norm", "1", r"$\| w \|_2$", "parameter", measure="norm", log=True),
    "update_ratio": Quantity(
        "update ratio",
        "1",
        r"$\| \Delta w \|_2 / \| w \|_2$ of one step",
        "update",
        measure="update_ratio",
        # page 11 of the book, "It does not learn: where do I start?": in their first 20 steps the best networks of
        # nine combinations of shape and optimiser have .008 to .04. The ratio falls during a run, and small updates
        # arrive later, so the lower end is the rule of thumb of Bottou and of CS231n.
        healthy=(1e-3, 4e-2),
        source="from the rule of thumb of Bottou and the CS231n notes to the highest of page 11's best networks",
        log=True,
    ),
}


def of_scope(*scopes: Scope) -> tuple[str, ...]:
    """The names of the quantities that are measured there, in the table's order."""
    for scope in scopes:
        choice("scopes", scope, get_args(Scope))
    return tuple(name for name, row in QUANTITIES.items() if row.scope in scopes)
