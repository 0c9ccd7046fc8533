"""`differs`: whether a stack computes what its members do, tried before anything is trained."""

from __future__ import annotations

import copy
import math
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from unstuck.ensemble.stacked import Stack

TRIED = 8  # examples
LOCK = threading.RLock()  # there is one random state a process, for all its threads


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within it PyTorch draws under a seed; after it the global random state is what it was."""
    with LOCK, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def differs(models: Sequence[nn.Module], x: Tensor) -> str:
    """Why a stack of these networks would not compute what they do on x (N, ...); "" if it would.

    Tried in both modes, and with one network left alone; in float64, for rounding grows with depth; and with random
    weights, for the networks' own may hide a difference (all zeros). All of it with copies of the networks.
    """
    if all(type(module).__module__.startswith(("torch.nn.", "unstuck.")) for module in models[0].modules()):
        models = models[:2]  # there is nothing in them that is not in their signature
    x = x[:TRIED].double().clone()
    try:
        with seeded(0), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the training will give them again
            models = copy.deepcopy(list(models))
            for p in (p for model in models for p in model.double().parameters() if p.is_floating_point()):
                p.normal_(std=math.sqrt(2 / p[0].numel())) if p.ndim > 1 else p.uniform_()
            stacked = Stack(models)
            for training, m in ((True, len(models)), (False, len(models)), (False, 1)):
                stacked.train(training).keep(torch.arange(len(stacked)) < m)
                apart = torch.stack([model.train(training)(x.clone()) for model in models[:m]])
                together = stacked(x.expand(m, *x.shape))
                if together.shape != apart.shape:
                    shapes = f"{tuple(together.shape)}, not {tuple(apart.shape)}"
                    return f"with a leading axis its output has the shape {shapes}"
                close = 1e-6 * float(apart.abs().max())
                if not math.isfinite(close) or not torch.allclose(together, apart, rtol=1e-6, atol=close):
                    return "with a leading axis its forward computes something else"
    except Exception as error:  # somebody's forward, with an axis it was not written for
        return f"with a leading axis its forward raises {type(error).__name__}: {error}"
    return ""
