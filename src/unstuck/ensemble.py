"""`fit_many`: a grid of perceptrons of one shape, trained side by side as one batched network.

Axes: M networks, N examples, D features, H units (F before a maxout), K classes. A parameter of all networks is one
tensor (M, ...), under its name in `mlp`'s `state_dict()`; activations are (M, N, H), and every layer is one batched
product. Forward and backward are written out: no graph is built, and large results go into buffers that are there.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import compress, groupby
from numbers import Real
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from tqdm import tqdm

from unstuck.arguments import whole
from unstuck.data import Split
from unstuck.init import initialise
from unstuck.models import NORMS, activation_module, mlp
from unstuck.probes import ACTIVATION_QUANTITIES, UNSATURATED
from unstuck.record import QUANTITIES, Record
from unstuck.train import OPTIMIZERS, TEST_QUANTITIES, batches, schedule_factor

DEFAULTS = {"activation": "relu", "scheme": None, "scale": None, "gain": None, "bias": 0.0, "lr": None, "seed": 0}
"""What a setting is where a member does not give it, as in `mlp` and `initialise`; `scheme` and `lr` it must give."""

DRAWN = ("scheme", "scale", "gain", "bias", "seed")  # what `initialise` takes of them

MEMORY = 10**9
"""Bytes that the networks trained at a time may take; a larger grid is worked off in chunks.

