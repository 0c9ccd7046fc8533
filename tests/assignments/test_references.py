"""The references themselves, on the inputs of the hidden calls: against PyTorch, SciPy, or what they must achieve."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from handed_in import assignment
from torch.nn import functional

from assignments.grading.parts import HIDDEN


def drawn(name, part, count=4):
    """The reference's names, and the inputs of some calls of a part."""
    found = next(one for one in assignment(name).questions.parts if one.id == part)
    return assignment(name).reference, found.draw(HIDDEN, count)


def leaf(array):
    return torch.tensor(array, dtype=torch.float64, requires_grad=True)


def test_neuron():
    names, calls = drawn("backprop", "neuron-gradient")
    for call in calls:
        x, w, b = (leaf(call[name]) for name in "xwb")
        loss = (torch.sigmoid(w * x + b) - call["y"]) ** 2
        loss.backward()
        expected = [one.item() for one in (loss, w.grad, b.grad, x.grad)]
        assert names["neuron"](**call) == pytest.approx(expected, rel=1e-12)


def test_linear_and_relu():
    names, calls = drawn("backprop", "linear-dw")
    for call in calls:
        x, W = leaf(call["x"]), leaf(call["W"])
        b = leaf(np.zeros(len(call["W"])))
        (functional.linear(x, W, b) * torch.tensor(call["G"])).sum().backward()
        for ours, theirs in zip(names["linear_backward"](**call), (x.grad, W.grad, b.grad), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    names, calls = drawn("backprop", "relu-gradient")
    for call in calls:
        z = leaf(call["z"])
        (torch.relu(z) * torch.tensor(call["da"])).sum().backward()
        np.testing.assert_array_equal(names["relu_backward"](**call), z.grad)


@pytest.mark.parametrize("part", ["softmax-gradient", "softmax-stable"])
def test_softmax(part):
    names, calls = drawn("backprop", part)
    for call in calls:
        logits = leaf(call["logits"])
        loss = functional.cross_entropy(logits, torch.tensor(call["y"]))
        loss.backward()
        ours, gradient = names["softmax_loss"](**call)
        assert ours == pytest.approx(loss.item(), rel=1e-10)
        np.testing.assert_allclose(gradient, logits.grad, atol=1e-12)


def test_the_wrong_slopes_of_question_7_are_wrong():
    names = assignment().reference
    wrong = []
    for letter in "abcd":
        z = np.linspace(-3, 3, 50)
        step = 1e-6
        numeric = (names[f"forward_{letter}"](z + step) - names[f"forward_{letter}"](z - step)) / (2 * step)
        if not np.allclose(numeric, names[f"slope_{letter}"](z), atol=1e-6):
            wrong.append(letter)
    assert wrong == ["b", "d"] == names["wrong_ones"]


@pytest.mark.parametrize("name", ["sigmoid", "elu", "silu"])
def test_slopes(name):
    names, calls = drawn("activations", f"{name}-slope")
    theirs = {"sigmoid": torch.sigmoid, "elu": functional.elu, "silu": functional.silu}[name]
    for call in calls:
        z = leaf(call["z"])
        theirs(z, **({"alpha": call["alpha"]} if name == "elu" else {})).sum().backward()
        np.testing.assert_allclose(names[f"{name}_slope"](**call), z.grad, atol=1e-12)


def test_one_step_and_the_deadly_learning_rate():
    names, calls = drawn("activations", "step-w")
    for call in calls:
        w, b = leaf(call["w"]), leaf(call["b"])
        x, y = torch.tensor(call["x"]), torch.tensor(call["y"])
        (0.5 * (torch.relu(x @ w + b) - y) ** 2).mean().backward()
        new_w, new_b = names["one_step"](**call)
        np.testing.assert_allclose(new_w, (w - call["lr"] * w.grad).detach(), rtol=1e-12)
        assert new_b == pytest.approx((b - call["lr"] * b.grad).item(), rel=1e-12)
    names, calls = drawn("activations", "deadly-rate", 12)
    found = [names["deadly_learning_rate"](**call) for call in calls]
    assert min(found) == 0 < max(found)
    for lr, call in zip(found, calls, strict=True):
        fires = lambda at, call=call: (  # noqa: E731
            call["x"] @ (call["w"] - at * call["gw"]) + call["b"] - at * call["gb"] > 1e-12
        ).any()
        assert not fires(1.0001 * lr) and (lr == 0 or fires(0.999 * lr))


def test_initial_weights():
    names, calls = drawn("initialisation", "xavier-std", 8)
    for call in calls:
        fan_in, fan_out = torch.nn.init._calculate_fan_in_and_fan_out(torch.empty(call["shape"]))
        assert names["xavier_std"](**call) == pytest.approx(math.sqrt(2 / (fan_in + fan_out)), rel=1e-12)
        assert names["he_std"](**call) == pytest.approx(math.sqrt(2 / fan_in), rel=1e-12)
    z = np.random.default_rng(0).normal(size=10**6)
    assert names["gain"](lambda z: np.maximum(z, 0), z) == pytest.approx(
        torch.nn.init.calculate_gain("relu"), rel=0.01
    )


def test_sizes_up_and_down():
    names, calls = drawn("initialisation", "backward-sizes")
    for call in calls:
        a, zs = torch.tensor(call["x"]), []
        for W in call["weights"]:
            zs.append(functional.linear(a, leaf(W)))
            zs[-1].retain_grad()
            a = torch.tanh(zs[-1])
        (a * torch.tensor(call["gradient"])).sum().backward()
        expected = [z.grad.square().mean().sqrt().item() for z in zs]
        given = {**call, "f": np.tanh, "slope": names["tanh_slope"]}
        assert names["backward_sizes"](**given) == pytest.approx(expected, rel=1e-10)
    names, calls = drawn("initialisation", "measured-start")
    for call in calls:
        a = call["x"]
        for W in names["measured_start"](**call, f=names["relu"]):
            assert names["size"](a @ W.T) == pytest.approx(1, rel=1e-12)
            a = names["relu"](a @ W.T)


def test_batchnorm_forward_and_backward():
    names, calls = drawn("batchnorm", "backward-x")
    for call in calls:
        x, gamma = leaf(call["x"]), leaf(call["gamma"])
        beta = leaf(np.zeros(len(call["gamma"])))
        y = functional.batch_norm(x, None, None, gamma, beta, training=True)
        (y * torch.tensor(call["G"])).sum().backward()
        np.testing.assert_allclose(names["batchnorm"](call["x"], call["gamma"], 0), y.detach(), atol=1e-12)
        for ours, theirs in zip(names["batchnorm_backward"](**call), (x.grad, gamma.grad, beta.grad), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-11)


def test_batchnorm_of_images_and_at_test_time():
    names, calls = drawn("batchnorm", "images")
    for call in calls:
        x, gamma, beta = (torch.tensor(call[name]) for name in ("x", "gamma", "beta"))
        y = functional.batch_norm(x, None, None, gamma, beta, training=True)
        np.testing.assert_allclose(names["batchnorm_images"](**call), y, atol=1e-12)
    names, calls = drawn("batchnorm", "running-var")
    for call in calls:
        mean, var, x = (torch.tensor(call[name]) for name in ("mean", "var", "x"))
        functional.batch_norm(x, mean, var, training=True, momentum=call["momentum"])
        for ours, theirs in zip(names["update_running"](**call), (mean, var), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    names, calls = drawn("batchnorm", "fold-bias")
    for call in calls:
        W, b, gamma, beta, mean, var = (
            torch.tensor(call[name]) for name in ("W", "b", "gamma", "beta", "mean", "var")
        )
        x = torch.randn(5, len(W), dtype=torch.float64)
        expected = functional.batch_norm(functional.linear(x, W, b), mean, var, gamma, beta)
        new_W, new_b = names["fold"](**call)
        np.testing.assert_allclose(x.numpy() @ new_W.T + new_b, expected, atol=1e-11)


def test_the_gradient_below_a_batchnorm():
    names, x = assignment("batchnorm").reference, torch.randn(8, 4, dtype=torch.float64)
    W = torch.randn(3, 4, dtype=torch.float64)
    G = torch.randn(8, 3, dtype=torch.float64)
    norms = []
    for c in (1.0, 2.5):
        weight = (c * W).requires_grad_()
        (
            functional.batch_norm(functional.linear(x, weight), None, None, training=True, eps=1e-12) * G
        ).sum().backward()
        norms.append(float(weight.grad.norm()))
    assert names["gradient_factor"](2.5) == pytest.approx(norms[1] / norms[0], rel=1e-9)


@pytest.mark.parametrize("K", [2, 10])
def test_losses_that_need_no_network(K):
    names = assignment("debugging").reference
    guess = functional.cross_entropy(torch.zeros(1, K), torch.tensor([1])).item()
    assert names["loss_of_a_guess"](K) == pytest.approx(guess, rel=1e-5)
    best = functional.cross_entropy(torch.eye(K), torch.arange(K)).item()
    assert names["lowest_loss_after_two_softmaxes"](K) == pytest.approx(best, rel=1e-5)


def test_transfer():
    names, calls = drawn("transfer", "ridge-head")
    for call in calls:
        F = np.hstack([call["features"], np.ones((len(call["y"]), 1))])
        longer = np.vstack([F, math.sqrt(call["strength"]) * np.eye(F.shape[1])])
        Y = np.vstack([np.eye(call["K"])[call["y"]], np.zeros((F.shape[1], call["K"]))])
        np.testing.assert_allclose(names["ridge_head"](**call), np.linalg.lstsq(longer, Y, rcond=None)[0], atol=1e-10)
    names, calls = drawn("transfer", "mean-and-error")
    for call in calls:
        expected = (call["results"].mean(), scipy.stats.sem(call["results"]))
        assert names["mean_and_error"](**call) == pytest.approx(expected, rel=1e-12)
