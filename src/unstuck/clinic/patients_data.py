"""Patients whose data, last layer or loss is at fault."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstuck.clinic.networks import Recurrent
from unstuck.clinic.program import Program, adam, case, program, sgd
from unstuck.clinic.samples import clothes, curve, digits, figures, images, loaders, points, waves
from unstuck.init import initialise
from unstuck.models import mlp, small_cnn, small_transformer


@case("inputs_not_scaled", "digits as bytes, 0 to 255, in a perceptron", "divide them by 255")
def digits_perceptron(sick: bool, seed: int) -> Program:
    x, y = images("digits", seed)
    return program(mlp((196, 64, 64, 10)), loaders(255 * x if sick else x, y), sgd(0.05, momentum=0.9))


@case("inputs_not_centred", "temperatures near 300 K with a spread of 1 K, in a regression", "subtract the mean")
def temperatures(sick: bool, seed: int) -> Program:
    x, y = curve(seed)
    return program(mlp((8, 32, 1)), loaders(x + 300 if sick else x, y), adam(3e-3), F.mse_loss)


@case("inputs_not_finite", "a table with one missing value, in a regression", "fill it with the column's mean")
def gaps(sick: bool, seed: int) -> Program:
    x, y = curve(seed)
    x[3, 2] = torch.nan if sick else 0.0
    return program(mlp((8, 32, 1)), loaders(x, y), adam(3e-3), F.mse_loss)


@case("inputs_constant", "a data set that hands out its first picture for every index", "use the index")
def picture_loader(sick: bool, seed: int) -> Program:
    x, y = images("clothes", seed)
    x = torch.stack([x[0 if sick else i] for i in range(len(x))])
    return program(small_cnn((1, 8, 16)), loaders(x, y), adam(1e-2))


@case("labels_out_of_range", "classes numbered from 1, in a transformer", "number them from 0")
def patches(sick: bool, seed: int) -> Program:
    x, y = images("clothes", seed)
    model = small_transformer((1, 14, 14), patch=7, width=16)
    return program(model, loaders(x, y + 1 if sick else y), adam(3e-3))


@case("labels_wrong_shape", "labels (N,) beside outputs (N, 1) in one's own squared error", "labels (N, 1)")
def forecast(sick: bool, seed: int) -> Program:
    def squared_error(prediction: Tensor, target: Tensor) -> Tensor:
        return ((prediction - target) ** 2).mean()

    x, y = curve(seed)
    return program(mlp((8, 64, 64, 1)), loaders(x, y.squeeze(1) if sick else y), adam(3e-3), squared_error)


@case("labels_shuffled", "pictures shuffled without their labels before a CNN", "shuffle both together")
def clothes_cnn(sick: bool, seed: int) -> Program:
    x, y = images("clothes", seed)
    order = torch.randperm(800)
    y = torch.cat([y[order], y[800:]]) if sick else y  # the validation data stay as they are
    return program(small_cnn((1, 8, 16), norm="batch"), loaders(x, y), adam(1e-2))


@case("labels_imbalanced", "one wave in 40 is of the second kind, in a GRU", "draw both kinds evenly")
def rare_waves(sick: bool, seed: int) -> Program:
    x, y = waves(seed, 4000)
    n, common, rare = 15 if sick else 300, (y == 0).nonzero().flatten(), (y == 2).nonzero().flatten()
    drawn = torch.cat([common[: 600 - n], rare[:n]])[torch.randperm(600)]
    chosen = torch.cat([drawn, common[-100:], rare[-100:]])
    return program(Recurrent(2), loaders(x[chosen], y[chosen] // 2), adam(3e-3))


@case("softmax_before_loss", "a CNN that ends in a softmax, with cross-entropy", "return the logits")
def clothes_classifier(sick: bool, seed: int) -> Program:
    model = nn.Sequential(small_cnn((1, 8, 16), norm="batch"), nn.Softmax(dim=1) if sick else nn.Identity())
    return program(model, clothes(seed), sgd(0.1))


@case("sigmoid_before_loss", "a CNN that ends in a sigmoid, with the loss for logits", "return the logits")
def two_figures(sick: bool, seed: int) -> Program:
    model = nn.Sequential(small_cnn((3, 8, 16), 1, norm="batch"), nn.Sigmoid() if sick else nn.Identity())
    return program(model, loaders(*figures(seed)), sgd(0.1), F.binary_cross_entropy_with_logits)


@case("sigmoid_missing", "one's own cross-entropy of probabilities, with logits", "a sigmoid after the last layer")
def two_arms(sick: bool, seed: int) -> Program:
    def entropy(p: Tensor, y: Tensor) -> Tensor:
        return -(y * torch.log(p + 1e-6) + (1 - y) * torch.log(1 - p + 1e-6)).mean()

    x, y = points(seed, arms=2)
    model = nn.Sequential(mlp((2, 32, 32, 1)), nn.Identity() if sick else nn.Sigmoid())
    return program(model, loaders(x, y[:, None].float()), adam(1e-2), entropy)


@case("relu_at_output", "a regression of standardised targets that ends in a ReLU", "let the last layer be linear")
def rectified_curve(sick: bool, seed: int) -> Program:
    model = nn.Sequential(mlp((8, 64, 1)), nn.ReLU() if sick else nn.Identity())
    return program(model, loaders(*curve(seed)), adam(3e-3), F.mse_loss)


@case("squashed_output", "an autoencoder of standardised pictures that ends in a sigmoid", "let it end linearly")
def compressed_clothes(sick: bool, seed: int) -> Program:
    x = images("clothes", seed)[0].flatten(1)
    x = (x - x.mean()) / x.std()
    model = nn.Sequential(mlp((196, 64, 16)), mlp((16, 64, 196)), nn.Sigmoid() if sick else nn.Identity())
    return program(model, loaders(x, x), adam(3e-3), F.mse_loss)


@case("single_output", "two classes, one output and cross-entropy", "the loss for two classes and one output")
def circle_cnn(sick: bool, seed: int) -> Program:
    loss_fn = F.cross_entropy if sick else F.binary_cross_entropy_with_logits
    return program(small_cnn((3, 8, 16), 1, norm="batch"), loaders(*figures(seed)), adam(1e-2), loss_fn)


@case("loss_unfit", "the negative log-likelihood of logits, in a perceptron", "cross-entropy")
def likely_digits(sick: bool, seed: int) -> Program:
    return program(mlp((196, 64, 64, 10)), digits(seed), adam(3e-3), F.nll_loss if sick else F.cross_entropy)


@case("loss_summed", "cross-entropy summed over a batch of 100, with descent at 0.1", "the mean")
def digits_by_hundred(sick: bool, seed: int) -> Program:
    loss_fn = partial(F.cross_entropy, reduction="sum" if sick else "mean")
    return program(mlp((196, 64, 64, 10)), digits(seed, size=100), sgd(0.1, momentum=0.9), loss_fn)


@case("first_loss_high", "a last layer drawn from N(0, 1), in a perceptron", "divide its weights by 16")
def sure_digits(sick: bool, seed: int) -> Program:
    model = initialise(mlp((196, 256, 256, 10)), "he", seed=seed)
    nn.init.normal_(model.get_parameter("linear3.weight"), std=1 if sick else 1 / 16)
    return program(model, digits(seed), adam(1e-3))


@case("targets_not_scaled", "prices around 200,000 as targets of a regression", "standardise them")
def prices(sick: bool, seed: int) -> Program:
    x, y = curve(seed)
    return program(mlp((8, 64, 64, 1)), loaders(x, 2e5 + 5e4 * y if sick else y), adam(3e-3), F.mse_loss)