One network is the least; how large the chunks are makes no difference to the speed, from some ten networks on.
"""

aten = torch.ops.aten  # PyTorch's own kernels of both directions: f'(0) is what it is in `fit`

WINDOW = 10  # observed steps without firing that make a unit `dead`, as in `watch`
MEANS = {"sgd": 0, "momentum": 1, "adam": 2}  # running means that an optimiser keeps of each parameter's gradient
MOMENTUM, BETA1, BETA2, ADAM_EPS, NORM_EPS = 0.9, 0.9, 0.999, 1e-8, 1e-5  # PyTorch's


def fit_many(
    shape: Sequence[int],
    split: Split,
    grid: Sequence[Mapping],
    *,
    steps: int,
    batch_size: int = 100,
    optimizer: str = "sgd",
    schedule: str | Callable[[int], float] | None = None,
    norm: str | None = None,
    clip: float | None = None,
    warmup: int = 0,
    quantities: Sequence[str] = (),
    every: int = 10,
    seed: int | None = 0,
    progress: bool | None = None,
    finished: Callable[[int, nn.Module], None] | None = None,
) -> list[tuple[dict, Record]]:
    """Train one perceptron for each member of `grid`; returns `(settings, record)` for each, in the grid's order.

    Member s is what this gives, to rounding (which training amplifies: float32 runs part after some ten steps)::

        model = initialise(mlp(shape, s["activation"], norm=norm), s["scheme"], scale=s["scale"], gain=s["gain"],
                           bias=s["bias"], seed=s["seed"])
        fit(model, split, steps=steps, lr=s["lr"], seed=seed, ...)

    Args:
        shape: widths of input, hidden layers and output, as for `mlp`; one for all members.
        split: its dtype is that of the networks.
        grid: settings by name: scheme and lr, and where `DEFAULTS` does not serve activation, scale, gain, bias, seed
            (of the initial weights). Not "lsuv", which needs a batch, and no `bias=None`.
        steps, batch_size, optimizer, schedule: as for `fit`.
        norm: None, "batch" or "layer", as for `mlp`.
        clip: largest norm of a member's whole gradient, as `torch.nn.utils.clip_grad_norm_`; not in `grad_norm`.
        warmup: over that many steps the rate rises linearly: it is multiplied by min(1, (step + 1) / warmup).
        quantities: as for `fit`, layers named as in `mlp`; with "test_accuracy",
            `record.arrays[steps - 1, "", "test_accuracy"]` says of each test example whether it is right: (N,) bool.
        every: record each `every`-th step.
        seed: of the order of the batches, the same for all; None: each member's own seed orders its batches too.
        progress: True or False; None shows a bar on a terminal only. The bar says how much memory is used.
        finished: called as `finished(i, model)` with each trained network, i its place in the grid, in the order in
            which they end; keep what you need of it.

    A member whose loss is not finite stays as it is, `record.stopped` says where, and the others go on. Members of
    one activation are trained together, in chunks of at most `MEMORY` bytes (see `memory_needed`); the results do
    not depend on the chunks. `record.meta` holds `settings`, `every` and `window`.

    Raises ValueError for arguments that do not fit, TypeError for those of the wrong kind; a member is named.
    """
    if not isinstance(split.x_train, Tensor):
        raise TypeError(f"split: expected torch tensors, got {type(split.x_train).__name__}; is it split.numpy()?")
    n = len(split.x_train)
    steps, batch_size, every = whole("steps", steps), whole("batch_size", batch_size), whole("every", every)
    warmup, seed = whole("warmup", warmup, least=0), None if seed is None else whole("seed", seed, least=0)
    if batch_size > n:
        raise ValueError(f"batch_size: expected at most {n} (the training examples), got {batch_size}")
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer: {optimizer!r} is not one of {sorted(OPTIMIZERS)}")
    if norm is not None and norm not in NORMS:
        raise ValueError(f"norm: expected None or one of {NORMS}, got {norm!r}")
    if norm == "batch" and 1 in (batch_size, n % batch_size):
        raise ValueError(
            f"batch_size: {batch_size} of {n} examples leave a batch of one, of which norm='batch' fails"
        )
    if clip is not None and not (isinstance(clip, Real) and math.isfinite(clip) and clip > 0):
        raise ValueError(f"clip: expected None or a finite norm above 0, got {clip!r}")
    if isinstance(quantities, str):
        raise TypeError(f"quantities: expected a sequence of names, got the string {quantities!r}")
    quantities = frozenset(quantities)
    if unknown := sorted(quantities - set(QUANTITIES)):
        raise ValueError(f"quantities: {unknown} are not among {sorted(QUANTITIES)}")
    factor = schedule_factor(schedule, steps)
    rates = [factor(step) * min(1.0, (step + 1) / max(warmup, 1)) for step in range(steps)]
    _check_shape(shape, split)
    members, grid = [], list(grid)
    with torch.random.fork_rng(devices=[]):  # `mlp` draws from it
        for i, given in enumerate(grid):
            try:
                members.append(_settings(given))
            except (TypeError, ValueError) as error:
                raise type(error)(f"grid[{i}]: {error}") from error

    plan = _Plan(shape, split, steps, batch_size, optimizer, norm, clip, quantities, every, seed, finished, rates)
    chunks = list(_chunks(members, plan))
    results: dict[int, Record] = {}
    silent = not (sys.stderr.isatty() if progress is None else progress)
    with tqdm(total=len(members) * steps, disable=silent, unit="step") as bar:
        for chunk, needed in chunks:
            bar.set_description(f"{len(chunk)} of {len(members)} networks, {needed / 1e6:.0f} MB")
            results |= _Chunk(plan, {i: members[i] for i in chunk}).run(bar)
    return [(settings, results[i]) for i, settings in enumerate(members)]


def memory_needed(
    shape: Sequence[int],
    members: int,
    *,
    activation: str = "relu",
    batch_size: int = 100,
    optimizer: str = "sgd",
    norm: str | None = None,
    dtype: torch.dtype = torch.float32,
) -> int:
    """Bytes that `members` networks take in training: parameters, gradients, the optimiser's means, activations."""
    with torch.device("meta"):  # shapes alone
        parameters = list(mlp(shape, activation, norm=norm).parameters())
    sizes = [p.numel() for p in parameters]
    first, logits = len(parameters[0]), 3 * shape[-1]
    units = sum(sum(rooms.values()) for rooms in _rooms(shape, activation, norm)) + max(shape[1:]) + first + logits
    return members * dtype.itemsize * ((2 + MEANS[optimizer]) * sum(sizes) + max(sizes) + units * batch_size)


# --- the pieces of a layer ---


def _prelu(z: Tensor, a: Tensor, slope: Tensor) -> None:
    torch.clamp(z, max=0, out=a).mul_(slope[:, :, None]).add_(z.clamp(min=0))


def _prelu_backward(d: Tensor, z: Tensor, a: Tensor, slope: Tensor) -> None:
    torch.where(z > 0, d, d * slope[:, :, None], out=z)


def _maxout(z: Tensor, a: Tensor, _) -> None:
    torch.amax(_pieces(z, a), dim=2, out=a)


