"""What is wrong with the training step: found by running it on copies, with the learning rate at 0 or as it is."""

from __future__ import annotations

import math
import traceback
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.overrides import TorchFunctionMode

from unstuck.checks.batches import Batch, same
from unstuck.checks.behaviour import step_loss
from unstuck.checks.first_pass import FirstPass
from unstuck.checks.operations import Call, Operations
from unstuck.checks.program import Program
from unstuck.checks.report import Finding, found, judged, missing
from unstuck.claims import number
from unstuck.probes.drift import BATCH_NORMS

LOST = 0.3
"""A share of gradients, or of updates, that is lost: rounding to the nearest loses next to none of healthy ones."""
REPEATS = 8
"""Calls of the step within which a step that accumulates gradients over several batches has made two updates."""

ERRORS = {
    "more than 1 value per channel": "last_batch_of_one",
    "backward through the graph a second time": "graph_kept",
    "grad can be implicitly created only for scalar": "loss_of_each",
    "does not require grad": "graph_cut",
    "modified by an inplace operation": "changed_in_place",
}
"""What the errors of a step are called."""


@dataclass
class Seen:
    """What a step did. Gradients: as autograd left them, as the optimiser took them; norms of each of its updates."""

    arrived: list[dict[int, Tensor]] = field(default_factory=list)
    taken: list[dict[int, Tensor]] = field(default_factory=list)
    evaluating: set[str] = field(default_factory=set)
    model_evaluating: bool = False
    forwards: int = 0
    cut: bool = False
    losses: list[float] = field(default_factory=list)


class Recorder(TorchFunctionMode):
    """Looks at a model and its optimiser while the user's step works on them; `close` takes the hooks away."""

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        super().__init__()
        self.seen, self.model, self.optimizer = Seen(), model, optimizer
        self.last: dict[int, Tensor] = {}
        parameters = [p for p in model.parameters() if p.requires_grad]
        self.handles = [p.register_post_accumulate_grad_hook(self._arrive) for p in parameters]
        self.handles.append(optimizer.register_step_pre_hook(self._take))
        self.handles.append(model.register_forward_pre_hook(self._forward))
        for name, module in model.named_modules():
            if isinstance(module, BATCH_NORMS):
                self.handles.append(module.register_forward_pre_hook(lambda m, _, name=name: self._norm(name, m)))

    def _arrive(self, p: Tensor) -> None:
        if p.grad is not None:
            self.last[id(p)] = p.grad.detach().clone()

    def _take(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        held = [p for group in optimizer.param_groups for p in group["params"]]
        self.seen.arrived.append(self.last)
        self.seen.taken.append({id(p): p.grad.detach().clone() for p in held if p.grad is not None})
        self.last = {}

    def _forward(self, module: nn.Module, args: Any) -> None:
        if torch.is_grad_enabled():
            self.seen.forwards += 1
            self.seen.model_evaluating |= not module.training

    def _norm(self, name: str, module: nn.Module) -> None:
        if torch.is_grad_enabled() and not module.training:
            self.seen.evaluating.add(name)

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func is torch.Tensor.backward and args:
            self.seen.cut |= args[0].grad_fn is None
        return func(*args, **(kwargs or {}))

    def close(self) -> None:
        for handle in self.handles:
            handle.remove()


def judge(program: Program, first: FirstPass) -> list[Finding]:
    """Findings on gradients that are not zeroed, steps that change nothing, and the wrong mode."""
    slugs = ("gradients_not_zeroed", "no_step", "batchnorm_mode")
    if program.train_step is None:
        absent = [missing(slug, "train_step") for slug in slugs if slug != "batchnorm_mode" or first.norms]
        shape = tuple(program.loss(first.output, program.sample[1]).shape)
        if math.prod(shape) == 1:
            return absent
        return [*absent, found("loss_of_each", "warning", f"its shape is {shape}")]
    try:
        still, moving = _run(program, 0.0), _run(program, 1.0)
    except Exception as error:
        text = f"the training step raises {type(error).__name__}: {error}"
        return [*(found(slug, "inconclusive", text) for slug in slugs), *raises(program)]
    underflow = _underflow(program, still, first)
    return [
        *(_unread(program) or _labels_unread(program)),
        _zeroed(still[0]),
        *underflow,
        *_moves(program, moving, first, lost=bool(underflow)),
        *_modes(program, still[0]),
    ]


def raises(program: Program) -> list[Finding]:
    """The error with which training stops, on copies that nothing is hooked to; but no schedule's or iterator's that
    has come to its end, as it may after more steps than it was made for.
    """
    model, optimizer = program.fresh()
    program.seeded()
    count = len(program.batches)
    for i in range(max(REPEATS, program.steps)):
        try:
            program.step(model, optimizer, program.batches[i % count])
        except Exception as error:
            ended = i >= max(REPEATS, count)
            if isinstance(error, StopIteration) or "lr_scheduler.py" in traceback.format_exc():
                return []
            text = f"step {i + 1} raises {type(error).__name__}: {error}"
            if "does not require grad" in text and not any(p.requires_grad for p in model.parameters()):
                return []  # which is told of the parameters
            slug = next((slug for part, slug in ERRORS.items() if part in text), "step_raises")
            return [found(slug, "warning" if ended else "failure", text)]
    return []


def _run(program: Program, scale: float) -> tuple[Seen, nn.Module, bool]:
    """The step on the same batch again and again, until two updates were made: what was seen, and whether weights
    moved."""
    settings = {"weight_decay": 0.0} if scale == 0 else {}
    model, optimizer = program.fresh(scale=scale, **settings)
    before = [p.detach().clone() for p in model.parameters()]
    recorder = Recorder(model, optimizer)
    try:
        for i in range(REPEATS):
            program.seeded()
            batch = program.batches[i % len(program.batches) if scale else 0]  # the gradient of one may be exactly 0
            with recorder:
                recorder.seen.losses.append(program.step(model, optimizer, batch))
            if len(recorder.seen.taken) >= 3 and not scale:
                break
    finally:
        recorder.close()
    moved = any(not torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))
    return recorder.seen, model, moved


