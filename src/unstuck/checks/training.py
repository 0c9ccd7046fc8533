"""A short trial training with the user's step, and the same with another learning rate, momentum or weight decay."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from unstuck.checks.behaviour import Loss
from unstuck.checks.find_nan import FAULT_OF, OVERFLOWS, locate
from unstuck.checks.first_pass import FirstPass, look
from unstuck.checks.loop import REPEATS, Recorder
from unstuck.checks.program import Program, finite
from unstuck.checks.report import Finding, found, missing
from unstuck.checks.start import COLLAPSED, DEAD, spread_and_size
from unstuck.claims import number
from unstuck.sharpness import sharpness

WATCHED = 25
"""Steps at the beginning of a trial whose gradients are looked at."""

LEARNED = 0.3
"""A trial that takes this share off the loss has learned something."""

BELOW = 0.1
"""Outputs that are all the same have at best the loss of chance: a tenth below it they are not."""

SLOW = 5_000
"""Steps that the loss would take to 0 at the trial's rate: more than twice the 2,000 after which one ought to see
something."""

UNDONE = 0.1
"""Of the optimiser's way: where less is left, the learning rate is ten times smaller than it says."""

FAINT, USUAL = 1e-8, (1e-3, 1e-2, 0.1)
"""Below the first a learning rate is compared with the usual ones of Adam and of descent, and not with multiples."""

LOWERED = 1e-3
"""A learning rate below this share of its highest moves nothing any more: cosine and one-cycle schedules reach it at
their end."""

TAME = 1e3
"""Weights below it have not grown without end."""
RISKY = {
    *("log", "log2", "log10", "log1p", "div", "sqrt", "rsqrt", "pow", "reciprocal", "exp", "linalg_vector_norm"),
    *("softmax", "safe_softmax", "linalgvectornorm", "norm", "acos", "asin", "atanh", "lgamma"),
    "binary_cross_entropy",
}
"""Operations that have no finite value, or slope, at some finite numbers."""

BUDGET = 2e10
"""Multiplications for one trial: the number of steps follows from it, and from no clock, so that reports repeat."""
EACH_OPERATION = 4e4
"""Multiplications in the time that calling an operation takes."""


