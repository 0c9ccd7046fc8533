"""The book's data: embedded real images, two generators, and preprocessing; everything is a `Split`.

`tools/build_data.py` made the embedded files and shows where they come from; their licences lie beside them.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unstuck.arguments import whole

FOLDER = Path(__file__).parent / "_data"

CHECKSUMS: dict[str, dict[str, str]] = {
    "mnist": {
        "x_train": "f83ddfb6346264b52ed4a5c96f7891bb59b5b151c2cb216648d82f22e3c85195",
        "y_train": "81018dafcfe18151c97046f4634773cc19464ce01f34c11a89a445656fa5599c",
        "x_test": "48ace1148aeab1e8552a84ce84926544e3bfd8ccbe447ad54376efec238ff286",
        "y_test": "3bf76f642479e446772e8449a67278e25c4b43823eb428ea9f715b96279d282a",
        "test_filled": "9d2db6882af4d47ef9e2a7239f8792008b59e7c7f6512998778e0eb2fa42a525",
    },
    "fashion": {
        "x_train": "e1427044c614fabc29feeff0f27e6b68f88a9ee2f2cfe7d783b9157159864883",
        "y_train": "2c02745d4ad8b4511333d0eca662ac5664a371860abaa4588b1670e7be59fbdf",
        "x_test": "c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a",
        "y_test": "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9",
        "test_filled": "5b6fb58e61fa475939767d68a446f97f1bff02c0e5935a3ea8bb51e6515783d8",
    },
}
"""SHA-256 of the bytes of every embedded array, in C order; `tools/build_data.py` verifies the same table."""

DIGITS = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
CLOTHES = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)


@dataclass(frozen=True, repr=False, eq=False)
class Split:
    """Data cut into a training and a test part.

    Args:
        x_train, x_test: (N, D) features or (N, C, Hi, Wi) images, float32 (float64 for exact comparisons).
        y_train, y_test: (N,) labels, int64, from 0 to K - 1.
        classes: K names, in the order of the labels.
        meta: where the data come from and what was done to them.

    All four are torch tensors, or (after `numpy()`) all four NumPy arrays. Raises TypeError for the wrong
    kind or dtype, ValueError for shapes and labels that do not fit.
    """

    x_train: Tensor | np.ndarray
    y_train: Tensor | np.ndarray
    x_test: Tensor | np.ndarray
    y_test: Tensor | np.ndarray
    classes: tuple[str, ...]
    meta: dict = field(default_factory=dict)

    def __post_init__(self):
        object.__setattr__(self, "classes", tuple(self.classes))
        object.__setattr__(self, "meta", dict(self.meta))
        kind = type(self.x_train)
        for name in ("x_train", "y_train", "x_test", "y_test"):
            values = getattr(self, name)
            if not isinstance(values, (Tensor, np.ndarray)) or type(values) is not kind:
                raise TypeError(f"{name}: expected four tensors or four arrays, got a {type(values).__name__}")
        for part in ("train", "test"):
            self._check(part, getattr(self, f"x_{part}"), getattr(self, f"y_{part}"))

    def _check(self, part: str, x, y) -> None:
        if _dtype(x) not in ("float32", "float64") or x.dtype != self.x_train.dtype:
            raise TypeError(f"x_{part}: expected float32 (or float64 in both parts), got {x.dtype}")
        if _dtype(y) != "int64":
            raise TypeError(f"y_{part}: expected int64, got {y.dtype}")
        if x.ndim not in (2, 4) or len(x) == 0 or x.shape[1:] != self.x_train.shape[1:]:
            raise ValueError(
                f"x_{part}: expected (N, D) or (N, C, Hi, Wi) with N > 0, both parts alike,"
                f" got {tuple(x.shape)} beside x_train {tuple(self.x_train.shape)}"
            )
        if tuple(y.shape) != (len(x),):
            raise ValueError(f"y_{part}: expected one label an example, ({len(x)},), got {tuple(y.shape)}")
        low, high, k = int(y.min()), int(y.max()), len(self.classes)
        if low < 0 or high >= k:
            raise ValueError(f"y_{part}: expected labels 0 to {k - 1} ({k} classes), got {low} to {high}")

    def __repr__(self) -> str:
        return (
            f"Split({self.meta.get('name', 'unnamed')}: {len(self.x_train):,} training and {len(self.x_test):,} test"
            f" examples of shape {tuple(self.x_train.shape[1:])}, {len(self.classes)} classes)"
        )

    def numpy(self) -> Split:
        """The same Split in NumPy arrays, which are copies: changing them in place does not reach the tensors."""
        return Split(*(np.asarray(values).copy() for values in self._parts()), self.classes, self.meta)

    def subset(self, n: int, seed: int = 0) -> Split:
        """A Split with `n` of the training examples and the whole test part.

        Stratified: each class has its share of `n`, to less than one example. The examples keep their
        order; with the same seed a smaller subset of equally large classes lies within a larger one.
        """
        size = len(self.x_train)
        if not 1 <= whole("n", n, least=None) <= size:
            raise ValueError(f"n: expected 1 to {size} (the training examples), got {n}")
        index = _stratified(np.asarray(self.y_train), n, seed)
        meta = {**self.meta, "subset": {"n": n, "seed": seed}}
        return replace(self, x_train=self.x_train[index], y_train=self.y_train[index], meta=meta)

    def validation(self, fraction: float, seed: int = 0) -> Split:
        """A Split of the training part alone: its test part is the `fraction` held out for validation.

        Stratified as in `subset`; the test part of this Split is in neither part of the result.
        """
        size = len(self.x_train)
        if not 0 < fraction < 1 or not 1 <= round(fraction * size) < size:
            raise ValueError(f"fraction: expected to leave examples in both parts of {size}, got {fraction}")
        held = np.zeros(size, dtype=bool)
        held[_stratified(np.asarray(self.y_train), round(fraction * size), seed)] = True
        kept, held = np.flatnonzero(~held), np.flatnonzero(held)
        x, y = self.x_train, self.y_train
        meta = {**self.meta, "validation": {"fraction": fraction, "seed": seed}}
        return Split(x[kept], y[kept], x[held], y[held], self.classes, meta)

    def _parts(self) -> tuple:
        return self.x_train, self.y_train, self.x_test, self.y_test


def mnist() -> Split:
    """Handwritten digits: 10,000 training and 10,000 test images (N, 1, 28, 28), 1,000 a class in each part.

    A balanced part of MNIST (LeCun, Cortes, Burges 1998). Training part: of each class the first 1,000
    official training images. Test part: of each class the first 1,000 official test images. Five classes
    have fewer (there are only 892 fives): 214 images are filled in from the official training images that
    follow those of the training part, so no image is in both. The filled ones stand at the end of the test
    part; otherwise everything keeps the order of the official files. `meta["test_filled"]` counts
    them by class, `meta["test_official"]` is the number of official ones in front of them.

    Raises ValueError when the embedded file is damaged.
    """
    return _embedded("mnist", DIGITS, "MNIST database of handwritten digits; Y. LeCun, C. Cortes, C. J. C. Burges")


def fashion() -> Split:
    """Articles of clothing: 10,000 training and 10,000 test images (N, 1, 28, 28), 1,000 a class in each part.

    Part of Fashion-MNIST (Xiao, Rasul, Vollgraf 2017). Training part: of each class the first 1,000 official
    training images, in the order of the official file. Test part: the official one, unchanged.

    Raises ValueError when the embedded file is damaged.
    """
    return _embedded("fashion", CLOTHES, "Fashion-MNIST; H. Xiao, K. Rasul, R. Vollgraf; (c) 2017 Zalando SE")


def circle_and_cross(
    n: int = 2, size: int = 32, noise: float = 0.0, seed: int = 0, *, jitter: float = 0.5, n_test: int = 100
) -> Split:
    """Dark circles (label 1) and crosses (label 0) on white: RGB images (N, 3, size, size) in [0, 1].

    Args:
        n: training images, at least 2. Circle and cross alternate; the first of each is centred and at full
            size, so the default is one circle and one cross, and every other one is a variant.
        size: of the image, in pixels, at least 8.
        noise: standard deviation of Gaussian noise on each pixel and colour; the result is clipped to [0, 1].
        seed: of noise and variants; the two parts draw from streams of their own.
        jitter: 0 to 1, how far variants differ: the radius shrinks by up to `jitter` / 2 of itself, and the
            centre moves by up to `jitter` of the free room. 0: all figures are centred and at full size.
        n_test: test images, at least 2, all of them variants.
    """
    settings = {"n": n, "size": size, "noise": noise, "seed": seed, "jitter": jitter, "n_test": n_test}
    for name, least in (("n", 2), ("size", 8), ("n_test", 2)):
        whole(name, settings[name], least)
    _at_least("noise", noise, 0)
    if not 0 <= jitter <= 1:
        raise ValueError(f"jitter: expected 0 to 1, got {jitter}")
    train = _figures(n, size, noise, jitter, _generator(seed, 0), centred=2)
    test = _figures(n_test, size, noise, jitter, _generator(seed, 1), centred=0)
    return _generated(train, test, ("cross", "circle"), {"name": "circle_and_cross", **settings})


def spirals(n: int = 300, arms: int = 3, noise: float = 0.02, seed: int = 0, *, n_test: int = 300) -> Split:
    """Points (N, 2) on interleaved spirals, one class an arm; not linearly separable.

    Arm k is r (cos, sin)(2 pi (r + k / arms)) for r from 0.1 to 1: one turn each.

    Args:
        n: training points; arms take turns, so their sizes differ by one at most.
        arms: at least 2.
        noise: standard deviation of Gaussian noise on each coordinate. Arms are 1 / `arms` apart.
        seed: of the points; the two parts draw from streams of their own.
        n_test: test points.
    """
    settings = {"n": n, "arms": arms, "noise": noise, "seed": seed, "n_test": n_test}
    whole("arms", arms, least=2)
    for name in ("n", "n_test"):
        whole(name, settings[name], least=arms)
    _at_least("noise", noise, 0)
    train = _spiral_points(n, arms, noise, _generator(seed, 0))
    test = _spiral_points(n_test, arms, noise, _generator(seed, 1))
    return _generated(train, test, tuple(f"arm {k}" for k in range(arms)), {"name": "spirals", **settings})


def standardise(split: Split, per: str = "feature") -> Split:
    """Subtract the mean and divide by the standard deviation (over N, as `numpy.std`) of `x_train`.

    Args:
        per: "feature": one mean and scale for every feature or pixel; "channel": for every channel of images;
            "all": one for everything.

    `meta["standardise"]` keeps `per`, `mean` and `scale` (arrays that broadcast against one example) and
    `constant`, the flat positions in `mean` of what is constant on `x_train`: its scale is 1. A feature
    that hardly varies there is divided by a small number and may be large on the test part. Raises
    ValueError for NaN or infinite values, and for data that were standardised before.
    """
    _untouched(split, "standardise")
    axes = {"feature": 0, "channel": (0, 2, 3), "all": None}
    if per not in axes:
        raise ValueError(f"per: {per!r} is not one of {sorted(axes)}")
    if per == "channel" and split.x_train.ndim != 4:
        raise ValueError(f"per: 'channel' needs images (N, C, Hi, Wi), got {tuple(split.x_train.shape)}")
    x = np.asarray(split.x_train, dtype=np.float64)
    keep = {"axis": axes[per], "keepdims": per == "channel"}
    # float64, and the deviations from a mean that is known first: E[x^2] - E[x]^2 would cancel.
    mean, scale = np.asarray(x.mean(**keep)), np.asarray(x.std(**keep))
    constant = np.asarray(x.max(**keep) == x.min(**keep))
    scale = np.where(constant, 1.0, scale)
    if per == "channel":
        mean, scale = mean[0], scale[0]  # (C, 1, 1)
    fitted = {"per": per, "mean": mean, "scale": scale, "constant": np.flatnonzero(constant)}
    return _transformed(split, "standardise", fitted, lambda x: (x - mean) / scale)


def whiten(split: Split, eps: float = 1e-5) -> Split:
    """Rotate onto the principal axes of `x_train` and divide each by its standard deviation (PCA whitening).

    The result is (N, D), images are flattened; column 1 has the largest variance. The covariance of the new
    x_train (over N - 1, as `numpy.cov`) is diagonal with variance / (variance + eps): the identity where
    the variance is far above `eps`.

    Args:
        eps: added to each variance, so that axes that hold next to nothing but noise are not blown up.

    `meta["whiten"]` keeps `eps`, `mean` (D,), `matrix` (D, D) (the result is (x - mean) @ matrix),
    `variance` (D,) along the axes, `rank`, and `constant`, the features that are constant on `x_train`.
    The axes from `rank` on have no variance, to rounding; their scale is 1. Raises ValueError for NaN or
    infinite values, fewer than two examples, and data that were whitened before.
    """
    _untouched(split, "whiten")
    _at_least("eps", eps, 0)
    x = np.asarray(split.x_train, dtype=np.float64).reshape(len(split.x_train), -1)  # (N, D)
    if len(x) < 2:
        raise ValueError(f"x_train: expected at least 2 examples, got {len(x)}")
    mean = x.mean(axis=0)
    # Singular values of the data themselves: forming the covariance first would square the condition number.
    triangle = np.linalg.qr(x - mean, mode="r")
    _, singular, axes = np.linalg.svd(triangle)
    singular = np.pad(singular, (0, x.shape[1] - len(singular)))
    axes = axes.T  # (D, D), a column an axis
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(len(axes))])  # LAPACK leaves the signs open
    rank = int((singular > singular[0] * max(x.shape) * np.finfo(np.float64).eps).sum())
    variance = singular**2 / (len(x) - 1)
    scale = np.sqrt(variance + eps)
    scale[rank:] = 1.0
    matrix = axes / scale
    constant = np.flatnonzero(x.max(axis=0) == x.min(axis=0))
    fitted = {"eps": eps, "mean": mean, "matrix": matrix, "variance": variance, "rank": rank, "constant": constant}
    return _transformed(split, "whiten", fitted, lambda x: (x.reshape(len(x), -1) - mean) @ matrix)


def checksum(array: np.ndarray) -> str:
    """SHA-256 of an array's bytes in C order, as hexadecimal text."""
    return hashlib.sha256(np.ascontiguousarray(array)).hexdigest()


