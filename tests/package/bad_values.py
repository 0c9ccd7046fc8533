"""Good and bad values of arguments, by the kind of the argument: what `test_bad_calls` makes its calls of."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from unstuck.record import Record


@dataclass(frozen=True, eq=False)
class Argument:
    """A value that is accepted, and values each of which is to be refused with an error that names the argument."""

    good: Any
    bad: tuple[Any, ...]


def nothing():
    """A function, where something else is due."""


def optional(argument: Argument) -> Argument:
    """The same where None has a meaning."""
    return Argument(argument.good, tuple(value for value in argument.bad if value is not None))


def integer(good: int, least: int | None = 1, most: int | None = None) -> Argument:
    below = () if least is None else dict.fromkeys((least - 1, -1))
    above = () if most is None else (most + 1,)
    return Argument(good, (True, 1.5, math.nan, "3", [3], 3j, None, *below, *above))


def number(good: float, *, least: float | None = None, above: float | None = None, most: float | None = None):
    outside = [limit - 1 for limit in (least,) if limit is not None] + [
        limit for limit in (above,) if limit is not None
    ]
    outside += [limit + 1 for limit in (most,) if limit is not None]
    return Argument(good, (math.nan, math.inf, "x", True, 1j, [1.0], None, *outside))


def flag(good: bool) -> Argument:
    return Argument(good, (None, 1, "yes", [True]))


def name(good: str) -> Argument:
    return Argument(good, ("unknown", "", 3, True, None, [good], nothing))


def names(good: Any, *more: Any, known: bool = True) -> Argument:
    unknown = (["unknown"],) if known else ()
    return Argument(good, ("relu", 3, [3], [None], None, nothing, *unknown, *more))


def integers(good: Any, *more: Any) -> Argument:
    return Argument(good, ("34", 3, None, [3, 2.5], [True, 2], [0, 2], [None, 2], {"a": 1}, *more))


def text(good: str = "a text", blank: bool = False) -> Argument:
    return Argument(good, (3, None, ["a"], b"a", *(() if blank else ("", " "))))


def function(good: Any, *more: Any) -> Argument:
    return Argument(good, (3, "f", None, [good], *more))


def model(good: nn.Module, *more: Any) -> Argument:
    return Argument(good, ("model", None, 3, nothing, type(good), np.ones(3), [good], *more))


def tensor(good: torch.Tensor, *more: Any) -> Argument:
    """Of PyTorch: a NumPy array and a list of numbers are none."""
    return Argument(good, (good.numpy(), good.tolist(), None, "x", 3, nothing, *more))


def array(good: Any, *more: Any) -> Argument:
    """What NumPy makes numbers of: lists and tensors are as good."""
    ragged, objects = [[1.0, 2.0], [3.0]], np.array([None, {}])
    return Argument(good, (None, "x", np.array(["x"]), ragged, objects, np.ones(np.shape(good), complex), *more))


def gradient(good: np.ndarray) -> Argument:
    wrong = (good[..., None], good[:0], good.tolist(), good.astype(complex), good.astype(str))
    return Argument(good, (None, "x", 3, *wrong))


def split(good: Any, *more: Any) -> Argument:
    return Argument(good, ((good.x_train, good.y_train), None, "mnist", good.x_train, type(good), *more))


def path(good: Any) -> Argument:
    return Argument(good, (3, None, True, [str(good)], nothing))


def axes(good: Any = None) -> Argument:
    return optional(Argument(good, ("ax", 3, [good], np.array([None]), Record(), None)))


def mapping(good: Any, *more: Any) -> Argument:
    return Argument(good, (3, "ab", nothing, [3], *more))


LEGEND = Argument(True, ("outside", "", 3, None, ["below"]))
BAND = name("range")
SEED = integer(0, least=0)
TORCH_SEED = integer(0, least=0, most=2**64 - 1)
COLOUR = Argument(None, ("no colour", 3, True, {"unknown": "red"}, ["red"], nothing))
DTYPE = Argument(np.float64, ("float16", "x", int, None, 3, complex, nothing))
RNG = Argument(0, (-1, 1.5, "x", True, [0], np.random.RandomState(0), nothing))
