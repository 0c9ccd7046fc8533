"""Losses, `Network` and `perceptron` of the NumPy engine: against PyTorch, closed forms and wrong use."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from unstuck import models
from unstuck.data import Split
from unstuck.scratch import (
    ACTIVATIONS,
    BatchNorm,
    Conv2d,
    Flatten,
    Linear,
    LogisticLoss,
    MaxPool2d,
    Network,
    ReLU,
    SoftmaxCrossEntropy,
    SquaredError,
    gradient_check,
    perceptron,
)

RNG = np.random.default_rng


def blobs(n: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three clouds in four dimensions: x (n, 4), y (n,)."""
    rng = RNG(seed)
    y = rng.integers(3, size=n)
    return rng.normal(size=(n, 4)) + 2 * np.eye(3, 4)[y], y


# --- losses ---


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize(
    ("loss", "outputs", "in_torch"),
    [
        (SoftmaxCrossEntropy, 4, lambda z, y, reduction: F.cross_entropy(z, y, reduction=reduction)),
        (SoftmaxCrossEntropy, 1, lambda z, y, reduction: F.cross_entropy(z, y, reduction=reduction)),
        (
            LogisticLoss,
            1,
            lambda z, y, reduction: F.binary_cross_entropy_with_logits(z[:, 0], y.double(), reduction=reduction),
        ),
        (SquaredError, 3, lambda z, y, reduction: F.mse_loss(z, y, reduction=reduction)),
    ],
)
def test_losses_are_those_of_pytorch(loss, outputs, in_torch, reduction, n):
    rng = RNG(n)
    z = 3 * rng.normal(size=(n, outputs))
    classes = {SoftmaxCrossEntropy: outputs, LogisticLoss: 2}.get(loss)
    y = rng.normal(size=z.shape) if classes is None else rng.integers(classes, size=n)
    tensor = torch.tensor(z, requires_grad=True)
    theirs = in_torch(tensor, torch.from_numpy(y), reduction)
    theirs.backward()
    ours = loss(reduction)
    assert ours.forward(z, y) == pytest.approx(theirs.item(), rel=1e-12, abs=1e-15)
    np.testing.assert_allclose(ours.backward(), tensor.grad.numpy(), rtol=1e-10, atol=1e-15)
    assert ours.mean == pytest.approx(in_torch(tensor, torch.from_numpy(y), "mean").item(), rel=1e-12, abs=1e-15)
    network = Network([Linear(outputs, outputs, rng=0)], loss(reduction))
    assert gradient_check(network, z, y).passed


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_softmax_does_not_overflow(dtype):
    z = np.array([[1e4, 0.0, -1e4], [-1e4, 1e4, 1e4]], dtype=dtype)
    loss = SoftmaxCrossEntropy("sum")
    # -log p: 1e4 for the first; the second is one of two equal
    assert loss.forward(z, np.array([1, 2])) == pytest.approx(1e4 + math.log(2), rel=1e-6)
    np.testing.assert_allclose(loss.backward(), [[1, -1, 0], [0, 0.5, -0.5]], atol=1e-12)
    assert loss.backward().dtype == dtype


def test_the_logistic_loss_does_not_overflow():
    loss = LogisticLoss("sum")
    assert loss.forward(np.array([[1e4], [-1e4]]), np.array([0, 1])) == pytest.approx(2e4)
    np.testing.assert_allclose(loss.backward(), [[1], [-1]])


def test_nan_in_the_logits_is_nan_in_the_loss():
    z = np.array([[np.nan, 0.0], [1.0, 0.0]])
    assert math.isnan(SoftmaxCrossEntropy().forward(z, np.array([0, 1])))
    assert math.isnan(LogisticLoss().forward(z[:, :1], np.array([0, 1])))


def test_the_sum_has_n_times_the_gradient_of_the_mean():
    z, y = RNG(0).normal(size=(7, 3)), RNG(1).integers(3, size=7)
    mean, summed = SoftmaxCrossEntropy("mean"), SoftmaxCrossEntropy("sum")
    assert summed.forward(z, y) == pytest.approx(7 * mean.forward(z, y))
    np.testing.assert_allclose(summed.backward(), 7 * mean.backward(), rtol=1e-12)