def _embedded(name: str, classes: tuple[str, ...], source: str) -> Split:
    arrays = _read(FOLDER / f"{name}.npz", CHECKSUMS[name])
    filled = arrays["test_filled"].tolist()
    meta = {
        "name": name,
        "source": source,
        "test_filled": dict(zip(classes, filled, strict=True)),
        "test_official": len(arrays["y_test"]) - sum(filled),
    }
    x_train, x_test = (torch.from_numpy(arrays[key]).unsqueeze(1).float().div_(255) for key in ("x_train", "x_test"))
    y_train, y_test = (torch.from_numpy(arrays[key]).long() for key in ("y_train", "y_test"))
    return Split(x_train, y_train, x_test, y_test, classes, meta)


def _read(path: Path, checksums: dict[str, str]) -> dict[str, np.ndarray]:
    cure = "install unstuck again, or rebuild the file with tools/build_data.py"
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in checksums}
    except FileNotFoundError:
        raise
    except Exception as error:  # zip, zlib, NumPy's header parser: each has its own
        raise ValueError(
            f"{path}: damaged: expected a readable .npz with {list(checksums)},"
            f" got {type(error).__name__}: {error}; {cure}"
        ) from error
    for key, expected in checksums.items():
        if (found := checksum(arrays[key])) != expected:
            raise ValueError(f"{path}: damaged: expected {key} with SHA-256 {expected}, got {found}; {cure}")
    return arrays


