"""What can be learned: ten examples by heart, the labels from the inputs, the task by a network of this size."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstuck import parts
from unstuck.checks.behaviour import Loss, loss_of
from unstuck.checks.data import IMBALANCED, pooled
from unstuck.checks.first_pass import FirstPass
from unstuck.checks.program import Batch, Program
from unstuck.checks.report import Finding, found, missing
from unstuck.checks.training import Trial, affordable
from unstuck.claims import number

TINY = 10
RATES = (3e-3, 3e-2, 3e-4)
LEFT = 0.5
"""What may be left of the loss at chance after hundreds of steps on ten examples; healthy networks leave less than a tenth."""

SIGNIFICANT = 2.33
"""Standard deviations above chance: one in a hundred sets of labels that have nothing to do with the inputs gets there."""
FEWEST = 50
"""Held-out examples below which a network that has learned something may look like chance."""
RISEN, GAP = 1.5, 0.25
"""Validation loss over its lowest, and training accuracy above that of validation. Every network that goes through few
examples again and again gets some way there."""
NARROW, WELL = 4, 0.8
"""A layer this narrow passes so few numbers on that it is compared with a wider network."""


def first_examples(batch: Batch, n: int) -> Batch:
    """The first `n` examples, where inputs and labels count them along their first axis."""
    tensors = [t for t in parts.tensors(batch) if t.ndim]
    if len({len(t) for t in tensors}) != 1:
        return batch
    return _cut(batch[0], slice(n)), _cut(batch[1], slice(n))


def _cut(value: Any, which: slice | Tensor) -> Any:
    if isinstance(value, Tensor):
        return value[which] if value.ndim else value
    if isinstance(value, dict):
        return {key: _cut(part, which) for key, part in value.items()}
    return type(value)(_cut(part, which) for part in value) if isinstance(value, tuple | list) else value


def train(program: Program, batch: Batch, lr: float, steps: int, stop: float = -math.inf) -> tuple[nn.Module, list[float]]:
    """A copy trained by Adam on one batch, without dropout, until the loss is below `stop` or not finite."""
    model = program.bare()
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    learning = [p for p in model.parameters() if p.requires_grad]
    losses: list[float] = []
    if not learning:
        return model, losses
    optimizer = torch.optim.Adam(learning, lr)
    program.seeded()
    for _ in range(steps):
        loss = program.plain_step(model, optimizer, batch)
        losses.append(loss.detach().float().item())
        if not math.isfinite(losses[-1]) or losses[-1] < stop:
            break
    return model, losses


def overfit(program: Program, n: int, steps: int, rates: Sequence[float], goal: float) -> tuple[float, int, float, float]:
    """The lowest loss on `n` examples, the steps that it took, the learning rate, and the loss at the beginning."""
    batch = first_examples(program.batches[0], n)
    best = (math.inf, 0, rates[0], math.nan)
    for lr in rates:
        _, losses = train(program, batch, lr, steps, goal)
        finite = [value for value in losses if math.isfinite(value)]
        if finite and min(finite) < best[0]:
            best = (min(finite), finite.index(min(finite)) + 1, lr, losses[0])
        if best[0] < goal:
            break
    return best


def judge_overfit(program: Program, loss: Loss | None, steps: int) -> list[Finding]:
    """Whether ten examples can be learned by heart."""
    slug = "cannot_overfit"
    y = next(parts.tensors(program.y), None)
    if y is None:
        return [missing(slug, "labels as tensors")]
    if any(p.dtype in (torch.float16, torch.bfloat16) for p in program.model.parameters()):
        return [found(slug, "inconclusive", "Adam needs more than half precision")]
    sub = first_examples(program.batches[0], TINY)
    if program.task.kind == "unknown" and loss is None:
        return [missing(slug, "loss_fn")]
    chance = _chance(program, sub)
    if not math.isfinite(chance) or chance <= 0:
        return [found(slug, "inconclusive", "the loss of knowing nothing is not known")]
    lowest, taken, lr, _ = overfit(program, TINY, 2 * steps, RATES, 0.1 * chance)
    text = f"{TINY} examples: loss {number(lowest)} after {taken} steps of Adam at {lr:g}, {number(chance)} is that of chance"
    return [found(slug, "failure" if lowest > LEFT * chance else "ok", f"{text}; at most half of it may be left")]


def _chance(program: Program, batch: Batch) -> float:
    """The loss of a network that knows nothing, on a part of the examples."""
    one = program.at(batch)
    loss = loss_of(one)
    if loss is None and one.given_loss is None:
        task = one.task
        out = task.pick(task.output)
        y = batch[1]
        flat = y.float().mean(0).expand_as(y).reshape(out.shape) if task.kind == "numbers" and y.numel() == out.numel() else out * 0
        return float(task.loss(flat, y))
    return math.nan if loss is None else loss.chance


# --- imbalance ---


def imbalance(program: Program, own: Trial) -> list[Finding]:
    """Nearly all labels are of one class, and the trial's network finds the others in less than half of the cases."""
    slug, task = "labels_imbalanced", program.task
    y = pooled([y for _, y in program.batches])
    if y is None or task.kind not in ("classes", "binary"):
        return []
    labels = task.indices(y) if task.kind == "classes" else y.reshape(-1).long() if y.numel() == len(y) else None
    if labels is None or labels.ndim != 1 or len(labels) < 30 or int(labels.min()) < 0:
        return []
    counts = torch.bincount(labels)
    share, largest = float(counts.max() / counts.sum()), int(counts.argmax())
    if share <= IMBALANCED or share == 1:
        return []
    right = total = 0
    for x, part in program.batches:
        _, output = program.measured(own.model, (x, part), training=False)
        rare = (task.indices(part) if task.kind == "classes" else part.reshape(-1).long()) != largest
        out = task.pick(output)
        named = out.argmax(task.axis) if task.kind == "classes" else (out.reshape(-1) > 0).long()
        right += int((named[rare] != largest).sum())
        total += int(rare.sum())
    recall = right / max(total, 1)
    text = f"{100 * share:.1f} % of the labels are {largest}; after the trial {100 * recall:.0f} % of the others are told from it"
    return [found(slug, "failure" if recall < 0.5 else "ok", f"{text}, at least half ought to be")]


