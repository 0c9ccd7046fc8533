"""What `watch` takes of parameters: gradients when they are final, behind any output, and the first update."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from watching import X, Y, by_hand, manual_in_place, network, train, values

from unstuck.probes import watch

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


@pytest.mark.parametrize("as_keyword", [False, True])
def test_an_update_whose_closure_makes_the_gradient_is_measured_as_it_is(as_keyword):
    model = network()
    optim = torch.optim.SGD(model.parameters(), 0.1)

    def closure():
        with torch.no_grad():
            for p in model.parameters():
                p.grad *= 3
        return torch.tensor(0.0)

    with watch(model) as record:
        before = model.linear1.weight.detach().clone()
        cross_entropy(model(X), Y).backward()
        optim.step(closure=closure) if as_keyword else optim.step(closure)
    moved = float((model.linear1.weight.detach() - before).norm() / before.norm())
    assert record.last("update_ratio", "linear1") == pytest.approx(moved, rel=1e-3)
