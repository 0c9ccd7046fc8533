"""Which operations a program calls, where, and on what: below modules, so that functions are seen as well.

`unstuck.evaluate.trace` sees what modules put out; this sees PyTorch's own operations, "relu" and "addmm", with the
path of the module in which each is called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from unstuck import parts, private


@dataclass
class Call:
    """One operation: its name, the path of the module that called it ("" is the model), its arguments and result."""

    name: str
    path: str
    args: tuple
    kwargs: dict
    output: Any

    def tensors(self) -> list[Tensor]:
        return list(parts.tensors((self.args, self.kwargs)))


class Operations(TorchDispatchMode):
    """Hands every operation to `see`, with the path of the module in which it is called.

    It also keeps, for each call of a module, between which of autograd's numbers it ran: so a node of the graph finds
    the module that made it.
    """

    def __init__(self, see: Callable[[Call], None]) -> None:
        super().__init__()
        self.see, self.path, self.seen = see, [""], True
        self.ranges: list[tuple[int, int, str]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if self.seen:
            self.seen = False  # what `see` computes is none of the program's
            try:
                self.see(Call(func.overloadpacket.__name__, self.path[-1], args, kwargs or {}, output))
            finally:
                self.seen = True
        return output

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[Operations]:
        """Within it every operation is seen, wherever it is called; paths are those in `model`."""
        handles = []
        for name, module in model.named_modules():
            handles.append(module.register_forward_pre_hook(partial(self._enter, name)))
            handles.append(module.register_forward_hook(partial(self._leave, name), always_call=True))
        try:
            with self:
                yield self
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, name: str, module: nn.Module, args: tuple) -> None:
        self.path.append(name)
        self.ranges.append((private.next_number(), -1, name))

    def _leave(self, name: str, module: nn.Module, args: tuple, output: Any) -> None:
        self.path.pop()
        for i in range(len(self.ranges) - 1, -1, -1):
            since, until, at = self.ranges[i]
            if at == name and until < 0:
                self.ranges[i] = (since, private.next_number(), name)
                return

    def module_of(self, number: int) -> str | None:
        """The path of the innermost module that made a node of this number; None outside of them all."""
        around = [(until - since, at) for since, until, at in self.ranges if since <= number < until]
        return min(around, key=lambda each: (each[0], -len(each[1])))[1] if around else None
