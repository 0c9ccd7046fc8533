"""Tables: the numbers of a page as HTML, which scrolls by itself where it is too wide for a phone, and as text."""

import html
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any, Literal

import numpy as np

from unstuck.arguments import choice, instance, short
from unstuck.claims import number, plus_minus
from unstuck.plots.series import need, said_lost
from unstuck.record import QUANTITIES

DASH = "–"
# inline, because a notebook does not have the book's style sheet, and Jupyter aligns everything to the right
BOX = 'class="unstuck-table-box" style="overflow-x:auto" tabindex="0" role="region"'
LEFT, RIGHT = ' style="text-align:left"', ' style="text-align:right"'


@dataclass(frozen=True)
class Cell:
    """What a cell shows: `text`, and `small` behind it.

    Attributes:
        value: its number, or the mean of its numbers; None for a text or a dash.
        lost: whether one of its numbers is not finite.
        best: whether it is to be seen as the best of its column.
    """

    text: str
    small: str = ""
    value: float | None = None
    lost: bool = False
    best: bool = False

    def __str__(self) -> str:
        return f"{self.text} {self.small}".rstrip()

    def html(self, align: str) -> str:
        """The cell as an element <td>."""
        text = html.escape(self.text)
        text = f"<strong>{text}</strong>" if self.best else text
        small = f" <small>{html.escape(self.small)}</small>" if self.small else ""
        kind = ' class="lost"' if self.lost else ""
        return f"<td{kind}{align}>{text}{small}</td>"


@dataclass(frozen=True)
class Table:
    """A table that shows itself in a notebook. The same numbers give the same HTML in every run.

    Attributes:
        rows: as given, a mapping a row; the first entry is the row's heading, under "" where that column has no name.
        head: the headings of the columns, as shown.
        names: the headings of the rows, as shown.
        cells: of each row, without its heading.
        caption: stands above it.
    """

    rows: list[dict[Any, Any]]
    head: list[str] = field(repr=False)
    names: list[str] = field(repr=False)
    cells: list[list[Cell]] = field(repr=False)
    caption: str = ""

    def _numeric(self) -> list[bool]:
        """Whether a column, but the first, holds a number; then it is aligned to the right."""
        return [any(row[k].value is not None for row in self.cells) for k in range(len(self.head) - 1)]

    def _repr_html_(self) -> str:
        align = [RIGHT if numeric else LEFT for numeric in self._numeric()]
        corner, *heads = map(html.escape, self.head)
        label = html.escape(self.caption or f"Table: {', '.join(filter(None, self.head))}")
        lines = [f'<div {BOX} aria-label="{label}">', '<table class="unstuck-table">']
        if self.caption:
            lines.append(f"<caption>{html.escape(self.caption)}</caption>")
        lines += ["<thead>", "<tr>", f'<th scope="col"{LEFT}>{corner}</th>' if corner else "<td></td>"]
        lines += [f'<th scope="col"{side}>{text}</th>' for text, side in zip(heads, align, strict=True)]
        lines += ["</tr>", "</thead>", "<tbody>"]
        for name, row in zip(self.names, self.cells, strict=True):
            lines += ["<tr>", f'<th scope="row"{LEFT}>{html.escape(name)}</th>']
            lines += [*(cell.html(side) for cell, side in zip(row, align, strict=True)), "</tr>"]
        return "\n".join([*lines, "</tbody>", "</table>", "</div>"])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": self._repr_html_()}

    def __str__(self) -> str:
        lines = [self.head, *([name, *map(str, row)] for name, row in zip(self.names, self.cells, strict=True))]
        sides = ["<", *(">" if numeric else "<" for numeric in self._numeric())]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        forms = [f"{{:{side}{width}}}" for side, width in zip(sides, widths, strict=True)]
        texts = ["  ".join(forms).format(*line).rstrip() for line in lines]
        return "\n".join([self.caption, *texts] if self.caption else texts)


def table(rows: Any, *, best: Mapping[Any, Literal["max", "min"]] | None = None, caption: str = "") -> Table:
    """A table: a row a network, a fix or a setting, a column a quantity.

    Args:
        rows: mappings with the same first key, under which stand the headings of the rows; or
            `{heading: {column: value}}`; or whatever has `to_dict("index")`, such as a DataFrame. A column named in
            `QUANTITIES` gets its label and unit, fractions in per cent. A value is a text, a number (3 significant
            figures), None (a dash), or numbers (S,), one a seed: the mean of those that are finite, behind it their
            standard deviation (n - 1), and how many are NaN.
        best: `{column: "max" or "min"}`: the best number of the column is bold, and what looks the same; a cell with
            a NaN never is.
        caption: stands above the table, and is what a screen reader calls it.

    Raises:
        ValueError: no rows, a row without its heading, numbers of another shape, a column in `best` without numbers.
        TypeError: a heading or a value that is none of these.
    """
    instance("caption", caption, str, "a text")
    given = _rows(rows)
    need(given, "rows", "one row")
    columns = list(dict.fromkeys(key for row in given for key in row))
    need(columns, "rows", "one column")
    first, *others = columns
    without = [i for i, row in enumerate(given) if first not in row]
    if without:
        raise ValueError(f"rows: expected {first!r} in each, missing in rows {without}")
    names = [_heading(row[first], f"rows[{i}][{first!r}]") for i, row in enumerate(given)]
    head = [_titled(column) for column in columns]
    cells = [[_cell(c, row.get(c), f"rows[{i}][{c!r}]") for c in others] for i, row in enumerate(given)]
    for column, direction in instance("best", best or {}, Mapping, "{column: 'max' or 'min'}").items():
        if column not in others:
            raise ValueError(f"best: {column!r} is not one of {others}")
        _mark_best(cells, others.index(column), choice(f"best[{column!r}]", direction, ("max", "min")), column)
    return Table(given, head, names, cells, caption)


