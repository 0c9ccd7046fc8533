"""A watch changes nothing, leaves nothing behind, and never costs the user a run."""

import copy
import functools
import inspect
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.func import vmap
from torch.nn.functional import cross_entropy
from torch.nn.utils import prune
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint
from watching import (
    Twice,
    X,
    Y,
    hooks_of,
    manual_in_place,
    network,
    same,
    sgd_step,
    state_of,
    train,
    values,
    watched_and_not,
)

from unstuck import graph, measure, parts, private
from unstuck.probes import watch
from unstuck.probes.functional import FunctionalActivations
from unstuck.probes.log import Log, Stream, UnitLog
from unstuck.probes.parameters import Gradients, Step, Updates
from unstuck.probes.watcher import Watcher

# ------------------------------------------------------------------------------------- nothing is changed


@pytest.mark.parametrize("every", [1, 2])
def test_training_is_bit_identical_with_and_without(every):
    def run(watching):
        torch.manual_seed(3)
        model = Twice()
        optim = torch.optim.Adam(model.parameters(), 0.05)
        outputs = []

        def steps():
            for step in range(6):
                optim.zero_grad()
                out = model(X)
                out.mul_(1.5)  # the user may overwrite the output
                cross_entropy(out, Y).backward()
                optim.step()
                outputs.append(out.detach().clone())
                model.eval()
                with torch.no_grad():
                    outputs.append(model(X + step).clone())
                model.train()

        if watching:
            with watch(model, every=every, units=True), watch(model.norm), watch(model, quantities=("dead",)):
                steps()
        else:
            steps()
        return state_of(model, optim.state, outputs)

    bare, watched = run(False), run(True)
    assert same(bare, watched) and len(bare[0]) > 20


@pytest.mark.parametrize("failure", [None, "forward", "second forward", "backward", "block"])
def test_no_hook_remains(failure):
    model = Twice()
    before = hooks_of(model)

    def block():
        with watch(model):
            if failure == "forward":
                model("no tensor")
            out = model(X)
            assert hooks_of(model) != before
            if failure == "second forward":
                model("no tensor")
            if failure == "backward":
                out.backward()  # not a scalar
            if failure == "block":
                raise RuntimeError
            out.sum().backward()

    if failure:
        with pytest.raises((RuntimeError, TypeError)):
            block()
    else:
        block()
    assert hooks_of(model) == before


def autocast():
    return torch.autocast("cpu", torch.bfloat16)


@contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


class Offload(saved_tensors_hooks):
    def __init__(self):
        super().__init__(lambda tensor: tensor.clone(), lambda tensor: tensor)


@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
@pytest.mark.parametrize("mode", [autocast, deterministic, Offload, torch.autograd.detect_anomaly])
def test_modes_of_pytorch_that_look_at_every_operation(mode):
    def loop(model):
        with mode():
            return train(model, steps=4)

    _, record = watched_and_not(Twice, loop, units=True)
    assert record.get("act_mean", "act")[0].tolist() == record.get("grad_norm", "first")[0].tolist() == [0, 1, 2, 3]
    assert record.meta["failed"] == []


def test_a_backward_after_the_end_is_not_recorded():
    model = network()
    watching = watch(model)
    with watching as record:
        loss = cross_entropy(model(X), Y)
        watcher = watching.gen.gi_frame.f_locals["watcher"]
    rows = record.rows
    loss.backward()
    assert record.rows == rows and "grad_norm" not in record.quantities()
    assert watcher.gradients.marks and not any(mark.hooks_dict_ref() for mark in watcher.gradients.marks)


def test_marks_on_graphs_do_not_pile_up():
    model = network()
    watching = watch(model)
    with watching:
        watcher = watching.gen.gi_frame.f_locals["watcher"]
        marks = []
        for _ in range(50):
            model(X)
            marks.append(len(watcher.gradients.marks))
        assert marks[1] == marks[-1] < 10


