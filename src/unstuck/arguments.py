"""The checks of arguments that the whole package shares: every error names the argument, what is due and what came.

A TypeError is for a value of the wrong kind, a ValueError for one that does not fit. Booleans are no numbers; NumPy's
integers and floats are, and so is an array or tensor without axes, which holds one.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Collection, Iterable
from numbers import Integral, Real
from typing import Any


def whole(name: str, value: Any, least: int | None = 1, most: int | None = None) -> int:
    """`value` as an int from `least` to `most` (None: no bound)."""
    number = _single(value)
    if not isinstance(number, Integral) or isinstance(number, bool):
        raise TypeError(f"{name}: expected an integer, got {short(value)}")
    _within(name, int(number), least, most, "an integer")
    return int(number)


def wholes(
    name: str, values: Iterable[Any], least: int | None = 1, *, fewest: int = 0, count: int | None = None
) -> tuple[int, ...]:
    """Integers of at least `least`: `count` of them, or at least `fewest`; a text is refused."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise TypeError(f"{name}: expected a sequence of integers, got {short(values)}")
    found = tuple(whole(name, value, least) for value in values)
    if count is not None and len(found) != count:
        raise ValueError(f"{name}: expected {count} integers, got {list(found)}")
    if len(found) < fewest:
        raise ValueError(f"{name}: expected at least {fewest} integers, got {list(found)}")
    return found


def real(
    name: str,
    value: Any,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    finite: bool = True,
) -> float:
    """`value` as a float, finite unless told otherwise, of at least `least`, above `above` and at most `most`."""
    number = _single(value)
    if not isinstance(number, Real) or isinstance(number, bool):
        raise TypeError(f"{name}: expected a number, got {short(value)}")
    try:
        number = float(number)
    except OverflowError:  # an integer, too large for a float
        number = math.inf
    if finite and not math.isfinite(number):
        raise ValueError(f"{name}: expected a finite number, got {short(value)}")
    if above is not None and not number > above:
        raise ValueError(f"{name}: expected a number above {_bound(above)}, got {number}")
    _within(name, number, least, most, "a number")
    return number


def flag(name: str, value: Any) -> bool:
    """`value`, which must be True or False, Python's or NumPy's."""
    found = _single(value)
    if not isinstance(found, bool):
        raise TypeError(f"{name}: expected True or False, got {short(value)}")
    return found


def words(name: str, value: Any) -> str:
    """`value`, which must be a text that is not blank."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected a text, got {short(value)}")
    if not value.strip():
        raise ValueError(f"{name}: expected a text that is not blank, got {value!r}")
    return str(value)


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


def function(name: str, value: Any, of: str, *, made: bool = False) -> Any:
    """`value`, which must be callable with the arguments `of`, "step, model" ("": none); a class only if `made`."""
    if not callable(value) or (isinstance(value, type) and not made):
        raise TypeError(f"{name}: expected a function of ({of}), got {short(value)}")
    try:
        signature = inspect.signature(value)
    except ValueError:  # some builtins have none
        return value
    try:
        signature.bind(*of.split(", ") if of else ())
    except TypeError as error:
        raise TypeError(f"{name}: expected a function of ({of}), got {short(value)} ({error})") from error
    return value


def instance(name: str, value: Any, kind: Any, expected: str) -> Any:
    """`value`, which must be of a class; `expected` says it in words, "a torch.nn.Module"."""
    if not isinstance(value, kind):
        raise TypeError(f"{name}: expected {expected}, got {short(value)}")
    return value


def short(value: Any, most: int = 80) -> str:
    """What an error message shows of a value: a text that is not long, the type and shape of anything large."""
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and math.prod(shape) != 1:
        return f"{type(value).__name__} of shape {tuple(shape)}"
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python prints
        return f"{type(value).__name__} too long to show"
    return text if len(text) <= most and "\n" not in text else f"{type(value).__name__} ({text[: most // 2]!r} ...)"


def _single(value: Any) -> Any:
    """What a NumPy scalar or an array or tensor without axes holds, as Python's own; anything else as it is."""
    shape = getattr(value, "shape", None)
    return value.item() if isinstance(shape, tuple) and not shape and hasattr(value, "item") else value


def _within(name: str, number: float, least: float | None, most: float | None, what: str) -> None:
    # numbers in full: "at most 1, got 1" for 1.0000001 would help nobody
    if least is not None and number < least:
        raise ValueError(f"{name}: expected {what} of at least {_bound(least)}, got {short(number)}")
    if most is not None and number > most:
        raise ValueError(f"{name}: expected {what} of at most {_bound(most)}, got {short(number)}")


def _bound(limit: float) -> str:
    return str(limit).removesuffix(".0")
