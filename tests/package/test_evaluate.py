"""Evaluation: modes are given back, accuracy is counted by hand, and a trace is what each layer computes."""

import numpy as np
import pytest
import torch
from torch import nn

from unstuck.evaluate import accuracy, in_mode, trace
from unstuck.models import mlp, small_cnn

WIDTHS = (12, 7, 5, 3)


def modes(model):
    return [module.training for module in model.modules()]


def hooks(model):
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


class Returns(nn.Module):
    """A module that returns what a function makes of its input."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


# --- in_mode ---


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


def test_a_model_that_cannot_change_its_mode_is_left_as_it_was():
    class Stubborn(nn.Linear):
        def train(self, mode=True):
            raise RuntimeError("stubborn")

    model = nn.Sequential(nn.Dropout(), Stubborn(2, 2))
    with pytest.raises(RuntimeError, match="stubborn"), in_mode(model, training=False):
        pass
    assert modes(model) == [True] * 3


@pytest.mark.parametrize(
    ("model", "training", "message"),
    [(mlp, True, "model: expected a torch.nn.Module"), (mlp(WIDTHS), 1, "training: expected True or False, got 1")],
)
def test_in_mode_refuses_what_is_no_module_or_no_mode(model, training, message):
    with pytest.raises(TypeError, match=f"^{message}"), in_mode(model, training=training):
        pass


# --- accuracy ---


def test_accuracy_is_the_share_of_right_answers_in_evaluation_mode():
    model = nn.Sequential(nn.Identity(), nn.Dropout(0.9)).train()
    x = torch.eye(4).repeat(25, 1)  # (100, 4): the answer is the input
    y = x.argmax(1)
    y[:30] = (y[:30] + 1) % 4  # 30 wrong
    for batch_size in (1, 7, 100, np.int64(1000)):
        assert accuracy(model, x, y, batch_size) == pytest.approx(0.7)
    assert modes(model) == [True] * 3


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_accuracy_against_numpy(dtype):
    model = small_cnn((2, 3), 5, norm="batch")
    x, y = torch.randn(23, 2, 4, 4), torch.randint(5, (23,))
    with torch.no_grad():
        model.eval()
        right = np.argmax(model(x).numpy(), axis=1) == y.numpy()
    model.train()
    assert accuracy(model, x, y.to(dtype), 10) == pytest.approx(right.mean())


def test_accuracy_keeps_the_modes_after_an_exception():
    model = mlp(WIDTHS).train()
    with pytest.raises(RuntimeError):
        accuracy(model, torch.zeros(3, 99), torch.zeros(3, dtype=torch.int64))
    assert all(modes(model))


SAME, X, Y = nn.Identity(), torch.eye(3), torch.arange(3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((lambda x: x, X, Y), TypeError, "model: expected a torch.nn.Module, got <function"),
        ((SAME, X.numpy(), Y), TypeError, r"x: expected a torch tensor, got ndarray of shape \(3, 3\)"),
        ((SAME, X, Y.numpy()), TypeError, r"y: expected a torch tensor, got ndarray of shape \(3,\)"),
        ((SAME, "x_test", Y), TypeError, "x: expected a torch tensor, got 'x_test'"),
        ((SAME, X, [0, 1, 2]), TypeError, r"y: expected a torch tensor, got \[0, 1, 2\]"),
        ((SAME, X, Y[:, None]), ValueError, r"y: expected labels \(N,\), got shape \(3, 1\)"),
        ((SAME, X, X.long()), ValueError, r"y: expected labels \(N,\), got shape \(3, 3\)"),
        ((SAME, X, torch.tensor(1)), ValueError, r"y: expected labels \(N,\), got shape \(\)"),
        ((SAME, X, Y.float()), TypeError, "y: expected integer labels, got torch.float32"),
        ((SAME, X, Y > 1), TypeError, "y: expected integer labels, got torch.bool"),
        ((SAME, X, torch.tensor([0, 1, 3])), ValueError, r"y: expected labels 0 to 2 \(.*\), got 0 to 3"),
        ((SAME, X, torch.tensor([-100, 1, 2])), ValueError, r"y: expected labels 0 to 2 \(.*\), got -100 to 2"),
        # one example against three labels would broadcast
        ((SAME, X[:1], Y), ValueError, r"x, y: .* got x of shape \(1, 3\) and y of shape \(3,\)"),
        ((SAME, X, Y[:1]), ValueError, r"x, y: .* got x of shape \(3, 3\) and y of shape \(1,\)"),
        ((SAME, X[:0], Y[:0]), ValueError, r"x, y: .* got x of shape \(0, 3\) and y of shape \(0,\)"),
        ((SAME, torch.tensor(1.0), Y), ValueError, r"x, y: .* got x of shape \(\) and y of shape \(3,\)"),
        ((SAME, X, Y, 0), ValueError, "batch_size: expected an integer of at least 1, got 0"),
        ((SAME, X, Y, 2.0), TypeError, "batch_size: expected an integer, got 2.0"),
        ((Returns(lambda x: (x, x)), X, Y), TypeError, r"model: expected to return a tensor of logits \(N, K\)"),
        ((Returns(lambda x: x[:, 0]), X, Y), ValueError, r"model: expected to return logits \(3, K\), .* \(3,\)"),
        ((Returns(lambda x: x[..., None]), X, Y), ValueError, r"model: .* got shape \(3, 3, 1\)"),
        ((Returns(lambda x: x[:1]), X, Y), ValueError, r"model: .* got shape \(1, 3\)"),
    ],
)
def test_accuracy_refuses_what_it_would_count_wrongly(arguments, error, message):
    assert accuracy(SAME, X, Y) == 1
    with pytest.raises(error, match="^" + message):
        accuracy(*arguments)


# --- trace ---


def test_trace_is_what_each_layer_computes():
    model = mlp(WIDTHS, "tanh").double()
    x = torch.randn(4, 3, 2, 2, dtype=torch.float64)
    found = trace(model, x)
    assert list(found) == ["flatten", "linear1", "act1", "linear2", "act2", "linear3"]
    a = x.numpy().reshape(4, 12)
    np.testing.assert_array_equal(found["flatten"].numpy(), a)
    for i in (1, 2, 3):
        layer = model.get_submodule(f"linear{i}")
        z = a @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
        np.testing.assert_allclose(found[f"linear{i}"].numpy(), z, rtol=1e-12)
        if i < 3:
            np.testing.assert_allclose(found[f"act{i}"].numpy(), a := np.tanh(z), rtol=1e-12)


def test_trace_runs_in_evaluation_mode_and_changes_nothing():
    model = nn.Sequential(nn.Dropout(0.9), nn.BatchNorm1d(3)).train()
    model[1].running_mean += 2.0
    model[1].running_var *= 4.0
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.randn(5, 3)
    found = trace(model, x)
    torch.testing.assert_close(found["0"], x, rtol=0, atol=0)
    torch.testing.assert_close(found["1"], (x - 2) / (4 + 1e-5) ** 0.5)
    assert modes(model) == [True] * 3 and hooks(model) == 0
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


class WithGradients(nn.Sequential):
    forward = torch.enable_grad()(nn.Sequential.forward)


def test_trace_keeps_no_gradients():
    model = mlp(WIDTHS)
    model.act1.register_forward_hook(lambda module, args, output: seen.append(torch.is_grad_enabled()))
    model.act2 = WithGradients(nn.Linear(5, 5))
    seen = []
    for tensor in trace(model, torch.randn(2, 12, requires_grad=True)).values():
        assert not tensor.requires_grad and tensor.grad_fn is None
    assert seen == [False] and torch.is_grad_enabled()
    model(torch.randn(2, 12)).sum().backward()  # nothing was frozen


class InPlace(nn.Module):
    """A model that overwrites what its leaves return."""

    def __init__(self):
        super().__init__()
        self.linear, self.view = nn.Linear(3, 4), nn.Flatten()

    def forward(self, x):
        z = self.linear(x)
        v = self.view(z)  # the same memory
        z.mul_(0)
        return v.add_(1)


def test_trace_keeps_what_a_leaf_returned_before_it_is_overwritten():
    x = torch.randn(50, 3)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Hardtanh(0, 0.1, inplace=True))
    z = x @ model[0].weight.detach().T + model[0].bias.detach()
    assert (z < 0).any() and (z > 0.1).any()
    found = trace(model, x)
    torch.testing.assert_close(found["0"], z)
    torch.testing.assert_close(found["1"], z.clamp(min=0))
    torch.testing.assert_close(found["2"], z.clamp(0, 0.1))
    model = InPlace()
    z = x @ model.linear.weight.detach().T + model.linear.bias.detach()
    for tensor in trace(model, x).values():
        torch.testing.assert_close(tensor, z)


@pytest.mark.parametrize("first", [nn.ReLU(inplace=True), nn.Identity(), nn.Flatten()])
def test_trace_shares_no_memory_with_the_data(first):
    x = torch.randn(5, 3)
    before = x.clone()
    for tensor in trace(nn.Sequential(first, nn.ReLU(inplace=True)), x).values():
        tensor.zero_()
    assert torch.equal(x, before)


def test_a_leaf_used_again_has_a_number():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.act = nn.Linear(2, 2, bias=False), nn.ReLU()
            self.alias = self.linear  # the same module under two names

        def forward(self, x):
            return self.alias(self.act(self.linear(self.act(self.linear(x)))))

    model = Twice()
    model.linear.weight.data = torch.diag(torch.tensor([2.0, -1.0]))
    for _ in range(2):  # each trace counts from the start
        found = trace(model, torch.ones(1, 2))
        assert {name: tensor.tolist() for name, tensor in found.items()} == {
            "linear": [[2.0, -1.0]],
            "act": [[2.0, 0.0]],
            "linear#2": [[4.0, 0.0]],
            "act#2": [[4.0, 0.0]],
            "linear#3": [[8.0, 0.0]],
        }


def test_only_leaves_that_run_are_there():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.Tanh()), nn.Sequential())
            self.unused = nn.Linear(2, 3)

        def forward(self, x):
            return self.block(x)

    assert list(trace(Branches(), torch.zeros(1, 2))) == ["block.0", "block.1.0", "block.2"]


def test_a_model_that_is_a_leaf_itself_has_no_name():
    (name, output), *others = trace(nn.Softplus(), torch.zeros(3)).items()
    assert name == "" and others == []
    np.testing.assert_allclose(output.numpy(), np.full(3, np.log(2)), rtol=1e-6)


def test_of_outputs_that_are_no_tensors_the_first_tensor_is_kept():
    model = nn.Sequential()
    model.lstm = nn.LSTM(3, 4)
    model.last = Returns(lambda pair: {"note": "last", "nested": [None, (pair[1], pair[0])]})
    model.out = Returns(lambda found: found["nested"][1][1].tolist())
    x = torch.randn(6, 3)
    found = trace(model, x)
    assert list(found) == ["lstm", "last"]  # a list of numbers is no tensor
    output, (h, _) = model.lstm(x)
    torch.testing.assert_close(found["lstm"], output.detach())
    torch.testing.assert_close(found["last"], h.detach())


def test_a_transformer_hides_none_of_its_leaves():
    # in evaluation mode PyTorch would run it in one piece, past all modules
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.5, batch_first=True)
    found = trace(layer, torch.randn(2, 5, 8))
    assert list(found) == ["dropout1", "norm1", "linear1", "dropout", "linear2", "dropout2", "norm2"]
    z = found["norm1"] @ layer.linear1.weight.detach().T + layer.linear1.bias.detach()
    torch.testing.assert_close(found["linear1"], z)


def test_trace_leaves_nothing_behind_after_an_exception():
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(), nn.Linear(5, 2)).train()
    model[1].eval()
    before = modes(model)
    with pytest.raises(RuntimeError, match="shapes"):
        trace(model, torch.zeros(1, 3))
    assert modes(model) == before and hooks(model) == 0


def test_hooks_of_others_stay_and_are_seen():
    model = nn.Sequential(nn.Identity())
    model[0].register_forward_hook(lambda module, args, output: 2 * output)
    assert trace(model, torch.ones(1))["0"].tolist() == [2.0]
    assert hooks(model) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("model", X), "model: expected a torch.nn.Module, got 'model'"),
        ((SAME, X.numpy()), r"x: expected a torch tensor, got ndarray of shape \(3, 3\)"),
    ],
)
def test_trace_refuses_what_is_no_module_and_no_tensor(arguments, message):
    with pytest.raises(TypeError, match="^" + message):
        trace(*arguments)