def test_nothing_is_copied_to_the_host_while_it_trains():
    class Copies(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.seen = []

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if "_local_scalar_dense" in str(function):
                self.seen.append(function)
            return function(*args, **(kwargs or {}))

    model = network(activation="tanh")
    with watch(model, units=True), Copies() as copies:
        for _ in range(40):
            cross_entropy(model(X), Y).backward()
            manual_in_place(model)
        assert copies.seen == []
        model(X).sum().item()
        assert len(copies.seen) == 1  # so the counter counts


def test_two_watches_and_a_watched_part():
    model = Twice()
    with watch(model) as whole, watch(model, every=2) as half, watch(model.norm) as part:
        train(model, steps=4)
    assert whole.get("act_mean", "act")[0].tolist() == [0, 1, 2, 3]
    assert half.get("act_mean", "act")[0].tolist() == [0, 2]
    np.testing.assert_array_equal(values(part, "grad_norm", ""), values(whole, "grad_norm", "norm"))
    np.testing.assert_array_equal(values(part, "update_ratio", ""), values(whole, "update_ratio", "norm"))


# ------------------------------------------------------------------------------------------------ torch.compile


QUIET = "ignore:Using `torch.compile\\(module\\)` when there are global hooks"
"""What PyTorch itself says where compiled code is called while hooks are there."""


@pytest.fixture
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def test_compiled_code_is_refused_in_one_sentence(fresh_compiler):
    model = network()
    compiled, whole = torch.compile(model, backend="eager"), network()
    whole.compile(backend="eager")
    part = nn.Sequential(nn.Linear(8, 8), torch.compile(network(), backend="eager"))
    for sick in (compiled, whole, part):
        with pytest.raises(ValueError, match=r"model: compiled code calls no hooks; watch and train the module"):
            watch(sick)


@pytest.mark.filterwarnings(QUIET)
@pytest.mark.parametrize("fullgraph", [False, True])
@pytest.mark.parametrize("compiled_before", [False, True])
def test_the_original_of_a_compiled_model_is_trained_as_ever_and_a_warning_says_so(
    fresh_compiler, fullgraph, compiled_before
):
    states = []
    for watching in (False, True):
        torch._dynamo.reset()
        model = network()
        compiled = torch.compile(model, backend="eager", fullgraph=fullgraph)
        left = train(compiled, steps=int(compiled_before))
        if watching:
            with pytest.warns(UserWarning, match="never called as model.*compiled code"), watch(model) as record:
                left += train(compiled)
            assert len(record) == 0 and record.meta["failed"] == []
        else:
            left += train(compiled)
        left += train(compiled, steps=1)
        states.append(state_of(model, left))
    assert same(*states)


@pytest.mark.filterwarnings(QUIET)
def test_a_model_that_is_compiled_in_the_block(fresh_compiler):
    def loop(model):
        left = train(model, steps=2)
        model.compile(backend="eager")
        return left + train(model, steps=2)

    _, record = watched_and_not(network, loop)
    assert {step for step, *_ in record.rows} == {0, 1}


# --------------------------------------------------------------------------- an empty record says why


class Checkpointed(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return checkpoint(self.model, x.requires_grad_(), use_reentrant=True)


def evaluated(model):
    model.eval()
    for _ in range(3):
        model(X).sum().backward()


def without_gradients(model):
    with torch.no_grad():
        model(X)


def only_forward(model):
    model.forward(X).sum().backward()


def checkpointed(model):
    Checkpointed(model)(X.clone()).sum().backward()


def raises(model):
    for _ in range(2):
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            model(X[:, :3])


def mapped(model):
    vmap(model)(torch.stack([X, X]))


def copied(model):
    train(copy.deepcopy(model))


def unused(model):
    pass


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (evaluated, r"of Sequential; of its forwards 3 in evaluation mode \(model\.train\(\)"),
        (without_gradients, r"1 without gradients \(under torch\.no_grad"),
        (only_forward, r"never called as model\(x\): hooks see neither model\.forward\(x\)"),
        (checkpointed, r"1 without gradients .*checkpoint.* and 1 inside a backward pass"),
        (raises, r"none of the observed ones among its 2 forwards came to its end"),
        (mapped, r"1 inside a transform of torch\.func"),
        (copied, r"never called as .* nor a copy"),
        (unused, r"never called as "),
    ],
)
def test_an_empty_record_says_why_once(block, message):
    model = network()
    with pytest.warns(UserWarning, match=message) as caught, watch(model) as record:
        block(model)
    assert len(caught) == 1 and caught[0].filename == __file__ and len(record) == 0


def test_a_record_of_nothing_that_was_asked_for_says_so():
    model = nn.Sequential(nn.Linear(8, 3))
    with pytest.warns(UserWarning, match="nothing in them that is asked for"), watch(model, quantities=("dead",)):
        train(model)


