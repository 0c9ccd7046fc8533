"""`claim`: a sentence with a number, asserted, and shown beside what a source says and what theory gives."""

from __future__ import annotations

import html
import math
from dataclasses import asdict, dataclass

import numpy as np

MIME = "application/vnd.unstuck.claim+json"


class ClaimError(AssertionError):
    """A claim that the measurement does not bear out."""


@dataclass(frozen=True)
class Claim:
    """A claim that held. Displays itself in a notebook; `fields()` is what the table of claims is made of."""

    text: str
    mean: float
    std: float | None
    n: int
    required: str
    says: str | float | None
    theory: str | float | None
    source: str

    def fields(self) -> dict:
        """Everything, ready for JSON."""
        return asdict(self)

    @property
    def measured(self) -> str:
        """The measurement as shown: mean, and standard deviation and n where there are several."""
        return self._measured(3)

    def _measured(self, digits: int) -> str:
        if self.n == 1:
            return number(self.mean, digits)
        return f"{number(self.mean, digits)} ± {number(self.std, 2)} (n = {self.n})"

    def __repr__(self) -> str:
        parts = [f"We measured: {self.measured}."]
        if self.theory is not None:
            parts.append(f"Theory gives: {number(self.theory)}.")
        if self.says is not None:
            parts.append(f"They say: {number(self.says)}.")
        return f"{self.text} " + " ".join(parts)

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        cells = [("we measured", self.measured), ("required", self.required)]
        if self.theory is not None:
            cells.insert(0, ("theory gives", number(self.theory)))
        if self.says is not None:
            cells.insert(0, ("they say", number(self.says)))
        if self.source:
            cells.append(("source", self.source))
        rows = "".join(f"<div><dt>{k}</dt><dd>{html.escape(str(v))}</dd></div>" for k, v in cells)
        page = f'<div class="claim"><p>{html.escape(self.text)}</p><dl>{rows}</dl></div>'
        return {"text/plain": repr(self), "text/html": page, MIME: self.fields()}


def number(value, digits: int = 3) -> str:
    """A number at `digits` significant figures, a whole number below a million in full, text as it is."""
    if isinstance(value, str):
        return value
    if not math.isfinite(value):
        return f"{value:g}"
    if value == int(value) and abs(value) < 10**6:
        return f"{int(value):,}"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")  # rounds first: 0.9996 is 1.00
    if -3 <= int(exponent) < 6:
        return f"{value:,.{max(0, digits - 1 - int(exponent))}f}"
    return f"{mantissa}e{int(exponent)}"


def claim(
    text: str,
    *,
    measured,
    expected: float | None = None,
    rel: float | None = None,
    abs: float | None = None,  # the field's word, as in pytest.approx
    at_least: float | None = None,
    at_most: float | None = None,
    says: str | float | None = None,
    theory: str | float | None = None,
    source: str = "",
) -> Claim:
    """Assert that what was measured is what the text says, and show it.

    Args:
        text: the claim, one sentence.
        measured: a number, or one number a seed: the mean is tested; mean, sd and n are shown.
        expected: the value claimed, with either `rel` (relative) or `abs` (absolute) tolerance.
        at_least, at_most: bounds claimed, instead of `expected`; one or both.
        says: what the source says; shown, never asserted.
        theory: what our theory gives; shown, never asserted.
        source: where `says` stands.

    Raises:
        ClaimError: the claim does not hold (a measurement that is NaN or infinite never holds).
        ValueError, TypeError: the call itself is wrong.
    """
    if not isinstance(text, str) or not text.strip():
        raise TypeError(f"text: expected a sentence, got {text!r}")
    values = _values(measured)
    limits = {"expected": expected, "rel": rel, "abs": abs, "at_least": at_least, "at_most": at_most}
    expected, rel, abs, at_least, at_most = (
        None if limit is None else _finite(name, limit) for name, limit in limits.items()
    )
    bounded = at_least is not None or at_most is not None
    if (expected is not None) == bounded:
        raise ValueError("expected: give either expected (with rel or abs) or at_least and/or at_most")
    if expected is not None and (rel is None) == (abs is None):
        raise ValueError(f"rel, abs: give exactly one tolerance with expected, got rel={rel}, abs={abs}")
    if bounded and (rel is not None or abs is not None):
        raise ValueError("rel, abs: a tolerance goes with expected, not with at_least or at_most")
    for name, tolerance in (("rel", rel), ("abs", abs)):
        if tolerance is not None and tolerance < 0:
            raise ValueError(f"{name}: expected a tolerance of at least 0, got {tolerance}")
    if rel is not None and expected == 0:
        raise ValueError("rel: nothing is relative to expected=0, give abs")
    if at_least is not None and at_most is not None and at_least > at_most:
        raise ValueError(f"at_least, at_most: nothing lies between {at_least} and {at_most}")
    says, theory = (
        value if value is None or isinstance(value, str) else _finite(name, value)
        for name, value in (("says", says), ("theory", theory))
    )

    with np.errstate(invalid="ignore"):  # inf - inf: the claim fails below, and says so better than a warning
        mean = float(values.mean())
        std = float(values.std(ddof=1)) if values.size > 1 else None
    if expected is not None:
        tolerance = abs if abs is not None else rel * math.fabs(expected)
        holds = math.fabs(mean - expected) <= tolerance
        required = f"{number(expected)} ± {number(tolerance, 2)}"
    else:
        holds = (at_least is None or mean >= at_least) and (at_most is None or mean <= at_most)
        required = " and ".join(
            f"{word} {limit:g}"  # as the author chose it: 0.9996 must not be shown as 1.00
            for word, limit in (("at least", at_least), ("at most", at_most))
            if limit is not None
        )
    result = Claim(text, mean, std, int(values.size), required, says, theory, source)
    if not (holds and math.isfinite(mean)):
        # with more digits than elsewhere: "measured 0.900, required at least 0.900" would help nobody
        raise ClaimError(
            f'The claim "{text}" does not hold: required is {required}, but we measured {result._measured(6)}.'
        )
    return result


def _values(measured) -> np.ndarray:
    try:
        values = np.asarray(measured, dtype=np.float64).ravel()
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: a tensor that requires a gradient
        raise TypeError(f"measured: expected a number or a sequence of numbers, got {measured!r}") from error
    if values.size == 0:
        raise ValueError("measured: expected at least one number, got none")
    return values


def _finite(name: str, value) -> float:
    """`value` as a plain float, so that JSON can hold it whatever library it came from."""
    try:
        value = float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name}: expected a number, got {value!r}") from error
    if not math.isfinite(value):
        raise ValueError(f"{name}: expected a finite number, got {value}")
    return value
