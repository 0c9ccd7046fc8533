"""`dead_units` against the outputs themselves, and that it changes nothing."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from watching import Twice, X, hooks_of, network

from unstuck.models import small_cnn
from unstuck.probes import dead_units

# -------------------------------------------------------------------------------------------- dead_units


def test_dead_units_are_exact_and_change_nothing():
    torch.manual_seed(0)
    model = Twice()
    model(X)  # running statistics that are not the first ones
    with torch.no_grad():
        model.norm.bias[2], model.norm.weight[2] = -50.0, 1e-3
        model.norm.bias[4], model.norm.weight[4] = -6.0, 1.0
    rare = X.clone()
    model.drop.eval()
    modes = [module.training for module in model.modules()]
    before, hooks, rng = copy.deepcopy(model.state_dict()), hooks_of(model), torch.get_rng_state()
    found = dead_units(model, rare, batch_size=7)
    assert set(found) == {"act", "act#2"} and found["act"].dtype == bool and found["act"].shape == (6,)
    assert [module.training for module in model.modules()] == modes
    assert hooks_of(model) == hooks and torch.equal(torch.get_rng_state(), rng)
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))

    reference = copy.deepcopy(model).eval()
    h = reference.norm(reference.first(rare)).relu()
    np.testing.assert_array_equal(found["act"], (h == 0).all(0).numpy())
    out = (reference.second(h) + 0.1).relu()
    np.testing.assert_array_equal(found["act#2"], (out == 0).all(0).numpy())
    assert found["act"][2]


def test_one_example_that_fires_is_enough():
    model = nn.Sequential(nn.Linear(1, 1), nn.ReLU())
    with torch.no_grad():
        model[0].weight.fill_(1.0)
        model[0].bias.fill_(-5.0)
    x = torch.zeros(100, 1)
    assert dead_units(model, x, batch_size=10)["1"].tolist() == [True]
    x[37] = 6.0
    assert dead_units(model, x, batch_size=10)["1"].tolist() == [False]


def test_dead_units_counts_channels():
    model = small_cnn((1, 3, 4))
    with torch.no_grad():
        model.conv1.bias[1] = -100.0
    found = dead_units(model, torch.rand(5, 1, 8, 8))
    assert found["act1"].shape == (3,) and found["act1"][1] and not found["act1"].all()
    assert found["act2"].shape == (4,)


def test_dead_units_refuses_what_it_cannot_judge():
    with pytest.raises(ValueError, match="model: Linear has no activation module"):
        dead_units(nn.Linear(8, 3), X)
    with pytest.raises(ValueError, match="x: "):
        dead_units(network(), X[:0])


def test_dead_units_restores_after_an_exception():
    model = Twice()
    hooks = hooks_of(model)
    with pytest.raises(RuntimeError):
        dead_units(model, torch.zeros(4, 5))
    assert model.training and model.drop.training and hooks_of(model) == hooks


def test_models_that_need_their_gradients_or_the_whole_batch():
    class Force(nn.Module):
        """The gradient of an energy, as in models of molecules; and made for batches of 15."""

        def __init__(self):
            super().__init__()
            self.linear, self.act = nn.Linear(8, 4), nn.Softplus()
            self.last = nn.ReLU()

        def forward(self, x):
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                energy = self.act(self.linear(x)).sum()
                return self.last(torch.autograd.grad(energy, x)[0].reshape(15, 8))

    torch.manual_seed(0)
    model = Force()
    with torch.no_grad():
        model.linear.weight[:, 3] = -1.0
    found = dead_units(model, X, batch_size=15)
    assert set(found) == {"act", "last"} and found["last"].shape == (8,) and found["last"][3]
    assert not found["act"].any() and not found["last"].all()
