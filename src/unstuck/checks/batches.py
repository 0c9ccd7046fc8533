"""Batches of any structure: what is one, its parts, copies, and the examples of several in one tensor."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unstuck import parts
from unstuck.arguments import short

MOST_BATCHES = 50
Batch = tuple[Any, Any]


def batches_of(name: str, given: Any) -> list[Batch]:
    """`(x, y)`, or the first of an iterable of such pairs, as a list of pairs. Raises TypeError or ValueError."""
    expected = "(x, y) with torch tensors, or an iterable of such pairs"
    if is_pair(given):
        return [tuple(given)]
    if isinstance(given, Tensor | str | bytes | Mapping | nn.Module) or not isinstance(given, Iterable):
        raise TypeError(f"{name}: expected {expected}, got {short(given)}{_hint(given)}")
    found = list(islice(given, MOST_BATCHES))
    if not found:
        raise ValueError(f"{name}: expected {expected}, got nothing")
    for pair in found:
        if not is_pair(pair):
            hint = _hint(pair) or _hint(found)
            raise TypeError(f"{name}: expected {expected}, got {short(pair)} among them{hint}")
    return [tuple(pair) for pair in found]


def _hint(given: Any) -> str:
    """What would make a batch of it, where that can be told."""
    held = given if isinstance(given, tuple | list) else [given]
    if any(isinstance(each, np.ndarray) for each in held):
        return "; torch.from_numpy makes a tensor of a NumPy array"
    several = len(held) > 2 and all(isinstance(each, Tensor) for each in held)
    return "; of several inputs make one tuple, as in ((a, b), y)" if several else ""


def is_pair(value: Any) -> bool:
    """Whether it is one batch: a list of two batches is none."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        return False
    if any(next(parts.tensors(v), None) is None for v in value):
        return False
    return isinstance(value, tuple) or not all(isinstance(v, tuple | list) for v in value)


def mapped(change: Callable[[Tensor], Tensor], value: Any) -> Any:
    """The same structure of tuples, lists and mappings with its tensors changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        fresh = copy.copy(value)
        for key, part in value.items():
            fresh[key] = mapped(change, part)  # type: ignore[index]
        return fresh
    if isinstance(value, tuple | list):
        made = [mapped(change, part) for part in value]
        return type(value)(*made) if hasattr(value, "_fields") else type(value)(made)
    return value


def cloned(value: Any) -> Any:
    return mapped(lambda t: t.detach().clone().requires_grad_(t.requires_grad), value)


def part_of(batch: Batch, which: slice) -> Batch:
    """Some of the examples, where inputs and labels count them along their first axis; else the batch as it is."""
    if len({len(t) for t in parts.tensors(batch) if t.ndim}) != 1:
        return batch
    return mapped(lambda t: t[which] if t.ndim else t, batch)


def related(batch: Batch) -> bool:
    """Whether one of several inputs has a row and a column for each example, and says who is whose neighbour."""
    tensors = list(parts.tensors(batch[0]))
    return len(tensors) > 1 and any(t.ndim == 2 and t.shape[0] == t.shape[1] == len(tensors[0]) for t in tensors)


def same(a: Any, b: Any) -> bool:
    """Whether two structures hold equal tensors."""
    return all(torch.equal(p, q) for p, q in zip(parts.tensors(a), parts.tensors(b), strict=False))


def examples(batch: Batch) -> int:
    y = next(parts.tensors(batch[1]))
    return len(y) if y.ndim else 1


def first_of(batches: list[Batch], n: int) -> list[Batch]:
    """The first batches that hold `n` examples; where inputs and labels are tensors, those that fit, in one."""
    x, y = batches[0]
    single = isinstance(x, Tensor) and isinstance(y, Tensor) and y.ndim > 0 and len(x) == len(y)
    taken, count = [], 0
    for a, b in batches:
        fits = isinstance(a, Tensor) and a.shape[1:] == x.shape[1:] and b.shape[1:] == y.shape[1:] if single else True
        if count >= n or not fits:
            break
        taken.append((a, b))
        count += examples((a, b))
    return [(torch.cat([a for a, _ in taken]), torch.cat([b for _, b in taken]))] if single else taken


def pooled(several: list) -> Tensor | None:
    """The examples of several batches in one tensor; of several inputs the first; None where they do not fit."""
    tensors = [next(parts.tensors(one), None) for one in several]
    kept = [t for t in tensors if t is not None and t.ndim]
    if not kept or any(t.shape[1:] != kept[0].shape[1:] or t.dtype != kept[0].dtype for t in kept):
        return None
    return torch.cat(kept)[:5000]
