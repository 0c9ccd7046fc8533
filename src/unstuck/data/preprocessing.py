"""Preprocessing, fitted on the training part alone: `standardise` and `whiten`."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstuck.arguments import choice, instance, real
from unstuck.data.split import Split


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
    _require_untouched(split, "standardise")
    axes: dict[str, Any] = {"feature": 0, "channel": (0, 2, 3), "all": None}
    choice("per", per, axes)
    if per == "channel" and split.x_train.ndim != 4:
        raise ValueError(f"per: 'channel' needs images (N, C, Hi, Wi), got {tuple(split.x_train.shape)}")
    x = np.asarray(split.x_train, dtype=np.float64)
    keep: dict[str, Any] = {"axis": axes[per], "keepdims": per == "channel"}
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

    The result is (N, D), images are flattened; the first column has the largest variance. The covariance of the new
    x_train (over N - 1, as `numpy.cov`) is diagonal with variance / (variance + eps): the identity where
    the variance is far above `eps`.

    Args:
        eps: added to each variance, so that axes that hold next to nothing but noise are not blown up.

    `meta["whiten"]` keeps `eps`, `mean` (D,), `matrix` (D, D) (the result is (x - mean) @ matrix),
    `variance` (D,) along the axes, `rank`, and `constant`, the features that are constant on `x_train`.
    The axes from `rank` on have no variance, to rounding; their scale is 1. Raises ValueError for NaN or
    infinite values, fewer than two examples, and data that were whitened before.
    """
    _require_untouched(split, "whiten")
    eps = real("eps", eps, least=0)
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


def _transformed(
    split: Split, name: str, fitted: dict[str, Any], transform: Callable[[np.ndarray], np.ndarray]
) -> Split:
    """The Split after `transform`, which is computed in float64, with what was `fitted` in `meta[name]`."""

    def changed(x: Tensor | np.ndarray) -> Tensor | np.ndarray:
        given = np.asarray(x)
        values = transform(given.astype(np.float64)).astype(given.dtype)
        return torch.from_numpy(values) if isinstance(x, Tensor) else values

    return replace(split.map(changed), meta={**split.meta, name: fitted})


def _require_untouched(split: Split, name: str) -> None:
    """Refuse what cannot be fitted: values that are not finite, or a second fit that would hide the first."""
    instance("split", split, Split, "a Split")
    if name in split.meta:
        raise ValueError(f"split: meta[{name!r}] shows that {name} was applied before; apply it to the original")
    for part in ("x_train", "x_test"):
        bad = int((~np.isfinite(np.asarray(getattr(split, part)))).sum())
        if bad:
            raise ValueError(f"{part}: expected finite values, got {bad} that are NaN or infinite")
