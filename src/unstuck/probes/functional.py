"""Finds the activations that a model calls as functions, which no hook on a module sees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial

from torch import nn
from torch.autograd.graph import Node

from unstuck.parts import function_of, nodes


class FunctionalActivations:
    """Finds the activations that a model calls as functions, in the autograd graph of one forward.

    Whatever lies behind a tensor that enters a module was made before, by the module that calls it; what is new
    behind a tensor that leaves was made inside. So each node of the graph is claimed once, by the innermost
    module that made it; nothing is patched, and a forward that raises leaves nothing behind. Not seen: what has
    no graph (a frozen part in front), and what overwrites a view in place (autograd hides the function).
    """

    def __init__(self, model: nn.Module, watched: Iterable[nn.Module], acts: Callable[[nn.Module], bool]):
        self.model, self.acts = model, acts
        self.watched = set(watched)
        self.done = False
        self.found: Counter[tuple[str, str]] = Counter()  # (layer, function): calls
        self.claimed: set[Node] = set()  # with every node also all that lie behind it
        self.own: set[Node] = set()  # what the model itself made, or was given
        self.running: list[tuple[str, nn.Module]] = []  # modules under way, innermost last
        self.handles: list = []

    def start(self) -> None:
        self.found.clear()
        self.running = [("", self.model)]
        self.handles.append(self.model.register_forward_hook(self._finish, with_kwargs=True))
        for name, module in self.model.named_modules():
            if module is not self.model:
                enter, leave = partial(self._enter, name), partial(self._leave, name)
                self.handles.append(module.register_forward_pre_hook(enter, with_kwargs=True))
                self.handles.append(module.register_forward_hook(leave))

    def _finish(self, model: nn.Module, args, kwargs, output) -> None:
        self._leave("", model, args, output)
        self.claimed = set()
        own = self.own - self._claim((args, kwargs))
        self.found.update(("", function) for node in own if (function := function_of(node)))
        self.done = True
        self.stop()

    def stop(self) -> None:
        for handle in self.handles:
            handle.remove()
        self.handles, self.claimed, self.own, self.running = [], set(), set(), []

    def listed(self) -> list[dict]:
        return [{"layer": layer, "function": name, "calls": n} for (layer, name), n in self.found.items()]

    def _enter(self, name: str, module: nn.Module, args, kwargs) -> None:
        self._count(self.running[-1], self._claim((args, kwargs)))
        self.running.append((name, module))

    def _leave(self, name: str, module: nn.Module, args, output) -> None:
        while self.running.pop() != (name, module):
            pass  # a child that raised, and whose parent went on
        measured = nodes(output) if module in self.watched else set()
        self._count((name, module), self._claim(output) - measured)

    def _claim(self, value) -> set[Node]:
        """The nodes behind the tensors of `value` that nobody has claimed yet."""
        new: set[Node] = set()
        waiting = nodes(value) - self.claimed
        while waiting:
            node = waiting.pop()
            new.add(node)
            waiting |= {behind for behind, _ in node.next_functions} - self.claimed - new - {None}
        self.claimed |= new
        return new

    def _count(self, by: tuple[str, nn.Module], nodes: set[Node]) -> None:
        name, module = by
        if module is self.model:
            self.own |= nodes
        elif not self.acts(module):
            self.found.update((name, function) for node in nodes if (function := function_of(node)))
