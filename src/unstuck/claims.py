"""`claim`: a sentence with a number, asserted, and shown beside what a source says and what theory gives."""

from __future__ import annotations

import html
import math
import re
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from unstuck.arguments import flag, instance, real, short, whole, words

MIME = "application/vnd.unstuck.claim+json"

INTERVAL = "95 % interval"
"""What `within` asks for, and shows."""


class ClaimError(AssertionError):
    """A claim that the measurement does not bear out."""


@dataclass(frozen=True)
class Claim:
    """A claim and its measurement. Displays itself in a notebook; `fields()` is what tables of claims are made of.

    Attributes:
        mean, std, n: of what was measured; std (with n - 1) is None for a single number.
        interval: of the mean, 95 %, where `within` asks for it.
        extremes: the least and the greatest of what was measured, where `each` asks for them.
        required: what was asserted, in words.
        shown: whether it is displayed.
        held: whether it is true; `claim` returns no other.
    """

    text: str
    mean: float
    std: float | None
    n: int
    required: str
    says: str | float | None
    theory: str | float | None
    source: str
    shown: bool
    held: bool
    interval: tuple[float, float] | None = None
    extremes: tuple[float, float] | None = None

    def fields(self) -> dict:
        """Everything, ready for JSON; the interval follows from mean, std and n.

        To nine digits: the last ones are rounding, and differ from run to run.
        """
        kept = {name: value for name, value in vars(self).items() if name not in ("interval", "extremes")}
        if self.extremes is not None:
            kept |= {"least": self.extremes[0], "greatest": self.extremes[1]}
        return {name: float(f"{value:.9g}") if type(value) is float else value for name, value in kept.items()}

    @classmethod
    def from_fields(cls, fields: dict) -> Claim:
        """The claim that `fields()` came from."""
        rest = dict(instance("fields", fields, dict, "what Claim.fields() gives"))
        extremes = (rest.pop("least"), rest.pop("greatest")) if "least" in rest else None
        interval = _interval(rest["mean"], rest["std"], rest["n"]) if INTERVAL in rest["required"] else None
        return cls(**rest, interval=interval, extremes=extremes)

    @property
    def measured(self) -> str:
        """The measurement as shown: mean, and standard deviation or interval and n where there are several.

        With `each`, the least and the greatest instead.
        """
        return self._measured(3)

    def _measured(self, digits: int) -> str:
        if self.std is None:
            return number(self.mean, digits)
        if self.extremes is not None:
            low, high = (number(value, digits) for value in self.extremes)
            return f"{low} to {high} ({self.n} values)" if low != high else f"{low} ({self.n} values)"
        if self.interval is None:
            return f"{plus_minus(self.mean, self.std, digits)} (mean of {self.n})"
        half = (self.interval[1] - self.interval[0]) / 2
        mean, _, low, high = _alike(self.mean, half, *self.interval, digits=digits)
        return f"{mean}, {INTERVAL} {low} to {high} (mean of {self.n})"

    def _lines(self) -> list[tuple[str, str]]:
        """What stands below the statement: a word and a value a line."""
        lines = [("we measured ", self.measured)]
        if self.theory is not None:
            lines.append(("theory ", number(self.theory)))
        if self.says is not None:
            lines.append(("they say: ", number(self.says)))
        return lines

    def __repr__(self) -> str:
        return "\n".join([self.text, *(word + value for word, value in self._lines())])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        if not self.shown:  # HTML that is empty, since where there is none the plain text is displayed
            return {"text/plain": "held", "text/html": "", MIME: self.fields()}
        lines = "".join(f"<li>{word}{_typeset(value)}</li>" for word, value in self._lines())
        source = f"<small>{html.escape(self.source)}</small>" if self.source else ""
        page = f'<div class="claim"><p>{html.escape(self.text)}</p><ul>{lines}</ul>{source}</div>'
        return {"text/plain": repr(self), "text/html": page, MIME: self.fields()}


def minus(text: str) -> str:
    """For a page: a minus for the hyphen before a number; a terminal may lack it.

    Raises:
        TypeError: `text` is no text.
    """
    instance("text", text, str, "a text")
    return re.sub(r"(?<!\w)-(?=\d)", "−", text)


