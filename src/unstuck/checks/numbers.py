"""Values that are not finite, and what half precision loses."""

from __future__ import annotations

import torch

from unstuck.checks.batches import mapped
from unstuck.checks.find_nan import FAULT_OF, OVERFLOWS, NonFinite, locate
from unstuck.checks.first_pass import FirstPass, look
from unstuck.checks.loop import LOST
from unstuck.checks.program import Program
from unstuck.checks.report import Finding, found, judged
from unstuck.claims import number

HALF = (torch.float16, torch.bfloat16)


def judge(program: Program) -> tuple[list[Finding], NonFinite]:
    """Whether forward, loss and backward are finite in every batch, and where they are not first."""
    result = NonFinite("nowhere")
    for i in range(min(len(program.batches), 4)):
        result = locate(program.at(program.batches[i]))
        if result:
            break
    slug = FAULT_OF.get(result.where)
    findings = [found(name, "ok", "finite") for name in FAULT_OF.values() if name != slug]
    if slug:
        if result.half or (_in_half(program) and not locate(_as_float(program))):
            return [found("half_overflow", "failure", f"{result} {OVERFLOWS}", result.layer)], result
        findings.append(found(slug, "failure", str(result), result.layer))
    return findings, result


def _in_half(program: Program) -> bool:
    return any(p.dtype in HALF for p in program.model.parameters())


def _as_float(program: Program) -> Program:
    batch = mapped(lambda t: t.float() if t.dtype in HALF else t, program.batches[0])
    return program.at(batch, program.bare().float())


def half(program: Program, seen: FirstPass) -> list[Finding]:
    slugs = ("half_overflow", "half_underflow", "updates_rounded")
    if not _in_half(program) and not seen.half:
        return [found(slug, "ok", "there is no half precision") for slug in slugs]
    return [found("half_overflow", "ok", "all is finite"), *_underflow(program, seen), *_rounded(program)]


def _underflow(program: Program, seen: FirstPass) -> list[Finding]:
    if not _in_half(program):
        return []
    try:
        full = look(_as_float(program)).gradients
    except Exception:  # types that the model itself chooses
        return [found("half_underflow", "inconclusive", "the model does not run in float32")]
    shares = {}
    for name, g in seen.gradients.items():
        other = full.get(name)
        if g is not None and other is not None and bool(other.any()):
            shares[name] = float(((g == 0) & (other != 0)).float().sum() / (other != 0).float().sum())
    if not shares:
        return []
    worst = max(shares, key=lambda name: shares[name])
    text = f"{100 * shares[worst]:.0f} % of the gradients of {worst} are 0 and not so in float32; above"
    text += f" {100 * LOST:.0f} % they matter"
    return [judged("half_underflow", shares[worst] > LOST, text, worst.rpartition(".")[0])]


def _rounded(program: Program) -> list[Finding]:
    if not _in_half(program):
        return [found("updates_rounded", "ok", "the weights are in float32")]
    model, optimizer = program.fresh()
    before = {name: p.detach().clone() for name, p in model.named_parameters() if p.dtype in HALF}
    program.seeded()
    program.step(model, optimizer, program.batches[0])
    same = moved = 0
    for name, p in model.named_parameters():
        if name in before and p.grad is not None:
            live = p.grad != 0
            same += int(((p == before[name]) & live).sum())
            moved += int(live.sum())
    share = same / moved if moved else 0.0
    text = f"{number(100 * share, 2)} % of the weights with a gradient are the same after a step; above 50 % most"
    return [judged("updates_rounded", share > 0.5, f"{text} of it is lost")]
