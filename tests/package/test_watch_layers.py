"""Which layers `watch` measures, where their units lie, and the traps of hooks on activations."""

import contextlib
import copy
import math
import random

import numpy as np
import pytest
import torch
from torch import nn
from watching import Twice, X, Y, network, train, values

from unstuck import graph
from unstuck.models import Maxout, gated_cnn, small_cnn
from unstuck.probes import dead_units, watch
from unstuck.train import check_quantities

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


class Bent(nn.Module):
    slope = 0.1

    def forward(self, x):
        return torch.relu(x) - self.slope * torch.relu(-x)


class Early(nn.Module):
    """Calls its activation on the inputs, where no graph tells what it is, and again."""

    def __init__(self):
        super().__init__()
        self.act, self.linear = Bent(), nn.Linear(8, 6)

    def forward(self, x):
        return self.act(self.linear(self.act(x)))


def test_a_call_that_cannot_be_judged_is_counted():
    model, few = Early(), X[:4]  # 32 values without a graph
    first, second = Bent()(few), model(few).detach()
    with watch(model, units=True) as record:
        for _ in range(2):
            model(few).sum().backward()
    np.testing.assert_allclose(values(record, "act_mean", "act#2"), [float(second.mean())] * 2, rtol=1e-5)
    np.testing.assert_allclose(values(record, "act_mean", "act"), [float(first.mean())], rtol=1e-5)  # from step 1 on
    assert record.meta["kinds"]["act"] == "Bent" and "act#2" not in record.meta["kinds"]


def test_dead_units_of_a_call_that_could_not_be_judged():
    model = Early()
    model.act.slope = 0.0
    x = -torch.rand(100, 8)
    x[0, 2] = 1.0  # unit 2 of the inputs fires on the first example alone
    for batch_size in (1, 4, 30, 100):
        found = dead_units(model, x, batch_size=batch_size)
        assert found["act"].tolist() == [True, True, False, True, True, True, True, True]


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
        nn.Flatten(),
        nn.Linear(8, 8),
        Swish(),
        MyDropout(),
        nn.Identity(),
        nn.PReLU(),
        Maxout(2),
        nn.Softmax(1),
        nn.Softmin(1),
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


@pytest.mark.parametrize(("low", "listed"), [(0, ["clamp"]), (-1, []), (torch.zeros(()), []), (torch.zeros(7), [])])
def test_only_what_cuts_at_zero_is_listed_as_a_clamp(low, listed):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.act = nn.Linear(8, 7), nn.ReLU()

        def forward(self, x):
            return self.act(self.linear(x).clamp(min=low))

    model = Model()
    with watch(model) as record:
        model(X)
    assert [entry["function"] for entry in record.meta["unseen"]] == listed and record.meta["failed"] == []
    assert set(dead_units(model, X)) == {"act"}


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


def test_units_are_kept_also_where_nothing_of_them_is_recorded():
    model = network()
    with watch(model, quantities=("grad_norm",), units=True) as record:
        train(model, steps=2)
    kept = ("zero_fraction", "unit_std", "unit_range")
    assert set(record.arrays) == {(k, layer, name) for k in (0, 1) for layer in ("act1", "act2") for name in kept}
    assert record.quantities() == ["grad_norm"]


def test_a_unit_that_is_only_ever_negative_fires():
    model = nn.Sequential(nn.Linear(8, 3), nn.ELU())
    with torch.no_grad():
        model[0].bias.fill_(-50.0)
    with watch(model) as record:
        model(X)
    assert record.last("act_mean", "1") < 0
    assert record.last("dead", "1") == record.last("never_fired", "1") == record.last("zero_fraction", "1") == 0
    assert not dead_units(model, X)["1"].any()


