"""What is wrong with the labels as they are handed over: their range, their shape, and how they are spread."""

from __future__ import annotations

import math
from itertools import groupby

import torch
from torch import Tensor

from unstuck.checks.behaviour import FAR, Loss, unjudged
from unstuck.checks.program import Program
from unstuck.checks.report import Finding, found, missing
from unstuck.checks.task import IGNORED
from unstuck.claims import number

IMBALANCED = 0.9
"""A share of one class at which naming it always has an error below that of many trained networks."""

ENOUGH, SURE = 200, 1000
"""Labels of several batches, and of a single one, that are not all of one class by chance: of 1 % others, 200 hold
none in one draw of seven, and 1,000 in one of 20,000."""

PURE = 0.5
"""How much nearer than the data each batch is to one class: of well-mixed batches 0, of sorted ones 1 but for those
in which one class ends and the next begins."""
LEAST_LABELS, LEAST_BATCHES = 8, 3


def look_at_labels(program: Program, loss: Loss | None) -> list[Finding]:
    """Labels that are no classes of the network, have another shape than its outputs, or are nearly all the same."""
    task, y = program.task, program.labels
    if y is None or (task.kind == "unknown" and loss is None):
        return [missing("labels_out_of_range", "labels as tensors")]
    result = [*_range(program, y, loss), *_shape(program, loss)]
    return [*result, *(_alike(program, y, loss) or _spread(program, y))]


def _alike(program: Program, y: Tensor, loss: Loss | None) -> list[Finding]:
    task, counted = program.task, y[y != IGNORED]
    constant = task.kind != "unknown" and len(counted) > 0 and bool((counted == counted[0]).all())
    if not constant or not _matter(program, loss):
        return []
    slug, text = "labels_imbalanced", f"all {len(y)} labels are {number(float(counted[0]))}"
    if len(y) < (ENOUGH if program.whole else SURE):
        return [missing(slug, "all batches of the training data", f"{text} here")]
    return [found("labels_alike", "failure", f"{text}: there is nothing to be told apart")]


def _matter(program: Program, loss: Loss | None) -> bool:
    """Whether other labels have another loss: a loss may need none, and be handed some all the same."""
    if loss is None:
        return program.given_loss is None and program.train_step is None
    here, there = loss.at(loss.squashed), loss.at(loss.squashed, program.task.others(loss.y))
    return math.isfinite(here) and math.isfinite(there) and not math.isclose(here, there, rel_tol=1e-4)


def _spread(program: Program, y: Tensor) -> list[Finding]:
    slug, labels = "labels_imbalanced", _classes(program, y)
    if labels is None or len(labels) < 30:
        return []
    share, pure = _share(labels), _pure(program, labels)
    if share > IMBALANCED:
        return []
    if pure is None:
        return [found(slug, "ok", f"the largest class has {100 * share:.0f} % of the labels")]
    text = f"in a batch the largest class has {100 * pure:.0f} % of the labels on average, in all of them"
    text += f" {100 * share:.0f} %, and the same class leads several batches in a row"
    return [found("labels_sorted", "failure", text)]


def _classes(program: Program, y: Tensor) -> Tensor | None:
    """The class of each example, without those that do not count; None where it has none, or several."""
    task = program.task
    if task.kind == "binary" and y.numel() == len(y):
        return y.reshape(-1).long()
    index = task.indices(y) if task.kind == "classes" else None
    return index[(index >= 0) & (index < task.classes)] if index is not None and index.ndim == 1 else None


def _share(labels: Tensor) -> float:
    return float(torch.bincount(labels).max() / len(labels)) if len(labels) else 0.0


