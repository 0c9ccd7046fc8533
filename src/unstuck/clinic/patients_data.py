"""Patients whose data are at fault."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim import SGD, Adam

from unstuck.clinic.networks import Recurrent
from unstuck.clinic.program import Program, case, program
from unstuck.clinic.samples import curve, images, loaders, waves
from unstuck.models import mlp, small_cnn, small_transformer


@case("inputs_not_scaled", "digits as bytes, 0 to 255, in a perceptron", "divide them by 255")
def digits_perceptron(sick: bool, seed: int) -> Program:
    x, y = images("digits", seed)
    x = 255 * x if sick else x
    return program(mlp((196, 64, 64, 10)), loaders(x, y), lambda p: SGD(p, lr=0.1))


@case("inputs_not_scaled", "a table whose columns have units from 0.01 to 1,000", "standardise each column")
def table_regression(sick: bool, seed: int) -> Program:
    x, y = curve(seed)
    x = x * torch.logspace(-2, 3, x.shape[1]) if sick else x
    model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))
    return program(model, loaders(x, y), lambda p: SGD(p, lr=0.1), mse_loss)


@case("inputs_not_centred", "temperatures near 300 K with a spread of 1 K, in a perceptron", "subtract the mean")
def temperatures(sick: bool, seed: int) -> Program:
    x, y = curve(seed)
    x = x + 300 if sick else x
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))
    return program(model, loaders(x, y), lambda p: Adam(p, lr=3e-3), mse_loss)


@case("inputs_not_finite", "a table with one missing value, in a regression", "fill it with the column's mean")
def gaps(sick: bool, seed: int) -> Program:
    x, y = curve(seed)
    x[3, 2] = torch.nan if sick else 0.0
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))
    return program(model, loaders(x, y), lambda p: Adam(p, lr=3e-3), mse_loss)


@case("inputs_constant", "a data set that hands out its first picture for every index", "use the index")
def picture_loader(sick: bool, seed: int) -> Program:
    x, y = images("clothes", seed)
    x = torch.stack([x[0 if sick else i] for i in range(len(x))])
    return program(small_cnn((1, 8, 16)), loaders(x, y), lambda p: Adam(p, lr=3e-3))


@case("labels_out_of_range", "classes numbered from 1, in a transformer", "number them from 0")
def patches(sick: bool, seed: int) -> Program:
    x, y = images("clothes", seed)
    y = y + 1 if sick else y
    return program(small_transformer((1, 14, 14), patch=7, width=16), loaders(x, y), lambda p: Adam(p, lr=3e-3))


@case("labels_wrong_shape", "labels (N,) beside outputs (N, 1) in one's own squared error", "labels (N, 1)")
def forecast(sick: bool, seed: int) -> Program:
    def squared_error(prediction: Tensor, target: Tensor) -> Tensor:
        return ((prediction - target) ** 2).mean()

    x, y = curve(seed)
    y = y.squeeze(1) if sick else y
    model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    return program(model, loaders(x, y), lambda p: Adam(p, lr=1e-3), squared_error)


@case("labels_shuffled", "pictures shuffled without their labels before a CNN", "shuffle both together")
def clothes_cnn(sick: bool, seed: int) -> Program:
    x, y = images("clothes", seed)
    order, kept = torch.randperm(800), torch.arange(800, 1000)  # the validation data stay as they are
    y = torch.cat([y[order], y[kept]]) if sick else y
    return program(small_cnn((1, 16, 32), norm="batch"), loaders(x, y), lambda p: Adam(p, lr=3e-3))


@case("labels_imbalanced", "one wave in 40 is of the second kind, in a GRU", "draw both kinds evenly")
def rare_waves(sick: bool, seed: int) -> Program:
    x, y = waves(seed, 4000)
    y = (y == 2).long()
    common, rare = (y == 0).nonzero().flatten(), (y == 1).nonzero().flatten()
    n = 15 if sick else 300
    drawn = torch.cat([common[: 600 - n], rare[:n]])[torch.randperm(600)]
    chosen = torch.cat([drawn, common[-100:], rare[-100:]])
    return program(Recurrent(1, 16, 2), loaders(x[chosen], y[chosen]), lambda p: Adam(p, lr=3e-3))
