"""Which layers `watch` measures, where their units lie, and the traps of hooks on activations."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from watching import Twice, X, network, train, values

from unstuck.models import Maxout, small_cnn
from unstuck.probes import watch

# ------------------------------------------------------------------------------------ traps of activations


def test_an_in_place_module_behind_does_not_change_what_is_measured():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 5), nn.SiLU(), nn.ReLU(inplace=True))
    silu = nn.functional.silu(model[0](X)).detach()
    with watch(model) as record:
        model(X).sum().backward()
    assert record.last("act_mean", "1") == pytest.approx(float(silu.mean()), abs=1e-6)
    assert record.last("act_mean", "2") == pytest.approx(float(silu.relu().mean()), abs=1e-6)
    assert record.last("zero_fraction", "1") == 0 < record.last("zero_fraction", "2")


def test_a_second_use_has_a_name_of_its_own():
    torch.manual_seed(0)
    model = Twice().train()
    model.drop.p = 0.0
    h = model.norm(model.first(X)).relu().detach()
    out = (model.second(h) + 0.1).relu().detach()
    with watch(model) as record:
        model(X)
        model(X)
    assert record.layers("act_mean") == ["act", "act#2"]
    np.testing.assert_allclose(values(record, "act_mean", "act"), [float(h.mean())] * 2, rtol=1e-5)
    np.testing.assert_allclose(values(record, "act_mean", "act#2"), [float(out.mean())] * 2, rtol=1e-5)


def test_units_are_channels_of_images_and_sequences_and_features_otherwise():
    torch.manual_seed(0)
    relu = nn.ReLU()
    cases = [
        (nn.Sequential(nn.Conv2d(2, 3, 1), relu), torch.randn(4, 2, 5, 6), 3),
        (nn.Sequential(nn.Conv1d(2, 3, 1), relu), torch.randn(4, 2, 5), 3),
        (nn.Sequential(nn.Linear(8, 7), relu), torch.randn(4, 5, 8), 7),
        (nn.Sequential(nn.Linear(8, 7), relu), torch.randn(8), 7),
        (nn.Sequential(nn.Conv2d(2, 3, 1), relu).to(memory_format=torch.channels_last), torch.randn(4, 2, 5, 6), 3),
    ]
    for model, x, units in cases:
        with torch.no_grad():
            model[0].bias[1] = -1e3
        with watch(model, units=True) as record:
            model(x)
        zeros = record.arrays[0, "1", "zero_fraction"]
        assert zeros.shape == (units,) and zeros[1] == 1 and (zeros != 1).sum() == (zeros < 1).sum() >= 1
        assert zeros.mean() == pytest.approx(record.last("zero_fraction", "1"), abs=1e-6)
        assert record.last("never_fired", "1") == pytest.approx((zeros == 1).mean())


def test_units_that_change_from_step_to_step():
    """Layers that are not always called, and a layer whose width changes."""

    class Changing(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.ReLU(), nn.ReLU()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, x, both):
            h = self.a(x * self.scale)
            return self.b(h) if both else h

    model = Changing()
    with watch(model, window=2) as record:
        for x, both in ((X, True), (-X.abs(), False), (-X.abs(), True), (X[:, :4], True), (X[:, :4], False)):
            model(x, both)
    assert record.get("dead", "b")[0].tolist() == [0, 2, 3]
    assert values(record, "dead", "a").tolist() == [0, 0, 1, 0, 0]
    assert values(record, "dead", "b").tolist() == [0, 1, 0]
    assert values(record, "never_fired", "a").tolist() == [0] * 5


def test_outputs_of_every_kind_are_survived():
    class Odd(nn.Module):
        """A function of the user's own: a leaf without parameters, so it is watched."""

        def forward(self, x):
            return {"index": x.argmax(1), "none": None}, [x, (x,)], "text"

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.act, self.odd = nn.Linear(8, 3), nn.ReLU(), Odd()

        def forward(self, x, *, flip=False):
            h = self.act(self.linear(x))
            return {"out": (h, None), "odd": self.odd(-h if flip else h)}

    model = Model()
    with watch(model) as record:
        out = model(X, flip=True)
        out["out"][0].sum().backward()
        model(X[:0])["out"][0].sum().backward()  # an empty batch
    assert record.layers("act_mean") == ["act"]  # the first tensor of `odd` holds integers
    assert record.get("act_mean", "act")[0].tolist() == [0]
    assert record.get("grad_norm", "linear")[0].tolist() == [0, 1]
    assert all(math.isfinite(value) for *_, value in record.rows)