def _typeset(text: str) -> str:
    return minus(html.escape(text))


def number(value: float | str, digits: int = 3) -> str:
    """A number at `digits` significant figures, a whole number below a million in full, text as it is."""
    if isinstance(value, str):
        return value
    instance("value", value, Real, "a number or a text")
    digits = whole("digits", digits)
    if not math.isfinite(value):
        return f"{value:g}"
    if value == int(value) and abs(value) < 10**6:
        return f"{int(value):,}"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")  # rounds first: 0.9996 is 1.00
    if -3 <= int(exponent) < 6:
        return f"{value:,.{max(0, digits - 1 - int(exponent))}f}"
    return f"{mantissa}e{int(exponent)}"


def plus_minus(mean: float, std: float, digits: int = 3) -> str:
    """Mean and standard deviation, "0.530 ± 0.014", to the same decimal place, where both stop being known."""
    mean, std = real("mean", mean, finite=False), real("std", std, finite=False)
    return " ± ".join(_alike(mean, std, digits=whole("digits", digits)))


def _alike(mean: float, spread: float, *others: float, digits: int = 3) -> list[str]:
    """These numbers as shown, all to the decimal place where mean and spread stop.

    That is where the mean has `digits` significant figures or the spread one fewer, whichever comes first: of
    0.1943 ± 5.61 nothing is known beyond 0.2 ± 5.6, and of 92.84 ± 0.0021 we say 92.8 ± 0.0.
    """
    values = [mean, spread, *others]
    if not all(map(math.isfinite, values)):
        return [number(value, digits) for value in values]
    if all(value == int(value) and math.fabs(value) < 10**6 for value in values):
        return [f"{int(value):,}" for value in values]
    stops = [_exponent(x, n) - n + 1 for x, n in ((mean, digits), (spread, max(1, digits - 1))) if x]
    power = _exponent(max(math.fabs(mean), math.fabs(spread)), digits)
    power = 0 if -3 <= power < 6 else power
    places = max(0, power - max(stops))
    end = f"e{power}" if power else ""
    return [f"{Decimal(value).scaleb(-power):z,.{places}f}{end}" for value in values]


def _exponent(value: float, digits: int) -> int:
    """The power of ten of the first significant figure, after rounding to `digits`: 0.9996 is 1.00."""
    return int(f"{value:.{digits - 1}e}".split("e")[1])


def claim(
    text: str,
    *,
    measured: ArrayLike,
    expected: float | None = None,
    rel: float | None = None,
    abs: float | None = None,  # the field's word, as in pytest.approx
    at_least: float | None = None,
    at_most: float | None = None,
    within: float | None = None,
    each: bool = False,
    says: str | float | None = None,
    theory: str | float | None = None,
    source: str = "",
    shown: bool = True,
) -> Claim:
    """Assert that what was measured is what the text says, and show it.

    Exactly one of three is required of the mean, or of every value: `expected`, a bound, or `within`.

    Args:
        text: the claim, one sentence.
        measured: a number, or one number a seed: the mean is tested; mean, sd and n are shown.
        expected: the value claimed, with either `rel` (relative) or `abs` (absolute) tolerance.
        at_least, at_most: bounds claimed; one or both.
        within: for "no difference": the 95 % interval of the mean (Student's t) lies from -`within` to `within`. It
            needs at least 3 values, and says more than a difference that is not significant, which few seeds give.
        each: True tests every value and not their mean, and shows the least and the greatest: for "all" and "both",
            and wherever the values are measurements of different things, which have no mean. Not with `within`.
        says: what the source says; shown, never asserted.
        theory: what our theory gives; shown, never asserted.
        source: where `says` stands.
        shown: False asserts and stores the claim, and displays nothing.

    Raises:
        ClaimError: the claim does not hold (a measurement that is NaN or infinite never holds).
        ValueError, TypeError: the call itself is wrong.
    """
    words("text", text)
    instance("source", source, str, "a text")
    shown, each, values = flag("shown", shown), flag("each", each), measurements(measured)
    says, theory = (
        value if value is None or isinstance(value, str) else real(name, value)
        for name, value in (("says", says), ("theory", theory))
    )
    with np.errstate(invalid="ignore"):  # inf - inf: the claim fails below, and says so better than a warning
        mean = float(values.mean())
        std = float(values.std(ddof=1)) if values.size > 1 else None
    interval = extremes = None
    _check_one_way(expected, at_least, at_most, within)
    if each and within is not None:
        raise ValueError("each: expected False with within, which is about the mean, got True")
    tested = values if each else np.array([mean])
    if expected is not None:
        holds, required = _near(tested, real("expected", expected), rel, abs)
    elif rel is not None or abs is not None:
        raise ValueError(f"rel, abs: expected none without expected, got rel={short(rel)}, abs={short(abs)}")
    elif within is not None:
        limit = real("within", within, above=0)
        interval = _interval(mean, std, values.size)
        holds, required = -limit <= interval[0] and interval[1] <= limit, f"a {INTERVAL} within ±{limit:.10g}"
    else:
        holds, required = _between(tested, at_least, at_most)
    if each:
        required, extremes = f"each {required}", (float(values.min()), float(values.max()))
    holds = bool(holds and math.isfinite(mean))
    result = Claim(text, mean, std, values.size, required, says, theory, source, shown, holds, interval, extremes)
    if not holds:
        # with more digits than elsewhere: "measured 0.900, required at least 0.900" would help nobody
        raise ClaimError(
            f'The claim "{text}" does not hold: required is {required}, but we measured {result._measured(6)}.'
        )
    return result