def _maxout_backward(d: Tensor, z: Tensor, a: Tensor, _) -> None:
    """Pieces that are equally large share the gradient."""
    pieces = _pieces(z, a)
    largest = pieces == a[:, :, None]
    torch.mul(largest, (d / largest.sum(dim=2))[:, :, None], out=pieces)


def _pieces(z: Tensor, a: Tensor) -> Tensor:
    return z.unflatten(2, (-1, a.shape[2]))  # (M, N, pieces, H)


ELU = (1.0, 1.0, 1.0)  # alpha, scale, scale of the input
SELU = (1.6732632423543772, 1.0507009873554805, 1.0)
LEAK = 0.01

FUNCTIONS: dict[str, tuple[Callable, Callable]] = {
    "identity": (lambda z, a, w: a.copy_(z), lambda d, z, a, w: z.copy_(d)),
    "sigmoid": (
        lambda z, a, w: torch.sigmoid(z, out=a),
        lambda d, z, a, w: aten.sigmoid_backward.grad_input(d, a, grad_input=z),
    ),
    "tanh": (
        lambda z, a, w: torch.tanh(z, out=a),
        lambda d, z, a, w: aten.tanh_backward.grad_input(d, a, grad_input=z),
    ),
    "relu": (
        lambda z, a, w: torch.clamp(z, min=0, out=a),
        lambda d, z, a, w: aten.threshold_backward.grad_input(d, a, 0, grad_input=z),
    ),
    "leaky_relu": (
        lambda z, a, w: aten.leaky_relu.out(z, LEAK, out=a),
        lambda d, z, a, w: aten.leaky_relu_backward.grad_input(d, z, LEAK, False, grad_input=z),
    ),
    "prelu": (_prelu, _prelu_backward),
    "elu": (
        lambda z, a, w: aten.elu.out(z, *ELU, out=a),
        lambda d, z, a, w: aten.elu_backward.grad_input(d, *ELU, True, a, grad_input=z),
    ),
    "selu": (
        lambda z, a, w: aten.elu.out(z, *SELU, out=a),
        lambda d, z, a, w: aten.elu_backward.grad_input(d, *SELU, True, a, grad_input=z),
    ),
    "gelu": (
        lambda z, a, w: aten.gelu.out(z, out=a),
        lambda d, z, a, w: aten.gelu_backward.grad_input(d, z, grad_input=z),
    ),
    "silu": (
        lambda z, a, w: aten.silu.out(z, out=a),
        lambda d, z, a, w: aten.silu_backward.grad_input(d, z, grad_input=z),
    ),
    "maxout": (_maxout, _maxout_backward),
}
"""For each name in `ACTIVATIONS`: `forward(z, a, w)` writes a = f(z), `backward(d, z, a, w)` writes d f'(z) over z.

z (M, N, F) and a, d (M, N, H), with F = H but for maxout; w (M, 1) is the slope of PReLU.
"""

NEEDS_Z = ("prelu", "gelu", "silu", "maxout")  # the derivative of the others follows from a, which may overwrite z


def _rooms(shape: Sequence[int], activation: str, norm: str | None) -> list[dict[str, int]]:
    """The buffers of each layer and their units: a; z where a cannot overwrite it; x, which is z before its norm."""
    pieces = getattr(activation_module(activation), "pieces", 1)
    z, x = activation in NEEDS_Z, norm is not None
    hidden = [{"a": h} | ({"z": pieces * h} if z else {}) | ({"x": pieces * h} if x else {}) for h in shape[1:-1]]
    return [*hidden, {"a": shape[-1]}]


