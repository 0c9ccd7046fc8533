"""What is wrong with the data: inputs and labels as they are handed over, before any model sees them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unstuck import parts
from unstuck.checks.behaviour import Loss
from unstuck.checks.first_pass import FirstPass
from unstuck.checks.program import Program
from unstuck.checks.report import Finding, found, missing
from unstuck.checks.task import IGNORED
from unstuck.claims import number

LARGE, SMALL = 10.0, 0.02
"""A standard deviation an order of magnitude above 1 (for the small side: 50 times below it) is not scaled: the
weight gradient of the first layer is proportional to its inputs, its curvature to their square, so the largest
learning rate that does not diverge is 100 times smaller than that of all other layers (LeCun et al. 1998, Efficient
BackProp, 4.3)."""

UNEVEN = 30.0
"""Ratio of the largest to the median standard deviation of features: the condition number is its square, about
1,000."""

OFF_CENTRE = 5.0
"""Mean over standard deviation, both root mean square over features: the mean adds the square of this, 25, to the
condition number (LeCun et al. 1991). Photographs in [0, 1] have about 2, Iris in cm 3.6, handwritten digits 0.7."""

MOVED = 3.0
"""Validation inputs three standard deviations away from those of training, or three times as wide, are other
inputs."""

IMBALANCED = 0.9
"""A share of one class at which naming it always has an error below that of many trained networks."""


def look_at_inputs(program: Program) -> list[Finding]:
    """Inputs that are not finite, or all the same."""
    tensors = [t for x, _ in program.batches for t in parts.tensors(x)]
    for _, y in program.batches:
        tensors += [t for t in parts.tensors(y) if t.is_floating_point()]
    bad = [t for t in tensors if t.is_floating_point() and not torch.isfinite(t).all()]
    result = []
    if bad:
        some = bad[0]
        rows = (~torch.isfinite(some)).flatten(1).any(1) if some.ndim > 1 else ~torch.isfinite(some)
        which = rows.nonzero().flatten().tolist()
        text = f"{sum(int((~torch.isfinite(t)).sum()) for t in bad)} values are not finite, the first in example"
        text += f" {which[0]}"
        result.append(found("inputs_not_finite", "failure", f"{text}; all of them must be"))
    else:
        result.append(found("inputs_not_finite", "ok", "all inputs are finite"))
    constant = _constant(program)
    if constant:
        result.append(found("inputs_constant", "failure", constant))
    elif constant is not None:
        result.append(found("inputs_constant", "ok", "the examples differ"))
    return result


def _constant(program: Program) -> str | None:
    """What is said where all examples are the same; "" where they are not, None where there is only one."""
    joined = pooled([x for x, _ in program.batches])
    if joined is None or len(joined) < 2:
        return None
    joined = joined.flatten(1).double()
    spread, size = (joined - joined[0]).abs().max().item(), joined.abs().max().item()
    # float32 has 7 digits: below 1e-6 of their size differences are rounding
    if not spread <= 1e-6 * size:
        return ""
    return f"the {len(joined)} examples differ by at most {number(spread)}, their size is {number(size)}"


def pooled(parts_of: list) -> Tensor | None:
    """The examples of several batches in one tensor; of several inputs the first; None where they do not fit."""
    tensors = [next(parts.tensors(part), None) for part in parts_of]
    kept = [t for t in tensors if t is not None and t.ndim]
    if not kept or any(t.shape[1:] != kept[0].shape[1:] or t.dtype != kept[0].dtype for t in kept):
        return None
    return torch.cat(kept)[:5000]


def look_at_scale(program: Program, seen: FirstPass, stuck: bool = False) -> list[Finding]:
    """The size and the mean of what reaches the first layer with weights, whatever the model does before it.

    Where a trial has shown that nothing is learned (`stuck`) the limits are half as far from healthy values.
    """
    near = 0.5 if stuck else 1.0
    x = next(parts.tensors(program.x), None)
    if x is None or not x.is_floating_point() or x.ndim < 1 or len(x) < 2:
        return []
    given = seen.entry if seen.entry is not None else x
    where = seen.entry_layer if seen.entry is not None else ""
    given = given.detach().float()
    if not torch.isfinite(given).all() or given.ndim < 2:
        return []
    features = given.movedim(1, -1).flatten(0, -2) if given.ndim > 2 and seen.entry is not None else given.flatten(1)
    features = features if len(features) > 1 else given.reshape(-1, 1)
    mean, std = features.mean(0), features.std(0, correction=0)
    if seen.norm_first or (seen.layers and seen.layers[0].normalised):
        return [found(slug, "ok", "a normalisation follows") for slug in ("inputs_not_scaled", "inputs_not_centred")]
    largest, live = float(std.max()), std[std > 1e-6 * std.max()]
    middle = float(live.median()) if len(live) else 0.0
    size, centre = float(std.square().mean().sqrt()), float(mean.square().mean().sqrt())
    result = []
    spans = (
        f"features have standard deviations from {number(float(live.min()) if len(live) else 0)} to {number(largest)}"
    )
    low = SMALL / near
    if largest > LARGE * near or (largest < low and float(given.abs().max()) < 10 * low):
        above = largest > LARGE * near
        text = f"{spans}; {'above' if above else 'below'} {LARGE * near if above else low:g} one learning rate"
        text += " cannot serve all layers, the aim is 1"
        result.append(found("inputs_not_scaled", "failure", text, where))
    elif largest > 1 and middle and largest / middle > UNEVEN and len(live) > 1:
        text = f"{spans}, the median {number(middle)}; more than {UNEVEN:g} apart the loss is a valley"
        result.append(found("inputs_not_scaled", "warning", text, where))
    else:
        result.append(found("inputs_not_scaled", "ok", f"{spans}: below {LARGE:g}"))
    ratio = centre / size if size else math.inf
    # a feature that is the same in all examples is a bias, if it is no larger than one
    verdict = "failure" if ratio > 4 * OFF_CENTRE else "warning"
    text = f"means are {number(ratio)} times the standard deviations (root mean square); below {OFF_CENTRE:g} is well"
    bad = ratio > OFF_CENTRE * near and centre > 0.5
    result.append(found("inputs_not_centred", verdict if bad else "ok", text, where if bad else ""))
    return result


def look_at_validation(program: Program) -> list[Finding]:
    """Validation inputs that were not scaled as the training inputs were."""
    here, there = pooled([x for x, _ in program.batches]), pooled([x for x, _ in program.validation])
    if here is None or there is None or not here.is_floating_point() or here.shape[1:] != there.shape[1:]:
        return []
    sizes = [(float(x.float().mean()), float(x.float().std(correction=0))) for x in (here, there)]
    (mean, std), (other_mean, other_std) = sizes
    if not std or not all(math.isfinite(v) for pair in sizes for v in pair):
        return []
    if not (std / MOVED < other_std < MOVED * std) or abs(mean - other_mean) > MOVED * std:
        text = (
            f"training inputs have mean {number(mean)} and standard deviation {number(std)}, those of the validation"
        )
        text += f" {number(other_mean)} and {number(other_std)}: they are not scaled by the same numbers"
        return [found("inputs_not_scaled", "failure", text)]
    return []


def look_at_labels(program: Program, loss: Loss | None) -> list[Finding]:
    """Labels that are no classes of the network, have another shape than its outputs, or are nearly all the same."""
    task, result = program.task, []
    joined = pooled([y for _, y in program.batches])
    if joined is None or (task.kind == "unknown" and loss is None):
        return [missing("labels_out_of_range", "labels as tensors")]
    out = task.pick(task.output)
    kind = "unknown" if loss is None else loss.kind
    if task.kind == "classes" and not joined.is_floating_point():
        index = task.indices(joined)
        bad = index[(index != IGNORED) & ((index < 0) | (index >= task.classes))]
        span = f"labels go from {int(index.min())} to {int(index.max())}, and the network has {task.classes} outputs"
        verdict = "failure" if len(bad) else "ok"
        result.append(found("labels_out_of_range", verdict, f"{span}: 0 to {task.classes - 1} are allowed"))
        if y_is_column(program.y, out) and loss is not None and not math.isfinite(loss.at(loss.random)):
            text = f"labels have shape {tuple(program.y.shape)} beside outputs {tuple(out.shape)}: {loss.error}"
            result.append(found("labels_wrong_shape", "failure", text))
    elif kind in ("sigmoid", "probabilities") or task.kind == "binary":
        low, high = float(joined.min()), float(joined.max())
        several = bool((joined == joined.round()).all()) and low >= 0 and len(joined.unique()) > 2
        bad_range = kind in ("sigmoid", "probabilities") and (low < 0 or high > 1) and not several
        text = f"labels go from {number(low)} to {number(high)}, and a loss for two classes expects 0 to 1"
        result.append(found("labels_out_of_range", "failure" if bad_range else "ok", text))
    result += _shape(program, loss)
    labels = task.indices(joined) if task.kind == "classes" else joined.long() if task.kind == "binary" else None
    if labels is not None and labels.ndim == 1 and len(labels) >= 30:
        counts = torch.bincount(labels[(labels >= 0) & (labels < max(2, task.classes))])
        share = float(counts.max() / counts.sum()) if counts.sum() else 0.0
        if share <= IMBALANCED:
            result.append(
                found("labels_imbalanced", "ok", f"the largest class has {100 * share:.0f} % of the labels")
            )
    return result


def y_is_column(y: Tensor, out: Tensor) -> bool:
    """Whether labels stand in a column, where one axis would do."""
    return y.ndim == out.ndim and y.ndim > 1 and y.shape[1] == 1 and out.shape[1] > 1


def _shape(program: Program, loss: Loss | None) -> list[Finding]:
    """Whether the loss spreads labels over outputs of another shape."""
    out, y, name = program.task.pick(program.task.output), program.y, "labels_wrong_shape"
    if loss is None:
        return [missing(name, "loss_fn")]
    if out.shape == y.shape or not isinstance(y, Tensor) or len(y) < 2:
        return [found(name, "ok", "outputs and labels have the same shape")] if out.shape == y.shape else []
    shapes = f"outputs have shape {tuple(out.shape)}, labels {tuple(y.shape)}"
    if out.numel() == y.numel() and program.task.kind != "classes":
        base = loss.random if loss.kind != "probabilities" else loss.random.sigmoid()
        here, reshaped = loss.at(base), loss.at(base, y.reshape(out.shape))
        if not math.isfinite(here) and not math.isfinite(reshaped):
            return []
        if not math.isfinite(here):
            return [found(name, "failure", f"{shapes}, and the loss refuses them: {loss.error}")]
        if not math.isclose(here, reshaped, rel_tol=1e-4) and math.isfinite(reshaped):
            text = f"{shapes}: the loss is {number(here)}, and {number(reshaped)} with labels of the outputs' shape"
            return [found(name, "failure", f"{text}, so it compares each output with every label")]
        return [found(name, "ok", f"{shapes}, and the loss fits them together")]
    fits = y.is_floating_point() and _spread(out.shape, y.shape)
    if fits and loss.kind in ("distance", "unknown") and math.isfinite(loss.at(loss.random)):
        return [found(name, "failure", f"{shapes}: the loss spreads one over the other")]
    return []


def _spread(a: torch.Size, b: torch.Size) -> bool:
    """Whether one shape is broadcast to the other, or both to a larger one."""
    try:
        return a != b and len(torch.broadcast_shapes(a, b)) > 0
    except RuntimeError:
        return False