@pytest.mark.parametrize(("dtype", "rel"), [(torch.float64, 1e-12), (torch.bfloat16, 1e-2)])
def test_other_precisions(dtype, rel):
    model = network().to(dtype)
    h = model.act1(model.linear1(X.to(dtype))).detach().double()
    with watch(model) as record:
        train(model, steps=1, x=X.to(dtype))
    assert record.last("act_std", "act1") == pytest.approx(float(h.std(correction=0)), rel=rel)
    assert record.last("zero_fraction", "act1") == pytest.approx(float((h == 0).double().mean()), abs=1e-6)
    grad = float(model.linear1.weight.grad.double().norm())
    assert record.last("grad_norm", "linear1") == pytest.approx(grad, rel=1e-5)


def test_not_finite_activations_are_recorded_as_they_are():
    model = network()
    with watch(model) as record:
        model(X * math.nan)
    assert math.isnan(record.last("act_mean", "act1")) and math.isnan(record.last("act_std", "act1"))


def test_which_layers_are_watched():
    class Swish(nn.Module):
        def forward(self, x):
            return x * torch.sigmoid(x)

    class MyDropout(nn.Dropout):
        pass

    model = nn.Sequential(
        nn.Flatten(), nn.Linear(8, 8), Swish(), MyDropout(), nn.Identity(), nn.PReLU(), Maxout(2), nn.Softmax(1)
    )
    with watch(model) as record:
        model(X)
    assert record.layers("act_mean") == ["2", "5", "6"]
    with watch(model, layers=["1", "4"]) as record:
        model(X)
    assert record.layers("act_mean") == record.layers("dead") == ["1", "4"]


class Functional(nn.Module):
    """Activations as functions: in the model itself, in a block, in place, and hidden in a torch module."""

    def __init__(self):
        super().__init__()
        self.first, self.block = nn.Linear(8, 8), nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.LayerNorm(8))
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True, activation="gelu")
        self.act = nn.SiLU()

    def forward(self, x):
        h = torch.relu(self.first(x))
        h = torch.tanh_(self.first(h)).clamp(min=-1)
        h = self.block(h) + h
        h = self.act(self.encoder(h[:, None])[:, 0])
        return torch.relu(h).clamp(min=0)


def test_functional_activations_are_listed_under_their_module():
    model = Functional()
    with watch(model) as record:
        model(X).sum().backward()
    unseen = {(entry["layer"], entry["function"]): entry["calls"] for entry in record.meta["unseen"]}
    assert unseen == {("", "relu"): 2, ("", "tanh"): 1, ("", "clamp"): 1, ("encoder", "gelu"): 1}


def test_a_watched_module_that_ends_in_a_function_is_seen():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(8, 8)

        def forward(self, x):
            return torch.relu(torch.tanh(self.linear(x)))

    model = nn.Sequential(Block(), nn.Linear(8, 3))
    with watch(model, layers=["0"]) as record:
        model(X)
    assert record.meta["unseen"] == [{"layer": "0", "function": "tanh", "calls": 1}]
    assert record.last("zero_fraction", "0") > 0


def test_models_of_the_package_hide_nothing():
    for model, x in ((network(activation="selu"), X), (small_cnn(), torch.randn(4, 1, 8, 8))):
        with watch(model) as record:
            model(x)
        assert record.meta["unseen"] == []
