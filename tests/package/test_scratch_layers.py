"""The NumPy layers: against PyTorch's autograd and against finite differences, in awkward shapes."""

import ast
import inspect
import math
import textwrap

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from unstuck import models, scratch
from unstuck.activations import ACTIVATIONS as TABLE
from unstuck.scratch import (
    ACTIVATIONS,
    BatchNorm,
    Conv2d,
    Flatten,
    Layer,
    LayerNorm,
    Linear,
    MaxPool2d,
    Network,
    ReLU,
    SquaredError,
    conv2d_naive,
    fold,
    gradient_check,
    pad,
    windows,
)

RNG = np.random.default_rng


def filled(layer: Layer, seed: int = 1) -> Layer:
    """The layer with no parameter and no buffer at 0 or 1."""
    rng = RNG(seed)
    for array in (*layer.params.values(), *layer.buffers.values()):
        array[...] = rng.uniform(0.2, 1.5, array.shape) * rng.choice([-1, 1], array.shape)
    if "running_var" in layer.buffers:
        np.abs(layer.buffers["running_var"], out=layer.buffers["running_var"])
    return layer


def in_eval(layer: Layer) -> Layer:
    layer.training = False
    return layer


def batch_norm(layer: BatchNorm):
    """What PyTorch computes for it, from copies of its running statistics as they are now."""
    mean, var = (torch.from_numpy(array.copy()) for array in layer.buffers.values())
    return lambda x, gamma, beta: F.batch_norm(x, mean, var, gamma, beta, layer.training, 0.1, 1e-5)


# name -> (layer, shape of x, layer -> the same function in PyTorch of x and the parameters)
CASES = {
    "linear": (lambda: Linear(5, 3, rng=0), (4, 5), lambda layer: F.linear),
    "linear, batch 1": (lambda: Linear(5, 3, rng=0), (1, 5), lambda layer: F.linear),
    "linear, one feature to one": (lambda: Linear(1, 1, rng=0), (3, 1), lambda layer: F.linear),
    "flatten": (Flatten, (2, 3, 4, 5), lambda layer: lambda x: x.flatten(1)),
    "flatten, already flat": (Flatten, (2, 3), lambda layer: lambda x: x),
}
for case, (size, stride, padding, shape) in {
    "1x1": (1, 1, 0, (2, 3, 4, 5)),
    "batch 1, one channel": (3, 1, 0, (1, 1, 5, 4)),
    "padding": (3, 1, 1, (2, 3, 5, 7)),
    "more padding than the kernel": (3, 1, 3, (2, 1, 2, 3)),
    "stride that leaves a border": (3, 2, 0, (2, 2, 6, 9)),
    "stride larger than the kernel": (2, 3, 1, (2, 2, 7, 6)),
    "kernel as large as the image": (4, 1, 0, (3, 2, 4, 4)),
    "even kernel, stride and padding": (4, 3, 2, (2, 3, 9, 8)),
}.items():
    CASES[f"conv, {case}"] = (
        lambda size=size, stride=stride, padding=padding, c=shape[1]: Conv2d(
            c, 4, size, stride=stride, padding=padding, rng=0
        ),
        shape,
        lambda layer: lambda x, w, b: F.conv2d(x, w, b, layer.stride, layer.padding),
    )
for case, (size, stride, shape) in {
    "2x2": (2, None, (2, 3, 4, 6)),
    "odd sizes": (2, None, (1, 2, 5, 7)),
    "overlapping": (3, 2, (2, 2, 8, 7)),
    "overlapping by all but one": (3, 1, (1, 1, 4, 5)),
    "gaps": (2, 3, (2, 1, 8, 9)),
    "1x1": (1, None, (2, 2, 3, 3)),
}.items():
    CASES[f"pool, {case}"] = (
        lambda size=size, stride=stride: MaxPool2d(size, stride=stride),
        shape,
        lambda layer: lambda x: F.max_pool2d(x, layer.size, layer.stride),
    )
