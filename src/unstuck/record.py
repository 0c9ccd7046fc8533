"""What a training run leaves behind: `Record`, and the one table of quantities, `QUANTITIES`.

Neither knows torch nor matplotlib: NumPy runs and torch runs fill the same Record, and one set of
figures and checks reads it.
"""

from __future__ import annotations

import json
import operator
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FORMAT = "unstuck-record"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Quantity:
    """One measured quantity: how it is called, computed and judged.

    `healthy` is `(low, high)` or None where no band is known; `source` says where the band comes from.
    `log` says whether its axis is logarithmic.
    """

    label: str
    unit: str
    formula: str
    healthy: tuple[float, float] | None = None
    source: str = ""
    log: bool = False


QUANTITIES: dict[str, Quantity] = {
    "loss": Quantity("training loss", "nats", r"$-\frac{1}{N}\sum_n \log p(y_n \mid x_n)$"),
    "accuracy": Quantity("training accuracy", "fraction", "share of the batch classified correctly"),
    "test_loss": Quantity("test loss", "nats", "the loss on the test part, evaluation mode"),
    "test_accuracy": Quantity("test accuracy", "fraction", "share of the test part classified correctly"),
    "act_mean": Quantity("mean activation", "1", r"$\mathrm{E}[a]$ over batch and units"),
    "act_std": Quantity(
        "standard deviation of activations",
        "1",
        r"$\sqrt{\mathrm{E}[(a - \mathrm{E}[a])^2]}$ over batch and units",
        healthy=(0.3, 3.0),
        source="within a factor 3 of the unit variance that LSUV aims at (Mishkin & Matas 2016)",
        log=True,
    ),
    "zero_fraction": Quantity(
        "fraction of zeros",
        "fraction",
        "share of activations that are exactly 0",
        healthy=(0.0, 0.85),
        source="rectifier networks lose accuracy only beyond about 85 % zeros (Glorot et al. 2011, figure 3)",
    ),
    "saturated_fraction": Quantity(
        "saturated fraction",
        "fraction",
        "share of activations of a sigmoid or tanh where the slope is below 2 % of its largest value",
    ),
    "dead": Quantity(
        "dead units",
        "fraction",
        "share of units that did not fire on any example in the last `window` observed steps",
        healthy=(0.0, 0.1),
        source="our working limit: just below the 10 to 20 % that lecture notes call common in big networks",
    ),
    "never_fired": Quantity(
        "units that never fired",
        "fraction",
        "share of units that have not fired on any example since the watch began",
        healthy=(0.0, 0.1),
        source="as for dead units",
    ),
    "grad_norm": Quantity("gradient norm", "1", r"$\| \partial\,\mathrm{loss}/\partial w \|_2$", log=True),
    "weight_norm": Quantity("weight norm", "1", r"$\| w \|_2$", log=True),
    "update_ratio": Quantity(
        "update ratio",
        "1",
        r"$\| \Delta w \|_2 / \| w \|_2$ of one step",
        healthy=(1e-4, 1e-2),
        source="a decade either side of 1e-3, the rule of thumb of Bottou and of the CS231n notes",
        log=True,
    ),
}


