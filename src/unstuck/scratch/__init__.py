"""A neural network in NumPy alone, each layer short enough to be read in class: chapters 2, 7 and 8 do so."""

from unstuck.scratch.activations import (
    ACTIVATIONS,
    ELU,
    GELU,
    SELU,
    Activation,
    Identity,
    LeakyReLU,
    Maxout,
    PReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Tanh,
    sigmoid,
)
from unstuck.scratch.check import GradientReport, gradient_check
from unstuck.scratch.convolution import Conv2d, MaxPool2d, conv2d_naive, fold, pad, windows
from unstuck.scratch.layer import Layer
from unstuck.scratch.linear import Flatten, Linear
from unstuck.scratch.losses import LogisticLoss, Loss, SoftmaxCrossEntropy, SquaredError
from unstuck.scratch.network import Network, perceptron
from unstuck.scratch.norm import BatchNorm, LayerNorm
