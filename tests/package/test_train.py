"""`fit` against loops written by hand, and what it must leave alone."""

import io
import math
import sys
from itertools import chain

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from unstuck.data import Split
from unstuck.evaluate import accuracy
from unstuck.init import initialise
from unstuck.models import mlp
from unstuck.train import fit

N, D, K = 50, 8, 3


@pytest.fixture
def split():
    generator = torch.Generator().manual_seed(0)

    def part(n):
        x = torch.randn(n, D, generator=generator)
        return x, (x[:, :K] + 0.3 * torch.randn(n, K, generator=generator)).argmax(1)

    return Split(*part(N), *part(40), classes=("a", "b", "c"), meta={})


def network(**changes):
    return initialise(mlp((D, 16, K), "tanh", **changes), "xavier", seed=1)


def same_weights(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


# --- against a loop written by hand ---

BY_HAND = {
    "sgd": lambda p, lr: torch.optim.SGD(p, lr=lr),
    "momentum": lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9),
    "adam": lambda p, lr: torch.optim.Adam(p, lr=lr),
}
FACTORS = {
    None: lambda t, total: 1.0,
    "linear": lambda t, total: 1 - t / total,
    "cosine": lambda t, total: (1 + math.cos(math.pi * t / total)) / 2,
    "warm-up": lambda t, total: min(1.0, (t + 1) / 5),
}


def train_by_hand(model, split, epochs, batch_size, lr, optimizer, schedule, seed):
    """What a reader would write: an epoch is a permutation, its last batch is what remains."""
    optim = BY_HAND[optimizer](model.parameters(), lr)
    generator = torch.Generator().manual_seed(seed)
    total, losses, accuracies = epochs * math.ceil(N / batch_size), [], []
    for _ in range(epochs):
        order = torch.randperm(N, generator=generator)
        for start in range(0, N, batch_size):
            batch = order[start : start + batch_size]
            for group in optim.param_groups:
                group["lr"] = lr * FACTORS[schedule](len(losses), total)
            optim.zero_grad()
            logits = model(split.x_train[batch])
            loss = cross_entropy(logits, split.y_train[batch])
            loss.backward()
            optim.step()
            losses.append(float(loss.detach()))
            accuracies.append(np.mean(logits.detach().numpy().argmax(1) == split.y_train[batch].numpy()))
    return losses, accuracies


@pytest.mark.parametrize("schedule", FACTORS)
@pytest.mark.parametrize("optimizer", BY_HAND)
def test_fit_equals_a_hand_written_loop_bit_for_bit(split, optimizer, schedule):
    given = (lambda t: FACTORS["warm-up"](t, None)) if schedule == "warm-up" else schedule
    ours, theirs = network(), network()
    record = fit(ours, split, epochs=3, batch_size=16, lr=0.05, optimizer=optimizer, schedule=given, seed=7)
    losses, accuracies = train_by_hand(theirs, split, 3, 16, 0.05, optimizer, schedule, 7)
    assert same_weights(ours, theirs)
    steps, values = record.get("loss")
    assert steps.tolist() == list(range(12)) and values.tolist() == losses  # 4 batches an epoch: 16, 16, 16, 2
    np.testing.assert_allclose(record.get("accuracy")[1], accuracies, atol=1e-7)
    assert record.stopped is None


def test_fit_learns(split):
    model = network()
    record = fit(model, split, epochs=30, batch_size=10, lr=0.05, optimizer="adam")
    assert record.last("loss") < 0.3 * record.get("loss")[1][0]
    assert accuracy(model, split.x_test, split.y_test) > 0.7  # a guess: 0.33


def test_another_loss_function(split):
    def squared(logits, y):
        return ((logits - nn.functional.one_hot(y, K)) ** 2).mean()

    model = network()
    start = float(squared(model(split.x_train), split.y_train).detach())
    record = fit(model, split, steps=1, batch_size=N, lr=0.1, loss_fn=squared)
    assert record.last("loss") == pytest.approx(start, rel=1e-6)


