"""What a network makes of images: computed once, kept on disk, and classified by one linear layer."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from unstuck.arguments import flag, instance, real, whole
from unstuck.cache import cached, checksum
from unstuck.evaluate import in_mode
from unstuck.train import is_silent


def features(
    model: nn.Module, x: Tensor, *, batch_size: int = 100, keep: bool = True, progress: bool | None = None
) -> Tensor:
    """The output of `model` on `x` (N, ...), in evaluation mode and without gradients: (N, ...).

    Args:
        model: all layers up to the one whose output is wanted: `network[:-1]` of an `nn.Sequential`.
        x: examples (N, ...).
        batch_size: examples at a time.
        keep: whether the result is kept in the cache (`unstuck.cache`), under all that it depends on: the layers,
            every weight and buffer, and `x`.
        progress: True or False; None shows a bar on a terminal only.

    Nothing is changed: every module has its own mode back.
    """
    instance("model", model, nn.Module, "a torch.nn.Module")
    instance("x", x, Tensor, "a torch tensor")
    batch_size, silent = whole("batch_size", batch_size), is_silent(progress)
    if x.ndim == 0 or len(x) == 0:
        raise ValueError(f"x: expected at least one example, got shape {tuple(x.shape)}")

    @torch.no_grad()
    def compute() -> dict:
        with in_mode(model, training=False):
            batches = tqdm(x.split(batch_size), desc="features", disable=silent)
            return {"features": torch.cat([model(batch).contiguous() for batch in batches]).numpy()}

    if not flag("keep", keep):
        return torch.from_numpy(compute()["features"])
    key = {"model": fingerprint(model), "x": checksum(x.numpy()), "shape": list(x.shape), "dtype": str(x.dtype)}
    return torch.from_numpy(cached("features", key, compute)["features"])


def fingerprint(model: nn.Module) -> str:
    """SHA-256 of the layers of a model, as they print themselves, and of all its weights and buffers."""
    instance("model", model, nn.Module, "a torch.nn.Module")
    found = hashlib.sha256(repr(model).encode())
    for name, tensor in model.state_dict().items():
        found.update(f"{name} {checksum(tensor.numpy())}".encode())
    return found.hexdigest()


def linear_classifier(x: Tensor, y: Tensor, *, penalty: float, classes: int = 2, steps: int = 200) -> nn.Linear:
    """The linear layer on features x (N, D) whose cross-entropy, with a penalty, is smallest; labels y (N,).

    It minimises mean cross-entropy + penalty / 2 * |W|^2, where W are the weights on standardised features; the bias
    is free. One layer is a convex problem, so no seed and no learning rate matter: L-BFGS from 0. The standardisation
    is a part of the layer that is returned, which takes the features as they are.

    Args:
        penalty: at least 0; 0.01 is a good first guess for a few hundred examples.
        classes: K.
        steps: of L-BFGS, at most.
    """
    instance("x", x, Tensor, "a torch tensor")
    instance("y", y, Tensor, "a torch tensor")
    classes = whole("classes", classes)
    if x.ndim != 2 or y.shape != x.shape[:1] or len(y) == 0:
        raise ValueError(f"x, y: expected (N, D) and (N,) with N > 0, got {tuple(x.shape)} and {tuple(y.shape)}")
    if int(y.min()) < 0 or int(y.max()) >= classes:
        raise ValueError(f"classes, y: expected labels 0 to {classes - 1}, got {int(y.min())} to {int(y.max())}")
    penalty, steps = real("penalty", penalty, least=0), whole("steps", steps)
    mean, std = x.mean(dim=0), x.std(dim=0, correction=0)
    std = torch.where(std > 0, std, torch.ones_like(std))
    z = (x - mean) / std
    weight = torch.zeros(classes, x.shape[1], dtype=x.dtype, requires_grad=True)
    bias = torch.zeros(classes, dtype=x.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=steps, line_search_fn="strong_wolfe", tolerance_grad=1e-6)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = cross_entropy(z @ weight.T + bias, y) + penalty / 2 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    layer = nn.Linear(x.shape[1], classes, dtype=x.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight / std)
        layer.bias.copy_(bias - (weight / std) @ mean)
    return layer