# --- labels that have nothing to do with the inputs ---


def shuffled(program: Program, seen: FirstPass, own: Trial) -> list[Finding]:
    """Whether anything learns from the given pairs what holds for others: the trial, neighbours, a line, the network."""
    slug = "labels_shuffled"
    data = _held_out(program)
    if isinstance(data, str):
        return [missing(slug, "validation", data)]
    (x, y), (held_x, held_y), target = data
    tried, best = [], 0.0
    guesses: list[tuple[str, Callable]] = [("nearest neighbours", _neighbours), ("a linear model", _linear)]
    if program.validation:  # otherwise it has seen what is held out
        guesses.append(("the network of the trial", lambda *_: _answers(program, own.model, held_x)))
    for name, guess in guesses:
        z = _above_chance(guess(x, target(y), held_x), target(held_y))
        tried.append(f"{name} {number(z, 2)}")
        best = max(best, z)
        if z > SIGNIFICANT:
            return [found(slug, "ok", f"{name} does better than chance on held-out examples, by {number(z, 2)} standard deviations")]
    z, learned = best, 0.0
    x, y = x[:300], y[:300]  # fewer are learned by heart in fewer steps
    steps = affordable(program, seen, 2 * program.steps, len(x))
    for lr in RATES[:2]:
        model, _ = train(program, (x, y), lr, steps)
        z = max(z, _above_chance(_answers(program, model, held_x), target(held_y)))
        learned = max(learned, _above_chance(_answers(program, model, x), target(y)))
    text = f"standard deviations above chance on {len(held_y)} held-out examples: {', '.join(tried)}, the network trained longer"
    text += f" {number(z, 2)}, and {number(learned, 2)} on the examples that it was trained on; {SIGNIFICANT:g} is one in a hundred"
    # per example: what was learned by heart ought to hold to a quarter for others
    faint = z / math.sqrt(len(held_y)) < 0.25 * learned / math.sqrt(len(y))
    bad = z < SIGNIFICANT and learned > 2 * SIGNIFICANT and faint
    return [found(slug, "failure" if bad else "inconclusive" if z < SIGNIFICANT else "ok", text)]