def _rows(rows: Any) -> list[dict[Any, Any]]:
    """The rows as mappings that begin with their heading."""
    corner = ""
    if not isinstance(rows, Mapping) and hasattr(rows, "to_dict"):
        corner = getattr(getattr(rows, "index", None), "name", None) or ""
        try:
            rows = rows.to_dict("index")
        except (TypeError, ValueError) as error:  # no DataFrame after all, or one with the same heading twice
            raise type(error)(f"rows: {error}") from error
    if isinstance(rows, Mapping):
        for name, cells in rows.items():
            if corner in instance(f"rows[{name!r}]", cells, Mapping, "{column: value}"):
                raise ValueError(f"rows: {corner!r} is the name of a column and of the headings")
        return [{corner: name, **cells} for name, cells in rows.items()]
    if isinstance(rows, str | bytes) or not isinstance(rows, Iterable):
        raise TypeError(f"rows: expected mappings, {{heading: {{column: value}}}} or a DataFrame, got {short(rows)}")
    return [dict(instance(f"rows[{i}]", row, Mapping, "a mapping")) for i, row in enumerate(rows)]


def _heading(value: Any, where: str) -> str:
    """A heading as shown: a text, a number, or several of these."""
    if isinstance(value, tuple):
        return ", ".join(_heading(part, where) for part in value)
    value = instance(where, value, (str, Real), "a text or a number")
    return value if isinstance(value, str) else number(value)


def _unit(column: Any) -> str:
    """The unit of a column; "" of one that is no quantity."""
    return QUANTITIES[column].unit if isinstance(column, str) and column in QUANTITIES else ""


def _titled(column: Any) -> str:
    """The heading of a column: label and unit of a quantity, anything else as it is."""
    unit = _unit(column)
    if not unit:
        return _heading(column, "rows")
    return QUANTITIES[column].label + {"1": "", "fraction": " (%)"}.get(unit, f" ({unit})")


def _cell(column: Any, value: Any, where: str) -> Cell:
    if value is None or isinstance(value, str):
        return Cell(DASH if value is None else value)
    seeds = _numbers(value, where) * (100 if _unit(column) == "fraction" else 1)
    good, lost = seeds[np.isfinite(seeds)], said_lost(np.atleast_1d(seeds))
    if seeds.ndim == 0:
        return Cell(_shown(float(seeds)), value=float(seeds), lost=bool(lost))
    if not len(good):
        return Cell(lost, value=math.nan, lost=True)
    if len(good) > 1:
        text, spread = plus_minus(_rounded(good.mean()), _rounded(good.std(ddof=1))).split(" ", 1)
    else:
        text, spread = _shown(good.mean()), ""
    small = ", ".join(filter(None, (spread, lost)))
    return Cell(text, small, value=float(good.mean()), lost=bool(lost))


def _numbers(value: Any, where: str) -> np.ndarray:
    """A number, or numbers (S,), as floats."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError):  # a ragged list; a tensor that requires a gradient
        array = np.array(None)
    if array.dtype.kind not in "iuf" and array.size:
        raise TypeError(f"{where}: expected a number, numbers, a text or None, got {short(value)}")
    if array.ndim > 1 or not array.size:
        raise ValueError(f"{where}: expected a number, or numbers of shape (S,), got shape {array.shape}")
    return array.astype(np.float64)


def _shown(value: float, digits: int = 3) -> str:
    """As everywhere in the book; 100 * 0.07 is 7, whatever floating point makes of it."""
    return "NaN" if math.isnan(value) else number(_rounded(value), digits)


def _rounded(value: float) -> float:
    return float(f"{value:.12g}")


def _mark_best(cells: list[list[Cell]], k: int, direction: str, column: Any) -> None:
    """Mark the best cells of column k, in place: what shows the same number is as good."""
    found = [(cell.value, cell) for cell in (row[k] for row in cells) if cell.value is not None]
    if not found:
        raise ValueError(f"best: there is no number in the column {column!r}")
    whole = [(value, cell.text) for value, cell in found if not cell.lost]
    _, best = (max if direction == "max" else min)(whole, default=(math.nan, ""))
    for row in cells:
        if row[k].value is not None and not row[k].lost:
            row[k] = replace(row[k], best=row[k].text == best)