class _Networks:
    """M networks of one activation: parameters, forward, backward and update.

    `state` and `grads` are keyed as `state_dict()`. Inputs of a forward are `[(rows, x)]`: networks `rows` (a slice)
    see x (N, D).
    """

    def __init__(self, settings: list[dict], plan: _Plan):
        m, activation = len(settings), settings[0]["activation"]
        self.norm, self.optimizer, self.clip = plan.norm, plan.optimizer, plan.clip
        self.depth = len(plan.shape) - 1
        self.function, self.derivative = FUNCTIONS[activation]
        model = plan.model(activation)
        self.state = {name: tensor.expand(m, *tensor.shape).clone() for name, tensor in model.state_dict().items()}
        for i, chosen in enumerate(settings):
            initialise(model, **{name: chosen[name] for name in DRAWN})
            for name, tensor in model.state_dict().items():
                self.state[name][i] = tensor
        self.parameters = [name for name, _ in model.named_parameters()]
        self.weights = [name for name in self.parameters if name.endswith(".weight")]
        self.grads = {name: torch.empty_like(self.state[name]) for name in self.parameters}
        self.means = [
            {name: torch.zeros_like(self.state[name]) for name in self.parameters}
            for _ in range(MEANS[plan.optimizer])
        ]
        self.updates = 0
        room = partial(torch.empty, dtype=plan.split.x_train.dtype)
        self.rooms = [
            {name: (units, room(m * units * plan.batch_size)) for name, units in rooms.items()}
            for rooms in _rooms(plan.shape, activation, plan.norm)
        ]
        # the next two hold one layer's at a time
        self.shared = room(m * self.state["linear1.bias"].shape[1] * plan.batch_size)
        self.gradient = room(m * max(plan.shape[1:]) * plan.batch_size)
        self.scratch = room(max(self.state[name].numel() for name in self.weights))
        self.views: dict[int, list[SimpleNamespace]] = {}

    def __len__(self) -> int:
        return len(self.state["linear1.weight"])

    def keep(self, which: Tensor) -> None:
        """Go on with the networks for which `which` (M,) is True."""
        for tensors in (self.state, self.grads, *self.means):
            for name in tensors:
                tensors[name] = tensors[name][which]
        self.current = [
            SimpleNamespace(**{name: t[which] for name, t in vars(layer).items()}) for layer in self.current
        ]
        self.views.clear()

    def layers(self, n: int) -> list[SimpleNamespace]:
        """The buffers for n examples, one namespace a layer: contiguous views of the same memory for every n."""
        if n not in self.views:
            m = len(self)
            self.views[n] = [
                SimpleNamespace(**{name: flat[: m * n * u].view(m, n, u) for name, (u, flat) in rooms.items()})
                for rooms in self.rooms
            ]
            for layer in self.views[n]:
                layer.z = getattr(layer, "z", layer.a)
                layer.d = self.gradient[: layer.a.numel()].view_as(layer.a)
        return self.views[n]

    def forward(self, inputs: list[tuple[slice, Tensor]], *, training: bool) -> Tensor:
        """Logits (M, K, N): along so short an axis as K a softmax is ten times slower if it is the last."""
        self.current = layers = self.layers(len(inputs[0][1]))
        state = self.state
        for i, layer in enumerate(layers, start=1):
            weight, bias = state[f"linear{i}.weight"], state[f"linear{i}.bias"][:, None]
            z = layer.x if self.norm and i < self.depth else layer.z
            if i == 1:
                first = self._first(z)  # (N, M, F)
                for rows, x in inputs:
                    torch.mm(x, weight[rows].flatten(0, 1).T, out=first[:, rows].flatten(1))
                torch.add(first.transpose(0, 1), bias, out=z)
            elif i < self.depth:
                torch.bmm(layers[i - 2].a, weight.mT, out=z).add_(bias)
            else:
                m, n, classes = z.shape
                return torch.bmm(weight, layers[i - 2].a.mT, out=z.view(m, classes, n)).add_(bias.mT)
            if i < self.depth:
                if self.norm:
                    self._normalise(f"norm{i}", layer, training)
                self.function(layer.z, layer.a, state.get(f"act{i}.weight"))
        return layers[-1].z.mT.contiguous()  # there is one layer only

    def backward(self, d: Tensor, inputs: list[tuple[slice, Tensor]], *, at_once: bool) -> None:
        """From the gradient d (M, N, K) of the logits to `grads`.

        `at_once`: the rate is in d already, and the large weights are updated instead: their gradient is never made.
        """
        layers, state, grads = self.current, self.state, self.grads
        for i in range(self.depth, 0, -1):
            weight = state[f"linear{i}.weight"]
            torch.sum(d, dim=1, out=grads[f"linear{i}.bias"])
            target, beta, alpha = (weight, 1, -1) if at_once else (grads[f"linear{i}.weight"], 0, 1)
            if i == 1:
                first = self._first(d).copy_(d.transpose(0, 1))  # (N, M, F)
                for rows, x in inputs:
                    target[rows].flatten(0, 1).addmm_(first[:, rows].flatten(1).T, x, beta=beta, alpha=alpha)
                return
            below = layers[i - 2]
            torch.bmm(d, weight, out=below.d)  # before the weights move
            target.baddbmm_(d.mT, below.a, beta=beta, alpha=alpha)
            slope = state.get(f"act{i - 1}.weight")
            if slope is not None:
                torch.sum(below.d * below.z.clamp(max=0), dim=(1, 2), out=grads[f"act{i - 1}.weight"][:, 0])
            self.derivative(below.d, below.z, below.a, slope)
            d = below.z
            if self.norm:
                self._normalise_backward(f"norm{i - 1}", below)

    def _first(self, like: Tensor) -> Tensor:
        """Room for the first layer with the axes of `like` (M, N, F) as (N, M, F).

        So networks that see the same batch share one large product, which is faster than a batched one.
        """
        m, n, units = like.shape
        return self.shared[: like.numel()].view(n, m, units)

    def _normalise(self, name: str, layer: SimpleNamespace, training: bool) -> None:
        """`layer.x` becomes x^ = (x - mean) / sqrt(variance + eps), and `layer.z` gamma x^ + beta."""
        state, x = self.state, layer.x
        axis = 1 if self.norm == "batch" else 2
        if self.norm == "batch" and not training:
            x.sub_(state[f"{name}.running_mean"][:, None])
            variance = state[f"{name}.running_var"][:, None]
        else:
            mean = x.mean(dim=axis, keepdim=True)
            variance = torch.linalg.vector_norm(x.sub_(mean), dim=axis, keepdim=True).square_().div_(x.shape[axis])
            if self.norm == "batch":
                n = x.shape[1]
                state[f"{name}.running_mean"].lerp_(mean[:, 0], 0.1)
                state[f"{name}.running_var"].lerp_(variance[:, 0] * (n / (n - 1)), 0.1)
                state[f"{name}.num_batches_tracked"] += 1
        layer.factor = (variance + NORM_EPS).rsqrt_()
        x.mul_(layer.factor)
        gamma, beta = state[f"{name}.weight"], state[f"{name}.bias"]
        torch.addcmul(beta[:, None], x, gamma[:, None], out=layer.z)

    def _normalise_backward(self, name: str, layer: SimpleNamespace) -> None:
        """From the gradient in z to the one in what was normalised, both in `layer.z`; x^ is in `layer.x`."""
        x, d = layer.x, layer.z
        axis = 1 if self.norm == "batch" else 2
        torch.sum(d * x, dim=1, out=self.grads[f"{name}.weight"])
        torch.sum(d, dim=1, out=self.grads[f"{name}.bias"])
        d.mul_(self.state[f"{name}.weight"][:, None])
        along = (d * x).mean(dim=axis, keepdim=True)
        d.sub_(d.mean(dim=axis, keepdim=True)).sub_(x.mul_(along)).mul_(layer.factor)

    def clip_gradients(self) -> None:
        total = torch.linalg.vector_norm(torch.stack([_norms(grad) for grad in self.grads.values()]), dim=0)
        scale = (self.clip / (total + 1e-6)).clamp(max=1)  # (M,)
        for grad in self.grads.values():
            grad.mul_(_like(scale, grad))

    def update(self, rate: Tensor, *, at_once: bool, measure: bool) -> dict[str, tuple[Tensor, Tensor]]:
        """One step against `grads`, at rates (M,); if `measure`, the norms of each weight's update and of itself."""
        self.updates += 1
        moved = {}
        for name in self.parameters:
            parameter, grad = self.state[name], self.grads[name]
            before = None
            if measure and name in self.weights:
                before = self.scratch[: parameter.numel()].view_as(parameter).copy_(parameter)
                norm = _norms(before)
            if not at_once:
                parameter.addcmul_(self._step(name, grad), _like(-rate, grad))
            elif grad.ndim < 3:
                parameter.sub_(grad)
            if before is not None:
                moved[name] = _norms(before.sub_(parameter)), norm
        return moved

    def _step(self, name: str, grad: Tensor) -> Tensor:
        """What the optimiser makes of a gradient, at rate 1; may overwrite the gradient."""
        if self.optimizer == "sgd":
            return grad
        first = self.means[0][name]
        if self.optimizer == "momentum":
            return grad.copy_(first.mul_(MOMENTUM).add_(grad))
        second = self.means[1][name]
        first.lerp_(grad, 1 - BETA1)
        second.mul_(BETA2).addcmul_(grad, grad, value=1 - BETA2)
        bias1, bias2 = 1 - BETA1**self.updates, 1 - BETA2**self.updates
        torch.sqrt(second, out=grad).div_(math.sqrt(bias2)).add_(ADAM_EPS)
        return torch.div(first, grad, out=grad).div_(bias1)