def _held_out(program: Program) -> tuple[Batch, Batch, Callable] | str:
    """Examples to learn from and others to be judged on; or what is missing."""
    x, y = pooled([x for x, _ in program.batches]), pooled([y for _, y in program.batches])
    single = isinstance(program.x, Tensor)
    task = program.task
    if x is None or y is None or not single or task.kind == "unknown" or len(x) != len(y):
        return "examples with one input and one label each"
    if task.kind == "classes" and task.indices(y).ndim != 1 or task.kind != "classes" and y.numel() != len(y):
        return "one label for each example"
    if task.kind == "classes":
        target = task.indices
    else:
        def target(values: Tensor) -> Tensor:
            return values.reshape(-1).float()

    x, y = x[:600], y[:600]
    if program.validation:
        held = pooled([x for x, _ in program.validation]), pooled([y for _, y in program.validation])
        if held[0] is None or held[1] is None or len(held[0]) != len(held[1]):
            return "validation data like the training data"
        held_x, held_y = held[0][:600], held[1][:600]
    else:
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(program.seed))
        cut = 2 * len(x) // 3
        (held_x, held_y), (x, y) = (x[order[cut:]], y[order[cut:]]), (x[order[:cut]], y[order[:cut]])
    if len(held_y) < FEWEST or len(y) < 2 * FEWEST:
        return f"at least {3 * FEWEST} examples in all"
    return (x, y), (held_x, held_y), target


def _above_chance(guesses: Tensor, truth: Tensor) -> float:
    """How many standard deviations guesses are better than if they had nothing to do with the truth.

    For classes: right answers against the sum over classes of the product of both shares; for numbers: r sqrt(n).
    """
    n = len(truth)
    if truth.is_floating_point():
        both = torch.stack([guesses.double().reshape(-1), truth.double()])
        if not bool(both.isfinite().all()) or bool((both.std(1) == 0).any()):
            return 0.0
        return float(torch.corrcoef(both)[0, 1]) * math.sqrt(n)
    k = int(max(guesses.max(), truth.max())) + 1
    shares = [torch.bincount(part.clamp(min=0), minlength=k).double() / n for part in (guesses, truth)]
    chance = float((shares[0] * shares[1]).sum())
    right = float((guesses == truth).double().mean())
    return (right - chance) / math.sqrt(max(chance * (1 - chance), 1e-12) / n) if 0 < chance < 1 else 0.0


def _flat(x: Tensor, like: Tensor) -> Tensor:
    mean, std = like.double().flatten(1).mean(0), like.double().flatten(1).std(0, correction=0)
    return (x.double().flatten(1) - mean) / std.where(std > 1e-8, torch.inf)


def _neighbours(x: Tensor, y: Tensor, held: Tensor, k: int = 5) -> Tensor:
    if x.is_floating_point():
        near = torch.cdist(_flat(held, x), _flat(x, x)).topk(k, largest=False).indices
    else:
        near = torch.cdist(held.double().flatten(1), x.double().flatten(1), p=0.0).topk(k, largest=False).indices
    return y[near].mean(1) if y.is_floating_point() else y[near].mode(1).values


def _linear(x: Tensor, y: Tensor, held: Tensor) -> Tensor:
    """Ridge regression; for classes on each of them, from 0 to 1."""
    a, b = _flat(x, x), _flat(held, x)
    goal = y.double()[:, None] if y.is_floating_point() else F.one_hot(y.clamp(min=0)).double()
    kernel = a @ a.T + 1.0  # as many equations as examples, however many features; + 1 is the bias
    weights = torch.linalg.solve(kernel + len(a) * 0.1 * torch.eye(len(a), dtype=a.dtype), goal)
    made = (b @ a.T + 1.0) @ weights
    return made[:, 0] if y.is_floating_point() else made.argmax(1)


def _answers(program: Program, model: nn.Module, x: Tensor) -> Tensor:
    """What a trained copy says: class numbers, or numbers."""
    model.eval()
    with torch.no_grad():
        out = program.task.pick(program.output(model, x))
    model.train()
    if program.task.kind == "classes":
        return out.argmax(program.task.axis)
    return out.reshape(-1).float()


# --- capacity and overfitting ---


