"""The parameters of a watched model in its observed steps: their gradients, and the update that follows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import compress

import torch
from torch import Tensor, nn

from unstuck import measure, parts, private
from unstuck.probes.log import Log

Group = tuple[str, nn.Module, tuple[str, ...]]
"""A layer, the module that holds its parameters, and their names."""


@dataclass
class Step:
    """One observed step, as long as it lasts."""

    number: int
    groups: Sequence[Group] = ()
    parameters: list[Tensor] = field(default_factory=list)  # with which its forward was computed
    weights: measure.Tensors = field(default_factory=lambda: measure.Tensors([]))  # the same by layers
    backward: int | None = None  # which backward pass was last seen to go through this step
    borrowed: bool = False  # whether its forward was computed with parameters that are not the model's own
    gone: set[nn.Module] = field(default_factory=set)  # that held parameters and are no longer part of the model

    @property
    def layers(self) -> list[str]:
        return [layer for layer, _, _ in self.groups]

    def own(self) -> list[Tensor | None]:
        """The model's parameters as they are now; None for one that is gone.

        They are looked up each time: manual loops replace the Parameter itself.
        """
        there = ((None if module in self.gone else module, names) for _, module, names in self.groups)
        return [
            None if module is None else private.parameter(module, name) for module, names in there for name in names
        ]

    def grouped(self, values: Sequence) -> list[list]:
        """`values`, one for each parameter, by layers."""
        each = iter(values)
        return [[next(each) for _ in names] for _, _, names in self.groups]


class Gradients:
    """Takes `.grad` when it is final, in each backward pass that goes through the output of an observed step.

    Args:
        attempt: how a hook of ours is called: `attempt(what, method, *arguments)`.
    """

    def __init__(self, log: Log, attempt: Callable) -> None:
        self.log, self.attempt = log, attempt
        self.marks: list = []  # handles of the hooks on the graphs of steps whose backward may still come
        self.last: tuple[list[tuple[Tensor, int]], measure.Tensors] | None = None  # as they were when measured

    def mark(self, step: Step, output: object) -> None:
        """Have the graph behind `output` tell when a backward pass reaches it.

        A hook on the graph, not on the parameters: it costs nothing in other steps, belongs to this forward
        even if another comes before the backward, and dies with the graph. Also on what made the tensor that an
        output is a view of: changing a view in place puts it on a new graph, which begins there.
        """
        self.marks = [mark for mark in self.marks if private.is_alive(mark)]
        ends = list(parts.tensors(output))
        bases = [base for end in ends if (base := private.base(end)) is not None]
        for node in parts.nodes([ends, bases]):
            begins = partial(self.attempt, "the beginning of a backward pass", self._backward_begins, step)
            self.marks.append(node.register_prehook(begins))

    def stop(self) -> None:
        for mark in self.marks:
            mark.remove()

    def _backward_begins(self, step: Step, grad_outputs: tuple) -> None:
        task = private.backward_pass()
        if step.backward == task:  # another output of the model in the same backward pass: once is enough
            return
        step.backward = task
        own = step.own()
        step.borrowed = step.borrowed or any(p is not used for p, used in zip(own, step.parameters, strict=True))
        if not self.log.gradient:
            return
        before = [(p.grad, None if p.grad is None else p.grad._version) if p is not None else None for p in own]
        ends = partial(self.attempt, "the end of a backward pass", self._backward_ends, step, own, before)
        private.when_backward_ends(ends)

    @torch.no_grad()
    def _backward_ends(self, step: Step, own: Sequence[Tensor | None], before: Sequence) -> None:
        layers, gradients = [], []
        for layer, group, olds in zip(step.layers, step.grouped(own), step.grouped(before), strict=True):
            # untouched by this pass (`torch.autograd.grad`, an unused branch): what it holds is from another step
            touched = [
                p.grad.coalesce().values() if p.grad.is_sparse else p.grad
                for p, old in zip(group, olds, strict=True)
                if old is not None and p.grad is not None and (p.grad is not old[0] or p.grad._version != old[1])
            ]
            if touched:
                layers.append(layer)
                gradients.append(touched)
        if gradients:
            tensors = measure.Tensors(gradients)
            self.log.gradients(step.number, layers, tensors)
            self.last = [(g, g._version) for group in gradients for g in group], tensors

    def norms(self, groups: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        """The norm of each layer's gradients: those measured last, where nothing has changed them since."""
        if self.last is not None:
            before, tensors = self.last
            now = [g for group in groups for g in group]
            same = len(now) == len(before) and all(
                g is old and g._version == version for g, (old, version) in zip(now, before, strict=True)
            )
            if same and len(groups) == len(tensors.groups):
                return tensors.norms
        return measure.Tensors(groups).norms


