"""What is wrong with the weights, the signal and the gradient before training."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from unstuck import parts
from unstuck.checks.batches import cloned
from unstuck.checks.first_pass import Activation, FirstPass, Layer
from unstuck.checks.program import Program, without_dropout
from unstuck.checks.report import Finding, found, judged
from unstuck.claims import number

FADED = 1e-3
"""The difference between examples at the last layer over that at the first. He's start keeps it at 1 at any depth,
PyTorch's own divides by about 2.4 a layer: by 80 after five. Below 1/1000 the gradient of the lower layers is as
small."""

COLLAPSED = 0.02
"""Difference between examples over the size of the last layer's outputs: the cosine of any two is then above 0.9996.
The lowest of 57 healthy networks before training (perceptrons to transformers, two seeds each) has 0.06."""

GAIN_SMALL, GAIN_LARGE = 0.3, 2.5
"""Root mean square weight times sqrt(fan-in). PyTorch's own start has 0.58, LeCun's and Xavier's 1, He's 1.41, and
SELU, tanh and orthogonal starts lie between: healthy starts have 0.5 to 1.7."""

VANISHED = 1e-3
"""Gradient of the first layer over that of the last, root mean square. The lowest of the same 57 has 0.06; fan-ins of
10 to 1,000 explain 1e-2 to 1e2."""

EXPLODED = 1e4
STEEP = 100.0
"""Gradient over weights, norms: a step at a rate of 0.01 would replace the weights."""

STUCK = 10.0
"""Where a trial learns nothing, limits on signal and gradient are as much nearer to what healthy starts have."""

DEAD, SATURATED = 0.5, 0.5
"""More than half of a layer's units. At a centred start a ReLU is zero on half of the examples, so that none of 16 or
more fires a unit is rare; a tanh or sigmoid of a signal of unit variance is saturated on less than 2 % of it."""

ALIKE = 1e-5
"""Difference between outputs over their size that rounding in float32 explains."""

MOVING = 3
"""Steps after which weights of zero have moved, if ever they do: a layer of zeros below another of zeros gets a
gradient when the upper one has moved, and one step later what lies below."""

TINY = 1e-30


def look_at_weights(program: Program, seen: FirstPass) -> list[Finding]:
    named = list(program.model.named_parameters())
    floating = [each for each in [*named, *program.model.named_buffers()] if each[1].is_floating_point()]
    bad = [name for name, p in floating if not p.isfinite().all()]
    if bad:
        return [found("weights_not_finite", "failure", f"not finite: {', '.join(bad[:5])}", bad[0])]
    zero: list[str] = []
    equal: list[str] = []
    for name, p in named:
        g = seen.gradients.get(name)
        if p.ndim < 2 or g is None or not torch.isfinite(g).all():
            continue
        if not p.any():
            if not g.any():  # a layer of zeros that gets a gradient moves at once
                zero.append(name)
        elif len(p) > 1 and _same_rows(p) and _same_rows(g):
            equal.append(name)
    zero = _unmoved(program, zero) if zero else []
    zeros = f"all weights of {', '.join(zero[:4])} are 0, and so is their gradient"
    zeros = f"{zeros}; after {MOVING} steps they still are" if zero else "none that stay 0"
    same = f"all units of {', '.join(equal[:4])} have the same weights and the same gradient" if equal else "none"
    return [
        found("weights_not_finite", "ok", f"all {len(named)} parameters are finite"),
        judged("weights_zero", bool(zero), zeros, "".join(zero[:1])),
        judged("weights_equal", bool(equal), same, "".join(equal[:1])),
    ]


def _unmoved(program: Program, names: list[str]) -> list[str]:
    """Those weights that are still zero after some steps of Adam: a start at zero that moves is nobody's fault."""
    model = program.bare()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad])
    program.seeded()
    for _ in range(MOVING):
        program.plain_step(model, optimizer, cloned(program.sample))
    return [name for name in names if not model.get_parameter(name).any()]


def _same_rows(w: Tensor) -> bool:
    rows = w.detach().flatten(1).double()
    return bool((rows - rows[0]).abs().max() <= 1e-5 * rows.abs().max())


