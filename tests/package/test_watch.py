"""`watch` against straightforward implementations: what a step is, and what is measured in it."""

import copy
import math
import timeit
import tracemalloc
import warnings
from dataclasses import dataclass
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint
from watching import X, Y, manual_in_place, network, sgd_step, train, values

from unstuck import measure
from unstuck.probes import DEFAULT, watch
from unstuck.probes.log import Log
from unstuck.record import Record

# ------------------------------------------------------------------ every quantity, computed another way


def by_hand(model, optim, x, y, steps, window):
    """Every quantity of a Sequential, from activations kept whole, in float64: {(quantity, layer): [values]}."""
    found, fired = {}, {}
    note = lambda quantity, layer, value: found.setdefault((quantity, layer), []).append(float(value))  # noqa: E731
    for _ in range(steps):
        a = x
        for name, module in model.named_children():
            z, a = a, module(a)
            if not name.startswith("act"):
                continue
            kept = a.detach().double().numpy()
            note("act_mean", name, kept.mean())
            note("act_std", name, kept.std())
            note("zero_fraction", name, (kept == 0).mean())
            history = fired.setdefault(name, [])
            history.append((kept != 0).any(axis=0))
            note("dead", name, 1 - np.any(history[-window:], axis=0).mean())
            note("never_fired", name, 1 - np.any(history, axis=0).mean())
            if isinstance(module, nn.Tanh | nn.Sigmoid):
                probe, origin = z.detach().double().requires_grad_(), torch.zeros(1, dtype=torch.float64)
                slope = torch.autograd.grad(module(probe).sum(), probe)[0]
                largest = torch.autograd.grad(module(origin.requires_grad_()).sum(), origin)[0]
                note("saturated_fraction", name, (slope < 0.02 * largest).double().mean())
        optim.zero_grad()
        cross_entropy(a, y).backward()
        linears = {name: module for name, module in model.named_children() if isinstance(module, nn.Linear)}
        before = {name: module.weight.detach().double().clone() for name, module in linears.items()}
        for name, module in linears.items():
            note("grad_norm", name, module.weight.grad.double().square().sum().sqrt())
            note("weight_norm", name, before[name].square().sum().sqrt())
        optim.step()
        for name, module in linears.items():
            moved = (module.weight.detach().double() - before[name]).square().sum().sqrt()
            note("update_ratio", name, moved / before[name].square().sum().sqrt())
    return found


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1),
    "momentum and decay": lambda p: torch.optim.SGD(p, 0.02, momentum=0.9, weight_decay=0.1),
    "adam": lambda p: torch.optim.Adam(p, 0.01),
}


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "maxout"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_quantity_is_what_a_direct_computation_gives(activation, optimizer):
    watched = network(activation=activation)
    with torch.no_grad():  # some units die, some saturate
        watched.linear1.weight.mul_(4)
        watched.linear1.bias[0] = -100.0
    twin = copy.deepcopy(watched)
    optim = OPTIMIZERS[optimizer](watched.parameters())
    with watch(watched, window=3) as record:
        for _ in range(40):  # more than are worked off at once
            sgd_step(watched, optim)
    expected = by_hand(twin, OPTIMIZERS[optimizer](twin.parameters()), X, Y, steps=40, window=3)
    recorded = {(quantity, layer) for _, layer, quantity, _ in record.rows}
    assert recorded == set(expected)
    assert {quantity for quantity, _ in recorded} >= set(DEFAULT) - {"saturated_fraction"}
    for (quantity, layer), wanted in expected.items():
        steps, got = record.get(quantity, layer)
        assert steps.tolist() == list(range(40))
        np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=2e-6, err_msg=f"{quantity} of {layer}")
    if activation == "relu":
        assert 0 < values(record, "dead", "act1")[0] < 1
    if activation in ("tanh", "sigmoid"):
        assert 0 < values(record, "saturated_fraction", "act1")[0] < 1


def test_layers_come_in_the_order_of_the_forward():
    model = network()
    with watch(model) as record:
        train(model)
    assert record.layers("act_std") == ["act1", "act2"]
    assert record.layers("dead") == ["act1", "act2"]
    assert record.layers("update_ratio") == ["linear1", "linear2", "linear3"]
    assert record.meta["kinds"] == {"act1": "ReLU", "act2": "ReLU"} | {f"linear{i}": "Linear" for i in (1, 2, 3)}


