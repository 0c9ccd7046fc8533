"""`watch`: fills a Record while any `nn.Module` trains; `dead_units`: which units never fire on a data set.

Nothing is waited for or copied to the host while the model trains: every step leaves a few small vectors on
the model's device, and they are read when the watch ends.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from unstuck.record import Record

ACTIVATION_QUANTITIES = ("act_mean", "act_std", "zero_fraction", "saturated_fraction", "dead", "never_fired")
PARAMETER_QUANTITIES = ("grad_norm", "weight_norm", "update_ratio")
DEFAULT = ACTIVATION_QUANTITIES + PARAMETER_QUANTITIES
"""The quantities that a watch can measure: all of them, unless told otherwise."""

NOT_UNITS = ("MultiheadAttention", "Softmax", "Softmax2d", "Softmin", "LogSoftmax")
ACTIVATION_CLASSES = tuple(
    getattr(nn.modules.activation, name) for name in nn.modules.activation.__all__ if name not in NOT_UNITS
)

# Centre and half-width of the outputs whose slope is at least 2 % of the largest: tanh has the slope
# 1 - a^2, so |a| < sqrt(0.98); a sigmoid is (1 + tanh(z / 2)) / 2.
UNSATURATED = {nn.Tanh: (0.0, math.sqrt(0.98)), nn.Sigmoid: (0.5, math.sqrt(0.98) / 2)}

# what autograd calls the nodes of activations (ReLU6 is a hardtanh to it, SELU an ELU)
GRAPH_NAMES = {
    "PreluKernel": "prelu",
    "RreluWithNoise": "rrelu",
    "LeakyRelu": "leaky_relu",
    "LogSigmoid": "logsigmoid",
} | {
    name.capitalize(): name
    for name in (
        *("relu", "sigmoid", "tanh", "elu", "celu", "gelu", "silu", "mish", "glu", "softplus", "threshold"),
        *("hardtanh", "hardswish", "hardsigmoid"),
    )
}


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
            activation modules: those of PyTorch, and your own modules without children, parameters and
            buffers. Name a linear layer for its pre-activations, a block that ends in a functional activation
            for what hooks cannot see otherwise.
        units: also keep, in `record.arrays[step, layer, "zero_fraction"]`, the share of zeros of each unit (H,).

    Activations: one row a layer and step; a second use in one forward is `name#2`. Of a tuple the first tensor
    is measured; an empty, integer or complex output leaves no row. A unit is an index of the last axis, or of
    axis 1 (the channels) where the output has 4 axes or more, or 3 in a model with one-dimensional convolutions.

    Parameters: a module's row is its `weight`; where none is called so (an LSTM), all its parameters together.
    `grad_norm` is what `.grad` holds when a backward through the model's output has ended: before clipping,
    accumulated where you accumulate. `update_ratio` compares with the next step's start or the end of the
    watch; where the weight is all zero it has no row.

    A forward that raises leaves no row (its number is used up); a backward that raises leaves no gradient.
    `record.meta` holds `every`, `window`, `kinds` (layer to class name) and `unseen`: activations called as
    functions in the first observed step, `{"layer", "function", "calls"}` each.

    Raises ValueError for arguments that do not fit, TypeError for a model that is not a module.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    if isinstance(quantities, str):
        raise TypeError(f"quantities: expected a sequence of names, got the string {quantities!r}")
    unknown = [name for name in quantities if name not in DEFAULT]
    if unknown:
        raise ValueError(f"quantities: {unknown} cannot be watched; expected some of {DEFAULT}")
    for name, value in (("every", every), ("window", window)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}: expected an integer of at least 1, got {value!r}")
    if any(isinstance(p, nn.parameter.UninitializedTensorMixin) for p in model.parameters()):
        raise ValueError("model: expected initialised parameters, got lazy ones; run one batch through it first")
    return _watching(_Watch(model, every, frozenset(quantities), window, _layers(model, layers), units))


@torch.no_grad()
def dead_units(
    model: nn.Module, x: Tensor, *, batch_size: int = 1000, layers: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Which units fire on no example of `x` at all: `{layer: bool array (H,)}`, True where dead.

    Args:
        model: run in evaluation mode; every module's mode is restored.
        x: (N, ...), all the data to be judged on, on the model's device.
        batch_size: examples at a time; the result does not depend on it.
        layers: as for `watch`, with the same meaning of layer and unit.

    Raises ValueError where there is nothing to judge: no activation module, or no example.
    """
    if len(x) == 0:
        raise ValueError("x: expected at least one example, got none")
    watched = _layers(model, layers)
    if not watched:
        raise ValueError(f"model: {type(model).__name__} has no activation module; name some layers")
    fired: dict[str, Tensor] = {}
    calls: dict[str, int] = {}
    one_dimensional = _has_conv1d(model)

    def note(name: str, module: nn.Module, args, output) -> None:
        layer, a = _call_name(name, calls), _measurable(output)
        if a is not None:
            fires = _per_unit((a != 0).float(), one_dimensional) > 0
            fired[layer] = fired[layer] | fires if layer in fired else fires

    modes = {module: module.training for module in model.modules()}
    handles = [module.register_forward_hook(partial(note, name)) for name, module in watched.items()]
    try:
        model.eval()
        for batch in x.split(batch_size):
            calls.clear()
            model(batch)
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode
    return {layer: (~fires).cpu().numpy() for layer, fires in fired.items()}