def _norms(tensor: Tensor) -> Tensor:
    """The Euclidean norm of each network's part: (M, ...) to (M,)."""
    return torch.linalg.vector_norm(tensor.flatten(1), dim=1)


def _like(values: Tensor, tensor: Tensor) -> Tensor:
    return values.view(-1, *[1] * (tensor.ndim - 1))  # (M,) to (M, 1, ...)


# --- training ---


@dataclass(frozen=True)
class _Plan:
    """The arguments that all members share; `rates`: what a member's rate is multiplied by in each step."""

    shape: Sequence[int]
    split: Split
    steps: int
    batch_size: int
    optimizer: str
    norm: str | None
    clip: float | None
    quantities: frozenset[str]
    every: int
    seed: int | None
    finished: Callable[[int, nn.Module], None] | None
    rates: list[float]

    def model(self, activation: str) -> nn.Module:
        """A network of the members' kind; the global random state is left as it is."""
        with torch.random.fork_rng(devices=[]):
            return mlp(self.shape, activation, norm=self.norm).to(self.split.x_train.dtype)

    def order(self, settings: Mapping) -> int:
        """The seed of the order in which a member sees the batches."""
        return settings["seed"] if self.seed is None else self.seed


class _Observer:
    """Fills the records of the networks that are still training, with what `watch` would record."""

    def __init__(self, records: list[Record], activation: str, plan: _Plan):
        self.records, self.quantities, self.activation = records, plan.quantities, activation
        self.band = UNSATURATED.get(type(activation_module(activation)))
        self.silent: dict[str, Tensor] = {}  # layer: observed steps since each unit fired (M, H), inf if it never did
        self.step = 0

    def add(self, layer: str, quantity: str, values: Tensor, where: Tensor | None = None) -> None:
        """One row for each network, or for those where `where` (M,) is True."""
        pairs = zip(self.records, values.tolist(), strict=True)
        for record, value in pairs if where is None else compress(pairs, where.tolist()):
            record.add(self.step, layer, quantity, value)

    def keep(self, which: Tensor) -> None:
        self.records = list(compress(self.records, which.tolist()))
        self.silent = {layer: silent[which] for layer, silent in self.silent.items()}

    def activations(self, networks: _Networks) -> None:
        """After a forward, before the backward: the buffers d are free."""
        if self.activation == "identity" or not self.quantities & set(ACTIVATION_QUANTITIES):
            return
        for i, layer in enumerate(networks.current[:-1], start=1):
            name, a, buffer = f"act{i}", layer.a, layer.d
            found = {}
            if self.quantities & {"act_mean", "act_std"}:
                found["act_mean"] = a.mean(dim=(1, 2))
                torch.sub(a, _like(found["act_mean"], a), out=buffer)
                found["act_std"] = _norms(buffer) / math.sqrt(a[0].numel())
            if self.quantities & {"zero_fraction", "dead", "never_fired"}:
                fires = torch.ne(a, 0, out=buffer).mean(dim=1)  # (M, H)
                silent = self.silent.get(name, torch.full_like(fires, math.inf))
                self.silent[name] = silent = torch.where(fires > 0, 0, silent + 1)
                found["zero_fraction"] = 1 - fires.mean(dim=1)
                found["dead"] = (silent >= WINDOW).to(a).mean(dim=1)
                found["never_fired"] = silent.isinf().to(a).mean(dim=1)
            if self.band and "saturated_fraction" in self.quantities:
                centre, half = self.band
                found["saturated_fraction"] = torch.gt((a - centre).abs_(), half, out=buffer).mean(dim=(1, 2))
            for quantity in self.quantities & set(found):
                self.add(name, quantity, found[quantity])

    def norms(self, quantity: str, networks: _Networks, tensors: dict[str, Tensor]) -> None:
        """Of each weight, or of its gradient."""
        if quantity in self.quantities:
            for name in networks.weights:
                self.add(name.removesuffix(".weight"), quantity, _norms(tensors[name]))

    def updates(self, moved: dict[str, tuple[Tensor, Tensor]], where: Tensor | None = None) -> None:
        """`moved`: weight to the norms (M,) of its update and of itself before it."""
        for name, (update, norm) in moved.items():
            nonzero = norm != 0
            wanted = nonzero if where is None else nonzero & where
            self.add(name.removesuffix(".weight"), "update_ratio", update / norm, wanted)


