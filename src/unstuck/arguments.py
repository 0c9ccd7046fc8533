"""The checks of arguments that the whole package shares: every error names the argument, what is due and what came.

A TypeError is for a value of the wrong kind, a ValueError for one that does not fit. Booleans are no numbers; NumPy's
integers and floats are.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Collection, Iterable
from numbers import Real
from typing import Any, TypeVar

Kind = TypeVar("Kind")


def whole(name: str, value: Any, least: int | None = 1, most: int | None = None) -> int:
    """`value` as an int from `least` to `most` (None: no bound)."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or _is_bool(value):
        raise TypeError(f"{name}: expected an integer, got {short(value)}")
    _within(name, number, number if least is None else least, most, "an integer")
    return number


def wholes(name: str, values: Iterable[int], least: int | None = 1, count: int = 1) -> tuple[int, ...]:
    """A sequence of at least `count` integers, each from `least` on (None: no bound)."""
    if not isinstance(values, Iterable) or isinstance(values, str | bytes):
        raise TypeError(f"{name}: expected a sequence of integers, got {short(values)}")
    numbers = tuple(whole(name, value, least) for value in values)
    if len(numbers) < count:
        raise ValueError(f"{name}: expected at least {count} integers, got {short(numbers)}")
    return numbers


def real(
    name: str, value: Any, *, least: float | None = None, above: float | None = None, most: float | None = None
) -> float:
    """`value` as a finite float of at least `least`, above `above` and at most `most` (None: no bound)."""
    if not isinstance(value, Real) or _is_bool(value):
        raise TypeError(f"{name}: expected a number, got {short(value)}")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{name}: expected a finite number, got {number}")
    if above is not None and not number > above:
        raise ValueError(f"{name}: expected a number above {above:g}, got {number:g}")
    _within(name, number, least, most, "a number")
    return number


def choice(name: str, value: Any, known: Collection[str]) -> str:
    """`value`, which must be one of the names in `known`."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected one of {list(known)}, got {short(value)}")
    if value not in known:
        raise ValueError(f"{name}: {value!r} is not one of {list(known)}")
    return str(value)


def names(name: str, values: Iterable[str], known: Collection[str] | None = None) -> tuple[str, ...]:
    """A sequence of names, of `known` ones where that is given; a single string is refused."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise TypeError(f"{name}: expected a sequence of names, got {short(values)}")
    found = tuple(values)
    for value in found:
        if not isinstance(value, str):
            raise TypeError(f"{name}: expected names, got {short(value)} among them")
    if known is not None and (unknown := [value for value in found if value not in known]):
        raise ValueError(f"{name}: {unknown} are not among {list(known)}")
    return found


def instance(name: str, value: Any, kind: type[Kind] | tuple[type[Kind], ...], expected: str) -> Kind:
    """`value`, which must be of a class; `expected` says it in words, "a torch.nn.Module"."""
    if not isinstance(value, kind):
        raise TypeError(f"{name}: expected {expected}, got {short(value)}")
    return value


def short(value: Any, most: int = 80) -> str:
    """What an error message shows of a value: a text that is not long, the type and shape of anything large."""
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and math.prod(shape) != 1:
        return f"{type(value).__name__} of shape {tuple(shape)}"
    text = repr(value)
    return text if len(text) <= most and "\n" not in text else f"{type(value).__name__} ({text[: most // 2]!r} ...)"


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool) or type(value).__name__ in ("bool", "bool_")  # NumPy's, without importing it


def _within(name: str, number: float, least: float | None, most: float | None, what: str) -> None:
    if least is not None and number < least:
        raise ValueError(f"{name}: expected {what} of at least {least:g}, got {number:g}")
    if most is not None and number > most:
        raise ValueError(f"{name}: expected {what} of at most {most:g}, got {number:g}")
