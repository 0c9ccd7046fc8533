"""`Finding` and `Report`: what was found, as a page that a person can act on."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import numpy as np

from unstuck.faults import CLOSER, FAULTS, GROUPS, in_words
from unstuck.pages import page_in_words

Verdict = Literal["failure", "warning", "inconclusive", "ok"]
VERDICTS: tuple[Verdict, ...] = ("failure", "warning", "inconclusive", "ok")
WIDTH = 84
RAISES = CLOSER["step_raises"][1]["symptom"]  # it comes first, whatever else is wrong


@dataclass(frozen=True)
class Finding:
    """One thing that was examined.

    Attributes:
        fault: its slug in `FAULTS`.
        verdict: "failure" (it stops training or makes it wrong), "warning" (suspicious), "inconclusive" (it could not
            be judged), "ok" (looked for and not found).
        symptom, cause, cure, page: as in `FAULTS`, or more closely where the evidence tells more; the page is shown
            with its number and title.
        layer: where; "" for the whole program.
        evidence: the numbers, the threshold, and where that comes from; or what is missing.
    """

    fault: str
    verdict: Verdict
    symptom: str
    layer: str
    evidence: str
    cause: str
    cure: str
    page: str

    def __str__(self) -> str:
        where = f" (module {self.layer})" if self.layer else ""
        said = {
            "failure": f"{self.cause[0].upper()}{self.cause[1:]}{where}.",
            "warning": f"Perhaps {self.cause}{where}.",
            "inconclusive": f"It could not be judged whether {self.cause}.",
            "ok": f"It is not so that {self.cause}.",
        }
        return said[self.verdict]


def found(fault: str, verdict: str, evidence: str, layer: str = "", **instead: str) -> Finding:
    """A finding, with what the table says of its fault or of one of its closer forms; `instead` of that another
    symptom, cause or cure, where the evidence allows to say more."""
    fault, closer = CLOSER.get(fault, (fault, {}))
    row = FAULTS[fault]
    said = {"symptom": row.symptom, "cause": row.cause, "cure": row.cure} | closer | instead
    return Finding(fault, cast(Verdict, verdict), layer=layer, evidence=evidence, page=row.page, **said)


def judged(fault: str, bad: bool, evidence: str, layer: str = "") -> Finding:
    """A failure in a layer where it is `bad`, else "ok"."""
    return found(fault, "failure" if bad else "ok", evidence, layer if bad else "")


def missing(fault: str, argument: str, why: str = "") -> Finding:
    """A finding that could not be judged because an argument is missing."""
    return found(fault, "inconclusive", f"give {argument}{f': {why}' if why else ''}")


@dataclass(frozen=True)
class Report:
    """What `diagnose` found.

    Attributes:
        findings: failures, warnings, inconclusive, ok, each most likely first.
        notes: what to know about the examination itself.
        later: faults that would follow from a failure that is there, and can be judged when it is mended.
        loss: of each step of the short trial training.
        signal: the layers in their order, each with how much its outputs differ between examples.
    """

    findings: list[Finding]
    notes: list[str] = field(default_factory=list)
    loss: Sequence[float] = ()
    signal: Sequence[tuple[str, float]] = ()
    later: Sequence[str] = ()

    def of(self, *verdicts: Verdict) -> list[Finding]:
        """The findings with these verdicts."""
        return [finding for finding in self.findings if finding.verdict in verdicts]

    @property
    def silent(self) -> bool:
        """Whether there is no failure and no warning."""
        return not self.of("failure", "warning")

    @property
    def passed_over(self) -> list[str]:
        """Faults of the list with no finding: what the program does not have, or a check that was not reached."""
        known = {finding.fault for finding in self.findings} | set(self.later)
        return [slug for slug in FAULTS if slug not in known]

    @property
    def headline(self) -> str:
        """The verdict in one sentence; if nothing was found, its counts add up to all faults of the list."""
        bad = self.of("failure", "warning")
        if not bad:
            absent = {f.fault for f in self.of("ok")}
            unjudged = {f.fault for f in self.of("inconclusive")} - absent
            counts = f"{len(absent)} of {len(FAULTS)} faults were looked for"
            counts += f", {len(unjudged)} could not be judged" if unjudged else ""
            counts += f", {len(self.passed_over)} were passed over" if self.passed_over else ""
            return f"Nothing was found: {counts}."
        first, rest = bad[0], len(bad) - 1
        return f"{first}" + (f" And {rest} more." if rest else "")

    def _tail(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """What follows the failures: a heading, and under it what each line is about and what it says."""
        well = {f.fault for f in self.of("ok")}
        found = [(group, _listed(slug for slug in slugs if slug in well)) for group, slugs in GROUPS.items()]
        asked: dict[str, list[str]] = {}
        for f in self.of("inconclusive"):
            asked.setdefault(f.evidence, []).append(f.fault)
        parts = [
            ("Looked for and not found", [row for row in found if row[1]]),
            ("To be judged when this is mended", [("", _listed(self.later))] if self.later else []),
            ("Could not be judged", [(why, _listed(slugs)) for why, slugs in asked.items()]),
            (
                "Passed over (they do not apply here, or a check was not reached)",
                [("", _listed(self.passed_over))] if self.passed_over else [],
            ),
        ]
        return [(heading, rows) for heading, rows in parts if rows]

    def __str__(self) -> str:
        lines = [self.headline]
        for number, f in enumerate(self.of("failure", "warning"), start=1):
            where = f", in module {f.layer}" if f.layer else ""
            lines += ["", f"{number}. {f.verdict.upper()}: {in_words(f.fault)}{where}"]
            rows = [("symptom", f.symptom), ("evidence", f.evidence), ("cause", f.cause), ("cure", f.cure)]
            for name, text in [*rows, ("page", page_in_words(f.page))]:
                lines += textwrap.wrap(f"{name:9} {text}", WIDTH, initial_indent="   ", subsequent_indent=" " * 13)
        for heading, rows in self._tail():
            lines += ["", f"{heading}:"]
            for about, text in rows:
                said = f"{about}: {text}" if about else text
                lines += textwrap.wrap(said, WIDTH, initial_indent="   ", subsequent_indent=" " * 6)
        for note in self.notes:
            lines += ["", *textwrap.wrap(note, WIDTH)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        left = ' style="text-align:left"'
        head = "".join(f'<th scope="col"{left}>{text}</th>' for text in ("Finding", "Evidence", "Cure", "Page"))
        rows = ""
        for f in self.of("failure", "warning"):
            first, *rest = (html.escape(text) for text in (str(f), f.evidence, f.cure, page_in_words(f.page)))
            cells = "".join(f"<td{left}>{text}</td>" for text in rest)
            rows += f'<tr><th scope="row"{left}>{first}</th>{cells}</tr>'
        label = 'role="region" aria-label="What is wrong" tabindex="0"'
        table = f'<table class="unstuck-table"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
        body = f'<div class="unstuck-table-box" style="overflow-x:auto" {label}>{table}</div>' if rows else ""
        pictures = curve("Loss of the trial, by step", self.loss)
        spread = [value for _, value in self.signal]
        pictures += curve("Difference between examples, by layer", spread, log=True)
        more = ""
        for heading, said in self._tail():
            items = "".join(f"<li>{html.escape(f'{about}: {text}' if about else text)}</li>" for about, text in said)
            more += f"<details><summary>{heading}</summary><ul>{items}</ul></details>"
        more += "".join(f"<p><small>{html.escape(note)}</small></p>" for note in self.notes)
        headline = f"<p><strong>{html.escape(self.headline)}</strong></p>"
        return f'<div class="unstuck-report">{headline}{body}<p>{pictures}</p>{more}</div>'

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": self._repr_html_()}


def _listed(slugs: Iterable[str]) -> str:
    return ", ".join(in_words(slug) for slug in slugs)


def curve(title: str, values: Sequence[float], *, log: bool = False, width: int = 180, height: int = 60) -> str:
    """A small line as SVG in the colour of the text; "" where there are fewer than two finite values."""
    y = np.asarray(values, dtype=float)
    with np.errstate(all="ignore"):
        y = np.log10(y) if log else y
    x = np.arange(len(y))[np.isfinite(y)]
    y = y[np.isfinite(y)]
    if len(y) < 2:
        return ""
    low, span = y.min(), max(float(np.ptp(y)), 1e-12)
    spots = zip(4 + (width - 8) * x / max(x[-1], 1), height - 4 - (height - 8) * (y - low) / span, strict=True)
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in spots)
    ends = [f"{10**v if log else v:.3g}" for v in (y[0], y[-1])]
    text = html.escape(f"{title}: from {ends[0]} to {ends[1]}")
    return (
        f'<span style="display:inline-block;margin-right:1em"><svg width="{width}" height="{height}" role="img" '
        f'aria-label="{text}"><polyline points="{path}" fill="none" stroke="currentColor" stroke-width="1.5"/></svg>'
        f"<br><small>{text}</small></span>"
    )