class _Chunk:
    """Members of one activation, `{place in the grid: settings}`, from their first weights to their records."""

    def __init__(self, plan: _Plan, members: dict[int, dict]):
        self.plan = plan
        self.members = list(members.items())  # those still training
        meta = {"every": plan.every, "window": WINDOW}
        self.records = {i: Record(meta={"settings": settings} | meta) for i, settings in self.members}
        activation = self.members[0][1]["activation"]
        self.networks = _Networks([settings for _, settings in self.members], plan)
        self.observer = _Observer(list(self.records.values()), activation, plan)
        self.x, self.y = plan.split.x_train.detach().flatten(1), plan.split.y_train
        seeds = {plan.order(settings) for _, settings in self.members}
        self.orders = {seed: batches(len(self.x), plan.batch_size, plan.steps, seed) for seed in seeds}
        self.arrange()

    def arrange(self) -> None:
        """What follows from who is still training: rates (M,), and who shares an order of batches."""
        self.lr = torch.tensor([settings["lr"] for _, settings in self.members], dtype=torch.float64)
        self.groups: list[tuple[int, slice]] = []
        for seed, group in groupby(self.plan.order(settings) for _, settings in self.members):
            start = self.groups[-1][1].stop if self.groups else 0
            self.groups.append((seed, slice(start, start + len(list(group)))))

    def run(self, bar: tqdm) -> dict[int, Record]:
        size, per_epoch = len(self.members), math.ceil(len(self.x) / self.plan.batch_size)
        for step in range(self.plan.steps):
            if self.members:
                self.step(step)
            last = step + 1 == self.plan.steps
            if self.members and self.plan.quantities & set(TEST_QUANTITIES) and (last or (step + 1) % per_epoch == 0):
                self.test(last)
            bar.update(size)
        for m in range(len(self.members)):
            self.finish(m)
        return self.records

    def step(self, step: int) -> None:
        plan, networks, observer = self.plan, self.networks, self.observer
        observed, observer.step = step % plan.every == 0, step
        index = {seed: next(order) for seed, order in self.orders.items()}
        inputs = self.inputs(index)
        seen = [self.y[index[seed]].expand(rows.stop - rows.start, 1, -1) for seed, rows in self.groups]
        labels = torch.cat(seen)  # (M, 1, N)

        logits = networks.forward(inputs, training=True)  # (M, K, N)
        log_p = logits.log_softmax(dim=1)
        loss = -log_p.gather(1, labels).mean(dim=(1, 2))  # (M,)
        finite = loss.isfinite()
        if observed:
            observer.add("", "loss", loss)
            observer.add("", "accuracy", (logits.argmax(dim=1) == labels[:, 0]).float().mean(dim=1))
            observer.activations(networks)
            observer.norms("weight_norm", networks, networks.state)
        if not finite.all():
            self.drop(step, loss, finite)
            inputs, labels, log_p = self.inputs(index), labels[finite], log_p[finite]
        if not self.members:
            return

        at_once = plan.optimizer == "sgd" and plan.clip is None and not observed
        rate = (self.lr * plan.rates[step]).to(log_p)
        d = log_p.exp_().scatter_add_(1, labels, -torch.ones_like(log_p[:, :1]))
        d.mul_(_like(rate, d) / d.shape[2] if at_once else 1 / d.shape[2])
        networks.backward(d.mT, inputs, at_once=at_once)
        if observed:
            observer.norms("grad_norm", networks, networks.grads)
        if plan.clip is not None:
            networks.clip_gradients()
        moved = networks.update(rate, at_once=at_once, measure=observed and "update_ratio" in plan.quantities)
        observer.updates(moved)

    def inputs(self, index: dict[int, Tensor]) -> list[tuple[slice, Tensor]]:
        """Which networks see which examples."""
        return [(rows, self.x.index_select(0, index[seed])) for seed, rows in self.groups]

    def drop(self, step: int, loss: Tensor, finite: Tensor) -> None:
        """Those whose loss is not finite leave before the update."""
        for m in (~finite).nonzero().flatten().tolist():
            self.records[self.members[m][0]].stopped = (step, f"the loss is {loss[m].item()}")
            self.finish(m)
        if step % self.plan.every == 0 and "update_ratio" in self.plan.quantities:
            weights = ((name, self.networks.state[name]) for name in self.networks.weights)
            self.observer.updates({name: (_norms(w - w), _norms(w)) for name, w in weights}, where=~finite)
        self.members = list(compress(self.members, finite.tolist()))
        self.networks.keep(finite)
        self.observer.keep(finite)
        self.arrange()

    def test(self, last: bool) -> None:
        """The quantities of the test part, and at the end which of its examples are right."""
        observer, size, right, loss = self.observer, self.plan.batch_size, [], 0.0
        x, y = self.plan.split.x_test.detach().flatten(1), self.plan.split.y_test
        for part, labels in zip(x.split(size), y.split(size), strict=True):
            logits = self.networks.forward([(slice(None), part)], training=False)  # (M, K, N)
            right.append(logits.argmax(dim=1) == labels)
            loss = loss - logits.log_softmax(dim=1).gather(1, labels.expand(len(logits), 1, -1)).sum(dim=(1, 2))
        right = torch.cat(right, dim=1)  # (M, N)
        if "test_loss" in observer.quantities:
            observer.add("", "test_loss", loss / len(y))
        if "test_accuracy" in observer.quantities:
            observer.add("", "test_accuracy", right.float().mean(dim=1))
            if last:
                for record, row in zip(observer.records, right.numpy(), strict=True):
                    record.arrays[observer.step, "", "test_accuracy"] = row.copy()

    def finish(self, m: int) -> None:
        if self.plan.finished is not None:
            place, settings = self.members[m]
            model = self.plan.model(settings["activation"])
            model.load_state_dict({name: tensor[m] for name, tensor in self.networks.state.items()})
            self.plan.finished(place, model)