def test_standard_deviation_survives_a_large_mean():
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
    x = 1e4 + X  # E[x^2] - E[x]^2 in float32 has no correct digit here
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(8))
        model[0].bias.zero_()
    with watch(model) as record:
        model(x)
    np.testing.assert_allclose(record.last("act_std", "1"), x.double().numpy().std(), rtol=1e-3)


def test_dead_is_recent_and_never_fired_is_since_the_beginning():
    model = network()
    with torch.no_grad():
        model.linear1.bias[0] = -1e3  # silent from the start
    with watch(model, window=4) as record:
        for step in range(12):
            if step == 5:
                with torch.no_grad():
                    model.linear1.bias[1] = -1e3  # killed late
            model(X)
    np.testing.assert_allclose(values(record, "never_fired", "act1"), [1 / 7] * 12)
    # fired last in step 4: silent in 4 steps for the first time at step 8
    np.testing.assert_allclose(values(record, "dead", "act1"), [1 / 7] * 8 + [2 / 7] * 4)


def test_a_unit_that_comes_back_is_not_dead():
    model = network()
    with watch(model, window=2) as record:
        for bias in (0.0, -1e3, -1e3, -1e3, 0.0):
            with torch.no_grad():
                model.linear1.bias.fill_(bias)
            model(X)
    assert values(record, "dead", "act1")[2:4].tolist() == [1.0, 1.0]
    assert values(record, "dead", "act1")[4] < 1


# --------------------------------------------------------------------------- what a step is


def test_every_observes_each_kth_step():
    model = network()
    reference = copy.deepcopy(model)
    with watch(model, every=3) as record:
        train(model, steps=8)
    with watch(reference) as full:
        train(reference, steps=8)
    for quantity in ("act_std", "grad_norm", "update_ratio"):
        layer = record.layers(quantity)[0]
        steps, got = record.get(quantity, layer)
        assert steps.tolist() == [0, 3, 6]
        np.testing.assert_array_equal(got, values(full, quantity, layer)[::3])


def test_evaluation_and_forwards_without_gradients_are_not_recorded():
    model = network()
    with watch(model) as record:
        with torch.no_grad():
            model(X)
        with torch.inference_mode():
            model(X)
        model.eval()
        model(X)
        model.train()
        train(model, steps=1)
        model.eval()
        with torch.no_grad():
            model(X)
    assert {step for step, *_ in record.rows} == {0}
    assert record.last("update_ratio", "linear1") > 0


def test_a_checkpointed_recomputation_is_no_step():
    inner = network()
    with watch(inner) as record:
        for _ in range(2):
            checkpoint(inner, X, use_reentrant=False).sum().backward()
            manual_in_place(inner)
    assert {step for step, *_ in record.rows} == {0, 1}
    assert all(values(record, "update_ratio", "linear1") > 0)
    assert record.layers("act_mean") == ["act1", "act2"]


def test_a_recomputation_inside_the_model_is_no_second_use():
    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = network()

        def forward(self, x):
            return checkpoint(self.body, x, use_reentrant=False)

    model = Checkpointed()
    with watch(model) as record:
        model(X).sum().backward()
    assert record.layers("act_mean") == ["body.act1", "body.act2"]
    assert record.last("grad_norm", "body.linear1") == pytest.approx(float(model.body.linear1.weight.grad.norm()))


def test_a_forward_that_raises_leaves_no_row_and_uses_up_its_number():
    class Touchy(nn.Sequential):
        def forward(self, x):
            out = super().forward(x)
            if torch.isnan(x).any():
                raise RuntimeError("NaN")
            return out

    model = Touchy(nn.Linear(8, 4), nn.ReLU())
    with watch(model) as record:
        model(X).sum().backward()
        with pytest.raises(RuntimeError, match="NaN"):
            model(torch.full_like(X, math.nan))
        model.eval()
        model(X)
        model.train()
        model(X).sum().backward()
    assert {step for step, *_ in record.rows} == {0, 2}
    assert record.get("grad_norm", "0")[0].tolist() == [0, 2]