@contextmanager
def _watching(watcher: _Watch) -> Iterator[Record]:
    record = Record(meta=watcher.meta)
    try:
        watcher.attach()
        yield record
    finally:
        watcher.detach()
        watcher.read_out(record)


Key = tuple[int, str, str, str]  # step, quantity, layer, parameter ("" for an activation)


@dataclass
class _Step:
    """One observed step, as long as it lasts."""

    number: int
    log: list[tuple[Key, Tensor]] = field(default_factory=list)
    fires: dict[str, Tensor] = field(default_factory=dict)  # layer: share of examples each unit fires on (H,)
    calls: dict[str, int] = field(default_factory=dict)  # module name: calls in this forward
    backward: int | None = None  # which backward pass was last seen to go through this step


class _Watch:
    """The hooks of one watch and what they have collected.

    The life of an observed step: `_forward_begins` copies the parameters; `_measure` reduces each output at once,
    before an in-place module behind it overwrites it; `_forward_ends` keeps the numbers and marks the output;
    `_backward_begins` and `_backward_ends` take the gradients; `_close` compares the parameters with the copy.
    """

    PACK = 1000  # numbers that wait as tensors of one element before they are packed into one

    def __init__(self, model, every, quantities, window, layers, units):
        self.model, self.every, self.quantities, self.layers, self.units = model, every, quantities, layers, units
        self.parameters = list(_parameters(model)) if quantities & set(PARAMETER_QUANTITIES) else []
        self.one_dimensional = _has_conv1d(model)
        self.meta = {"every": every, "window": window, "kinds": {}, "unseen": []}
        self.meta["kinds"] |= {name: type(module).__name__ for name, module in layers.items()}
        self.meta["kinds"] |= {layer: type(module).__name__ for layer, module, _ in self.parameters}
        self.forwards = 0
        self.running: _Step | None = None  # the step whose forward is under way
        self.open: _Step | None = None  # the step whose update has not been measured
        self.copies: list[Tensor] = []  # the parameters at the start of the open step
        self.log: list[tuple[Key, Tensor]] = []
        self.packed: list[tuple[list[Key], Tensor]] = []
        self.silence = _Silence(window)
        self.arrays: dict[tuple[int, str, str], Tensor] = {}
        self.unseen = _FunctionalActivations(model, layers)
        self.handles: list = []
        self.marks: list = []  # handles of the hooks on the graphs of steps whose backward may still come

    def attach(self) -> None:
        if self.units or self.quantities & set(ACTIVATION_QUANTITIES):
            for name, module in self.layers.items():
                self.handles.append(module.register_forward_hook(partial(self._measure, name)))
        # after the layers' hooks: the model may be one of its own layers
        self.handles.append(self.model.register_forward_pre_hook(self._forward_begins, with_kwargs=True))
        self.handles.append(self.model.register_forward_hook(self._forward_ends))

    def detach(self) -> None:
        self.unseen.stop()
        for handle in self.handles + self.marks:
            handle.remove()
        self._close()

    def _forward_begins(self, model, args, kwargs) -> None:
        self.running = None  # what an earlier forward left by raising is dropped
        self.unseen.stop()
        in_backward = torch._C._current_graph_task_id() != -1
        if not model.training or not torch.is_grad_enabled() or in_backward:
            return
        self._close()
        number, self.forwards = self.forwards, self.forwards + 1
        if number % self.every:
            return
        self.running = _Step(number)
        if self.parameters:
            self._look_at_parameters(self.running)
        if not self.unseen.done:
            self.unseen.start(args, kwargs)

    @torch.no_grad()
    def _look_at_parameters(self, step: _Step) -> None:
        current = self._current()
        if self.quantities & {"weight_norm", "update_ratio"}:
            step.log += self._norms(step.number, "weight_norm", self.parameters, current)
        if "update_ratio" in self.quantities:
            self.copies = self.copies or [torch.empty_like(p) for p in current]
            torch._foreach_copy_(self.copies, current)  # cloning costs twice as much

    @torch.no_grad()
    def _close(self) -> None:
        """The open step ends here: how far have its parameters moved?"""
        if self.open is not None and self.copies:
            torch._foreach_sub_(self.copies, self._current())
            self.log += self._norms(self.open.number, "update_ratio", self.parameters, self.copies)
        self.open = None

    def _current(self) -> list[Tensor]:
        # looked up each time: manual loops replace `.data` or the Parameter itself
        return [module._parameters[name] for _, module, name in self.parameters]

    @staticmethod
    def _norms(step: int, quantity: str, parameters, vectors: list[Tensor]) -> list[tuple[Key, Tensor]]:
        """The Euclidean norm of each vector, all at once, in at least float32."""
        norms = torch._foreach_norm([v if v.dtype.itemsize >= 4 else v.float() for v in vectors])
        return [((step, quantity, layer, name), n) for (layer, _, name), n in zip(parameters, norms, strict=True)]

    def _forward_ends(self, model, args, output) -> None:
        step, self.running = self.running, None
        if step is None:
            return
        if not self.unseen.done:
            self.unseen.finish(output)
        self.log += step.log
        if len(self.log) >= self.PACK:
            self._pack()
        if step.fires:
            self.silence.add(step.number, step.fires)
        if self.units:
            self.arrays |= {(step.number, layer, "zero_fraction"): fires for layer, fires in step.fires.items()}
        if "grad_norm" in self.quantities:
            self._mark(step, output)
        self.open = step

    def _pack(self) -> None:
        if self.log:
            keys, values = zip(*self.log, strict=True)
            self.packed.append((list(keys), _join(torch.stack, values)))
            self.log = []

    def _measure(self, name: str, module: nn.Module, args, output) -> None:
        """Reduce one output to its numbers."""
        step = self.running
        if step is None:
            return
        layer, a = _call_name(name, step.calls), _measurable(output)
        if a is None:
            return
        # `out=` into one buffer: `std` or `var_mean` cost many times as much
        buffer, wanted = torch.empty_like(a), self.quantities
        if wanted & {"act_mean", "act_std"}:
            mean = a.mean()
            if "act_mean" in wanted:
                step.log.append(((step.number, "act_mean", layer, ""), mean))
            if "act_std" in wanted:
                deviation = torch.linalg.vector_norm(torch.sub(a, mean, out=buffer)).div_(math.sqrt(a.numel()))
                step.log.append(((step.number, "act_std", layer, ""), deviation))
        if self.units or wanted & {"zero_fraction", "dead", "never_fired"}:
            # ones where it fires; as floats in the buffer this costs a quarter of `any` or `count_nonzero`
            step.fires[layer] = _per_unit(torch.ne(a, 0, out=buffer), self.one_dimensional)
        if isinstance(module, tuple(UNSATURATED)) and "saturated_fraction" in wanted:
            centre, half = next(band for kind, band in UNSATURATED.items() if isinstance(module, kind))
            distance = torch.sub(a, centre, out=buffer).abs_()
            share = torch.gt(distance, half, out=buffer).mean()
            step.log.append(((step.number, "saturated_fraction", layer, ""), share))

    def _mark(self, step: _Step, output) -> None:
        """Have the graph behind `output` tell when a backward pass reaches it.

        A hook on the graph, not on the parameters: it costs nothing in other steps, belongs to this forward
        even if another comes before the backward, and dies with the graph.
        """
        self.marks = [mark for mark in self.marks if mark.hooks_dict_ref() is not None]
        for node in _nodes(output):
            self.marks.append(node.register_prehook(partial(self._backward_begins, step)))

    def _backward_begins(self, step: _Step, grad_outputs) -> None:
        task = torch._C._current_graph_task_id()
        if step.backward == task:  # another output of the model in the same backward pass: once is enough
            return
        step.backward = task
        before = [(p.grad, None if p.grad is None else p.grad._version) for p in self._current()]
        torch.autograd.Variable._execution_engine.queue_callback(partial(self._backward_ends, step, before))

    @torch.no_grad()
    def _backward_ends(self, step: _Step, before) -> None:
        touched, gradients = [], []
        for parameter, (old, version) in zip(self.parameters, before, strict=True):
            _, module, name = parameter
            grad = module._parameters[name].grad
            # untouched by this pass (`torch.autograd.grad`, an unused branch): what it holds is from another step
            if grad is not None and (grad is not old or grad._version != version):
                touched.append(parameter)
                gradients.append(grad.coalesce().values() if grad.is_sparse else grad)
        if gradients:
            self.log += self._norms(step.number, "grad_norm", touched, gradients)

    def read_out(self, record: Record) -> None:
        """Everything collected, as rows: the only place where the host waits for the device."""
        self._pack()
        # a second backward through one forward comes later and replaces the first
        latest = {
            key: value for keys, values in self.packed for key, value in zip(keys, values.tolist(), strict=True)
        }
        found: dict[tuple[int, str, str], float] = {}
        for (step, quantity, layer, _), value in latest.items():
            before = found.get((step, quantity, layer))
            found[step, quantity, layer] = value if before is None else math.hypot(before, value)
        for step, quantity, layer in [key for key in found if key[1] == "update_ratio"]:
            weight, update = found[step, "weight_norm", layer], found.pop((step, quantity, layer))
            if weight != 0:
                found[step, quantity, layer] = update / weight
        found |= self.silence.read()
        rows = [(step, layer, quantity, value) for (step, quantity, layer), value in found.items()]
        record.extend(row for row in sorted(rows, key=lambda row: row[0]) if row[2] in self.quantities)
        record.arrays |= {key: 1 - fires.cpu().numpy() for key, fires in self.arrays.items()}
        record.meta["unseen"] = self.unseen.listed()


