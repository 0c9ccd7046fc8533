"""A small transformer encoder for images and sequences. Axes: N examples, T tokens, D features of a token."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from unstuck.arguments import choice, flag, whole, wholes
from unstuck.models.activations import activation_module, pieces_of

NORM_PLACES = ("pre", "post")


class Patches(nn.Module):
    """Images (N, C, Hi, Wi) to their square patches, row by row: (N, T, C * size * size)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.unfold(x, self.size, stride=self.size).mT


class Positions(nn.Module):
    """Adds to each token a learned vector, at first N(0, 0.02^2): (N, T, D) to the same."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.02 * torch.randn(tokens, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.weight.unsqueeze(-3)


class Attention(nn.Module):
    """softmax(Q K^T / sqrt(d)) V in several heads of d features (Vaswani et al. 2017, 3.2): (N, T, D) to the same."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.softmax = nn.Softmax(dim=-1)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (self.split(part(x)) for part in (self.query, self.key, self.value))  # (N, heads, T, d)
        weights = self.softmax(q @ k.mT / math.sqrt(q.shape[-1]))  # (N, heads, T, T): how much of each for each
        return self.out((weights @ v).transpose(-3, -2).flatten(-2))

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(-3, -2)


class Block(nn.Module):
    """Attention, then two linear layers for each token, each added to what came in: (N, T, D) to the same."""

    def __init__(self, width: int, heads: int, activation: nn.Module, norm: str) -> None:
        super().__init__()
        self.pre = norm == "pre"
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, 4 * width)
        self.act1 = activation
        self.linear2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        if self.pre:
            x = x + self.attention(self.norm1(x))
            return x + self.feed_forward(self.norm2(x))
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.feed_forward(x))

    def feed_forward(self, x: Tensor) -> Tensor:
        return self.linear2(self.act1(self.linear1(x)))


class Average(nn.Module):
    """The mean over the tokens: (N, T, D) to (N, D)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=-2)


def small_transformer(
    shape: Sequence[int] = (1, 28, 28),
    classes: int = 10,
    activation: str | Callable[[], nn.Module] = "relu",
    *,
    norm: str = "pre",
    patch: int = 7,
    width: int = 32,
    layers: int = 2,
    heads: int = 4,
    positions: bool = True,
) -> nn.Sequential:
    """A transformer encoder: (`patches`,) `embed`, `positions`, `block1`, ..., (`norm`,) `average`, `linear`.

    Args:
        shape: of one example: an image (C, Hi, Wi), or a sequence (T, D).
        classes: outputs of the linear layer that ends it, after the mean over the tokens.
        activation: as for `mlp`, but not Maxout; of `block1.linear1`, which has 4 * `width` outputs, and so on.
        norm: where layer norm stands in a block. "post": after each sum (Vaswani et al. 2017). "pre": before
            attention and before the linear layers, and once more after the last block.
        patch: side of the square patches that are an image's tokens; a sequence has its own.
        width: features of a token, a multiple of `heads`.
        layers: number of blocks.
        heads: of `block1.attention`, whose layers are `query`, `key`, `value`, `softmax` and `out`.
        positions: whether tokens know their places; without it their order makes no difference.

    From (N, C, Hi, Wi) or (N, T, D) to (N, K). There is no dropout. Weights are PyTorch's defaults, from the global
    random state. Xiong et al. 2020 begin with Xavier's (`initialise(model, "xavier")`); a token's gradient in the
    last of L blocks is then as large with "post" for every L, which needs warm-up, and goes as 1 / sqrt(L) with
    "pre", which needs none (theorem 1). Those of several tokens and examples, which depth makes alike, add up.

    Raises TypeError for what is of the wrong kind, ValueError for what does not fit.
    """
    shape, classes = wholes("shape", shape, fewest=2), whole("classes", classes)
    choice("norm", norm, NORM_PLACES)
    patch, width = whole("patch", patch), whole("width", width)
    layers, heads = whole("layers", layers), whole("heads", heads)
    image = len(shape) == 3
    if len(shape) > 3:
        raise ValueError(f"shape: expected an image (C, Hi, Wi) or a sequence (T, D), got {shape}")
    if image and (shape[1] % patch or shape[2] % patch):
        raise ValueError(f"patch: expected a side that divides those of images {shape}, got {patch}")
    if width % heads:
        raise ValueError(f"heads: expected a number that divides the width {width}, got {heads}")
    if pieces_of(activation_module(activation)) > 1:
        raise ValueError("activation: expected one that works on each value by itself, got Maxout")
    tokens = shape[1] * shape[2] // patch**2 if image else shape[0]
    parts: OrderedDict[str, nn.Module] = OrderedDict(patches=Patches(patch)) if image else OrderedDict()
    parts["embed"] = nn.Linear(shape[0] * patch**2 if image else shape[1], width)
    if flag("positions", positions):
        parts["positions"] = Positions(tokens, width)
    for i in range(1, layers + 1):
        parts[f"block{i}"] = Block(width, heads, activation_module(activation), norm)
    if norm == "pre":
        parts["norm"] = nn.LayerNorm(width)
    parts["average"] = Average()
    parts["linear"] = nn.Linear(width, classes)
    return nn.Sequential(parts)