def test_a_backward_that_raises_leaves_the_step_without_a_gradient():
    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            raise RuntimeError("on the way back")

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.fails = nn.Sequential(nn.Linear(8, 4), nn.ReLU()), True

        def forward(self, x):
            return self.body(Fails.apply(x) if self.fails else x).sum()

    model, x = Model(), X.clone().requires_grad_()
    with watch(model) as record:
        with pytest.raises(RuntimeError, match="way back"):
            model(x).backward()
        model.fails = False
        model.zero_grad()
        model(x).backward()
    assert record.get("act_mean", "body.1")[0].tolist() == [0, 1]
    assert record.meta["no_update"] == [0, 1]
    assert record.get("grad_norm", "body.0")[0].tolist() == [1]
    assert record.last("grad_norm", "body.0") == pytest.approx(float(model.body[0].weight.grad.norm()))


def test_an_exception_in_the_block_leaves_the_rows_so_far():
    model = network()
    with pytest.raises(KeyError), watch(model) as record:
        train(model, steps=2)
        raise KeyError
    assert record.get("update_ratio", "linear1")[0].tolist() == [0, 1]


# ------------------------------------------------------------------- gradients and updates without an optimiser


def manual_data(model):
    for p in model.parameters():
        p.data = p.data - 0.1 * p.grad
        p.grad.zero_()


@pytest.mark.parametrize("update", [manual_in_place, manual_data])
def test_manual_updates_are_measured(update):
    model, twin = network(), network()
    optim = torch.optim.SGD(twin.parameters(), 0.1)
    with watch(model) as record:
        for _ in range(3):
            cross_entropy(model(X), Y).backward()
            update(model)
    expected = by_hand(twin, optim, X, Y, steps=3, window=10)
    for quantity in ("grad_norm", "update_ratio"):
        np.testing.assert_allclose(values(record, quantity, "linear2"), expected[quantity, "linear2"], rtol=1e-5)


def test_gradient_is_that_before_clipping_and_the_update_the_true_one():
    model = network()
    optim = torch.optim.SGD(model.parameters(), 0.1)
    with watch(model) as record:
        before = model.linear1.weight.detach().clone()
        cross_entropy(model(X), Y).backward()
        full = float(model.linear1.weight.grad.norm())
        nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
        optim.step()
    moved = float((model.linear1.weight.detach() - before).norm() / before.norm())
    assert record.last("grad_norm", "linear1") == pytest.approx(full)
    assert record.last("update_ratio", "linear1") == pytest.approx(moved, rel=1e-3)


def test_accumulated_gradients_are_recorded_as_they_accumulate():
    model = network()
    norms = []
    with watch(model) as record:
        for part in range(2):
            cross_entropy(model(X[part::2]), Y[part::2]).backward()
            norms.append(float(model.linear1.weight.grad.norm()))
    np.testing.assert_allclose(values(record, "grad_norm", "linear1"), norms, rtol=1e-6)
    assert "update_ratio" not in record.quantities() and record.meta["no_update"] == [0, 1]


def test_the_update_of_accumulated_gradients_is_the_first_one_that_comes():
    model, twin = network(), network()
    with watch(model, every=4) as record:  # of eight parts, four to an update: the third and the seventh bring it
        optim = torch.optim.SGD(model.parameters(), 0.1)
        for part in range(8):
            cross_entropy(model(X[part::8]), Y[part::8]).backward()
            if part % 4 == 2:
                optim.step()
                optim.zero_grad()
    optim, wanted = torch.optim.SGD(twin.parameters(), 0.1), []
    for part in range(8):
        cross_entropy(twin(X[part::8]), Y[part::8]).backward()
        if part % 4 == 2:
            before = twin.linear1.weight.detach().clone()
            optim.step()
            optim.zero_grad()
            wanted.append(float((twin.linear1.weight.detach() - before).norm() / before.norm()))
    steps, got = record.get("update_ratio", "linear1")
    assert steps.tolist() == [0, 4] and record.meta["no_update"] == []
    np.testing.assert_allclose(got, wanted, rtol=1e-4)  # float32


