"""`watch`: fills a Record while any `nn.Module` trains.

Nothing is waited for or copied to the host while the model trains: every step leaves a few small vectors on
the model's device, and they are read when the watch ends.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial, wraps

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from unstuck import measure, parts
from unstuck.arguments import instance, names, whole
from unstuck.probes import private
from unstuck.probes.functional import FunctionalActivations
from unstuck.probes.log import Log
from unstuck.record import Record, of_scope

WATCHED = ("activation", "parameter", "gradient", "update")
DEFAULT = of_scope(*WATCHED)
"""The quantities that a watch measures unless told otherwise: all that do not need a loss."""


def watch(
    model: nn.Module,
    *,
    every: int = 1,
    quantities: Sequence[str] = DEFAULT,
    window: int = 10,
    layers: Sequence[str] | None = None,
    units: bool = False,
) -> AbstractContextManager[Record]:
    """Record what happens inside `model` while the `with` block trains it; the rows are there at its end.

    A step is a forward of `model` in training mode with gradients enabled; each `every`-th is observed, the
    first being step 0. Recomputation inside a backward pass (gradient checkpointing) is no step.

    Args:
        model: any module; it needs no optimiser, and nothing in it is changed.
        every: observe each `every`-th step.
        quantities: names from `DEFAULT`.
        window: how many observed steps a unit must stay silent to be `dead`.
        layers: names (as in `model.named_modules()`) of the modules whose outputs are measured. None takes the
            activation modules: those of PyTorch, and your own modules without children, parameters and buffers
            that keep the shape and bend the values. Name a linear layer for its pre-activations, a block that ends
            in a functional activation for what hooks cannot see otherwise.
        units: also keep, in `record.arrays[step, layer, "zero_fraction"]`, the share of zeros of each unit (H,).

    Activations: one row a layer and step; a second use in one forward is `name#2`. Of a tuple the first tensor
    is measured; an empty, integer or complex output leaves no row. The units are the channels (axis 1) behind a
    convolution or a batch norm, and the last axis behind a linear layer; where no such module ran before, axis 1
    of four and more axes, otherwise the last.

    Parameters: a module's row is its `weight`; where none is called so (an LSTM), all its parameters together.
    `grad_norm` is what `.grad` holds when a backward through the model's output has ended: before clipping,
    accumulated where you accumulate, averaged where DistributedDataParallel averages. `update_ratio` is that of the
    first update after the observed forward; where none comes before the next observed forward or the end there is no
    row, nor where the weight is all zero.

    A watch never costs the run: what cannot be measured is left out and listed. `record.meta` holds `every`,
    `window`, `kinds` (layer to class name); `unseen`, activations called as functions in the first observed step,
    `{"layer", "function", "calls"}` each; `no_update`, the observed steps without an update; and `failed`,
    `{"where", "error"}` each. Where no step was observed at all, a warning at the end says why.

    A forward that raises leaves no row (its number is used up); a backward that raises leaves no gradient.

    Raises ValueError for arguments that do not fit, TypeError for those of the wrong kind.
    """
    instance("model", model, nn.Module, "a torch.nn.Module")
    quantities = frozenset(names("quantities", quantities, of_scope(*WATCHED)))
    every, window = whole("every", every), whole("window", window)
    instance("units", units, bool, "True or False")
    if any(isinstance(p, nn.parameter.UninitializedTensorMixin) for p in model.parameters()):
        raise ValueError("model: expected initialised parameters, got lazy ones; run one batch through it first")
    if private.is_compiled(model):
        raise ValueError(
            "model: compiled code calls no hooks; watch and train the module that was given to torch.compile"
        )
    return _watching(_Watch(model, every, quantities, window, parts.layers(model, layers), layers is None, units))


@contextmanager
def _watching(watcher: _Watch) -> Iterator[Record]:
    record = Record(meta=watcher.meta)
    try:
        watcher.attach()
        yield record
    finally:
        watcher.detach()
        watcher.read_out(record)
    watcher.explain_nothing(record)


@dataclass
class _Step:
    """One observed step, as long as it lasts."""

    number: int
    calls: dict[str, int] = field(default_factory=dict)  # module name: calls in this forward
    backward: int | None = None  # which backward pass was last seen to go through this step
    weights: measure.Tensors | None = None  # the parameters as they were


def _harmless(method: Callable) -> Callable:
    """Whatever goes wrong in a hook of ours is noted and left out: a watch never costs the user a run."""

    @wraps(method)
    def guarded(self: _Watch, *args, **kwargs):
        try:
            return method(self, *args, **kwargs)
        except Exception as error:
            self.fail(method.__name__.strip("_").replace("_", " "), error)
            return None

    return guarded


class _Watch:
    """The hooks of one watch and what they have collected.

    The life of an observed step: `_forward_begins` copies the parameters; `_activation` reduces each output at once,
    before an in-place module behind it overwrites it; `_forward_ends` keeps the numbers and marks the output;
    `_backward_begins` and `_backward_ends` take the gradients; `_close` compares the parameters with the copy.

    The hooks are PyTorch's global ones, which see every module and choose by identity: hooks on the modules
    themselves would go along into every copy of the model.
    """

    def __init__(self, model, every, quantities, window, layers, chosen_by_us, units):
        self.model, self.every, self.quantities, self.units = model, every, quantities, units
        self.log = Log(quantities, window)
        self.layers = {id(module): name for name, module in layers.items()}
        self.undecided = set(self.layers) if chosen_by_us else set()  # not yet known to be activations
        self.axis = parts.UnitAxis()
        self.parameters = parts.parameters(model) if self._of("parameter", "gradient", "update") else []
        self.meta = {"every": every, "window": window, "kinds": {}, "unseen": [], "no_update": [], "failed": []}
        self.meta["kinds"] |= {name: type(module).__name__ for name, module in layers.items()}
        self.meta["kinds"] |= {layer: type(module).__name__ for layer, module, _ in self.parameters}
        self.forwards = 0
        self.without: dict[str, int] = {}  # forwards that were no steps, by reason
        self.running: _Step | None = None  # the step whose forward is under way
        self.open: _Step | None = None  # the step whose update has not been measured
        self.copies: list[Tensor] = []  # the parameters at the start of the open step
        self.versions: list[tuple[Tensor, int]] = []
        self.arrays: dict[tuple[int, str, str], Tensor] = {}
        self.unseen = FunctionalActivations(model, layers.values(), self._acts)
        self.handles: list = []
        self.marks: list = []  # handles of the hooks on the graphs of steps whose backward may still come

    def _of(self, *scopes) -> bool:
        return any(getattr(self.log, scope) for scope in scopes)

    def fail(self, where: str, error: Exception) -> None:
        entry = {"where": where, "error": f"{type(error).__name__}: {error}"}
        if entry not in self.meta["failed"]:
            self.meta["failed"].append(entry)

    def attach(self) -> None:
        self.handles.append(register_module_forward_pre_hook(self._before))
        self.handles.append(register_module_forward_hook(self._after))

    def detach(self) -> None:
        self.unseen.stop()
        for handle in self.handles + self.marks:
            handle.remove()
        self._close(at_end=True)

    def _before(self, module: nn.Module, args) -> None:
        if module is self.model and not torch.compiler.is_compiling():
            self.running = None  # what an earlier forward left by raising is dropped
            self.unseen.stop()
            self._forward_begins()

    def _after(self, module: nn.Module, args, output) -> None:
        if self.running is None:
            return
        name = self.layers.get(id(module))
        if name is not None:
            self._activation(name, module, args, output)
        self.axis.see(module)
        if module is self.model:
            self._forward_ends(output)

    def _no_step(self) -> str:
        """Why the forward that begins is no step; "" if it is one."""
        if not self.model.training:
            return "in evaluation mode"
        if not torch.is_grad_enabled():
            return "without gradients"
        if private.is_transformed():
            return "inside a transform of torch.func"
        return "inside a backward pass" if private.backward_pass() != -1 else ""

    @_harmless
    def _forward_begins(self) -> None:
        reason = self._no_step()
        if reason:
            self.without[reason] = self.without.get(reason, 0) + 1
            return
        number, self.forwards = self.forwards, self.forwards + 1
        observed = number % self.every == 0
        self._close(at_end=observed)
        if not observed:
            return
        self.log.begin()
        self.axis.first = None
        step = _Step(number)
        if self.parameters:
            self._look_at_parameters(step)
        self.running = step
        if not self.unseen.done:
            self.unseen.start()

    @_harmless
    @torch.no_grad()
    def _look_at_parameters(self, step: _Step) -> None:
        try:
            current = self._current()
        except KeyError:  # pruned or parametrised since: its parameters have other names now
            self.parameters, self.copies = parts.parameters(self.model), []
            current = self._current()
        if not self._of("parameter", "update"):
            return
        step.weights = measure.Tensors(self._grouped(current))
        _ = step.weights.norms  # while they are what they were
        if self._of("update"):
            if [p.shape for p in self.copies] != [p.shape for p in current]:
                self.copies = [torch.empty_like(p) for p in current]
            torch._foreach_copy_(self.copies, current)  # cloning costs twice as much
            self.versions = [(p, p._version) for p in current]

    @_harmless
    @torch.no_grad()
    def _close(self, *, at_end: bool) -> None:
        """Has the open step's update come? `at_end`: if not, it will not count any more."""
        step, self.open = self.open, None
        if step is None:
            return
        now = self._current()
        moved = any(p is not q or p._version != version for p, (q, version) in zip(now, self.versions, strict=True))
        if moved:
            torch._foreach_sub_(self.copies, now)
            difference = self.copies
        else:  # a loop that changes `.data` leaves no trace but the values
            difference = torch._foreach_sub(self.copies, now)
            moved = any(bool(norm != 0) for norm in measure.Tensors([difference]).norms)
        if moved:
            update = measure.Tensors(self._grouped(difference))
            self.log.updates(step.number, self._names(), update, step.weights)
        elif at_end:
            self.meta["no_update"].append(step.number)
        else:
            self.open = step

    def _current(self) -> list[Tensor]:
        # looked up each time: manual loops replace `.data` or the Parameter itself
        return [private.parameter(module, name) for _, module, own in self.parameters for name in own]

    def _grouped(self, tensors: Sequence[Tensor]) -> list[list[Tensor]]:
        each = iter(tensors)
        return [[next(each) for _ in own] for _, _, own in self.parameters]

    def _names(self) -> list[str]:
        return [layer for layer, _, _ in self.parameters]

    def _acts(self, module: nn.Module) -> bool:
        """Whether a module is an activation, as far as is known."""
        return isinstance(module, parts.ACTIVATION_CLASSES) or (
            id(module) in self.layers and parts.may_be_activation(module)
        )

    @_harmless
    def _activation(self, name: str, module: nn.Module, args, output) -> None:
        """Reduce one output to its numbers."""
        if id(module) in self.undecided:
            self.undecided.discard(id(module))
            if not parts.bends(module, args):
                del self.layers[id(module)]
                del self.meta["kinds"][name]
                return
        step = self.running
        layer, a = parts.call_name(name, step.calls), parts.measurable(output)
        if a is not None and (self.units or self.log.activation):
            signal = measure.Signal(a, kind=type(module).__name__, unit_axis=self.axis.of(a))
            self.log.see(layer, signal)
            if self.units:
                self.arrays[step.number, layer, "zero_fraction"] = signal.zeros

    @_harmless
    def _forward_ends(self, output) -> None:
        step, self.running = self.running, None
        self.log.end(step.number)
        if step.weights is not None:
            self.log.parameters(step.number, self._names(), step.weights)
        if self.log.gradient and self.parameters:
            self._mark(step, output)
        if self.log.update and step.weights is not None:
            self.open = step

    def _mark(self, step: _Step, output) -> None:
        """Have the graph behind `output` tell when a backward pass reaches it.

        A hook on the graph, not on the parameters: it costs nothing in other steps, belongs to this forward
        even if another comes before the backward, and dies with the graph. Also on what lies one step behind: an
        output that is a view, changed in place later, is put on a new graph.
        """
        self.marks = [mark for mark in self.marks if private.is_alive(mark)]
        last = parts.nodes(output)
        behind = {node for end in last for node, _ in end.next_functions if node is not None}
        for node in last | {node for node in behind if parts.node_kind(node) != "torch::autograd::AccumulateGrad"}:
            self.marks.append(node.register_prehook(partial(self._backward_begins, step)))

    @_harmless
    def _backward_begins(self, step: _Step, grad_outputs) -> None:
        task = private.backward_pass()
        if step.backward == task:  # another output of the model in the same backward pass: once is enough
            return
        step.backward = task
        before = [(p.grad, None if p.grad is None else p.grad._version) for p in self._current()]
        private.when_backward_ends(partial(self._backward_ends, before, step))

    @_harmless
    @torch.no_grad()
    def _backward_ends(self, before, step: _Step) -> None:
        layers, gradients = [], []
        for (layer, _, _), group, olds in zip(
            self.parameters, self._grouped(self._current()), self._grouped(before), strict=True
        ):
            # untouched by this pass (`torch.autograd.grad`, an unused branch): what it holds is from another step
            touched = [
                p.grad.coalesce().values() if p.grad.is_sparse else p.grad
                for p, (old, version) in zip(group, olds, strict=True)
                if p.grad is not None and (p.grad is not old or p.grad._version != version)
            ]
            if touched:
                layers.append(layer)
                gradients.append(touched)
        if gradients:
            self.log.gradients(step.number, layers, measure.Tensors(gradients))

    @_harmless
    def read_out(self, record: Record) -> None:
        """Everything collected, as rows: the only place where the host waits for the device."""
        record.meta["unseen"] = self.unseen.listed()
        self.log.fill([record])
        record.arrays |= {key: zeros.cpu().numpy() for key, zeros in self.arrays.items()}

    def explain_nothing(self, record: Record) -> None:
        """One warning where the block has ended well and nothing was observed."""
        if self.forwards or len(record):
            return
        seen = ", ".join(f"{count} {reason}" for reason, count in self.without.items())
        why = (
            f"all its forwards were {seen}"
            if seen
            else "it was never called as model(x): hooks do not see model.forward(x), nor a copy, nor compiled code"
        )
        warnings.warn(f"watch: no training step of {type(self.model).__name__} was seen; {why}.", stacklevel=4)
