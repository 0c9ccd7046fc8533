"""The book's networks: names, shapes and parameter counts by closed form."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import unstuck.activations
from unstuck.models import (
    ACTIVATIONS,
    NORMS,
    Maxout,
    activation_module,
    count_parameters,
    gated_cnn,
    mlp,
    small_cnn,
)

WIDTHS = (12, 7, 5, 3)


def names(model):
    return [name for name, _ in model.named_children()]


# --- mlp ---


def test_layers_are_named_and_ordered():
    assert names(mlp(WIDTHS)) == ["flatten", "linear1", "act1", "linear2", "act2", "linear3"]
    assert names(mlp(WIDTHS, norm="batch")) == [
        *("flatten", "linear1", "norm1", "act1", "linear2", "norm2", "act2", "linear3"),
    ]
    assert names(mlp((4, 2))) == ["flatten", "linear1"]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("norm", [None, *NORMS])
def test_mlp_parameters_and_outputs(activation, norm):
    model = mlp(WIDTHS, activation, norm=norm)
    pieces = 2 if activation == "maxout" else 1
    expected = 0
    for fan_in, fan_out in ((12, 7), (7, 5)):
        expected += (fan_in + 1) * fan_out * pieces  # weights and biases
        expected += {None: 0, "rms": 1}.get(norm, 2) * fan_out * pieces  # scale, and shift but for RMS norm
        expected += activation == "prelu"  # one slope a layer
    expected += (5 + 1) * 3
    assert count_parameters(model) == expected
    assert model(torch.randn(6, 3, 2, 2)).shape == (6, 3)  # images are flattened


def test_mlp_computes_what_its_layers_say():
    model = mlp(WIDTHS, "tanh").double()
    x = torch.randn(4, 12, dtype=torch.float64)
    parameters = [p.detach().numpy() for p in model.parameters()]
    a = x.numpy()
    for i in (0, 2):
        a = np.tanh(a @ parameters[i].T + parameters[i + 1])
    np.testing.assert_allclose(model(x).detach().numpy(), a @ parameters[4].T + parameters[5], rtol=1e-12)


def test_norms_are_of_the_right_kind_and_width():
    assert isinstance(mlp(WIDTHS, norm="layer").norm1, nn.LayerNorm)
    assert mlp(WIDTHS, "maxout", norm="batch").norm2.num_features == 10


@pytest.mark.parametrize("norm", NORMS)
def test_norms_compute_their_formula(norm):
    model = mlp((5, 36, 2), norm=norm).double()
    z = 2 * torch.randn(8, 36, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 1
    groups = z.numpy().reshape({"batch": (8, 1, 36), "group": (8, 2, 18)}.get(norm, (8, 1, 36)))
    axis = 0 if norm == "batch" else 2
    centred = groups if norm == "rms" else groups - groups.mean(axis=axis, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(axis=axis, keepdims=True) + 1e-5)
    np.testing.assert_allclose(model.norm1(z).detach().numpy(), expected.reshape(8, 36), rtol=1e-12)


@pytest.mark.parametrize(
    ("features", "groups"),
    [(1, 1), (16, 1), (31, 1), (32, 2), (33, 1), (34, 2), (36, 2), (64, 4), (100, 5), (128, 8), (257, 1)],
)
def test_groups_are_the_smallest_of_at_least_sixteen(features, groups):
    assert mlp((4, features, 2), norm="group").norm1.num_groups == groups


def test_numpy_integers_are_integers():
    widths = np.array([12, 7, 3])
    assert type(mlp(widths).linear1.in_features) is int
    assert count_parameters(small_cnn(np.array([1, 2]), np.int64(3))) == (9 + 1) * 2 + (2 + 1) * 3


# --- small_cnn ---


def test_cnn_layers_are_named_and_ordered():
    assert names(small_cnn(norm="batch")) == [
        *("conv1", "norm1", "act1", "pool1", "conv2", "norm2", "act2", "pool2", "average", "flatten", "linear1"),
    ]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("norm", [None, "batch"])
def test_cnn_parameters_and_outputs(activation, norm):
    model = small_cnn((3, 4, 6), 5, activation, norm=norm)
    pieces = 2 if activation == "maxout" else 1
    expected = (6 + 1) * 5
    for c_in, c_out in ((3, 4), (4, 6)):
        expected += (
            (9 * c_in + 1) * c_out * pieces + 2 * c_out * pieces * (norm is not None) + (activation == "prelu")
        )
    assert count_parameters(model) == expected
    for size in ((28, 28), (20, 9), (4, 4), (5, 31)):
        assert model(torch.randn(2, 3, *size)).shape == (2, 5)


def test_cnn_maps_shrink_by_half():
    model, shapes = small_cnn((1, 4, 6)), []
    for name in ("act1", "pool1", "act2", "pool2"):
        model.get_submodule(name).register_forward_hook(lambda m, i, output: shapes.append(tuple(output.shape[1:])))
    model(torch.randn(1, 1, 28, 13))
    assert shapes == [(4, 28, 13), (4, 14, 6), (6, 14, 6), (6, 7, 3)]


# --- activations ---


def test_every_activation_of_the_one_table_is_made_by_its_kind():
    assert ACTIVATIONS is unstuck.activations.ACTIVATIONS
    for name, activation in ACTIVATIONS.items():
        assert type(activation_module(name)) is getattr(nn, activation.kind, Maxout)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("identity", lambda z: z),
        ("sigmoid", lambda z: 1 / (1 + np.exp(-z))),
        ("tanh", np.tanh),
        ("relu", lambda z: np.maximum(z, 0)),
        ("leaky_relu", lambda z: np.where(z > 0, z, 0.01 * z)),
        ("prelu", lambda z: np.where(z > 0, z, 0.25 * z)),
        ("elu", lambda z: np.where(z > 0, z, np.expm1(z))),
        ("selu", lambda z: 1.0507009873554805 * np.where(z > 0, z, 1.6732632423543772 * np.expm1(z))),
        ("silu", lambda z: z / (1 + np.exp(-z))),
    ],
)
def test_activations_compute_their_formula(name, function):
    z = np.linspace(-6, 6, 101).reshape(1, -1)
    with torch.no_grad():
        np.testing.assert_allclose(
            activation_module(name).double()(torch.from_numpy(z)).numpy(), function(z), atol=1e-12
        )


@pytest.mark.parametrize(("name", "largest"), [("sigmoid", 0.25), ("tanh", 1.0)])
def test_a_unit_is_saturated_where_a_fiftieth_of_the_slope_is_left(name, largest):
    centre, half = ACTIVATIONS[name].unsaturated
    z = torch.linspace(-8, 8, 100_001, dtype=torch.float64, requires_grad=True)
    a = activation_module(name)(z)
    (slope,) = torch.autograd.grad(a.sum(), z)
    inside = (a - centre).abs() <= half
    assert slope[inside].min() == pytest.approx(0.02 * largest, rel=1e-3)  # the grid is 1.6e-4 wide
    assert slope[~inside].max() <= 0.02 * largest


def test_gelu_is_the_exact_one():
    from scipy.stats import norm

    z = np.linspace(-6, 6, 101)
    np.testing.assert_allclose(activation_module("gelu")(torch.from_numpy(z)).numpy(), z * norm.cdf(z), atol=1e-12)


def test_activations_share_no_parameters_between_layers():
    model = mlp(WIDTHS, "prelu")
    assert model.act1.weight is not model.act2.weight


@pytest.mark.parametrize("pieces", [2, 3])
@pytest.mark.parametrize("rest", [(), (4, 3)])
def test_maxout_takes_the_largest_piece(pieces, rest):
    z = torch.randn(5, 6 * pieces, *rest)
    expected = np.max([z[:, k * 6 : (k + 1) * 6].numpy() for k in range(pieces)], axis=0)
    np.testing.assert_array_equal(Maxout(pieces)(z).numpy(), expected)


def test_maxout_refuses_what_does_not_divide():
    with pytest.raises(ValueError, match=r"^z: expected \(N, H \* 2, ...\) for 2 pieces, got \(1, 7\)"):
        Maxout()(torch.zeros(1, 7))
    assert "pieces=3" in repr(Maxout(3))


# --- activations of one's own ---


class Swish(nn.Module):
    def forward(self, z):
        return z * z.sigmoid()


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (nn.Softplus, nn.Softplus),
        (Swish, Swish),
        (partial(nn.LeakyReLU, 0.2), nn.LeakyReLU),
        (lambda: Swish(), Swish),
    ],
)
def test_a_callable_makes_the_activations(make, kind):
    for model in (mlp(WIDTHS, make), small_cnn((1, 2, 3), 5, make)):
        assert type(model.act1) is type(model.act2) is kind
        assert model.act1 is not model.act2
    assert mlp(WIDTHS, partial(nn.LeakyReLU, 0.2)).act2.negative_slope == 0.2


def test_maxout_of_more_pieces_widens_the_layers_before_it():
    three = partial(Maxout, 3)
    assert mlp(WIDTHS, three).linear1.out_features == 21
    assert mlp(WIDTHS, three)(torch.zeros(2, 12)).shape == (2, 3)
    assert small_cnn((1, 4, 2), 5, three, norm="batch").norm2.num_features == 6
    assert small_cnn((1, 4, 2), 5, three)(torch.zeros(2, 1, 8, 8)).shape == (2, 5)


NO_ACTIVATIONS = [
    (None, r"got None$"),
    (3, r"got 3$"),
    (nn.ReLU(), r"got ReLU\(\)$"),  # a module itself, which all layers would share
    (torch.relu, r"got <built-in method relu"),
    (nn.Threshold, r"got <class .*Threshold'> \(.*missing 2 required"),
    (lambda: torch.relu, r"but <function .*> makes <built-in method relu"),
    (lambda: nn.ReLU, r"but <function .*> makes <class .*ReLU'>$"),
]


@pytest.mark.parametrize(("activation", "message"), NO_ACTIVATIONS)
@pytest.mark.parametrize("make", [activation_module, partial(mlp, (4, 2)), partial(small_cnn, (1, 2), 3)])
def test_what_makes_no_module_is_refused(make, activation, message):
    with pytest.raises(
        TypeError, match=rf"(?s)^activation: expected a name or what makes a torch.nn.Module .*{message}"
    ):
        make(activation)


# --- wrong arguments ---


@pytest.mark.parametrize("make", [mlp, small_cnn])
@pytest.mark.parametrize(
    ("sizes", "error"),
    [
        ((), ValueError),
        ((4,), ValueError),
        ((4, 0), ValueError),
        ((4, -1, 2), ValueError),
        ((True, 3), TypeError),
        ((4, np.True_), TypeError),
        ((4, 2.0), TypeError),
        ((4, None), TypeError),
        ("ab", TypeError),
        (b"ab", TypeError),  # bytes are integers to Python
        (784, TypeError),
    ],
)
def test_wrong_sizes_are_refused(make, sizes, error):
    with pytest.raises(error, match="^widths: expected" if make is mlp else "^channels: expected"):
        make(sizes)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: mlp((4, 3, 2), "rellu"), ValueError, r"activation: 'rellu' is not one of .*'relu'"),
        (lambda: mlp((4, 2), "rellu"), ValueError, "activation: 'rellu'"),  # also where no hidden layer would use it
        (lambda: small_cnn(activation="Relu"), ValueError, "activation: 'Relu'"),
        (lambda: mlp(WIDTHS, norm="instance"), ValueError, r"norm: 'instance' is not one of \['batch', .*'rms'\]"),
        (lambda: mlp(WIDTHS, norm=True), TypeError, "norm: expected one of"),
        (lambda: small_cnn(norm="layer"), ValueError, r"norm: 'layer' is not one of \['batch'\]"),
        (lambda: small_cnn(classes=0), ValueError, "classes: expected an integer of at least 1"),
        (lambda: small_cnn(classes=True), TypeError, "classes: expected an integer"),
        (lambda: Maxout(1), ValueError, "pieces: expected an integer of at least 2"),
        (lambda: count_parameters(mlp), TypeError, "model: expected a torch.nn.Module"),
    ],
)
def test_other_wrong_arguments_are_refused(call, error, message):
    with pytest.raises(error, match="^" + message):
        call()


def test_only_what_is_learnt_is_counted():
    model = mlp(WIDTHS)
    model.linear1.requires_grad_(False)
    assert count_parameters(model) == (7 + 1) * 5 + (5 + 1) * 3


# --- gated_cnn ---


def test_gated_cnn_names_its_parts_and_maps_images_to_classes():
    model = gated_cnn((3, 8), 2, 5)
    assert names(model) == ["stem", "pool", "block1", "block2", "average", "flatten", "linear"]
    assert model(torch.randn(4, 3, 6, 6)).shape == (4, 5)


@pytest.mark.parametrize("norm", [None, "batch"])
def test_gated_cnn_parameters(norm):
    c, r = 8, 2
    stem, head, gate = (3 * 9 + 1) * c, (c + 1) * 5, (c + 1) * (c // r) + (c // r + 1) * c
    block = 9 * c * c + (c if norm is None else 2 * c) + gate  # the convolution's bias, or the norm's scale and shift
    assert count_parameters(gated_cnn((3, c), 3, 5, reduction=r, norm=norm)) == stem + 3 * block + head


@pytest.mark.parametrize("residual", [False, True])
def test_a_gated_block_computes_what_hu_et_al_say(residual):
    model = gated_cnn((3, 4), 1, 5, reduction=2, norm=None, residual=residual).double()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    block, before = model.block1, model.pool(model.stem(x))
    a = block.conv(before).clamp(min=0).detach().numpy()
    means = a.mean((2, 3))  # squeeze
    w1, b1, w2, b2 = (p.detach().numpy() for p in block.gate.parameters())
    gates = 1 / (1 + np.exp(-(np.maximum(means @ w1.T + b1, 0) @ w2.T + b2)))
    expected = a * gates[:, :, None, None] + (before.detach().numpy() if residual else 0)
    np.testing.assert_allclose(block(before).detach().numpy(), expected, rtol=1e-12)


def test_gates_start_at_the_sigmoid_of_their_bias():
    """The mean gate at birth, over channels and examples; the weights before it spread them a little."""
    x = torch.rand(50, 1, 14, 14)
    for bias in (-2.0, 0.0, 3.0):
        torch.manual_seed(0)
        model = gated_cnn((1, 32), 1, 10, gate_bias=bias)
        gate = model.block1.gate
        gates = gate.sigmoid(gate.excite(gate.act(gate.squeeze(model.pool(model.stem(x)).mean((2, 3))))))
        assert abs(gates.mean().item() - 1 / (1 + np.exp(-bias))) < 0.03


def test_without_norm_half_open_gates_halve_the_signal_in_each_block():
    torch.manual_seed(0)
    model = gated_cnn((1, 64), 6, 10, norm=None)
    signal, sizes = model.pool(model.stem(torch.randn(20, 1, 16, 16))), []
    for i in range(1, 7):
        signal = getattr(model, f"block{i}")(signal)
        sizes.append(signal.square().mean().sqrt().item())
    factor = (sizes[-1] / sizes[0]) ** (1 / 5)  # He's start keeps it where gates are open; borders take a few percent
    assert 0.4 < factor < 0.52


def test_convolutions_of_a_gated_cnn_start_with_hes_weights():
    torch.manual_seed(0)
    model = gated_cnn((1, 64), 1, 10, norm=None)
    assert abs(model.block1.conv.weight.std().item() / np.sqrt(2 / (64 * 9)) - 1) < 0.02
    assert not model.block1.conv.bias.any() and not model.stem.bias.any() and not model.block1.gate.squeeze.bias.any()


def test_more_reduction_than_channels_is_refused():
    with pytest.raises(ValueError, match="reduction: expected at most the 4 channels of a block, got 8"):
        gated_cnn((1, 4), 1, 10, reduction=8)
