"""A network that is too small for its task, against a wider one on the same data."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstuck.checks.first_pass import FirstPass
from unstuck.checks.labels import above_chance, answers, flat, held_out
from unstuck.checks.learning import train
from unstuck.checks.program import Program
from unstuck.checks.report import Finding, found, judged, missing
from unstuck.checks.training import Trial, affordable
from unstuck.claims import number

NARROW, WELL = 4, 0.8
"""Units of a layer so narrow that the network is compared with a wider one, unless the trial takes this share off the
loss."""


def capacity(program: Program, seen: FirstPass, own: Trial) -> list[Finding]:
    """A network with a very narrow layer, or none, against a perceptron with two layers of 64 on the same data."""
    slug = "capacity_small"
    if own.gone() > WELL:
        return [found(slug, "ok", f"the trial takes {100 * own.gone():.0f} % off the loss")]
    widths = [program.model.get_parameter(layer.parameter).shape[0] for layer in seen.layers[:-1]]
    matrices, straight = sum(p.ndim > 1 for p in program.model.parameters()), _is_straight(program)
    if not straight and (not seen.layers or (not widths and matrices > 1) or (widths and min(widths) > NARROW)):
        return [found(slug, "ok", f"the narrowest layer has {min(widths)} units")] if widths else []
    data = held_out(program)
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
        out = wide(flat(x, x).float())
        loss = F.cross_entropy(out, goal) if outputs > 1 else F.mse_loss(out[:, 0], goal)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        guesses = wide(flat(held_x, x).float())
    wide_score = _score(guesses.argmax(1) if outputs > 1 else guesses[:, 0], target(held_y))
    scores = []
    for lr in (3e-3, 3e-2):
        model, _ = train(program, (x, y), lr, steps)
        scores.append(_score(answers(program, model, held_x), target(held_y)))
    size = "the network is linear" if straight else f"the narrowest layer has {min(widths) if widths else 0} units"
    text = f"{size}; on held-out examples it reaches {number(max(scores))}, a perceptron 64-64 on the same examples"
    text += f" {number(wide_score)} (accuracy, or correlation); 0.15 more is no chance"
    bad = wide_score > max(scores) + 0.15
    return [judged("no_activation" if bad and straight and matrices > 1 else slug, bad, text)]


@torch.no_grad()
def _is_straight(program: Program) -> bool:
    x = program.x
    if not isinstance(x, Tensor) or not x.is_floating_point():
        return False
    model = program.bare().eval()
    zero, one, two = (program.task.pick(program.output(model, k * x)).double() for k in (0.0, 1.0, 2.0))
    return bool((two - 2 * one + zero).abs().max() < 1e-4 * (one - zero).abs().max())


def _score(guesses: Tensor, truth: Tensor) -> float:
    if truth.is_floating_point():
        return above_chance(guesses, truth) / math.sqrt(len(truth))
    return float((guesses == truth).double().mean())
