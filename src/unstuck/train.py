"""`fit`: one readable training loop, which ends in a `Record`."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from numbers import Real

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from unstuck.arguments import whole
from unstuck.data import Split
from unstuck.evaluate import in_mode
from unstuck.probes import watch
from unstuck.record import QUANTITIES, Record

TEST_QUANTITIES = ("test_loss", "test_accuracy")
OWN_QUANTITIES = ("loss", "accuracy", *TEST_QUANTITIES)

OPTIMIZERS: dict[str, Callable] = {
    "sgd": lambda parameters, lr: torch.optim.SGD(parameters, lr),
    "momentum": lambda parameters, lr: torch.optim.SGD(parameters, lr, momentum=0.9),
    "adam": lambda parameters, lr: torch.optim.Adam(parameters, lr),
}


def fit(
    model: nn.Module,
    split: Split,
    *,
    steps: int | None = None,
    epochs: int | None = None,
    batch_size: int = 100,
    lr: float,
    optimizer: str = "sgd",
    schedule: str | Callable[[int], float] | None = None,
    loss_fn: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    seed: int = 0,
    device: str = "cpu",
    quantities: tuple[str, ...] = (),
    every: int = 1,
    progress: bool | None = None,
) -> Record:
    """Train `model` in place on `split` and return what happened.

    Args:
        steps, epochs: how long; exactly one of them.
        batch_size: the last batch of an epoch may be smaller.
        lr: learning rate, times what `schedule` gives for the step.
        optimizer: "sgd", "momentum" (0.9) or "adam".
        schedule: None, "linear" (to 0), "cosine", or a function from the step to a factor.
        loss_fn: of (logits (N, K), labels (N,)), averaged over the batch.
        seed: of the order of the batches, and of nothing else.
        quantities: more names from `QUANTITIES`: those of `unstuck.probes.watch`, and "test_loss" and
            "test_accuracy" after each epoch and at the end. "loss" and "accuracy" of the batch always come.
        every: record each `every`-th step.
        progress: True or False; None shows a bar on a terminal only.

    Training ends when a loss is not finite; `record.stopped` then says where. Raises ValueError for
    arguments that do not fit, TypeError for steps, epochs, sizes and rates that are no numbers.
    """
    if not isinstance(split.x_train, Tensor):
        raise TypeError(f"split: expected torch tensors, got {type(split.x_train).__name__}; is it split.numpy()?")
    n = len(split.x_train)
    if (steps is None) == (epochs is None):
        raise ValueError(f"steps, epochs: give exactly one, got steps={steps}, epochs={epochs}")
    batch_size, every, seed = whole("batch_size", batch_size), whole("every", every), whole("seed", seed, least=0)
    if batch_size > n:
        raise ValueError(f"batch_size: expected at most {n} (the training examples), got {batch_size}")
    if not isinstance(lr, Real):
        raise TypeError(f"lr: expected a number, got {lr!r}")
    if not (math.isfinite(lr) and lr >= 0):
        raise ValueError(f"lr: expected a finite rate of at least 0, got {lr}")
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer: {optimizer!r} is not one of {sorted(OPTIMIZERS)}")
    if isinstance(quantities, str):
        raise TypeError(f"quantities: expected a sequence of names, got the string {quantities!r}")
    quantities = tuple(quantities)
    unknown = [name for name in quantities if name not in QUANTITIES]
    if unknown:
        raise ValueError(f"quantities: {unknown} are not among {sorted(QUANTITIES)}")
    per_epoch = math.ceil(n / batch_size)
    steps = whole("epochs", epochs) * per_epoch if steps is None else whole("steps", steps)
    factor = schedule_factor(schedule, steps)
    probed = tuple(name for name in quantities if name not in OWN_QUANTITIES)
    tested = tuple(name for name in quantities if name in TEST_QUANTITIES)

    model.to(device)
    x, y = split.x_train.to(device), split.y_train.to(device)
    optim = OPTIMIZERS[optimizer](model.parameters(), lr)
    watching = watch(model, every=every, quantities=probed) if probed else nullcontext(Record())
    silent = not (sys.stderr.isatty() if progress is None else progress)
    with in_mode(model, training=True), watching as record:
        for step, index in enumerate(tqdm(batches(n, batch_size, steps, seed), total=steps, disable=silent)):
            optim.param_groups[0]["lr"] = lr * factor(step)
            logits = model(x[index])  # (N, K)
            loss = loss_fn(logits, y[index])
            value = loss.item()
            if step % every == 0:
                record.add(step, "", "loss", value)
                record.add(step, "", "accuracy", float((logits.argmax(1) == y[index]).float().mean()))
            if not math.isfinite(value):
                record.stopped = (step, f"the loss is {value}")
                break
            optim.zero_grad()
            loss.backward()
            optim.step()
            if tested and ((step + 1) % per_epoch == 0 or step + 1 == steps):
                _test(model, split, loss_fn, device, tested, record, step)
    return record


def batches(n: int, batch_size: int, steps: int, seed: int) -> Iterator[Tensor]:
    """`steps` index tensors: each epoch a new permutation of range(n), cut into batches."""
    generator = torch.Generator().manual_seed(seed)
    done = 0
    while True:
        for index in torch.randperm(n, generator=generator).split(batch_size):
            if done == steps:
                return
            yield index
            done += 1


def schedule_factor(schedule: str | Callable[[int], float] | None, steps: int) -> Callable[[int], float]:
    """The function from the step to a factor on the rate that `fit`'s argument `schedule` means."""
    if schedule is None:
        return lambda step: 1.0
    if schedule == "linear":
        return lambda step: 1.0 - step / steps
    if schedule == "cosine":
        return lambda step: 0.5 * (1.0 + math.cos(math.pi * step / steps))
    if callable(schedule):
        return schedule
    raise ValueError(f"schedule: expected None, 'linear', 'cosine' or a function, got {schedule!r}")


@torch.no_grad()
def _test(model, split, loss_fn, device, names, record: Record, step: int, batch_size: int = 1000) -> None:
    x, y = split.x_test.to(device), split.y_test.to(device)
    with in_mode(model, training=False):
        logits = torch.cat([model(batch) for batch in x.split(batch_size)])  # (N, K)
    if "test_loss" in names:
        record.add(step, "", "test_loss", float(loss_fn(logits, y)))
    if "test_accuracy" in names:
        record.add(step, "", "test_accuracy", float((logits.argmax(1) == y).float().mean()))
