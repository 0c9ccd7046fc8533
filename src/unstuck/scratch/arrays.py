"""The checks of arrays that the layers share; every error begins with the argument's name."""

import math
from types import EllipsisType
from typing import Any

import numpy as np

from unstuck.arguments import short, whole

Shape = tuple[int | str | EllipsisType, ...]
"""Sizes; a name such as "N" is any of at least 1, the same wherever it stands, and a last `...` any further axes."""


def numbers(name: str, values: Any, where: str = "") -> np.ndarray:
    """`values` as an array of integers or floats; `where` ends what was expected: " in linear1"."""
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:  # rows of unequal length; a tensor that needs a gradient
        raise TypeError(f"{name}: expected an array of numbers{where}, got {short(values)}") from error
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name}: expected an array of numbers{where}, got {short(values)} of dtype {array.dtype}")
    return array


def floats(name: str, values: Any, *shapes: Shape, smallest: int = 1, where: str = "") -> np.ndarray:
    """`values` as an array of floats in one of these shapes (none: any); integers become float64.

    `smallest`: what the sizes "Hi" and "Wi" need at least.
    """
    array = numbers(name, values, where)
    if array.dtype.kind != "f":
        array = array.astype(np.float64)
    if shapes and not any(_fits(array.shape, shape, smallest) for shape in shapes):
        expected = " or ".join(_text(shape) for shape in shapes)
        limit = f" with Hi and Wi at least {smallest}" if smallest > 1 else ""
        raise ValueError(f"{name}: expected {expected}{limit}{where}, got {array.shape}")
    return array


def precision(name: str, dtype: Any) -> np.dtype:
    """`dtype`, which must be np.float64 or np.float32; None, which NumPy takes for float64, is refused."""
    try:
        found = None if dtype is None else np.dtype(dtype)
    except (TypeError, ValueError):
        found = None
    if found is None or found not in (np.dtype(np.float64), np.dtype(np.float32)):
        raise ValueError(f"{name}: expected float64 or float32, got {short(dtype) if found is None else found}")
    return found


def generator(name: str, rng: Any) -> np.random.Generator:
    """`rng` itself, or the generator of a seed."""
    return rng if isinstance(rng, np.random.Generator) else np.random.default_rng(whole(name, rng, least=0))


def he_normal(shape: tuple[int, ...], weight: Any, rng: Any) -> np.ndarray:
    """A copy of the given `weight`, or N(0, 2 / fan_in) drawn from `rng` (He et al. 2015, eq. 10), as float64.

    Exactly one of the two must be given; `rng` is a seed or a generator. The first axis of `shape` is the output's.
    """
    if (weight is None) == (rng is None):
        given = f"{short(weight)} and {rng!r}"
        raise ValueError(f"weight, rng: expected one of the two (rng is a seed or a generator), got {given}")
    if weight is None:
        return generator("rng", rng).normal(0.0, math.sqrt(2 / math.prod(shape[1:])), shape)
    return copied("weight", weight, shape)


def copied(name: str, values: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A float64 copy of `values`, which must have this shape; None is zeros."""
    return np.zeros(shape) if values is None else np.array(floats(name, values, shape), dtype=np.float64)


def _fits(sizes: tuple[int, ...], shape: Shape, smallest: int) -> bool:
    if shape[-1] is ...:
        sizes, shape = sizes[: len(shape) - 1], shape[:-1]
    if len(sizes) != len(shape):
        return False
    named: dict[str | EllipsisType, int] = {}
    for size, wanted in zip(sizes, shape, strict=True):
        least = max(smallest, 1) if wanted in ("Hi", "Wi") else 1
        if size != (wanted if isinstance(wanted, int) else named.setdefault(wanted, max(size, least))):
            return False
    return True


def _text(shape: Shape) -> str:
    return f"({', '.join('...' if size is ... else str(size) for size in shape)}{',' if len(shape) == 1 else ''})"
