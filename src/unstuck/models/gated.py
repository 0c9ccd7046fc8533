"""A convolutional network with squeeze-and-excitation gates."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from unstuck.arguments import choice, flag, real, whole, wholes


class Gate(nn.Module):
    """Each channel times a number in (0, 1) computed from the means of all (Hu et al. 2018): (N, C, Hi, Wi) to same.

    The numbers are sigmoid(excite(ReLU(squeeze(means)))). Biases of `excite` start at `bias`, the others at 0.
    """

    def __init__(self, channels: int, reduction: int, bias: float) -> None:
        super().__init__()
        self.average = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.squeeze = nn.Linear(channels, channels // reduction)
        self.act = nn.ReLU()
        self.excite = nn.Linear(channels // reduction, channels)
        self.sigmoid = nn.Sigmoid()
        nn.init.zeros_(self.squeeze.bias)
        nn.init.constant_(self.excite.bias, bias)

    def forward(self, x: Tensor) -> Tensor:
        means = self.flatten(self.average(x))  # (N, C)
        gates = self.sigmoid(self.excite(self.act(self.squeeze(means))))
        return x * gates[:, :, None, None]


class GatedBlock(nn.Module):
    """Convolution, (norm,) ReLU and gate, added to what came in where `residual`: (N, C, Hi, Wi) to the same."""

    def __init__(self, channels: int, reduction: int, norm: str | None, residual: bool, gate_bias: float) -> None:
        super().__init__()
        self.residual = residual
        self.conv = nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=norm is None)
        self.norm = nn.BatchNorm2d(channels) if norm else None
        self.act = nn.ReLU()
        self.gate = Gate(channels, reduction, gate_bias)

    def forward(self, x: Tensor) -> Tensor:
        z = self.conv(x)
        gated = self.gate(self.act(z if self.norm is None else self.norm(z)))
        return x + gated if self.residual else gated


def gated_cnn(
    channels: Sequence[int],
    blocks: int,
    classes: int,
    *,
    reduction: int = 4,
    norm: str | None = "batch",
    residual: bool = False,
    gate_bias: float = 0.0,
) -> nn.Sequential:
    """A squeeze-and-excitation network: `stem`, `pool`, `block1`, ..., `average`, `flatten`, `linear`.

    Args:
        channels: of the input and of every block.
        blocks: number of blocks, each `conv`, (`norm`,) `act` and `gate`.
        classes: outputs of the linear layer that ends it, after an average over all positions.
        reduction: the gates' hidden layers have this many times fewer units than there are channels.
        norm: None, or "batch" between convolution and ReLU; the convolution then has no bias.
        residual: whether what comes into a block is added to what comes out.
        gate_bias: first biases of the gates: they start near sigmoid(gate_bias), at 0 near one half, so that signal
            and gradient are halved in each block without `norm` and `residual`.

    From images (N, C, Hi, Wi), with Hi and Wi at least 2, to (N, K). Convolutions start with He's weights and biases
    of 0, the rest with PyTorch's defaults, from the global random state. Raises TypeError for what is of the wrong
    kind, ValueError for what does not fit.
    """
    c_in, width = wholes("channels", channels, count=2)
    blocks, classes, reduction = whole("blocks", blocks), whole("classes", classes), whole("reduction", reduction)
    if width < reduction:
        raise ValueError(f"reduction: expected at most the {width} channels of a block, got {reduction}")
    if norm is not None:
        choice("norm", norm, ("batch",))
    residual, gate_bias = flag("residual", residual), real("gate_bias", gate_bias)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        stem=nn.Conv2d(c_in, width, kernel_size=3, padding=1), pool=nn.MaxPool2d(2)
    )
    for i in range(1, blocks + 1):
        layers[f"block{i}"] = GatedBlock(width, reduction, norm, residual, gate_bias)
    layers |= {"average": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "linear": nn.Linear(width, classes)}
    model = nn.Sequential(layers)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model
