"""`initialise`: every way of choosing first weights that the book compares, from a seed of its own."""

from __future__ import annotations

import math
from numbers import Integral, Real

import torch
from torch import Tensor, nn

from unstuck.evaluate import in_mode
from unstuck.theory import standard_deviation

SCHEMES = ("zeros", "constant", "normal", "uniform", "lecun", "xavier", "he", "pytorch", "orthogonal", "lsuv", "rai")
"""The schemes that `initialise` knows."""

SPREADING = ("constant", "normal", "uniform")  # those that need `scale`
SCALABLE = ("lecun", "xavier", "he", "orthogonal")  # those that take `gain`


GAINS = {
    "identity": 1.0,
    "sigmoid": 1.846,
    "tanh": 1.593,
    "relu": 1.414,
    "leaky_relu": 1.414,
    "prelu": 1.372,
    "elu": 1.245,
    "selu": 1.0,
    "gelu": 1.534,
    "silu": 1.677,
    "maxout": 1.0,
}
"""The gain g of each activation f with which a signal keeps its size: g^2 E[f(z)^2] = 1 for z ~ N(0, 1).

At most 0.001 from the exact value; for ReLU it is He's sqrt(2). Maxout: f is the larger of two independent z.
"""


def fans(weight: Tensor) -> tuple[int, int]:
    """Fan-in and fan-out of a weight (out, in) or (out, in, k, k): inputs (outputs) times kernel positions."""
    if weight.ndim < 2:
        raise ValueError(f"weight: expected at least 2 dimensions, got shape {tuple(weight.shape)}")
    positions = math.prod(weight.shape[2:])
    return weight.shape[1] * positions, weight.shape[0] * positions


def weighted_layers(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The linear and convolutional layers, in the order in which they are registered."""
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    return [(name, module) for name, module in model.named_modules() if isinstance(module, kinds)]


@torch.no_grad()
def initialise(
    model: nn.Module,
    scheme: str,
    *,
    scale: float | None = None,
    gain: float | None = None,
    bias: float | str | None = 0.0,
    seed: int = 0,
    x: Tensor | None = None,
) -> nn.Module:
    """Set the weights and biases of every linear and convolutional layer in place; returns the model.

    Args:
        scheme: one of `SCHEMES`. "normal" is N(0, scale^2) and "uniform" is U(-scale, scale); "lsuv" is Mishkin &
            Matas 2016 and needs a batch `x`; "rai" is the randomised asymmetric start of Lu et al. 2019; "pytorch" is
            what a PyTorch layer does by itself, U(-1, 1) / sqrt(fan_in) for weights and biases.
        scale: standard deviation ("normal"), half-width ("uniform") or value ("constant").
        gain: factor for "lecun", "xavier", "he", "orthogonal"; None is the scheme's own.
        bias: a number for every bias; "like weights" draws them as the weights are ("normal", "uniform");
            None leaves them. "rai" and "pytorch" draw their own.
        seed: of the generator used; the global random state is neither read nor changed.
        x: (N, ...), the batch that "lsuv" adjusts to.

    Other modules (normalisation, PReLU) are left as they are. Raises ValueError for what does not fit together.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"scheme: {scheme!r} is not one of {SCHEMES}")
    if (scale is None) == (scheme in SPREADING):
        raise ValueError(f"scale: {'needed by' if scale is None else 'not used by'} {scheme!r}, got {scale}")
    if gain is not None and scheme not in SCALABLE:
        raise ValueError(f"gain: not used by {scheme!r}, got {gain}")
    _check_number("scale", scale, least=-math.inf if scheme == "constant" else 0.0)
    _check_number("gain", gain, least=0.0)
    if (x is None) == (scheme == "lsuv"):
        raise ValueError(f"x: {'needed by' if x is None else 'not used by'} {scheme!r}")
    if bias == "like weights":
        if scheme not in ("normal", "uniform"):
            raise ValueError(f"bias: 'like weights' goes with 'normal' and 'uniform', not with {scheme!r}")
    else:
        _check_number("bias", bias, least=-math.inf)
    if scheme in ("rai", "pytorch") and bias != 0.0:
        raise ValueError(f"bias: {scheme!r} draws its own, got {bias}")
    if not isinstance(seed, Integral):
        raise TypeError(f"seed: expected an integer, got {seed!r}")
    layers = weighted_layers(model)
    if not layers:
        raise ValueError(f"model: {type(model).__name__} has no linear or convolutional layer")

    generator = torch.Generator().manual_seed(int(seed))
    for _, layer in layers:
        if scheme == "rai":
            _fill_rai(layer, generator)
            continue
        if scheme == "pytorch":
            for parameter in layer.parameters(recurse=False):
                _fill(parameter, "uniform", fans(layer.weight)[0] ** -0.5, None, generator)
            continue
        _fill(layer.weight, scheme, scale, gain, generator)
        if layer.bias is None or bias is None:
            continue
        if bias == "like weights":
            _fill(layer.bias, scheme, scale, gain, generator)
        else:
            layer.bias.fill_(bias)
    if scheme == "lsuv":
        _scale_to_unit_variance(model, layers, x)
    return model