def test_an_update_after_the_next_observed_forward_does_not_count():
    model = network()
    with watch(model, every=2) as record:
        for _ in range(3):
            cross_entropy(model(X), Y).backward()  # steps 0, 1, 2, and no update
        manual_in_place(model)
    assert record.get("update_ratio", "linear1")[0].tolist() == [2] and record.meta["no_update"] == [0]


def test_an_update_by_nothing_is_an_update():
    model = network()
    with watch(model) as record:
        train(model, steps=2, lr=0.0)
    assert values(record, "update_ratio", "linear1").tolist() == [0.0, 0.0] and record.meta["no_update"] == []


def test_two_forwards_before_one_backward_share_its_gradient():
    model = network()
    with watch(model) as record:
        (cross_entropy(model(X[:15]), Y[:15]) + cross_entropy(model(X[15:]), Y[15:])).backward()
    norm = float(model.linear1.weight.grad.norm())
    np.testing.assert_allclose(values(record, "grad_norm", "linear1"), [norm, norm], rtol=1e-6)


def test_after_two_backwards_through_one_forward_the_sum_counts():
    model = network()
    with watch(model) as record:
        out = model(X)
        out[:, 0].sum().backward(retain_graph=True)
        first = float(model.linear1.weight.grad.norm())
        out[:, 1].sum().backward()
    steps, got = record.get("grad_norm", "linear1")
    assert steps.tolist() == [0]
    assert got[0] == pytest.approx(float(model.linear1.weight.grad.norm()))
    assert abs(got[0] - first) > 1e-3


def test_several_outputs_are_one_backward(monkeypatch):
    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.left, self.right = nn.Linear(8, 4), nn.Linear(4, 2), nn.Linear(4, 3)

        def forward(self, x):
            h = self.body(x)
            return h, {"left": self.left(h), "right": [self.right(h)]}

    model, calls = Heads(), []
    plain = torch._foreach_norm
    monkeypatch.setattr(torch, "_foreach_norm", lambda vectors: calls.append(len(vectors)) or plain(vectors))
    with watch(model, quantities=("grad_norm",)) as record:
        h, heads = model(X)
        (h.sum() + heads["left"].square().sum() + heads["right"][0].square().sum()).backward()
    assert calls == [3]
    for name, module in model.named_children():
        assert record.last("grad_norm", name) == pytest.approx(float(module.weight.grad.norm()))


def test_gradients_from_elsewhere_are_not_taken_for_this_step():
    """`autograd.grad` fills no `.grad`, a penalty on weights does not pass the model, a branch may be unused."""
    model = nn.ModuleDict({"used": nn.Linear(8, 3), "unused": nn.Linear(8, 3)})
    model.forward = lambda x: model["used"](x)
    stale = torch.ones(3, 8)
    for module in model.values():
        module.weight.grad = stale.clone()
    with watch(model) as record:
        out = model(X)
        torch.autograd.grad(out.sum(), model["used"].weight, retain_graph=True)
        model["unused"].weight.square().sum().backward()
        assert "grad_norm" not in record.quantities()
        out.sum().backward()
    assert record.layers("grad_norm") == ["used"]
    assert record.last("grad_norm", "used") == pytest.approx(float(model["used"].weight.grad.norm()))


def test_frozen_tied_and_zero_weights():
    model = nn.Sequential(*(nn.Linear(6, 6, bias=False) for _ in range(4)))
    model[0].weight.requires_grad_(False)
    model[2].weight = model[1].weight
    with torch.no_grad():
        model[3].weight.zero_()
    with watch(model, quantities=("weight_norm", "grad_norm", "update_ratio")) as record:
        out = model(X[:, :6])
        (out - 1).square().sum().backward()
        torch.optim.SGD(model.parameters(), 0.1).step()
    assert record.layers("weight_norm") == ["0", "1", "2", "3"]
    assert record.layers("grad_norm") == ["1", "2", "3"]
    assert record.last("weight_norm", "1") == record.last("weight_norm", "2") > 0
    assert record.last("update_ratio", "0") == 0
    assert record.layers("update_ratio") == ["0", "1", "2"]  # nothing to divide by in the last


