"""`rate_range`: the learning rate at which the loss falls fastest, where the examples are enough to tell."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer

from unstuck.arguments import real, short, whole
from unstuck.checks.batches import Batch, examples, first_of, part_of
from unstuck.checks.program import Program, examined
from unstuck.checks.training import LEARNED
from unstuck.claims import number

MEASURED = 300
"""Examples on which the loss is measured after each step, always the same ones. From the last batch alone it differs
from batch to batch by more than a step changes it: with batches of 32 the suggestions for one network then went from
0.0001 to 0.3 over five orders, on 300 examples from 0.2 to 0.6."""

SHARED = 0.2
"""Steps on one half of the examples take at least this share of their fall off the loss of the other half. Where they
do not, they learn examples by heart, and the rates that suit these say little about others. With 300 examples the
share is a half or more in perceptrons, CNNs and recurrent networks, with eight next to nothing."""


@dataclass(frozen=True)
class RateRange:
    """Learning rates, the loss after a step at each, and the one that is suggested: NaN where none is any good, or
    where the examples are too few to tell; `reason` says which, and what to do."""

    rates: list[float]
    losses: list[float]
    suggestion: float
    reason: str

    def __str__(self) -> str:
        if math.isnan(self.suggestion):
            return f"no learning rate is suggested: {self.reason}"
        return f"suggested learning rate {number(self.suggestion, 2)}: {self.reason}"


def rate_range(
    model: nn.Module,
    batch: Any,
    *,
    loss_fn: Callable | None = None,
    optimizer: Optimizer | None = None,
    lowest: float = 1e-6,
    highest: float = 10.0,
    steps: int = 100,
    seed: int = 0,
) -> RateRange:
    """A range test: one step at each learning rate, from the lowest up (Smith 2017, "Cyclical learning rates").

    Each step takes the next batch; the loss after it is that of the first batches that hold 300 examples. The test
    ends at the first loss that is not finite, or exceeds the first one by four times the lowest so far. Suggested is
    the rate at which the smoothed loss falls fastest. Where it is lowest would be too high: with one step at each
    rate it still falls where a constant rate diverges. A second test, with steps on one half of the examples, tells
    whether they are enough: no rate is suggested where the loss of the other half hardly falls.

    Args:
        batch: `(x, y)`, or an iterable of such pairs; 300 examples are enough for most networks.
        optimizer: of this model's parameters; None takes Adam.
        lowest, highest: of the learning rates; `steps` of them, in equal ratios.

    Raises TypeError or ValueError, naming the argument.
    """
    lowest, highest = real("lowest", lowest, above=0), real("highest", highest, above=0)
    if not lowest < highest:
        raise ValueError(f"lowest, highest: expected lowest to be the smaller, got {lowest} and {highest}")
    steps, seed = whole("steps", steps, least=10), whole("seed", seed, least=0, most=2**32 - 1)
    with examined(model, batch, loss_fn=loss_fn, optimizer=optimizer, seed=seed) as program:
        if optimizer is not None:
            _check_owner(optimizer, model)
        rates = [lowest * (highest / lowest) ** (i / (steps - 1)) for i in range(steps)]
        measured = first_of(program.batches, MEASURED)
        ((first, *losses),) = _climb(program, rates, program.batches, measured)
        found = _suggest(rates[: len(losses)], losses, first, count := sum(map(examples, measured)))
        if math.isnan(found.suggestion) or (shared := _shared(program, rates, measured)) > SHARED:
            return found
        text = f"{count} examples are too few to tell: of the fall of the loss on one half of them"
        text += f" {100 * max(shared, 0):.0f} % is seen on the other, and {100 * SHARED:.0f} % is needed; give"
        text += f" {max(MEASURED, 4 * count)} in one batch, and look at the labels if that does not help"
        return RateRange(found.rates, losses, math.nan, text)


def _check_owner(optimizer: Optimizer, model: nn.Module) -> None:
    held = [p for group in optimizer.param_groups for p in group["params"]]
    known = dict(model.named_parameters())
    if known and not {id(p) for p in held} & {id(p) for p in known.values()}:
        text = f"expected one of this model's parameters, {short(list(known))},"
        raise ValueError(f"optimizer: {text} got one of others, the first of shape {tuple(held[0].shape)}")


def _climb(program: Program, rates: list[float], batches: list[Batch], *sets: list[Batch]) -> list[list[float]]:
    """One step at each rate, on the next of the batches: for each of the sets its loss before and after every step.

    It ends where that of the first set is not finite, or exceeds its first value by four times its lowest.
    """
    model, optimizer = program.fresh()
    program.seeded()

    def losses() -> list[float]:
        return [sum(program.measured(model, batch)[0] for batch in kept) / len(kept) for kept in sets]

    seen = [losses()]
    for i, rate in enumerate(rates):
        for group in optimizer.param_groups:
            group["lr"] = rate
        program.step(model, optimizer, batches[i % len(batches)])
        seen.append(losses())
        first, last = seen[0][0], seen[-1][0]
        if not math.isfinite(last) or last > 4 * abs(min(values[0] for values in seen)) + abs(first):
            break
    return [list(values) for values in zip(*seen, strict=True)]


def _shared(program: Program, rates: list[float], batches: list[Batch]) -> float:
    """The fall of the loss on one half of the examples where steps are made on the other, over the fall there."""
    halves = [batches[::2], batches[1::2]]
    if len(batches) == 1:
        n = examples(batches[0])
        if n < 4:  # batch norm refuses a half of one
            return 0.0
        halves = [[part_of(batches[0], half)] for half in (slice(n // 2), slice(n // 2, None))]
    own, other = (
        values[0] - min(filter(math.isfinite, values)) for values in _climb(program, rates, halves[0], *halves)
    )
    return other / own if own > 0 else 0.0


def _suggest(rates: list[float], losses: list[float], first: float, count: int) -> RateRange:
    finite = [value for value in losses if math.isfinite(value)]
    if not finite or not math.isfinite(first):
        return RateRange(rates, losses, math.nan, "no step left a finite loss; see find_nan")
    smooth, kept = [], finite[0]
    for value in finite:
        kept = 0.8 * kept + 0.2 * value
        smooth.append(kept)
    lowest = min(range(len(smooth)), key=lambda i: smooth[i])
    if first - smooth[lowest] < 0.1 * LEARNED * abs(first):
        text = f"no rate lowers the loss of {number(first)}; something else is wrong"
        return RateRange(rates, losses, math.nan, text)
    falls = [smooth[i - 1] - smooth[i] for i in range(1, lowest + 1)]
    at = 1 + max(range(len(falls)), key=lambda i: falls[i]) if falls else 0
    end = "" if len(finite) == len(losses) else f", and is not finite at {number(rates[len(finite)], 2)}"
    text = f"there the loss of {count} examples, averaged over some steps, falls fastest; it is {number(first)} at"
    text += f" first, and lowest, {number(smooth[lowest])}, at {number(rates[lowest], 2)}{end}"
    return RateRange(rates, losses, rates[at], text)
