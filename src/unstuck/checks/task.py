"""What is to be learned, told from outputs and labels: classes, two classes, numbers; and which output it is
about."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

IGNORED = -100
"""PyTorch's label for places that do not count."""

Kind = Literal["classes", "binary", "numbers", "unknown"]


def tensors_in(output: Any) -> list[tuple[tuple, Tensor]]:
    """The floating tensors of an output with their places in it."""
    if isinstance(output, Tensor):
        return [((), output)] if output.is_floating_point() else []
    items: Any = enumerate(output) if isinstance(output, tuple | list) else ()
    if isinstance(output, Mapping):
        items = output.items()
    return [((key, *place), tensor) for key, part in items for place, tensor in tensors_in(part)]


def replaced(output: Any, place: tuple, tensor: Tensor) -> Any:
    """The same output with another tensor at a place."""
    if not place:
        return tensor
    part = replaced(output[place[0]], place[1:], tensor)
    if isinstance(output, tuple):
        made = [part if i == place[0] else old for i, old in enumerate(output)]
        return type(output)(*made) if hasattr(output, "_fields") else tuple(made)
    fresh = copy.copy(output)
    fresh[place[0]] = part
    return fresh


@dataclass(frozen=True)
class Task:
    """What is to be learned.

    Attributes:
        kind: "classes" (one of several, each with an output), "binary" (yes or no for each output), "numbers".
        place: where in the model's output the tensor stands that is compared with the labels.
        axis: of the classes in that tensor.
        classes: how many outputs there are for each label; 1 unless `kind` is "classes".
        output: what the model puts out, as an example.
    """

    kind: Kind
    place: tuple = ()
    axis: int = 1
    classes: int = 1
    output: Any = None

    @classmethod
    def of(cls, output: Any, y: Any) -> Task:
        found = tensors_in(output)
        if not found:
            return cls("unknown", output=output)
        if not isinstance(y, Tensor):
            return cls("unknown", found[0][0], output=output)
        for place, tensor in found:
            kind, axis = cls._fits(tensor, y)
            if kind != "unknown":
                return cls(kind, place, axis, tensor.shape[axis] if kind == "classes" else 1, output)
        return cls("unknown", found[0][0], output=output)

    @staticmethod
    def _fits(out: Tensor, y: Tensor) -> tuple[Kind, int]:
        whole = not y.is_floating_point() and not y.is_complex()
        if out.shape == y.shape or out.numel() == y.numel():
            values = y[torch.isfinite(y)] if y.is_floating_point() else y
            two = bool(((values == 0) | (values == 1)).all()) and values.numel() > 0
            hot = y.ndim == 2 and y.shape[1] > 1 and two and bool((y.sum(1) == 1).all())
            if hot:  # one 1 a row: classes, whatever the loss
                return "classes", 1
            return ("binary" if two or (whole and y.dtype == torch.bool) else "numbers"), 1
        if whole:
            squeezed = y.squeeze(-1) if y.ndim > 1 and y.shape[-1] == 1 else y
            for axis in (1, out.ndim - 1):
                rest = [n for i, n in enumerate(out.shape) if i != axis]
                if out.ndim >= 2 and rest == list(squeezed.shape):
                    return "classes", axis
        elif out.ndim == y.ndim + 1 or y.ndim == out.ndim + 1:
            return "numbers", 1
        return "unknown", 1

    def pick(self, output: Any) -> Tensor:
        """The tensor that is compared with the labels, of an output like the one that was seen."""
        for key in self.place:
            output = output[key]
        return output

    def put(self, output: Any, tensor: Tensor) -> Any:
        return replaced(output, self.place, tensor)

    def indices(self, y: Tensor) -> Tensor:
        """The labels as class numbers, IGNORED where they do not count."""
        as_many = y.ndim == self.pick(self.output).ndim
        if y.is_floating_point() or (as_many and y.ndim > 1 and y.shape[1] == self.classes):
            return y.argmax(1)
        return y.squeeze(-1).long() if as_many else y.long()

    def others(self, y: Tensor) -> Tensor:
        """Labels that each say something else than these, as far as the task allows."""
        if y.dtype == torch.bool:
            return ~y
        if not y.is_floating_point():
            return (y + 1) % max(2, self.classes)
        return 1 - y if self.kind == "binary" else y + 1

    def loss(self, out: Tensor, y: Tensor) -> Tensor:
        """The usual loss of the task, on outputs that went through nothing."""
        if self.kind == "classes":
            return F.cross_entropy(out.movedim(self.axis, 1), self.indices(y), ignore_index=IGNORED)
        if self.kind == "binary":
            return F.binary_cross_entropy_with_logits(out, y.to(out.dtype).reshape(out.shape))
        return F.mse_loss(out, y.to(out.dtype).reshape(out.shape) if y.numel() == out.numel() else y.to(out.dtype))

    def shares(self, y: Tensor) -> bool:
        """Whether the labels of each example are shares of the classes: none below 0, and together 1."""
        out = self.pick(self.output)
        if y.shape != out.shape or y.ndim < 2 or not y.is_floating_point():
            return False
        return bool((y >= 0).all()) and bool(((y.sum(self.axis) - 1).abs() < 1e-2).all())

    def right(self, y: Tensor, size: float = 50.0) -> Tensor | None:
        """Outputs that are sure, and right: logits of `size` for the label and 0 for the others, or the numbers."""
        out = self.pick(self.output)
        if self.kind == "classes":
            index = self.indices(y).clamp(0, self.classes - 1)
            return size * F.one_hot(index, self.classes).to(out.dtype).movedim(-1, self.axis)
        if self.kind == "binary":
            return (size * (2 * y.to(out.dtype) - 1)).reshape(out.shape)
        return y.to(out.dtype).reshape(out.shape) if self.kind == "numbers" and y.numel() == out.numel() else None

    def accuracy(self, output: Any, y: Tensor) -> float:
        """The share of labels that are met, NaN where there are no classes."""
        out = self.pick(output)
        if self.kind == "classes":
            index = self.indices(y)
            counted = index != IGNORED
            return float((out.argmax(self.axis) == index)[counted].float().mean())
        if self.kind == "binary":
            return float(((out > 0) == (y.reshape(out.shape) > 0.5)).float().mean())
        return math.nan
