"""The NumPy layers: against PyTorch's autograd and against finite differences, in awkward shapes."""

import ast
import inspect
import textwrap

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from unstuck import models, scratch
from unstuck.scratch import (
    ACTIVATIONS,
    BatchNorm,
    Conv2d,
    Flatten,
    Layer,
    Linear,
    MaxPool2d,
    Network,
    ReLU,
    SquaredError,
    conv2d_naive,
    fold,
    gradient_check,
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


def test_the_activations_are_those_of_the_models():
    assert list(ACTIVATIONS) == list(models.ACTIVATIONS)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivative_at_zero_is_that_of_pytorch(name):
    z = torch.zeros((2, 4), dtype=torch.float64, requires_grad=True)
    theirs = models.activation_module(name).double()(z)
    theirs.sum().backward()
    layer = ACTIVATIONS[name]()
    np.testing.assert_array_equal(layer.forward(np.zeros((2, 4))), theirs.detach().numpy())
    np.testing.assert_array_equal(layer.backward(np.ones(theirs.shape)), z.grad.numpy())


def test_pooling_gives_a_tie_to_the_first_as_pytorch_does():
    x = np.maximum(RNG(0).normal(size=(2, 3, 6, 7)), 0)  # behind a ReLU many pixels are 0
    tensor = torch.tensor(x, requires_grad=True)
    F.max_pool2d(tensor, 3, 2).sum().backward()
    layer = MaxPool2d(3, stride=2)
    np.testing.assert_array_equal(layer.backward(np.ones_like(layer.forward(x))), tensor.grad.numpy())


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


@pytest.mark.parametrize("shape", [(6, 3), (2, 3, 4, 5)])
def test_running_statistics_are_those_of_pytorch(shape):
    ours = BatchNorm(3)
    theirs = (torch.nn.BatchNorm1d if len(shape) == 2 else torch.nn.BatchNorm2d)(3).double()
    for seed in range(5):
        x = 3 + 2 * RNG(seed).normal(size=shape)
        ours.forward(x)
        theirs(torch.from_numpy(x))
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
    with pytest.raises(ValueError, match="norm: expected more than one example a feature in training, got 1"):
        BatchNorm(3).forward(np.ones((1, 3)))


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


def test_fold_is_the_transpose_of_windows():
    x = RNG(0).normal(size=(2, 3, 7, 6))
    seen = windows(x, 3, 2)
    parts = RNG(1).normal(size=seen.shape)
    assert np.sum(seen * parts) == pytest.approx(np.sum(x * fold(parts, x.shape, 2)), rel=1e-12)


# --- what is refused ---


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (Linear(200, 10, rng=0), (100, 784), r"^linear: expected \(N, 200\), got \(100, 784\)$"),
        (Linear(2, 1, rng=0), (2,), r"^linear: expected \(N, 2\), got \(2,\)$"),
        (Linear(2, 1, rng=0), (0, 2), r"^linear: expected \(N, 2\), got \(0, 2\)$"),
        (BatchNorm(3), (3, 4), r"^norm: expected \(N, 3\) or \(N, 3, Hi, Wi\), got \(3, 4\)$"),
        (Conv2d(3, 4, 3, rng=0), (2, 1, 5, 5), r"^conv: expected \(N, 3, Hi, Wi\) .* got \(2, 1, 5, 5\)$"),
        (
            Conv2d(1, 4, 5, padding=1, rng=0),
            (2, 1, 5, 2),
            r"^conv: expected .* with Hi and Wi at least 3, got \(2, 1, 5, 2\)$",
        ),
        (MaxPool2d(2), (2, 1, 1, 5), r"^pool: expected .* with Hi and Wi at least 2, got \(2, 1, 1, 5\)$"),
        (ACTIVATIONS["maxout"](), (2, 5), r"^act: expected features in multiples of 2, got \(2, 5\)$"),
    ],
)
def test_wrong_shapes_are_named(layer, shape, message):
    with pytest.raises(ValueError, match=message):
        layer.forward(np.zeros(shape))


def test_a_gradient_of_another_shape_is_refused():
    layer = Linear(3, 2, rng=0)
    layer.forward(np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"linear: expected a gradient \(4, 2\), got \(2, 4\)"):
        layer.backward(np.ones((2, 4)))


@pytest.mark.parametrize(
    "layer",
    [Linear(2, 2, rng=0), Flatten(), BatchNorm(2), Conv2d(1, 1, 1, rng=0), MaxPool2d(1)]
    + [make() for make in ACTIVATIONS.values()],
    ids=lambda layer: type(layer).__name__,
)
def test_backward_before_forward_is_refused(layer):
    with pytest.raises(RuntimeError, match=f"{layer.name}: backward before forward"):
        layer.backward(np.ones((2, 2)))


def test_weights_come_from_exactly_one_place():
    for make in (lambda **given: Linear(3, 2, **given), lambda **given: Conv2d(3, 2, 1, **given)):
        with pytest.raises(ValueError, match="either weight or rng"):
            make()
        with pytest.raises(ValueError, match="either weight or rng"):
            make(weight=np.ones((2, 3)), rng=0)
    with pytest.raises(ValueError, match=r"linear.weight: expected \(2, 3\), got \(3, 2\)"):
        Linear(3, 2, weight=np.ones((3, 2)))
    with pytest.raises(ValueError, match=r"linear.bias: expected \(2,\), got \(3,\)"):
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
    assert {Linear, ReLU, Conv2d, BatchNorm} <= set(layers)
    for layer in layers:
        assert length(layer.forward) <= 7, layer
        assert length(layer.backward) <= 9, layer