for case, shape in {
    "features": (6, 4),
    "two examples": (2, 3),
    "one feature": (5, 1),
    "images": (3, 2, 4, 5),
    "one image": (1, 2, 3, 2),
}.items():
    CASES[f"norm, {case}"] = (lambda c=shape[1]: BatchNorm(c), shape, batch_norm)
    CASES[f"norm in evaluation, {case}"] = (lambda c=shape[1]: in_eval(BatchNorm(c)), shape, batch_norm)
for case, shape in {"features": (6, 4), "one example": (1, 5), "positions": (2, 5, 3)}.items():
    CASES[f"layer norm, {case}"] = (
        lambda c=shape[-1]: LayerNorm(c),
        shape,
        lambda layer: lambda x, gamma, beta: F.layer_norm(x, x.shape[-1:], gamma, beta, 1e-5),
    )
CASES["norm in evaluation, one example"] = (lambda: in_eval(BatchNorm(3)), (1, 3), batch_norm)
for name, activation in ACTIVATIONS.items():
    of_torch = (lambda layer: lambda x, w: F.prelu(x, w)) if name == "prelu" else None
    for shape in ((3, 4), (1, 2), (2, 4, 3, 5)):
        CASES[f"{name}, {shape}"] = (
            activation,
            shape,
            of_torch or (lambda layer, name=name: models.activation_module(name)),
        )

every_case = pytest.mark.parametrize("case", CASES)


def relative_error(ours: np.ndarray, theirs: torch.Tensor) -> float:
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape
    return float(np.max(np.abs(ours - theirs)) / np.max(np.abs(theirs)))


@every_case
def test_forward_and_backward_are_those_of_pytorch(case):
    make, shape, in_torch = CASES[case]
    layer = filled(make())
    function = in_torch(layer)
    x = 2 * RNG(0).normal(size=shape)
    tensors = [torch.tensor(array, requires_grad=True) for array in (x, *layer.params.values())]
    theirs = function(*tensors)
    grad = RNG(2).normal(size=tuple(theirs.shape))
    theirs.backward(torch.from_numpy(grad))

    kept_x, kept_grad = x.copy(), grad.copy()
    assert relative_error(layer.forward(x), theirs) < 1e-10
    assert relative_error(layer.backward(grad), tensors[0].grad) < 1e-10
    for name, tensor in zip(layer.params, tensors[1:], strict=True):
        assert relative_error(layer.grads[name], tensor.grad) < 1e-10, name
    assert np.array_equal(x, kept_x) and np.array_equal(grad, kept_grad)  # what comes in is not written to


@every_case
def test_gradients_are_those_of_finite_differences(case):
    make, shape, _ = CASES[case]
    layer = filled(make())
    x = 2 * RNG(0).normal(size=shape)
    target = RNG(3).normal(size=layer.forward(x).shape)
    report = gradient_check(Network([layer], SquaredError("sum")), x, target, entries=None)
    assert report.passed, report
    assert all(row.checked == row.size > 0 for row in report.rows)


