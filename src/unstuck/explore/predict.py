"""`Predict`: a question that the reader answers before the page does."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import traitlets
from numpy.typing import ArrayLike

from unstuck.arguments import flag, instance, real, words
from unstuck.claims import measurements, minus
from unstuck.explore.explorable import SCRIPTS, Explorable, digest, filled
from unstuck.explore.options import Choices, Scale


class Predict:
    """A question with a few choices or a scale of numbers; what is right shows after the reader has committed.

    What is right, a later cell tells, once the page has measured it:

        guess = Predict("At which rate does it learn fastest?", choices=["0.01", "0.1", "1"])
        guess
        ...
        guess.close(f"{rates[losses.argmin()]:g}", "At 1 it diverges, at 0.01 it has hardly begun.")

    or, in a quiz, the question itself, where no run is needed:

        Predict("What is ln 10?", choices={"1": "That is ln e.", "2.30": ""}, answer="2.30", why="`exp(2.30)` is 10.")

    The guess is kept in the reader's browser and nowhere else. `Code` in backticks is shown as code.

    Args:
        question: a sentence.
        choices: at least two different texts; or, with an `answer`, each with a reply to who chooses it ("": none).
        number: in place of choices the two ends of a scale, the lower first.
        unit: of the number.
        log: whether the scale is logarithmic; its ends are then above 0.
        answer: what is right where no run decides it: one of the choices, or a number.
        why: the reason for `answer`.

    Raises:
        ValueError, TypeError: both or neither of choices and number, choices that are too few or alike, a scale that
            does not rise, an answer that is none of the choices, a blank text.
    """

    def __init__(
        self,
        question: str,
        *,
        choices: Sequence[str] | Mapping[str, str] | None = None,
        number: tuple[float, float] | None = None,
        unit: str = "",
        log: bool = False,
        answer: str | float | None = None,
        why: str = "",
    ) -> None:
        self.question = words("question", question)
        self._options = _options(choices, number, instance("unit", unit, str, "a text"), flag("log", log))
        self._state = {"question": self.question, **self._options.state()}
        self._closed_by_itself = answer is not None
        _check_why(self._options, answer, why)
        solution = _solved(self._options, "answer", answer, why) if answer is not None else {}
        lines = self._options.lines()
        folded = _folded("Answer", solution) if solution else ""
        told = [f"Answer: {solution['shown']}", why] if solution else []
        self._id = f"guess-{digest(self._state)}"
        self._widget = Question(
            text="\n".join([f"Predict: {self.question}", *(f"- {line}" for line in lines), *told]),
            page=_page(self.question, lines, folded),
            guess=self._id,
            **self._state,
            **solution,
        )

    def close(self, measured: str | ArrayLike, text: str) -> Explorable:
        """What was measured, beside the reader's guess; it is folded as long as there is no guess.

        Args:
            measured: the choice that is right, as the run has found it; or a number, of several the mean.
            text: why it is so. "{measured}" in it is filled in: no number is typed by hand.

        Raises:
            ValueError, TypeError: `measured` is none of the choices, or no finite number (above 0 on a logarithmic
                scale); a text that is blank or has other names in braces; a question that has an answer of its own.
        """
        if self._closed_by_itself:
            raise ValueError("answer: expected none where `close` gives it, got a question that has one")
        if isinstance(self._options, Scale):
            measured = fmean(real("measured", value) for value in measurements(measured).tolist())
        solution = _solved(self._options, "measured", measured, "")
        solution["why"] = filled("text", text, {"measured": solution["shown"]})
        return Question(
            text=f"What was measured: {self.question}\n{filled('text', text, {'measured': '…'})}",
            page=_page(self.question, [], _folded("What was measured", solution)),
            identity=f"{self._id} closed",
            guess=self._id,
            closing=True,
            **self._state,
            **solution,
        )

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict, dict]:
        return self._widget._repr_mimebundle_(**kwargs)

    def __repr__(self) -> str:
        return f"Predict({self.question!r}, {self._options})"


class Question(Explorable):
    """The widget: a question or, `closing`, what was measured beside the guess; the two meet in the browser."""

    _esm = SCRIPTS / "predict.js"
    _css = SCRIPTS / "predict.css"

    guess = traitlets.Unicode().tag(sync=True)  # under which the browser keeps it
    question = traitlets.Unicode().tag(sync=True)
    choices: traitlets.List[str] = traitlets.List().tag(sync=True)
    replies: traitlets.List[str] = traitlets.List().tag(sync=True)  # one a choice, or none
    scale: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)  # {low, high, unit, log} in place of choices
    closing = traitlets.Bool().tag(sync=True)
    answer = traitlets.Any(None, allow_none=True).tag(sync=True)  # a choice or a number; None: not known here
    shown = traitlets.Unicode().tag(sync=True)  # the answer as the reader sees it
    why = traitlets.Unicode().tag(sync=True)


def _options(choices: Any, number: Any, unit: str, log: bool) -> Choices | Scale:
    if (choices is None) == (number is None):
        raise ValueError(f"choices, number: expected one of them, got {'none' if choices is None else 'both'}")
    if choices is None:
        return Scale.of(number, unit, log)
    if unit or log:
        raise ValueError(f"unit, log: expected neither with choices, got unit={unit!r}, log={log}")
    return Choices.of(choices)


def _check_why(options: Choices | Scale, answer: Any, why: Any) -> None:
    if answer is not None:
        words("why", why)
    elif instance("why", why, str, "a text"):
        raise ValueError(f"why: expected none without an answer, got {why!r}")
    elif isinstance(options, Choices) and options.replies:
        raise ValueError("choices: expected replies only with an answer, got a mapping without one")


def _solved(options: Choices | Scale, name: str, value: Any, why: str) -> dict[str, Any]:
    answer, shown = options.answer(name, value)
    return {"answer": answer, "shown": shown, "why": why}


def _page(question: str, lines: Sequence[str], folded: str) -> str:
    """What stands in for it: plain HTML that also shows where all styles are taken out."""
    items = "".join(f"<li>{_marked(line)}</li>" for line in lines)
    listed = f"<ul>{items}</ul>" if items else ""
    return f'<div class="unstuck-predict-plain"><p><strong>{_marked(question)}</strong></p>{listed}{folded}</div>'


def _folded(summary: str, solution: Mapping[str, Any]) -> str:
    answer = f"<p><strong>{_marked(solution['shown'])}</strong></p><p>{_marked(solution['why'])}</p>"
    return f"<details><summary>{summary}</summary>{answer}</details>"


def _marked(text: str) -> str:
    """As HTML, with what stands in backticks as code, and elsewhere a minus for the hyphen before a number."""
    parts = re.split("`([^`]+)`", html.escape(text, quote=False))
    return "".join(f"<code>{part}</code>" if i % 2 else minus(part) for i, part in enumerate(parts))
