"""Labels that are nearly all the same, or have nothing to do with the inputs: found by learning from them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstuck.checks.batches import Batch, pooled
from unstuck.checks.behaviour import FAR, Loss
from unstuck.checks.first_pass import FirstPass
from unstuck.checks.learning import RATES, train
from unstuck.checks.program import Program
from unstuck.checks.report import Finding, found, missing
from unstuck.checks.targets import IMBALANCED
from unstuck.checks.training import Trial, affordable
from unstuck.claims import number

SIGNIFICANT = 2.33
"""Standard deviations above chance: one in a hundred sets of labels that have nothing to do with the inputs gets
there."""

FEWEST = 50
"""Held-out examples below which a network that has learned something may look like chance."""


RENAMED = 0.5
"""Of what is to be known of the held-out labels: more than half is told, under other names."""

ONE_CLASS = 0.1
"""Of the rare examples: where fewer are told from the largest class, it is the only one that is named."""

UPSIDE_DOWN = 0.5
"""Weights of a loss: of a rare class over that of the largest one, below which they make the rarity worse."""


def imbalance(program: Program, loss: Loss | None, own: Trial) -> list[Finding]:
    """Nearly all labels are of one class, and the trial's network finds the others in less than half of the cases."""
    slug, task = "labels_imbalanced", program.task
    y = program.labels
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
    for pair in program.batches:
        out = task.pick(program.measured(own.model, pair, training=False)[1])
        named = out.argmax(task.axis) if task.kind == "classes" else (out.reshape(-1) > 0).long()
        rare = (task.indices(pair[1]) if task.kind == "classes" else pair[1].reshape(-1).long()) != largest
        right += int((named[rare] != largest).sum())
        total += int(rare.sum())
    recall = right / max(total, 1)
    text = f"{100 * share:.1f} % of the labels are {largest}; after the trial {100 * recall:.0f} % of the others"
    text += " are told from it, at least half ought to be"
    rare = int(counts.topk(2).indices[1])
    weight = _weight(loss, rare, largest) if loss is not None else 1.0
    if recall < 0.5 and weight < UPSIDE_DOWN:
        text += f"; an error on one of them costs {number(weight, 2)} times as much as on one of class {largest}"
        return [found("rare_weighted_down", "failure", text)]
    text += "; it is named, and more steps may do the rest" if ONE_CLASS <= recall < 0.5 else ""
    return [found(slug, "failure" if recall < ONE_CLASS else "inconclusive" if recall < 0.5 else "ok", text)]


