"""Patients whose first weights, optimiser or training step is at fault."""

from __future__ import annotations

from torch import nn
from torch.nn import functional as F

from unstuck.clinic.networks import Added, Apply, Chain, Recurrent
from unstuck.clinic.program import Program, adam, case, program, sgd
from unstuck.clinic.samples import clothes, curve, digits, figures, loaders, points, waves
from unstuck.init import initialise
from unstuck.models import gated_cnn, mlp, small_cnn, small_transformer


@case("weights_zero", "all weights zero, in a perceptron", "He's start")
def blank_digits(sick: bool, seed: int) -> Program:
    model = initialise(mlp((196, 64, 64, 10)), "zeros" if sick else "he", seed=seed)
    return program(model, digits(seed), adam(3e-3))


@case("weights_equal", "all weights 0.1, in a perceptron of tanh units", "Xavier's start")
def tanh_points(sick: bool, seed: int) -> Program:
    start = {"scheme": "constant", "scale": 0.1} if sick else {"scheme": "xavier"}
    model = initialise(mlp((2, 64, 64, 3), "tanh"), **start, seed=seed)
    return program(model, loaders(*points(seed)), adam(1e-2))


@case("weights_small", "N(0, 0.01^2) in four hidden layers of 200 ReLUs", "He's start")  # case B
def deep_digits(sick: bool, seed: int) -> Program:
    start = {"scheme": "normal", "scale": 0.01} if sick else {"scheme": "he"}
    model = initialise(mlp((196, 200, 200, 200, 200, 10)), **start, seed=seed)
    return program(model, digits(seed), sgd(0.1))


@case("inputs_collapse", "six gated blocks whose gates start half open", "batch normalisation")  # case C
def gated_digits(sick: bool, seed: int) -> Program:
    model = initialise(gated_cnn((1, 12), 6, 10, norm=None if sick else "batch"), "he", seed=seed)
    return program(model, digits(seed), sgd(0.05, momentum=0.9))


@case("inputs_collapse", "tanh units in ten layers, biases from N(0, 1)", "biases of 0")
def deep_arms(sick: bool, seed: int) -> Program:
    model = initialise(mlp((2, *[64] * 10, 3), "tanh"), "xavier", gain=1.1, seed=seed)
    for name, parameter in model.named_parameters():
        if sick and name.endswith("bias"):
            nn.init.normal_(parameter)
    return program(model, loaders(*points(seed)), sgd(0.02, momentum=0.9))


@case("gradient_vanishes", "sigmoids in five hidden layers", "ReLUs")
def five_layers(sick: bool, seed: int) -> Program:
    model = initialise(mlp((196, *[64] * 5, 10), "sigmoid" if sick else "relu"), "he", seed=seed)
    return program(model, digits(seed), sgd(0.1))


