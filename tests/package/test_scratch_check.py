"""`gradient_check` finds planted faults, is not fooled by kinks and rounding, and leaves no trace."""

import copy
import math

import numpy as np
import pytest

from unstuck.scratch import (
    BatchNorm,
    Conv2d,
    Flatten,
    Linear,
    LogisticLoss,
    Network,
    ReLU,
    Sigmoid,
    SoftmaxCrossEntropy,
    SquaredError,
    Tanh,
    gradient_check,
)
from unstuck.scratch.check import TOLERANCE

RNG = np.random.default_rng
X, Y = RNG(0).normal(size=(6, 4)), RNG(1).integers(4, size=6)


class WrongSign(Linear):
    """Hands back -dloss/dx."""

    def backward(self, grad):
        return -super().backward(grad)


class NotTransposed(Linear):
    """Hands back G W^T, which only a square W lets pass."""

    def backward(self, grad):
        super().backward(grad)
        return grad @ self.params["weight"].T


class TwiceAveraged(Linear):
    """Divides the weight's gradient by N, which the loss has done already."""

    def backward(self, grad):
        dx = super().backward(grad)
        self.grads["weight"] /= len(grad)
        return dx


class ForgottenBias(Linear):
    """Leaves the bias's gradient at 0."""

    def backward(self, grad):
        dx = super().backward(grad)
        self.grads["bias"][:] = 0
        return dx


class WeightsForInputs(Linear):
    """Case A: hands back h x, which is meant for the weights, where h w belongs (N = 1, one output)."""

    def backward(self, grad):
        x = self.recall(grad)
        super().backward(grad)
        return grad * x


class WrongSlope(Tanh):
    """f' = 1 - z^2 instead of 1 - tanh(z)^2: right only near 0."""

    def forward(self, z):
        self.z = z
        return super().forward(z)

    def backward(self, grad):
        return grad * (1 - self.z**2)


def network_with(kind: type[Linear]) -> Network:
    """A perceptron whose second linear layer is of this kind, with weights and biases that are not 0."""
    rng = RNG(5)
    layers = [Linear(4, 4, rng=rng), Tanh(), kind(4, 4, rng=rng), Tanh(), Linear(4, 4, rng=rng)]
    network = Network(layers, SoftmaxCrossEntropy())
    for array in network.params.values():
        array += rng.normal(0, 0.1, array.shape)
    return network


def wrong(report) -> set[str]:
    return {row.parameter for row in report.rows if not row.error < 1e-6}


def test_a_right_network_passes_to_many_digits():
    report = gradient_check(network_with(Linear), X, Y)
    assert report.passed and 0 < report.worst.error < 1e-7
    assert [row.parameter for row in report.rows] == ["x", *network_with(Linear).params]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # a wrong dloss/dx shows in everything before the layer
        (WrongSign, {"x", "linear1.weight", "linear1.bias"}),
        (NotTransposed, {"x", "linear1.weight", "linear1.bias"}),
        (TwiceAveraged, {"linear2.weight"}),
        (ForgottenBias, {"linear2.bias"}),
    ],
)
def test_planted_faults_are_found_where_they_are(kind, expected):
    report = gradient_check(network_with(kind), X, Y, entries=None)
    assert wrong(report) == expected
    assert not report.passed and report.worst.error > 0.1


def test_case_a_is_found_in_a_minute():
    rng = RNG(0)
    x = rng.uniform(size=(1, 3, 6, 6))
    for kind, expected in ((Linear, set()), (WeightsForInputs, {"x", "conv1.weight", "conv1.bias"})):
        layers = [Conv2d(3, 1, 3, weight=rng.uniform(size=(1, 3, 3, 3))), ReLU(), Flatten(), kind(16, 1, rng=0)]
        assert wrong(gradient_check(Network(layers, LogisticLoss()), x, np.array([0]))) == expected


