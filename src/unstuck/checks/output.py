"""What is wrong between the model's last layer and the loss."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unstuck import parts
from unstuck.checks.behaviour import FAR, Ending, Loss, reached, step_loss, unjudged
from unstuck.checks.data import far_off
from unstuck.checks.first_pass import FirstPass
from unstuck.checks.program import Program
from unstuck.checks.report import Finding, found, judged
from unstuck.checks.start import GAIN_LARGE
from unstuck.checks.task import IGNORED, replaced, tensors_in
from unstuck.checks.training import LEARNED
from unstuck.claims import number

SLUGS = (
    *("softmax_before_loss", "sigmoid_before_loss", "sigmoid_missing", "relu_at_output", "squashed_output"),
    *("single_output", "loss_unfit", "loss_summed"),
)
BEFORE = {"softmax": "softmax_before_loss", "sigmoid": "sigmoid_before_loss", "relu": "relu_at_output"}
BEFORE |= {"tanh": "squashed_output"}
RANGE = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "softmax": (0.0, 1.0), "relu": (0.0, math.inf)}
BEYOND = 0.05
"""A share of targets outside the outputs' range that is more than noise at its ends."""

COUNT = 5.0
"""A count on which a loss is tried."""

TARGETS = 10.0
"""Targets of this root mean square: the error that a start with outputs near 0 makes is 100 times that of scaled
targets, and so is its gradient's square; descent at a rate for unit scale takes steps 10 times too long."""


def judge(program: Program, loss: Loss | None, end: Ending, seen: FirstPass) -> list[Finding]:
    """Findings on the last layer and the loss; those that hold are "ok" all together."""
    if loss is None:
        return [unjudged(program, slug) for slug in SLUGS]
    bad = _bad(program, loss, end, seen)
    if loss.kind == "unknown" and not bad:
        return [found(slug, "inconclusive", "the loss behaves like none of the usual ones") for slug in SLUGS]
    well, named = f"the loss behaves like one on {loss.kind}, the outputs end in: {end}", {f.fault for f in bad}
    return [*bad, *(found(slug, "ok", well) for slug in SLUGS if slug not in named)]


def _bad(program: Program, loss: Loss, end: Ending, seen: FirstPass) -> list[Finding]:
    task, kind, y, axis = program.task, loss.kind, program.y, program.task.axis
    summed, single = _summed(program, loss), _single(program, loss, end)
    if single:
        return [single]
    inner = step_loss(program) if program.train_step is not None and program.given_loss is not None else None
    for each in (loss, inner):
        if each is not None and each.bounded is not None:
            slug = "sigmoid_before_loss" if task.kind == "binary" else "softmax_before_loss"
            text = f"even outputs that are sure and right have a loss of {number(each.bounded)}"
            return [found(slug, "failure", f"{text}, where it ought to be 0"), *summed]
    right = task.right(y, FAR) if kind in ("softmax", "sigmoid") and task.kind in ("classes", "binary") else None
    if right is not None and loss.at(right) > loss.at(right.roll(1, task.axis) if kind == "softmax" else -right):
        text = "the loss is smaller for outputs that are sure and wrong than for right ones"
        return [found("loss_unfit", "failure", text)]
    result = []
    if kind in ("softmax", "sigmoid"):
        if end in BEFORE:
            low, high = RANGE[end]
            text = (
                f"outputs always lie in [{low:g}, {high:g}], also with other weights, and the loss applies a {kind}"
            )
            best = _best(loss, end)
            text += f": its least value is {number(best)} instead of 0" if best > 1e-3 else ""
            result.append(found(BEFORE[end], "failure", text))
        if kind == "softmax":
            result += _no_shares(program, loss)
    elif kind == "probabilities" and end not in ("softmax", "sigmoid"):
        out = task.pick(seen.output).detach()
        span = f"outputs go from {number(float(out.min()))} to {number(float(out.max()))}, and end in: {end}"
        result.append(found("sigmoid_missing", "failure", f"{span}; the loss takes their logarithm"))
    elif kind == "log-probabilities" and end != "log_softmax" and not _normalised(program, seen):
        text = "the loss is minus the label's output: it expects log-probabilities, whose exponentials sum to 1"
        result.append(found("loss_unfit", "failure", f"{text}, and the outputs end in: {end}"))
    elif kind in ("distance", "unknown") and y.is_floating_point() and task.kind != "classes":
        result += [*(_bounds(program, end, seen) or _rates(program, loss, end)), *_away(loss)]
    if end == "softmax" and kind != "softmax" and task.shares(y):
        result += _sure(
            loss, y, loss.at(y), loss.at(torch.zeros_like(y).scatter(axis, y.argmax(axis, keepdim=True), 1.0))
        )
    if not result and end != "linear" and kind in ("softmax", "sigmoid", "probabilities"):
        result += _out_of_reach(program, loss)
    result += _copied(program, loss)
    if kind == "distance" and task.kind in ("numbers", "classes"):
        result += _class_numbers(program)
    return [*result, *summed]