def look_at_signal(program: Program, seen: FirstPass, untrained: bool, stuck: bool = False) -> list[Finding]:
    """Signal, difference between examples, gradient, saturated and dead units, layer by layer.

    What has learned is well (not `untrained`); where a trial learned nothing (`stuck`) limits are ten times nearer.
    """
    near = STUCK if stuck else 1.0
    # what starts at zero is judged by whether it moves: it passes nothing on yet, and no gradient down
    layers = [layer for layer in seen.layers if math.isfinite(layer.size) and layer.gain > 0]
    result = [*_units(seen, untrained, stuck), *(_steep(program, seen) if stuck else ())]
    if len(layers) < 2:
        return result
    returned = spread_and_size(program.task.pick(seen.output))
    starts_at_zero = any(layer.gain == 0 for layer in seen.layers)
    passed = [layer for layer in layers if not (starts_at_zero and layer.gradient == 0)]
    scale, gradient = _scale(layers, returned, seen, untrained, near), _gradient(passed, untrained, near)
    if any(f.fault == "inputs_collapse" and f.verdict == "failure" for f in scale):  # both fade for one reason
        if 2 * sum(a.kind == "sigmoid" for a in seen.activations) < len(seen.activations):
            gradient = [f for f in gradient if f.fault != "gradient_vanishes"]
        else:  # a sigmoid's slope is at most 1/4, whatever the weights
            gradient = _gradient(passed, untrained, STUCK)
    return [*result, *scale, *gradient]


def _steep(program: Program, seen: FirstPass) -> list[Finding]:
    for name, p in program.model.named_parameters():
        g = seen.gradients.get(name)
        ratio = float(g.float().norm() / p.float().norm()) if g is not None and p.ndim > 1 and p.any() else 0.0
        if ratio > STEEP and abs(seen.loss) < STEEP:
            text = f"the gradient of {name} is {number(ratio)} times its weights (norms); up to {STEEP:g} is well"
            return [found("gradient_explodes", "failure", text, name.rpartition(".")[0])]
    return []


def _scale(
    layers: list[Layer], returned: tuple[float, float], seen: FirstPass, untrained: bool, near: float
) -> list[Finding]:
    first, last = layers[0], layers[-1]
    where, (spread, size) = f"after {last.name}", (last.spread, last.size)
    if returned[0] > spread:  # the last product is one of several branches: what comes of all of them counts
        where, (spread, size) = "at the output", returned
    gains = ", ".join(number(layer.gain, 2) for layer in layers[:8])
    gain_text = f"root mean square weight times sqrt(fan-in), by layer: {gains}; a healthy start has 0.5 to 1.7"
    fell = f"the difference between examples is {number(first.spread)} after {first.name}"
    fell += f" and {number(spread)} {where}, {number(spread / max(first.given, TINY), 2)} of the inputs"
    faded = spread < FADED * near * max(first.given, TINY)
    small = [layer for layer in layers if 0 < layer.gain < GAIN_SMALL and not layer.normalised]
    mostly_small = len(small) >= 0.5 * len(layers)
    alike = spread < COLLAPSED * size and spread < STUCK * FADED * 2 * first.given
    collapsed = alike or (faded and spread < FADED * near * first.spread)
    large = [layer for layer in layers[:-1] if layer.gain > GAIN_LARGE and not layer.normalised]
    saturated = any(a.saturated > SATURATED for a in seen.activations)
    grown = last.size > 10 * max(first.given, 1.0) or (saturated and len(large) > 1)
    result = {slug: found(slug, "ok", gain_text) for slug in ("weights_small", "weights_large")}
    if len(layers) > 2:  # through fewer nothing fades
        result["inputs_collapse"] = found("inputs_collapse", "ok", fell)
    if untrained and faded and mostly_small:
        result["weights_small"] = found("weights_small", "failure", f"{fell}; {gain_text}", small[0].name)
    if untrained and collapsed and not mostly_small and len(layers) > 2:
        text = f"{fell}, {number(spread / max(size, TINY), 2)} of their size; it ought to stay above"
        result["inputs_collapse"] = found("inputs_collapse", "failure", f"{text} {COLLAPSED:g}", last.name)
    if untrained and large and grown:
        text = f"{gain_text}; the signal is {number(first.given)} at the input and {number(last.size)} after"
        result["weights_large"] = found("weights_large", "failure", f"{text} {last.name}", large[0].name)
    return list(result.values())


def spread_and_size(answers: Any) -> tuple[float, float]:
    """Root mean square of outputs, of their differences from the mean over examples first; 0 of what is no tensor."""
    if not isinstance(answers, Tensor) or not answers.numel():
        return 0.0, 0.0
    out = answers.detach().float()
    return float((out - out.mean(0, keepdim=True)).square().mean().sqrt()), float(out.square().mean().sqrt())