def _figures(n: int, size: int, noise: float, jitter: float, rng: np.random.Generator, centred: int):
    """n images (n, 3, size, size) and labels (n,), circle first; the first `centred` are not jittered."""
    stroke = size / 16
    full = 0.35 * size
    y = 1 - np.arange(n) % 2  # circle, cross, circle, ...
    spread = jitter * (np.arange(n) >= centred)
    radius = full * (1 - spread / 2 * rng.random(n))
    room = size / 2 - stroke - radius  # half a stroke of white stays at the border
    shift = rng.uniform(-1, 1, (2, n)) * spread * room
    axis = np.arange(size) - (size - 1) / 2
    v = axis[:, None] - shift[0, :, None, None]  # (n, size, 1)
    u = axis[None, :] - shift[1, :, None, None]  # (n, 1, size)
    r = radius[:, None, None]
    to_circle = np.abs(np.hypot(u, v) - r)
    # Distance to a segment from -r to r; a cross is two of them, along the diagonals.
    along, across = np.abs(u + v) / math.sqrt(2), np.abs(u - v) / math.sqrt(2)
    to_cross = np.minimum(
        np.hypot(np.maximum(along - r, 0), across),
        np.hypot(np.maximum(across - r, 0), along),
    )
    distance = np.where(y[:, None, None] == 1, to_circle, to_cross)  # (n, size, size), in pixels
    ink = np.clip(stroke / 2 + 0.5 - distance, 0, 1)  # smooth over one pixel
    colour = np.array([0.1, 0.1, 0.3])[:, None, None]  # one for both: it must not give the class away
    x = 1 - ink[:, None] * (1 - colour)  # (n, 3, size, size)
    return np.clip(x + noise * rng.standard_normal(x.shape), 0, 1), y