def test_accuracies_by_hand():
    z = np.array([[3.0, 1.0], [0.0, 2.0], [5.0, 4.0], [1.0, 0.0]])
    assert SoftmaxCrossEntropy().accuracy(z, np.array([0, 1, 1, 1])) == 0.5
    assert LogisticLoss().accuracy(z[:, :1] - 2, np.array([1, 0, 1, 1])) == 0.75
    assert SquaredError().accuracy(z, z) is None


@pytest.mark.parametrize(
    ("loss", "output", "y", "error", "message"),
    [
        (SoftmaxCrossEntropy(), (3, 2), np.array([[0], [1], [1]]), ValueError, r"y: expected \(3,\), got \(3, 1\)"),
        (SoftmaxCrossEntropy(), (3, 2), np.array([0, 1]), ValueError, r"y: expected \(3,\), got \(2,\)"),
        (SoftmaxCrossEntropy(), (3, 2), np.array([0, 1, 2]), ValueError, "y: expected labels 0 to 1, got 0 to 2"),
        (SoftmaxCrossEntropy(), (3, 2), np.array([0, 1, -1]), ValueError, "y: expected labels 0 to 1, got -1 to 1"),
        (SoftmaxCrossEntropy(), (3, 2), np.array([0.0, 1, 1]), TypeError, "y: expected integer labels, got float64"),
        (SoftmaxCrossEntropy(), (3, 2), np.array([True, False, True]), TypeError, "y: expected an array of numbers"),
        (SoftmaxCrossEntropy(), (3, 2), None, TypeError, "y: expected an array of numbers, got None"),
        (SoftmaxCrossEntropy(), (3,), np.array([0, 1, 1]), ValueError, r"output: expected \(N, K\), got \(3,\)"),
        (LogisticLoss(), (3, 2), np.array([0, 1, 1]), ValueError, r"output: expected \(N, 1\), got \(3, 2\)"),
        (LogisticLoss(), (3, 1), np.array([[0], [1], [1]]), ValueError, r"y: expected \(3,\), got \(3, 1\)"),
        (LogisticLoss(), (3, 1), np.array([0, 1, 2]), ValueError, "y: expected labels from 0 to 1, got 0 to 2"),
        (LogisticLoss(), (3, 1), np.array([0, 1, np.nan]), ValueError, "y: expected labels from 0 to 1, got nan"),
        (SquaredError(), (3, 1), np.ones(3), ValueError, r"y: expected \(3, 1\), got \(3,\)"),
        (SquaredError(), (3, 1), "abc", TypeError, "y: expected an array of numbers"),
    ],
)
def test_targets_that_do_not_fit_are_refused(loss, output, y, error, message):
    with pytest.raises(error, match=f"^{message}"):
        loss.forward(np.zeros(output), y)
    if not isinstance(loss, SquaredError):
        with pytest.raises(error, match=f"^{message}"):
            loss.accuracy(np.zeros(output), y)


def test_lists_and_tensors_are_arrays():
    z, y = [[3.0, 1.0], [0.0, 2.0]], [0, 0]
    expected = SoftmaxCrossEntropy().forward(np.array(z), np.array(y))
    assert SoftmaxCrossEntropy().forward(z, y) == expected
    assert SoftmaxCrossEntropy().forward(torch.tensor(z), torch.tensor(y)) == pytest.approx(expected, rel=1e-6)
    assert SoftmaxCrossEntropy().accuracy(z, y) == 0.5


def test_a_loss_needs_a_forward_and_a_known_reduction():
    with pytest.raises(RuntimeError, match="loss: backward before forward"):
        SoftmaxCrossEntropy().backward()
    with pytest.raises(ValueError, match=r"^reduction: 'none' is not one of \['mean', 'sum'\]"):
        SquaredError("none")


# --- the network ---