@every_case
def test_float32_stays_float32_and_a_second_backward_gives_the_same(case):
    make, shape, _ = CASES[case]
    exact, layer = filled(make()), filled(make()).astype(np.float32)
    x = RNG(0).normal(size=shape)
    a = layer.forward(x.astype(np.float32))
    grad = RNG(2).normal(size=a.shape)
    dx = layer.backward(grad.astype(np.float32))
    assert {array.dtype for array in (a, dx, *layer.params.values(), *layer.grads.values())} == {np.dtype("float32")}
    np.testing.assert_allclose(a, exact.forward(x), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(dx, exact.backward(grad), rtol=1e-3, atol=1e-3)
    first = {name: array.copy() for name, array in layer.grads.items()}
    layer.backward(grad.astype(np.float32))  # gradients are overwritten, not added up
    assert all(np.array_equal(first[name], layer.grads[name]) for name in first)


# --- where a function has a kink, or numbers are extreme ---


def test_the_activations_are_those_of_the_table_and_of_the_models():
    assert {name: kind.__name__ for name, kind in ACTIVATIONS.items()} == {n: row.kind for n, row in TABLE.items()}
    assert list(ACTIVATIONS) == list(TABLE) == list(models.ACTIVATIONS)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", ["int64", "int8", "uint8", "int32"])
def test_integers_are_taken_for_what_they_are(name, dtype):
    z = np.array([[0, 1, 3, 7]] if dtype == "uint8" else [[-3, -1, 0, 2]], dtype=dtype)
    found, exact = ACTIVATIONS[name](), ACTIVATIONS[name]()
    a = found.forward(z)
    assert a.dtype == np.float64
    np.testing.assert_array_equal(a, exact.forward(z.astype(np.float64)))
    grad = np.ones_like(a)
    np.testing.assert_array_equal(found.backward(grad), exact.backward(grad))
    theirs = models.activation_module(name).double()(torch.tensor(z.astype(np.float64))).detach().numpy()
    np.testing.assert_allclose(a, theirs, rtol=1e-12)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_what_are_no_numbers_no_activation_takes(name):
    for wrong in (np.array([[True, False]]), np.array([["a", "b"]]), None, "z", [[1.0], [1.0, 2.0]]):
        with pytest.raises(TypeError, match=r"^z: expected an array of numbers"):
            ACTIVATIONS[name]().forward(wrong)


def test_gelu_is_exact_far_in_its_tail():
    z = np.array([-5.0, -10.0, -30.0])
    # Phi(z) = erfc(-z / sqrt 2) / 2, where 1 + erf would have lost 6, 16 and all digits
    exact = [x * math.erfc(-x / math.sqrt(2)) / 2 for x in z]
    # e^(-z^2 / 2) is known to z^2 / 2 = 450 roundings
    np.testing.assert_allclose(ACTIVATIONS["gelu"]().forward(z), exact, rtol=1e-12)
    np.testing.assert_allclose(ACTIVATIONS["gelu"]().forward(z.astype(np.float32)), np.float32(exact), rtol=1e-5)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivative_at_zero_is_that_of_pytorch(name):
    z = torch.zeros((2, 4), dtype=torch.float64, requires_grad=True)
    theirs = models.activation_module(name).double()(z)
    theirs.sum().backward()
    layer = ACTIVATIONS[name]()
    np.testing.assert_array_equal(layer.forward(np.zeros((2, 4))), theirs.detach().numpy())
    np.testing.assert_array_equal(layer.backward(np.ones(theirs.shape)), z.grad.numpy())


@pytest.mark.parametrize(("size", "stride"), [(2, 2), (3, 2), (3, 1), (2, 3)])
@pytest.mark.parametrize("filled_with", ["zeros behind a ReLU", "one value", "few values"])
def test_pooling_gives_a_tie_to_the_first_as_pytorch_does(filled_with, size, stride):
    x = RNG(0).normal(size=(2, 3, 8, 7)) - 1
    x = {"zeros behind a ReLU": np.maximum(x, 0), "one value": np.full_like(x, -2.5), "few values": np.round(x)}[
        filled_with
    ]
    ties = windows(x, size, stride)
    assert (np.sum(ties == ties.max(axis=(2, 3), keepdims=True), axis=(2, 3)) > 1).any()
    layer = MaxPool2d(size, stride=stride)
    grad = RNG(1).normal(size=layer.forward(x).shape)
    tensor = torch.tensor(x, requires_grad=True)
    F.max_pool2d(tensor, size, stride).backward(torch.from_numpy(grad))
    np.testing.assert_allclose(layer.backward(grad), tensor.grad.numpy(), rtol=1e-14)  # where windows overlap: sums


def test_pooling_of_a_tie_by_hand():
    layer = MaxPool2d(2)
    layer.forward(np.array([[[[5.0, 5.0, 1.0, 0.0], [5.0, 5.0, 0.0, 1.0]]]]))
    # the first as one reads, of the four and of the two
    expected = [[[[10.0, 0.0, 20.0, 0.0], [0.0, 0.0, 0.0, 0.0]]]]
    np.testing.assert_array_equal(layer.backward(np.array([[[[10.0, 20.0]]]])), expected)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_large_inputs_neither_warn_nor_become_nan(name, dtype):
    z = np.array([[-1e4, -800.0, -90.0, -30.0], [1e4, 800.0, 90.0, 30.0]], dtype=dtype)
    layer = ACTIVATIONS[name]().astype(dtype)
    theirs = models.activation_module(name).to(torch.from_numpy(z).dtype)(torch.from_numpy(z)).detach().numpy()
    np.testing.assert_allclose(layer.forward(z), theirs, rtol=1e-5, atol=1e-12)
    assert np.isfinite(layer.backward(np.ones_like(theirs))).all()


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name != "maxout"])
def test_nan_goes_through_and_stays_where_it_is(name):
    z = np.array([[-1.0, np.nan, 2.0, 0.5]])
    np.testing.assert_array_equal(np.isnan(ACTIVATIONS[name]().forward(z)), np.isnan(z))


