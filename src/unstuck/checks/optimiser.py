"""Settings of the optimiser: momentum, betas, eps, clipping and weight decay, judged by a trial."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unstuck.checks.program import Program
from unstuck.checks.report import Finding, found, judged, missing
from unstuck.checks.training import LEARNED, Trial, run, scale_free
from unstuck.claims import number


def settings(program: Program, own: Trial) -> list[Finding]:
    """Momentum and betas against their useful range, and Adam's eps against the gradients."""
    slug = "momentum_out_of_range"
    if program.optimizer is None:
        return [missing(slug, "optimizer"), missing("adam_eps", "optimizer")]
    bad, groups = "", program.optimizer.param_groups
    for group in groups:
        momentum, betas = group.get("momentum", 0), group.get("betas")
        if isinstance(momentum, int | float) and not 0 <= momentum < 0.995:
            bad = f"momentum {momentum:g} averages over {1 / max(1 - momentum, 1e-9):.0f} steps"
        if betas is not None:
            first, second = (float(beta) for beta in betas)
            if not (first < 0.99 and 0.5 <= second < 1 and first <= math.sqrt(second)):
                bad = f"betas ({first:g}, {second:g}) with beta1 above sqrt(beta2), 0.99, or beta2 below 0.5"
    text = f"{bad}; 0.9 and (0.9, 0.999) are usual, and Adam need not converge with beta1 > sqrt(beta2)"
    text = f"{text} (Reddi et al. 2018)" if bad else "momentum and betas are usual"
    result = [judged(slug, bool(bad), text)]
    eps = max((float(g["eps"]) for g in groups if "betas" in g and "eps" in g), default=0.0)
    lost = {str(p.dtype).removeprefix("torch.") for g in groups for p in g["params"] if _is_zero(g.get("eps"), p)}
    if lost and not math.isfinite(own.end):
        text = (
            f"eps is {number(float(groups[0]['eps']))}, which is 0 in {', '.join(sorted(lost))}; the trial's numbers"
        )
        text += " are not finite after"
        result.append(found("eps_is_zero", "failure", f"{text} {len(own.losses)} steps at most"))
    elif eps:
        text = f"eps is {number(eps)}, half of the gradients are below {number(own.gradient)}"
        small = 0 < own.gradient < eps / 10
        result.append(judged("adam_eps", small and own.gone() < LEARNED, text))
    return result


def _is_zero(eps: float | None, p: Tensor) -> bool:
    """Whether an eps that is meant to keep from a division by 0 is 0 among the numbers of a parameter."""
    return bool(eps) and not float(torch.tensor(float(eps or 0)).to(p.dtype))


def clipping(program: Program, own: Trial) -> list[Finding]:
    if program.train_step is None:
        return [missing("clipping_always", "train_step")]
    if not own.clipped:
        return []
    ratios = sorted(own.clipped)
    middle, often = ratios[len(ratios) // 2], sum(r < 0.999 for r in ratios) / len(ratios)
    if ratios[-1] - ratios[0] < 1e-3 * ratios[-1] and len(ratios) > 2:  # a scaled loss, whose gradient is scaled back
        often = 0.0
    text = f"{100 * often:.0f} % of {len(ratios)} gradients were clipped, the middle one to {number(middle, 2)} of"
    bad, text = often > 0.9 and middle < 0.1, f"{text} its norm"
    eps = max(float(group.get("eps", 0.0)) for group in own.optimizer.param_groups)
    if bad and scale_free(own.optimizer) and not own.gradient < eps:
        text += "; this optimiser divides by the gradient's own size, and half of its entries are above"
        return [found("clipping_always", "ok", f"{text} {number(own.gradient)}, eps {number(eps)}")]
    return [judged("clipping_always", bad, f"{text}; to less than 0.1 it sets the step alone")]


def decay(program: Program, own: Trial, steps: int) -> list[Finding]:
    slug, optimizer = "weight_decay_strong", program.optimizer
    if optimizer is None:
        return [missing(slug, "optimizer")]
    strength = max((float(g.get("weight_decay", 0)) for g in optimizer.param_groups), default=0.0)
    if strength == 0:
        return [found(slug, "ok", "there is none")]
    free = run(program, steps, weight_decay=0.0)
    shrunk = own.shrunk / free.shrunk if free.shrunk else 1.0
    text = f"with decay {strength:g} weights end at {number(shrunk, 2)} of their size without it, the loss at"
    text += f" {number(own.end)} instead of {number(free.end)}, after {len(own.losses)} steps"
    worse = own.gone() < free.gone() - 0.2 and math.isfinite(free.end)
    return [judged(slug, shrunk < 0.8 and worse, text)]