def test_frozen_parameters_stay(split):
    model = network()
    model.linear1.requires_grad_(False)
    before, last = model.linear1.weight.clone(), model.linear2.weight.clone()
    fit(model, split, steps=3, batch_size=10, lr=0.1)
    assert torch.equal(model.linear1.weight, before) and not torch.equal(model.linear2.weight, last)


def test_rate_zero_changes_nothing(split):
    model = network()
    fit(model, split, steps=3, batch_size=10, lr=0.0)
    assert same_weights(model, network())


# --- batches ---


class Spy(nn.Module):
    """Remembers which examples it was shown; an example's first feature is its number."""

    def __init__(self):
        super().__init__()
        self.linear, self.batches = nn.Linear(D, K), []

    def forward(self, x):
        self.batches.append(x[:, 0].long().tolist())
        return self.linear(x * 0)


@pytest.fixture
def numbered(split):
    x = split.x_train.clone()
    x[:, 0] = torch.arange(N)
    return Split(x, split.y_train, split.x_test, split.y_test, classes=split.classes, meta={})


def batches(numbered, **arguments):
    spy = Spy()
    fit(spy, numbered, **{"epochs": 2, "batch_size": 15, "lr": 0.1} | arguments)
    return spy.batches


def test_an_epoch_shows_every_example_once_and_the_last_batch_is_the_rest(numbered):
    shown = batches(numbered)
    assert [len(batch) for batch in shown] == [15, 15, 15, 5] * 2
    first, second = list(chain(*shown[:4])), list(chain(*shown[4:]))
    assert sorted(first) == sorted(second) == list(range(N))
    assert first != second and first != list(range(N))


def test_the_order_depends_on_the_seed_alone(numbered):
    shown = batches(numbered, seed=3)
    torch.manual_seed(99)
    assert batches(numbered, seed=3, lr=0.5, optimizer="adam", schedule="cosine", every=2) == shown
    assert batches(numbered, seed=np.int64(3), quantities=("grad_norm",)) == shown
    assert batches(numbered, seed=4) != shown


def test_steps_and_epochs_are_two_ways_to_say_it(numbered):
    assert batches(numbered, epochs=None, steps=8) == batches(numbered)
    assert batches(numbered, epochs=None, steps=6) == batches(numbered)[:6]
    assert [len(batch) for batch in batches(numbered, epochs=3, batch_size=N)] == [N] * 3


def test_numpy_integers_are_integers(numbered):
    expected = batches(numbered, epochs=None, steps=5, batch_size=20)
    assert batches(numbered, epochs=None, steps=np.int64(5), batch_size=np.int32(20), every=np.int64(2)) == expected
    assert batches(numbered, epochs=np.int64(2), batch_size=25, lr=np.float32(0.1)) == batches(
        numbered, batch_size=25
    )


# --- what is recorded ---


def test_every(split):
    arguments = {"epochs": 2, "batch_size": 10, "lr": 0.1, "quantities": ("grad_norm",)}
    each, third = fit(network(), split, **arguments), fit(network(), split, every=3, **arguments)
    assert third.get("loss")[0].tolist() == [0, 3, 6, 9]
    for quantity, layer in (("loss", ""), ("accuracy", ""), ("grad_norm", "linear1")):
        assert third.get(quantity, layer)[0].tolist() == [0, 3, 6, 9]
        assert third.get(quantity, layer)[1].tolist() == each.get(quantity, layer)[1][::3].tolist()


def test_test_quantities_come_after_each_epoch_and_at_the_end(split):
    model = network()
    both = ("test_loss", "test_accuracy")
    record = fit(model, split, steps=8, batch_size=20, lr=0.1, quantities=both, every=5)
    assert record.get("test_loss")[0].tolist() == record.get("test_accuracy")[0].tolist() == [2, 5, 7]
    with torch.no_grad():
        logits = model.eval()(split.x_test)
    assert record.last("test_accuracy") == pytest.approx(np.mean(logits.numpy().argmax(1) == split.y_test.numpy()))
    assert record.last("test_loss") == pytest.approx(float(cross_entropy(logits, split.y_test)), rel=1e-6)
    one_epoch = network()
    fit(one_epoch, split, epochs=1, batch_size=20, lr=0.1)
    assert record.get("test_accuracy")[1][0] == pytest.approx(accuracy(one_epoch, split.x_test, split.y_test))


