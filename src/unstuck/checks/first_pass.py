"""One forward and one backward pass on a copy, operation by operation: what every check of the start looks at."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from unstuck import measure
from unstuck.checks.operations import Call, Operations
from unstuck.checks.program import Program
from unstuck.init import fans

PRODUCTS = {"addmm": (1, 2), "mm": (0, 1), "convolution": (0, 1), "addmv": (1, 2), "linear": (0, 1)}
"""Operations with weights: which arguments are the signal and the weight."""
NORMALISING = {
    *("batch_norm", "native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training"),
    *("_batch_norm_with_update", "_batch_norm_no_update", "cudnn_batch_norm", "native_layer_norm"),
    *("native_group_norm", "_fused_rms_norm", "rms_norm"),
}
RECTIFIERS = {"relu", "relu_", "hardtanh", "hardtanh_", "clamp_min", "clamp_min_", "threshold"}
SQUASHING = {"sigmoid": "Sigmoid", "sigmoid_": "Sigmoid", "tanh": "Tanh", "tanh_": "Tanh"}
DROPPING = {"native_dropout", "bernoulli_", "bernoulli", "_fused_dropout"}
ACTIVATING = RECTIFIERS | SQUASHING.keys() | {"elu", "gelu", "silu", "leaky_relu"}
MOVING = {
    *("view", "_unsafe_view", "t", "transpose", "permute", "squeeze", "unsqueeze", "detach", "clone", "add", "add_"),
}
GATED = (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)
"""Modules whose inside has gates and weights of its own kind: signals within them are not judged."""

EACH_TIME = 8
"""Operations in the time of one step of a recurrent layer."""


@dataclass
class Layer:
    """A product with weights: what went in and came out.

    `gain` is the root mean square weight times sqrt(fan-in): the factor on the signal's second moment. `spread` is
    the root mean square difference of its outputs from their mean over examples, `size` that of the outputs
    themselves.
    """

    name: str
    parameter: str
    gain: float
    given: float
    size: float
    spread: float
    normalised: bool = False
    gradient: float = math.nan


@dataclass
class Activation:
    """An activation: the share of its units that were zero on all examples, and of its values that are saturated.

    `behind`: how many layers come before it.
    """

    name: str
    kind: str
    examples: int
    dead: float
    saturated: float
    behind: int
    units: int


@dataclass
class FirstPass:
    """What was seen. `norms`: each batch norm that ran, with whether it used the batch's statistics."""

    layers: list[Layer] = field(default_factory=list)
    activations: list[Activation] = field(default_factory=list)
    dropped: list[tuple[str, float]] = field(default_factory=list)
    norms: list[tuple[str, bool]] = field(default_factory=list)
    norm_first: bool = False
    entry: Tensor | None = None
    entry_layer: str = ""
    operations: int = 0
    cost: float = 0.0
    half: set[torch.dtype] = field(default_factory=set)
    output: Any = None
    loss: float = math.nan
    gradients: dict[str, Tensor | None] = field(default_factory=dict)
    differentiable: bool = True


