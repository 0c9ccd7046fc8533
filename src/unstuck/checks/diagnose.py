"""`diagnose`: the order of the examination, what follows from what, and the verdicts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from unstuck.arguments import instance, short, whole
from unstuck.checks import (
    capacity,
    data,
    labels,
    layers,
    learning,
    loop,
    numbers,
    optimiser,
    output,
    start,
    targets,
    training,
    wiring,
)
from unstuck.checks.behaviour import Loss, ending, loss_of
from unstuck.checks.causes import EXPLAINS, ROOTS, ordered
from unstuck.checks.first_pass import FirstPass, look
from unstuck.checks.from_record import read
from unstuck.checks.program import Program, examined
from unstuck.checks.report import Finding, Report, found
from unstuck.record import Record


def diagnose(
    model: nn.Module,
    batch: Any,
    *,
    loss_fn: Callable | None = None,
    optimizer: Optimizer | None = None,
    train_step: Callable | None = None,
    validation: Any = None,
    record: Record | None = None,
    steps: int = 100,
    seed: int = 0,
    device: str | torch.device | None = None,
) -> Report:
    """What is wrong with a network that does not learn: causes first, each with evidence, cure, and a page of the
    book.

    It looks at data, outputs and loss, weights, one forward and one backward pass, the training step, and a short
    trial training. Everything runs on copies; weights, gradients, modes, the optimiser and random states are
    afterwards what they were, and so are schedulers and counters that `train_step` uses. What could not be judged is
    "inconclusive", and says which argument is missing.

    Args:
        model: any module that can be copied. Several inputs are a tuple `x`, named ones a dict.
        batch: `(x, y)`, or an iterable of such pairs (the first 50 are taken), as training sees them.
        loss_fn: of (output, y), judged by its behaviour. None: the one in `train_step`, or the usual one.
        optimizer: of this model's parameters; rebuilt on the copy with its state.
        train_step: `train_step(model, optimizer, batch) -> loss`, one step of training as the program does it.
        validation: like `batch`, of examples that are not trained on.
        record: of `unstuck.probes.watch` or `fit`, from the program's own training.
        steps: of the trial; fewer where one of them is expensive, which the report says.
        seed: of the trial's random numbers.
        device: where the copies run; None leaves them where they are.

    Raises:
        TypeError, ValueError: an argument is of the wrong kind, the model cannot be copied or fails on the batch.
    """
    if record is not None:
        instance("record", record, Record, "an unstuck.record.Record")
    steps, seed = whole("steps", steps), whole("seed", seed, least=0, most=2**32 - 1)
    if device is not None:
        try:
            device = torch.device(device)
        except (RuntimeError, TypeError) as error:
            raise ValueError(f"device: expected the name of one, as 'cpu', got {short(device)} ({error})") from error
    given = {"optimizer": optimizer, "validation": validation, "loss_fn": loss_fn, "train_step": train_step}
    with examined(model, batch, **given, steps=steps, seed=seed, device=device, runs=False) as program:
        if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
            raise ValueError("model: expected Python modules, got one of torch.jit, which no check can watch")
        return Examination(program, record).report()


class Examination:
    """The examination of one program, from what is cheap and explains most to what costs most and explains least."""

    def __init__(self, program: Program, record: Record | None) -> None:
        self.program, self.record = program, record
        self.findings: list[Finding] = []
        self.notes: list[str] = []
        self.curve: list[float] = []
        self.seen = FirstPass()
        self.untrained, self.token = True, ""

    def report(self) -> Report:
        self._examine()
        if self.record is not None:
            self.findings += read(self.record)
        signal = [(layer.name, layer.spread) for layer in self.seen.layers]
        findings, later = ordered(self.findings)
        return Report(findings, self.notes, self.curve, signal, later)

    def failed(self, *slugs: str) -> bool:
        return any(f.verdict == "failure" and (not slugs or f.fault in slugs) for f in self.findings)

    def raised(self) -> bool:
        return any(f.verdict in ("failure", "warning") for f in self.findings)

    def attempt(self, check: Callable, *args: Any) -> Any:
        """What a check finds; what it cannot handle is a note, and no alarm."""
        try:
            made = check(*args)
        except Exception as error:
            self.notes.append(f"{check.__module__.rpartition('.')[2]}.{check.__name__} could not be done: {error}")
            return None
        rows = made[0] if isinstance(made, tuple) else made
        self.findings += rows
        return made

    def _examine(self) -> None:
        program = self.program
        self.attempt(data.look_at_inputs, program)
        self.token = data.one_token(program)
        self.notes += filter(None, [self.token])
        if not self._runs():
            return
        loss = self._loss()
        self.attempt(targets.look_at_labels, program, loss)
        if self.failed("labels_out_of_range", "labels_wrong_shape") and not self._loss_works():
            return
        broken = self.attempt(numbers.judge, program)
        try:
            self.seen = seen = look(program)
        except Exception as error:
            self._outputs(loss)
            if self._loss_works() or (program.given_loss is None and program.train_step is not None):
                self._stopped(error)
            elif not self.failed("labels_out_of_range", "labels_wrong_shape", *output.SLUGS):
                out, y = program.task.pick(program.task.output), program.y
                shapes = f"outputs {tuple(out.shape)}, labels {tuple(getattr(y, 'shape', ()))}"
                slug = "loss_refuses_types" if "ype" in str(error) else "loss_refuses"
                self.findings.append(found(slug, "failure", f"the loss fails on {shapes}: {error}"))
            return
        self.attempt(start.look_at_weights, program, seen)
        self.attempt(data.look_at_padding, program, seen)
        self._outputs(loss)
        if self.failed("inputs_not_finite", "weights_not_finite") or (broken is not None and broken[1]):
            return
        self.attempt(output.first_loss, program, loss, seen)
        wired = self.attempt(wiring.judge, program, seen)
        self.notes += wired[1] if wired else []
        self.attempt(wiring.flat, program, seen)
        self.attempt(data.look_at_scale, program, seen)
        self.attempt(data.look_at_validation, program)
        chance = math.nan if loss is None else loss.chance
        if loss is not None and loss.kind != "unknown" and chance > 0:
            program.chance = chance
        self.untrained = not (math.isfinite(chance) and seen.loss < 0.7 * chance)
        self.attempt(start.look_at_signal, program, seen, self.untrained)
        if self.untrained:
            self.attempt(start.look_at_outputs, program)
        self.attempt(layers.judge, program, seen)
        self.attempt(loop.judge, program, seen)
        self.attempt(numbers.half, program, seen)
        if seen.differentiable and any(g is not None and bool(g.any()) for g in seen.gradients.values()):
            self._train(loss)

    def _outputs(self, loss: Loss | None) -> None:
        program = self.program
        try:
            end = ending(program)
        except Exception:
            end = "free"
        seen = self.seen if self.seen.output is not None else FirstPass(output=program.task.output)
        self.attempt(output.judge, program, loss, end, seen)

    def _runs(self) -> bool:
        try:
            _ = self.program.task
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            self.findings.append(found("batchnorm_single", "failure", str(error.__cause__)))
            return False
        return True

    def _stopped(self, error: Exception) -> None:
        """Training stops with this error: say so once, as a finding where the program's own step raises it, too."""
        said, raised = str(error)[:50], loop.raises(self.program)
        if said:
            self.notes = [note for note in self.notes if said not in note]
        self.findings += raised
        if not raised:
            more = "; give loss_fn" if self.program.given_loss is None else ""
            self.notes.append(f"The trial could not be made: {error}{more}")

    def _loss(self) -> Loss | None:
        try:
            loss = loss_of(self.program)
            if loss is None or self.program.given_loss is not None:
                return loss
            # a step whose loss is below 0, as for sure mistakes, may follow a reward: its level tells nothing
            right = loss.task.right(loss.y, 3.0)
            signed = any(loss.at(s * r) < 0 for s in (1, -1) for r in (loss.random, right) if r is not None)
            return None if signed and loss.kind in ("softmax", "sigmoid", "unknown") else loss
        except Exception as error:
            self.notes.append(f"the loss could not be examined: {error}")
            return None

    def _loss_works(self) -> bool:
        try:
            for x, y in self.program.batches:
                with torch.no_grad():
                    self.program.loss(self.program.output(self.program.bare(), x), y)
        except Exception:
            return False
        return True

    def _train(self, loss: Loss | None) -> None:
        program = self.program
        steps = training.affordable(program, self.seen, program.steps)
        if steps < program.steps:
            self.notes.append(f"A step is expensive: the trial had {steps} steps instead of {program.steps}.")
        try:
            own = training.run(program, steps, watched=True)
        except Exception as error:
            self._stopped(error)
            return
        self.curve = own.losses
        if program.given_loss is None and math.isfinite(own.end) and min(own.losses) < 0:
            text = "give loss_fn: that of the step is below 0 at times, and its level tells nothing"
            self.findings += [found(slug, "inconclusive", text) for slug in training.SLUGS]
            return
        if self.failed("labels_imbalanced"):  # seen before any training: a trial on such labels shows nothing else
            return
        if own.gone() >= training.LEARNED:  # its learning rate was chosen for it, and what is frozen, on purpose
            mild = {"loss_summed", *(["parameters_frozen"] if wiring.chosen(program, self.seen) else ())}
            gone = [f for f in self.findings if f.fault in mild and f.verdict == "failure"]
            self.notes += [f"Frozen, and it learns: {f.evidence}." for f in gone if f.fault != "loss_summed"]
            self.findings = [f for f in self.findings if f not in gone]
        elif self.token:
            self.notes.remove(self.token)
            self.findings.append(found("tokens_alike", "failure", self.token))
        moot = {slug for f in self.findings if f.verdict == "failure" for slug in EXPLAINS.get(f.fault, ())}
        if moot.issuperset(training.SLUGS):  # whatever other rates would do
            self.findings += [found(slug, "inconclusive", "mend what has failed") for slug in training.SLUGS]
        else:
            self.attempt(training.judge, program, self.seen, loss, own, steps)
        self.attempt(optimiser.settings, program, own)
        self.attempt(optimiser.clipping, program, own)
        self.attempt(optimiser.decay, program, own, steps)
        if own.gone() < training.LEARNED and self.untrained and not self.failed("units_killed", "diverges", *ROOTS):
            self.attempt(data.look_at_scale, program, self.seen, True)
            self.attempt(start.look_at_signal, program, self.seen, True, True)
        self.attempt(layers.dropping, program, own, steps)
        if self.failed("inputs_collapse"):
            self.findings = training.outgrown(program, own, self.findings)
        self.attempt(layers.drift, program, own)
        self.attempt(labels.imbalance, program, loss, own)
        self.attempt(learning.overfitting, program, own)
        others = {f.fault for f in self.findings if f.verdict == "failure"} - {"overfitting", "labels_imbalanced"}
        if others:
            return
        self.attempt(labels.shuffled, program, self.seen, own)
        if self.failed():
            return
        self.attempt(learning.judge_overfit, program, loss, self.seen, steps)
        self.attempt(capacity.capacity, program, self.seen, own)
        if self.untrained and own.gone() < 0.1 * training.LEARNED and not self.raised():
            self.notes.append(f"Nothing was found, but {own.course()}.")
            if layers.blind_to_order(program):
                self.notes.append("The outputs are the same for tokens in reverse order: does the task depend on it?")