def _pure(program: Program, labels: Tensor) -> float | None:
    """The average share of the largest class in a batch, where batches are of one class, and classes come in runs."""
    parts = [_classes(program, y) for _, y in program.batches]
    each = [part for part in parts if part is not None and len(part) >= LEAST_LABELS]
    if len(each) < LEAST_BATCHES or len(each) < len(parts) - 1:  # the last one may be small
        return None

    def alike(part: Tensor) -> float:
        return float((torch.bincount(part) / len(part)).square().sum())

    within, chance = sum(map(alike, each)) / len(each), alike(labels)
    leading = [int(torch.bincount(part).argmax()) for part in each]
    runs = sum(1 for _ in groupby(leading))
    in_runs = 1 < runs <= max(len(set(leading)), len(leading) // 2)  # batches of one class each may take turns
    if not in_runs or within - chance <= PURE * (1 - chance):
        return None
    return sum(map(_share, each)) / len(each)


def _range(program: Program, y: Tensor, loss: Loss | None) -> list[Finding]:
    task, slug, kind = program.task, "labels_out_of_range", "unknown" if loss is None else loss.kind
    if task.kind == "classes" and not y.is_floating_point():
        index, out = task.indices(y), task.pick(task.output)
        counted = index[index != IGNORED] if bool((index != IGNORED).any()) else index
        low, high = int(counted.min()), int(counted.max())
        bad = bool(((index != IGNORED) & ((index < 0) | (index >= task.classes))).any())
        bad = bad and not (loss is not None and _accepted(loss, low, high))
        text = f"labels go from {low} to {high}, and the network has {task.classes} outputs"
        values = counted.unique()
        gaps = len(values) <= task.classes <= high - low
        cure = {"cure": _map(values)} if bad and gaps else {}
        result = [found(slug, "failure" if bad else "ok", f"{text}: 0 to {task.classes - 1} are allowed", **cure)]
        column = program.y.ndim == out.ndim > 1 and program.y.shape[1] == 1 < out.shape[1]
        if column and loss is not None and not math.isfinite(loss.at(loss.random)):
            text = f"labels have shape {tuple(program.y.shape)} beside outputs {tuple(out.shape)}: {loss.error}"
            result.append(found("labels_wrong_shape", "failure", text))
        return result
    if kind in ("sigmoid", "probabilities") or task.kind == "binary":
        least, most, values = float(y.min()), float(y.max()), y.unique()
        several = bool((y == y.round()).all()) and least >= 0 and len(values) > 2
        bad = kind in ("sigmoid", "probabilities") and (least < 0 or most > 1) and not several
        text = f"labels go from {number(least)} to {number(most)}, and a loss for two classes expects 0 to 1"
        cure = {"cure": _map(values)} if bad and len(values) == 2 else {}
        return [found(slug, "failure" if bad else "ok", text, **cure)]
    return []


def _map(values: Tensor) -> str:
    names = [number(float(value)) for value in values]
    if len(values) == 2 and values[0] == 0:
        return f"the labels are 0 and {names[1]}: divide them by {names[1]}"
    listed = ", ".join(names) if len(names) < 8 else f"{', '.join(names[:3])} … {names[-1]}"
    return f"the labels have {len(values)} values, {listed}: map them to 0 to {len(values) - 1}"


def _accepted(loss: Loss, low: int, high: int) -> bool:
    """Whether the loss takes labels that are no class of the outputs for something else: for places that do not
    count, or for names that are only compared. Numbers below 0 may count from the end."""
    y, classes = loss.y.contiguous().clone(), loss.task.classes
    if y.ndim == loss.random.ndim and y.ndim > 1 and y.shape[1] != 1:
        return False
    flat = y.view(-1)
    flat[0], flat[-1] = low, high
    here = loss.at(loss.squashed, y)
    from_end = low < 0 and math.isclose(
        here, loss.at(loss.squashed, torch.where(y < 0, y + classes, y)), rel_tol=1e-6
    )
    return math.isfinite(here) and not from_end


def _shape(program: Program, loss: Loss | None) -> list[Finding]:
    """Whether the loss spreads labels over outputs of another shape.

    One that does so compares each output with every label, and is the same when the labels are handed out in another
    order. A loss that takes outputs of this shape (squeezed, quantiles, mixtures) is not, nor one that couples the
    examples on purpose.
    """
    out, y, name = program.task.pick(program.task.output), program.y, "labels_wrong_shape"
    if loss is None:
        return [unjudged(program, name)]
    if out.shape == y.shape:
        return [found(name, "ok", "outputs and labels have the same shape")]
    if y.ndim < 1 or len(y) < 2:
        return []
    shapes = f"outputs have shape {tuple(out.shape)}, labels {tuple(y.shape)}"
    if program.task.kind == "classes":
        return _viewed(loss, shapes)
    base, fits = loss.random if loss.kind != "probabilities" else loss.random.sigmoid(), out.numel() == y.numel()
    here, reshaped = loss.at(base), loss.at(base, y.reshape(out.shape)) if fits else math.nan
    if not math.isfinite(here):
        text = f"{shapes}, and the loss refuses them: {loss.error}"
        return [found(name, "failure", text)] if math.isfinite(reshaped) else []
    orders = [turned for k in (1, len(y) // 2, len(y) // 3) if not torch.equal(turned := y.roll(k, 0), y)]
    if not _broadcast(out.shape, y.shape) or not orders or not _matter(program, loss):
        return []
    if fits:
        anyhow = all(math.isclose(loss.at(base, turned), here, rel_tol=1e-5) for turned in orders)
        if anyhow and not math.isclose(loss.at(base, orders[0].reshape(out.shape)), reshaped, rel_tol=1e-5):
            text = f"{shapes}: the loss is {number(here)} in whatever order the labels are handed out, and"
            text += (
                f" {number(reshaped)} with labels of the outputs' shape, so it compares each output with every label"
            )
            return [found(name, "failure", text)]
    elif out.ndim == y.ndim and any(
        a == 1 < b and math.isclose(loss.at(base, y.roll(1, axis)), here, rel_tol=1e-5)
        for axis, (a, b) in enumerate(zip(out.shape, y.shape, strict=True))
    ):
        return [found(name, "warning", f"{shapes}: the loss compares one output with several labels alike")]
    return [found(name, "ok", f"{shapes}, and the loss fits them together")]


def _viewed(loss: Loss, shapes: str) -> list[Finding]:
    """Whether each label meets its outputs only where the axis of the classes stands at another place in memory."""
    right = loss.task.right(loss.y, FAR)
    if right is None or right.ndim < 3:
        return []
    axis = loss.task.axis
    moved = right.movedim(axis, -1 if axis == 1 else 1).reshape(right.shape)
    if torch.equal(moved, right) or not (loss.at(right) > 0.5 * loss.chance and loss.at(moved) < 0.1 * loss.chance):
        return []
    text = f"{shapes}; outputs that are sure and right have a loss of {number(loss.at(right))}, and of"
    text += f" {number(loss.at(moved))} if their numbers are laid out as if the classes stood on another axis"
    return [found("labels_elsewhere", "failure", text)]


def _broadcast(a: torch.Size, b: torch.Size) -> bool:
    try:
        return len(torch.broadcast_shapes(a, b)) > 0
    except RuntimeError:
        return False