class Eye:
    """Fills a FirstPass from the operations of one forward."""

    def __init__(self, model: nn.Module, result: FirstPass) -> None:
        self.result = result
        self.weights = {p.untyped_storage().data_ptr(): (name, p) for name, p in model.named_parameters()}
        self.gated = [name for name, module in model.named_modules() if isinstance(module, GATED)]
        self.channels_first = False
        self.waiting: Layer | None = None

    def see(self, call: Call) -> None:
        result, out = self.result, call.output
        if isinstance(out, tuple | list) and out:
            out = out[0]
        if not isinstance(out, Tensor) or not out.is_floating_point() or not out.numel():
            return
        result.operations += 1
        if out.dtype in (torch.float16, torch.bfloat16):
            result.half.add(out.dtype)
        if call.name in DROPPING:
            arguments = [a for a in call.args[1:] if isinstance(a, int | float) and not isinstance(a, bool)]
            p = arguments[0] if arguments else math.nan
            result.dropped.append((call.path, 1 - p if call.name.startswith("bernoulli") else p))
        inside = any(call.path == name or call.path.startswith(f"{name}.") for name in self.gated)
        if call.name in PRODUCTS:
            self._product(call, out, inside)
        elif inside:
            if "rnn" in call.name:
                self._enter(call.args[0], call.path)
                self._fused(call)
            self.waiting = None
        elif call.name in NORMALISING:
            self._norm(call)
        elif call.name in ACTIVATING:
            self._activation(call, out)
        if not inside and call.name not in MOVING and call.name not in PRODUCTS:
            self.waiting = None

    def _fused(self, call: Call) -> None:
        """What a recurrent layer costs that is one operation, and works through its steps one after the other."""
        time, *rest = call.args[0].shape
        weights = sum(t.numel() for t in call.tensors() if t.ndim == 2)
        self.result.operations += EACH_TIME * time
        self.result.cost += weights * time * (rest[0] if len(rest) > 1 else 1)

    def _norm(self, call: Call) -> None:
        self.result.norm_first |= not self.result.layers and self.result.entry is None
        if self.waiting is not None:
            self.waiting.normalised = True
        if "batch_norm" in call.name:
            flags = [a for a in call.args if isinstance(a, bool)]
            self.result.norms.append((call.path, flags[0] if flags else "no_" not in call.name))

    def _enter(self, given: Tensor, path: str) -> None:
        if self.result.entry is None:
            self.result.entry, self.result.entry_layer = given.detach().clone(), path

    def _product(self, call: Call, out: Tensor, inside: bool) -> None:
        given, weight = (call.args[i] for i in PRODUCTS[call.name])
        name, p = self.weights.get(weight.untyped_storage().data_ptr(), ("", None))
        if p is None and call.name == "mm":
            given, weight = weight, given
            name, p = self.weights.get(weight.untyped_storage().data_ptr(), ("", None))
        self._enter(given, call.path)
        self.result.cost += out.numel() * (weight[0].numel() if call.name == "convolution" else weight.shape[0])
        if p is None or p.ndim < 2 or inside:
            self.waiting = None
            return
        convolution = call.name == "convolution"
        self.channels_first = convolution
        fan_in = fans(p)[0] if convolution else weight.shape[0]
        o = out.detach().float()
        layer = Layer(
            name.rpartition(".")[0] or name,
            name,
            float(p.detach().float().square().mean().sqrt()) * math.sqrt(fan_in),
            float(given.float().square().mean().sqrt()),
            float(o.square().mean().sqrt()),
            float((o - o.mean(0, keepdim=True)).square().mean().sqrt()),
        )
        self.result.layers.append(layer)
        self.waiting = layer

    def _activation(self, call: Call, out: Tensor) -> None:
        a = out.detach().float()
        a = a if a.ndim > 1 else a[:, None]
        axis = 1 if a.ndim == 4 or (self.channels_first and a.ndim > 2) else a.ndim - 1
        signal = measure.Signal(a, kind=SQUASHING.get(call.name, "ReLU"), unit_axis=axis)
        dead = float((signal.zeros == 1).float().mean()) if call.name in RECTIFIERS else 0.0
        saturated = measure.saturated_fraction(signal)
        kind, above = call.name.rstrip("_"), self.result.layers[-1].name if self.result.layers else "the input"
        name = call.path or f"{kind} after {above}"
        share, behind = 0.0 if saturated is None else float(saturated), len(self.result.layers)
        seen = Activation(name, kind, a.numel() // a.shape[axis], dead, share, behind, a.shape[axis])
        self.result.activations.append(seen)


def look(
    program: Program, model: nn.Module | None = None, *, training: bool = True, backward: bool = True
) -> FirstPass:
    """A forward, and a backward of the loss, of a copy (or of `model`, which is then changed in its gradients)."""
    model = program.bare() if model is None else model
    if model.training != training:
        model.train(training)
    result = FirstPass()
    x, y = program.sample
    eye = Eye(model, result)
    program.seeded()
    with torch.enable_grad():
        with Operations(eye.see).watching(model):
            result.output = program.output(model, x)
        if not backward:
            return result
        loss = program.loss(result.output, y)
        loss = loss if loss.ndim == 0 else loss.mean()
        result.loss = loss.detach().float().item()
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        result.differentiable, result.gradients = loss.requires_grad, dict.fromkeys(trained)
        if loss.requires_grad and trained:
            grads = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
            result.gradients = dict(zip(trained, grads, strict=True))
    for layer in result.layers:
        g = result.gradients.get(layer.parameter)
        layer.gradient = math.nan if g is None else float(g.float().square().mean().sqrt())
    return result