def torch_twin(network: Network, widths, activation: str) -> torch.nn.Module:
    """The same perceptron from `unstuck.models`; both name their parameters alike, but for PReLU's slope."""
    model = models.mlp(widths, activation).double()
    state = {name.replace("slope", "weight"): torch.tensor(array) for name, array in network.params.items()}
    model.load_state_dict(state)
    return model


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_twenty_steps_are_those_of_pytorch(activation):
    widths = (12, 7, 5, 3)
    network = perceptron(widths, activation, seed=1)
    for name, array in network.params.items():
        if name.endswith("bias"):
            array += 0.1
    model = torch_twin(network, widths, activation)
    optim = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = RNG(0).normal(size=(10, 3, 2, 2)), RNG(1).integers(3, size=10)
    before = {name: array.copy() for name, array in network.params.items()}
    for _ in range(20):
        loss = F.cross_entropy(model(torch.from_numpy(x)), torch.from_numpy(y))
        assert network.loss.forward(network.forward(x), y) == pytest.approx(loss.item(), rel=1e-10)
        network.backward()
        network.step(0.1)
        optim.zero_grad()
        loss.backward()
        optim.step()
    for (name, array), tensor in zip(network.params.items(), model.parameters(), strict=True):
        assert not np.array_equal(array, before[name]), name
        np.testing.assert_allclose(array, tensor.detach().numpy(), rtol=1e-8, atol=1e-10)


def convolutional(rng) -> Network:
    """Every kind of layer in one network, for images 2 x 7 x 6 and three classes."""
    layers = [
        *(Conv2d(2, 4, 3, padding=1, rng=rng), BatchNorm(4), ReLU(), MaxPool2d(2)),
        *(Conv2d(4, 5, 2, stride=2, rng=rng), ACTIVATIONS["gelu"](), Flatten(), Linear(5, 3, rng=rng)),
    ]
    return Network(layers, SoftmaxCrossEntropy())


def test_a_convolutional_network_is_that_of_pytorch():
    network, x, y = convolutional(RNG(0)), RNG(1).normal(size=(6, 2, 7, 6)), RNG(2).integers(3, size=6)
    p = {name: torch.tensor(array, requires_grad=True) for name, array in network.params.items()}
    images = torch.tensor(x, requires_grad=True)
    a = F.conv2d(images, p["conv1.weight"], p["conv1.bias"], padding=1)
    a = F.max_pool2d(F.relu(F.batch_norm(a, None, None, p["norm1.gamma"], p["norm1.beta"], training=True)), 2)
    a = F.gelu(F.conv2d(a, p["conv2.weight"], p["conv2.bias"], stride=2)).flatten(1)
    loss = F.cross_entropy(F.linear(a, p["linear1.weight"], p["linear1.bias"]), torch.from_numpy(y))
    loss.backward()
    assert network.loss.forward(network.forward(x), y) == pytest.approx(loss.item(), rel=1e-12)
    np.testing.assert_allclose(network.backward(), images.grad.numpy(), rtol=1e-9, atol=1e-14)
    for name, tensor in p.items():
        np.testing.assert_allclose(network.grads[name], tensor.grad.numpy(), rtol=1e-9, atol=1e-14)


def test_layers_are_named_by_kind_and_number():
    names = [layer.name for layer in convolutional(0).layers]
    assert names == ["conv1", "norm1", "act1", "pool1", "conv2", "act2", "flatten1", "linear1"]
    assert list(perceptron((4, 3, 2)).params) == ["linear1.weight", "linear1.bias", "linear2.weight", "linear2.bias"]
    assert list(perceptron((4, 3, 2)).grads) == list(perceptron((4, 3, 2)).params)


def test_a_wrong_shape_names_the_layer():
    network = Network([Linear(784, 200, rng=0), ReLU(), Linear(100, 10, rng=0)], SoftmaxCrossEntropy())
    with pytest.raises(ValueError, match=r"^x: expected \(N, 100\) in linear2, got \(5, 200\)$"):
        network.forward(np.zeros((5, 784)))