Z = torch.linspace(0.1, 0.9, 5, requires_grad=True)
CURVES = [torch.abs, torch.asinh, torch.atan, torch.cos, torch.cosh, torch.erf, torch.erfc, torch.exp, torch.expm1]
CURVES += [torch.log, torch.log1p, torch.reciprocal, torch.rsqrt, torch.sgn, torch.sign, torch.sin, torch.sinh]
CURVES += [torch.sqrt, torch.square, torch.max, torch.nn.functional.hardshrink, torch.nn.functional.softshrink]
CURVES += [lambda z: z.amax(0), lambda z: z.clamp(0.2, 0.5), lambda z: z.clamp_min(0.2), lambda z: z.clamp_max(0.2)]
CURVES += [lambda z: torch.fmax(z, z + 1), lambda z: torch.fmin(z, z + 1)]
CURVES += [lambda z: torch.maximum(z, z + 1), lambda z: torch.minimum(z, z + 1)]


def test_what_bends_is_known_by_autograd_s_name():
    assert {graph.kind(curve(Z).grad_fn) for curve in CURVES} == graph.CURVED


@pytest.mark.parametrize("clamp", [torch.clamp, torch.clamp_min])
def test_a_clamp_at_0_is_a_relu(clamp):
    assert graph.activation(clamp(Z, min=0).grad_fn) == "clamp"
    assert graph.activation(clamp(Z, min=0.5).grad_fn) is None


# ------------------------------------------------------------------------------------- where the units lie


class Maker(nn.Module):
    """`forward(self, x)` given as a function; `made` is the layer whose outputs are the units."""

    def __init__(self, made, forward, **others):
        super().__init__()
        self.made, self.act, self.function = made, nn.ReLU(), forward
        for name, module in others.items():
            setattr(self, name, module)

    def forward(self, x):
        return self.function(self, x)


SQUARE = torch.randn(5, 5, 5, 5, generator=torch.Generator().manual_seed(0))  # sizes tell nothing
CUBE = SQUARE[0]


def gate(m, x):
    return m.act(m.gate(x.mean((2, 3))).sigmoid()[:, :, None, None] * m.made(x))