def _unread(program: Program) -> list[Finding]:
    """Whether the step does the same whichever batch it is handed."""
    other = next((batch for batch in program.batches if not same(batch[0], program.x)), None)
    if other is None or not _same_step(program, other):
        return []
    text = "on two batches that differ the loss is the same, and so is every weight after the step"
    return [found("batch_not_used", "failure", text)]


def _same_step(program: Program, other: Batch) -> bool:
    """Whether a step on another batch has the same loss as on the first, and moves the weights, in the same way."""
    made = []
    for batch in (program.batches[0], other):
        model, optimizer = program.fresh()
        program.seeded()
        made.append([torch.tensor(program.step(model, optimizer, batch)), *model.parameters()])
    return same(*made) and not same(made[0][1:], list(program.model.parameters()))


def _labels_unread(program: Program) -> list[Finding]:
    """Whether the step does the same whatever the labels, although its loss is one for outputs that name classes.

    Where outputs are compared with the inputs, or with each other, nothing needs labels: they may then be all the
    same, the inputs again, or numbers of the examples.
    """
    task, (x, y) = program.task, program.batches[0]
    if task.kind not in ("classes", "binary") or not isinstance(y, Tensor) or not y.ndim:
        return []
    beside = isinstance(x, Tensor) and x.shape == y.shape
    if beside or not 1 < len(y.unique()) < max(y.numel(), 3):
        return []
    if not all(
        _same_step(program, (x, labels)) for labels in (task.others(y), y.roll(1, 0))
    ):  # other names, other order
        return []
    inner = step_loss(program)
    if inner is None or inner.kind not in ("softmax", "sigmoid", "probabilities", "log-probabilities"):
        return []
    text = "with other labels for the same inputs the loss of the step is the same, and so is every weight after it"
    return [found("labels_not_used", "failure", text)]


def _flat(gradients: dict[int, Tensor], keys: list[int]) -> Tensor:
    return torch.cat([gradients[key].flatten().double() for key in keys])


def _zeroed(seen: Seen) -> Finding:
    slug = "gradients_not_zeroed"
    if len(seen.arrived) < 2:
        text = f"the optimiser made {len(seen.arrived)} updates in {REPEATS} calls of the step"
        return found(slug, "inconclusive", text)
    keys = [key for key in seen.arrived[0] if all(key in part for part in (seen.arrived[1], seen.taken[0]))]
    if not keys:
        return found(slug, "inconclusive", "no gradient arrived")
    first, second, left = (_flat(part, keys) for part in (seen.arrived[0], seen.arrived[1], seen.taken[0]))
    more, size = second - first, left.norm()
    if not torch.isfinite(second).all() or size == 0:
        return found(slug, "inconclusive", "gradients are zero or not finite")
    ratio = float(second.norm() / first.norm())
    text = f"with a learning rate of 0 and the same batch the second gradient is {number(ratio)} times the first;"
    # what is there more is just what was left over, whether it was clipped or not
    return judged(slug, float((more - left).norm()) < 0.02 * float(size), f"{text} it must be 1")