def _check_one_way(expected: Any, at_least: Any, at_most: Any, within: Any) -> None:
    given = {
        "expected": expected is not None,
        "at_least, at_most": at_least is not None or at_most is not None,
        "within": within is not None,
    }
    if sum(given.values()) != 1:
        found = " and ".join(name for name, there in given.items() if there) or "none"
        raise ValueError(f"expected, at_least, at_most, within: expected one way to be tested, got {found}")


def _near(values: np.ndarray, expected: float, rel: Any, abs: Any) -> tuple[bool, str]:
    if (rel is None) == (abs is None):
        raise ValueError(f"rel, abs: expected one tolerance with expected, got rel={short(rel)}, abs={short(abs)}")
    if rel is not None and expected == 0:
        raise ValueError("rel: expected abs instead, since nothing is relative to expected=0")
    tolerance = real("abs", abs, least=0) if rel is None else real("rel", rel, least=0) * math.fabs(expected)
    return bool((np.fabs(values - expected) <= tolerance).all()), f"{number(expected)} ± {number(tolerance, 2)}"


def _between(values: np.ndarray, at_least: Any, at_most: Any) -> tuple[bool, str]:
    low = None if at_least is None else real("at_least", at_least)
    high = None if at_most is None else real("at_most", at_most)
    if low is not None and high is not None and low > high:
        raise ValueError(f"at_least, at_most: expected at_least to be the smaller, got {low} and {high}")
    limits = [f"{word} {limit:.10g}" for word, limit in (("at least", low), ("at most", high)) if limit is not None]
    holds = (low is None or (values >= low).all()) and (high is None or (values <= high).all())
    return bool(holds), " and ".join(limits)


def _interval(mean: float, std: float | None, n: int) -> tuple[float, float]:
    """The ends of Student's t interval of a mean of n values with standard deviation `std`."""
    if std is None or n < 3:
        raise ValueError(f"measured: expected at least 3 values (one a seed) with within, got {n}")
    from scipy.special import stdtrit  # on call: every page imports `claim`, few need this

    half = float(stdtrit(n - 1, 0.975)) * std / math.sqrt(n)
    return mean - half, mean + half


def measurements(measured: ArrayLike) -> np.ndarray:
    """What was measured, a number or several, as float64 (n,), finite or not; else TypeError or ValueError."""
    try:
        values = np.asarray(measured)
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: a tensor that requires a gradient
        raise TypeError(f"measured: expected a number or a sequence of numbers, got {short(measured)}") from error
    if values.size == 0:
        raise ValueError("measured: expected at least one number, got none")
    if values.dtype.kind not in "iuf":
        raise TypeError(f"measured: expected a number or a sequence of numbers, got {short(measured)}")
    return values.astype(np.float64).ravel()