def _spiral_points(n: int, arms: int, noise: float, rng: np.random.Generator):
    """n points (n, 2) and the arms (n,) they lie on."""
    y = np.arange(n) % arms
    r = rng.uniform(0.1, 1.0, n)
    angle = 2 * math.pi * (r + y / arms)
    x = np.stack([r * np.cos(angle), r * np.sin(angle)], axis=1)  # (n, 2)
    return x + noise * rng.standard_normal(x.shape), y


def _generated(train, test, classes, meta) -> Split:
    (x_train, y_train), (x_test, y_test) = (
        (torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y.astype(np.int64))) for x, y in (train, test)
    )
    return Split(x_train, y_train, x_test, y_test, classes, meta)


def _stratified(y: np.ndarray, n: int, seed: int) -> np.ndarray:
    """n sorted positions in y; every class has its share, and what is left goes to the largest remainders."""
    rng = _generator(seed)
    counts = np.bincount(y)
    take, remainder = np.divmod(n * counts, len(y))
    ties = rng.random(len(counts))
    favoured = np.lexsort((ties, -remainder))
    take[favoured[: n - take.sum()]] += 1
    chosen = [rng.permutation(np.flatnonzero(y == k))[:m] for k, m in enumerate(take)]
    return np.sort(np.concatenate(chosen))