def test_a_module_without_a_weight_is_recorded_as_a_whole():
    model = nn.LSTM(8, 5)
    with watch(model) as record:
        model(X.reshape(5, 6, 8))[0].sum().backward()
    flat = torch.cat([p.detach().flatten() for p in model.parameters()])
    grad = torch.cat([p.grad.flatten() for p in model.parameters()])
    assert record.last("weight_norm", "") == pytest.approx(float(flat.norm()), rel=1e-5)
    assert record.last("grad_norm", "") == pytest.approx(float(grad.norm()), rel=1e-5)


def test_complex_and_sparse():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.rows = nn.Embedding(4, 3, sparse=True)
            self.phase = nn.Parameter(torch.randn(3, dtype=torch.complex64))

        def forward(self, index):
            return (self.rows(index) * self.phase).abs()

    model = Odd()
    with watch(model) as record:
        model(torch.tensor([0, 2, 2])).sum().backward()
    assert record.last("grad_norm", "rows") == pytest.approx(float(model.rows.weight.grad.to_dense().norm()))
    assert record.last("grad_norm", "") == pytest.approx(float(torch.linalg.vector_norm(model.phase.grad)))


def test_the_update_of_a_discriminator_is_its_own():
    """Two forwards to an update, and another update's forward between: with an even `every` none has its own."""
    generator, critic = network(widths=(8, 8)), network(widths=(8, 6, 1))
    optims = [torch.optim.SGD(m.parameters(), 0.1) for m in (generator, critic)]
    losses = (lambda: critic(generator(X)).mean(), lambda: critic(X).mean() - critic(X + 1).mean())
    wanted = []
    with watch(critic, every=3) as record:
        for _ in range(4):
            for optim, loss in zip(optims, losses, strict=True):
                optim.zero_grad()
                before = critic.linear1.weight.detach().clone()
                loss().backward()
                optim.step()
            wanted.append(float((critic.linear1.weight.detach() - before).norm() / before.norm()))
    steps, got = record.get("update_ratio", "linear1")
    assert steps.tolist() == [0, 3, 6, 9] and record.meta["no_update"] == []  # the second is none of the generator's
    np.testing.assert_allclose(got, wanted, rtol=1e-4)


def test_several_updates_between_forwards_and_none():
    model = network()
    with watch(model) as record:
        cross_entropy(model(X), Y).backward()
        with torch.no_grad():
            model.linear1.weight.mul_(2)
            model.linear1.weight.mul_(1.5)
        model(X)
    assert record.get("update_ratio", "linear1")[0].tolist() == [0] and record.meta["no_update"] == [1]
    assert record.last("update_ratio", "linear1") == pytest.approx(2.0)


# --------------------------------------------------------------------------------- outputs of every kind


class Linear3d(nn.Module):
    """Its output is a view: a linear layer works on two axes."""

    def __init__(self, end=lambda out: out):
        super().__init__()
        self.linear, self.end = nn.Linear(8, 4), end

    def forward(self, x):
        return self.end(self.linear(x.reshape(5, 6, 8)))


def divided(out):
    out /= 0.5
    return out


def masked(out):
    out[:, :2] = 0
    return out


def masked_by_condition(out):
    out[out < 0] = 0
    return out


@pytest.mark.parametrize("change", [divided, masked, masked_by_condition])
@pytest.mark.parametrize(
    "end",
    [
        lambda out: out,
        lambda out: out.transpose(1, 2),
        lambda out: out.permute(2, 0, 1)[..., None],
        lambda out: out[:, 1:],
        lambda out: {"a": out.flatten(0, 1), "b": [out]},
    ],
)
def test_an_output_that_is_a_view_changed_in_place(change, end):
    model = Linear3d(end)
    with watch(model) as record:
        out = model(X)
        change(out["a"] if isinstance(out, dict) else out)
        (out["a"] if isinstance(out, dict) else out).square().sum().backward()
    assert record.last("grad_norm", "linear") == pytest.approx(float(model.linear.weight.grad.norm()))


@dataclass
class Inner:
    logits: torch.Tensor
    note: str = "of a dataclass"


@dataclass(frozen=True)
class Outer:
    number: int
    parts: list
    missing: None = None


@dataclass
class Slotted:
    __slots__ = ("logits",)
    logits: torch.Tensor


class Pair(NamedTuple):
    name: str
    logits: torch.Tensor


class Custom:
    def __init__(self, logits):
        self.logits, self.me = logits, self  # and a circle