class Updates:
    """Compares the parameters with a copy from the observed forward, when the first update after it has come.

    Under plain gradient descent (torch.optim.SGD without momentum and weight decay) an update is the learning rate
    times the gradient, which costs nothing to know: but for the rounding of the weights, at most 6e-8 of them.

    Args:
        gradients: what measures the gradients.
        missed: where the numbers of the steps are put whose update never came.
        fail: how it is noted that an update cannot be measured: `fail(what, error)`.
    """

    def __init__(
        self, log: Log, gradients: Gradients, missed: list[int], fail: Callable[[str, Exception], None]
    ) -> None:
        self.log, self.gradients, self.missed, self.fail = log, gradients, missed, fail
        self.step: Step | None = None  # the step whose update has not been measured
        self.copies: list[Tensor] = []  # the parameters at its start
        self.versions: list[int] = []
        self.plain = False  # whether the last update was one of plain descent: then no copy is made beforehand
        self.may_be_plain = set(log.update) == {measure.update_ratio}

    def begin(self, step: Step) -> None:
        """An observed forward begins."""
        self.versions = [p._version for p in step.parameters]
        if not self.plain:
            self._copy(step)

    def _copy(self, step: Step) -> None:
        current = step.parameters
        if len(self.copies) != len(current) or not all(map(_alike, self.copies, current)):
            self.copies = [torch.empty_like(p) for p in current]
        torch._foreach_copy_(self.copies, current)  # cloning costs twice as much

    @torch.no_grad()
    def before_step(self, optimizer: torch.optim.Optimizer, args: tuple, kwargs: dict) -> None:
        """An optimiser is about to change parameters, perhaps those of the open step."""
        step = self.step
        if step is None or not self.may_be_plain:
            return
        lr = None if args[1:] or kwargs else plain_rate(optimizer, step.parameters)
        unchanged = not step.borrowed and [p._version for p in step.parameters] == self.versions
        unchanged = unchanged and all(p is q for p, q in zip(step.own(), step.parameters, strict=True))
        if lr is not None and unchanged:
            self.step, self.plain = None, True
            groups = [[g for p in group if (g := p.grad) is not None] for group in step.grouped(step.parameters)]
            moved = [layer for layer, group in zip(step.layers, groups, strict=True) if group]
            norms = dict(zip(moved, self.gradients.norms([group for group in groups if group]), strict=True))
            update = measure.Tensors(groups)
            still = step.weights.norms[0].new_zeros(())
            update.norms = [lr * norms[layer] if layer in norms else still for layer in step.layers]
            self.log.updates(step.number, step.layers, update, step.weights)
        elif self.plain and unchanged:  # another optimiser than in the last step
            self.plain = False
            self._copy(step)

    @torch.no_grad()
    def close(self, *, last: bool) -> None:
        """Has the update come? `last`: if not, it will not count any more."""
        step, self.step = self.step, None
        if step is None:
            return
        if self.plain:  # no plain step has come: what else may have come left nothing to compare with
            if last or [p is not None and p._version for p in step.own()] != self.versions:
                self.plain = False
                self.missed.append(step.number)
            else:
                self.step = step
            return
        if step.borrowed:  # its forward was computed with parameters that are not the model's
            self.missed.append(step.number)
            return
        step = self._of_what_is_there(step)
        now = [p for p in step.own() if p is not None]
        if not now:
            self.missed.append(step.number)
            return
        moved = any(p is not q for p, q in zip(now, step.parameters, strict=True))
        moved = moved or [p._version for p in now] != self.versions
        if moved:
            torch._foreach_sub_(self.copies, now)
            difference = self.copies
        else:  # a loop that changes `.data` leaves no trace but the values
            difference = list(torch._foreach_sub(self.copies, now))
            moved = any(bool(norm > 0) for norm in measure.Tensors([difference]).norms)  # not NaN: inf - inf
        if moved:
            self.log.updates(step.number, step.layers, measure.Tensors(step.grouped(difference)), step.weights)
        elif last:
            self.missed.append(step.number)
        else:
            self.step = step

    def _of_what_is_there(self, step: Step) -> Step:
        """An open step without the layers whose parameters have been replaced by others since."""
        there = [p is not None and _alike(p, old) for p, old in zip(step.own(), self.copies, strict=True)]
        if all(there):
            return step
        layers = [all(group) for group in step.grouped(there)]
        for layer, keep in zip(step.layers, layers, strict=True):
            if not keep:
                self.fail(f"the update of {layer!r}", LookupError(f"replaced after step {step.number}"))
        each = [keep for keep, (_, _, names) in zip(layers, step.groups, strict=True) for _ in names]
        left = Step(
            step.number, groups=list(compress(step.groups, layers)), parameters=list(compress(step.parameters, each))
        )
        left.weights = measure.Tensors(left.grouped(left.parameters))
        left.weights.norms = list(compress(step.weights.norms, layers))
        self.copies, self.versions = list(compress(self.copies, each)), list(compress(self.versions, each))
        return left


def _alike(p: Tensor, q: Tensor) -> bool:
    return (p.shape, p.dtype, p.device) == (q.shape, q.dtype, q.device)


def plain_rate(optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor]) -> float | None:
    """The learning rate of an optimiser that is plain gradient descent on `parameters`; None for any other."""
    if type(optimizer) is not torch.optim.SGD or private.has_hooks(optimizer):
        return None
    groups = optimizer.param_groups
    lrs = {group["lr"] for group in groups if not isinstance(group["lr"], Tensor)}
    if len(lrs) != 1 or any(isinstance(group["lr"], Tensor) for group in groups):
        return None
    if any(group["momentum"] or group["weight_decay"] for group in groups):
        return None
    held = {id(p) for group in groups for p in group["params"]}
    for p in parameters:
        if p.grad is not None and (id(p) not in held or p.grad.is_sparse or p.dtype.itemsize < 4):
            return None
    return lrs.pop()
