"""`fit`: one readable training loop, which ends in a `Record`."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from unstuck.arguments import choice, flag, function, instance, names, real, short, whole
from unstuck.data import Split
from unstuck.evaluate import in_mode
from unstuck.probes import watch
from unstuck.record import QUANTITIES, Record

TEST_QUANTITIES = ("test_loss", "test_accuracy")
OWN_QUANTITIES = ("loss", "accuracy", *TEST_QUANTITIES)
"""What the training loop fills in; all other quantities come from a watch."""

Optimizer = Callable[[Iterable[nn.Parameter], float], torch.optim.Optimizer]

MOMENTUM = 0.9

OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": lambda parameters, lr: torch.optim.SGD(parameters, lr),
    "momentum": lambda parameters, lr: torch.optim.SGD(parameters, lr, momentum=MOMENTUM),
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
    optimizer: str | Optimizer = "sgd",
    schedule: str | Callable[[int], float] | None = None,
    loss_fn: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    seed: int = 0,
    device: str | torch.device = "cpu",
    quantities: Sequence[str] = (),
    every: int = 1,
    each_step: Callable[[int, nn.Module], object] | None = None,
    progress: bool | None = None,
) -> Record:
    """Train `model` in place on `split` and return what happened.

    Args:
        steps, epochs: how long; exactly one of them.
        batch_size: the last batch of an epoch may be smaller.
        lr: learning rate, times what `schedule` gives for the step.
        optimizer: "sgd", "momentum" (0.9), "adam", or a function from parameters and learning rate to an optimizer.
        schedule: None, "linear" (to 0), "cosine", or a function from the step to a factor.
        loss_fn: of (logits (N, K), labels (N,)), averaged over the batch.
        seed: of the order of the batches, and of nothing else.
        quantities: more names from `QUANTITIES`: those of `unstuck.probes.watch`, and "test_loss" and
            "test_accuracy" after each epoch and at the end. "loss" and "accuracy" of the batch always come.
        every: record each `every`-th step.
        each_step: called as `each_step(step, model)` after each update.
        progress: True or False; None shows a bar on a terminal only.

    Training ends when a loss is not finite; `record.stopped` then says where. An interrupt (Ctrl-C) hands over what
    there is: the exception's attribute `record` is the Record so far.

    Raises ValueError for arguments that do not fit, TypeError for those of the wrong kind.
    """
    instance("model", model, nn.Module, "a torch.nn.Module")
    x, y = train_part(split)
    n = len(x)
    if (steps is None) == (epochs is None):
        raise ValueError(f"steps, epochs: give exactly one, got steps={steps}, epochs={epochs}")
    batch_size, every, seed = whole("batch_size", batch_size, most=n), whole("every", every), _seed(seed)
    lr = real("lr", lr, least=0)
    if callable(optimizer):
        optim_of = function("optimizer", optimizer, "parameters, lr", made=True)
    else:
        optim_of = OPTIMIZERS[choice("optimizer", optimizer, OPTIMIZERS)]
    quantities = check_quantities(quantities)
    function("loss_fn", loss_fn, "logits, y")
    if each_step is not None:
        function("each_step", each_step, "step, model")
    device, silent = _device(device), is_silent(progress)
    per_epoch = math.ceil(n / batch_size)
    steps = whole("epochs", epochs) * per_epoch if steps is None else whole("steps", steps)
    factor = schedule_factor(schedule, steps)
    probed = tuple(name for name in quantities if name not in OWN_QUANTITIES)
    tested = tuple(name for name in quantities if name in TEST_QUANTITIES)

    model.to(device)
    x, y = x.to(device), y.to(device)
    optim = instance("optimizer", optim_of(model.parameters(), lr), torch.optim.Optimizer, "a torch optimizer")
    watching = watch(model, every=every, quantities=probed) if probed else nullcontext(Record())
    with in_mode(model, training=True), watching as record:
        try:
            order = tqdm(batches(n, batch_size, steps, seed), total=steps, disable=silent)
            for step, index in enumerate(order):
                for group in optim.param_groups:
                    group["lr"] = lr * factor(step)
                logits = model(x[index])  # (N, K)
                loss = instance("loss_fn", loss_fn(logits, y[index]), Tensor, "to return a tensor")
                if loss.numel() != 1:
                    raise ValueError(f"loss_fn: expected one number, averaged over the batch, got {short(loss)}")
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
                if each_step is not None:
                    each_step(step, model)
                if tested and ((step + 1) % per_epoch == 0 or step + 1 == steps):
                    _test(model, split, loss_fn, device, tested, record, step)
        except KeyboardInterrupt as interrupt:
            interrupt.record = record  # type: ignore[attr-defined]  # filled by the watch on the way out
            raise
    return record


def batches(n: int, batch_size: int, steps: int, seed: int) -> Iterator[Tensor]:
    """`steps` index tensors: each epoch a new permutation of range(n), cut into batches."""
    n, batch_size, steps = whole("n", n), whole("batch_size", batch_size), whole("steps", steps, least=0)
    return _batches(n, batch_size, steps, torch.Generator().manual_seed(_seed(seed)))


def _batches(n: int, batch_size: int, steps: int, generator: torch.Generator) -> Iterator[Tensor]:
    done = 0
    while True:
        for index in torch.randperm(n, generator=generator).split(batch_size):
            if done == steps:
                return
            yield index
            done += 1


def schedule_factor(schedule: str | Callable[[int], float] | None, steps: int) -> Callable[[int], float]:
    """The function from the step to a factor on the learning rate that `fit`'s argument `schedule` means."""
    steps = whole("steps", steps)
    if schedule is None:
        return lambda step: 1.0
    if callable(schedule):
        factor = function("schedule", schedule, "step")
        return lambda step: real("schedule", factor(step))
    if choice("schedule", schedule, ("linear", "cosine")) == "linear":
        return lambda step: 1.0 - step / steps
    return lambda step: 0.5 * (1.0 + math.cos(math.pi * step / steps))


