"""Healthy programs of many kinds, on which an instrument ought to stay silent: each resembles some patient."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from unstuck.clinic.networks import Added, Recurrent
from unstuck.clinic.program import Program, adam, program, sgd
from unstuck.clinic.samples import clothes, curve, digits, figures, images, loaders, points, waves
from unstuck.init import initialise
from unstuck.models import gated_cnn, mlp, small_cnn, small_transformer


def perceptron(seed: int) -> Program:
    return program(initialise(mlp((196, 64, 64, 10)), "he", seed=seed), digits(seed), sgd(0.1))


def tanh_with_momentum(seed: int) -> Program:
    return program(mlp((196, 64, 64, 10), "tanh"), clothes(seed), sgd(0.02, momentum=0.9))


def weight_decay(seed: int) -> Program:
    optimizer = partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.05)
    return program(mlp((2, 64, 64, 3), "gelu"), loaders(*points(seed)), optimizer)


def rmsprop(seed: int) -> Program:
    return program(mlp((196, 64, 10), "elu"), clothes(seed), partial(torch.optim.RMSprop, lr=1e-3))


def cnn(seed: int) -> Program:
    return program(small_cnn((1, 16, 32)), digits(seed), adam(1e-2))


def cnn_with_batch_norm(seed: int) -> Program:
    model = small_cnn((1, 8, 16), norm="batch")
    return program(model, clothes(seed), sgd(0.05, momentum=0.9, weight_decay=5e-4))


def residual_cnn(seed: int) -> Program:
    return program(gated_cnn((1, 8), 3, 10, residual=True), digits(seed), adam(1e-2))


def residual_with_layer_norm(seed: int) -> Program:
    blocks = [Added(nn.LayerNorm(64), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64)) for _ in range(4)]
    model = nn.Sequential(nn.Flatten(), nn.Linear(196, 64), *blocks, nn.LayerNorm(64), nn.Linear(64, 10))
    return program(model, clothes(seed), adam(1e-3))


def group_norm(seed: int) -> Program:
    return program(mlp((196, 64, 64, 10), norm="group"), clothes(seed), adam(3e-3))


def transformer(seed: int) -> Program:
    return program(small_transformer((1, 14, 14), patch=7), digits(seed), adam(3e-3))


def transformer_of_rows(seed: int) -> Program:
    x, y = images("clothes", seed)
    model = small_transformer((14, 14), 10, "gelu", norm="post", width=16)
    return program(model, loaders(x.squeeze(1), y), adam(3e-3))


def clipped_gru(seed: int) -> Program:
    return program(Recurrent(4), loaders(*waves(seed)), adam(1e-2), clip=1.0)


def autoencoder(seed: int) -> Program:
    x = images("clothes", seed)[0].flatten(1)
    model = nn.Sequential(mlp((196, 64, 16)), mlp((16, 64, 196)), nn.Sigmoid())
    return program(model, loaders(x, x), adam(3e-3), F.mse_loss)


def regression(seed: int) -> Program:
    x, y = curve(seed)
    model = nn.Sequential(mlp((8, 64, 64, 1), "gelu"), nn.Flatten(0))
    return program(model, loaders(x, y.squeeze(1)), adam(3e-3), F.smooth_l1_loss)


def two_classes(seed: int) -> Program:
    model = small_cnn((3, 8, 16), 1, norm="batch")
    return program(model, loaders(*figures(seed)), adam(1e-2), F.binary_cross_entropy_with_logits)


def probabilities(seed: int) -> Program:
    x, y = points(seed, arms=2)
    model = nn.Sequential(mlp((2, 32, 32, 1), "elu"), nn.Sigmoid())
    return program(model, loaders(x, y[:, None].float()), adam(1e-2), F.binary_cross_entropy)


def log_probabilities_with_dropout(seed: int) -> Program:
    hidden = [nn.Flatten(), nn.Linear(196, 200), nn.ReLU(), nn.Dropout(0.5)]
    model = nn.Sequential(*hidden, nn.Linear(200, 10), nn.LogSoftmax(dim=1))
    return program(model, digits(seed), adam(3e-3), F.nll_loss)


def trained_before(seed: int, steps: int = 300) -> Program:
    made = program(mlp((196, 64, 64, 10)), digits(seed), adam(3e-3))
    for step in range(steps):
        made.train_step(made.model, made.optimizer, made.batch[step % len(made.batch)])
    return made


def frozen_backbone(seed: int) -> Program:
    model, head = trained_before(seed + 1, steps=100).model.requires_grad_(False), nn.Linear(64, 10)
    model.linear3 = head
    return program(model, digits(seed), lambda _: adam(1e-2)(head.parameters()))


def imbalanced(seed: int) -> Program:
    x, y = waves(seed, 4000)
    chosen = torch.cat([(y == 0).nonzero()[:640], (y == 2).nonzero()[:160]]).flatten()[torch.randperm(800)]
    return program(Recurrent(2), loaders(x[chosen], y[chosen] // 2), adam(1e-2))


HEALTHY: tuple[Callable[[int], Program], ...] = (
    *(perceptron, tanh_with_momentum, weight_decay, rmsprop, cnn, cnn_with_batch_norm, residual_cnn),
    *(residual_with_layer_norm, group_norm, transformer, transformer_of_rows, clipped_gru, autoencoder, regression),
    *(two_classes, probabilities, log_probabilities_with_dropout, trained_before, frozen_backbone, imbalanced),
)
"""What makes each of them from a seed."""