def _out_of_reach(program: Program, loss: Loss) -> list[Finding]:
    """Outputs that stay, whatever the weights, where the loss of some class can hardly be lower than chance."""
    outs, out = reached(program), loss.random
    low, high = min(float(o.min()) for o in outs), max(float(o.max()) for o in outs)
    sizes = [float(o.abs().max()) for o in (outs[0], outs[-1])]
    if not math.isfinite(high - low) or low == high or sizes[1] > 2 * sizes[0]:  # grows with the weights
        return []
    text = f"outputs lie between {number(low)} and {number(high)}, also with weights ten times as large"
    several = out.shape[loss.task.axis] if out.ndim > 1 else 1
    if loss.kind == "softmax" or several > 1:
        far = 2 * max(-low, high)  # cosines may have any sign, whatever was seen of them
        least, chance = math.log1p((several - 1) * math.exp(-far)), math.log(max(several, 2))
        if loss.kind != "softmax" or chance - least >= LEARNED * chance:
            return []
        text += f": the least loss of a softmax over {several} of them is {number(least)}, that of chance"
        return [found("outputs_too_near", "failure", f"{text} {number(chance)}")]
    for label, end in ((0, low), (1, high)):
        y, even = torch.full_like(loss.y, label), 0.5 if loss.kind == "probabilities" else 0.0
        least, chance = (loss.at(torch.full_like(out, value), y) for value in (end, even))
        if chance > 0 and chance - least < LEARNED * chance:
            text += f": for label {label} the loss is {number(least)} at least, {number(chance)} if nothing is known"
            return [found("outputs_on_one_side", "failure", text)]
    return []


def _best(loss: Loss, end: Ending) -> float:
    """The loss of outputs that are right as far as the last layer lets them; 0 where no layer keeps them from it."""
    right = loss.task.right(loss.y, 1.0)
    if right is None or loss.task.kind not in ("classes", "binary") or end == "relu":
        return 0.0
    return loss.at(right.clamp(*RANGE[end]))


def _normalised(program: Program, seen: FirstPass) -> bool:
    out = program.task.pick(seen.output).detach().float()
    return bool((out.logsumexp(program.task.axis).abs() < 1e-2).all())


def _single(program: Program, loss: Loss, end: Ending) -> Finding | None:
    task, y = program.task, program.labels
    out = task.pick(task.output)
    one = out.ndim < 2 or out.shape[task.axis if task.kind == "classes" else -1] == 1
    if not one or y is None:
        return None
    if out.ndim > 1 and end == "softmax":
        return found("single_output", "failure", "a softmax over a single output is 1 whatever the input")
    values, has = y.unique(), "the network has 1 output, the labels have"
    whole = not y.is_floating_point() or bool((y == y.round()).all())
    if out.ndim > 1 and loss.at(loss.random) == 0 == loss.at(10 * loss.random):
        if whole:
            text = f"{has} {len(values)} values: the loss is exactly 0 whatever the output"
            return found("single_output", "failure", text)
        text = "the loss is exactly 0 whatever the output: it is one for several outputs"
        return found("loss_unfit", "failure", text)
    if whole and len(values) > 2 and loss.kind in ("sigmoid", "probabilities") and _endless(loss):
        return found("single_output", "failure", f"{has} {len(values)} classes, and the loss is one for two")
    return None