def layer_norm_2d(m, x):
    return m.act(m.made(m.conv(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


def functional(m, x):
    return m.act(torch.nn.functional.conv2d(x, m.made.weight, m.made.bias))


def matrix(m, x):
    return m.act(x @ m.made.weight.T + m.made.bias)


def before_channels(m, x):
    return m.act(torch.einsum("nchw,dc->ndhw", x, m.made.weight) + m.made.bias[:, None, None])


def act(m, x):
    return m.act(m.made(x))


CONV, LINEAR = nn.Conv2d(5, 5, 1), nn.Linear(5, 5)
UNIT_CASES = {
    "channels": (CONV, act, SQUARE),
    "channels, another memory format": (CONV, lambda m, x: act(m, x.to(memory_format=torch.channels_last)), SQUARE),
    "channels of a transposed convolution": (nn.ConvTranspose2d(5, 5, 1), act, SQUARE),
    "channels of one image": (CONV, act, CUBE),
    "channels of one sequence": (nn.Conv1d(5, 5, 1), act, CUBE[0]),
    "batch norm": (nn.BatchNorm2d(5), act, SQUARE),
    "group norm": (nn.GroupNorm(5, 5), act, SQUARE),
    "instance norm": (nn.InstanceNorm2d(5, affine=True), act, SQUARE),
    "sequence": (nn.Conv1d(5, 5, 1), act, CUBE),
    "sequence, turned": (nn.Conv1d(5, 5, 1), lambda m, x: m.act(m.made(x).transpose(1, 2)), CUBE),
    "features": (LINEAR, act, CUBE[0]),
    "features of a sequence": (LINEAR, act, CUBE),
    "features beside a convolution": (LINEAR, lambda m, x: act(m, m.conv(x)), CUBE, {"conv": nn.Conv1d(5, 5, 1)}),
    "features of an image": (LINEAR, lambda m, x: act(m, m.norm(x)), SQUARE, {"norm": nn.LayerNorm(5)}),
    "channels behind features": (CONV, lambda m, x: act(m, m.norm(x)), SQUARE, {"norm": nn.LayerNorm(5)}),
    "features, then channels": (LINEAR, lambda m, x: m.act(m.made(x).permute(0, 3, 1, 2)), SQUARE),
    "features, moved by a negative axis": (LINEAR, lambda m, x: m.act(m.made(x).movedim(-1, -2)), CUBE),
    "layer norm of channels": (nn.LayerNorm(5), layer_norm_2d, SQUARE, {"conv": CONV}),
    "a gate in between": (CONV, gate, SQUARE, {"gate": LINEAR}),
    "patches": (CONV, lambda m, x: m.act(m.made(x).flatten(2).transpose(1, 2)), SQUARE),
    "a view": (CONV, lambda m, x: m.act(m.made(x).view(5, 5, 25)), SQUARE),
    "an unsafe view": (CONV, lambda m, x: m.act(torch.ops.aten._unsafe_view(m.made(x), (5, 5, 25))), SQUARE),
    "an alias": (
        CONV,
        lambda m, x: m.act(torch.ops.aten._reshape_alias(m.made(x), (5, 5, 25), (125, 25, 1))),
        SQUARE,
    ),
    "with strides": (CONV, lambda m, x: m.act(m.made(x).as_strided((5, 5, 25), (125, 25, 1))), SQUARE),
    "a sum": (CONV, lambda m, x: m.act(torch.zeros(5, 5, 5) + 0 * x + m.made(x)), SQUARE),
    "joined": (CONV, lambda m, x: m.act(torch.cat([m.made(x), m.made(x)], 1)[:, :5]), SQUARE),
    "pooled": (CONV, lambda m, x: m.act(nn.functional.avg_pool2d(m.made(x), 2, 1, 1)), SQUARE),
    "pooled to one place": (CONV, lambda m, x: m.act(m.made(x).mean((2, 3))), SQUARE),
    "pooled and squeezed": (CONV, lambda m, x: m.act(m.made(x).mean(2, keepdim=True).squeeze(2)), SQUARE),
    "pooled, and all squeezed": (CONV, lambda m, x: m.act(m.made(x).mean(2, keepdim=True).squeeze()), SQUARE),
    "the first place": (CONV, lambda m, x: m.act(m.made(x)[..., 0]), SQUARE),
    "one more axis": (CONV, lambda m, x: m.act(m.made(x)[:, None]), SQUARE),
    "broadcast": (CONV, lambda m, x: m.act(m.made(x) + torch.zeros(2, 1, 1, 1, 1)), SQUARE),
    "stacked": (LINEAR, lambda m, x: m.act(torch.stack([m.made(step) for step in x])), CUBE),
    "a function": (CONV, functional, SQUARE),
    "a matrix product": (LINEAR, matrix, CUBE),
    "an einsum": (LINEAR, before_channels, SQUARE),
    "steps of a recurrence": (LINEAR, lambda m, x: act(m, m.rnn(x)[0]), CUBE, {"rnn": nn.GRU(5, 5)}),
}
NO_BATCH = {"channels of one image", "channels of one sequence"}


def unit_case(name):
    """A model, and data on which its unit 1 fires nowhere, and every other somewhere."""
    made, forward, x, *others = UNIT_CASES[name]
    torch.manual_seed(0)
    model = Maker(copy.deepcopy(made), forward, **(copy.deepcopy(others[0]) if others else {}))
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    kill(model.made)
    return model, x


def kill(module, unit=1):
    """Make one unit fire never; all others somewhere."""
    with torch.no_grad():
        module.bias.fill_(1.0)
        module.bias[unit] = -1e3


@pytest.mark.parametrize("case", UNIT_CASES)
def test_the_units_are_those_of_the_layer_that_made_the_tensor(case):
    model, x = unit_case(case)
    with watch(model, units=True) as record:
        model(x)
    share = record.arrays[0, "act", "zero_fraction"]
    assert share.shape == (5,) and (share == 1).tolist() == [False, True, False, False, False]
    assert record.last("dead", "act") == record.last("never_fired", "act") == pytest.approx(1 / 5)
    if case not in NO_BATCH:
        assert dead_units(model, x)["act"].tolist() == [False, True, False, False, False]


@pytest.mark.parametrize("case", ["channels", "features of a sequence", "features of an image", "a gate in between"])
def test_the_units_of_frozen_layers_are_those_of_the_module_that_ran_before(case):
    model, x = unit_case(case)
    model.requires_grad_(False)
    with watch(model, units=True) as record:
        model(x)
    assert record.meta["failed"] == []
    assert (record.arrays[0, "act", "zero_fraction"] == 1).tolist() == [False, True, False, False, False]
    assert dead_units(model, x)["act"].tolist() == [False, True, False, False, False]


def test_where_no_layer_ran_before_four_axes_are_an_image():
    model = nn.Sequential(nn.ReLU())
    for x, units in ((torch.randn(4, 3, 5, 6), 3), (torch.randn(4, 5, 6), 6), (torch.randn(4, 6), 6)):
        with watch(model, units=True) as record:
            model(x)
        assert record.arrays[0, "0", "zero_fraction"].shape == (units,)


def test_a_used_again_activation_has_the_units_of_each_layer():
    conv, linear = nn.Conv2d(2, 3, 1), nn.Linear(3, 4)
    model = Maker(conv, lambda m, x: m.act(m.linear(m.act(m.made(x)).permute(0, 2, 3, 1))), linear=linear)
    with watch(model, units=True) as record:
        model(torch.randn(5, 2, 6, 6))
    assert record.arrays[0, "act", "zero_fraction"].shape == (3,)
    assert record.arrays[0, "act#2", "zero_fraction"].shape == (4,)


def test_each_channel_of_a_convolution_and_of_a_gate_has_its_spread_and_its_range():
    """Against the modules called one after the other, their outputs kept whole, in float64; step by step."""
    torch.manual_seed(0)
    model = gated_cnn((3, 8), 2, 5, norm=None).train()
    names = ["block1.conv", "block2.gate", "block2.gate.sigmoid", "block2"]
    with torch.no_grad():
        model.block2.conv.weight[3] = 0.0  # a channel that tells nothing
    images = [torch.randn(4, 3, 8, 8), 5 * torch.randn(6, 3, 8, 8)]
    with watch(model, layers=names, units=True) as record:
        for x in images:
            model(x)
    assert record.meta["failed"] == []
    for step, x in enumerate(images):
        with torch.no_grad():
            conv = model.block1.conv(model.pool(model.stem(x)))
            first = model.block1.gate(conv.relu())
            a = model.block2.conv(first).relu()
            gate = model.block2.gate
            gates = gate.excite(gate.squeeze(a.mean((2, 3))).relu()).sigmoid()  # (N, 8)
            out = a * gates[:, :, None, None]
        for name, kept in zip(names, (conv, out, gates, out), strict=True):
            by_channel = kept.double().numpy().reshape(*kept.shape[:2], -1)  # (N, 8, positions)
            by_channel = by_channel.transpose(1, 0, 2).reshape(8, -1)
            expected = {"unit_std": by_channel.std(axis=1), "unit_range": np.ptp(by_channel, axis=1)}
            for quantity, numbers in expected.items():
                found = record.arrays[step, name, quantity]
                assert found.shape == (8,)
                np.testing.assert_allclose(found, numbers, rtol=1e-4, atol=1e-7)
        assert record.arrays[step, "block2.gate", "unit_range"][3] == 0


@pytest.mark.parametrize("quantity", ["unit_std", "unit_range"])
def test_what_is_kept_of_each_unit_is_no_row(quantity):
    with pytest.raises(ValueError, match="quantities"):
        watch(network(), quantities=(quantity,))
    with pytest.raises(ValueError, match=r"number for each unit; watch\(model, units=True\)"):
        check_quantities([quantity])


# -------------------------------------------------------------------------- what counts as an activation


def own(function, name="Own"):
    """A module of somebody's own without state, as in any repository."""
    return type(name, (nn.Module,), {"forward": lambda self, *x: function(*x)})()


class Residual(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return x + self.function(x)


class Straight(torch.autograd.Function):
    """Reverses gradients: the identity on the way forward."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return -grad


class SquareRoot(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.abs().sqrt() * x.sign()

    @staticmethod
    def backward(ctx, grad):
        return grad / ctx.saved_tensors[0].abs().sqrt() / 2


def drop_path(x, share=0.5):
    keep = (torch.rand(len(x), 1) > share).to(x)
    return x * keep / (1 - share)


NOT_ACTIVATIONS = {
    "rearranged": lambda x: x.unflatten(1, (7, 1)).transpose(1, 2),
    "rearranged into the same shape": lambda x: x[:, [3, 2, 6, 1, 0, 5, 4]],
    "identity": lambda x: x,
    "a view": lambda x: x.view(x.shape),
    "drop path": drop_path,
    "dropout": lambda x: nn.functional.dropout(x, 0.3),
    "masked": lambda x: x.masked_fill(torch.rand(x.shape) < 0.3, 0.0),
    "masked by where": lambda x: torch.where(torch.rand(x.shape) < 0.3, torch.zeros(()), x),
    "scaled by position": lambda x: x * torch.linspace(0.5, 2, x.shape[1]),
    "moved by position": lambda x: x + torch.linspace(0.5, 2, x.shape[1]).sin(),
    "a straight line": lambda x: 3 * x - 1,
    "noise": lambda x: x + 0.1 * torch.randn(x.shape),
    "layer norm": lambda x: nn.functional.layer_norm(x, x.shape[1:]),
    "unit length": lambda x: nn.functional.normalize(x, dim=1),
    "root mean square": lambda x: x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-6),
    "softmax": lambda x: x.softmax(1),
    "attention": lambda x: (x @ x.T).softmax(1) @ x,
    "pooled": lambda x: x.amax(1, keepdim=True),
    "reversed gradients": Straight.apply,
    "a loss": lambda x: x.square().mean(),
}


@pytest.mark.parametrize("kind", [*NOT_ACTIVATIONS, "residual", "residual of a module"])
def test_what_is_no_activation(kind):
    torch.manual_seed(0)
    if kind == "residual":
        part = Residual(torch.tanh)
    else:
        part = Residual(nn.Linear(7, 7)) if kind == "residual of a module" else own(NOT_ACTIVATIONS[kind])
    model = nn.Sequential(nn.Linear(8, 7), part)
    with watch(model, quantities=("act_mean", "grad_norm")) as record:
        for _ in range(3):
            out = model(X)
            assert not out.requires_grad or out.sum().backward() is None
    assert "act_mean" not in record.quantities() and "1" not in record.meta["kinds"]
    with pytest.raises(ValueError, match="no activation module"):
        dead_units(model, X)
    with watch(model, layers=["1"]) as record:  # whoever names it gets it
        model(X)
    assert record.layers("act_mean") == ["1"]


ACTIVATIONS = {
    "swish": lambda x: x * torch.sigmoid(x),
    "swish in place": lambda x: x.mul_(torch.sigmoid(x)),
    "squared relu": lambda x: torch.relu(x) ** 2,
    "gelu by tanh": lambda x: 0.5 * x * (1 + torch.tanh(0.8 * (x + 0.045 * x**3))),
    "clamp": lambda x: x.clamp(-1, 1),
    "sine": torch.sin,
    "softsign": lambda x: x / (1 + x.abs()),
    "relu by a mask": lambda x: x * (x > 0),
    "leaky by where": lambda x: torch.where(x > 0, x, 0.1 * x),
    "a square": lambda x: x * x,
    "a function of its own": SquareRoot.apply,
    "shrink": lambda x: x.sign() * (x.abs() - 0.5).clamp(min=0),
    "maxout": lambda x: x.unflatten(1, (2, -1)).amax(1),
    "gated": lambda x: x.chunk(2, dim=-1)[0] * x.chunk(2, dim=-1)[1].sigmoid(),
}


UNCLEAR = {"maxout", "gated", "swish in place"}
"""Without a graph: only the values could tell, and they are gone or fewer."""


@pytest.mark.parametrize(
    ("kind", "frozen"), [(k, f) for k in ACTIVATIONS for f in (False, True) if not (f and k in UNCLEAR)]
)
def test_what_is_an_activation(kind, frozen):
    torch.manual_seed(0)
    halves = kind in ("maxout", "gated")
    model = nn.Sequential(nn.Linear(8, 6), own(ACTIVATIONS[kind]), nn.Linear(3 if halves else 6, 2))
    model[0].requires_grad_(not frozen)
    expected = model[1](model[0](X).detach())
    with watch(model) as record:
        model(X).sum().backward()
    assert record.layers("act_mean") == ["1"] and record.meta["unseen"] == []
    assert record.last("act_mean", "1") == pytest.approx(float(expected.mean()), abs=1e-6)
    assert set(dead_units(model, X)) == {"1"}


@pytest.mark.parametrize("kind", sorted(UNCLEAR))
def test_what_cannot_be_told_is_listed(kind):
    model = nn.Sequential(nn.Linear(8, 6), own(ACTIVATIONS[kind]), nn.Linear(6 if kind == "swish in place" else 3, 2))
    model[0].requires_grad_(False)
    with watch(model) as record:
        train(model, y=Y % 2)
    assert "act_mean" not in record.quantities()
    assert [entry["where"] for entry in record.meta["failed"]] == ["the module '1'"]
    assert "name it in `layers`" in record.meta["failed"][0]["error"]


def test_a_module_of_ones_own_is_called_as_often_as_without_a_watch():
    """Deciding what it is must not run it: it may count, print, or draw numbers that nobody restores."""
    calls = []

    def counting(x):
        calls.append(random.random())
        return x * torch.sigmoid(x)

    random.seed(0)
    model = nn.Sequential(own(counting), nn.Linear(8, 3), own(counting))
    with watch(model) as record:
        train(model, steps=2)
    assert len(calls) == 4 and random.random() == draws(5)
    assert record.layers("act_mean") == ["0", "2"]


def draws(n):
    random.seed(0)
    return [random.random() for _ in range(n)][-1]


class ByKeyword(nn.Module):
    def forward(self, *, x):
        return x * torch.sigmoid(x)


def test_activations_that_are_called_by_keyword():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.act, self.own = nn.Linear(8, 6), nn.ReLU(), ByKeyword()

        def forward(self, x):
            return self.own(x=self.act(input=self.linear(input=x)))

    model = Model()
    with watch(model) as record:
        model(x=X)
    assert record.layers("act_mean") == ["act", "own"] and record.meta["unseen"] == []


class Alternating(nn.Module):
    """One of two activations of the same width in turns: the first lets everything through, the second nothing."""

    def __init__(self):
        super().__init__()
        self.lift, self.first, self.second, self.head = nn.Linear(8, 6), nn.ReLU(), nn.ReLU(), nn.Linear(6, 3)
        self.turn = 0

    def forward(self, x):
        self.turn += 1
        h = self.lift(x).square() + 1
        return self.head(self.first(h) if self.turn % 2 else self.second(-h))


def test_layers_that_take_turns_are_not_mixed_up():
    model = Alternating()
    with watch(model, window=2) as record:
        train(model, steps=6)
    assert record.get("zero_fraction", "first")[0].tolist() == [0, 2, 4]
    assert record.get("zero_fraction", "second")[0].tolist() == [1, 3, 5]
    assert set(values(record, "zero_fraction", "first")) == {0.0}
    assert set(values(record, "zero_fraction", "second")) == {1.0}
    assert set(values(record, "dead", "second")) == {1.0} and set(values(record, "dead", "first")) == {0.0}


class Refuses(nn.Module):
    def forward(self, x):
        raise ValueError("not this time")


class GoesOn(nn.Module):
    """Goes on where a child raises, and then applies an activation that is no module."""

    def __init__(self):
        super().__init__()
        self.refuses, self.lift, self.head = nn.Sequential(Refuses()), nn.Linear(8, 6), nn.Linear(6, 3)

    def forward(self, x):
        with contextlib.suppress(ValueError):
            self.refuses(x)
        return self.head(torch.tanh(self.lift(x)))


def test_an_activation_is_reported_though_a_child_raised_before_it():
    model = GoesOn()
    with watch(model) as record:
        train(model, steps=2)
    assert [(row["function"], row["calls"]) for row in record.meta["unseen"]] == [("tanh", 1)]
    assert [entry["where"] for entry in record.meta["failed"]] == ["the module 'refuses.0'"]  # an activation or not?