class _Silence:
    """For how many observed steps each unit has been silent.

    The units of all layers lie in one vector, and `BLOCK` steps are worked off at once: a few operations for all.
    """

    BLOCK = 16

    def __init__(self, window: int):
        self.window = window
        self.observed = 0  # steps so far
        self.last: dict[str, Tensor] = {}  # layer: the observed step in which each unit last fired (H,), or -inf
        self.layout: list[tuple[str, int]] = []  # layers and their numbers of units in the waiting steps
        self.waiting: list[tuple[int, Tensor]] = []  # step, firing shares of all units (U,)
        self.done: list[tuple[list[int], tuple[str, ...], Tensor]] = []  # steps, layers, means (3, T, layers)

    def add(self, step: int, fires: dict[str, Tensor]) -> None:
        layout = [(layer, len(shares)) for layer, shares in fires.items()]
        if layout != self.layout or len(self.waiting) == self.BLOCK:
            self._work_off()
        self.layout = layout
        self.waiting.append((step, _join(torch.cat, list(fires.values()))))
        self.observed += 1

    def _work_off(self) -> None:
        if not self.waiting:
            return
        layers, sizes = zip(*self.layout, strict=True)
        shares = torch.stack([shares for _, shares in self.waiting])  # (T, U)
        first = self.observed - len(shares)
        now = torch.arange(first, self.observed, dtype=shares.dtype, device=shares.device)[:, None]  # (T, 1)
        last = torch.where(shares > 0, now, -math.inf)
        last[0] = last[0].maximum(torch.cat([self._last_fired(layer, size, shares) for layer, size in self.layout]))
        last = last.cummax(dim=0).values  # (T, U)
        units = torch.stack([shares, (last <= now - self.window).to(last), last.isinf().to(last)])  # (3, T, U)
        means = torch.stack([part.mean(dim=2) for part in units.split(sizes, dim=2)], dim=2)  # (3, T, layers)
        self.done.append(([step for step, _ in self.waiting], layers, means))
        self.last.update(zip(layers, last[-1].clone().split(sizes), strict=True))
        self.waiting = []

    def _last_fired(self, layer: str, size: int, like: Tensor) -> Tensor:
        known = self.last.get(layer)
        return like.new_full((size,), -math.inf) if known is None or len(known) != size else known

    def read(self) -> dict[tuple[int, str, str], float]:
        """Everything, by (step, quantity, layer)."""
        self._work_off()
        found = {}
        for steps, layers, means in self.done:
            for step, *shares in zip(steps, *means.tolist(), strict=True):
                for layer, fires, dead, never in zip(layers, *shares, strict=True):
                    found[step, "zero_fraction", layer] = 1 - fires
                    found[step, "dead", layer] = dead
                    found[step, "never_fired", layer] = never
        return found


