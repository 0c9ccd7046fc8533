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
    calls: dict[str, int] = field(default_factory=dict)  # module name: calls in this forward
    groups: Sequence[Group] = ()
    parameters: list[Tensor] = field(default_factory=list)  # with which its forward was computed
    weights: measure.Tensors = field(default_factory=lambda: measure.Tensors([]))  # the same by layers
    backward: int | None = None  # which backward pass was last seen to go through this step
    borrowed: bool = False  # whether its forward was computed with parameters that are not the model's own

    @property
    def layers(self) -> list[str]:
        return [layer for layer, _, _ in self.groups]

    def own(self) -> list[Tensor | None]:
        """The model's parameters as they are now; None for one that is gone.

        They are looked up each time: manual loops replace the Parameter itself.
        """
        return [private.parameter(module, name) for _, module, names in self.groups for name in names]

    def grouped(self, values: Sequence) -> list[list]:
        """`values`, one for each parameter, by layers."""
        each = iter(values)
        return [[next(each) for _ in names] for _, _, names in self.groups]


class Gradients:
    """Takes `.grad` when it is final, in each backward pass that goes through the output of an observed step.

    Args:
        attempt: how a hook of ours is called: `attempt(what, method, *arguments)`.
    """

    def __init__(self, log: Log, attempt: Callable):
        self.log, self.attempt = log, attempt
        self.marks: list = []  # handles of the hooks on the graphs of steps whose backward may still come

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
            self.log.gradients(step.number, layers, measure.Tensors(gradients))


class Updates:
    """Compares the parameters with a copy from the observed forward, when the first update after it has come.

    Args:
        missed: where the numbers of the steps are put whose update never came.
        fail: how it is noted that an update cannot be measured: `fail(what, error)`.
    """

    def __init__(self, log: Log, missed: list[int], fail: Callable[[str, Exception], None]):
        self.log, self.missed, self.fail = log, missed, fail
        self.step: Step | None = None  # the step whose update has not been measured
        self.copies: list[Tensor] = []  # the parameters at its start
        self.versions: list[int] = []

    def begin(self, step: Step) -> None:
        """An observed forward begins."""
        current = step.parameters
        if len(self.copies) != len(current) or not all(map(_alike, self.copies, current)):
            self.copies = [torch.empty_like(p) for p in current]
        torch._foreach_copy_(self.copies, current)  # cloning costs twice as much
        self.versions = [p._version for p in current]

    @torch.no_grad()
    def close(self, *, last: bool) -> None:
        """Has the update come? `last`: if not, it will not count any more."""
        step, self.step = self.step, None
        if step is None:
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
            moved = any(bool(norm != 0) for norm in measure.Tensors([difference]).norms)
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
