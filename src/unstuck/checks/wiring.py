"""Which parameters learn: those in the optimiser, on the graph, and not frozen."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.parameter import Parameter

from unstuck import graph, parts
from unstuck.checks.first_pass import FirstPass
from unstuck.checks.program import Program
from unstuck.checks.report import Finding, found, missing
from unstuck.claims import number

SLUGS = ("parameters_frozen", "parameters_detached", "parameters_unused", "parameters_missing")

STAIRS = {"Round", "Sign", "Floor", "Ceil", "Trunc", "Sgn", "Heaviside"}
"""Nodes of autograd's graph whose slope is 0."""


def judge(program: Program, seen: FirstPass) -> tuple[list[Finding], list[str]]:
    """Findings on parameters that cannot learn, and notes on those that the loss does not ask for."""
    named, notes = dict(program.model.named_parameters()), []
    if not named:
        return [], []
    result = {slug: found(slug, "ok", f"{len(named)} parameters") for slug in SLUGS}
    order = list(dict.fromkeys(layer.parameter for layer in seen.layers)) or list(named)  # as they are used
    frozen = _frozen(program)
    if frozen and not _deliberate(program, frozen, order):
        text = f"{len(frozen)} of {len(named)} have requires_grad=False: {', '.join(frozen[:4])}"
        result["parameters_frozen"] = found("parameters_frozen", "failure", text, _layer(frozen))
    all_frozen = not any(p.requires_grad for p in named.values())
    without = [name for name, p in named.items() if p.requires_grad and seen.gradients.get(name) is None]
    if without and not all_frozen:
        changes = [name for name in without if _changes(program, name)]
        unused = [name for name in without if name not in changes]
        spare = _reached(program, unused) if unused else []
        unused = [name for name in unused if name not in spare]
        if spare and program.given_loss is not None:
            text = f"{', '.join(spare[:4])}{' …' if len(spare) > 4 else ''} lead to"
            notes.append(f"Of the outputs, the loss does not use those that {text}: these parameters do not learn.")
        if changes and not _deliberate(program, changes, order):
            text = f"{', '.join(changes[:4])}: the outputs change with them, and they get no gradient"
            result["parameters_detached"] = found("parameters_detached", "failure", text, _layer(changes))
        if unused:
            text = f"{', '.join(unused[:4])}: the outputs do not change with them"
            verdict = "failure" if len(unused) > 0.2 * len(named) else "warning"
            result["parameters_unused"] = found("parameters_unused", verdict, text, _layer(unused))
    result["parameters_missing"] = _missing(program, named, order)
    return list(result.values()), notes


def _missing(program: Program, named: dict[str, Parameter], order: list[str]) -> Finding:
    slug = "parameters_missing"
    hidden = _unregistered(program)
    if hidden:
        text = f"{hidden} parameters that the outputs are computed with are not in model.parameters()"
        return found("layers_unregistered", "failure", f"{text}: layers in a plain list or dict?")
    if program.optimizer is None:
        return missing(slug, "optimizer")
    held = {id(p) for group in program.optimizer.param_groups for p in group["params"]}
    left_out = [name for name, p in named.items() if p.requires_grad and id(p) not in held]
    text = f"{len(left_out)} of {len(named)} are in no group of the optimiser"
    if left_out and not _deliberate(program, left_out, order):
        return found(slug, "failure", f"{text}: {', '.join(left_out[:4])}", _layer(left_out))
    return found(slug, "ok", text)


def flat(program: Program, seen: FirstPass) -> list[Finding]:
    """Whether the loss has no slope: no gradient by any outputs, although it differs between them."""
    _, y = program.sample
    out = program.task.pick(seen.output).detach()
    if out.dtype.itemsize < 4:  # a slope of 0 may be one that half precision cannot hold
        return []
    draw = torch.randn(out.shape, generator=torch.Generator().manual_seed(0)).to(out.device, out.dtype)
    values, stairs = list[float](), set[str]()
    for tried in (out, out.roll(1, 0), draw.sigmoid(), draw):
        leaf = tried.clone().requires_grad_()
        with torch.enable_grad():
            try:
                loss = program.loss(program.task.put(seen.output, leaf), y).mean()
            except Exception:  # it does not take all outputs
                continue
            slope = torch.autograd.grad(loss, leaf, allow_unused=True)[0] if loss.requires_grad else None
        if slope is not None and bool(slope.any()):
            return []
        values.append(float(loss.detach()))
        stairs |= {graph.kind(node) for node in graph.behind(loss)} & STAIRS if loss.requires_grad else set()
    if len(values) < 2 or not max(values) - min(values) > 1e-6 * abs(max(values)):
        return []
    text = f"the loss goes from {number(min(values))} to {number(max(values))} with the outputs, and its gradient by"
    text += " them is exactly 0 everywhere"
    text += f": it goes through {', '.join(sorted(stairs)).lower()}(), whose slope is 0" if stairs else ""
    return [found("parameters_detached", "failure", text)]


