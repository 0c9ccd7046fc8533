"""Patients whose normalisation, dropout, batch axis or size is at fault, or whose numbers are."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstuck.clinic.networks import Apply, Pooled, Recurrent
from unstuck.clinic.program import Program, adam, case, program, sgd
from unstuck.clinic.samples import clothes, curve, digits, images, loaders, points, waves
from unstuck.init import initialise
from unstuck.models import mlp


@case("batchnorm_single", "batches of one example, with batch normalisation", "batches of 50")
def normalised_digits(sick: bool, seed: int) -> Program:
    return program(mlp((196, 64, 64, 10), norm="batch"), digits(seed, size=1 if sick else 50), adam(3e-3))


@case("batchnorm_mode", "a step without train(), after an evaluation, in a CNN of eight layers", "call it")
def deep_clothes(sick: bool, seed: int) -> Program:
    convs = [nn.Conv2d(1, 16, 3, padding=1, stride=2), *[nn.Conv2d(16, 16, 3, padding=1) for _ in range(7)]]
    layers = [layer for conv in convs for layer in (conv, nn.BatchNorm2d(16), nn.ReLU())]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)).eval()
    return program(model, clothes(seed), sgd(0.02, momentum=0.9), train=not sick)


@case("batchnorm_drift", "batch normalisation with momentum 0.0005", "0.1")
def drifting_clothes(sick: bool, seed: int) -> Program:
    model = mlp((196, 64, 64, 10), norm="batch")
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.momentum = 5e-4 if sick else 0.1
    return program(model, clothes(seed), adam(3e-3))


@case("dropout_mode", "dropout called as a function, which does not know of eval()", "nn.Dropout")
def noisy_curve(sick: bool, seed: int) -> Program:
    dropped = Apply(lambda x: F.dropout(x, 0.4)) if sick else nn.Dropout(0.4)
    model = nn.Sequential(nn.Linear(8, 128), nn.ReLU(), dropped, nn.Linear(128, 1))
    return program(model, loaders(*curve(seed)), adam(3e-3), F.mse_loss)


@case("dropout_strong", "dropout of 0.95 after two hidden layers", "0.2")
def thinned_digits(sick: bool, seed: int) -> Program:
    hidden = [(nn.Linear(i, 128), nn.ReLU(), nn.Dropout(0.95 if sick else 0.2)) for i in (196, 128)]
    model = nn.Sequential(nn.Flatten(), *hidden[0], *hidden[1], nn.Linear(128, 10))
    return program(model, digits(seed), adam(1e-3))


@case("examples_mixed", "a GRU that takes (T, N, D) and is given (N, T, D)", "batch_first=True")
def ordered_waves(sick: bool, seed: int) -> Program:
    return program(Recurrent(4, batch_first=not sick), loaders(*waves(seed)), adam(1e-2))


@case("capacity_small", "layers of two tanh units for three spirals", "64")
def narrow_points(sick: bool, seed: int) -> Program:
    hidden = 2 if sick else 64
    model = initialise(mlp((2, hidden, hidden, 3), "tanh"), "xavier", seed=seed)
    return program(model, loaders(*points(seed)), adam(1e-2))


@case("overfitting", "40 pictures and 60,000 weights", "1,600 pictures")
def few_clothes(sick: bool, seed: int) -> Program:
    x, y = images("clothes", seed, 1800)
    first = 1560 if sick else 0
    return program(mlp((196, 200, 100, 10)), loaders(x[first:], y[first:], size=20), adam(3e-3))


@case("nan_in_forward", "attention whose scores are -inf in the padding; a sequence is all padding", "-1e9")
def padded_waves(sick: bool, seed: int) -> Program:
    x, y = waves(seed)
    x[::10, 8:], x[7] = 0, 0
    return program(Pooled(4, -torch.inf if sick else -1e9), loaders(x, y), adam(1e-2))


@case("nan_in_loss", "a divergence of one's own that takes the logarithm of targets of 0", "torch.xlogy")
def soft_digits(sick: bool, seed: int) -> Program:
    def divergence(logits: Tensor, target: Tensor) -> Tensor:
        entropy = target * target.log() if sick else torch.xlogy(target, target)
        return (entropy - target * logits.log_softmax(1)).sum(1).mean()

    x, y = images("digits", seed)
    return program(mlp((196, 64, 10)), loaders(x, F.one_hot(y, 10).float()), adam(3e-3), divergence)


@case("nan_in_backward", "the distance of two pictures, by sqrt, where some pairs are equal", "add 1e-6 to it")
def paired_digits(sick: bool, seed: int) -> Program:
    def distance(x: Tensor) -> Tensor:  # (N, 2, D) to (N, 1)
        return ((x[:, 0] - x[:, 1]).square().sum(1, keepdim=True) + (0.0 if sick else 1e-6)).sqrt()

    x, y = images("digits", seed, 2000)
    x, y = x.reshape(1000, 2, 196), y.reshape(1000, 2)
    x[3::25, 1], y[3::25, 1] = x[3::25, 0], y[3::25, 0]
    model = nn.Sequential(nn.Linear(196, 64), nn.ReLU(), nn.Linear(64, 16), Apply(distance))
    return program(model, loaders(x, (y[:, :1] != y[:, 1:]).float()), adam(3e-3), F.mse_loss)


@case("half_overflow", "a softmax of one's own, without subtracting the maximum, in float16", "in float32")
def cosine_digits(sick: bool, seed: int) -> Program:
    def log_softmax(z: Tensor) -> Tensor:
        e = z.to(torch.float16 if sick else torch.float32).exp()
        return (e / e.sum(1, keepdim=True)).float().log()

    features = [Apply(Tensor.half), mlp((196, 128, 64)).half(), Apply(lambda h: 20 * F.normalize(h, dim=1))]
    model = nn.Sequential(*features, nn.Linear(64, 10).half(), Apply(log_softmax))
    return program(model, digits(seed), sgd(0.05), F.nll_loss)


@case("half_underflow", "a loss weighted by 1e-5, in float16", "scale it before backward()")
def weighted_digits(sick: bool, seed: int) -> Program:
    def weighted(logits: Tensor, y: Tensor) -> Tensor:
        return 1e-5 * F.cross_entropy(logits, y)

    step = {"dtype": torch.float16, "scale": 1.0 if sick else 2.0**20}
    return program(mlp((196, 64, 64, 10)), digits(seed), adam(3e-3, eps=1e-15), weighted, **step)


@case("updates_rounded", "a perceptron whose weights are bfloat16", "weights in float32, under autocast")
def broad_digits(sick: bool, seed: int) -> Program:
    dtype = torch.bfloat16 if sick else torch.float32
    model = initialise(mlp((196, 256, 256, 10)), "he", seed=seed).to(dtype)
    model = nn.Sequential(Apply(lambda x: x.to(dtype)), model)
    return program(model, digits(seed), adam(1e-4), dtype=torch.bfloat16)