def _endless(loss: Loss) -> bool:
    """Whether outputs at the ends have a loss below 0: that for two classes falls without end where a label is 2 or
    more, and the likelihood of a count does not."""
    if loss.y.numel() != loss.random.numel():
        return False
    ends = torch.where(loss.y.reshape(loss.random.shape) > 0.5, FAR, -FAR).to(loss.random.dtype)
    return loss.at((ends / 4).sigmoid() if loss.kind == "probabilities" else ends) < 0


def _summed(program: Program, loss: Loss) -> list[Finding]:
    if loss.summed is None:
        return [found("loss_summed", "inconclusive", "the loss of a batch repeated twice could not be computed")]
    own_scale = isinstance(program.optimizer, torch.optim.Adam | torch.optim.RMSprop | torch.optim.Adagrad)
    if not loss.summed or own_scale:  # the steps of these do not depend on the size of the gradient
        return []
    text = f"the loss of a batch repeated twice is twice as large, {number(loss.chance)} at chance"
    return [found("loss_summed", "failure", f"{text}: the learning rate is multiplied by {len(program.y)}")]


def _bounds(program: Program, end: Ending, seen: FirstPass) -> list[Finding]:
    y = program.labels
    if end not in RANGE or y is None or not torch.isfinite(y).all():
        return []
    low, high = RANGE[end]
    made = program.task.pick(seen.output).detach()
    if end == "relu" and not made.any() and bool((y != 0).any()):
        text = "all outputs are exactly 0, the targets are not, and no gradient passes where a rectifier is 0"
        return [found("relu_at_output", "failure", text)]
    outside = float(((y < low - 1e-6) | (y > high + 1e-6)).float().mean())
    if outside <= BEYOND:
        return []
    text = f"outputs always lie in [{low:g}, {high:g}], {100 * outside:.0f} % of the targets do not"
    slug = "relu_at_output" if end == "relu" else "squashed_output"
    return [found(slug, "failure", f"{text}; at most 5 % is noise")]


def _rates(program: Program, loss: Loss, end: Ending) -> list[Finding]:
    """Outputs above 0 that a loss takes for the logarithms of rates: for a count k it is then least at log k."""
    out, y, known = loss.random, loss.y, loss.y if program.labels is None else program.labels
    counts = bool((known >= 0).all()) and bool((known == known.round()).all()) and y.numel() == out.numel()
    none = float((known == 0).double().mean())
    if loss.kind != "unknown" or end == "linear" or not counts or none <= BEYOND:
        return []
    best = math.log(COUNT)
    tried = (best, best - 0.1, best + 0.1, COUNT)
    at, *others = (loss.at(torch.full_like(out, c), torch.full_like(y, COUNT)) for c in tried)
    low = min(float(o.min()) for o in reached(program))
    if not (math.isfinite(at) and all(at < other for other in others) and low >= 0):
        return []
    text = (
        f"the loss of a count of {COUNT:g} is least at an output of {number(best)}, its logarithm; outputs are never"
    )
    text += (
        f" below 0 (of other weights, too), so that all rates are above 1, and {100 * none:.0f} % of the counts are 0"
    )
    return [found("rates_for_logarithms", "failure", text)]


def _no_shares(program: Program, loss: Loss) -> list[Finding]:
    """Targets of a cross-entropy that are no shares of a whole, or that it does not lead to.

    It is linear in its targets; other losses on several outputs (rankings) may have targets of any size. One number
    for an example is a weighted class, and counts that are the inputs themselves may be described so.
    """
    task, y = program.task, loss.y
    if task.kind not in ("numbers", "binary") or y.shape != loss.random.shape:
        return []
    if task.shares(y):
        met = loss.at(y.clamp(min=1e-9).log())
        sure = loss.at(FAR * torch.zeros_like(y).scatter(task.axis, y.argmax(task.axis, keepdim=True), 1.0))
        return _sure(loss, y, met, sure)
    here, doubled, none = (loss.at(loss.random, scale * y) for scale in (1, 2, 0))
    linear = math.isclose(doubled + none, 2 * here, rel_tol=1e-3)
    weighted = bool(((y != 0).sum(task.axis) <= 1).all())
    if not linear or weighted or (isinstance(program.x, Tensor) and torch.equal(program.x, y)):
        return []
    text, sums = "the loss applies a softmax over the outputs, which then sum to 1", y.sum(task.axis)
    if task.kind == "numbers":
        return [found("loss_unfit", "failure", f"{text}, and the targets are no probabilities")]
    text += f"; the targets are 0 and 1, and up to {int(sums.max())} of them are 1 for one example"
    return [found("several_labels", "failure", text)]