def _layer(names: list[str]) -> str:
    return names[0].rpartition(".")[0]


def _frozen(program: Program) -> list[str]:
    """What has requires_grad=False and is used by the forward: no teacher that is kept beside it."""
    return _reached(program, [n for n, p in program.model.named_parameters() if not p.requires_grad], beside=False)


def chosen(program: Program, seen: FirstPass) -> bool:
    """Whether what is frozen in a program that learns is the lower part, or in no group of the optimiser."""
    frozen, order = _frozen(program), list(dict.fromkeys(layer.parameter for layer in seen.layers))
    if program.optimizer is not None:
        held = {id(p) for group in program.optimizer.param_groups for p in group["params"]}
        if not any(id(program.model.get_parameter(name)) in held for name in frozen):
            return True
    return _deliberate(program, frozen, order, drawn=True)


def _deliberate(program: Program, names: list[str], order: list[str], *, drawn: bool = False) -> bool:
    """Whether it looks like fine-tuning: what does not learn was trained before, and is the lower part, or has beside
    it weights that start at zero and learn: an addition that leaves the network at first as it was.

    Biases and norms follow the weights of their layers. A part is taken for trained unless its values are still those
    of a start: biases of exactly 0, or weights within the bounds of PyTorch's own, 1 / sqrt(fan-in); unless those are
    allowed (`drawn`).
    """
    weights = [name for name in order if name in names]
    if not weights:
        return all(program.model.get_parameter(name).ndim < 2 for name in names)
    added = any(not program.model.get_parameter(name).any() for name in order if name not in names)
    if not added and (weights != order[: len(weights)] or len(weights) == len(order)):
        return False
    return drawn or not any(_as_drawn(program.model, name) for name in weights)


@torch.no_grad()
def _as_drawn(model: nn.Module, name: str) -> bool:
    p = model.get_parameter(name)
    bound = 1 / math.sqrt(p[0].numel())
    if p.numel() >= 50 and p.abs().max() <= bound * (1 + 1e-6) and p.abs().max() > 0.9 * bound:
        return True
    layer = model.get_submodule(name.rpartition(".")[0])
    bias = getattr(layer, "bias", None)
    return isinstance(bias, torch.Tensor) and bias.numel() > 1 and bool((bias == bias[0]).all())


@torch.no_grad()
def _changes(program: Program, name: str) -> bool:
    model = program.bare()
    program.seeded()
    before = program.task.pick(program.output(model, program.x)).clone()
    p = model.get_parameter(name)
    p.add_(0.5 * p.abs().mean() + 0.1)
    p.mul_(1 + 0.5 * torch.rand_like(p) if p.is_floating_point() else 1)
    program.seeded()
    return not torch.equal(before, program.task.pick(program.output(model, program.x)))


def _reached(program: Program, names: list[str], *, beside: bool = True) -> list[str]:
    """Those parameters that lead to something the model returns (beside what the labels are compared with)."""
    model = program.bare()
    for name in names:
        model.get_parameter(name).requires_grad_()
    program.seeded()
    output = program.output(model, program.x)
    taken = program.task.pick(output) if beside else None
    out = [t for t in parts.tensors(output) if t is not taken and t.grad_fn is not None]
    leaves = {id(node.variable) for t in out for node in graph.behind(t) if graph.kind(node) == graph.LEAF}  # type: ignore[attr-defined]
    return [name for name in names if id(model.get_parameter(name)) in leaves]


def _unregistered(program: Program) -> int:
    """How many leaves of the loss's graph are parameters that the model does not know."""
    model = program.bare()
    known = {id(p) for p in model.parameters()}
    program.seeded()
    out = program.task.pick(program.output(model, program.x))
    leaves = [node.variable for node in graph.behind(out) if graph.kind(node) == graph.LEAF]  # type: ignore[attr-defined]
    count = sum(isinstance(leaf, Parameter) and id(leaf) not in known for leaf in leaves)
    if not count or program.optimizer is None:
        return count
    held = {id(p) for group in program.optimizer.param_groups for p in group["params"]}
    return count if len(held) <= len(known) else 0