def test_nan_reaches_the_maximum():
    assert np.isnan(ACTIVATIONS["maxout"]().forward(np.array([[np.nan, 3.0]]))).all()
    x = np.arange(16.0).reshape(1, 1, 4, 4)
    x[0, 0, 0, 0] = np.nan
    assert np.isnan(MaxPool2d(2).forward(x)).tolist() == [[[[True, False], [False, False]]]]


def test_sigmoid_is_exact_far_in_its_tail():
    np.testing.assert_allclose(scratch.sigmoid(np.array([-40.0, -700.0])), np.exp([-40.0, -700.0]), rtol=1e-15)


# --- batch normalisation ---


@pytest.mark.parametrize("settings", [{}, {"momentum": 0.0}, {"momentum": 0.7, "eps": 0.5}, {"momentum": 1.0}])
@pytest.mark.parametrize("shape", [(6, 3), (2, 3, 4, 5)])
def test_running_statistics_are_those_of_pytorch(shape, settings):
    ours = BatchNorm(3, **settings)
    theirs = (torch.nn.BatchNorm1d if len(shape) == 2 else torch.nn.BatchNorm2d)(3, **settings).double()
    for seed in range(5):
        x = 3 + 2 * RNG(seed).normal(size=shape)
        y = theirs(torch.from_numpy(x)).detach().numpy()
        np.testing.assert_allclose(ours.forward(x), y, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(ours.buffers["running_mean"], theirs.running_mean.numpy(), rtol=1e-12)
    np.testing.assert_allclose(ours.buffers["running_var"], theirs.running_var.numpy(), rtol=1e-12)
    kept = {name: array.copy() for name, array in ours.buffers.items()}
    in_eval(ours).forward(x)
    theirs.eval()
    np.testing.assert_allclose(ours.forward(x), theirs(torch.from_numpy(x)).detach().numpy(), rtol=1e-12)
    assert all(np.array_equal(ours.buffers[name], kept[name]) for name in kept)


def test_batch_norm_of_the_lecture_example():
    # (x - 4.25) / sqrt(3.6875), by hand
    n = BatchNorm(1, eps=0).forward(np.array([[3.0], [5.0], [7.0], [2.0]]))
    np.testing.assert_allclose(n[:, 0], np.array([-1.25, 0.75, 2.75, -2.25]) / np.sqrt(3.6875), rtol=1e-14)


def test_backward_is_of_the_mode_of_its_forward():
    layer, x = BatchNorm(2), RNG(0).normal(size=(4, 2))
    grad = RNG(1).normal(size=(4, 2))
    layer.forward(x)
    expected = layer.backward(grad)
    layer.forward(x)
    assert np.array_equal(in_eval(layer).backward(grad), expected)


def test_one_example_cannot_be_normalised_in_training():
    with pytest.raises(ValueError, match=r"^x: expected more than one example a feature in training in norm, got 1$"):
        BatchNorm(3).forward(np.ones((1, 3)))


# --- layer normalisation ---


@pytest.mark.parametrize("eps", [1e-5, 0.5])
@pytest.mark.parametrize("shape", [(6, 3), (2, 5, 3)])
def test_layer_norm_of_pytorch_after_a_step_of_training(shape, eps):
    ours, theirs = LayerNorm(3, eps=eps), torch.nn.LayerNorm(3, eps=eps).double()
    optimiser = torch.optim.SGD(theirs.parameters(), lr=0.5)
    for seed in range(3):
        x, target = 3 + 2 * RNG(seed).normal(size=shape), RNG(seed + 9).normal(size=shape)
        y = theirs(torch.from_numpy(x))
        np.testing.assert_allclose(ours.forward(x), y.detach().numpy(), rtol=1e-10)
        optimiser.zero_grad()
        (y * torch.from_numpy(target)).sum().backward()
        ours.backward(target)
        optimiser.step()
        for name, parameter in (("gamma", theirs.weight), ("beta", theirs.bias)):
            ours.params[name] -= 0.5 * ours.grads[name]
            np.testing.assert_allclose(ours.params[name], parameter.detach().numpy(), rtol=1e-10, atol=1e-12)


def test_layer_norm_of_an_example_by_hand():
    # of 1, 3, 8 the mean is 4 and the variance (9 + 1 + 16) / 3; the other example does not matter
    n = LayerNorm(3, eps=0).forward(np.array([[1.0, 3.0, 8.0], [0.0, 50.0, -900.0]]))
    np.testing.assert_allclose(n[0], np.array([-3, -1, 4]) / np.sqrt(26 / 3), rtol=1e-14)


def test_layer_norm_is_the_same_in_training_and_evaluation():
    x, layer = RNG(0).normal(size=(4, 3)), LayerNorm(3)
    assert not layer.buffers
    np.testing.assert_array_equal(layer.forward(x), in_eval(layer).forward(x))


# --- convolution ---


@pytest.mark.parametrize(
    ("size", "stride", "padding", "shape"),
    [(3, 1, 0, (2, 3, 5, 4)), (3, 2, 1, (1, 2, 6, 7)), (2, 3, 2, (2, 1, 4, 5)), (1, 1, 0, (1, 1, 1, 1))],
)
def test_naive_convolution_is_that_of_pytorch_and_of_the_layer(size, stride, padding, shape):
    layer = filled(Conv2d(shape[1], 3, size, stride=stride, padding=padding, rng=0))
    x, (w, b) = RNG(0).normal(size=shape), layer.params.values()
    naive = conv2d_naive(x, w, b, stride, padding)
    theirs = F.conv2d(*(torch.from_numpy(array) for array in (x, w, b)), stride, padding)
    assert relative_error(naive, theirs) < 1e-10
    assert relative_error(layer.forward(x), theirs) < 1e-10


def test_naive_convolution_by_hand():
    x = np.arange(9.0).reshape(1, 1, 3, 3)
    w = np.array([[[[1.0, 0.0], [0.0, -2.0]]]])
    # x[i, j] - 2 x[i+1, j+1] + 10: the kernel is not flipped
    np.testing.assert_array_equal(conv2d_naive(x, w, np.array([10.0]))[0, 0], [[2, 1], [-1, -2]])


GIVEN = {"x": np.ones((2, 3, 5, 4)), "w": np.ones((6, 3, 2, 2)), "b": np.ones(6), "stride": 1, "padding": 0}


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"x": np.ones((2, 1, 5, 4))}, ValueError, r"x: expected \(N, 3, Hi, Wi\) .* got \(2, 1, 5, 4\)"),
        ({"x": np.ones((3, 5, 4))}, ValueError, r"x: expected \(N, 3, Hi, Wi\) .* got \(3, 5, 4\)"),
        ({"x": np.ones((2, 3, 5, 1))}, ValueError, r"x: .* with Hi and Wi at least 2, got \(2, 3, 5, 1\)"),
        ({"w": np.ones((6, 1, 2, 2))}, ValueError, r"x: expected \(N, 1, Hi, Wi\) .* got \(2, 3, 5, 4\)"),
        ({"w": np.ones((6, 3, 2, 3))}, ValueError, r"w: expected \(C_out, C, k, k\), got \(6, 3, 2, 3\)"),
        ({"b": np.ones(1)}, ValueError, r"b: expected \(6,\), got \(1,\)"),
        ({"b": 1.0}, ValueError, r"b: expected \(6,\), got \(\)"),
        ({"b": np.ones((6, 1))}, ValueError, r"b: expected \(6,\), got \(6, 1\)"),
        ({"x": None}, TypeError, "x: expected an array of numbers"),
        ({"stride": 0}, ValueError, "stride: expected an integer of at least 1, got 0"),
        ({"padding": -1}, ValueError, "padding: expected an integer of at least 0, got -1"),
    ],
)
def test_naive_convolution_broadcasts_nothing(wrong, error, message):
    assert conv2d_naive(**GIVEN).shape == (2, 6, 4, 3)
    with pytest.raises(error, match=f"^{message}"):
        conv2d_naive(**GIVEN | wrong)


