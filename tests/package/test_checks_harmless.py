"""Nothing is changed: weights, buffers, gradients, modes, the optimiser, random states; also after an exception."""

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from unstuck.checks import diagnose, find_nan, first_loss, overfit_tiny, rate_range
from unstuck.checks.program import examined


def program():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    x, y = torch.randn(40, 5), torch.randint(3, (40,))
    F.cross_entropy(model(x), y).backward()
    optimizer.step()
    model[3].eval()  # a mode of its own
    model[0].bias.requires_grad_(False)
    return model, optimizer, x, y


def state(model, optimizer):
    tensors = [*model.state_dict().values(), *(p.grad for p in model.parameters() if p.grad is not None)]
    groups = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    return {
        "tensors": [tensor.clone() for tensor in tensors],
        "optimizer": copy.deepcopy(optimizer.state_dict()["state"]),
        "groups": groups,
        "modes": [module.training for module in model.modules()],
        "required": [p.requires_grad for p in model.parameters()],
        "hooks": [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()],
        "random": (random.getstate(), torch.get_rng_state(), torch.get_default_dtype(), torch.is_grad_enabled()),
        "numpy": np.random.get_state()[1],  # noqa: NPY002
    }


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(p, q) for p, q in zip(a, b, strict=True))
    return a == b


def check(call, model, optimizer, x, y):
    grads, inputs = [p.grad for p in model.parameters()], (x.clone(), y.clone())
    before = state(model, optimizer)
    call()
    after = state(model, optimizer)
    for part, value in before.items():
        assert same(value, after[part]), part
    assert all(p.grad is g for p, g in zip(model.parameters(), grads, strict=True))
    assert torch.equal(x, inputs[0]) and torch.equal(y, inputs[1])


def plain_step(model, optimizer, batch):
    np.random.rand()  # noqa: NPY002
    random.random()
    optimizer.zero_grad()
    loss = F.cross_entropy(model(batch[0]), batch[1])
    loss.backward()
    optimizer.step()
    return loss


def test_a_diagnosis_changes_nothing():
    model, optimizer, x, y = program()
    given = {"loss_fn": F.cross_entropy, "optimizer": optimizer, "train_step": plain_step, "validation": (x, y)}
    check(lambda: diagnose(model, (x, y), **given), model, optimizer, x, y)


def test_what_a_step_does_to_the_model_itself_is_put_back():
    model, optimizer, x, y = program()

    def step(_, __, batch):  # closes over the original, and leaves it in evaluation mode
        loss = plain_step(model, optimizer, batch)
        model.eval()
        return loss

    check(lambda: diagnose(model, (x, y), train_step=step, optimizer=optimizer), model, optimizer, x, y)


class Meter:
    """What some people carry along: a sum, and the values."""

    def __init__(self):
        self.total, self.values, self.last = 0.0, [], None

    def add(self, value):
        self.total += value
        self.values.append(value)
        self.last = {"value": value}


CALLS = 0


@pytest.mark.parametrize("fails", [False, True])
def test_schedulers_and_counters_of_a_step_are_put_back(fails):
    model, optimizer, x, y = program()
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=60)
    then = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=1)
    meter, calls, seen, running, kept = Meter(), 0, {"steps": []}, torch.zeros(2), np.zeros(3)

    def step(_, __, batch):
        global CALLS
        nonlocal calls
        calls, CALLS = calls + 1, CALLS + 1
        loss = plain_step(_, __, batch)
        meter.add(loss.item())
        seen["steps"].append(calls)
        running.add_(1)
        kept[0] += 1
        schedule.step()
        then.step(loss.item())
        if fails and calls > 10:
            raise RuntimeError("no more")
        return loss

    before = (copy.deepcopy(schedule.state_dict()), copy.deepcopy(then.state_dict()))
    check(
        lambda: diagnose(model, (x, y), train_step=step, loss_fn=F.cross_entropy, optimizer=optimizer, steps=40),
        *(model, optimizer, x, y),
    )
    assert before == (schedule.state_dict(), then.state_dict())
    assert schedule.optimizer is optimizer and then.optimizer is optimizer
    assert (CALLS, calls, seen, meter.total, meter.values, meter.last) == (0, 0, {"steps": []}, 0.0, [], None)
    assert not running.any() and not kept.any()