OUTPUTS = {
    "tuple": (lambda out: (1, out), lambda o: o[1]),
    "list": (lambda out: [out, out * 2], lambda o: o[1]),
    "dict": (lambda out: {"none": None, "logits": out}, lambda o: o["logits"]),
    "named tuple": (lambda out: Pair("a", out), lambda o: o.logits),
    "dataclass": (Inner, lambda o: o.logits),
    "nested dataclass": (lambda out: Outer(3, [Inner(out)]), lambda o: o.parts[0].logits),
    "slots": (Slotted, lambda o: o.logits),
    "namespace": (lambda out: SimpleNamespace(logits=out), lambda o: o.logits),
    "object": (Custom, lambda o: o.logits),
    "distribution": (lambda out: torch.distributions.Categorical(logits=out), lambda o: o.logits),
}


@pytest.mark.parametrize("kind", OUTPUTS)
def test_gradients_behind_an_output_of_any_kind(kind):
    wrap, unwrap = OUTPUTS[kind]
    model = Linear3d(wrap)
    with watch(model, layers=["", "linear"]) as record:
        unwrap(model(X)).square().sum().backward()
    assert record.last("grad_norm", "linear") == pytest.approx(float(model.linear.weight.grad.norm()))
    assert record.get("act_mean", "")[0].tolist() == [0] and record.meta["failed"] == []


# ------------------------------------------------------------------------------------------ a long watch


def filled(log, steps, layers):
    """What `steps` steps of many layers leave in a log, without the network."""
    value, signal = torch.tensor(1.0), measure.Signal(torch.zeros(2, 3))
    tensors = measure.Tensors([[value.view(1)]] * len(layers))
    tensors.norms = [value] * len(layers)
    for step in range(steps):
        log.begin()
        for layer in layers:
            log.see(layer, signal)
        log.end(step)
        log.parameters(step, layers, tensors)
        log.gradients(step, layers, tensors)
        log.updates(step, layers, tensors, tensors)
    return log


def test_a_long_watch_takes_a_few_dozen_bytes_a_number():
    """16 of them are the record's own: step and value. A row as a tuple with its names takes more than 200."""
    layers = [f"layer{i}" for i in range(100)]
    peaks = {}
    for steps in (64, 256):  # the difference is what grows
        log, record = Log(DEFAULT, window=10), Record()
        filled(log, 1, layers)
        tracemalloc.start()
        filled(log, steps, layers).fill([record])
        peaks[len(record)] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        del log
    (few, low), (many, high) = peaks.items()
    assert many - few == 192 * 100 * 8  # nothing saturates
    assert (high - low) / (many - few) < 40


def test_the_last_value_of_a_long_record_is_found_at_once():
    def fastest(rows):
        record = Record()
        record.add_series("", "loss", np.arange(rows), np.ones(rows))
        return min(timeit.repeat(lambda: record.last("loss"), number=20, repeat=20))

    assert fastest(1_000_000) < 20 * fastest(1_000)  # a copy of the column would take hundreds of times as long


# --------------------------------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"quantities": ("act_mean", "loss")}, r"quantities: \['loss'\]"),
        ({"quantities": ("speed",)}, "quantities: .*'speed'"),
        ({"every": 0}, "every: .* got 0"),
        ({"window": 0}, "window: .* got 0"),
        ({"layers": ["act9"]}, "layers: .*act9"),
    ],
)
def test_arguments_that_do_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        watch(network(), **arguments)


def test_what_is_no_model_or_not_ready():
    with pytest.raises(TypeError, match=r"every: .* got 1\.5"):
        watch(network(), every=1.5)
    with pytest.raises(TypeError, match=r"model: expected a torch\.nn\.Module"):
        watch(torch.relu)
    with pytest.raises(TypeError, match=r"quantities: .* 'dead'"):
        watch(network(), quantities="dead")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some versions say that lazy modules are new
        lazy = nn.LazyLinear(3)
    with pytest.raises(ValueError, match=r"model: .*lazy"):
        watch(lazy)


def test_only_what_is_asked_for_is_recorded():
    for quantity in DEFAULT:
        model = network(activation="tanh")
        with watch(model, quantities=(quantity,)) as record:
            train(model, steps=2)
        assert record.quantities() == [quantity]
