"""`Watcher`: the hooks of one watch, and the life of an observed step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_pre_hook

from unstuck import measure, parts, private
from unstuck.arguments import names
from unstuck.probes.functional import FunctionalActivations
from unstuck.probes.log import Log
from unstuck.probes.parameters import Gradients, Step, Updates
from unstuck.record import Record, of_scope

T = TypeVar("T")

OF_UNITS = of_scope("unit")

REASONS = {
    "in evaluation mode": "model.train() ends it",
    "without gradients": "under torch.no_grad, or all of it under torch.utils.checkpoint with use_reentrant=True",
    "inside a backward pass": "a recomputation is no step",
}
"""Why a forward is no step, and what a reader may do about it."""


class Watcher:
    """The hooks of one watch and what they have collected; arguments as for `watch`.

    The life of an observed step: `_forward_begins` copies the parameters; `_activation` reduces each output at once,
    before an in-place module behind it overwrites it; `_forward_ends` keeps the numbers and marks the output;
    `Gradients` takes the gradients when they are final; `Updates` compares the parameters with the copy.

    The hooks are PyTorch's global ones, which see every module and choose by identity: hooks on the modules
    themselves would go along into every copy of the model. Whatever goes wrong in them is noted and left out.
    """

    def __init__(
        self,
        model: nn.Module,
        every: int,
        quantities: Sequence[str],
        window: int,
        layers: Sequence[str] | None,
        units: bool,
    ) -> None:
        self.model, self.every, self.units = model, every, units
        self.chosen = None if layers is None else names("layers", layers, dict(model.named_modules()))
        self.kinds: dict[str, str] = {}
        self.no_update: list[int] = []
        self.failed: list[dict[str, str]] = []
        self.meta = {"every": every, "window": window, "kinds": self.kinds, "unseen": [], "no_update": self.no_update}
        self.meta["failed"] = self.failed
        self.log = Log(quantities, window)
        self.forwards = 0
        self.without: dict[str, int] = {}  # forwards that were no steps, by reason
        self.running: Step | None = None  # the step whose forward is under way
        self.ended = 0  # observed forwards that came to their end
        self.measured = parts.Measured(chosen=layers is not None)
        self.unseen = FunctionalActivations(self.measured)
        self.gradients = Gradients(self.log, self.attempt)
        self.updates = Updates(self.log, self.gradients, self.no_update, self.fail)
        self.arrays: dict[tuple[int, str, str], Tensor] = {}
        self.handles: list = []
        self._look()

    # --- what can go wrong ---

    def attempt(self, what: str, method: Callable[..., T], *args: Any) -> T | None:
        """Call `method`; whatever goes wrong is noted and left out: a watch never costs the user a run."""
        try:
            return method(*args)
        except Exception as error:
            self.fail(what, error)
            return None

    def fail(self, what: str, error: Exception) -> None:
        kind = type(error).__name__
        known = [(entry["where"], entry["error"].split(":")[0]) for entry in self.failed]
        if (what, kind) not in known:  # once: it may happen in every step
            self.failed.append({"where": what, "error": f"{kind}: {error}"})

    def why_nothing(self) -> str:
        """A sentence that explains an empty record."""
        if self.failed:
            return "{where} failed with {error}".format(**self.failed[0])
        if self.ended:
            return "its forwards were seen, but nothing in them that is asked for (record.meta may say more)."
        if self.forwards:
            return f"none of the observed ones among its {self.forwards} forwards came to its end."
        if self.without:
            each = [
                f"{count} {reason} ({REASONS[reason]})" if reason in REASONS else f"{count} {reason}"
                for reason, count in self.without.items()
            ]
            return f"of its forwards {' and '.join(each)}."
        return "it was never called as model(x): hooks see neither model.forward(x), nor a copy, nor compiled code."

    # --- the hooks ---

    def attach(self) -> None:
        # a compiler that looks into them must find nothing but the first line
        def before(module: nn.Module, args: Any) -> None:
            if not torch.compiler.is_compiling():
                self.attempt("the beginning of a forward", self._before, module)

        def after(module: nn.Module, args: Any, output: Any) -> None:
            if not torch.compiler.is_compiling() and self.running is not None:
                self.attempt("a forward", self._after, module, args, output)

        def before_step(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
            if self.updates.step is not None:
                self.attempt("a part that was replaced", self._look_who_is_gone)
                self.attempt("an update", self.updates.before_step, optimizer, args, kwargs)

        self.handles.append(register_module_forward_pre_hook(before))
        self.handles.append(register_module_forward_hook(after))
        if self.log.update:
            self.handles.append(register_optimizer_step_pre_hook(before_step))

    def detach(self) -> None:
        for handle in self.handles:
            handle.remove()
        self.running = None
        self.attempt("the end of the watch", self.gradients.stop)
        self.attempt("the last update", self._close, True)
        self.unseen.stop()

    def _before(self, module: nn.Module) -> None:
        if module is self.model:
            self.running = None  # what an earlier forward left by raising is dropped
            self._forward_begins()
        if self.running is not None:
            if self.measured.undecided:
                self.measured.enter(module)
            if not self.unseen.done and module is not self.model:
                self.attempt("functional activations", self.unseen.enter, module)

    def _after(self, module: nn.Module, given: Any, output: Any) -> None:
        with private.plain_tensors():
            layer = self.attempt("finding the activations", self.measured.leave, module, given, output)
            if layer is not None:
                self.attempt(f"the activation {layer!r}", self._activation, self.running, layer, module, output)
            if not self.unseen.done:
                self.attempt("functional activations", self.unseen.leave, module, output)
            if module is self.model and self.running is not None:
                step, self.running = self.running, None
                self._forward_ends(step, output)

    # --- an observed step ---

    def _no_step(self) -> str:
        """Why the forward that begins is no step; "" if it is one."""
        if not self.model.training:
            return "in evaluation mode"
        if not torch.is_grad_enabled():
            return "without gradients"
        if replaced := private.transform():
            return f"inside {replaced}"
        return "inside a backward pass" if private.backward_pass() != -1 else ""

    def _forward_begins(self) -> None:
        reason = self._no_step()
        if reason:
            self.without[reason] = self.without.get(reason, 0) + 1
            return
        number, self.forwards = self.forwards, self.forwards + 1
        observed = number % self.every == 0
        self.attempt("an update", self._close, observed)
        if not observed:
            return
        self.attempt("a part that was replaced", self._look_again)
        self.log.begin()
        self.measured.begin()
        step = Step(number)
        self.attempt("the parameters", self._look_at_parameters, step)
        self.running = step
        if not self.unseen.done:
            self.attempt("functional activations", self.unseen.start, self.model)

    def _look(self) -> None:
        """Find what is measured, by name: at the start, and when parts of the model have been replaced."""
        self.structure = parts.Structure(self.model)
        modules = dict(self.model.named_modules())
        chosen = None if self.chosen is None else [name for name in self.chosen if name in modules]
        self.measured.look(parts.layers(self.model, chosen))
        self.groups = parts.parameters(self.model)
        for layer in (*self.measured.names(), *(layer for layer, _, _ in self.groups)):
            self.kinds[layer] = type(modules[layer]).__name__
        for name, module in modules.items():
            if isinstance(module, torch.jit.ScriptModule) and any(True for _ in module.children()):
                self.fail(f"the inside of {name!r}", TypeError("scripted code calls no hooks"))

    def _look_again(self) -> None:
        if not self.structure.holds():
            self._look()

    @torch.no_grad()
    def _look_at_parameters(self, step: Step) -> None:
        log = self.log
        if not (log.parameter or log.gradient or log.update):
            return
        step.groups = self.groups
        step.parameters = [p for p in step.own() if p is not None]
        if log.parameter or log.update:
            step.weights = measure.Tensors(step.grouped(step.parameters))
            _ = step.weights.norms  # while they are what they were
        if log.update:
            self.updates.begin(step)

    def _close(self, last: bool) -> None:
        self._look_who_is_gone()
        self.updates.close(last=last)

    def _look_who_is_gone(self) -> None:
        """Modules that were exchanged since the forward of the open step: their old parameters stand still."""
        step = self.updates.step
        if step is not None and not self.structure.holds():
            step.gone = {module for _, module, _ in step.groups} - set(self.model.modules())

    def _activation(self, step: Step, layer: str, module: nn.Module, output: Any) -> None:
        """Reduce one output to its numbers."""
        self.kinds[self.measured.name(module)] = type(module).__name__
        a = parts.measurable(output)
        if a is not None and (self.units or self.log.activation):
            axis = self.measured.axis.of(layer, a, output)
            signal = measure.Signal(a, kind=type(module).__name__, unit_axis=axis, room=self.log.room)
            self.log.see(layer, signal)
            if self.units:
                self._keep_units(step.number, layer, signal)

    def _keep_units(self, number: int, layer: str, signal: measure.Signal) -> None:
        self.arrays[number, layer, "zero_fraction"] = signal.zeros
        for function, named in measure.functions(OF_UNITS, "unit").items():
            for name in named:
                self.arrays[number, layer, name] = function(signal)

    def _forward_ends(self, step: Step, output: Any) -> None:
        self.ended += 1
        self.attempt("the activations", self.log.end, step.number)
        if step.groups and self.log.parameter:
            self.attempt("the parameters", self.log.parameters, step.number, step.layers, step.weights)
        if step.groups:
            self.attempt("marking the output", self.gradients.mark, step, output)
        if step.groups and self.log.update:
            self.updates.step = step

    # --- the end ---

    def fill(self, record: Record) -> None:
        """Everything collected, as rows: the only place where the host waits for the device."""
        for name in self.attempt("finding the activations", self.measured.unclear) or []:
            self.fail(f"the module {name!r}", LookupError("an activation or not? To measure it, name it in `layers`"))
        record.meta["unseen"] = self.attempt("functional activations", self.unseen.listed) or []
        self.log.fill([record], self.attempt)
        self.attempt("the arrays", self._fill_arrays, record)

    def _fill_arrays(self, record: Record) -> None:
        record.arrays = {key: values.cpu().numpy() for key, values in self.arrays.items()}
