"""The book's networks: names, shapes and parameter counts by closed form."""

import numpy as np
import pytest
import torch
from torch import nn

from unstuck.models import ACTIVATIONS, Maxout, accuracy, activation_module, count_parameters, in_mode, mlp, small_cnn

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
@pytest.mark.parametrize("norm", [None, "batch", "layer"])
def test_mlp_parameters_and_outputs(activation, norm):
    model = mlp(WIDTHS, activation, norm=norm)
    pieces = 2 if activation == "maxout" else 1
    expected = 0
    for fan_in, fan_out in ((12, 7), (7, 5)):
        expected += (fan_in + 1) * fan_out * pieces  # weights and biases
        expected += 2 * fan_out * pieces * (norm is not None)  # scale and shift
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


def test_every_activation_of_the_book_is_there():
    assert set(ACTIVATIONS) == {
        *("identity", "sigmoid", "tanh", "relu", "leaky_relu", "prelu", "elu", "selu", "gelu", "silu", "maxout"),
    }


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
    with pytest.raises(ValueError, match="7 features do not divide into 2 pieces"):
        Maxout()(torch.zeros(1, 7))
    with pytest.raises(ValueError, match="pieces"):
        Maxout(1)
    assert "pieces=3" in repr(Maxout(3))


# --- wrong arguments ---


@pytest.mark.parametrize("sizes", [(), (4,), (4, 0), (4, -1, 2), (4, 2.0), (4, None), "ab"])
def test_wrong_sizes_are_refused(sizes):
    with pytest.raises(ValueError, match=r"^widths: expected at least two positive integers"):
        mlp(sizes)
    with pytest.raises(ValueError, match=r"^channels: expected at least two positive integers"):
        small_cnn(sizes)


def test_other_wrong_arguments_are_refused():
    with pytest.raises(TypeError, match=r"^widths"):
        mlp(784)
    for wrong in ((4, 2), (4, 3, 2)):  # also where there is no hidden layer to use it
        with pytest.raises(ValueError, match=r"^activation: 'rellu' is not one of .*'relu'"):
            mlp(wrong, "rellu")
    with pytest.raises(ValueError, match=r"^activation"):
        small_cnn(activation="Relu")
    with pytest.raises(ValueError, match=r"^norm: expected None or one of .* got 'group'"):
        mlp(WIDTHS, norm="group")
    with pytest.raises(ValueError, match=r"^norm: expected None or 'batch', got 'layer'"):
        small_cnn(norm="layer")
    for classes in (0, -1, 2.5, "10"):
        with pytest.raises(ValueError, match=r"^classes"):
            small_cnn(classes=classes)


# --- count_parameters, in_mode, accuracy ---


def test_only_what_is_learnt_is_counted():
    model = mlp(WIDTHS)
    model.linear1.requires_grad_(False)
    assert count_parameters(model) == (7 + 1) * 5 + (5 + 1) * 3


def modes(model):
    return [module.training for module in model.modules()]


@pytest.mark.parametrize("training", [True, False])
def test_in_mode_gives_every_module_its_own_mode_back(training):
    model = mlp(WIDTHS, norm="batch").train(not training)
    model.norm1.train(training)  # a frozen layer, say
    before = modes(model)
    with in_mode(model, training=training):
        assert set(modes(model)) == {training}
    assert modes(model) == before
    with pytest.raises(RuntimeError, match="boom"), in_mode(model, training=training):
        raise RuntimeError("boom")
    assert modes(model) == before


def test_accuracy_is_the_share_of_right_answers_in_evaluation_mode():
    model = nn.Sequential(nn.Identity(), nn.Dropout(0.9)).train()
    x = torch.eye(4).repeat(25, 1)  # (100, 4): the answer is the input
    y = x.argmax(1)
    y[:30] = (y[:30] + 1) % 4  # 30 wrong
    for batch_size in (1, 7, 100, 1000):
        assert accuracy(model, x, y, batch_size) == pytest.approx(0.7)
    assert modes(model) == [True] * 3


def test_accuracy_keeps_the_modes_after_an_exception():
    model = mlp(WIDTHS).train()
    with pytest.raises(RuntimeError):
        accuracy(model, torch.zeros(3, 99), torch.zeros(3, dtype=torch.int64))
    assert all(modes(model))


def test_accuracy_refuses_unequal_or_no_examples():
    model = mlp(WIDTHS)
    for n_x, n_y in ((1, 7), (7, 1), (0, 0)):  # one example against seven labels would broadcast
        with pytest.raises(ValueError, match=f"^x, y: .* got {n_x} and {n_y}"):
            accuracy(model, torch.zeros(n_x, 12), torch.zeros(n_y, dtype=torch.int64))
