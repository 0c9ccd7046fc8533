"""What a record of the program's own training tells."""

from __future__ import annotations

import math

import numpy as np

from unstuck.checks.report import Finding, found
from unstuck.claims import number
from unstuck.record import QUANTITIES, Record

SLOW, FAST = 1e-6, 0.1
"""Update ratios with which weights move by a hundredth in 10,000 steps, and with which most networks train badly."""


def read(record: Record) -> list[Finding]:
    """Findings on units, updates and losses of a training that was watched."""
    result: list[Finding] = []
    present = set(record.quantities())
    if record.stopped is not None:
        step, reason = record.stopped
        result.append(found("diverges", "failure", f"the record ends at step {step}: {reason}"))
    for layer in record.layers("dead") if "dead" in present else ():
        _, values = record.get("dead", layer)
        if len(values) and values[-1] > 0.5:
            slug = "units_dead_at_start" if values[0] > 0.5 else "units_killed"
            text = f"dead units in the record: {100 * values[0]:.0f} % at first, {100 * values[-1]:.0f} % at last"
            result.append(found(slug, "failure", text, layer))
            break
    if "update_ratio" in present:
        ratios = [np.median(record.get("update_ratio", layer)[1]) for layer in record.layers("update_ratio")]
        middle = float(np.median(ratios)) if ratios else math.nan
        low, high = QUANTITIES["update_ratio"].healthy or (math.nan, math.nan)
        text = f"the update ratio in the record is {number(middle)}; networks that train well begin with {low:g} to"
        text += f" {high:g}"
        if middle < SLOW:
            result.append(found("lr_small", "warning", text))
        elif middle > FAST:
            result.append(found("lr_large", "warning", text))
    if {"loss", "test_loss"} <= present:
        _, test = record.get("test_loss", "")
        train = record.last("loss", "")
        if len(test) > 2 and test[-1] > 1.3 * test.min() and train < 0.3 * test[-1]:
            text = f"test loss {number(float(test.min()))} at best, {number(float(test[-1]))} at last, training"
            result.append(found("overfitting", "failure", f"{text} loss {number(train)}"))
    return result