def test_zero_weights_mask_a_fault():
    # behind zero weights no gradient arrives: 0 = 0, whatever the layers before compute
    def network(last):
        layers = [Linear(4, 4, rng=0), WrongSlope(), Linear(4, 4, weight=last)]
        return Network(layers, SoftmaxCrossEntropy())

    assert gradient_check(network(np.zeros((4, 4))), X, Y).passed
    assert wrong(gradient_check(network(RNG(1).normal(size=(4, 4))), X, Y)) == {"x", "linear1.weight", "linear1.bias"}


def test_the_numbers_reported_are_those_at_the_worst_entry():
    # loss = (w x - 3)^2 with x = 2 and w = 1: dloss/dw = 2 (w x - 3) x = -4, dloss/db = -2, dloss/dx = -2
    class Odd(Linear):
        def backward(self, grad):
            dx = super().backward(grad)
            self.grads["weight"][0, 1] = 1.0
            return dx

    network = Network([Odd(2, 1, weight=[[1.0, 0.0]])], SquaredError())
    report = gradient_check(network, np.array([[2.0, 2.0]]), np.array([[3.0]]))
    row = report.worst
    assert (row.parameter, row.index, row.size, row.checked) == ("linear1.weight", (0, 1), 2, 2)
    assert row.analytic == 1.0 and row.numeric == pytest.approx(-4, rel=1e-9)
    assert row.error == pytest.approx(5 / 4, rel=1e-9)  # |1 - (-4)| / 4
    assert report["linear1.bias"].numeric == pytest.approx(-2, rel=1e-9)
    assert report["linear1.bias"].analytic == pytest.approx(-2, rel=1e-12)


def test_the_report_prints_as_a_table():
    lines = repr(gradient_check(network_with(ForgottenBias), X, Y, entries=3)).splitlines()
    assert lines[0].split() == ["parameter", "checked", "largest", "error", "at", "analytic", "numeric"]
    assert len(lines) == 1 + 1 + 6
    for line in lines[1:]:
        assert line.endswith("WRONG") == line.startswith("linear2.bias")
        assert f"3 of {24 if line.startswith('x') else 16 if 'weight' in line else 4} " in line
    assert max(map(len, lines)) <= 118


def test_a_kink_within_the_step_is_not_a_wrong_gradient():
    # z = 3e-6 > 0: a step of 1e-5 crosses the kink of ReLU, one of 1e-6 does not
    network = Network([Linear(1, 1, weight=[[1.0]]), ReLU()], SquaredError())
    x, y = np.array([[3e-6]]), np.array([[1.0]])
    above, below = ((max(3e-6 + d, 0) - 1) ** 2 for d in (1e-5, -1e-5))
    assert (above - below) / 2e-5 == pytest.approx(-1.3, rel=1e-3)  # not -2
    row = gradient_check(network, x, y)["linear1.bias"]
    assert row.error < 1e-6 and row.numeric == pytest.approx(-2, rel=1e-4)


def test_rounding_of_small_gradients_is_not_a_fault():
    # behind saturated units gradients are of order 1e-9, and so is what rounding makes of a difference
    network = network_with(Linear)
    network.layers[0].params["bias"][:] = 10
    assert gradient_check(network, X, Y, entries=None).passed


def test_a_large_sum_is_judged_by_its_own_rounding():
    x, y = RNG(2).normal(size=(500, 4)), RNG(3).integers(4, size=500)
    network = Network([Linear(4, 4, rng=0), Sigmoid(), Linear(4, 4, rng=1)], SoftmaxCrossEntropy("sum"))
    assert gradient_check(network, x, y).passed


def test_a_loss_near_zero_is_known_no_better_than_its_terms():
    # log(1 + e^-20) = 2e-9 is rounded where 1 is, not where 2e-9 is
    network = Network([Linear(4, 4, rng=0, bias=[25, 0, 0, 0])], SoftmaxCrossEntropy())
    assert network.loss.forward(network.forward(X), 0 * Y) < 1e-8
    assert gradient_check(network, X, 0 * Y, entries=None).passed