def _sure(loss: Loss, y: Tensor, met: float, sure: float) -> list[Finding]:
    """A loss on shares that is smaller for outputs that are sure of the largest one than for those that are right."""
    if not sure < met - 1e-3 * abs(met):
        return []
    text = f"outputs that are the targets have a loss of {number(met)}, those that are sure of the largest one of"
    return [found("divergence_of_probabilities", "failure", f"{text} {number(sure)}")]


def _copied(program: Program, loss: Loss) -> list[Finding]:
    """A model of sequences that sees the token that it is to name: as its input at this place, or as the next one.

    One that looks ahead may be an autoencoder, if its targets are its inputs, and one whose outputs do not see their
    own token shifts them itself, as a loss may do.
    """
    x, y, task = program.x, program.y, program.task
    if not isinstance(x, Tensor) or x.ndim < 2 or x.shape != y.shape or x.shape[1] < 3 or x.dtype != y.dtype:
        return []
    counted = y != IGNORED
    copied = task.kind == "classes" and x.ndim == 2 and torch.equal(x, y)
    shifted = bool(((x[:, 1:] == y[:, :-1]) | ~counted[:, :-1]).all()) and bool(counted[:, :-1].any())
    right = task.right(y, FAR)
    if copied == shifted or right is None or not loss.at(right) < 0.1 * loss.chance:
        return []
    other = x.clone()
    other[:, -1] = x[:, -1].roll(1, 0)
    model = program.bare().eval()  # which drops nothing
    with torch.no_grad():
        made = [task.pick(program.output(model, given)) for given in (x, other)]
    moved = (made[0] - made[1]).abs() > 1e-5 * made[0].abs().max()
    moved = moved.movedim(task.axis, -1) if task.kind == "classes" else moved
    if moved.shape[:2] != x.shape[:2] or not bool(moved[:, -1].any()):
        return []
    if shifted and bool(moved[:, -2].any()):
        text = "the target at each place is the next input, and the output there changes with that input"
        return [found("targets_seen", "failure", text)]
    if shifted or bool(moved[:, :-1].any()):
        return []
    text = "the targets equal the inputs at every place, no output depends on later tokens, and each does on its own"
    return [found("targets_copied", "failure", text)]


def _apart(y: Tensor) -> dict[str, str]:
    """Cause and cure where the size of all targets is that of a few, which lie far from all others."""
    far = far_off(y)
    if far is None:
        return {}
    share, values = f"{number(100 * float(far.double().mean()), 2)} % of the targets", y[far].unique()
    if len(values) == 1 and int(far.sum()) > 2:
        cause = f"{share} are exactly {number(float(values[0]))}, far from all others: a code for what is missing"
        return {
            "cause": cause,
            "cure": "drop these examples, or leave them out of the loss, before anything is scaled",
        }
    cure = "look at them: mend or drop those that are wrong; for the others take logarithms, or the Huber loss"
    return {"cause": f"{share} lie far from all others", "cure": cure}


def _away(loss: Loss) -> list[Finding]:
    """A loss that is smaller far from the targets, on both sides of them, than at them."""
    out, y = loss.random, loss.y
    each = (
        y.ndim == out.ndim
        and len(y) == len(out)
        and all(k in (1, n) for k, n in zip(y.shape, out.shape, strict=True))
    )
    if not y.is_floating_point() or len(y) < 2 or not (each or y.numel() == out.numel()):
        return []
    right = y.to(out.dtype).reshape(out.shape) if y.numel() == out.numel() else y.to(out.dtype).expand_as(out)
    met, far = loss.at(right), 10 * float(y.std()) + 1
    above, below, other = loss.at(right + far), loss.at(right - far), loss.at(right + far, y.roll(1, 0) + 1)
    least = met - 1e-3 * abs(met) - 1e-6
    if not (above < least and below < least) or math.isclose(above, other, rel_tol=1e-6):
        return []
    text = f"outputs that meet the targets have a loss of {number(met)}, those that are {number(far, 2)} above them"
    return [found("loss_turned_round", "failure", f"{text} {number(above)}, below {number(below)}")]