# --- arguments ---


def _check_shape(shape: Sequence[int], split: Split) -> None:
    with torch.device("meta"):  # mlp's own checks
        mlp(shape)
    features, classes = math.prod(split.x_train.shape[1:]), len(split.classes)
    if shape[0] != features or shape[-1] < classes:
        raise ValueError(
            f"shape: expected {features} inputs and at least {classes} outputs, which split needs, got {tuple(shape)}"
        )


def _settings(given: Mapping) -> dict:
    """The settings of a member in full, as plain numbers; raises what `mlp` and `initialise` raise."""
    if not isinstance(given, Mapping):
        raise TypeError(f"expected a dict of settings, got {given!r}")
    if unknown := sorted(set(given) - set(DEFAULTS), key=str):
        raise ValueError(f"{unknown} are not among the settings {sorted(DEFAULTS)}")
    settings = DEFAULTS | given
    lr = settings["lr"]
    if not isinstance(lr, Real):
        raise TypeError(f"lr: expected a number, got {lr!r}")
    if not (math.isfinite(lr) and lr >= 0):
        raise ValueError(f"lr: expected a finite rate of at least 0, got {lr}")
    if settings["bias"] is None:
        raise ValueError("bias: expected a number or 'like weights', got None")
    settings["seed"] = whole("seed", settings["seed"], least=0)
    initialise(mlp((1, 1, 1), settings["activation"]), **{name: settings[name] for name in DRAWN})
    return {
        name: float(value) if isinstance(value, Real) and name != "seed" else value
        for name, value in settings.items()
    }


def _chunks(members: list[dict], plan: _Plan) -> Iterator[tuple[list[int], int]]:
    """The places of the members that are trained together, and the bytes they take."""
    for activation in dict.fromkeys(settings["activation"] for settings in members):
        places = [i for i, settings in enumerate(members) if settings["activation"] == activation]
        places.sort(key=lambda i: plan.order(members[i]))
        needed = memory_needed(
            plan.shape,
            1,
            activation=activation,
            batch_size=plan.batch_size,
            optimizer=plan.optimizer,
            norm=plan.norm,
            dtype=plan.split.x_train.dtype,
        )
        chunks = math.ceil(len(places) / max(1, MEMORY // needed))
        size = math.ceil(len(places) / chunks)  # chunks of about the same size
        for start in range(0, len(places), size):
            chunk = places[start : start + size]
            yield chunk, needed * len(chunk)