class _FunctionalActivations:
    """Finds the activations that a model calls as functions, in the autograd graph of one forward.

    Whatever lies behind a tensor that enters a module was made before, by the module that calls it; what is new
    behind a tensor that leaves was made inside. So each node of the graph is claimed once, by the innermost
    module that made it; nothing is patched, and a forward that raises leaves nothing behind. Not seen: what has
    no graph (a frozen part in front), and what overwrites a view in place (autograd hides the function).
    """

    def __init__(self, model: nn.Module, watched: dict[str, nn.Module]):
        self.model = model
        self.watched = set(watched.values())
        self.done = False
        self.found: Counter[tuple[str, str]] = Counter()  # (layer, function): calls
        self.claimed: set[Node] = set()  # with every node also all that lie behind it
        self.running: list[tuple[str, nn.Module]] = []  # modules under way, innermost last
        self.handles: list = []

    def start(self, args, kwargs) -> None:
        self.found.clear()
        self._claim((args, kwargs))
        self.running = [("", self.model)]
        for name, module in self.model.named_modules():
            if module is not self.model:
                enter, leave = partial(self._enter, name), partial(self._leave, name)
                self.handles.append(module.register_forward_pre_hook(enter, with_kwargs=True))
                self.handles.append(module.register_forward_hook(leave))

    def finish(self, output) -> None:
        self._leave("", self.model, (), output)
        self.done = True
        self.stop()

    def stop(self) -> None:
        for handle in self.handles:
            handle.remove()
        self.handles, self.claimed, self.running = [], set(), []

    def listed(self) -> list[dict]:
        return [{"layer": layer, "function": name, "calls": n} for (layer, name), n in self.found.items()]

    def _enter(self, name: str, module: nn.Module, args, kwargs) -> None:
        self._count(self.running[-1], self._claim((args, kwargs)))
        self.running.append((name, module))

    def _leave(self, name: str, module: nn.Module, args, output) -> None:
        while self.running.pop() != (name, module):
            pass  # a child that raised, and whose parent went on
        measured = _nodes(output) if module in self.watched else set()
        self._count((name, module), self._claim(output) - measured)

    def _claim(self, value) -> set[Node]:
        """The nodes behind the tensors of `value` that nobody has claimed yet."""
        new, waiting = set(), _nodes(value) - self.claimed
        while waiting:
            node = waiting.pop()
            new.add(node)
            waiting |= {behind for behind, _ in node.next_functions} - self.claimed - new - {None}
        self.claimed |= new
        return new

    def _count(self, by: tuple[str, nn.Module], nodes: set[Node]) -> None:
        name, module = by
        if not _is_activation(module):
            self.found.update((name, function) for node in nodes if (function := _function_of(node)))


