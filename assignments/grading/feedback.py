"""A student's feedback: one HTML page that asks nothing of the network and shows no hidden input or value."""

from html import escape

from assignments.grading.grade import Marks
from assignments.grading.source import Assignment

STYLE = """
:root { color-scheme: light dark }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid #8888 }
td:nth-child(2), th:nth-child(2) { text-align: right; white-space: nowrap }
pre { overflow-x: auto; padding: .6rem; background: #8882; white-space: pre-wrap }
"""
PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}: {student}</title>
<style>{style}</style>
<h1>{title}</h1>
<p>{student}: <strong>{total}</strong></p>
{notes}
<table>
<tr><th>part</th><th>marks</th><th>why</th></tr>
{rows}
</table>
<h2>What was handed in</h2>
{handed_in}
</html>
"""


def page(student: str, assignment: Assignment, marks: Marks, given: dict[str, tuple[str, str]]) -> str:
    """The page of one student; `given`: the points and comments of what a person marks."""
    rows, total, open_questions = [], 0.0, False
    for name, most in assignment.points.items():
        if name in marks.points:
            points, why = f"{marks.points[name]:g}", marks.said[name] or "right"
        else:
            points, why = given.get(name, ("", "not marked yet"))
        open_questions |= points == ""
        total += float(points or 0)
        rows.append(f"<tr><td>{escape(name)}</td><td>{points or '–'} / {most:g}</td><td>{escape(why)}</td></tr>")
    cells = [f"<pre>{escape(text)}</pre>" for text in (*marks.code, *marks.answers.values())]
    return PAGE.format(
        title=escape(assignment.questions.title),
        student=escape(student),
        style=STYLE,
        total=f"{total:g} of {sum(assignment.points.values()):g}" + (" so far" if open_questions else ""),
        notes="".join(f"<p>{escape(note)}</p>" for note in marks.notes),
        rows="\n".join(rows),
        handed_in="\n".join(cells),
    )