@pytest.mark.parametrize("where", [..., (-1, -1)])
def test_a_gradient_that_is_nan_does_not_pass(where):
    class NaN(Linear):
        def backward(self, grad):
            broken = super().backward(grad)
            broken[where] = np.nan
            return broken

    report = gradient_check(network_with(NaN), X, Y, entries=None)
    assert not report.passed and math.isnan(report.worst.error)


def state(network: Network) -> list:
    """Everything a network holds, to compare bit by bit."""
    parts = []
    for layer in network.layers:
        parts += [*layer.params.values(), *layer.grads.values(), *layer.buffers.values(), np.array(layer.training)]
    return [array.tobytes() for array in (*parts, network.loss.backward(), np.array(network.loss.mean))]


@pytest.mark.parametrize("training", [True, False])
def test_the_network_is_left_as_it_was(training):
    rng = RNG(0)
    network = Network([Linear(4, 5, rng=rng), BatchNorm(5), ReLU(), Linear(5, 4, rng=rng)], SoftmaxCrossEntropy())
    network.fit((X, Y), steps=3, lr=0.1, batch_size=6)
    network.training = training
    network.loss.forward(network.forward(X[::-1]), Y)
    expected_dx = copy.deepcopy(network).backward()
    arrays, before = [*network.params.values(), *network.grads.values()], state(network)
    batch = X.copy()
    assert gradient_check(network, batch, Y).passed
    assert state(network) == before and np.array_equal(batch, X)
    assert all(a is b for a, b in zip(arrays, [*network.params.values(), *network.grads.values()], strict=True))
    assert np.array_equal(network.backward(), expected_dx)  # of the forward before the check


def test_the_network_is_left_as_it_was_by_layers_that_assign_new_gradients():
    class Assigns(Linear):
        def backward(self, grad):
            dx = super().backward(grad)
            self.grads["weight"] = 2 * self.grads["weight"]
            return dx

    network = network_with(Assigns)
    network.loss.forward(network.forward(X[::-1]), Y)
    network.backward()
    before = state(network)
    assert wrong(gradient_check(network, X, Y)) == {"linear2.weight"}
    assert state(network) == before


def test_the_network_is_left_as_it_was_by_an_error():
    class Raises(Linear):
        def backward(self, grad):
            raise KeyError("planted")

    network = network_with(Raises)
    network.loss.forward(network.forward(X[::-1]), Y)
    before = state(network)
    with pytest.raises(KeyError, match="planted"):
        gradient_check(network, X, Y)
    assert state(network) == before


def test_entries_are_drawn_from_the_seed():
    network = network_with(Linear)
    reports = [gradient_check(network, X, Y, entries=2, seed=seed) for seed in (0, 0, 1)]
    assert reports[0].rows == reports[1].rows != reports[2].rows
    assert {row.checked for row in reports[0].rows} == {2}


class TooLarge(Linear):
    """Every gradient of the weight is too large by a part of `fault`."""

    fault = 0.0

    def backward(self, grad):
        dx = super().backward(grad)
        self.grads["weight"] *= 1 + self.fault
        return dx


@pytest.mark.parametrize(("fault", "passes"), [(5e-7, True), (2e-6, False), (-5e-7, True), (-2e-6, False)])
def test_a_part_in_a_million_is_the_border(fault, passes):
    # the loss (w x - y)^2 is of second order: its difference is exact but for rounding, 1e-11 of gradients near 10
    network = Network([TooLarge(3, 1, weight=[[1.0, -2.0, 3.0]])], SquaredError())
    network.layers[0].fault = fault
    report = gradient_check(network, np.array([[1.0, 2.0, -1.0]]), np.array([[4.0]]))
    row = report["linear1.weight"]
    assert row.error == pytest.approx(abs(fault), rel=1e-3)
    assert report.passed == passes and (row.error < TOLERANCE) == passes
    assert ("WRONG" in repr(report)) != passes
    assert TOLERANCE == 1e-6