def _transformed(split: Split, name: str, fitted: dict, transform) -> Split:
    def changed(x):
        values = transform(np.asarray(x, dtype=np.float64)).astype(_dtype(x))
        return torch.from_numpy(values) if isinstance(x, Tensor) else values

    meta = {**split.meta, name: fitted}
    return replace(split, x_train=changed(split.x_train), x_test=changed(split.x_test), meta=meta)


def _untouched(split: Split, name: str) -> None:
    """Refuse what cannot be fitted: values that are not finite, or a second fit that would hide the first."""
    if name in split.meta:
        raise ValueError(f"split: meta[{name!r}] shows that {name} was applied before; apply it to the original")
    for part in ("x_train", "x_test"):
        bad = int((~np.isfinite(np.asarray(getattr(split, part)))).sum())
        if bad:
            raise ValueError(f"{part}: expected finite values, got {bad} that are NaN or infinite")


def _dtype(values) -> str:
    return str(values.dtype).removeprefix("torch.")


def _generator(seed: int, *stream: int) -> np.random.Generator:
    return np.random.default_rng((whole("seed", seed, least=0), *stream))


def _at_least(name: str, value, least) -> None:
    if not least <= value < math.inf:
        raise ValueError(f"{name}: expected at least {least} and finite, got {value}")
