"""Batch norm, dropout, and examples that get mixed up."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from unstuck import parts
from unstuck.checks.batches import cloned, related
from unstuck.checks.first_pass import FirstPass, look
from unstuck.checks.program import DROPOUTS, Program, copied, finite, without_dropout
from unstuck.checks.report import Finding, found, judged
from unstuck.checks.training import LEARNED, Trial, run
from unstuck.claims import number
from unstuck.probes import norm_drift
from unstuck.probes.drift import BATCH_NORMS

DROPPED, DROWNED = 0.67, 0.9
"""Dropout with probability p adds noise of variance p / (1 - p) times the square of the signal: twice it at 2/3, with
which wide layers still learn, nine times at 0.9."""

FEW = 4
"""Values of a channel from which the variance is taken with an error of sqrt(2 / (n - 1)): 82 % at four."""

DRIFTED = 1.0
"""Running means a standard deviation away from the batch's, or standard deviations by a factor e."""
SETTLED = 0.02
"""A share of the first loss: what evaluation mode may add to twice the loss of training mode while running statistics
are still settling."""
COMPARED = 10
"""Batches on which both modes are compared; a single one can be well by chance."""


def judge(program: Program, seen: FirstPass) -> list[Finding]:
    still = look(program, training=False, backward=False)
    return [*_dropout(program, seen, still), *_norms(program, seen, still), *_mixed(program, still)]


def _dropout(program: Program, seen: FirstPass, still: FirstPass) -> list[Finding]:
    if not seen.dropped and not still.dropped:
        return [found(slug, "ok", "there is no dropout") for slug in ("dropout_mode", "dropout_strong")]
    where = ", ".join(dict.fromkeys(path or "the model itself" for path, _ in still.dropped))
    text = f"in evaluation mode {where} still drops at random" if where else "dropout is off in evaluation mode"
    mode = judged("dropout_mode", bool(where), text, ", ".join(filter(None, dict(still.dropped))))
    known = [each for each in seen.dropped if not math.isnan(each[1])]
    path, p = max(known, key=lambda each: each[1]) if known else ("", 0.0)
    last = _last_module(program)
    if p <= DROPPED and last is not None and isinstance(last[1], DROPOUTS) and last[1].p > 0.1:
        text = f"dropout with probability {last[1].p:g} stands after the last layer: outputs are set to 0 at random"
        return [mode, found("dropout_strong", "failure", text, last[0])]
    text = _noise(p)
    if p <= DROPPED:
        return [mode, found("dropout_strong", "ok", text)]
    return [mode, found("dropout_strong", "failure" if p >= DROWNED else "warning", text, path)]


def _noise(p: float) -> str:
    text = (
        f"probability {p:g}: noise of {number(p / max(1 - p, 1e-9))} times the signal's square; more than 2 is much,"
    )
    return f"{text} and 9 drowns it"


def dropping(program: Program, own: Trial, steps: int) -> list[Finding]:
    strong = [(name, m) for name, m in program.model.named_modules() if isinstance(m, DROPOUTS) and m.p > DROPPED]
    if not strong or own.gone() >= LEARNED:
        return []
    name, module = max(strong, key=lambda each: each[1].p)
    model, optimizer = copied(*program.pair)
    free = run(program.like(without_dropout(model), optimizer), steps)
    if free.gone() < max(own.gone(), 0.0) + LEARNED:
        return []
    text = (
        f"{_noise(module.p)}; loss {number(own.before)} to {number(own.end)}, without dropout to {number(free.end)}"
    )
    return [found("dropout_strong", "failure", text, name)]


def _last_module(program: Program) -> tuple[str, nn.Module] | None:
    model = program.bare()
    last: list[tuple[str, nn.Module, Any]] = []

    def keep(name: str, module: nn.Module, output: Any) -> None:
        last[:] = [(name, module, output)]

    for name, module in model.named_modules():
        if next(module.children(), None) is None:
            module.register_forward_hook(lambda m, _, out, name=name: keep(name, m, out))
    with torch.no_grad():
        output = program.output(model, program.x)
    return (last[0][0], last[0][1]) if last and last[0][2] is output else None


def _norms(program: Program, seen: FirstPass, still: FirstPass) -> list[Finding]:
    modules = {name: m for name, m in program.model.named_modules() if isinstance(m, BATCH_NORMS)}
    if not modules and not seen.norms:
        return []
    result = []
    untracked = {name for name, m in modules.items() if m.running_mean is None}
    wrong = [path for path, batch in still.norms if batch and path not in untracked]
    if wrong:
        text = "in evaluation mode it still uses the statistics of the batch"
        result.append(found("batchnorm_mode", "failure", text, wrong[0]))
    x = next(parts.tensors(program.x), None)
    n = len(x) if x is not None and x.ndim else None
    if modules and n == 1:
        text = "the batch holds one example: its own mean and variance are taken from it"
        result.append(found("batchnorm_single", "warning", text, next(iter(modules))))
    elif modules:
        result.append(_few(program, n))
    leaves = [m for m in program.model.modules() if next(m.children(), None) is None]
    biased = [a for a, b in pairwise(leaves) if getattr(a, "bias", None) is not None and isinstance(b, BATCH_NORMS)]
    text = f"{len(biased)} layers before batch norm have a bias, which it subtracts: it costs nothing but memory"
    return [*result, found("bias_before_norm", "ok", text if biased else "none")]