def test_a_scheduler_in_the_step_sets_the_rate_of_the_copy():
    model, optimizer, x, y = program()
    schedule, rates = torch.optim.lr_scheduler.StepLR(optimizer, 10, 0.1), set()

    def step(net, given, batch):
        loss = plain_step(net, given, batch)
        schedule.step()
        assert schedule.optimizer is given and optimizer is given  # whatever name it has
        rates.add(given.param_groups[0]["lr"])
        return loss

    with examined(model, (x, y), train_step=step, loss_fn=F.cross_entropy, optimizer=optimizer) as made:
        for scale in (1.0, 0.1):
            net, twin = made.fresh(scale=scale)
            for _ in range(20):
                made.step(net, twin, made.batches[0])
            assert twin.param_groups[0]["lr"] == pytest.approx(1e-4 * scale)
            assert schedule.last_epoch == 0 and not rates  # outside a step everything is as it was


def test_a_step_that_closes_over_its_model_trains_the_copy():
    model, optimizer, x, y = program()
    body, weights = model[0], list(model.parameters())

    def step(_, __, batch):
        assert any(w is body.weight for w in weights) and any(p is body.weight for p in model.parameters())
        return plain_step(model, optimizer, batch)

    report = diagnose(model, (x, y), train_step=step, loss_fn=F.cross_entropy, optimizer=optimizer)
    assert not {"no_step", "parameters_missing"} & {finding.fault for finding in report.of("failure")}
    assert body is model[0]


def test_an_error_changes_nothing():
    model, optimizer, x, y = program()

    def fails():
        with pytest.raises(ValueError, match=r"model, batch"):
            diagnose(model, (x[:, :3], y), optimizer=optimizer)

    check(fails, model, optimizer, x, y)


@pytest.mark.parametrize("trial", [find_nan, first_loss, overfit_tiny, rate_range])
def test_a_trial_changes_nothing(trial):
    model, optimizer, x, y = program()
    check(lambda: trial(model, (x, y), loss_fn=F.cross_entropy), model, optimizer, x, y)


def test_an_activation_in_place_leaves_the_inputs():
    model, x, y = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(5, 3)), torch.randn(20, 5), torch.randint(3, (20,))
    check(lambda: diagnose(model, (x, y)), model, torch.optim.SGD(model.parameters(), 0.1), x, y)


def test_the_same_call_gives_the_same_report():
    model, optimizer, x, y = program()
    texts = {str(diagnose(model, (x, y), loss_fn=F.cross_entropy, optimizer=optimizer)) for _ in range(2)}
    assert len(texts) == 1


class Locked(nn.Linear):
    def __deepcopy__(self, memo):
        raise RuntimeError("not to be copied")


@pytest.mark.parametrize(
    ("error", "argument", "given"),
    [
        (ValueError, "model", {"model": Locked(5, 3)}),
        (ValueError, "model", {"model": nn.LazyLinear(3)}),
        (TypeError, "model", {"model": F.relu}),
        (TypeError, "batch", {"batch": torch.zeros(3)}),
        (TypeError, "batch", {"batch": [1, 2]}),
        (ValueError, "batch", {"batch": []}),
        (TypeError, "loss_fn", {"loss_fn": "mse"}),
        (TypeError, "optimizer", {"optimizer": "adam"}),
        (TypeError, "train_step", {"train_step": lambda model: None}),
        (TypeError, "validation", {"validation": 3}),
        (TypeError, "record", {"record": []}),
        (ValueError, "steps", {"steps": 0}),
        (ValueError, "seed", {"seed": -1}),
        (ValueError, "device", {"device": "nowhere"}),
    ],
)
def test_a_bad_argument_is_named(error, argument, given):
    good = {"model": nn.Linear(5, 3), "batch": (torch.randn(4, 5), torch.randint(3, (4,)))}
    with pytest.raises(error, match=rf"^[\w, ]*\b{argument}\b[\w, ]*:"):
        diagnose(**good | given)


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
def test_a_compiled_model_that_cannot_be_watched_is_refused():
    model = nn.Sequential(torch.jit.script(nn.Linear(5, 3)))
    with pytest.raises(ValueError, match=r"^model: .* torch\.jit"):
        diagnose(model, (torch.randn(4, 5), torch.randint(3, (4,))))