def train_part(split: Split) -> tuple[Tensor, Tensor]:
    """Training examples and their labels, which must be tensors."""
    x, y = instance("split", split, Split, "an unstuck.data.Split").x_train, split.y_train
    return _tensor(x), _tensor(y)


def test_part(split: Split) -> tuple[Tensor, Tensor]:
    """Test examples and their labels, which must be tensors."""
    x, y = instance("split", split, Split, "an unstuck.data.Split").x_test, split.y_test
    return _tensor(x), _tensor(y)


def _tensor(part: Tensor | np.ndarray) -> Tensor:
    if not isinstance(part, Tensor):
        raise TypeError(f"split: expected torch tensors, got {type(part).__name__}; is it split.numpy()?")
    return part


def check_quantities(quantities: Sequence[str]) -> tuple[str, ...]:
    """Names that a training loop, with its watch, can fill in."""
    quantities = names("quantities", quantities, QUANTITIES)
    for name in quantities:
        if QUANTITIES[name].scope == "network" and name not in OWN_QUANTITIES:
            raise ValueError(f"quantities: {name!r} belongs to the whole network, and no training loop fills it in")
        if QUANTITIES[name].scope == "unit":
            raise ValueError(f"quantities: {name!r} is a number for each unit; watch(model, units=True) keeps it")
    return quantities


def is_silent(progress: bool | None) -> bool:
    """Whether a progress bar is off: None shows one on a terminal only."""
    return not (sys.stderr.isatty() if progress is None else flag("progress", progress))


def _seed(seed: int) -> int:
    return whole("seed", seed, least=0, most=2**64 - 1)  # PyTorch's generators have 64 bits


def _device(device: str | torch.device) -> torch.device:
    try:
        return torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device: expected the name of one, such as 'cpu', got {short(device)} ({error})") from error


@torch.no_grad()
def _test(
    model: nn.Module,
    split: Split,
    loss_fn: Callable[[Tensor, Tensor], Tensor],
    device: str | torch.device,
    names: Sequence[str],
    record: Record,
    step: int,
    batch_size: int = 1000,
) -> None:
    x, y = (part.to(device) for part in test_part(split))
    with in_mode(model, training=False):
        logits = torch.cat([model(batch) for batch in x.split(batch_size)])  # (N, K)
    if "test_loss" in names:
        record.add(step, "", "test_loss", float(loss_fn(logits, y)))
    if "test_accuracy" in names:
        record.add(step, "", "test_accuracy", float((logits.argmax(1) == y).float().mean()))