def test_naive_convolution_of_integers_does_not_round():
    x = np.arange(9).reshape(1, 1, 3, 3)
    w, b = np.full((1, 1, 2, 2), 0.25), np.array([0.5])
    np.testing.assert_array_equal(conv2d_naive(x, w, b), [[[[2.5, 3.5], [5.5, 6.5]]]])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: windows(np.ones((5, 5)), 2, 1), ValueError, r"x: expected \(N, C, Hi, Wi\), got \(5, 5\)"),
        (lambda: windows(np.ones((1, 1, 5, 5)), 6, 1), ValueError, "x, size: .* with Hi and Wi at least 6"),
        (lambda: windows(np.ones((1, 1, 5, 5)), 0, 1), ValueError, "size: "),
        (lambda: windows(np.ones((1, 1, 5, 5)), 2, 0), ValueError, "stride: "),
        (lambda: pad(np.ones((5, 5)), 1), ValueError, r"x: expected \(N, C, Hi, Wi\)"),
        (lambda: pad(np.ones((1, 1, 5, 5)), -1), ValueError, "padding: "),
        (lambda: fold(np.ones((1, 1, 2, 2)), (1, 1, 5, 5), 1), ValueError, "parts: expected"),
        (lambda: fold(np.ones((1, 1, 2, 2, 4, 3)), (1, 1, 5, 5), 1), ValueError, r"parts, shape: .* 4, 4\), got"),
        (lambda: fold(np.ones((1, 1, 2, 2, 4, 4)), (1, 1, 5, 5), 0), ValueError, "stride: "),
        (lambda: fold(np.ones((1, 1, 2, 2, 4, 4)), (5, 5), 1), ValueError, "shape: expected 4 integers"),
        (lambda: scratch.sigmoid("z"), TypeError, "z: expected an array of numbers"),
    ],
)
def test_the_parts_of_layers_check_what_they_get(call, error, message):
    with pytest.raises(error, match=f"^{message}"):
        call()


