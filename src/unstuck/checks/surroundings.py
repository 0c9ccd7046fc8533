"""What a step or a loss of the user's own reaches besides its arguments: variables, counters, schedulers.

Each optimiser of a trial has its own version of them, in which the user's model and optimiser are those of the trial;
outside a step they are as they were found.
"""

from __future__ import annotations

import argparse
import copy
import functools
import sys
import types
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

MOST = 10_000
"""Things that are looked at, and entries of one of them: larger ones are data, which no step changes."""
RATES = ("base_lrs", "max_lrs", "min_lrs", "eta_min", "_last_lr")
"""Attributes of PyTorch's schedulers that are learning rates; every scheduler is proportional to them."""
ENDS = (types.ModuleType, type, types.BuiltinFunctionType, types.GeneratorType, nn.Module, Optimizer, torch.Generator)
CALL = "__call__"
Version = dict[int, Any]
_NONE = object()


class Place:
    """Where a value, or the content of a container, can be read and put back."""

    def __init__(self, read: Callable[[], Any], write: Callable[[Any], None]) -> None:
        self.read, self.write = read, write
        self.found = read()

    def same(self, value: Any) -> bool:
        """Whether it is what was found, entry by entry the same objects or equal numbers."""
        return _same(value, self.found)


def _same(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return len(a) == len(b) and all(key in b and _entry(a[key], b[key]) for key in a)
    if isinstance(a, list | deque):
        return len(a) == len(b) and all(map(_entry, a, b))
    return isinstance(a, set | int | float | str) and a == b


def _entry(a: Any, b: Any) -> bool:
    return a is b or (type(a) is type(b) and isinstance(a, int | float | str | bool) and a == b)


class Surroundings:
    """Whatever functions of the user's own can reach and change; a trial has its own model and optimiser."""

    def __init__(self, functions: list[Any], model: nn.Module, optimizer: Optimizer | None) -> None:
        self.model, self.optimizer = model, optimizer
        self.places: list[Place] = []
        self.others: list[nn.Module | Optimizer] = []
        self._seen: dict[int, Any] = {}
        self._scheduling: list[int] = []
        waiting: deque[Any] = deque(f for f in functions if f is not None and not isinstance(f, nn.Module))
        self._own = {id(f.__globals__) for f in map(_plain, waiting) if isinstance(f, types.FunctionType)}
        while waiting and len(self._seen) < MOST:
            value = waiting.popleft()
            if id(value) not in self._seen:
                self._seen[id(value)] = value
                waiting.extend(self._look(value))

    def _look(self, value: Any) -> list[Any]:
        if isinstance(value, nn.Module | Optimizer):
            if not any(value is known for known in (self.optimizer, *self.model.modules())):
                self.others.append(value)
            return []
        if isinstance(value, ENDS) or value is None or isinstance(value, int | float | complex | str | bytes):
            return []
        if isinstance(value, functools.partial):
            return [value.func, value.args, value.keywords]
        if isinstance(value, types.MethodType):
            return [value.__func__, value.__self__]
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, Tensor | np.ndarray):
            if (value.numel() if isinstance(value, Tensor) else value.size) <= MOST:
                self.places.append(_numbers(value))
            return []
        if isinstance(value, tuple | frozenset):
            return list(value) if len(value) <= MOST else []
        if isinstance(value, dict | list | set | deque):
            if len(value) > MOST:
                return []
            self.places.append(_content(value))
            return list(value.values()) if isinstance(value, dict) else list(value)
        own = getattr(value, "__dict__", None)
        if not isinstance(own, dict) or _is_foreign(value):
            return []
        if "base_lrs" in own or "min_lrs" in own:
            self._scheduling.append(len(self.places))
        self.places.append(_content(own))
        return [*own.values(), getattr(type(value), CALL, None)]

    def _function(self, function: types.FunctionType) -> list[Any]:
        if id(function.__globals__) not in self._own:  # a library's
            return []
        behind: list[Any] = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
        for cell in function.__closure__ or ():
            self.places.append(Place(functools.partial(_read, cell), functools.partial(_fill, cell)))
            behind.append(self.places[-1].found)
        around = function.__globals__
        for name in _names(function.__code__):
            if name in around:
                self.places.append(
                    Place(functools.partial(around.get, name, _NONE), functools.partial(around.__setitem__, name))
                )
                behind.append(around[name])
        return behind

    def version(self, scale: float = 1.0) -> Version:
        made: Version = {}
        for i in self._scheduling if scale != 1 else ():
            own = dict(self.places[i].found)
            made[i] = own | {name: _times(own[name], scale) for name in RATES if own.get(name) is not None}
        return made

    @contextmanager
    def at(self, version: Version, model: nn.Module, optimizer: Optimizer) -> Iterator[None]:
        """Within it a step meets this version, and the trial's model and optimiser; it is kept up to date."""
        pairs: list[tuple[Any, Any]] = [(self.optimizer, optimizer)] if self.optimizer is not None else []
        pairs += zip(self.model.modules(), model.modules(), strict=False)
        pairs += zip(self.model.parameters(), model.parameters(), strict=False)
        theirs, back = {id(a): b for a, b in pairs}, {id(b): a for a, b in pairs}
        for i, place in enumerate(self.places):
            value = version.get(i, place.found)
            changed = _exchanged(value, theirs)
            if i in version or changed is not value:
                place.write(changed)
        try:
            yield
        finally:
            for i, place in enumerate(self.places):
                value = _exchanged(place.read(), back)
                if place.same(value):
                    version.pop(i, None)
                else:
                    version[i] = value
            self.restore()

    def restore(self) -> None:
        for place in self.places:
            if not place.same(place.read()):
                place.write(place.found)