def test_an_epoch_that_is_the_end_is_tested_once(split):
    record = fit(network(), split, epochs=2, batch_size=25, lr=0.1, quantities=["test_accuracy"])
    assert record.get("test_accuracy")[0].tolist() == [1, 3] and record.layers("test_loss") == []


def test_testing_changes_nothing_of_the_training(split):
    tested, plain = network(norm="batch"), network(norm="batch")
    with_tests = fit(tested, split, epochs=2, batch_size=10, lr=0.1, quantities=("test_loss", "update_ratio"))
    without = fit(plain, split, epochs=2, batch_size=10, lr=0.1, quantities=("update_ratio",))
    assert same_weights(tested, plain)  # BatchNorm's running statistics among them
    for layer in ("linear1", "linear2"):
        assert with_tests.get("update_ratio", layer)[1].tolist() == without.get("update_ratio", layer)[1].tolist()


def test_probed_quantities_agree_with_a_step_by_hand(split):
    quantities = ("grad_norm", "weight_norm", "update_ratio", "act_mean")
    record = fit(network(), split, steps=1, batch_size=N, lr=0.1, quantities=quantities)
    model = network()
    cross_entropy(model(split.x_train), split.y_train).backward()
    for layer in ("linear1", "linear2"):
        weight = model.get_submodule(layer).weight
        g, w = float(weight.grad.norm()), float(weight.detach().norm())
        assert record.last("grad_norm", layer) == pytest.approx(g, rel=1e-5)
        assert record.last("weight_norm", layer) == pytest.approx(w, rel=1e-5)
        assert record.last("update_ratio", layer) == pytest.approx(0.1 * g / w, rel=1e-4)
    a = torch.tanh(model.linear1(split.x_train)).detach()
    assert record.last("act_mean", "act1") == pytest.approx(float(a.mean()), abs=1e-6)


def test_watching_changes_nothing_of_the_training(split):
    watched, plain = network(), network()
    quantities = ("act_mean", "dead", "grad_norm", "update_ratio", "loss")
    fit(watched, split, epochs=2, batch_size=10, lr=0.1, optimizer="adam", quantities=quantities)
    fit(plain, split, epochs=2, batch_size=10, lr=0.1, optimizer="adam")
    assert same_weights(watched, plain)


# --- training that ends early ---


def going_wrong(at, value):
    """A loss function whose value is not finite at one call."""
    calls = []

    def loss_fn(logits, y):
        calls.append(logits.requires_grad)  # False when it is the test loss
        return cross_entropy(logits, y) + (value if sum(calls) == at + 1 else 0.0)

    return loss_fn


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("quantities", [(), ("grad_norm", "test_loss")])
def test_a_loss_that_is_not_finite_ends_the_training(split, value, quantities):
    model, until = network(), network()
    arguments = {"batch_size": 10, "lr": 0.1, "quantities": quantities}
    record = fit(model, split, steps=20, loss_fn=going_wrong(7, value), **arguments)
    assert record.stopped == (7, f"the loss is {value}")
    steps, losses = record.get("loss")
    assert steps.tolist() == list(range(8))
    np.testing.assert_array_equal(losses[-1], value)
    assert np.isfinite(losses[:-1]).all()
    fit(until, split, steps=7, **arguments)
    assert same_weights(model, until)  # the step that went wrong was not taken
    if quantities:
        assert record.get("grad_norm", "linear1")[0].tolist() == list(range(7))
        assert record.get("test_loss")[0].tolist() == [4]


def test_a_rate_far_too_high_ends_in_stopped(split):
    record = fit(mlp((D, 16, K)), split, steps=200, batch_size=10, lr=1e30)
    step, reason = record.stopped
    assert 0 < step < 200 and "the loss is" in reason and not math.isfinite(record.last("loss"))