def capacity(program: Program, seen: FirstPass, own: Trial) -> list[Finding]:
    """A network with a very narrow layer, or none, against a perceptron with two layers of 64 on the same data."""
    slug = "capacity_small"
    widths = [program.model.get_parameter(layer.parameter).shape[0] for layer in seen.layers[:-1]]
    data = _held_out(program)
    matrices = sum(p.ndim > 1 for p in program.model.parameters())
    if own.gone() > WELL:
        return [found(slug, "ok", f"the trial takes {100 * own.gone():.0f} % off the loss")]
    straight = _is_straight(program)
    if not straight and (not seen.layers or (not widths and matrices > 1) or (widths and min(widths) > NARROW)):
        return [found(slug, "ok", f"the narrowest layer has {min(widths)} units")] if widths else []
    if isinstance(data, str) or not data[0][0].is_floating_point():
        return [missing(slug, "validation", data if isinstance(data, str) else "numbers as inputs")]
    (x, y), (held_x, held_y), target = data
    x, y = x[:300], y[:300]
    outputs = program.task.classes if program.task.kind == "classes" else 1
    torch.manual_seed(program.seed)
    wide = nn.Sequential(nn.Linear(x[0].numel(), 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, outputs))
    optimizer = torch.optim.Adam(wide.parameters(), 3e-3)
    goal = target(y)
    steps = affordable(program, seen, 3 * program.steps, len(x))
    for _ in range(steps):
        out = wide(_flat(x, x).float())
        loss = F.cross_entropy(out, goal) if outputs > 1 else F.mse_loss(out[:, 0], goal)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        guesses = wide(_flat(held_x, x).float())
    wide_score = _score(guesses.argmax(1) if outputs > 1 else guesses[:, 0], target(held_y))
    scores = []
    for lr in (3e-3, 3e-2):
        model, _ = train(program, (x, y), lr, steps)
        scores.append(_score(_answers(program, model, held_x), target(held_y)))
    size = "the network is linear" if straight else f"the narrowest layer has {min(widths) if widths else 0} units"
    text = f"{size}; on held-out examples it reaches {number(max(scores))}, a perceptron"
    text += f" 64-64 on the same examples {number(wide_score)} (accuracy, or correlation)"
    return [found(slug, "failure" if wide_score > max(scores) + 0.15 else "ok", f"{text}; 0.15 more is no chance")]


@torch.no_grad()
def _is_straight(program: Program) -> bool:
    """Whether outputs are a linear function of the inputs, and a constant."""
    x = program.x
    if not isinstance(x, Tensor) or not x.is_floating_point():
        return False
    model = program.bare().eval()
    zero, one, two = (program.task.pick(program.output(model, k * x)).double() for k in (0.0, 1.0, 2.0))
    return bool((two - 2 * one + zero).abs().max() < 1e-4 * (one - zero).abs().max())


def _score(guesses: Tensor, truth: Tensor) -> float:
    if truth.is_floating_point():
        return _above_chance(guesses, truth) / math.sqrt(len(truth))
    return float((guesses == truth).double().mean())


def overfitting(program: Program, own: Trial) -> list[Finding]:
    """The validation loss has passed its lowest value while the training loss went on falling."""
    slug = "overfitting"
    if not program.validation:
        return [missing(slug, "validation")]
    if not program.whole:
        return [missing(slug, "all batches of the training data", "training on one again and again always overfits")]
    curve = [value for value in own.validation if math.isfinite(value)]
    if len(curve) < 3:
        return [found(slug, "inconclusive", "the trial gave no validation loss")]
    lowest, last, trained = min(curve), curve[-1], own.end
    text = f"validation loss {number(lowest)} at best, {number(last)} at the end; training loss {number(trained)}"
    bad = last > RISEN * lowest and trained < 0.3 * last and own.gone() > 0.5
    x, y = program.validation[0]
    if bad and program.task.kind in ("classes", "binary"):
        _, output = program.measured(own.model, (x, y), training=False)
        there = program.task.accuracy(output, y)
        here = program.task.accuracy(program.measured(own.model, program.batches[0], training=False)[1], program.y)
        text += f"; accuracy {number(there)} there, {number(here)} in training"
        bad = here - there > GAP
    return [found(slug, "failure" if bad else "ok", f"{text}; a rise to {RISEN:g} times the lowest is no noise")]
