"""The check of arguments that the whole package shares."""

from __future__ import annotations

import operator


def whole(name: str, value: int, least: int | None = 1) -> int:
    """`value` as an integer; TypeError if it is none (as is a bool), ValueError below `least` (None: no bound)."""
    try:
        number = operator.index(value)
    except TypeError as error:
        raise TypeError(f"{name}: expected an integer, got {value!r}") from error
    if isinstance(value, bool):
        raise TypeError(f"{name}: expected an integer, got {value!r}")
    if least is not None and number < least:
        raise ValueError(f"{name}: expected at least {least}, got {value}")
    return number
