"""`initialise`: every way of choosing initial weights that the book compares, from a seed of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from unstuck.arguments import choice, instance, real, short, whole
from unstuck.evaluate import in_mode
from unstuck.theory import standard_deviation

SCHEMES = ("zeros", "constant", "normal", "uniform", "lecun", "xavier", "he", "pytorch", "orthogonal", "lsuv", "rai")
"""The schemes that `initialise` knows."""

Weighted = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d

SPREADING = ("constant", "normal", "uniform")  # those that need `scale`
SCALABLE = ("lecun", "xavier", "he", "orthogonal")  # those that take `gain`


def fans(weight: Tensor) -> tuple[int, int]:
    """Fan-in and fan-out of a weight (out, in) or (out, in, k, k): inputs (outputs) times kernel positions."""
    instance("weight", weight, Tensor, "a torch.Tensor")
    if weight.ndim < 2:
        raise ValueError(f"weight: expected at least 2 dimensions, got shape {tuple(weight.shape)}")
    positions = math.prod(weight.shape[2:])
    return weight.shape[1] * positions, weight.shape[0] * positions


def weighted_layers(model: nn.Module) -> list[tuple[str, Weighted]]:
    """The linear and convolutional layers, in the order in which they are registered."""
    instance("model", model, nn.Module, "a torch.nn.Module")
    return [(name, module) for name, module in model.named_modules() if isinstance(module, Weighted)]


def check_scheme(
    scheme: str, *, scale: float | None = None, gain: float | None = None, bias: float | str | None = 0.0
) -> tuple[float | None, float | None, float | str | None]:
    """Scale, gain and bias as numbers, where `initialise` takes them with that scheme.

    Raises TypeError or ValueError where it does not.
    """
    choice("scheme", scheme, SCHEMES)
    if (scale is None) == (scheme in SPREADING):
        raise ValueError(f"scale: {'needed by' if scale is None else 'not used by'} {scheme!r}, got {short(scale)}")
    if gain is not None and scheme not in SCALABLE:
        raise ValueError(f"gain: not used by {scheme!r}, got {short(gain)}")
    if scale is not None:
        scale = real("scale", scale, least=None if scheme == "constant" else 0)
    if gain is not None:
        gain = real("gain", gain, least=0)
    if isinstance(bias, str):
        choice("bias", bias, ("like weights",))
        if scheme not in ("normal", "uniform"):
            raise ValueError(f"bias: 'like weights' goes with 'normal' and 'uniform', not with {scheme!r}")
    elif bias is not None:
        bias = real("bias", bias)
    if scheme in ("rai", "pytorch") and bias != 0.0:
        raise ValueError(f"bias: {scheme!r} draws its own, got {bias}")
    return scale, gain, bias


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
        gain: factor for "lecun", "xavier", "he", "orthogonal"; None is the scheme's own. The factor that keeps the
            second moment of a signal is `unstuck.theory.gain(activation)`.
        bias: a number for every bias; "like weights" draws them as the weights are ("normal", "uniform");
            None leaves them. "rai" and "pytorch" draw their own.
        seed: of the generator used; the global random state is neither read nor changed.
        x: (N, ...), the batch that "lsuv" adjusts to.

    Other modules (normalisation, PReLU) are left as they are.

    Raises:
        TypeError, ValueError: an argument is wrong or does not go with the scheme; the model has no such layer, or
            one whose weights are computed from others (parametrised, weight-normalised, pruned) or not made yet
            (lazy). Nothing is changed.
        ValueError: "lsuv" cannot give a layer unit variance on this batch. The weights are then half adjusted.
    """
    scale, gain, bias = check_scheme(scheme, scale=scale, gain=gain, bias=bias)
    if (x is None) == (scheme == "lsuv"):
        raise ValueError(f"x: {'needed by' if x is None else 'not used by'} {scheme!r}")
    if x is not None:
        instance("x", x, Tensor, "a torch.Tensor")
    seed = whole("seed", seed, least=0, most=2**64 - 1)
    layers = weighted_layers(model)
    if not layers:
        raise ValueError(f"model: {type(model).__name__} has no linear or convolutional layer")
    _check_assignable(layers)

    generator = torch.Generator().manual_seed(seed)
    spread = 0.0 if scale is None else scale
    for _, layer in layers:
        if scheme == "rai":
            _fill_rai(layer, generator)
            continue
        if scheme == "pytorch":
            for parameter in layer.parameters(recurse=False):
                _fill(parameter, "uniform", fans(layer.weight)[0] ** -0.5, None, generator)
            continue
        _fill(layer.weight, scheme, spread, gain, generator)
        if layer.bias is None or bias is None:
            continue
        if isinstance(bias, str):
            _fill(layer.bias, scheme, spread, gain, generator)
        else:
            layer.bias.fill_(bias)
    if x is not None:
        _scale_to_unit_variance(model, layers, x)
    return model


def _check_assignable(layers: list[tuple[str, Weighted]]) -> None:
    """Refuse layers in which assigning a weight or bias does not change what they compute."""
    for name, layer in layers:
        own = dict(layer.named_parameters(recurse=False))
        if any(isinstance(parameter, UninitializedParameter) for parameter in own.values()):
            raise ValueError(f"model: layer {name!r} has no weights before its first batch; run one, then initialise")
        # weight norm, spectral norm and pruning keep other parameters, from which they compute these
        derived = [kind for kind in ("weight", "bias") if kind not in own and getattr(layer, kind) is not None]
        if derived:
            raise ValueError(
                f"model: layer {name!r} computes its {' and '.join(derived)} (parametrised, weight-normalised or "
                f"pruned), so that setting it changes nothing; initialise first, then parametrise"
            )


def _fill(weight: Tensor, scheme: str, scale: float, gain: float | None, generator: torch.Generator) -> None:
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


def _fill_rai(layer: Weighted, generator: torch.Generator) -> None:
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


def _scale_to_unit_variance(
    model: nn.Module, layers: list[tuple[str, Weighted]], x: Tensor, tolerance: float = 0.02, tries: int = 10
) -> None:
    """Divide each layer's weights by the standard deviation of its output on `x`, in the order in which they run."""
    spread: dict[str, float] = {}

    def measure(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda module, inputs, output: spread.__setitem__(name, float(output.std(correction=0)))

    handles = [layer.register_forward_hook(measure(name)) for name, layer in layers]
    try:
        with in_mode(model, training=False):
            try:
                model(x)
            except Exception as error:  # PyTorch has many for a batch that does not fit
                raise ValueError(f"x: expected a batch that the model takes, got {short(x)} ({error})") from error
            unused = [name for name, _ in layers if name not in spread]
            if unused:
                raise ValueError(f"x: layers {unused} have no output on this batch")
            weights = {name: layer.weight for name, layer in layers}
            for name in list(spread):
                for _ in range(tries):
                    if not (math.isfinite(spread[name]) and spread[name] > 0):
                        raise ValueError(f"x: layer {name!r} has standard deviation {spread[name]} on this batch")
                    if abs(spread[name] - 1) < tolerance:
                        break
                    weights[name].div_(spread[name])
                    model(x)
                else:
                    raise ValueError(f"x: layer {name!r} does not reach unit variance on this batch")
    finally:
        for handle in handles:
            handle.remove()