def _gradient(layers: list[Layer], untrained: bool, near: float) -> list[Finding]:
    known = [layer for layer in layers if math.isfinite(layer.gradient)]
    if len(known) < 3:
        return []
    first, last = known[0], known[-1]
    ratio = first.gradient / last.gradient if last.gradient else math.nan
    text = f"root mean square gradient of {first.name} over that of {last.name}: {number(ratio)}"
    vanishes, explodes = untrained and ratio < VANISHED * near, ratio > EXPLODED and first.gradient > 1
    above = f"{text}; above {VANISHED * near:g} fan-ins explain it"
    return [
        judged("gradient_vanishes", vanishes, above, first.name),
        judged("gradient_explodes", explodes, f"{text}; limit {EXPLODED:g}", first.name),
    ]


@torch.no_grad()
def look_at_outputs(program: Program) -> list[Finding]:
    """Whether anything of the inputs reaches the outputs: in both modes, at these weights and at others.

    Before training, batch norm has statistics of its own only in training mode. No layers need to be known, so that
    recurrent networks and embeddings are judged as well.
    """
    x, _ = program.sample
    first = next(parts.tensors(x), None)
    n = len(first) if first is not None and first.ndim else 0
    if n < 2 or not any(t.ndim and len(t) == n and bool((t != t[:1]).any()) for t in parts.tensors(x)):
        return []
    model, where, size = without_dropout(program.bare()), "", 0.0
    program.seeded()
    for mode, changed in ((True, False), (False, False), (False, True), (False, True)):
        model.train(mode)
        for p in model.parameters() if changed else ():  # a last layer of zeros is a start that some choose
            if p.is_floating_point():
                least = 0.1 / math.sqrt(p[0].numel() if p.ndim > 1 else 1)
                p.add_((0.3 * p.std(correction=0).nan_to_num(0) + least) * torch.randn_like(p))
        out, since = _outputs(program, model, x, n)
        if not _alike(out, n):
            return []
        where, size = (since, float(out.abs().max())) if mode else (where, size)
    text = f"the outputs of {n} examples are the same but for rounding (up to {number(size)}), and so they are with"
    text += " other weights: nothing of the inputs arrives"
    text += f" at module {where}; look at what goes into it" if where else ""
    norm = program.model.get_submodule(where)
    of_one = isinstance(norm, nn.LayerNorm) and math.prod(norm.normalized_shape) == 1
    return [found("norm_of_one" if of_one else "nothing_arrives", "failure", text, where)]


def _outputs(program: Program, model: nn.Module, x: Any, n: int) -> tuple[Tensor, str]:
    """The outputs, and the first module from which on those of all modules are the same for all examples."""
    calls: list[tuple[str, bool]] = []
    handles = [
        module.register_forward_hook(lambda m, _, out, name=name: calls.append((name, _alike(out, n))))
        for name, module in model.named_modules()
        if next(module.children(), None) is None
    ]
    out = program.task.pick(program.output(model, x))
    for handle in handles:
        handle.remove()
    differs = [i for i, (_, alike) in enumerate(calls) if not alike]
    return out, next((name for name, _ in calls[differs[-1] + 1 if differs else 0 :]), "")


def _alike(output: Any, n: int) -> bool:
    a = next(parts.tensors(output), None)
    if a is None or not a.is_floating_point() or not a.ndim or len(a) != n or not a.numel():
        return False
    return bool((a - a[:1]).abs().max() <= ALIKE * a.abs().max())


def _units(seen: FirstPass, untrained: bool, stuck: bool) -> list[Finding]:
    hidden = [a for a in seen.activations if a.behind < len(seen.layers)]  # those of the output have no layer above
    squashed = [a for a in hidden if a.kind in ("sigmoid", "tanh")]
    rectified = [a for a in hidden if a.kind not in ("sigmoid", "tanh") and a.examples >= 16]

    def worst(slug: str, activation: Activation, value: float, limit: float) -> Finding:
        bad = value > limit and (untrained or value > 0.9)
        text = f"{100 * value:.0f} % of {activation.name}; more than {100 * limit:.0f} % is no chance"
        return judged(slug, bad, text, activation.name)

    result = []
    if rectified:  # where all inputs have one sign, half of H units stay silent, more by chance
        a = max(rectified, key=lambda a: a.dead - a.units**-0.5)
        result.append(worst("units_dead_at_start", a, a.dead, DEAD + a.units**-0.5))
    if squashed:
        a = max(squashed, key=lambda a: a.saturated)
        result.append(worst("units_saturated", a, a.saturated, 0.6 * SATURATED if stuck else SATURATED))
    return result