def test_stopped_is_set_between_recorded_steps_too(split):
    record = fit(network(), split, steps=20, batch_size=10, lr=0.1, every=5, loss_fn=going_wrong(7, math.nan))
    assert record.stopped[0] == 7 and record.get("loss")[0].tolist() == [0, 5]


# --- what is left alone ---


def hooks(model):
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return [hook for module in model.modules() for kind in kinds for hook in getattr(module, kind)]


def test_the_global_random_states_are_untouched(split):
    model = network()
    torch_state = torch.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002  (the global state is what is tested)
    fit(model, split, epochs=2, batch_size=10, lr=0.1, quantities=("act_std", "test_loss"))
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


@pytest.mark.parametrize("training", [True, False])
def test_every_module_has_its_mode_back(split, training):
    model = network(norm="batch").train(training)
    model.norm1.train(not training)
    before = [module.training for module in model.modules()]
    seen = []
    model.norm1.register_forward_pre_hook(lambda module, args: seen.append(module.training))
    fit(model, split, steps=2, batch_size=N, lr=0.1, quantities=("test_loss",))
    assert [module.training for module in model.modules()] == before
    assert seen == [True, False, True, False]  # training, test, training, test


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("at", [0, 3])
def test_an_exception_leaves_no_hook_and_gives_the_mode_back(split, at, training):
    calls = []

    def loss_fn(logits, y):
        calls.append(1)
        if len(calls) > at:
            raise ZeroDivisionError("boom")
        return cross_entropy(logits, y)

    model = network().train(training)
    with pytest.raises(ZeroDivisionError, match="boom"):
        fit(model, split, steps=9, batch_size=10, lr=0.1, loss_fn=loss_fn, quantities=("act_mean", "grad_norm"))
    assert hooks(model) == [] and all(module.training is training for module in model.modules())


@pytest.mark.parametrize("where", ["loss_fn", "schedule", "each_step"])
@pytest.mark.parametrize("quantities", [(), ("grad_norm", "act_mean", "update_ratio", "test_loss")])
def test_an_interrupt_hands_over_the_rows_so_far(split, where, quantities):
    def interrupted(function):
        calls = []

        def run(*args):
            calls.append(1)
            if len(calls) > 7:
                raise KeyboardInterrupt
            return function(*args)

        return run

    functions = {"loss_fn": cross_entropy, "schedule": lambda step: 1.0, "each_step": lambda step, model: None}
    arguments = {
        "steps": 20,
        "batch_size": 25,
        "lr": 0.1,
        "quantities": tuple(q for q in quantities if q != "test_loss"),
    }
    if where != "loss_fn":  # which is called for the test loss, too
        arguments["quantities"] = quantities
    model, state = network().train(False), torch.get_rng_state()
    with pytest.raises(KeyboardInterrupt) as caught:
        fit(model, split, **arguments, **{where: interrupted(functions[where])})
    assert not model.training and hooks(model) == [] and torch.equal(torch.get_rng_state(), state)
    record, whole = caught.value.record, fit(network(), split, **arguments)
    assert set(record.quantities()) == {"loss", "accuracy", *arguments["quantities"]} and record.stopped is None
    for quantity in record.quantities():
        for layer in whole.layers(quantity):
            (steps, values), (expected_steps, expected) = record.get(quantity, layer), whole.get(quantity, layer)
            assert steps.tolist() == expected_steps.tolist()[: len(steps)]
            assert values.tolist() == expected.tolist()[: len(values)]
    seven = {"loss": 7, "act_mean": 7, "grad_norm": 7, "update_ratio": 7, "test_loss": 3}
    eight = {"loss": 8, "act_mean": 8, "grad_norm": 8, "update_ratio": 8, "test_loss": 3}
    expected = {"loss_fn": seven | {"act_mean": 8}, "schedule": seven, "each_step": eight}[where]
    for quantity, count in expected.items():
        if quantity in record.quantities():
            assert len(record.get(quantity, record.layers(quantity)[0])[0]) == count, quantity


def test_no_hook_remains_after_training(split):
    model = network()
    fit(model, split, steps=3, batch_size=10, lr=0.1, quantities=("act_mean", "grad_norm", "update_ratio"))
    assert hooks(model) == []