def test_fold_is_the_transpose_of_windows():
    x = RNG(0).normal(size=(2, 3, 7, 6))
    seen = windows(x, 3, 2)
    parts = RNG(1).normal(size=seen.shape)
    assert np.sum(seen * parts) == pytest.approx(np.sum(x * fold(parts, x.shape, 2)), rel=1e-12)


# --- what is refused ---


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (Linear(200, 10, rng=0), (100, 784), r"^x: expected \(N, 200\) in linear, got \(100, 784\)$"),
        (Linear(2, 1, rng=0), (2,), r"^x: expected \(N, 2\) in linear, got \(2,\)$"),
        (Linear(2, 1, rng=0), (0, 2), r"^x: expected \(N, 2\) in linear, got \(0, 2\)$"),
        (Flatten(), (), r"^x: expected \(N, \.\.\.\) in flatten, got \(\)$"),
        (BatchNorm(3), (3, 4), r"^x: expected \(N, 3\) or \(N, 3, Hi, Wi\) in norm, got \(3, 4\)$"),
        (LayerNorm(3), (3, 4), r"^x: expected \(N, 3\) or \(N, T, 3\) in norm, got \(3, 4\)$"),
        (LayerNorm(3), (3,), r"^x: expected \(N, 3\) or \(N, T, 3\) in norm, got \(3,\)$"),
        (Conv2d(3, 4, 3, rng=0), (2, 1, 5, 5), r"^x: expected \(N, 3, Hi, Wi\) .* in conv, got \(2, 1, 5, 5\)$"),
        (
            Conv2d(1, 4, 5, padding=1, rng=0),
            (2, 1, 5, 2),
            r"^x: expected .* with Hi and Wi at least 3 in conv, got \(2, 1, 5, 2\)$",
        ),
        (MaxPool2d(2), (2, 1, 1, 5), r"^x: expected .* with Hi and Wi at least 2 in pool, got \(2, 1, 1, 5\)$"),
        (ACTIVATIONS["maxout"](), (2, 5), r"^z: expected features in multiples of 2 in act, got \(2, 5\)$"),
        (ACTIVATIONS["maxout"](), (4,), r"^z: expected \(N, C, \.\.\.\) in act, got \(4,\)$"),
    ],
)
def test_wrong_shapes_are_named(layer, shape, message):
    with pytest.raises(ValueError, match=message):
        layer.forward(np.zeros(shape))