def _class_numbers(program: Program) -> list[Finding]:
    y = program.labels
    if y is None or y.ndim > 2 or (y.ndim == 2 and y.shape[1] > 1) or len(y) < 30:
        return []
    values = y.unique()
    if not 3 <= len(values) <= 20 or values.double().tolist() != list(range(len(values))):
        return []
    text = f"the labels are the class numbers 0 to {len(values) - 1}, and the loss measures the distance to them"
    return [found("loss_unfit", "failure" if not y.is_floating_point() else "warning", text)]


@torch.no_grad()
def _outweighs(program: Program, seen: FirstPass) -> list[Finding]:
    """Of several outputs with a label each, one whose targets are so large that the others have no part in the
    loss."""
    y = program.sample[1]
    outs, labels = tensors_in(seen.output), list(parts.tensors(y))
    if program.given_loss is None or len(outs) != len(labels) or not math.isfinite(seen.loss):
        return []
    for i, ((place, out), target) in enumerate(zip(outs, labels, strict=True)):
        if not target.is_floating_point() or target.numel() != out.numel():
            continue
        size, made = (float(t.float().square().mean().sqrt()) for t in (target, out))
        met = replaced(seen.output, place, target.to(out.dtype).reshape(out.shape))
        left = float(program.loss(met, y).float().mean())
        if size > TARGETS * max(made, 1.0) and abs(left) * TARGETS**2 < abs(seen.loss):
            text = (
                f"targets of output {i} (counted from 0) have a root mean square of {number(size)}, its first values"
            )
            text += f" of {number(made)}; if it met them, the loss would be {number(left)} instead of"
            text = f"{text} {number(seen.loss)}, so that the other outputs have next to no part in it"
            return [found("targets_not_scaled", "failure", text)]
    return []


def first_loss(program: Program, loss: Loss | None, seen: FirstPass) -> list[Finding]:
    if loss is None:
        return _outweighs(program, seen) or [unjudged(program, "first_loss_high")]
    task, chance = program.task, loss.chance
    if not math.isfinite(seen.loss):
        return []
    if task.kind == "numbers":
        y = program.labels
        if y is None or not y.is_floating_point() or not torch.isfinite(y).all():
            return []
        size = float(y.float().square().mean().sqrt())
        made = float(task.pick(seen.output).detach().float().square().mean().sqrt())
        text = f"targets have a root mean square of {number(size)}, first outputs of {number(made)}"
        bad = size > TARGETS and size > TARGETS * made and seen.loss > 0.5 * abs(chance)
        verdict = ("failure" if size > TARGETS**2 else "warning") if bad else "ok"
        text = f"{text}; up to {TARGETS:g} is well, the aim is 1"
        return [found("targets_not_scaled", verdict, text, **(_apart(y.double().flatten()) if bad else {}))]
    if not math.isfinite(chance) or chance <= 0 or loss.kind == task.kind == "unknown":  # these may be below 0
        return []
    limit = 2 * chance + chance / math.log(max(2, task.classes))
    text = f"first loss {number(seen.loss)}; that of equal outputs is {number(chance)}; a healthy start stays below"
    text += f" {number(limit)}: logits of standard deviation s add about s^2 / 2, and at most 2 s, and s is near 1"
    # a new head with usual weights on a trained network: its features are large, and the first steps mend that
    grown = bool(seen.layers) and seen.layers[-1].given > 3 and seen.layers[-1].gain < GAIN_LARGE
    high = seen.loss > limit and not grown
    if high and _held(program) > limit:
        text += "; weights that are held fixed make it alone: those that learn are there to mend that"
        return [found("first_loss_high", "inconclusive", text)]
    return [judged("first_loss_high", high, text)]


@torch.no_grad()
def _held(program: Program) -> float:
    """The first loss without the weights that learn."""
    model = program.bare()
    for p in model.parameters():
        if p.requires_grad and p.ndim > 1:
            p.zero_()
    return program.measured(model, program.sample)[0]
