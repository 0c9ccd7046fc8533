"""The modules of the one table of activations, `unstuck.activations`, or any other that a network is given."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from unstuck.activations import ACTIVATIONS
from unstuck.arguments import choice, instance, short, whole


class Maxout(nn.Module):
    """The largest of `pieces` linear maps (Goodfellow et al. 2013): (N, H * pieces, ...) to (N, H, ...).

    Unit h is the maximum over features h, h + H, h + 2H, ...; the layer before it is `pieces` times as wide. A
    ValueError where the features do not divide.
    """

    def __init__(self, pieces: int = 2) -> None:
        super().__init__()
        self.pieces = whole("pieces", pieces, least=2)

    def forward(self, z: Tensor) -> Tensor:
        instance("z", z, Tensor, "a torch tensor")
        if z.ndim < 2 or z.shape[1] % self.pieces:
            raise ValueError(
                f"z: expected (N, H * {self.pieces}, ...) for {self.pieces} pieces, got {tuple(z.shape)}"
            )
        return z.unflatten(1, (self.pieces, -1)).amax(dim=1)

    def extra_repr(self) -> str:
        return f"pieces={self.pieces}"


OWN: dict[str, type[nn.Module]] = {"Maxout": Maxout}
"""What `torch.nn` does not have, by its kind in the table."""


def activation_module(activation: str | Callable[[], nn.Module]) -> nn.Module:
    """A new module of an activation.

    Args:
        activation: a name in `ACTIVATIONS`, or what makes a module when it is called without arguments: a class such
            as `nn.Softplus`, `partial(nn.LeakyReLU, 0.2)`, a function of your own.

    Raises ValueError for an unknown name, TypeError for anything else that makes no module.
    """
    if isinstance(activation, str):
        kind = ACTIVATIONS[choice("activation", activation, ACTIVATIONS)].kind
        return (OWN.get(kind) or getattr(nn, kind))()
    expected = "a name or what makes a torch.nn.Module when it is called without arguments"
    if isinstance(activation, nn.Module) or not callable(activation):  # one module cannot serve in several layers
        raise TypeError(f"activation: expected {expected}, got {short(activation)}")
    try:
        module = activation()
    except TypeError as error:  # torch.relu, nn.Threshold: they need arguments
        raise TypeError(f"activation: expected {expected}, got {short(activation)} ({error})") from error
    if not isinstance(module, nn.Module):
        raise TypeError(f"activation: expected {expected}, but {short(activation)} makes {short(module)}")
    return module


def pieces_of(activation: nn.Module) -> int:
    """How many times as wide the layer before this activation is: `pieces` for Maxout, otherwise 1."""
    return activation.pieces if isinstance(activation, Maxout) else 1
