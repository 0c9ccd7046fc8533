"""What the tests of the clinic do with a program: train it with its own step, score it, compare it with its twin."""

import math
from functools import partial
from types import FunctionType

import torch
from torch import nn


def train(program, steps):
    """The losses of so many steps; they end where one raises (then with its name) or is not finite."""
    losses = []
    torch.manual_seed(0)  # dropout
    for step in range(steps):
        try:
            losses.append(
                float(program.train_step(program.model, program.optimizer, program.batch[step % len(program.batch)]))
            )
        except (IndexError, RuntimeError, ValueError) as error:
            return [*losses, type(error).__name__]
        if not math.isfinite(losses[-1]):
            break
    return losses


@torch.no_grad()
def evaluate(program):
    """Outputs, targets and loss on the validation data, in evaluation mode."""
    program.model.eval()
    x, y = program.validation
    outputs = program.model(x)
    return outputs.float(), y, float(program.loss_fn(outputs, y))


def score(program):
    """Between 0 (as good as guessing, or not finite) and 1 (perfect), whatever the task: see the branches."""
    outputs, y, loss = evaluate(program)
    if not (math.isfinite(loss) and outputs.isfinite().all()):
        return 0.0
    if y.shape == outputs.shape and set(y.unique().tolist()) == {0.0, 1.0} and y[0].numel() == 1:
        order = outputs.flatten().argsort().argsort().double() + 1  # 2 (area under the curve) - 1, from the ranks
        ones = y.flatten() == 1
        n, m = int(ones.sum()), int((~ones).sum())
        return 2 * float((order[ones].sum() - n * (n + 1) / 2) / (n * m)) - 1
    if y.dtype == torch.int64 or (y.ndim == 2 and torch.equal(y.sum(1), torch.ones(len(y)))):
        y = y if y.dtype == torch.int64 else y.argmax(1)
        recall = [float((outputs[y == k].argmax(1) == k).float().mean()) for k in y.unique()]
        return (sum(recall) / len(recall) - 1 / len(recall)) / (1 - 1 / len(recall))
    y = y.reshape(outputs.shape)
    return max(0.0, 1 - float((outputs - y).square().sum() / (y - y.mean(0)).square().sum()))  # R^2


def same(a, b):
    """Whether two functions, partials or values are the same in code and in everything that they hold."""
    if isinstance(a, FunctionType) and isinstance(b, FunctionType):
        cells = [[cell.cell_contents for cell in f.__closure__ or ()] for f in (a, b)]
        return a.__code__ == b.__code__ and a.__defaults__ == b.__defaults__ and same(*cells)
    if isinstance(a, partial) and isinstance(b, partial):
        return a.func is b.func and a.args == b.args and a.keywords == b.keywords
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, torch.Tensor):
        return a.shape == b.shape and a.dtype == b.dtype and torch.equal(a.nan_to_num(9), b.nan_to_num(9))
    return type(a) is type(b) and a == b


def same_values(a, b):
    """The same at the precision of the coarser of the two."""
    dtype = min(a.dtype, b.dtype, key=lambda dtype: dtype.itemsize)
    return same(a.to(dtype), b.to(dtype))


def layers(model: nn.Module):
    """Every module's name, class and plain attributes."""
    kept = (bool, int, float, str, tuple, slice, torch.dtype, FunctionType, type(None))
    return [
        (name, type(module), *((key, value) for key, value in vars(module).items() if isinstance(value, kept)))
        for name, module in model.named_modules()
    ]


def settings(optimizer, model):
    """The optimiser's class, its groups' settings, and the names of what it was not handed."""
    handed = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    groups = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    return type(optimizer), groups, [name for name, p in model.named_parameters() if id(p) not in handed]


def step_settings(program):
    """What the step holds besides the loss."""
    names = program.train_step.__code__.co_freevars
    held = [cell.cell_contents for cell in program.train_step.__closure__]
    return [(name, value) for name, value in zip(names, held, strict=True) if name != "loss_fn"]


def differences(a, b):
    """The parts in which two programs differ: data, network, weights, frozen, optimiser, loss, step."""
    held = [(p.model.state_dict(), [q.requires_grad for q in p.model.parameters()]) for p in (a, b)]
    shared = [key for key in held[0][0] if key in held[1][0] and held[0][0][key].shape == held[1][0][key].shape]
    parts = {
        "data": same([a.batch, a.validation], [b.batch, b.validation]),
        "network": same(layers(a.model), layers(b.model)),
        "weights": all(same_values(held[0][0][key], held[1][0][key]) for key in shared),
        "frozen": same(held[0][1], held[1][1]) or len(held[0][1]) != len(held[1][1]),
        "optimiser": same(settings(a.optimizer, a.model), settings(b.optimizer, b.model)),
        "loss": same(a.loss_fn, b.loss_fn),
        "step": same(step_settings(a), step_settings(b)),
    }
    return {name for name, equal in parts.items() if not equal}