def test_params_are_the_arrays_themselves():
    network = perceptron((4, 2))
    network.params["linear1.weight"][:] = 0
    assert not network.forward(np.ones((3, 4))).any()


def test_float32_on_request():
    network = perceptron((4, 8, 8, 3), dtype=np.float32)
    assert network.forward(blobs()[0]).dtype == np.float32
    network.fit(blobs(), steps=3, lr=np.float64(0.1), batch_size=20)
    arrays = (*network.params.values(), *network.grads.values(), network.backward())
    assert {array.dtype for array in arrays} == {np.dtype("float32")}


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        *(
            (
                lambda dtype=dtype: Network([ReLU()], SquaredError(), dtype=dtype),
                ValueError,
                f"dtype: expected {text}",
            )
            for dtype, text in (
                (np.float16, "float64 or float32, got float16"),
                (None, "float64 or float32, got None"),
                ("double or so", "float64 or float32, got 'double or so'"),
                (torch.float32, "float64 or float32, got torch.float32"),
            )
        ),
        (lambda: Network([], SquaredError()), ValueError, "layers: expected at least one"),
        (lambda: Network([ReLU()] * 2, SquaredError()), ValueError, "layers: .* each only once"),
        (lambda: Network(ReLU(), SquaredError()), TypeError, "layers: expected a sequence of layers"),
        (lambda: Network("relu", SquaredError()), TypeError, "layers: expected layers, got 'r'"),
        (lambda: Network([torch.nn.ReLU()], SquaredError()), TypeError, "layers: expected layers, got ReLU"),
        (lambda: Network([ReLU()], SquaredError), TypeError, "loss: expected a Loss, got <class"),
        (lambda: Network([ReLU()], "mean"), TypeError, "loss: expected a Loss, got 'mean'"),
        (lambda: perceptron((4, 3, 2), "step"), ValueError, "activation: 'step' is not one of"),
        (lambda: perceptron((4, 3, 2), ReLU), TypeError, "activation: expected one of"),
        (lambda: perceptron((4,)), ValueError, "widths: expected at least 2 integers"),
        (lambda: perceptron((4, 3.0)), TypeError, "widths: expected an integer, got 3.0"),
        (lambda: perceptron((4, 3), weight_std=-1), ValueError, "weight_std: expected a number of at least 0"),
        (lambda: perceptron((4, 3), loss="mean"), TypeError, "loss: expected a Loss, got 'mean'"),
        (lambda: perceptron((4, 3), seed=True), TypeError, "seed: expected an integer, got True"),
    ],
)
def test_networks_that_cannot_be(make, error, message):
    with pytest.raises(error, match=f"^{message}"):
        make()


@pytest.mark.parametrize("name", ["float32", "f4", np.dtype("float32"), np.float32])
def test_a_dtype_by_any_name(name):
    assert perceptron((4, 3), dtype=name).dtype == np.float32
    assert perceptron((4, 3), dtype=float).dtype == np.float64


def test_printing_shows_the_layers():
    assert repr(perceptron((4, 3, 2), "tanh")).splitlines() == [
        "Network, float64",
        "  flatten1: Flatten()",
        "  linear1: Linear(weight (3, 4), bias (3,))",
        "  act1: Tanh()",
        "  linear2: Linear(weight (2, 3), bias (2,))",
        "  SoftmaxCrossEntropy(reduction='mean')",
    ]


# --- perceptron ---


@pytest.mark.parametrize("activation", ["relu", "maxout"])
def test_the_perceptron_starts_as_asked(activation):
    pieces = 2 if activation == "maxout" else 1
    he, small = perceptron((500, 400, 300), activation), perceptron((500, 400, 300), activation, weight_std=0.01)
    for name, shape in (("linear1", (400 * pieces, 500)), ("linear2", (300, 400))):
        weight = he.params[f"{name}.weight"]
        assert weight.shape == shape
        assert weight.std() == pytest.approx(math.sqrt(2 / shape[1]), rel=0.01)
        np.testing.assert_allclose(small.params[f"{name}.weight"], 0.01 * weight / math.sqrt(2 / shape[1]))
        assert not he.params[f"{name}.bias"].any()
    assert not perceptron((5, 4), weight_std=0).params["linear1.weight"].any()


