"""`Split`: data in a training and a test part, and how parts are cut from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import Tensor

from unstuck.arguments import function, instance, names, real, whole

PARTS = ("x_train", "y_train", "x_test", "y_test")


@dataclass(frozen=True, repr=False, eq=False)
class Split:
    """Data cut into a training and a test part.

    Args:
        x_train, x_test: (N, D) features or (N, C, Hi, Wi) images, float32 (float64 for exact comparisons).
        y_train, y_test: (N,) labels, int64, from 0 to K - 1.
        classes: K names, in the order of the labels.
        meta: where the data come from and what was done to them. `meta["per_example"]`, where it is there, lists the
            names of the entries that hold something about every example. Each of them is a dict `{"train": values,
            "test": values}`, and values is a NumPy array (N, ...), a list or a tuple of length N, in the order of
            the examples of that part; `subset` and `validation` cut them along with the examples.

    All four are torch tensors, or (after `numpy()`) all four NumPy arrays. Raises TypeError for the wrong
    kind or dtype, ValueError for shapes and labels that do not fit.
    """

    x_train: Tensor | np.ndarray
    y_train: Tensor | np.ndarray
    x_test: Tensor | np.ndarray
    y_test: Tensor | np.ndarray
    classes: tuple[str, ...]
    meta: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", names("classes", self.classes))
        object.__setattr__(self, "meta", dict(instance("meta", self.meta, Mapping, "a dict")))
        for name in PARTS:
            instance(name, getattr(self, name), (Tensor, np.ndarray), "a torch tensor or a NumPy array")
        kinds = [type(getattr(self, name)) for name in PARTS]
        if len(set(kinds)) > 1:
            found = ", ".join(kind.__name__ for kind in kinds)
            raise TypeError(f"{', '.join(PARTS)}: expected four tensors or four arrays, got {found}")
        for part in ("train", "test"):
            self._check(part, getattr(self, f"x_{part}"), getattr(self, f"y_{part}"))
        if "per_example" in self.meta:
            self.meta["per_example"] = names("meta['per_example']", self.meta["per_example"], self.meta)
            for name in self.meta["per_example"]:
                self._check_per_example(name, self.meta[name])

    def _check(self, part: str, x: Tensor | np.ndarray, y: Tensor | np.ndarray) -> None:
        if _dtype(x) not in ("float32", "float64") or x.dtype != self.x_train.dtype:
            raise TypeError(f"x_{part}: expected float32 (or float64 in both parts), got {x.dtype}")
        if _dtype(y) != "int64":
            raise TypeError(f"y_{part}: expected int64, got {y.dtype}")
        if x.ndim not in (2, 4) or len(x) == 0 or x.shape[1:] != self.x_train.shape[1:]:
            expected, beside = "(N, D) or (N, C, Hi, Wi) with N > 0, both parts alike", tuple(self.x_train.shape)
            raise ValueError(f"x_{part}: expected {expected}, got {tuple(x.shape)} beside x_train {beside}")
        if tuple(y.shape) != (len(x),):
            raise ValueError(f"x_{part}, y_{part}: expected one label an example, ({len(x)},), got {tuple(y.shape)}")
        low, high, k = int(y.min()), int(y.max()), len(self.classes)
        if low < 0 or high >= k:
            raise ValueError(f"y_{part}: expected labels 0 to {k - 1} ({k} classes), got {low} to {high}")

    def _check_per_example(self, name: str, entry: Any) -> None:
        parts = {"train": len(self.x_train), "test": len(self.x_test)}
        instance(f"meta[{name!r}]", entry, Mapping, "a dict with 'train' and 'test'")
        if set(entry) != set(parts):
            raise ValueError(f"meta[{name!r}]: expected a dict with 'train' and 'test', got {list(entry)}")
        for part, n in parts.items():
            values, place = entry[part], f"meta[{name!r}][{part!r}]"
            instance(place, values, (np.ndarray, list, tuple), "a NumPy array, a list or a tuple")
            shape = values.shape if isinstance(values, np.ndarray) else (len(values),)
            if shape[:1] != (n,):
                raise ValueError(f"{place}: expected an item an example, ({n}, ...), got {shape}")

    def __repr__(self) -> str:
        name, shape = self.meta.get("name", "unnamed"), tuple(self.x_train.shape[1:])
        counts = f"{len(self.x_train):,} training and {len(self.x_test):,} test"
        return f"Split({name}: {counts} examples of shape {shape}, {len(self.classes)} classes)"

    def numpy(self) -> Split:
        """The same Split in NumPy arrays, which are copies: changing them in place does not reach the tensors."""
        copies: dict[str, Any] = {name: np.asarray(getattr(self, name)).copy() for name in PARTS}
        return replace(self, **copies)

    def map(self, f: Callable[[Any], Any]) -> Split:
        """The Split with `f(x_train)` and `f(x_test)` in their place: `split.map(lambda x: avg_pool2d(x, 2))`.

        `f` gets all examples of a part at once, as a tensor or, after `numpy()`, an array; it returns the same kind,
        as many examples and in the same order. Labels and `meta` are kept. Raises TypeError where `f` is no function
        or returns something else, and what Split raises where the result does not fit.
        """
        function("f", f, "x")
        kind, word = (Tensor, "torch tensor") if isinstance(self.x_train, Tensor) else (np.ndarray, "NumPy array")
        changed = {x: instance("f", f(getattr(self, x)), kind, f"to return a {word}") for x in ("x_train", "x_test")}
        try:
            return replace(self, **changed)
        except (TypeError, ValueError) as error:
            raise type(error)(f"f: its result does not fit: {error}") from error

    def subset(self, n: int, seed: int = 0) -> Split:
        """A Split with `n` of the training examples and the whole test part.

        Stratified: each class has its share of `n`, to less than one example. The examples keep their
        order; with the same seed a smaller subset of equally large classes lies within a larger one.
        """
        n, seed = whole("n", n, most=len(self.x_train)), whole("seed", seed, least=0)
        kept = _stratified(np.asarray(self.y_train), n, seed)
        return self._cut(kept, None, subset={"n": n, "seed": seed})

    def validation(self, fraction: float, seed: int = 0) -> Split:
        """A Split of the training part alone: its test part is the `fraction` held out for validation.

        Stratified as in `subset`, and both parts keep their order; the test part of this Split is in neither part
        of the result.
        """
        fraction, seed, size = real("fraction", fraction), whole("seed", seed, least=0), len(self.x_train)
        if not 1 <= round(fraction * size) < size:
            raise ValueError(f"fraction: expected to leave examples in both parts of {size}, got {fraction:g}")
        held = _stratified(np.asarray(self.y_train), round(fraction * size), seed)
        kept = np.delete(np.arange(size), held)
        return self._cut(kept, held, validation={"fraction": fraction, "seed": seed})

    def _cut(self, kept: np.ndarray, held: np.ndarray | None, **note: dict) -> Split:
        """Positions of training examples: `kept` ones, and those that become the test part (None: it stays)."""

        def cut(train: Any, test: Any) -> dict[str, Any]:
            return {"train": _take(train, kept), "test": test if held is None else _take(train, held)}

        x, y = cut(self.x_train, self.x_test), cut(self.y_train, self.y_test)
        meta = self.meta | note
        meta |= {name: cut(**meta[name]) for name in meta.get("per_example", ())}
        return Split(x["train"], y["train"], x["test"], y["test"], self.classes, meta)


def _take(values: Any, index: np.ndarray) -> Any:
    return type(values)(values[i] for i in index) if isinstance(values, list | tuple) else values[index]


def _stratified(y: np.ndarray, n: int, seed: int) -> np.ndarray:
    """n sorted positions in y; every class has its share, and what is left goes to the largest remainders."""
    rng = np.random.default_rng(seed)
    counts = np.bincount(y)
    take, remainder = np.divmod(n * counts, len(y))
    ties = rng.random(len(counts))
    favoured = np.lexsort((ties, -remainder))
    take[favoured[: n - take.sum()]] += 1
    chosen = [rng.permutation(np.flatnonzero(y == k))[:m] for k, m in enumerate(take)]
    return np.sort(np.concatenate(chosen))


def _dtype(values: Tensor | np.ndarray) -> str:
    return str(values.dtype).removeprefix("torch.")