@pytest.mark.filterwarnings("error")
def test_no_warning_where_something_was_recorded_or_the_block_raised():
    model = network()
    with watch(model):
        model(X)
    with pytest.raises(KeyError), watch(model):
        raise KeyError


# --------------------------------------------------------------------------- hooks of ours that fail


def methods():
    """Every method of the watch's own classes and every function that they call."""
    classes = (Watcher, Gradients, Updates, Step, Log, Stream, UnitLog, FunctionalActivations)
    classes += (parts.Measured, parts.UnitAxis, parts.Structure, measure.Signal, measure.Tensors)
    for owner in classes:
        for name, value in vars(owner).items():
            # what is measured of the whole network (loss, accuracy) only a loop can hand over: Log.network
            if inspect.isfunction(value) and not name.startswith("__") and name not in ("attempt", "fail", "network"):
                yield owner, name
    for owner in (parts, graph, private, measure):
        for name, value in vars(owner).items():
            if inspect.isfunction(value) and value.__module__ == owner.__name__:
                yield owner, name


class Swish(nn.Module):
    """An activation of somebody's own, so that what decides about it runs too."""

    def forward(self, x):
        return x * torch.sigmoid(x)


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, grad):
        return grad * 3 * ctx.saved_tensors[0] ** 2


class Cubed(nn.Module):
    def forward(self, x):
        return Cube.apply(x)


class Turned(nn.Module):
    def forward(self, x):
        return x.unflatten(1, (1, -1)).transpose(-1, 1).permute(0, -1, 1).flatten(1)


def small():
    return nn.Sequential(nn.Linear(8, 7), Swish(), Turned(), nn.Tanh(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 3))


def changing(model, before):
    """Five steps; from the third on other activations, a layer of another width, and at last a pruned one.

    Adam and plain descent take turns, whose updates are measured in two ways.
    """
    left = []
    for step in range(5):
        before(step)
        if step == 2:
            model[1], model[4], model[6] = nn.Sequential(Turned(), Cubed()), nn.Linear(7, 9), nn.Linear(9, 3)
        if step == 3:
            prune.identity(model[0], "weight")
        optim = (torch.optim.Adam, torch.optim.SGD)[step % 2](model.parameters(), 0.1)
        left.append(sgd_step(model, optim))
    return left


READING = {"fill", "_fill", "_fill_updates", "read", "work_off", "_latest", "add_block", "_silence", "_last_fired"}
"""When these fail nothing can be read."""
NOT_CALLED = {
    "keep",
    "why_nothing",
    "attach",
    "functions",
    "is_compiled",
    "is_lazy",
    "mean_drift",
    "std_drift",
    "behind",
}
"""Of populations only, before the first step, or of another probe or the checks."""
ONCE = {"acts", "activation"}
"""Called in the first step only, as all of FunctionalActivations."""


@pytest.mark.parametrize("from_step", [0, 2])
@pytest.mark.parametrize(("owner", "name"), list(methods()), ids=lambda value: getattr(value, "__name__", value))
def test_whatever_fails_in_a_watch_costs_the_user_nothing(monkeypatch, owner, name, from_step):
    plain, failing, calls = vars(owner)[name], [], []

    @functools.wraps(plain)
    def broken(*args, **kwargs):
        if failing:
            calls.append(name)
            raise ArithmeticError("a fault in the watch")
        return plain(*args, **kwargs)

    def before(step):
        failing[:] = [True] * (step >= from_step)

    torch.manual_seed(3)
    bare = small()
    left = changing(bare, lambda step: None)
    expected = state_of(bare, left)

    monkeypatch.setattr(owner, name, broken)
    torch.manual_seed(3)
    model = small()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with watch(model, units=True) as record:
            left = changing(model, before)
    failing.clear()
    assert same(expected, state_of(model, left))
    if name in NOT_CALLED or (from_step and (name in ONCE or owner is FunctionalActivations)):
        return
    assert calls and any("ArithmeticError" in entry["error"] for entry in record.meta["failed"])
    assert all("watch: nothing was recorded" in str(warning.message) for warning in caught)
    if from_step and name not in READING:
        assert {0, 1} <= set(record.get("act_mean", "3")[0].tolist())
        assert {0} <= set(record.get("grad_norm", "0")[0].tolist())