def _underflow(program: Program, still: tuple[Seen, nn.Module, bool], first: FirstPass) -> list[Finding]:
    """Gradients that are 0 in the step, which computes in float16, and not where the loss is computed plainly."""
    seen, model, _ = still
    lost = live = 0
    for name, p in model.named_parameters():
        plain, own = first.gradients.get(name), seen.arrived[0].get(id(p)) if seen.arrived else None
        if plain is not None and own is not None:
            lost += int(((own == 0) & (plain != 0)).sum())
            live += int((plain != 0).sum())
    if not live or lost < LOST * live:
        return []
    kinds: set[torch.dtype] = set()

    def see(call: Call) -> None:
        kinds.update(t.dtype for t in call.tensors())

    model, optimizer = program.fresh(scale=0.0)
    with Operations(see).watching(model):
        program.step(model, optimizer, program.batches[0])
    if torch.float16 not in kinds:
        return []
    text = f"{100 * lost / live:.0f} % of the gradients are 0 in the step, which computes in float16, and not in"
    return [found("half_underflow", "failure", f"{text} float32; above {100 * LOST:.0f} % they matter")]


def _moves(program: Program, moving: tuple[Seen, nn.Module, bool], first: FirstPass, *, lost: bool) -> list[Finding]:
    """Whether weights move, and if not, why. `lost`: gradients are 0 for want of precision."""
    seen, _, moved = moving
    if moved:
        return [found("no_step", "ok", "the weights change")]
    has_gradient = any(g is not None and bool(g.any()) for g in first.gradients.values())
    if not has_gradient or not all(math.isfinite(v) for v in seen.losses if v == v):
        return []
    if program.optimizer is not None and not any(float(group["lr"]) for group in program.optimizer.param_groups):
        return []  # which the trial tells
    if any(seen.taken) and _run(program, 1e4)[2]:
        return [found("no_step", "ok", "steps are too small to be seen in the weights")]
    if seen.cut and not any(seen.arrived):
        text = "backward() is called on a loss that no operation made: its graph is cut, and no gradient arrives"
        return [found("parameters_detached", "failure", text)]
    arrived = [g for part in seen.arrived for g in part.values()]
    if seen.taken and arrived and not lost and not any(bool(g.any()) for g in arrived):
        text = "backward() leaves gradients that are exactly 0 in all parameters: the loss in the step has no slope"
        return [found("parameters_detached", "failure", text)]
    slug = "no_step"
    if not seen.taken:
        why = f"optimizer.step() was not called in {REPEATS} calls of the step"
    elif not any(seen.arrived):
        why = "backward() left no gradient in any parameter"
        slug, why = (
            ("no_step", why) if seen.forwards else ("other_model", f"{why}, and the step never calls this model")
        )
    else:
        why = "gradients arrive, and are zero or gone when the optimiser takes them"
    return [found(slug, "failure", f"no parameter changed in {len(seen.losses)} calls of the step: {why}")]


def _modes(program: Program, seen: Seen) -> list[Finding]:
    norms = [name for name, module in program.model.named_modules() if isinstance(module, BATCH_NORMS)]
    if not norms:
        return []
    if not seen.evaluating:
        return [found("batchnorm_mode", "ok", "batch norm trains on the batch's statistics")]
    text = f"the step runs {_modules(sorted(seen.evaluating))} in evaluation mode"
    model = program.model
    fresh = [n for n in norms if n in seen.evaluating and _never_ran(model.get_submodule(n))]
    if seen.model_evaluating or fresh:
        more = ", whose running statistics are still those of the start" if fresh else ", as the whole model"
        return [found("batchnorm_mode", "failure", text + more, min(seen.evaluating))]
    return [found("batchnorm_mode", "ok", f"{text}, the model in training mode: frozen on purpose")]


def _modules(names: list[str]) -> str:
    if len(names) == 1:
        return f"module {names[0]}" if names[0] else "the model itself"
    if len(names) > 4:
        return f"{len(names)} modules, {', '.join(names[:3])} among them,"
    return f"modules {', '.join(names[:-1])} and {names[-1]}"


def _never_ran(norm: Any) -> bool:
    return norm.running_mean is not None and not bool(norm.running_mean.any())
