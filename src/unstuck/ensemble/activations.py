"""`Activations`: what is measured of stacked networks, found in one of them. N: examples."""

from __future__ import annotations

from torch import Tensor, nn

from unstuck import parts
from unstuck.ensemble.stacked import Stack
from unstuck.ensemble.trial import seeded


class Activations:
    """The activations of stacked networks and the axes of their units, as `watch` finds them in one network."""

    def __init__(self, stacked: Stack) -> None:
        self.stacked = stacked
        self.model: nn.Module | None = None  # the first network, by itself
        self.measured = parts.Measured(chosen=False)
        self.settled = False
        self.found: dict[str, int] = {}

    def unit_axes(self, x: Tensor) -> dict[str, int]:
        """What this forward of the first network, with inputs x (N, ...), is known to call: the axes by name.

        The network is run until nothing is undecided: what `watch` learns in a later step is learnt here in the same.
        """
        if not self.settled:
            self._run(x)
        return self.found

    def _run(self, x: Tensor) -> None:
        if self.model is None:
            self.model = self.stacked.member(0).train()
            self.measured.look(parts.layers(self.model, None))
            for module in self.model.modules():
                module.register_forward_pre_hook(lambda module, args: self.measured.enter(module))
                module.register_forward_hook(self._leave)
        else:
            self.stacked.write(0, self.model)
        open_before = len(self.measured.undecided)
        self.measured.begin()
        with seeded(0):
            self.model(x)
        self.settled = len(self.measured.undecided) == open_before and not self.measured.unclear()

    def _leave(self, module: nn.Module, args: tuple, output: object) -> None:
        layer, a = self.measured.leave(module, args, output), parts.measurable(output)
        if layer is not None and a is not None:
            self.found[layer] = self.measured.axis.of(layer, a, output)