def planted(analytic, x, y):
    """The row of a weight w = 0 whose gradient is said to be `analytic`; the loss is (w x - y)^2."""

    class Planted(Linear):
        def backward(self, grad):
            dx = super().backward(grad)
            self.grads["weight"][:] = analytic
            return dx

    network = Network([Planted(1, 1, weight=[[0.0]])], SquaredError())
    return gradient_check(network, np.array([[x]]), np.array([[y]]))["linear1.weight"]


@pytest.mark.parametrize(
    ("analytic", "x", "y", "error"),
    [
        # dloss/dw = -2 x y = -6; |a - n| / max(|a|, |n|)
        (-6.0, 1.0, 3.0, 0),
        (-3.0, 1.0, 3.0, 3 / 6),
        (-9.0, 1.0, 3.0, 3 / 9),
        (6.0, 1.0, 3.0, 12 / 6),
        (0.0, 1.0, 3.0, 6 / 6),
        (-6.6, 1.0, 3.0, 0.6 / 6.6),
    ],
)
def test_the_relative_error_by_hand(analytic, x, y, error):
    row = planted(analytic, x, y)
    assert row.analytic == analytic and row.numeric == pytest.approx(-6, rel=1e-9)
    assert row.error == pytest.approx(error, rel=1e-8, abs=1e-9)


def test_small_gradients_are_measured_against_what_rounding_leaves():
    # four units in the last place of a loss of 1, over the step, are a part of 1e-6 of the floor
    floor = 4 * 2.0**-52 / 1e-5 / 1e-6
    row = planted(0.0, 1e-6, 1.0)  # -2e-6, and said to be 0
    assert row.error == pytest.approx(2e-6 / floor, rel=1e-4)  # 2 %, not 1
    # of a loss of 1000 the last place is 2^-43
    row = planted(0.0, 1e-6, math.sqrt(1000))
    assert row.error == pytest.approx(2e-6 * math.sqrt(1000) / (4 * 2.0**-43 / 1e-5 / 1e-6), rel=0.01)


def test_a_row_is_found_by_its_name():
    report = gradient_check(network_with(Linear), X, Y, entries=2)
    assert report["linear2.bias"] is report.rows[4]
    with pytest.raises(ValueError, match=r"^parameter: 'linear4.bias' is not one of \['x', 'linear1.weight', "):
        report["linear4.bias"]


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"network": [Linear(4, 4, rng=0)]}, TypeError, "network: expected a Network, got "),
        ({"x": None}, TypeError, "x: expected an array of numbers, got None"),
        ({"x": X[:, :3]}, ValueError, r"x: expected \(N, 4\) in linear1, got \(6, 3\)"),
        ({"y": Y[:3]}, ValueError, r"y: expected \(6,\), got \(3,\)"),
        ({"eps": 0}, ValueError, "eps: expected a number above 0, got 0"),
        ({"entries": 0}, ValueError, "entries: expected an integer of at least 1, got 0"),
        ({"seed": None}, TypeError, "seed: expected an integer, got None"),
    ],
)
def test_what_cannot_be_checked_is_refused(wrong, error, message):
    with pytest.raises(error, match=f"^{message}"):
        gradient_check(**{"network": network_with(Linear), "x": X, "y": Y} | wrong)


def test_networks_that_cannot_be_checked_are_refused():
    single = Network([Linear(4, 4, rng=0)], SoftmaxCrossEntropy(), dtype=np.float32)
    with pytest.raises(ValueError, match=r"^network: expected float64, got float32"):
        gradient_check(single, X, Y)
    broken = network_with(Linear)
    broken.params["linear1.bias"][0] = np.nan
    with pytest.raises(ValueError, match=r"^network: expected a finite loss on this batch, got nan"):
        gradient_check(broken, X, Y)

    class Flat(Linear):
        def backward(self, grad):
            dx = super().backward(grad)
            self.grads["weight"] = self.grads["weight"].ravel()
            return dx

    with pytest.raises(ValueError, match=r"^network: expected a gradient \(4, 4\) of linear2.weight, got \(16,\)$"):
        gradient_check(network_with(Flat), X, Y)
