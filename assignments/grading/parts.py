"""What an assignment's `questions.py` is made of: parts of questions, each with its inputs and its known mistakes."""

from __future__ import annotations

import inspect
import textwrap
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

VISIBLE, HIDDEN = 0, 1
"""Where the random inputs begin: those of the students' examples, and those of the marks."""


@dataclass(frozen=True)
class Mistake:
    """A plausible wrong version of one of the student's functions, and the parts that it costs.

    Attributes:
        function: runs in the grader's process, in the place of the reference's function of that `name`.
        message: what the student is told whose values are the same.
        loses: the parts whose marks such a submission loses, no more and no fewer.
    """

    name: str
    message: str
    loses: tuple[str, ...]
    function: Callable

    @property
    def source(self) -> str:
        """The function as a student would have written it."""
        lines = textwrap.dedent(inspect.getsource(self.function)).splitlines()
        start = next(number for number, line in enumerate(lines) if line.startswith("def "))
        head = lines[start].replace(f"def {self.function.__name__}(", f"def {self.name}(", 1)
        return "\n".join([head, *lines[start + 1 :]])


@dataclass(frozen=True)
class Part:
    """What one test cell asks for: the student's functions are called, and the values compared.

    Attributes:
        id: the `grade_id` of the test cell, which also holds the points.
        call: Python that calls the student's functions with the names of the inputs.
        returns: the names in which the call leaves its results.
        inputs: draws the inputs of one call; a name that begins with "_" stays with the grader.
        cases: the number of calls on which the marks depend.
        judge: in place of a comparison with the reference: (values, inputs) of each call to a sentence, "" if right.
            `check` of such a part does not work in the student's notebook.
    """

    id: str
    call: str
    returns: tuple[str, ...]
    inputs: Callable[[np.random.Generator], dict[str, Any]]
    cases: int = 3
    rtol: float = 1e-5
    atol: float = 1e-8
    judge: Callable[[list[dict], list[dict]], str] | None = None

    def draw(self, where: int, count: int, seed: int = 0) -> list[dict[str, Any]]:
        """The inputs of `count` calls, the same for the same arguments."""
        number = zlib.crc32(self.id.encode())
        return [self.inputs(np.random.default_rng([where, seed, number, case])) for case in range(count)]


@dataclass
class Questions:
    """An assignment's parts and mistakes, the packages its students use, and its limits.

    Attributes:
        seconds: of processor time, for one cell or call; three times as much by the clock.
        total: seconds by the clock for a whole submission.
        memory: megabytes beyond what the packages take.
    """

    title: str
    parts: list[Part]
    imports: tuple[str, ...] = ("numpy",)
    seconds: int = 10
    total: int = 180
    memory: int = 1024
    mistakes: list[Mistake] = field(default_factory=list)

    def mistake(self, name: str, message: str, loses: Iterable[str] | str) -> Callable[[Callable], Callable]:
        """Decorates a wrong version of the student's function `name`."""
        parts = (loses,) if isinstance(loses, str) else tuple(loses)
        if unknown := set(parts) - {part.id for part in self.parts}:
            raise ValueError(f"loses: expected ids of parts, got {sorted(unknown)}")

        def keep(function: Callable) -> Callable:
            self.mistakes.append(Mistake(name, message, parts, function))
            return function

        return keep