class Record:
    """Rows `(step, layer, quantity, value)`, arrays, and meta data of one run.

    Args:
        rows: tuples `(step: int, layer: str, quantity: str, value: float)`; layer `""` is the whole network.
        arrays: `{(step, layer, quantity): array}` for what is no scalar (histograms, per-unit vectors).
        meta: anything JSON can hold.

    `stopped` is None, or `(step, reason)` when training ended because a value was not finite.
    """

    def __init__(self, rows=(), arrays=None, meta=None):
        self._rows: list[tuple[int, str, str, float]] = []
        self._where: dict[str, dict[str, list[int]]] = {}  # quantity -> layer -> row numbers, so that get() is fast
        self.arrays: dict[tuple[int, str, str], np.ndarray] = dict(arrays or {})
        self.meta: dict = dict(meta or {})
        self.stopped: tuple[int, str] | None = None
        self.extend(rows)

    def add(self, step: int, layer: str, quantity: str, value: float) -> None:
        """Append one row; an unknown quantity is a ValueError, a step that is no integer a TypeError."""
        if quantity not in QUANTITIES:
            raise ValueError(f"quantity: {quantity!r} is not one of {sorted(QUANTITIES)}")
        if not isinstance(layer, str):
            raise TypeError(f"layer: expected a name, got {layer!r}")
        try:
            row = (operator.index(step), str(layer), str(quantity), float(value))
        except TypeError as error:
            raise TypeError(f"step, value: expected an integer and a number, got {step!r}, {value!r}") from error
        self._where.setdefault(row[2], {}).setdefault(row[1], []).append(len(self._rows))
        self._rows.append(row)

    def extend(self, rows) -> None:
        """Append several rows."""
        for row in rows:
            if len(row) != 4:
                raise ValueError(f"rows: expected (step, layer, quantity, value), got {row!r}")
            self.add(*row)

    @property
    def rows(self) -> list[tuple[int, str, str, float]]:
        """A copy of the rows, in the order they came."""
        return list(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        stopped = "" if self.stopped is None else f", stopped at step {self.stopped[0]}: {self.stopped[1]}"
        return f"Record({len(self)} rows of {', '.join(self.quantities()) or 'nothing'}{stopped})"

    def quantities(self) -> list[str]:
        """The quantities recorded, in order of first appearance."""
        return list(self._where)

    def layers(self, quantity: str) -> list[str]:
        """The layers for which `quantity` was recorded, in order of first appearance."""
        return list(self._where.get(quantity, {}))

    def get(self, quantity: str, layer: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Steps (T,) int and values (T,) float of a quantity in a layer.

        Without `layer`: the whole network's, or the only layer's. Raises ValueError where that is
        ambiguous, or where nothing was recorded.
        """
        layers = self.layers(quantity)
        if not layers:
            raise ValueError(f"quantity: {quantity!r} was not recorded; there are {self.quantities()}")
        if layer is None:
            layer = "" if "" in layers else layers[0]
            if layer and len(layers) > 1:
                raise ValueError(f"layer: {quantity!r} was recorded for several layers, name one of {layers}")
        elif layer not in layers:
            raise ValueError(f"layer: {quantity!r} was not recorded for {layer!r}; there are {layers}")
        found = [self._rows[i] for i in self._where[quantity][layer]]
        steps, _, _, values = zip(*found, strict=True)
        return np.array(steps, dtype=np.int64), np.array(values, dtype=np.float64)

    def last(self, quantity: str, layer: str | None = None) -> float:
        """The value at the last step recorded."""
        return float(self.get(quantity, layer)[1][-1])

    def to_columns(self) -> dict[str, np.ndarray]:
        """`{"step": int64, "layer": str, "quantity": str, "value": float64}`, each of shape (rows,)."""
        steps, layers, names, values = zip(*self._rows, strict=True) if self._rows else ((), (), (), ())
        return {
            "step": np.array(steps, dtype=np.int64),
            "layer": np.array(layers, dtype=np.str_),
            "quantity": np.array(names, dtype=np.str_),
            "value": np.array(values, dtype=np.float64),
        }

    @classmethod
    def from_columns(cls, columns, arrays=None, meta=None) -> Record:
        """The inverse of `to_columns`; columns of unequal length are a ValueError."""
        missing = [name for name in ("step", "layer", "quantity", "value") if name not in columns]
        if missing:
            raise ValueError(f"columns: {missing} missing; there are {sorted(columns)}")
        sizes = {name: len(columns[name]) for name in ("step", "layer", "quantity", "value")}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"columns: expected equal lengths, got {sizes}")
        rows = zip(columns["step"], columns["layer"], columns["quantity"], columns["value"], strict=True)
        return cls(rows, arrays, meta)

    def to_pandas(self):
        """The rows as a pandas DataFrame (pandas is imported on call)."""
        import pandas

        return pandas.DataFrame(self.to_columns())

    def save(self, path) -> None:
        """Write everything to one .npz; written beside and moved, so never half a file.

        A TypeError says what cannot be stored: meta data that JSON cannot hold, arrays of Python objects.
        """
        path = Path(path)
        head = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "meta": self.meta,
            "stopped": None if self.stopped is None else (int(self.stopped[0]), self.stopped[1]),
            "arrays": [(int(step), layer, quantity) for step, layer, quantity in self.arrays],
        }
        try:
            text = json.dumps(head)
        except TypeError as error:
            raise TypeError(f"meta: expected what JSON can hold, got {self.meta!r} ({error})") from error
        columns = {f"column_{name}": column for name, column in self.to_columns().items()}
        arrays = {f"array_{i}": np.asarray(array) for i, array in enumerate(self.arrays.values())}
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
    def load(cls, path) -> Record:
        """Read what `save` wrote; a damaged or unknown file is a ValueError that names it."""
        path = Path(path)
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
        columns = {name: content[f"column_{name}"] for name in ("step", "layer", "quantity", "value")}
        record = cls.from_columns(columns, arrays, head["meta"])
        record.stopped = None if head["stopped"] is None else (head["stopped"][0], head["stopped"][1])
        return record