@case("gradient_explodes", "40 layers with batch normalisation, which multiplies gradients", "residual connections")
def tower(sick: bool, seed: int) -> Program:
    joined = nn.Sequential if sick else Added
    blocks = [joined(nn.Linear(64, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU()) for _ in range(40)]
    model = nn.Sequential(nn.Flatten(), nn.Linear(196, 64), *blocks, nn.BatchNorm1d(64), nn.Linear(64, 10))
    return program(model, digits(seed), sgd(0.01))


@case("units_saturated", "a first layer of tanh units with weights from [0, 0.2]", "from [-0.2, 0.2]")
def tanh_clothes(sick: bool, seed: int) -> Program:
    model = initialise(mlp((196, 64, 64, 10), "tanh"), "xavier", seed=seed)
    nn.init.uniform_(model.get_parameter("linear1.weight"), 0.0 if sick else -0.2, 0.2)
    return program(model, clothes(seed), sgd(0.1))


@case("units_dead_at_start", "biases of -3 before ReLUs", "biases of 0")
def silent_digits(sick: bool, seed: int) -> Program:
    model = initialise(mlp((196, 64, 64, 10)), "he", bias=-3.0 if sick else 0.0, seed=seed)
    return program(model, digits(seed), adam(3e-3))


@case("weights_large", "one filter and a classifier, weights from [0, 1]", "[0, 0.2] and [-0.05, 0.05]")  # case A
def black_picture(sick: bool, seed: int) -> Program:
    model = nn.Sequential(nn.Conv2d(3, 1, kernel_size=3), nn.ReLU(), nn.Flatten(), nn.Linear(22**2, 1))
    nn.init.uniform_(model.get_parameter("0.weight"), 0, 1.0 if sick else 0.2)
    nn.init.uniform_(model.get_parameter("3.weight"), *((0, 1) if sick else (-0.05, 0.05)))
    data = loaders(*figures(seed, 100, size=24, noise=0.0), size=1, held=50)
    return program(model, data, sgd(5e-3), F.binary_cross_entropy_with_logits)


@case("units_killed", "eight filters, with descent at 1", "at 0.05")
def filtered_figures(sick: bool, seed: int) -> Program:
    model = nn.Sequential(nn.Conv2d(3, 8, kernel_size=3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 10**2, 1))
    return program(model, loaders(*figures(seed)), sgd(1.0 if sick else 0.05), F.binary_cross_entropy_with_logits)


@case("lr_small", "a CNN with Adam at 1e-6", "3e-3")
def slow_clothes(sick: bool, seed: int) -> Program:
    return program(small_cnn((1, 8, 16), norm="batch"), clothes(seed), adam(1e-6 if sick else 3e-3))


@case("lr_large", "a transformer with Adam at 0.3", "3e-3")
def patched_digits(sick: bool, seed: int) -> Program:
    return program(small_transformer((1, 14, 14), patch=7), digits(seed), adam(0.3 if sick else 3e-3))


@case("diverges", "a regression with descent at 3", "0.1")
def steep_regression(sick: bool, seed: int) -> Program:
    return program(mlp((8, 64, 1)), loaders(*curve(seed)), sgd(3.0 if sick else 0.1), F.mse_loss)


@case("momentum_out_of_range", "momentum 0.999 in a perceptron", "0.9")
def rolling_points(sick: bool, seed: int) -> Program:
    return program(mlp((2, 64, 64, 3)), loaders(*points(seed)), sgd(0.1, momentum=0.999 if sick else 0.9))


@case("adam_eps", "Adam with eps 1 in a GRU", "1e-8")
def careful_waves(sick: bool, seed: int) -> Program:
    return program(Recurrent(4), loaders(*waves(seed)), adam(1e-2, eps=1.0 if sick else 1e-8))


@case("gradients_not_zeroed", "a step without zero_grad(), in a CNN", "call it")
def clothes_with_momentum(sick: bool, seed: int) -> Program:
    model, zero_grad = small_cnn((1, 8, 16), norm="batch"), "never" if sick else "first"
    return program(model, clothes(seed), sgd(0.02, momentum=0.9), zero_grad=zero_grad)


@case("no_step", "zero_grad() between backward() and step(), in a GRU", "before backward()")
def recurrent_waves(sick: bool, seed: int) -> Program:
    return program(Recurrent(4), loaders(*waves(seed)), adam(1e-2), zero_grad="late" if sick else "first")


@case("parameters_missing", "an optimiser that has the last layer only", "give it the whole model")
def headed_points(sick: bool, seed: int) -> Program:
    model = mlp((2, 32, 32, 3))
    trained = model[-1] if sick else model
    return program(model, loaders(*points(seed)), lambda _: adam(1e-2)(trained.parameters()))


@case("parameters_frozen", "a transformer frozen but for its head, and never trained before", "freeze nothing")
def attending_digits(sick: bool, seed: int) -> Program:
    model = small_transformer((1, 14, 14), patch=7, width=16)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = not sick or name.startswith("linear")
    return program(model, digits(seed), adam(1e-2))


@case("parameters_detached", "features handed to the head as .data", "hand them over as they are")
def encoded_points(sick: bool, seed: int) -> Program:
    between = Apply((lambda features: features.data) if sick else (lambda features: features))
    model = nn.Sequential(mlp((2, 32, 16)), nn.ReLU(), between, nn.Linear(16, 3))
    return program(model, loaders(*points(seed)), adam(1e-2))


@case("parameters_unused", "a forward() that never calls its two blocks", "call them")
def block_points(sick: bool, seed: int) -> Program:
    blocks = [Added(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 32)) for _ in range(2)]
    model = Chain(nn.Linear(2, 32), *blocks, nn.Linear(32, 3))
    model.called = slice(0, None, 3 if sick else 1)
    return program(model, loaders(*points(seed)), adam(3e-3))


@case("weight_decay_strong", "weight decay 1 with descent, in a perceptron", "5e-4")
def shrinking_digits(sick: bool, seed: int) -> Program:
    decay = 1.0 if sick else 5e-4
    return program(mlp((196, 64, 64, 10)), digits(seed), sgd(0.05, momentum=0.9, weight_decay=decay))


@case("clipping_always", "the gradient's norm clipped at 0.001, in a perceptron", "at 5")
def clipped_digits(sick: bool, seed: int) -> Program:
    return program(mlp((196, 64, 64, 10), norm="layer"), digits(seed), sgd(0.1), clip=1e-3 if sick else 5.0)
