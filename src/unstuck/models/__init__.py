"""The book's networks: plain PyTorch modules whose layers are named `linear1`, `act1`, `linear2`, ..."""

from unstuck.activations import ACTIVATIONS
from unstuck.models.activations import Maxout, activation_module
from unstuck.models.convolutional import small_cnn
from unstuck.models.gated import gated_cnn
from unstuck.models.norms import NORMS
from unstuck.models.parameters import count_parameters
from unstuck.models.perceptron import mlp
from unstuck.models.pretrained import efficientnet_lite0, freeze
from unstuck.models.transformer import small_transformer

__all__ = [
    "ACTIVATIONS",
    "NORMS",
    "Maxout",
    "activation_module",
    "count_parameters",
    "efficientnet_lite0",
    "freeze",
    "gated_cnn",
    "mlp",
    "small_cnn",
    "small_transformer",
]
