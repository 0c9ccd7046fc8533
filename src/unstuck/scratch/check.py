"""`gradient_check`: every gradient of a network against central differences."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from unstuck.arguments import choice, instance, real, whole
from unstuck.scratch.arrays import floats
from unstuck.scratch.network import Network

TOLERANCE = 1e-6
"""A relative error below this is agreement."""


@dataclass(frozen=True)
class Row:
    """What was found for one parameter, at the entry where the two gradients differ most."""

    parameter: str
    size: int  # its entries
    checked: int  # those that were compared
    error: float  # the largest relative error
    index: tuple[int, ...]  # where it is
    analytic: float  # there, what backward says
    numeric: float  # there, what the difference says


@dataclass(frozen=True, repr=False)
class GradientReport:
    """A row for every parameter and one for the input "x"; prints as a table."""

    rows: tuple[Row, ...]

    @property
    def worst(self) -> Row:
        """The row with the largest relative error; NaN is larger than any."""
        return max(self.rows, key=lambda row: math.inf if math.isnan(row.error) else row.error)

    @property
    def passed(self) -> bool:
        """Whether all relative errors are below `TOLERANCE`."""
        return self.worst.error < TOLERANCE

    def __getitem__(self, parameter: str) -> Row:
        """The row of a parameter, by its name."""
        choice("parameter", parameter, [row.parameter for row in self.rows])
        return next(row for row in self.rows if row.parameter == parameter)

    def __repr__(self) -> str:
        lines = [f"{'parameter':<18}{'checked':>16}{'largest error':>15}  {'at':<16}{'analytic':>13}{'numeric':>13}"]
        for row in self.rows:
            lines.append(
                f"{row.parameter:<18}{f'{row.checked} of {row.size}':>16}{row.error:>15.1e}  {row.index!s:<16}"
                f"{row.analytic:>13.4e}{row.numeric:>13.4e}{'' if row.error < TOLERANCE else '  WRONG'}"
            )
        return "\n".join(lines)


def gradient_check(
    network: Network, x: np.ndarray, y: np.ndarray, *, eps: float = 1e-5, entries: int | None = 100, seed: int = 0
) -> GradientReport:
    """Compare `network.backward()` on a batch with (loss(w + eps) - loss(w - eps)) / (2 eps), an entry at a time.

    Args:
        x, y: a batch; a small one will do.
        eps: the step. Its error is of order eps^2, and rounding adds some 1e-16 * loss / eps.
        entries: how many of each parameter are compared, drawn from `seed`; None compares all.

    The relative error is |analytic - numeric| / max(|analytic|, |numeric|, floor). The floor is what makes a
    difference that rounding of the loss alone could cause count as less than `TOLERANCE`. Where a step crosses a kink
    (ReLU at 0, a maximum that changes hands) the difference is wrong, not the gradient; so an entry that disagrees is
    tried again with steps 10 and 100 times smaller, and passes if it then agrees.

    The network is in the mode it is in, and left as it was. Raises ValueError for a network in float32, whose
    rounding leaves nothing to compare, and for a loss that is not finite.
    """
    instance("network", network, Network, "a Network")
    eps, entries = real("eps", eps, above=0), None if entries is None else whole("entries", entries)
    if network.dtype != np.float64:
        raise ValueError(f"network: expected float64, got {network.dtype}: too coarse for differences of {eps}")
    x, rng = np.array(floats("x", x), dtype=np.float64), np.random.default_rng(whole("seed", seed, least=0))

    def loss() -> float:
        return network.loss.forward(network.forward(x), y)

    with _unchanged(network):
        value = loss()
        if not math.isfinite(value):
            raise ValueError(f"network: expected a finite loss on this batch, got {value}")
        gradients = {"x": network.backward().copy()}
        gradients |= {name: array.copy() for name, array in network.grads.items()}
        # some units in the loss's last place, over the step, are what rounding makes of no difference
        floor = 4 * np.spacing(max(1.0, abs(value))) / eps / TOLERANCE
        rows = []
        for name, array in ({"x": x} | network.params).items():
            some = entries is not None and entries < array.size
            chosen = np.sort(rng.choice(array.size, entries, replace=False)) if some else range(array.size)
            indices = [tuple(map(int, np.unravel_index(i, array.shape))) for i in chosen]
            rows.append(_check(name, array, gradients[name], indices, loss, eps, floor))
    return GradientReport(tuple(rows))


def _check(
    name: str,
    array: np.ndarray,
    gradient: np.ndarray,
    indices: list[tuple[int, ...]],
    loss: Callable[[], float],
    eps: float,
    floor: float,
) -> Row:
    """Compare the entries `indices` of one parameter."""
    if gradient.shape != array.shape:
        raise ValueError(f"network: expected a gradient {array.shape} of {name}, got {gradient.shape}")
    found = []
    for index in indices:
        analytic, tried = float(gradient[index]), []
        for step in (eps, eps / 10, eps / 100):
            numeric = _difference(array, index, loss, step)
            error = abs(analytic - numeric) / max(abs(analytic), abs(numeric), floor * eps / step)
            tried.append((error, index, analytic, numeric))
            if error < TOLERANCE or math.isnan(tried[0][0]):
                break
        found.append(tried[-1] if error < TOLERANCE else tried[0])
    worst = max(found, key=lambda entry: math.inf if math.isnan(entry[0]) else entry[0])
    return Row(name, array.size, len(indices), *worst)


def _difference(array: np.ndarray, index: tuple[int, ...], loss: Callable[[], float], eps: float) -> float:
    """(loss(w + eps) - loss(w - eps)) / (2 eps) for one entry of `array`, which is put back."""
    before = array[index]
    array[index] = before + eps
    above = loss()
    array[index] = before - eps
    below = loss()
    array[index] = before
    return (above - below) / (2 * eps)


@contextmanager
def _unchanged(network: Network) -> Iterator[None]:
    """After it every array and attribute of the network's layers and loss is what and as it was."""
    parts = [(part, dict(vars(part))) for part in (*network.layers, network.loss)]
    dicts = [part for layer in network.layers for part in (layer.params, layer.grads, layer.buffers)]
    arrays = [(owner, name, array, array.copy()) for owner in dicts for name, array in owner.items()]
    try:
        yield
    finally:
        for part, attributes in parts:
            vars(part).update(attributes)
        for owner, name, array, values in arrays:
            owner[name] = array
            array[...] = values