@dataclass
class Trial:
    """A trial: its losses, the loss on the first batch before and after, what the first steps' gradients were, the
    learning rates before each step and after the last."""

    losses: list[float]
    before: float
    after: float
    model: nn.Module
    optimizer: Optimizer
    clipped: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    gradient: float = math.nan
    shrunk: float = 1.0
    chance: float = math.inf
    rates: list[float] = field(default_factory=list)

    @property
    def stopped(self) -> int | None:
        """The first step whose loss is not finite."""
        return next((i for i, value in enumerate(self.losses) if not math.isfinite(value)), None)

    @property
    def end(self) -> float:
        """The loss at the end: of the last steps on average, or of the first batch."""
        if self.stopped is not None or not math.isfinite(self.after):
            return math.inf
        last = self.losses[-max(1, len(self.losses) // 5) :]
        return sum(last) / len(last)

    @property
    def start(self) -> float:
        """The first loss, or that of chance where it is lower: to come down to chance is not to learn."""
        return min(self.before, self.chance)

    @property
    def noise(self) -> float:
        return statistics.pstdev(self.losses[-max(2, len(self.losses) // 5) :])

    def course(self) -> str:
        """What became of the loss where it did not fall much, as part of a sentence."""
        said = "rose" if self.end > self.before else "hardly fell, either"
        if self.end < self.before and self.chance < self.before:
            said = f"came down to that of chance ({number(self.chance)}) and hardly fell any further"
        if len(self.losses) > 10 and self.noise > abs(self.end - self.before):
            said = f"changed less than it differs from step to step ({number(self.noise)}, a standard deviation)"
        ends = f"from {number(self.before)} to {number(self.end)}"
        return f"the trial's loss {said}: {ends} in {len(self.losses)} steps"

    def gone(self) -> float:
        """The share of the loss that is gone at the end; negative where it grew."""
        if not math.isfinite(self.end) or not self.start > 0:
            return -math.inf if not math.isfinite(self.end) else 0.0
        return (self.start - self.end) / self.start


def affordable(program: Program, seen: FirstPass, wanted: int, examples: int | None = None) -> int:
    """How many steps of `wanted` a training may have, on batches like the first, or of so many examples."""
    return max(min(wanted, 10), min(wanted, int(BUDGET * wanted / program.steps / _each(program, seen, examples))))


def within(program: Program, seen: FirstPass, examples: int) -> int:
    """How many steps on so many examples cost as much as one trial."""
    return int(BUDGET / _each(program, seen, examples))


def _each(program: Program, seen: FirstPass, examples: int | None) -> float:
    larger = 1.0 if examples is None else examples / max(1, len(program.y) if isinstance(program.y, Tensor) else 1)
    return max(3 * (seen.cost * larger + EACH_OPERATION * seen.operations), 1)


def scale_free(optimizer: Optimizer) -> bool:
    """Whether its steps do not depend on the scale of the gradient, as Adam's and RMSprop's, which divide by it."""
    return all("eps" in group or "betas" in group for group in optimizer.param_groups)


def run(program: Program, steps: int, *, watched: bool = False, held: float = 0.0, **settings: float) -> Trial:
    """Train a copy; `settings` as for `Program.fresh`. It ends where the loss is not finite or a thousand times
    larger.

    `held`: the learning rate at which each step begins, whatever a scheduler has made of it; 0 leaves it alone.
    """
    model, optimizer = program.fresh(**settings)
    before, _ = program.measured(model, program.batches[0])
    size = _norm(model)
    recorder = Recorder(model, optimizer) if watched else None
    losses: list[float] = []
    validated: list[float] = []
    rates: list[float] = []
    program.seeded()
    try:
        for step in range(steps):
            batch = program.batches[step % len(program.batches)]
            for group in optimizer.param_groups if held else ():
                group["lr"] = held
            rates.append(_rate(optimizer))
            value = program.step(model, optimizer, batch)
            if value != value and all(v == v for p in model.parameters() for v in [float(p.detach().sum())]):
                value = program.measured(model, batch)[0]  # the user's step returns no loss
            losses.append(value)
            if recorder is not None and step + 1 == WATCHED:
                recorder.close()
            if watched and program.validation and (step + 1) % max(1, steps // 10) == 0:
                validated.append(program.measured(model, program.validation[0], training=False)[0])
            if not math.isfinite(value) or abs(value) > 1e3 * (abs(before) + 1):
                break
    finally:
        if recorder is not None:
            recorder.close()
    after, _ = program.measured(model, program.batches[0])
    shrunk = _norm(model) / size if size else 1.0
    trial = Trial(losses, before, after, model, optimizer, shrunk=shrunk, validation=validated, chance=program.chance)
    trial.rates = [*rates, _rate(optimizer)]
    if recorder is not None:
        _gradients(trial, recorder)
    return trial


def _rate(optimizer: Optimizer) -> float:
    return max(float(group["lr"]) for group in optimizer.param_groups)


def _norm(model: nn.Module) -> float:
    return math.sqrt(sum(float(p.detach().double().square().sum()) for p in model.parameters() if p.ndim > 1))


def _gradients(trial: Trial, recorder: Recorder) -> None:
    for arrived, taken in zip(recorder.seen.arrived, recorder.seen.taken, strict=True):
        keys = [key for key in taken if key in arrived]
        came, left = (
            math.sqrt(sum(float(part[k].double().square().sum()) for k in keys)) for part in (arrived, taken)
        )
        if came > 0 and math.isfinite(came):
            trial.clipped.append(left / came)
    entries = [g.flatten().abs() for taken in recorder.seen.taken[-1:] for g in taken.values()]
    joined = torch.cat(entries) if entries else torch.zeros(0)
    joined = joined[joined > 0]
    trial.gradient = float(joined.median()) if len(joined) else 0.0


# --- the learning rate ---

SLUGS = ("lr_small", "lr_large", "diverges", "units_killed")
"""The faults that the trial, and others beside it, tell of."""


def judge(program: Program, seen: FirstPass, loss: Loss | None, own: Trial, steps: int) -> list[Finding]:
    """Findings on the learning rate, and on units that die, of the program's own trial and of others beside it."""
    chance = loss.chance if loss is not None and math.isfinite(loss.chance) else own.before
    if (fell := _scheduled(program, own, steps)) is not None:
        return [fell]
    killed = _killed(program, seen, own)
    if killed and own.gone() >= LEARNED and not run(program, steps, scale=0.1).gone() > own.gone():
        killed = []  # the steps that silenced them took more off the loss than shorter ones do
    wild = not math.isfinite(own.end) or not finite(own.model)
    if own.gone() >= LEARNED and not killed and not wild:
        text = f"the trial's loss falls from {number(own.before)} to {number(own.end)} in {len(own.losses)} steps"
        return [found(slug, "ok", text) for slug in SLUGS]
    if program.optimizer is None:
        born = _born(program, own, last=True) if wild else []
        return [*born, *(missing(slug, "optimizer") for slug in SLUGS[:3]), *killed]
    if own.before < 0.5 * chance and not wild and own.end < 2 * own.before:
        return [found(slug, "ok", "the network has been trained, and stays so") for slug in SLUGS]
    rate = _rate(program.optimizer)
    if rate == 0:
        return [_zero(program.optimizer)]
    if own.stopped and (born := _born(program, own)):
        return born
    grew = wild or own.end > 2 * max(own.before, chance)
    result = _fast(program, own, steps, rate, grew) if grew or own.gone() < LEARNED else []
    if not result and math.isfinite(own.end):
        result = _slow(program, own, steps, rate)
    if wild and not result:
        result = _born(program, own, last=True)
    # where a layer is dead and nothing flows through it, the rate is not the whole story any more
    if killed and (not result or not _flows(program, own)):
        result += killed
    named = {f.fault for f in result}
    text = f"loss {number(own.before)} to {_end(own)} in {len(own.losses)} steps; no other rate does better"
    return [*result, *(found(slug, "ok", text) for slug in SLUGS if slug not in named)]


def outgrown(program: Program, own: Trial, findings: list[Finding]) -> list[Finding]:
    """The same findings, in which a collapse of the start that the trial undoes is a warning only."""
    if own.gone() < BELOW:
        return findings
    spread, size = spread_and_size(program.task.pick(program.measured(own.model, program.batches[0])[1]))
    if not spread > COLLAPSED * size:
        return findings
    text = f"the trial undoes it: after {len(own.losses)} steps it is {number(spread / size, 2)} of their size"
    text += f", and the loss goes from {number(own.before)} to {_end(own)}"
    return [
        replace(f, verdict="warning", evidence=f"{f.evidence}; {text}")
        if (f.fault, f.verdict) == ("inputs_collapse", "failure")
        else f
        for f in findings
    ]


def _fast(program: Program, own: Trial, steps: int, rate: float, grew: bool) -> list[Finding]:
    others = {scale: run(program, steps, scale=scale) for scale in (0.1, 0.01, 0.001)[: 3 if grew else 2]}
    best, better = max(others.items(), key=lambda each: each[1].gone())
    text = f"learning rate {rate:g}: loss {number(own.before)} to {_end(own)}; {rate * best:g}: to"
    text += f" {number(better.end)}"
    if _grows(own) and better.gone() > 0 and math.isfinite(better.end):
        return [found("diverges", "failure", f"{text}{_border(program, rate)}")]
    if better.gone() > max(own.gone(), 0.0) + LEARNED:
        return [found("lr_large", "failure", f"{text}, in as many steps")]
    return []


def _born(program: Program, own: Trial, *, last: bool = False) -> list[Finding]:
    """Where a value that is not finite arises in the trial, if it is none of numbers that have grown too large.

    `last`: nothing else has told why, so that it is said in any case.
    """
    step = len(own.losses) if own.stopped is None else own.stopped
    for _ in range(2):  # the first time to find the step that leaves weights that are not finite
        model, optimizer = program.fresh()
        program.seeded()
        for i in range(step):
            program.step(model, optimizer, program.batches[i % len(program.batches)])
            if not finite(model):
                step = i
                break
    if all(float(p.detach().abs().max()) <= TAME for p in model.parameters() if p.numel()):
        origin = locate(program.at(program.batches[step % len(program.batches)], model))
        kind = origin.operation.removesuffix("0").removesuffix("Backward").lower().strip("_")
        text = f"after {step} steps of the trial: {origin}"
        if origin.where in FAULT_OF and origin.half:
            return [found("half_overflow", "failure", f"{text} {OVERFLOWS}", origin.layer)]
        if origin.where in FAULT_OF and (last or kind in RISKY):
            return [found(FAULT_OF[origin.where], "failure", text, origin.layer)]
    if not last:
        return []
    bad = [name for name, p in own.model.named_parameters() if not p.isfinite().all()]
    what = f"the weights of {', '.join(bad[:3])}" if bad else "the loss"
    text = f"the first loss is {number(own.before)}; step {step + 1} of the trial leaves {what} not finite"
    lines = {"cure": "give LBFGS all examples in each step, and line_search_fn='strong_wolfe'"}
    return [found("never_finite", "failure", text, **(lines if isinstance(optimizer, torch.optim.LBFGS) else {}))]


def _grows(own: Trial) -> bool:
    """Whether the loss is not finite, or goes on growing: its last quarter is above three times its second."""
    if not math.isfinite(own.end):
        return True
    quarter = max(1, len(own.losses) // 4)
    second, last = own.losses[quarter : 2 * quarter] or own.losses, own.losses[-quarter:]
    return own.end > 2 * abs(own.before) and sum(last) / len(last) > 3 * sum(second) / len(second)


def _flows(program: Program, own: Trial) -> bool:
    after = look(program, own.model)
    return not after.layers or after.layers[0].gradient > 0


def _end(trial: Trial) -> str:
    return number(trial.end) if trial.stopped is None else f"not finite at step {trial.stopped}"


def _slow(program: Program, own: Trial, steps: int, rate: float) -> list[Finding]:
    start, last = own.before, own.after
    share = (start - last) / start if start > 0 else 0.0
    needed = len(own.losses) / share if share > 0 else math.inf
    if needed < SLOW:
        return []
    if told := _undone(program) or _rising(program, own, steps):
        return told
    scales = (100.0, 1e3, 1e4, 1e5) if rate >= FAINT else tuple(each / rate for each in USUAL)
    if program.optimizer is not None and scale_free(program.optimizer):  # no weight needs steps longer than 1
        scales = tuple(scale for scale in scales if scale * rate <= 1)
    for scale in scales:
        faster = run(program, steps, scale=scale)
        if faster.gone() > max(LEARNED, 10 * share):
            text = f"learning rate {rate:g}: loss {number(start)} to {number(last)} in {len(own.losses)} steps, at"
            text += (
                f" which it would take {number(needed, 2)} steps to 0"
                if needed < math.inf
                else " which it never falls"
            )
            text += f"; {rate * scale:g}: to {number(faster.end)}"
            text += " in as many"
            return [found("lr_small", "failure", f"{text}; more than {SLOW:,} is more than one ought to wait")]
    return []


def _undone(program: Program) -> list[Finding]:
    """Whether the parameters end a step far nearer to where they were than the optimiser has put them.

    The middle one counts of those that move at all: a mask that holds most of them moves the others as far as ever.
    """
    model, optimizer = program.fresh()
    put: list[list[Tensor]] = []
    optimizer.register_step_post_hook(lambda *_: put.append([p.detach().clone() for p in model.parameters()]))
    program.seeded()
    ratio = 1.0
    for i in range(REPEATS):
        put.clear()
        before = [p.detach().clone() for p in model.parameters()]
        program.step(model, optimizer, program.batches[i % len(program.batches)])
        pairs = zip(put[-1] if put else (), model.parameters(), before, strict=False)
        went = [((p - b).flatten(), (a - b).flatten()) for a, p, b in pairs]
        kept = torch.cat([(end / way).abs()[(end != 0) & (way != 0)] for end, way in went]) if went else before[0][:0]
        ratio = float(kept.median()) if kept.numel() else ratio
    if ratio >= UNDONE:
        return []
    text = f"at the end of a step the parameters have moved by {number(ratio, 2)} of the way that the optimiser has"
    return [found("steps_undone", "failure", f"{text} moved them (the middle one of them): the rest is undone")]


def _rising(program: Program, own: Trial, steps: int) -> list[Finding]:
    """Whether a scheduler raises the learning rate so slowly that the trial ends long before it is reached."""
    groups = program.optimizer.param_groups if program.optimizer is not None else []
    top = max((float(group.get(name, 0.0)) for group in groups for name in ("initial_lr", "max_lr")), default=0.0)
    first, last = own.rates[0], own.rates[-1]
    if not first < last < top or run(program, steps, held=top).gone() < LEARNED:
        return []
    needed = len(own.losses) * (top - first) / (last - first)
    text = (
        f"the step raises the learning rate from {first:g} to {last:g} in {len(own.losses)} steps, and has {top:g} as"
    )
    text += f" its aim, with which the trial learns: it is there after {number(needed, 2)} steps"
    bad = "failure" if needed > SLOW else "inconclusive"
    return [found("warm_up_long", bad, f"{text}; more than {SLOW:,} is more than one ought to wait")]


def _zero(optimizer: Optimizer) -> Finding:
    """A learning rate of 0: a scheduler may set it there for the first steps, nobody else has a reason."""
    later = max(float(group.get("initial_lr", 0)) for group in optimizer.param_groups)
    if not later:
        return found("lr_small", "failure", "the learning rate is 0: no step changes a weight")
    text = f"the learning rate is 0, where a scheduler has set it ({later:g} before): nothing is learned until it is"
    text += " called, which would be a whole epoch where it is called after each"
    return found("schedule_from_zero", "warning", text)


def _scheduled(program: Program, own: Trial, steps: int) -> Finding | None:
    """A learning rate that the step itself lowers so fast that a constant one does better."""
    highest, last = max(own.rates, default=0.0), own.rates[-1] if own.rates else 0.0
    if not last < LOWERED * highest or not math.isfinite(own.end):
        return None
    held = run(program, steps, held=highest)
    if held.gone() < own.gone() + LEARNED:
        return None
    gone = next(i for i, rate in enumerate(own.rates) if rate < LOWERED * highest and i > own.rates.index(highest))
    text = f"the step lowers the learning rate from {highest:g} to {last:g} within {len(own.losses)} steps (below a"
    text += f" thousandth of it after {gone}), as a scheduler for epochs does that is called after each batch: loss"
    text += f" {number(own.before)} to {number(own.end)}; where the rate stays as it is, to {number(held.end)}"
    return found("schedule_by_batch", "failure", text)


def _border(program: Program, rate: float) -> str:
    """How the rate compares with 2 / sharpness, for plain descent on a small model."""
    optimizer, x, y = program.optimizer, program.x, program.y
    plain = isinstance(optimizer, torch.optim.SGD) and not any(g["momentum"] for g in optimizer.param_groups)
    small = sum(p.numel() for p in program.model.parameters()) < 2e5
    if not (plain and small and isinstance(x, Tensor) and isinstance(y, Tensor)):
        return ""
    try:
        value = float(sharpness(program.bare(), x, y, loss_fn=lambda out, y: program.loss(out, y))[0])
    except Exception:  # not twice differentiable
        return ""
    return f"; 2 / sharpness is {number(2 / value)} at the start" if value > 0 else ""


def _killed(program: Program, before: FirstPass, own: Trial) -> list[Finding]:
    if not finite(own.model):
        return []
    after = {a.name: a for a in look(program, own.model, backward=False).activations}
    blocked = own.gone() < LEARNED and not _flows(program, own)
    for was in before.activations:
        now = after.get(was.name)
        limit = DEAD + (0 if blocked else was.units**-0.5)  # few units of a branch may die without harm
        if now is not None and was.examples >= 16 and now.dead > limit and now.dead - was.dead > 0.3:
            text = f"{100 * was.dead:.0f} % of {was.name} fired on no example before the trial,"
            text += f" {100 * now.dead:.0f} % after {len(own.losses)} steps; more than {100 * DEAD:.0f} %"
            text += " is no chance"
            return [found("units_killed", "failure", text, was.name)]
    return []