@pytest.mark.parametrize(
    "layer",
    [Linear(2, 2, rng=0), Flatten(), BatchNorm(2), LayerNorm(2), Conv2d(1, 1, 1, rng=0), MaxPool2d(1)],
    ids=repr,
)
def test_what_are_no_numbers_no_layer_takes(layer):
    for wrong in (None, "x", np.ones((2, 2), dtype=bool)):
        with pytest.raises(TypeError, match=f"^x: expected an array of numbers in {layer.name}, got "):
            layer.forward(wrong)


def test_a_gradient_of_another_shape_is_refused():
    layer = Linear(3, 2, rng=0)
    layer.forward(np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"^grad: expected \(4, 2\) in linear, got \(2, 4\)$"):
        layer.backward(np.ones((2, 4)))
    with pytest.raises(TypeError, match=r"^grad: expected an array in linear, got None$"):
        layer.backward(None)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Linear(2.5, 3, rng=0), TypeError, "fan_in: "),
        (lambda: Linear(2, 0, rng=0), ValueError, "fan_out: "),
        (lambda: Linear(2, 3, rng="0"), TypeError, "rng: "),
        (lambda: Linear(2, 3, rng=True), TypeError, "rng: "),
        (lambda: Linear(2, 3, weight="abc"), TypeError, "weight: "),
        (lambda: Linear(2, 3, rng=0, bias="abc"), TypeError, "bias: "),
        (lambda: Conv2d(0, 1, 1, rng=0), ValueError, "c_in: "),
        (lambda: Conv2d(1, True, 1, rng=0), TypeError, "c_out: "),
        (lambda: Conv2d(1, 1, 0, rng=0), ValueError, "size: "),
        (lambda: Conv2d(1, 1, 1, stride=0, rng=0), ValueError, "stride: "),
        (lambda: Conv2d(1, 1, 1, padding=-1, rng=0), ValueError, "padding: "),
        (lambda: MaxPool2d(0), ValueError, "size: "),
        (lambda: MaxPool2d(2, stride=0), ValueError, "stride: "),
        (lambda: BatchNorm(0), ValueError, "features: "),
        (lambda: BatchNorm(2, momentum=1.5), ValueError, "momentum: "),
        (lambda: BatchNorm(2, eps=-1e-5), ValueError, "eps: "),
        (lambda: LayerNorm(2.0), TypeError, "features: "),
        (lambda: LayerNorm(2, eps=None), TypeError, "eps: "),
        (lambda: scratch.LeakyReLU("0.01"), TypeError, "slope: "),
        (lambda: scratch.PReLU(np.ones(3)), TypeError, "slope: "),
        (lambda: scratch.ELU(alpha=math.nan), ValueError, "alpha: "),
        (lambda: scratch.ELU(scale=True), TypeError, "scale: "),
        (lambda: scratch.Maxout(1), ValueError, "pieces: "),
        (lambda: Linear(2, 2, rng=0).astype(np.float16), ValueError, "dtype: "),
    ],
)
def test_a_layer_checks_what_it_is_made_with(make, error, message):
    with pytest.raises(error, match=f"^{message}expected "):
        make()