def test_the_split_is_not_changed(split):
    before = [t.clone() for t in (split.x_train, split.y_train, split.x_test, split.y_test)]
    fit(network(), split, epochs=1, batch_size=10, lr=0.1, quantities=("test_loss",))
    for old, new in zip(before, (split.x_train, split.y_train, split.x_test, split.y_test), strict=True):
        assert torch.equal(old, new)


# --- progress ---


def test_progress_is_silent_where_there_is_no_terminal(split, capsys):
    for progress in (None, False):
        fit(network(), split, steps=2, batch_size=10, lr=0.1, progress=progress)
    assert capsys.readouterr() == ("", "")


def test_progress_shows_a_bar_when_asked_and_on_a_terminal(split, capsys, monkeypatch):
    fit(network(), split, steps=2, batch_size=10, lr=0.1, progress=True)
    out, bar = capsys.readouterr()
    assert out == "" and "2/2" in bar
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    fit(network(), split, steps=2, batch_size=10, lr=0.1)
    assert "2/2" in terminal.getvalue()


# --- wrong arguments ---


@pytest.mark.parametrize(
    ("wrong", "error", "names"),
    [
        ({"steps": None}, ValueError, "steps, epochs: give exactly one"),
        ({"epochs": 2}, ValueError, "steps, epochs: give exactly one"),
        ({"steps": 0}, ValueError, "steps: .* got 0"),
        ({"steps": -3}, ValueError, "steps"),
        ({"steps": 1.5}, TypeError, "steps: expected an integer, got 1.5"),
        ({"steps": None, "epochs": 0}, ValueError, "epochs: .* got 0"),
        ({"steps": None, "epochs": 0.5}, TypeError, "epochs"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"batch_size": N + 1}, ValueError, f"batch_size: .*at most {N}, got {N + 1}"),
        ({"batch_size": 10.0}, TypeError, "batch_size"),
        ({"every": 0}, ValueError, "every"),
        ({"every": 2.5}, TypeError, "every"),
        ({"lr": -0.1}, ValueError, "lr: .*got -0.1"),
        ({"lr": math.nan}, ValueError, "lr"),
        ({"lr": math.inf}, ValueError, "lr"),
        ({"lr": "0.1"}, TypeError, "lr"),
        ({"optimizer": "Adam"}, ValueError, "optimizer: 'Adam' is not one of .*'adam'"),
        ({"schedule": "step"}, ValueError, "schedule: 'step' is not one of"),
        ({"schedule": 0.5}, TypeError, "schedule"),
        ({"quantities": ("grad_nrom",)}, ValueError, r"quantities: \['grad_nrom'\]"),
        ({"quantities": "loss"}, TypeError, "quantities: .*'loss'"),
        ({"seed": 1.5}, TypeError, "seed"),
        ({"seed": -1}, ValueError, "seed"),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_wrong_arguments_are_named_before_anything_happens(split, wrong, error, names, training):
    model = network().train(training)

    def loss_fn(logits, y):
        raise AssertionError("training began")

    with pytest.raises(error, match=f"^{names}"):
        fit(model, split, **{"steps": 2, "batch_size": 10, "lr": 0.1, "loss_fn": loss_fn} | wrong)
    assert same_weights(model, network()) and all(module.training is training for module in model.modules())
    assert hooks(model) == []


def test_quantities_may_come_from_a_generator(split):
    names = (name for name in ("test_loss", "grad_norm"))
    record = fit(network(), split, steps=2, batch_size=10, lr=0.1, quantities=names)
    assert set(record.quantities()) == {"loss", "accuracy", "test_loss", "grad_norm"}


def test_a_split_of_arrays_is_refused(split):
    with pytest.raises(TypeError, match=r"^split: expected torch tensors, got ndarray"):
        fit(network(), split.numpy(), steps=2, batch_size=10, lr=0.1)


def test_a_model_without_parameters_is_refused_with_its_mode_kept(split):
    model = nn.Flatten().eval()
    with pytest.raises(ValueError, match="empty parameter list"):
        fit(model, split, steps=2, batch_size=10, lr=0.1)
    assert not model.training