def test_the_seed_alone_decides_the_weights():
    def first(**arguments):
        return perceptron((5, 4, 3), **arguments).params["linear2.weight"]

    assert np.array_equal(first(seed=3), first(seed=3, activation="tanh"))
    assert not np.array_equal(first(seed=3), first(seed=4))
    np.testing.assert_array_equal(first(seed=3).astype(np.float32), first(seed=3, dtype=np.float32))


# --- fit ---


def test_fit_learns_and_records():
    network, (x, y) = perceptron((4, 16, 3), seed=0), blobs()
    record = network.fit((x, y), steps=60, lr=0.3, batch_size=20, every=2)
    steps, losses = record.get("loss")
    assert steps.tolist() == list(range(0, 60, 2)) and record.stopped is None
    assert record.get("accuracy")[0].tolist() == steps.tolist()
    assert losses[-1] < 0.5 * losses[0]
    assert network.accuracy(x, y) > 0.85


def test_fit_is_the_loop_it_promises():
    x, y = blobs(50)
    ours, by_hand = perceptron((4, 5, 3)), perceptron((4, 5, 3))
    record = ours.fit((x, y), steps=5, lr=0.1, batch_size=20, seed=7)
    rng = RNG(7)
    first, second = rng.permutation(50), rng.permutation(50)
    losses = []
    for index in (first[:20], first[20:40], first[40:], second[:20], second[20:40]):
        losses.append(by_hand.loss.forward(by_hand.forward(x[index]), y[index]))
        by_hand.backward()
        by_hand.step(0.1)
    np.testing.assert_array_equal(record.get("loss")[1], losses)
    assert all(np.array_equal(ours.params[name], by_hand.params[name]) for name in ours.params)


def test_fit_takes_a_split_of_tensors_or_arrays():
    x, y = blobs()
    tensors = Split(*map(torch.from_numpy, (x, y, x[:9], y[:9])), classes=("a", "b", "c"))
    losses = [
        perceptron((4, 5, 3)).fit(data, steps=4, lr=0.1, batch_size=20).get("loss")[1]
        for data in ((x, y), tensors, tensors.numpy())
    ]
    assert np.array_equal(losses[0], losses[1]) and np.array_equal(losses[0], losses[2])


def test_a_summed_loss_is_recorded_as_a_mean_and_needs_a_smaller_rate():
    x, y = blobs()
    mean = perceptron((4, 5, 3)).fit((x, y), steps=10, lr=0.2, batch_size=20)
    summed = perceptron((4, 5, 3), loss=SoftmaxCrossEntropy("sum")).fit((x, y), steps=10, lr=0.01, batch_size=20)
    np.testing.assert_allclose(mean.get("loss")[1], summed.get("loss")[1], rtol=1e-9)


def test_a_regression_has_no_accuracy():
    x = blobs()[0]
    network = Network([Linear(4, 1, rng=0)], SquaredError())
    record = network.fit((x, x[:, :1] - x[:, 1:2]), steps=100, lr=0.1, batch_size=60)
    assert record.quantities() == ["loss"] and record.last("loss") < 1e-3
    np.testing.assert_allclose(network.params["linear1.weight"], [[1, -1, 0, 0]], atol=0.1)


@pytest.mark.filterwarnings("default::RuntimeWarning")
def test_training_that_explodes_is_stopped_and_said():
    network = perceptron((4, 50, 50, 3), weight_std=1e3)
    with pytest.warns(RuntimeWarning, match="overflow|invalid"):  # NumPy's warnings are not swallowed
        record = network.fit(blobs(), steps=200, lr=1e3, batch_size=20)
    step, reason = record.stopped
    assert step < 199 and reason in ("the loss is nan", "the loss is inf")
    assert record.get("loss")[0][-1] == step and not math.isfinite(record.last("loss"))