def _check_number(name: str, value: float | None, least: float) -> None:
    if value is None:
        return
    if not isinstance(value, Real):
        raise TypeError(f"{name}: expected a number, got {value!r}")
    if not (math.isfinite(value) and value >= least):
        raise ValueError(f"{name}: expected a finite number{'' if least < 0 else ' of at least 0'}, got {value}")


def _fill(weight: Tensor, scheme: str, scale, gain, generator: torch.Generator) -> None:
    # drawn on the CPU, so that a seed means the same weights on every device
    draw = torch.empty(weight.shape, dtype=weight.dtype)
    if scheme == "zeros":
        draw.zero_()
    elif scheme == "constant":
        draw.fill_(scale)
    elif scheme == "normal":
        draw.normal_(0.0, scale, generator=generator)
    elif scheme == "uniform":
        draw.uniform_(-scale, scale, generator=generator)
    elif scheme in ("orthogonal", "lsuv"):
        nn.init.orthogonal_(draw, 1.0 if gain is None else gain, generator=generator)
    else:  # those of `theory.standard_deviation`
        draw.normal_(0.0, standard_deviation(scheme, *fans(weight), gain), generator=generator)
    weight.copy_(draw)


def _fill_rai(layer: nn.Module, generator: torch.Generator) -> None:
    """One entry of each unit's (weights, bias) from Beta(2, 1), the others N(0, 0.6007^2 / fan-in).

    Lu, Shin, Su & Karniadakis 2019, algorithm 1.
    """
    fan_in, _ = fans(layer.weight)
    units, entries = layer.weight.shape[0], fan_in + (layer.bias is not None)
    rows = torch.empty(units, entries, dtype=layer.weight.dtype)
    rows.normal_(0.0, 0.6007 / math.sqrt(fan_in), generator=generator)
    chosen = torch.randint(entries, (units,), generator=generator)
    # the inverse of Beta(2, 1)'s distribution function x^2
    rows[torch.arange(units), chosen] = torch.rand(units, generator=generator, dtype=rows.dtype).sqrt()
    layer.weight.copy_(rows[:, :fan_in].reshape(layer.weight.shape))
    if layer.bias is not None:
        layer.bias.copy_(rows[:, fan_in])


def _scale_to_unit_variance(model: nn.Module, layers, x: Tensor, tolerance: float = 0.02, tries: int = 10) -> None:
    """Divide each layer's weights by the standard deviation of its output on `x`, in the order in which they run."""
    spread: dict[str, float] = {}

    def measure(name: str):
        return lambda module, inputs, output: spread.__setitem__(name, float(output.std(correction=0)))

    handles = [layer.register_forward_hook(measure(name)) for name, layer in layers]
    try:
        with in_mode(model, training=False):
            model(x)
            unused = [name for name, _ in layers if name not in spread]
            if unused:
                raise ValueError(f"x: layers {unused} have no output on this batch")
            for name in list(spread):
                for _ in range(tries):
                    if not (math.isfinite(spread[name]) and spread[name] > 0):
                        raise ValueError(f"x: layer {name!r} has standard deviation {spread[name]} on this batch")
                    if abs(spread[name] - 1) < tolerance:
                        break
                    model.get_submodule(name).weight.div_(spread[name])
                    model(x)
                else:
                    raise ValueError(f"x: layer {name!r} does not reach unit variance on this batch")
    finally:
        for handle in handles:
            handle.remove()