@pytest.mark.parametrize(
    "layer",
    [Linear(2, 2, rng=0), Flatten(), BatchNorm(2), LayerNorm(2), Conv2d(1, 1, 1, rng=0), MaxPool2d(1)]
    + [make() for make in ACTIVATIONS.values()],
    ids=lambda layer: type(layer).__name__,
)
def test_backward_before_forward_is_refused(layer):
    with pytest.raises(RuntimeError, match=f"{layer.name}: backward before forward"):
        layer.backward(np.ones((2, 2)))


def test_weights_come_from_exactly_one_place():
    for make in (lambda **given: Linear(3, 2, **given), lambda **given: Conv2d(3, 2, 1, **given)):
        with pytest.raises(ValueError, match=r"^weight, rng: expected one of the two"):
            make()
        with pytest.raises(ValueError, match=r"^weight, rng: expected one of the two"):
            make(weight=np.ones((2, 3)), rng=0)
    with pytest.raises(ValueError, match=r"^weight: expected \(2, 3\), got \(3, 2\)"):
        Linear(3, 2, weight=np.ones((3, 2)))
    with pytest.raises(ValueError, match=r"^bias: expected \(2,\), got \(3,\)"):
        Linear(3, 2, rng=0, bias=np.ones(3))


def test_given_weights_are_copied():
    weight = np.ones((2, 3))
    layer = Linear(3, 2, weight=weight, bias=[1, 2])
    weight[:] = 5
    np.testing.assert_array_equal(layer.forward(np.ones((1, 3))), [[4, 5]])


@pytest.mark.parametrize(("layer", "fan_in"), [(Linear(300, 200, rng=3), 300), (Conv2d(30, 200, 3, rng=3), 270)])
def test_drawn_weights_have_the_variance_of_he(layer, fan_in):
    weight = layer.params["weight"]
    # the standard deviation of n normal numbers is known to 1 / sqrt(2n): 0.3 % here
    assert weight.std() == pytest.approx(np.sqrt(2 / fan_in), rel=0.015)
    assert abs(weight.mean()) < 4 * np.sqrt(2 / fan_in / weight.size)
    assert not layer.params["bias"].any()


def test_a_generator_gives_each_layer_other_weights_and_a_seed_the_same():
    rng = RNG(0)
    first, second, again = Linear(3, 3, rng=rng), Linear(3, 3, rng=rng), Linear(3, 3, rng=0)
    assert not np.array_equal(first.params["weight"], second.params["weight"])
    assert np.array_equal(first.params["weight"], again.params["weight"])


# --- short enough to be read in class ---


def length(method) -> int:
    """Lines of code of a function, without its signature and docstring."""
    body = ast.parse(textwrap.dedent(inspect.getsource(method))).body[0].body
    start = 1 if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant) else 0
    return body[-1].end_lineno - body[start].lineno + 1


def test_every_layer_is_short():
    layers = [value for value in vars(scratch).values() if inspect.isclass(value) and issubclass(value, Layer)]
    assert {Linear, ReLU, Conv2d, BatchNorm, LayerNorm} <= set(layers)
    for layer in layers:
        assert length(layer.forward) <= 7, layer
        assert length(layer.backward) <= 9, layer