def _weight(loss: Loss, rare: int, largest: int) -> float:
    """What a sure error on an example of a rare class costs, over that on one of the largest; 1: not known."""
    y = loss.y.contiguous().clone()
    if y.numel() != len(y) or len(y) < 2:
        return 1.0
    y.fill_(largest).view(-1)[: len(y) // 2] = rare
    right, axis = loss.task.right(y, FAR), loss.task.axis
    if right is None:
        return 1.0
    wrong = right.roll(1, axis) if loss.task.kind == "classes" else -right
    half, best = len(y) // 2, loss.at(right, y)
    costs = [loss.at(torch.cat([w[:half], r[half:]]), y) - best for w, r in ((wrong, right), (right, wrong))]
    counts = half, len(y) - half
    there, here = (cost / count for cost, count in zip(costs, counts, strict=True))
    return there / here if math.isfinite(there) and math.isfinite(here) and here > 0 else 1.0


def shuffled(program: Program, seen: FirstPass, own: Trial) -> list[Finding]:
    """Whether anything learns from the given pairs what holds for others: the trial, neighbours, a line, the
    network."""
    slug = "labels_shuffled"
    data = held_out(program)
    if isinstance(data, str):
        return [missing(slug, "validation", data)]
    (x, y), (held_x, held_y), target = data
    tried, best, guessing = [], 0.0, SIMPLE
    if program.validation:  # otherwise it has seen what is held out
        guessing = [*SIMPLE, ("the network of the trial", lambda *_: answers(program, own.model, held_x))]
    for name, guess in guessing:
        guesses = guess(x, target(y), held_x)
        z = above_chance(guesses, target(held_y))
        if program.validation and renamed(guesses, target(held_y)) > RENAMED:
            text = f"{name}: on the validation examples most guesses that are wrong are right if the classes get"
            return [found("labels_renamed", "failure", f"{text} other names, or the numbers the other sign")]
        tried.append(f"{name} {number(z, 2)}")
        best = max(best, z)
        if z > SIGNIFICANT:
            text = f"{name} does better than chance on held-out examples, by {number(z, 2)} standard deviations"
            return [found(slug, "ok", text)]
    z, learned = best, 0.0
    x, y = x[:300], y[:300]  # fewer are learned by heart in fewer steps
    steps = affordable(program, seen, 2 * program.steps, len(x))
    for lr in RATES[:2]:
        model, _ = train(program, (x, y), lr, steps)
        z = max(z, above_chance(answers(program, model, held_x), target(held_y)))
        learned = max(learned, above_chance(answers(program, model, x), target(y)))
    text = f"standard deviations above chance on {len(held_y)} held-out examples: {', '.join(tried)}, the network"
    text += f" trained longer {number(z, 2)}, and {number(learned, 2)} on the examples that it was trained on;"
    text += f" {SIGNIFICANT:g} is one in a hundred"
    # per example: what was learned by heart ought to hold to a quarter for others
    faint = z / math.sqrt(len(held_y)) < 0.25 * learned / math.sqrt(len(y))
    bad = z < SIGNIFICANT and learned > 2 * SIGNIFICANT and faint
    if bad and program.validation and (told := _among_themselves(program)):
        return [found("validation_differs", "failure", f"{text}; {told}")]
    return [found(slug, "failure" if bad else "inconclusive" if z < SIGNIFICANT else "ok", text)]


def renamed(guesses: Tensor, truth: Tensor) -> float:
    """What guesses tell of the truth under other names, and not under their own: 1 is all that they leave untold.

    For classes each guess means the class that is commonest with it on every second example, and the others show how
    often that is right; for numbers: -r.
    """
    if truth.is_floating_point():
        return -above_chance(guesses, truth) / math.sqrt(len(truth))
    truth, meant = truth.clamp(min=0), guesses[1::2].clone()
    for guess in guesses[::2].unique():
        meant[guesses[1::2] == guess] = torch.bincount(truth[::2][guesses[::2] == guess]).argmax()
    kept = truth[1::2]
    right, plain = ((told == kept).double().mean().item() for told in (meant, guesses[1::2]))
    base = max(plain, int(torch.bincount(truth).max()) / len(truth))
    return (right - base) / (1 - base) if base < 1 else 0.0


def _among_themselves(program: Program) -> str:
    """What is to be said where the training examples tell each other, and not those of the validation."""
    own = program.like(*program.pair)
    own.validation = []
    data = held_out(own)
    if isinstance(data, str):
        return ""
    (x, y), (held_x, held_y), target = data
    for name, guess in SIMPLE:
        z = above_chance(guess(x, target(y), held_x), target(held_y))
        if z > SIGNIFICANT:
            return f"on training examples that are held out {name} is {number(z, 2)} above it"
    return ""


def held_out(program: Program) -> tuple[Batch, Batch, Callable] | str:
    """Examples to learn from and others to be judged on; or what is missing."""
    x, y, task = program.inputs, program.labels, program.task
    single = isinstance(program.x, Tensor)
    if x is None or y is None or not single or task.kind == "unknown" or len(x) != len(y):
        return "examples with one input and one label each"
    if (task.kind == "classes" and task.indices(y).ndim != 1) or (task.kind != "classes" and y.numel() != len(y)):
        return "one label for each example"

    def target(values: Tensor) -> Tensor:
        return task.indices(values) if task.kind == "classes" else values.reshape(-1).float()

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


def above_chance(guesses: Tensor, truth: Tensor) -> float:
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


def flat(x: Tensor, like: Tensor) -> Tensor:
    mean, std = like.double().flatten(1).mean(0), like.double().flatten(1).std(0, correction=0)
    return (x.double().flatten(1) - mean) / std.where(std > 1e-8, torch.inf)


def _neighbours(x: Tensor, y: Tensor, held: Tensor, k: int = 5) -> Tensor:
    if x.is_floating_point():
        near = torch.cdist(flat(held, x), flat(x, x)).topk(k, largest=False).indices
    else:
        near = torch.cdist(held.double().flatten(1), x.double().flatten(1), p=0.0).topk(k, largest=False).indices
    return y[near].mean(1) if y.is_floating_point() else y[near].mode(1).values


def _linear(x: Tensor, y: Tensor, held: Tensor) -> Tensor:
    a, b = flat(x, x), flat(held, x)
    goal = y.double()[:, None] if y.is_floating_point() else F.one_hot(y.clamp(min=0)).double()
    kernel = a @ a.T + 1.0  # as many equations as examples, however many features; + 1 is the bias
    weights = torch.linalg.solve(kernel + len(a) * 0.1 * torch.eye(len(a), dtype=a.dtype), goal)
    made = (b @ a.T + 1.0) @ weights
    return made[:, 0] if y.is_floating_point() else made.argmax(1)


SIMPLE: list[tuple[str, Callable]] = [("nearest neighbours", _neighbours), ("a linear model", _linear)]
"""What guesses from other examples, with no training of its own."""


def answers(program: Program, model: nn.Module, x: Tensor) -> Tensor:
    model.eval()
    with torch.no_grad():
        out = program.task.pick(program.output(model, x))
    model.train()
    if program.task.kind == "classes":
        return out.argmax(program.task.axis)
    return out.reshape(-1).float()
