"""Patients whose optimiser, learning rate or training step is at fault."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.optim import SGD, Adam, Optimizer

from unstuck.clinic.networks import Recurrent
from unstuck.clinic.program import Batch, Program, case, program
from unstuck.clinic.samples import curve, images, loaders, points, waves
from unstuck.models import mlp, small_cnn, small_transformer


@case("lr_small", "a CNN with Adam at 1e-6", "3e-3")
def slow_clothes(sick: bool, seed: int) -> Program:
    model = small_cnn((1, 16, 32), norm="batch")
    return program(model, loaders(*images("clothes", seed)), lambda p: Adam(p, lr=1e-6 if sick else 3e-3))


@case("lr_large", "a transformer with Adam at 0.3", "3e-3")
def patched_digits(sick: bool, seed: int) -> Program:
    model = small_transformer((1, 14, 14), patch=7, width=32)
    return program(model, loaders(*images("digits", seed)), lambda p: Adam(p, lr=0.3 if sick else 3e-3))


@case("diverges", "a regression with descent at 3", "0.1")
def steep_regression(sick: bool, seed: int) -> Program:
    model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 1))
    return program(model, loaders(*curve(seed)), lambda p: SGD(p, lr=3.0 if sick else 0.1), mse_loss)


@case("momentum_out_of_range", "momentum 0.999 in a perceptron", "0.9")
def rolling_points(sick: bool, seed: int) -> Program:
    model = mlp((2, 64, 64, 3))
    return program(model, loaders(*points(seed)), lambda p: SGD(p, lr=0.05, momentum=0.999 if sick else 0.9))


@case("adam_eps", "Adam with eps 1 in a GRU", "1e-8")
def careful_waves(sick: bool, seed: int) -> Program:
    model = Recurrent(1, 24, 4)
    return program(model, loaders(*waves(seed)), lambda p: Adam(p, lr=1e-2, eps=1.0 if sick else 1e-8))


@case("gradients_not_zeroed", "a step without zero_grad(), in a CNN", "call it")
def clothes_with_momentum(sick: bool, seed: int) -> Program:
    def train_step(model: nn.Module, optimizer: Optimizer, batch: Batch) -> Tensor:
        x, y = batch
        model.train()
        if not sick:
            optimizer.zero_grad()
        loss = cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    model, data = small_cnn((1, 16, 32), norm="batch"), loaders(*images("clothes", seed))
    return program(model, data, lambda p: SGD(p, lr=0.02, momentum=0.9), train_step=train_step)


@case("no_step", "zero_grad() between backward() and step()", "before backward()")
def recurrent_waves(sick: bool, seed: int) -> Program:
    def train_step(model: nn.Module, optimizer: Optimizer, batch: Batch) -> Tensor:
        x, y = batch
        if not sick:
            optimizer.zero_grad()
        loss = cross_entropy(model(x), y)
        loss.backward()
        if sick:
            optimizer.zero_grad()
        optimizer.step()
        return loss.detach()

    return program(Recurrent(1, 24, 4), loaders(*waves(seed)), lambda p: Adam(p, lr=1e-2), train_step=train_step)


@case("parameters_missing", "an optimiser that has the last layer only", "give it the whole model")
def headed_points(sick: bool, seed: int) -> Program:
    model = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3))
    trained = model[-1] if sick else model
    return program(model, loaders(*points(seed)), lambda _: Adam(trained.parameters(), lr=1e-2))


class Listed(nn.Module):
    """Hidden layers in a list."""

    def __init__(self, listed: type) -> None:
        super().__init__()
        self.hidden = listed([nn.Linear(2 if i == 0 else 24, 24) for i in range(3)])
        self.out = nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.hidden:
            x = torch.tanh(layer(x))
        return self.out(x)


@case("parameters_missing", "layers in a plain list, which parameters() does not see", "an nn.ModuleList")
def listed_points(sick: bool, seed: int) -> Program:
    return program(Listed(list if sick else nn.ModuleList), loaders(*points(seed)), lambda p: Adam(p, lr=1e-2))


@case("parameters_frozen", "a transformer frozen but for its head, and never trained before", "freeze nothing")
def frozen_patches(sick: bool, seed: int) -> Program:
    model = small_transformer((1, 14, 14), patch=7, width=16)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = not sick or name.startswith("linear")
    return program(model, loaders(*images("digits", seed)), lambda p: Adam(p, lr=1e-2))


class Encoder(nn.Module):
    """Features of points, and classes from the features."""

    def __init__(self, hands_over_data: bool) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU())
        self.head = nn.Linear(16, 3)
        self.hands_over_data = hands_over_data

    def forward(self, x: Tensor) -> Tensor:
        features = self.features(x)
        return self.head(features.data if self.hands_over_data else features)


@case("parameters_detached", "features handed to the head as .data", "hand them over as they are")
def encoded_points(sick: bool, seed: int) -> Program:
    return program(Encoder(sick), loaders(*points(seed)), lambda p: Adam(p, lr=1e-2))


class Residual(nn.Module):
    """Two blocks, each with its activation, between linear layers."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(2, 32), nn.Linear(32, 3)
        self.block = nn.ModuleList(nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 32)) for _ in range(2))
        self.blocks = blocks

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.block[: self.blocks]:
            x = x + block(x)
        return self.last(x)


@case("parameters_unused", "a forward() that never calls its two blocks", "call them")
def residual_points(sick: bool, seed: int) -> Program:
    return program(Residual(0 if sick else 2), loaders(*points(seed)), lambda p: Adam(p, lr=1e-2))


@case("weight_decay_strong", "weight decay 1 with descent, in a perceptron", "5e-4")
def shrinking_digits(sick: bool, seed: int) -> Program:
    model, decay = mlp((196, 64, 64, 10)), 1.0 if sick else 5e-4
    data = loaders(*images("digits", seed))
    return program(model, data, lambda p: SGD(p, lr=0.05, momentum=0.9, weight_decay=decay))


@case("clipping_always", "the gradient's norm clipped at 0.001, in a perceptron", "at 5")
def clipped_digits(sick: bool, seed: int) -> Program:
    def train_step(model: nn.Module, optimizer: Optimizer, batch: Batch) -> Tensor:
        x, y = batch
        optimizer.zero_grad()
        loss = cross_entropy(model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1e-3 if sick else 5.0)
        optimizer.step()
        return loss.detach()

    model, data = mlp((196, 64, 64, 10), norm="layer"), loaders(*images("digits", seed))
    return program(model, data, lambda p: SGD(p, lr=0.1), train_step=train_step)
