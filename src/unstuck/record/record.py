from __future__ import annotations

import json
import os
from array import array
from collections.abc import Container, Iterable, Mapping, Sized
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from unstuck.arguments import choice, instance, real, short, whole
from unstuck.record.quantities import QUANTITIES

FORMAT = "unstuck-record"
FORMAT_VERSION = 1
COLUMNS = ("step", "layer", "quantity", "value")

Row = tuple[int, str, str, float]
"""Step, layer, quantity, value."""
Arrays = Mapping[tuple[int, str, str], np.ndarray]
"""By step, layer, quantity."""


class Record:
    """Rows `(step, layer, quantity, value)`, arrays, and meta data of one run.

    Args:
        rows: tuples `(step: int, layer: str, quantity: str, value: float)`; layer `""` is the whole network.
        arrays: `{(step, layer, quantity): array}` for what is no scalar (histograms, per-unit vectors).
        meta: anything JSON can hold.

    `stopped` is None, or `(step, reason)` when training ended because a value was not finite.
    """

    def __init__(
        self,
        rows: Iterable[Row] = (),
        arrays: Arrays | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        # columns, not tuples: a long watch leaves millions of numbers
        self._series: dict[str, dict[str, tuple[array, array]]] = {}  # quantity -> layer -> steps, values
        self.arrays: dict[tuple[int, str, str], np.ndarray] = {} if arrays is None else _checked_arrays(arrays)
        self.meta: dict[str, Any] = {} if meta is None else dict(instance("meta", meta, Mapping, "a dict"))
        self.stopped: tuple[int, str] | None = None
        self.extend(rows)

    def add(self, step: int, layer: str, quantity: str, value: float) -> None:
        """Append one row; an unknown quantity is a ValueError, a step that is no integer a TypeError."""
        if type(step) is not int or type(value) is not float:  # nearly always they are, and there may be millions
            step, value = whole("step", step, least=None), real("value", value, finite=False)
        steps, values = self._columns(layer, quantity)
        steps.append(step)
        values.append(value)

    def extend(self, rows: Iterable[Row]) -> None:
        """Append several rows."""
        for i, row in enumerate(instance("rows", rows, Iterable, "tuples (step, layer, quantity, value)")):
            if not isinstance(row, tuple | list) or len(row) != 4:
                raise ValueError(f"rows: expected (step, layer, quantity, value), got {short(row)}")
            try:
                self.add(*row)
            except (TypeError, ValueError) as error:
                raise type(error)(f"rows[{i}]: {error}") from error

    def add_series(self, layer: str, quantity: str, steps: ArrayLike, values: ArrayLike) -> None:
        """Append many rows of one quantity in one layer: `steps` (T,) integers, `values` (T,) numbers."""
        try:
            steps, values = np.asarray(steps), np.asarray(values)
        except (ValueError, RuntimeError) as error:  # rows of unequal length; a tensor that requires a gradient
            raise ValueError(
                f"steps, values: expected shape (T,) each, got {short(steps)}, {short(values)}"
            ) from error
        if values.dtype.kind not in "iuf":
            raise TypeError(f"values: expected numbers, got {short(values)} of dtype {values.dtype}")
        values = values.astype(np.float64, copy=False)
        if steps.dtype.kind not in "iu" or steps.ndim != 1 or steps.shape != values.shape:
            raise ValueError(f"steps, values: expected integers (T,) and numbers (T,), got {steps!r}, {values!r}")
        own_steps, own_values = self._columns(layer, quantity)
        own_steps.frombytes(np.ascontiguousarray(steps, dtype=np.int64).tobytes())
        own_values.frombytes(np.ascontiguousarray(values).tobytes())

    def _columns(self, layer: str, quantity: str) -> tuple[array, array]:
        choice("quantity", quantity, QUANTITIES)
        if not isinstance(layer, str):
            raise TypeError(f"layer: expected a name, got {layer!r}")
        layers = self._series.setdefault(str(quantity), {})
        if layer not in layers:
            layers[str(layer)] = array("q"), array("d")
        return layers[layer]

    @property
    def rows(self) -> list[Row]:
        """A copy of the rows: by step, and within a step in the order in which the series began."""
        return list(zip(*(column.tolist() for column in self.to_columns().values()), strict=True))

    def __len__(self) -> int:
        return sum(len(steps) for layers in self._series.values() for steps, _ in layers.values())

    def __repr__(self) -> str:
        stopped = "" if self.stopped is None else f", stopped at step {self.stopped[0]}: {self.stopped[1]}"
        return f"Record({len(self)} rows of {', '.join(self.quantities()) or 'nothing'}{stopped})"

    def quantities(self) -> list[str]:
        """The quantities recorded, in order of first appearance."""
        return list(self._series)

    def layers(self, quantity: str) -> list[str]:
        """The layers for which `quantity` was recorded, in order of first appearance."""
        return list(self._series.get(choice("quantity", quantity, QUANTITIES), {}))

    def get(self, quantity: str, layer: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Steps (T,) int and values (T,) float of a quantity in a layer.

        Without `layer`: the whole network's, or the only layer's. Raises ValueError where that is
        ambiguous, or where nothing was recorded.
        """
        steps, values = self._find(quantity, layer)
        return np.array(steps, dtype=np.int64), np.array(values, dtype=np.float64)

    def last(self, quantity: str, layer: str | None = None, over: int = 1) -> float:
        """The mean of the last `over` values recorded (of all, where there are fewer); `layer` as for `get`."""
        _, values = self._find(quantity, layer)
        return float(np.mean(values[-whole("over", over) :]))

    def _find(self, quantity: str, layer: str | None) -> tuple[array, array]:
        layers = self.layers(quantity)
        if not layers:
            raise ValueError(f"quantity: {quantity!r} was not recorded; there are {self.quantities()}")
        if layer is None:
            layer = "" if "" in layers else layers[0]
            if layer and len(layers) > 1:
                raise ValueError(f"layer: {quantity!r} was recorded for several layers, name one of {layers}")
        elif layer not in layers:
            raise ValueError(f"layer: {quantity!r} was not recorded for {layer!r}; there are {layers}")
        return self._series[quantity][layer]

    def to_columns(self) -> dict[str, np.ndarray]:
        """`{"step": int64, "layer": str, "quantity": str, "value": float64}`, each of shape (rows,), as `rows`."""
        parts = [[np.empty(0, kind) for kind in (np.int64, np.str_, np.str_, np.float64)]]
        for quantity, layers in self._series.items():
            for layer, (steps, values) in layers.items():
                n = len(steps)
                parts.append([np.array(steps), np.full(n, layer), np.full(n, quantity), np.array(values)])
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        order = np.argsort(columns[0], kind="stable")
        return {name: column[order] for name, column in zip(COLUMNS, columns, strict=True)}

    @classmethod
    def from_columns(
        cls, columns: Mapping[str, Any], arrays: Arrays | None = None, meta: Mapping[str, Any] | None = None
    ) -> Record:
        """The inverse of `to_columns`; columns of unequal length are a ValueError."""
        instance("columns", columns, Container, "a dict or a DataFrame")
        missing = [name for name in COLUMNS if name not in columns]
        if missing:
            raise ValueError(f"columns: {missing} missing; there are {sorted(columns)}")
        sizes = {name: len(instance("columns", columns[name], Sized, "arrays")) for name in COLUMNS}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"columns: expected equal lengths, got {sizes}")
        plain = [c.tolist() if hasattr(c := columns[name], "tolist") else c for name in COLUMNS]
        return cls(zip(*plain, strict=True), arrays, meta)

    def to_pandas(self) -> Any:
        """The rows as a pandas DataFrame (pandas is imported on call)."""
        import pandas

        return pandas.DataFrame(self.to_columns())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to one .npz; written beside and moved, so never half a file.

        A TypeError says what cannot be stored: meta data that JSON cannot hold, arrays of Python objects.
        """
        path = Path(instance("path", path, (str, os.PathLike), "a path"))
        stopped = None if self.stopped is None else (int(self.stopped[0]), self.stopped[1])
        keys = [(int(step), layer, quantity) for step, layer, quantity in self.arrays]
        head = {"format": FORMAT, "version": FORMAT_VERSION, "meta": self.meta, "stopped": stopped, "arrays": keys}
        try:
            text = json.dumps(head)
        except TypeError as error:
            raise TypeError(f"meta: expected what JSON can hold, got {self.meta!r} ({error})") from error
        columns: dict[str, Any] = {f"column_{name}": column for name, column in self.to_columns().items()}
        arrays: dict[str, Any] = {f"array_{i}": np.asarray(array) for i, array in enumerate(self.arrays.values())}
        objects = [key for key, array in self.arrays.items() if np.asarray(array).dtype.hasobject]
        if objects:
            raise TypeError(f"arrays: expected numbers, got Python objects at {objects}")
        beside = path.with_name(path.name + ".part")
        try:
            with open(beside, "wb") as file:
                np.savez_compressed(file, head=np.array(text), **columns, **arrays)
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Record:
        """Read what `save` wrote; a damaged or unknown file is a ValueError that names it."""
        path = Path(instance("path", path, (str, os.PathLike), "a path"))
        with open(path, "rb") as file:  # opened here, because np.load does not close a damaged file
            try:
                with np.load(file, allow_pickle=False) as stored:
                    content = {name: stored[name] for name in stored.files}
                head = json.loads(str(content["head"]))
                found = (head["format"], head["version"])
                if found == (FORMAT, FORMAT_VERSION):
                    return cls._from_content(head, content)
            except Exception as error:  # a damaged file can make zipfile, zlib, NumPy and json raise nearly anything
                raise ValueError(f"{path}: not a Record, or damaged ({type(error).__name__}: {error})") from error
        raise ValueError(f"{path}: expected {FORMAT} version {FORMAT_VERSION}, found {found[0]} version {found[1]}")

    @classmethod
    def _from_content(cls, head: dict, content: dict[str, np.ndarray]) -> Record:
        keys = [(int(step), layer, quantity) for step, layer, quantity in head["arrays"]]
        arrays = {key: content[f"array_{i}"] for i, key in enumerate(keys)}
        columns = {name: content[f"column_{name}"] for name in COLUMNS}
        record = cls.from_columns(columns, arrays, head["meta"])
        record.stopped = None if head["stopped"] is None else tuple(head["stopped"])
        return record


def _checked_arrays(arrays: Mapping[tuple[int, str, str], np.ndarray]) -> dict[tuple[int, str, str], np.ndarray]:
    for key in instance("arrays", arrays, Mapping, "{(step, layer, quantity): array}"):
        if not isinstance(key, tuple) or [isinstance(part, str) for part in key] != [False, True, True]:
            raise TypeError(f"arrays: expected keys (step, layer, quantity), got {short(key)}")
        whole("arrays", key[0], least=None)
    return dict(arrays)
