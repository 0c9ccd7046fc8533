"""What `stack` refuses, by name."""

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from unstuck.ensemble import stack, unstack


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
        self.b.weight = self.a.weight


class SharedBuffer(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
        self.b.running_mean = self.a.running_mean


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def used_twice():
    act = nn.ReLU()
    return nn.Sequential(nn.Linear(3, 3), act, nn.Linear(3, 3), act)


def patched():
    model = nn.Sequential(nn.Linear(3, 3))
    model[0].forward = lambda x: 2 * x
    return model


def hooked(register):
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    register(model)
    return model


def nothing(*args):
    return None


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: nn.Sequential(nn.Conv2d(1, 2, 3)), "Conv2d cannot be stacked"),
        (lambda: nn.Embedding(3, 4), "Embedding cannot be stacked"),
        (lambda: nn.Sequential(nn.InstanceNorm1d(3, affine=True)), "InstanceNorm1d cannot be stacked"),
        (lambda: nn.LSTM(3, 4), "LSTM cannot be stacked"),
        (lambda: nn.MultiheadAttention(4, 2), "MultiheadAttention cannot be stacked"),
        (lambda: nn.TransformerEncoderLayer(4, 2, dropout=0.0), "TransformerEncoderLayer cannot be stacked"),
        (lambda: nn.Sequential(nn.Linear(3, 3), nn.Dropout()), "Dropout draws at random"),
        (lambda: nn.Sequential(nn.Linear(3, 3), nn.RReLU()), "RReLU draws at random"),
        (lambda: nn.FractionalMaxPool2d(2, output_size=1), "FractionalMaxPool2d draws at random"),
        (used_twice, "Sequential uses a part of itself twice"),
        (Tied, "Tied uses a part of itself twice"),
        (SharedBuffer, "SharedBuffer uses a part of itself twice"),
        (
            lambda: nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)),
            "ParametrizedLinear has parametrised weights",
        ),
        (lambda: prune.random_unstructured(nn.Linear(3, 3), "weight", 0.5), "Linear has hooks"),
        (lambda: hooked(lambda model: model[0].register_forward_hook(nothing)), "Sequential has hooks"),
        (lambda: hooked(lambda model: model.register_forward_pre_hook(nothing)), "Sequential has hooks"),
        (lambda: hooked(lambda model: model[1].register_full_backward_hook(nothing)), "Sequential has hooks"),
        (lambda: hooked(lambda model: model[0].weight.register_hook(nothing)), "Sequential has hooks"),
        (
            lambda: hooked(lambda model: model[0].bias.register_post_accumulate_grad_hook(nothing)),
            "Sequential has hooks",
        ),
        (lambda: nn.Sequential(Doubled(3, 3)), "Doubled cannot be stacked"),
        (patched, "Linear cannot be stacked"),
    ],
)
def test_refused_by_name(make, named):
    with pytest.raises(ValueError, match=f"^models: {named}"):
        stack([make()])


class Scaled(nn.Module):
    def __init__(self, by=1.0, act=torch.relu, width=3):
        super().__init__()
        self.by, self.act, self.linear = by, act, nn.Linear(3, width)

    def forward(self, x):
        return self.act(self.by * self.linear(x))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (lambda: nn.Linear(3, 3), lambda: nn.Linear(3, 4)),
        (lambda: nn.Linear(3, 3), lambda: nn.Linear(3, 3, bias=False)),
        (lambda: nn.Linear(3, 3), lambda: nn.Linear(3, 3).double()),
        (lambda: nn.Linear(3, 3), lambda: nn.Linear(3, 3).requires_grad_(False)),
        (lambda: nn.Linear(3, 3), lambda: nn.Sequential(nn.Linear(3, 3))),
        (nn.ReLU, nn.Tanh),
        (nn.ReLU, nn.ReLU6),
        (lambda: nn.LeakyReLU(0.1), lambda: nn.LeakyReLU(0.2)),
        (lambda: nn.BatchNorm1d(3), lambda: nn.BatchNorm1d(3, momentum=0.2)),
        (lambda: nn.BatchNorm1d(3), lambda: nn.BatchNorm1d(3).eval()),
        (lambda: nn.LayerNorm(3), lambda: nn.LayerNorm(3, eps=0.1)),
        (Scaled, lambda: Scaled(2.0)),
        (Scaled, lambda: Scaled(act=torch.tanh)),
        (lambda: Scaled(act=lambda x: x), lambda: Scaled(act=lambda x: -x)),
        (Scaled, lambda: Scaled(width=4)),
    ],
)
def test_different_architectures_are_refused(first, second):
    with pytest.raises(ValueError, match=r"^models: expected one architecture, number 2 differs from number 0"):
        stack([first(), first(), second()])


def test_functions_of_one_line_are_one_architecture():
    models, x = [Scaled(act=lambda x: x * x) for _ in range(2)], torch.randn(2, 5, 3)
    torch.testing.assert_close(
        stack(models)(x), torch.stack([model(part) for model, part in zip(models, x, strict=True)])
    )


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"^models: expected at least one, got none"):
        stack([])
    with pytest.raises(TypeError, match=r"^models: expected a torch.nn.Module each, got 3"):
        stack([nn.ReLU(), 3])
    with pytest.raises(TypeError, match=r"^models: expected a list of torch.nn.Module, got None"):
        stack(None)
    with pytest.raises(TypeError, match=r"^stacked: expected what unstuck.ensemble.stack made, got Linear"):
        unstack(nn.Linear(2, 2))
