"""Finds the activations that a model calls as functions, which no hook on a module sees."""

from __future__ import annotations

from collections import Counter

from torch import nn
from torch.autograd.graph import Node

from unstuck import graph, private
from unstuck.parts import Measured, nodes


class FunctionalActivations:
    """Finds the activations that a model calls as functions, in the autograd graph of one forward.

    Autograd numbers its nodes in the order in which they are made. So what lies behind a module's output and was
    made since the module was entered, but not within a module inside it, the module made itself. Nothing is patched.
    Not seen: what has no graph (a frozen part in front), and what overwrites a view in place (autograd hides it).
    """

    def __init__(self, measured: Measured) -> None:
        self.measured = measured
        self.done = False
        self.names: dict[nn.Module, str] = {}
        self.found: Counter[tuple[str, str]] = Counter()  # (layer, function): calls
        self.claimed: set[Node] = set()  # made by a module that has been left
        self.running: list[tuple[nn.Module, int]] = []  # modules under way, innermost last, and the counter before

    def start(self, model: nn.Module) -> None:
        """A forward begins, in which all is to be found."""
        self.stop()
        self.found.clear()
        self.names = {module: name for name, module in model.named_modules()}
        self.enter(model)

    def stop(self) -> None:
        """Forget what holds on to the graph."""
        self.names, self.claimed, self.running = {}, set(), []

    def enter(self, module: nn.Module) -> None:
        if module in self.names:
            self.running.append((module, private.next_number()))

    def leave(self, module: nn.Module, output: object) -> None:
        if module not in self.names:
            return
        entered, first = self.running.pop()
        while entered is not module:  # a child that raised, and whose parent went on
            entered, first = self.running.pop()
        roots = nodes(output)
        made = graph.made_since(roots, first) - self.claimed
        self.claimed |= made
        if module in self.measured:
            made -= roots  # that is what is measured
        if not self.measured.acts(module):
            name = self.names[module]
            self.found.update((name, function) for node in made if (function := graph.activation(node)))
        if not self.running:
            self.done = True
            self.stop()

    def listed(self) -> list[dict]:
        return [{"layer": layer, "function": name, "calls": n} for (layer, name), n in self.found.items()]
