"""What a reader may guess in `Predict`: one of a few choices, or a number on a scale."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from unstuck.arguments import choice, instance, real, short, words
from unstuck.claims import number


@dataclass(frozen=True)
class Choices:
    """A few texts, each with a reply to who chooses it; no replies: a mapping was not given."""

    texts: tuple[str, ...]
    replies: tuple[str, ...] = ()

    @classmethod
    def of(cls, given: Any) -> Choices:
        if isinstance(given, str | bytes) or not isinstance(given, Iterable):
            raise TypeError(f"choices: expected a list of texts, or texts with replies, got {short(given)}")
        texts = tuple(words("choices", text) for text in given)
        if len(set(texts)) < max(2, len(texts)):
            raise ValueError(f"choices: expected at least two different texts, got {list(texts)}")
        replies = given.values() if isinstance(given, Mapping) else ()
        return cls(texts, tuple(str(instance("choices", reply, str, "a text as a reply")) for reply in replies))

    def state(self) -> dict[str, Any]:
        return {"choices": list(self.texts), "replies": list(self.replies)}

    def lines(self) -> list[str]:
        return list(self.texts)

    def answer(self, name: str, value: Any) -> tuple[str, str]:
        """The argument `name`, which must be one of the choices, and how it is shown."""
        right = choice(name, value, self.texts)
        return right, right

    def __str__(self) -> str:
        return f"{len(self.texts)} choices"


@dataclass(frozen=True)
class Scale:
    """The numbers from `low` to `high`; logarithmic: both above 0."""

    low: float
    high: float
    unit: str = ""
    log: bool = False

    @classmethod
    def of(cls, given: Any, unit: str, log: bool) -> Scale:
        if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
            raise TypeError(f"number: expected two numbers, low and high, got {short(given)}")
        ends = [real("number", end, above=0 if log else None) for end in given]
        if len(ends) != 2 or ends[0] >= ends[1]:
            raise ValueError(f"number: expected two numbers, low below high, got {short(given)}")
        return cls(ends[0], ends[1], unit, log)

    def state(self) -> dict[str, Any]:
        return {"scale": dict(vars(self))}

    def lines(self) -> list[str]:
        return [f"a number from {self.low:g} to {self.high:g} {self.unit}".strip()]

    def shown(self, value: float) -> str:
        return f"{number(value)} {self.unit}".strip()

    def answer(self, name: str, value: Any) -> tuple[float, str]:
        """The argument `name`, which must be a number, and how it is shown."""
        right = real(name, value, above=0 if self.log else None)
        return right, self.shown(right)

    def __str__(self) -> str:
        return self.lines()[0]