def _few(program: Program, n: int | None) -> Finding:
    model, counts = program.bare(), dict[str, int]()

    def count(name: str, module: nn.Module, given: Any) -> None:
        if given:
            counts[name] = given[0].numel() // max(1, given[0].shape[1])

    for name, module in model.named_modules():
        if isinstance(module, BATCH_NORMS):
            module.register_forward_pre_hook(lambda m, given, name=name: count(name, m, given))
    with torch.no_grad():
        program.output(model, program.x)
    least = min(counts, key=lambda name: counts[name], default="")
    slug, text = "batchnorm_single", f"batches of {n or '?'}"
    if not 1 < counts.get(least, math.inf) <= FEW:
        return found(slug, "ok", text)
    text += f": each channel's mean and variance are taken from {counts[least]} values"
    if counts[least] == 2:
        text += ", so its output is beta + gamma for one and beta - gamma for the other, whatever the values"
    else:
        text += f", and the variance is wrong by {100 * math.sqrt(2 / (counts[least] - 1)):.0f} % on average"
    return found(slug, "warning", text, least)


def drift(program: Program, own: Trial) -> list[Finding]:
    """The running statistics after the trial against those of the batches, and the loss in both modes."""
    modules = [m for m in own.model.modules() if isinstance(m, BATCH_NORMS) and m.running_mean is not None]
    if not modules or not finite(own.model) or not isinstance(program.x, Tensor):
        return []
    slug, model = "batchnorm_drift", without_dropout(own.model)
    trained, evaluated = (_mean_loss(program, model, training=mode) for mode in (True, False))
    try:
        drifts = norm_drift(model, cloned(program.x), batch_size=len(program.x))
    except ValueError:
        return []
    name, worst = max(drifts.items(), key=lambda each: float(max(each[1].mean.max(), each[1].std.max())))
    size, momenta = float(max(worst.mean.max(), worst.std.max())), [m.momentum for m in modules if m.momentum]
    text = f"in {name} running statistics are {number(size)} standard deviations (or e-fold) from the batch's"
    text += f" after {len(own.losses)} steps of the trial; on the same examples the loss is {number(trained)} in"
    text += f" training mode, {number(evaluated)} in evaluation mode; {DRIFTED:g} is well above chance"
    slow = momenta and min(momenta) * len(own.losses) < 1
    # what needs more steps than were made is not the noise of a few batches
    most = 2 * trained + SETTLED * own.before if slow else 1.5 * trained + 0.3
    worse = math.isfinite(trained) and not evaluated < most
    if size > DRIFTED and worse and (slow or own.gone() > 0):
        more = f"; with momentum {min(momenta):g} they need {1 / min(momenta):.0f} steps to settle" if slow else ""
        return [found(slug, "failure", text + more, name)]
    return [found(slug, "ok", text)]


def _mean_loss(program: Program, model: nn.Module, *, training: bool) -> float:
    losses = [program.measured(model, batch, training=training)[0] for batch in program.batches[:COMPARED]]
    return sum(losses) / len(losses)


def _mixed(program: Program, still: FirstPass) -> list[Finding]:
    """Whether an output depends on another example's input, in evaluation mode, where batch norm does not mix."""
    slug, model = "examples_mixed", program.bare().eval()
    x, _ = program.sample
    tensors = [t for t in parts.tensors(x) if t.ndim]
    out = program.task.pick(still.output)
    n = len(tensors[0]) if tensors else 0
    if n < 2 or any(len(t) != n for t in tensors) or out.ndim < 1 or len(out) != n:
        return [found(slug, "inconclusive", "inputs and outputs have no batch axis in common")]
    if related(program.sample):
        text = f"an input of shape ({n}, {n}) relates the examples to each other: outputs then depend on others, too"
        return [found(slug, "inconclusive", text)]
    if still.dropped or any(batch for _, batch in still.norms):
        return []

    def answer(inputs: Any) -> Tensor:
        program.seeded()
        with torch.no_grad():
            return program.task.pick(program.output(model, inputs)).float()

    before, again = answer(x), answer(x)
    # a recurrent net that takes examples for steps lets only the later ones see the others
    changes = [(kept, (answer(_others_changed(x, n, kept))[kept] - before[kept]).abs()) for kept in (0, n - 1)]
    # in a matrix of similarities the columns are the examples again: only that of its own holds no other
    own = out.shape == (n, n) and not any(bool(change[kept] > 1e-4 * before.abs().max()) for kept, change in changes)
    changed = [change[kept] if own else change.max() for kept, change in changes]
    if not torch.isfinite(before).all() or not torch.equal(before, again):
        return [found(slug, "inconclusive", "outputs are not finite, or differ from call to call")]
    change, size = float(max(changed)), float(before.abs().max())
    text = f"when all other examples of the batch are replaced, the output for one example moves by {number(change)}"
    text += f"; the largest output is {number(size)}, and rounding explains 1e-4 of it"
    # float32 sums in another order differ by 1e-6 of their size
    return [judged(slug, change > 1e-4 * size and size > 0, text)]


def blind_to_order(program: Program) -> bool:
    """Whether the order of the tokens of an example changes no output: attention without positions sees none."""
    x, model = program.x, program.bare().eval()
    if not isinstance(x, Tensor) or x.ndim != 2 or x.is_floating_point() or x.shape[1] < 2:
        return False
    with torch.no_grad():
        before, turned = (program.task.pick(program.output(model, t)).float() for t in (x, x.flip(1)))
    return before.shape == turned.shape and bool((before - turned).abs().max() <= 1e-4 * before.abs().max())


def _others_changed(x: Any, n: int, kept: int) -> Any:
    others = torch.tensor([i for i in range(n) if i != kept])
    order = torch.arange(n)
    order[others] = others[0]  # not only in another order, which attention does not see
    fresh = cloned(x)
    for tensor in parts.tensors(fresh):
        with torch.no_grad():
            moved = tensor[order.to(tensor.device)]
            if tensor.is_floating_point():
                moved[others] = 1.5 * moved[others] + 0.1
            tensor.copy_(moved)
    return fresh