def _is_foreign(value: Any) -> bool:
    """Whether it is an object of a library that holds no state of a training: a logger, a lock, a loader."""
    module = type(value).__module__
    if isinstance(value, types.SimpleNamespace | argparse.Namespace):
        return False
    return module.partition(".")[0] in sys.stdlib_module_names or module.startswith("torch.utils.")


def _plain(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    if not isinstance(function, types.FunctionType | types.MethodType):
        function = getattr(type(function), CALL, function)
    return getattr(function, "__func__", function)


def _names(code: types.CodeType) -> set[str]:
    inner = [_names(part) for part in code.co_consts if isinstance(part, types.CodeType)]
    return set(code.co_names).union(*inner)


def _read(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return _NONE


def _fill(cell: types.CellType, value: Any) -> None:
    if value is not _NONE:
        cell.cell_contents = value
    elif _read(cell) is not _NONE:
        del cell.cell_contents


def _content(value: Any) -> Place:

    def write(entries: Any) -> None:
        value.clear()
        (value.extend if isinstance(value, list | deque) else value.update)(entries)

    kind = dict if isinstance(value, dict) else type(value)
    return Place(lambda: kind(value) if kind in (dict, list, set) else copy.copy(value), write)


def _numbers(value: Any) -> Place:

    def write(numbers: Any) -> None:
        if isinstance(value, Tensor):
            with torch.no_grad():
                value.copy_(numbers)
        else:
            value[...] = numbers

    return Place(lambda: value.detach().clone() if isinstance(value, Tensor) else value.copy(), write)


def _exchanged(value: Any, twins: dict[int, Any]) -> Any:
    """The value, or one with the same entries, in which some objects are replaced by others."""
    if id(value) in twins:
        return twins[id(value)]
    entries = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if not any(id(entry) in twins for entry in entries):
        return value
    if isinstance(value, dict):
        return {key: twins.get(id(entry), entry) for key, entry in value.items()}
    return [twins.get(id(entry), entry) for entry in value]


def _times(rates: Any, scale: float) -> Any:
    return [rate * scale for rate in rates] if isinstance(rates, list) else rates * scale
