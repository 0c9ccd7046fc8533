"""How curved the loss of a model is: the largest eigenvalues of its Hessian, which is never written out."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy

from unstuck import private
from unstuck.arguments import function, instance, short, whole

Loss = Callable[[Tensor, Tensor], Tensor]
Batches = Sequence[tuple[Tensor, Tensor]]


def sharpness(
    model: nn.Module, x: Tensor, y: Tensor, *, loss_fn: Loss = cross_entropy, k: int = 1, batch_size: int = 1000
) -> np.ndarray:
    """The `k` (algebraically) largest eigenvalues of the Hessian of the loss over all of `x`: (k,), descending.

    On a quadratic, gradient descent is stable up to the learning rate 2 / sharpness, with momentum beta (heavy ball,
    Polyak 1964) up to 2 (1 + beta) / sharpness; full-batch training goes to that border by itself (Cohen et al. 2021,
    "Gradient descent on neural networks typically occurs at the edge of stability"). Kinks do not count: a ReLU's
    second derivative is 0 almost everywhere. The loss is the one that descent sees: each module is in its own mode
    (`in_mode` sets another). So BatchNorm in training mode normalises by the batch, and what a module draws at random
    (dropout, by PyTorch's generators) is drawn once, the same in every call.

    Args:
        model: any that can be copied and differentiated twice. A parameter that requires no gradient is a constant,
            a shared one counts once, an unused one gives zeros.
        x, y: (N, ...) each, on the model's device.
        loss_fn: of (output, y), the mean over the examples; if one batch holds all, any function to one number.
        k: at most the number of parameters.
        batch_size: examples at a time; but for BatchNorm and dropout in training mode the result does not depend on
            it. A product takes about half the time if one batch holds all: its graph is kept.

    A product of the Hessian and a vector is a second backward pass (Pearlmutter 1994). For k=1 Lanczos' method
    (SciPy's `eigsh`) needs some 20 to 60: on 784-100-100-10 and 1,000 images 0.4 s of one core, as much as 40 to 60
    gradients. It needs hundreds where close neighbours crowd the k-th (large k, no outliers, none positive). It can
    overlook copies of an eigenvalue, so for k > 1 it searches again beside what was found. Its residual is below
    eps^(2/3) of the eigenvalue, 2e-5 in float32 and 4e-11 in float64; the rounding of products in that precision is
    added.

    Nothing is changed, also after an exception: a copy of the model is run, and the random state restored.

    Raises TypeError or ValueError, naming the argument: also for a loss that is not finite, or that several batches
    show to be no mean (seen where the output is a tensor (N, ...)), and second derivatives that are not symmetric
    (PyTorch 2.13 differentiates weight norm wrongly the second time). SciPy's ArpackNoConvergence after 300 restarts.
    """
    instance("model", model, nn.Module, "a torch.nn.Module")
    if private.is_lazy(model):
        raise ValueError("model: expected initialised parameters, got lazy ones; run one batch through it first")
    shapes = [tuple(instance(name, part, Tensor, "a torch tensor").shape) for name, part in (("x", x), ("y", y))]
    if not all(shapes) or shapes[0][0] != shapes[1][0] or not len(x):
        raise ValueError(f"x, y: expected as many targets as examples and at least one, got shapes {shapes}")
    function("loss_fn", loss_fn, "output, y")
    batch_size = whole("batch_size", batch_size)
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters or any(p.is_complex() for p in parameters):
        raise ValueError("model: expected parameters that require gradients, all of them real")
    n, eps = sum(p.numel() for p in parameters), max(torch.finfo(p.dtype).eps for p in parameters)
    k = whole("k", k, most=n)
    batches = list(zip(x.split(batch_size), y.split(batch_size), strict=True))
    devices = range(torch.cuda.device_count())
    # of the kinds of attention only the plain one can be differentiated twice
    with (
        torch.random.fork_rng(devices),
        torch.inference_mode(False),
        torch.enable_grad(),
        sdpa_kernel(SDPBackend.MATH),
    ):
        if len(batches) > 1:
            _check_mean(model, batches, loss_fn, tol=math.sqrt(eps))
        kept = list(_gradients(model, batches, loss_fn)) if len(batches) == 1 else None

        def product(v: np.ndarray) -> np.ndarray:
            passes = kept or _gradients(model, batches, loss_fn)
            result = sum((_product(p, g, torch.tensor(v)) for p, g, *_ in passes), np.zeros(n))
            if not np.isfinite(result).all():
                raise ValueError("model, loss_fn: expected second derivatives that are finite")
            return result

        return _largest(product, n, k, eps ** (2 / 3))


def _gradients(
    model: nn.Module, batches: Batches, loss_fn: Loss
) -> Iterator[tuple[list, Sequence[Tensor], Any, float]]:
    """For each batch: parameters, its share of the gradient of the mean, on a graph; output and loss.

    They are those of a copy: so each pass starts from the same state of everything, and no watch sees it.
    """
    # what modules have computed (pruning, weight norm) may lie on a graph, which is not copied
    own = [a for m in model.modules() for a in (*vars(m).values(), *m._buffers.values()) if isinstance(a, Tensor)]
    try:
        model = copy.deepcopy(model, {id(a): a.detach().clone() for a in own if not a.is_leaf})
    except Exception as error:
        raise ValueError(f"model: expected a module that can be copied ({error})") from error
    parameters, total = [p for p in model.parameters() if p.requires_grad], sum(len(y) for _, y in batches)
    torch.manual_seed(0)
    for x, y in batches:
        output = model(x.clone())  # its first module may work in place
        loss = instance("loss_fn", loss_fn(output, y.clone()), Tensor, "to return a tensor")
        if loss.numel() != 1 or not loss.requires_grad:
            raise ValueError(f"model, loss_fn: expected one number that depends on parameters, got {short(loss)}")
        if not loss.isfinite().all():
            raise ValueError(f"model, x, y, loss_fn: expected a finite loss, got {loss.item()}")
        share = loss.sum() * (len(y) / total)
        gradient = torch.autograd.grad(share, parameters, create_graph=True, materialize_grads=True)
        yield parameters, gradient, output, loss.item()


def _check_mean(model: nn.Module, batches: Batches, loss_fn: Loss, tol: float) -> None:
    outputs, shares, targets = [], [], torch.cat([y for _, y in batches])
    for (x, _), (*_, output, loss) in zip(batches, _gradients(model, batches, loss_fn), strict=True):
        if not isinstance(output, Tensor) or not output.ndim or len(output) != len(x):
            return
        outputs.append(output.detach())
        shares.append(loss * len(x) / len(targets))
    if abs(sum(shares) - float(loss_fn(torch.cat(outputs), targets))) > tol * sum(map(abs, shares)):
        raise ValueError("loss_fn, batch_size: expected a mean over the examples; others need batch_size=len(x)")


def _product(parameters: Sequence[Tensor], gradient: Sequence[Tensor], v: Tensor) -> np.ndarray:
    """The derivative of gradient @ v, (n,) like `v`."""
    parts = zip(gradient, v.split([g.numel() for g in gradient]), strict=True)
    pairs = [(g, part.view(g.shape).to(g)) for g, part in parts if g.requires_grad]
    if not pairs:  # the loss is linear
        return np.zeros(len(v))
    outputs, weights = zip(*pairs, strict=True)
    found = torch.autograd.grad(outputs, parameters, weights, retain_graph=True, materialize_grads=True)
    return torch.cat([part.flatten().to(v) for part in found]).numpy()


def _largest(product: Callable[[np.ndarray], np.ndarray], n: int, k: int, tol: float) -> np.ndarray:
    """The k largest eigenvalues of a symmetric operator on n numbers, descending."""
    from scipy.sparse.linalg import LinearOperator, eigsh  # on call: all that trains loads this module, few need it

    rng, values, vectors = np.random.default_rng(0), np.empty(0), np.empty((n, 0))
    start, other = rng.standard_normal((2, n))
    ahead, back = product(start), product(other)
    if abs(other @ ahead - start @ back) > math.sqrt(tol) * np.linalg.norm([ahead, back]):
        cause = (
            "something drawn by no generator of PyTorch's, or differentiated wrongly (its weight norm is, in 2.13)?"
        )
        raise ValueError(f"model, loss_fn: expected second derivatives that are symmetric; is {cause}")
    if n <= max(20, 2 * k + 1):  # `eigsh` would make as many vectors
        dense = np.stack([product(unit) for unit in np.eye(n)])
        return np.linalg.eigvalsh((dense + dense.T) / 2)[::-1][:k]
    scale = np.linalg.norm(ahead) / np.linalg.norm(start)
    if scale == 0:  # `eigsh` refuses it
        return np.zeros(k)

    def rest(v: np.ndarray) -> np.ndarray:
        """The operator beside `vectors`, where it is given an eigenvalue below all that were found."""
        inside = vectors @ (vectors.T @ v)
        outside = product(v - inside) / scale
        return outside - vectors @ (vectors.T @ outside) - 2 * abs(values).max(initial=0) * inside

    while True:
        operator = LinearOperator((n, n), rest, dtype=float)
        found, more = eigsh(operator, 1 if len(values) else k, which="LA", v0=start, tol=tol, maxiter=300)
        enough = k == 1 or (len(values) and found[0] <= values[k - 1] + tol * abs(values).max())
        values, vectors = np.sort(np.append(values, found))[::-1], np.hstack([vectors, more])
        if enough:
            return values[:k] * scale
        start = rng.standard_normal(n)