def test_a_reader_can_make_numpy_raise_where_it_explodes():
    with pytest.raises(FloatingPointError), np.errstate(all="raise", under="ignore"):
        perceptron((4, 50, 50, 3), weight_std=1e3).fit(blobs(), steps=200, lr=1e3, batch_size=20)


def test_modes_are_left_as_they_were():
    network = convolutional(RNG(0))
    network.training = False
    assert not any(layer.training for layer in network.layers)
    x, y = RNG(1).normal(size=(6, 2, 7, 6)), RNG(2).integers(3, size=6)
    running = network.layers[1].buffers["running_mean"]
    network.fit((x, y), steps=2, lr=0.1, batch_size=3)
    assert not network.training and running.any()  # trained in training mode
    network.training = True
    kept = running.copy()
    network.accuracy(x, y)
    assert network.training and np.array_equal(kept, running)  # tested in evaluation mode
    with pytest.raises(ValueError, match=r"^x: .* in conv1"):
        network.accuracy(x[:, :1], y)
    assert network.training


X, Y = blobs()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"steps": 0}, ValueError, "steps: expected an integer of at least 1, got 0"),
        ({"batch_size": 61}, ValueError, "batch_size: expected an integer of at most 60, got 61"),
        ({"every": 1.0}, TypeError, "every: expected an integer, got 1.0"),
        ({"seed": None}, TypeError, "seed: expected an integer, got None"),
        ({"lr": "0.1"}, TypeError, "lr: expected a number, got '0.1'"),
        ({"lr": math.nan}, ValueError, "lr: expected a finite number, got nan"),
        ({"lr": -0.1}, ValueError, "lr: expected a number of at least 0, got -0.1"),
        ({"data": (np.ones((3, 4)), np.ones(2, dtype=int))}, ValueError, "data: expected as many labels as examples"),
        (
            {"data": (np.empty((0, 4)), np.empty(0, dtype=int))},
            ValueError,
            r"data: expected \(N, ...\), got \(0, 4\)",
        ),
        (
            {"data": X},
            TypeError,
            r"data: expected a Split or a pair of arrays \(x, y\), got ndarray of shape \(60, 4\)",
        ),
        ({"data": None}, TypeError, "data: expected a Split or a pair"),
        ({"data": (X, None)}, TypeError, "data: expected an array of numbers, got None"),
        ({"data": ("x", Y)}, TypeError, "data: expected an array of numbers, got 'x'"),
    ],
)
def test_fit_refuses_what_does_not_fit(arguments, error, message):
    network = perceptron((4, 3))
    before = network.params["linear1.weight"].copy()
    with pytest.raises(error, match=f"^{message}"):
        network.fit(**{"data": (X, Y), "steps": 2, "lr": 0.1, "batch_size": 20} | arguments)
    np.testing.assert_array_equal(network.params["linear1.weight"], before)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda net: net.step(-1), ValueError, "lr: expected a number of at least 0, got -1"),
        (lambda net: net.step(math.inf), ValueError, "lr: expected a finite number, got inf"),
        (lambda net: net.forward(None), TypeError, "x: expected an array of numbers, got None"),
        (lambda net: net.forward(X > 0), TypeError, "x: expected an array of numbers, got .* of dtype bool"),
        (lambda net: net.accuracy(X, Y[:9]), ValueError, r"y: expected \(60,\), got \(9,\)"),
        (lambda net: setattr(net, "training", 1), TypeError, "training: expected True or False, got 1"),
    ],
)
def test_a_network_checks_what_it_gets(call, error, message):
    with pytest.raises(error, match=f"^{message}"):
        call(perceptron((4, 3)))


def test_a_rate_of_zero_changes_nothing():
    network = perceptron((4, 5, 3))
    before = {name: array.copy() for name, array in network.params.items()}
    network.fit((X, Y), steps=3, lr=0, batch_size=20)
    assert all(np.array_equal(array, before[name]) for name, array in network.params.items())