def _function_of(node: Node) -> str | None:
    """The activation that made a node of the graph, or None."""
    kind = node.name().rstrip("0123456789").removesuffix("Backward")
    if kind in ("Clamp", "ClampMin"):
        return "clamp" if node._saved_min == 0 else None
    return GRAPH_NAMES.get(kind)


def _tensors(value) -> Iterator[Tensor]:
    """The tensors in nested tuples, lists and mappings, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))


def _nodes(value) -> set[Node]:
    return {tensor.grad_fn for tensor in _tensors(value)} - {None}


def _is_activation(module: nn.Module) -> bool:
    """An activation of PyTorch's, or a module of the user's own that can be nothing but a function."""
    if isinstance(module, ACTIVATION_CLASSES):
        return True
    own = all(kind is nn.Module or not kind.__module__.startswith("torch.") for kind in type(module).__mro__)
    state = (*module.children(), *module.parameters(), *module.buffers())
    return own and not state


def _layers(model: nn.Module, names: Sequence[str] | None) -> dict[str, nn.Module]:
    """The modules whose outputs are measured, by name."""
    modules = dict(model.named_modules())
    if names is None:
        return {name: module for name, module in modules.items() if _is_activation(module)}
    unknown = [name for name in names if name not in modules]
    if unknown:
        raise ValueError(f"layers: {unknown} are not among the model's modules {list(modules)}")
    return {name: modules[name] for name in names}


def _parameters(model: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    """(layer, module, name) of each parameter that stands for its layer."""
    for layer, module in model.named_modules():
        own = [name for name, _ in module.named_parameters(recurse=False)]
        for name in ["weight"] if "weight" in own else own:
            yield layer, module, name


def _has_conv1d(model: nn.Module) -> bool:
    return any(isinstance(module, nn.Conv1d | nn.ConvTranspose1d) for module in model.modules())


def _call_name(name: str, calls: dict[str, int]) -> str:
    """`name` at its first call in a forward, then `name#2`, ...; counts the call."""
    calls[name] = calls.get(name, 0) + 1
    return name if calls[name] == 1 else f"{name}#{calls[name]}"


def _measurable(output) -> Tensor | None:
    """The first tensor of an output, without its graph, in at least float32; None if not measurable."""
    a = next(_tensors(output), None)
    if a is None or not a.is_floating_point() or a.layout != torch.strided or a.is_nested or a.numel() == 0:
        return None
    return a.detach() if a.dtype.itemsize >= 4 else a.detach().float()


def _per_unit(fires: Tensor, one_dimensional: bool) -> Tensor:
    """Mean over everything but the units: (N, H), (N, T, H) or (N, C, ...) to (H,) or (C,)."""
    if fires.ndim < 2:
        fires = fires.reshape(1, -1)
    axis = 1 if fires.ndim > 3 or (fires.ndim == 3 and one_dimensional) else fires.ndim - 1
    return fires.mean([i for i in range(fires.ndim) if i != axis])


def _join(join, parts: Sequence[Tensor]) -> Tensor:
    if len({part.device for part in parts}) > 1:  # a model spread over several devices
        parts = [part.to(parts[0].device, non_blocking=True) for part in parts]
    return join(list(parts))
