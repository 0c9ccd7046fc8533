"""What a chapter gets for JupyterLab: folds, cells to answer in, captions; and that the website stays what it was."""

import copy

import nbformat
import pytest
from lab_cells import HEADING_COLLAPSED, arrange, for_site
from nbformat import v4
from notebooks import normalise

EXERCISE = "````{exercise}\n:label: ex-sum\nHow much?\n````"
START = "````{solution-start} ex-sum\n:class: dropdown\n````"
END = "````{solution-end}\n````"
DEEPER, DEEPER_END = ":::{deeper-start} Why $x$, with `code`\n:name: why\n:::", ":::{deeper-end}\n:::"


def text(source, id="text"):
    return v4.new_markdown_cell(source, id=id)


def code(source, *tags, id="code", **metadata):
    return v4.new_code_cell(source, id=id, metadata={"tags": list(tags), **metadata})


def arranged(*cells):
    nb = v4.new_notebook(cells=[copy.deepcopy(cell) for cell in cells])
    arrange(nb)
    return nb.cells


def exercise():
    """As authors write it: the cells are not cut where folds begin and end."""
    return text(f"{EXERCISE}\n\n{START}\nTwo.", "ask"), code("1 + 1"), text(f"{END}\n\n## Next", "next")


def test_a_solution_is_folded_below_a_heading_and_has_a_cell_to_answer_in_before_it():
    cells = arranged(*exercise())
    assert [cell.source for cell in cells] == [
        EXERCISE,
        "# your answer",
        "#### Solution\n\n% ````{solution-start} ex-sum\n% :class: dropdown\n% ````",
        "Two.",
        "1 + 1",
        "####\n\n% ````{solution-end}\n% ````",
        "## Next",
    ]
    assert [cell.id for cell in cells] == ["ask", "answer-ex-sum", "ask-1", "ask-2", "code", "next", "next-1"]
    assert [cell.metadata.get(HEADING_COLLAPSED) for cell in cells] == [None, None, True, None, None, None, None]
    assert cells[1].metadata == {"tags": ["answer", "remove-cell"]}


def test_what_goes_deeper_is_folded_below_its_title():
    cells = arranged(text(f"Before.\n\n{DEEPER}\nInside.\n\n{DEEPER_END}\n\nBehind."))
    assert [cell.source.split("\n")[0] for cell in cells] == [
        "Before.",
        "#### Go deeper: Why $x$, with `code`",
        "Inside.",
        "####",
        "Behind.",
    ]
    assert [number for number, cell in enumerate(cells) if HEADING_COLLAPSED in cell.metadata] == [1]


def test_the_website_reads_what_was_written():
    written = (*exercise(), text(f"{DEEPER}\nInside.\n\n{DEEPER_END}\n\n```{{chapter-map}}\n```\n\nEnd."))
    cells = [cell for cell in arranged(*written) if "remove-cell" not in cell.metadata.get("tags", [])]
    joined = "\n".join(for_site(cell.source) for cell in cells)
    assert joined.replace("\n\n", "\n") == "\n".join(cell.source for cell in written).replace("\n\n", "\n")


def test_a_heading_or_comment_of_the_authors_own_stays():
    mine = "#### Mine\n\n% ```{chapter-map}\n% ```\n% a note\n\n#### Yours\n\nText\n\n% another note"
    assert for_site(mine) == mine.replace("% ```", "```")


def test_answers_are_kept_and_asked_for_only_where_the_solution_computes():
    first = arranged(*exercise())
    first[1].source = "1 + 2"
    assert [cell.source for cell in arranged(*first)].count("1 + 2") == 1
    assert "# your answer" not in [cell.source for cell in arranged(*first)]
    assert all(cell.cell_type == "markdown" for cell in arranged(text(f"{EXERCISE}\n\n{START}\nTwo.\n\n{END}")))


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("hide-input", {"source_hidden": True}),
        ("remove-input", {"source_hidden": True}),
        ("remove-cell", {"source_hidden": True}),
        ("hide-output", {"outputs_hidden": True}),
        ("hide-cell", {"source_hidden": True, "outputs_hidden": True}),
        ("remove-output", None),
        ("nbval-ignore-output", None),
    ],
)
def test_a_cell_that_the_website_folds_or_leaves_out_is_folded(tag, expected):
    (cell,) = arranged(code("1", tag, jupyter={"source_hidden": False, "mine": 1}))
    assert cell.metadata.get("jupyter") == expected


def test_a_figure_has_its_caption_below_it_once():
    figure = code("draw()", mystnb={"figure": {"name": "fig-loss", "caption": "It falls as $1/n$."}})
    cells = arranged(*arranged(figure))
    assert [cell.id for cell in cells] == ["code", "caption-fig-loss"]
    assert cells[1].source == ":::{figure}\n:label: fig-loss\n\nIt falls as $1/n$.\n:::"
    cells[0].metadata["mystnb"]["figure"]["caption"] = "It rises."
    assert "It rises." in arranged(*cells)[1].source and len(arranged(*cells)) == 2
    cells[0].metadata["mystnb"] = {}
    assert len(arranged(*cells)) == 1


def test_what_is_cited_is_listed_below_the_bibliography():
    cells = arranged(text("{cite:t}`he2015` and {cite:p}`elfwing2018, he2015`.\n\n```{bibliography}\n```"))
    first, second = cells[1].source.splitlines()
    assert first.startswith("- `elfwing2018`: Stefan Elfwing, Eiji Uchibe, and Kenji Doya")
    assert second.startswith("- `he2015`: Kaiming He") and "*IEEE International Conference" in second
    assert arranged(*cells)[1:] == cells[1:] and len(arranged(text("```{bibliography}\n```"))) == 1


def test_normalised_twice_is_normalised_once():
    settings = {"figure": {"name": "fig-loss", "caption": "It falls."}}
    figure = code("draw()", "hide-input", id="figure", mystnb=settings)
    nb = v4.new_notebook(cells=[figure, *exercise(), text(f"{DEEPER}\nInside.\n\n{DEEPER_END}", "deeper")])
    once = nbformat.writes(normalise(nb))
    assert nbformat.writes(normalise(nbformat.reads(once, as_version=4))) == once
    assert "source_hidden" in once and HEADING_COLLAPSED in once and "caption-fig-loss" in once


def test_a_notebook_with_a_title_says_below_it_what_it_needs():
    cells = arranged(text("# Why?\n\nBecause."), code("1 + 1"))
    assert [cell.id for cell in cells] == ["text", "needs", "code"]
    assert "`unstuck`" in cells[1].source and "`make lab`" in cells[1].source and "`pip install .`" in cells[1].source
    assert cells[1].metadata == {"tags": ["lab", "remove-cell"]}
    assert [cell.id for cell in arranged(*cells)] == ["text", "needs", "code"]
    assert [cell.id for cell in arranged(code("1 + 1"))] == ["code"]
