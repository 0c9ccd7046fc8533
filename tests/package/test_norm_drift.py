"""`norm_drift` against NumPy, the outputs of a layer's two modes, and chance; it changes nothing."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from unstuck.evaluate import trace
from unstuck.models import mlp, small_cnn
from unstuck.probes import norm_drift, watch

SHAPES = [
    (nn.BatchNorm1d, (4,)),
    (nn.BatchNorm1d, (4, 3)),
    (nn.BatchNorm2d, (4, 2, 3)),
    (nn.BatchNorm3d, (4, 2, 3, 2)),
]
DOUBLE = {"dtype": torch.float64}


def normal(*shape, seed=0):
    return torch.randn(*shape, **DOUBLE, generator=torch.Generator().manual_seed(seed))


def with_statistics(norm, seed=5):
    """The layer after some training: running statistics, gamma and beta of its own."""
    generator = torch.Generator().manual_seed(seed)
    norm.running_mean.normal_(generator=generator)
    norm.running_var.uniform_(0.5, 2, generator=generator)
    if norm.affine:
        nn.init.normal_(norm.weight, generator=generator)
        nn.init.normal_(norm.bias, generator=generator)
    return norm.double()


@pytest.mark.parametrize("settings", [{}, {"momentum": None}, {"eps": 0.1}, {"affine": False}])
@pytest.mark.parametrize(("kind", "shape"), SHAPES)
def test_by_hand(kind, shape, settings):
    norm = with_statistics(kind(4, **settings))
    x = 2 * normal(25, *shape) + 1
    drift = norm_drift(norm, x, batch_size=10)[""]
    assert drift.mean.shape == drift.std.shape == (3,)  # 10, 10 and 5 examples
    m, v = norm.running_mean.numpy(), norm.running_var.numpy()
    for b, batch in enumerate(x.split(10)):
        rows = np.moveaxis(batch.numpy(), 1, -1).reshape(-1, 4)
        d = (rows.mean(axis=0) - m) / np.sqrt(v + norm.eps)
        s = np.sqrt((rows.var(axis=0) + norm.eps) / (v + norm.eps))
        assert drift.mean[b] == pytest.approx(np.sqrt(np.mean(d**2)), rel=1e-12)
        assert drift.std[b] == pytest.approx(np.sqrt(np.mean(np.log(s) ** 2)), rel=1e-12)


def test_it_is_what_evaluation_does_to_the_output_of_training():
    norm, x = with_statistics(nn.BatchNorm1d(1)), 3 * normal(20, 1) + 2
    drift = norm_drift(norm, x)[""]
    with torch.no_grad():
        outputs = [(norm.train(mode)(x) - norm.bias) / norm.weight for mode in (False, True)]
    in_evaluation, in_training = outputs
    assert drift.mean[0] == pytest.approx(abs(float(in_evaluation.mean())), rel=1e-10)
    assert drift.std[0] == pytest.approx(abs(math.log(in_evaluation.std() / in_training.std())), rel=1e-10)


def test_each_layer_sees_what_it_sees_in_training():
    model = mlp((6, 20, 30, 3), "tanh", norm="batch").double()
    x = normal(50, 6) + 1
    drift = norm_drift(model, x, batch_size=50)
    assert list(drift) == ["norm1", "norm2"]
    for own in (model.norm1, model.norm2):  # whose running statistics become those of this batch
        own.momentum = 1.0
    z = {name: model.get_submodule(f"linear{i}") for i, name in ((1, "norm1"), (2, "norm2"))}
    seen = {}
    for name, linear in z.items():
        linear.register_forward_hook(lambda module, args, output, name=name: seen.__setitem__(name, output.detach()))
    model(x)
    for name, values in seen.items():  # running statistics were 0 and 1
        expected = values.mean(0) / math.sqrt(1 + 1e-5)
        assert drift[name].mean[0] == pytest.approx(float(expected.square().mean().sqrt()), rel=1e-10)
    after = norm_drift(model, x, batch_size=50)
    for own in after.values():
        assert own.mean[0] == pytest.approx(0, abs=1e-10)
        assert own.std[0] == pytest.approx(math.log(50 / 49) / 2, rel=1e-3)  # the running variance is 1 / (N - 1)'s


def test_chance_is_as_the_docstring_says():
    norm = nn.BatchNorm1d(400, **DOUBLE)  # knows the mean, 0, and the variance, 1
    for n in (16, 64):
        drift = norm_drift(norm, normal(20 * n, 400), batch_size=n)[""]
        assert drift.mean.mean() == pytest.approx(1 / math.sqrt(n), rel=0.02)
        assert drift.std.mean() == pytest.approx(1 / math.sqrt(2 * n), rel=2 / n)  # the next order of the logarithm


def test_data_that_shift_are_noticed():
    model = mlp((6, 20, 3), norm="batch").double()
    x = normal(400, 6)
    for _ in range(100):
        model(x)
    same, shifted, scaled = (norm_drift(model, data)["norm1"] for data in (x, x + 1, 3 * x))
    assert shifted.mean.mean() > 5 * same.mean.mean() and shifted.std.mean() < 1.2 * same.std.mean()
    assert scaled.std.mean() == pytest.approx(math.log(3), rel=0.05)


def test_a_second_use_has_a_name_of_its_own_and_keywords_are_seen():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.idle = nn.BatchNorm1d(4), nn.BatchNorm1d(4)

        def forward(self, x):
            return self.norm(input=x) + self.norm(x + 1)

    x = normal(8, 4).float()
    drift, expected = norm_drift(Twice(), x, batch_size=4), norm_drift(nn.BatchNorm1d(4), x + 1, batch_size=4)[""]
    assert list(drift) == ["norm", "norm#2"]
    np.testing.assert_allclose(drift["norm#2"].mean, expected.mean, rtol=1e-5)


class Fails(nn.Module):
    def forward(self, x):
        raise RuntimeError("on purpose")


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_changed(fails):
    model = nn.Sequential(small_cnn(norm="batch"), nn.Dropout(), nn.BatchNorm1d(10), *[Fails()] * fails)
    model[2].eval()  # frozen
    model[0].register_buffer("mine", torch.ones(3))
    x = torch.rand(30, 1, 8, 8)
    state = {name: (p, p.clone(), p._version) for name, p in model.state_dict(keep_vars=True).items()}
    modes, rng = [module.training for module in model.modules()], torch.get_rng_state()
    if fails:
        with pytest.raises(RuntimeError, match="on purpose"):
            norm_drift(model, x, batch_size=10)
    else:
        assert list(norm_drift(model, x, batch_size=10)) == ["0.norm1", "0.norm2", "2"]
    for name, p in model.state_dict(keep_vars=True).items():
        before, value, version = state[name]
        assert p is before and torch.equal(p, value) and p._version == version
    assert [module.training for module in model.modules()] == modes and torch.equal(torch.get_rng_state(), rng)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_a_watch_does_not_take_it_for_a_step():
    model, x = mlp((6, 5, 3), norm="batch"), torch.randn(20, 6)
    with watch(model, quantities=("act_mean",)) as record:
        model(x)
        norm_drift(model, x)
        model(x + 1)
    assert record.get("act_mean", "act1")[0].tolist() == [0, 1]
    assert record.last("act_mean", "act1") != pytest.approx(float(trace(model.eval(), x)["act1"].mean()), rel=1e-3)


class Functional(nn.Module):
    def forward(self, x):
        return F.batch_norm(x, torch.zeros(4), torch.ones(4), training=True)


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        (nn.Linear(4, 4), {}, "model: Linear has no batch norm module that ran"),
        (Functional(), {}, "model: Functional has no batch norm module that ran"),
        (
            nn.Sequential(nn.BatchNorm1d(4), nn.BatchNorm1d(4, track_running_stats=False)),
            {},
            r"model: layers \['1'\] keep no running statistics \(track_running_stats=False\)",
        ),
        (nn.BatchNorm1d(4), {"batch_size": 1}, "batch_size: layer '' gets one value a channel, .* 9 examples"),
        (nn.BatchNorm1d(4), {"batch_size": 8}, "batch_size: layer '' gets one value a channel, .* in batches of 8"),
        (nn.BatchNorm1d(4), {"batch_size": 0}, "batch_size: expected an integer of at least 1"),
    ],
)
def test_what_has_no_drift_is_refused(model, arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        norm_drift(model, torch.randn(9, 4), **arguments)


def test_a_batch_of_one_image_has_statistics():
    norm, x = nn.BatchNorm2d(2), torch.randn(3, 2, 4, 4)
    assert norm_drift(norm, x, batch_size=1)[""].mean.shape == (3,)
