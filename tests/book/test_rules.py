"""The rules of a chapter pass a good sample and catch each way of breaking it."""

import pytest
import rules
from nbformat import v4

FIGURE = {
    "figure": {"caption": "The loss falls.", "name": "fig-loss"},
    "image": {"alt": "Loss against step: it falls steeply at first and then slowly."},
}
BESIDE = ["margin", "remove-input", "nbval-ignore-output"]
CLAIM = "claim('Half of it is gone.', measured=loss, expected=0.5, abs=0.1)"


def code(source, outputs=(), **metadata):
    return v4.new_code_cell(source, outputs=list(outputs), metadata=metadata)


def shown(data):
    return v4.new_output("display_data", data=data)


def good():
    """A small notebook that obeys every rule. Cells: 0 title, 1 set-up, 2 figure, 3 text, 4 measured, 5 claim, ..."""
    nb = v4.new_notebook()
    nb.cells = [
        v4.new_markdown_cell(
            "# Why did it stop?\n\nThe weights are initialised; see `color` and {numref}`fig-loss`."
        ),
        code(
            "import numpy as np\nimport torch\n\nfrom unstuck.claims import claim\n\ntorch.manual_seed(0)",
            tags=["hide-input"],
        ),
        code("_ = draw(np.arange(3))", [shown({"image/png": "iVBORw0KGgo="})], mystnb=FIGURE),
        v4.new_markdown_cell("An explanation."),
        code("loss = 0.5\nprint(loss)", [v4.new_output("stream", text="0.5\n")], tags=["nbval-ignore-output"]),
        code(CLAIM, [shown({"text/plain": "Half of it is gone."})], tags=BESIDE),
        code("interact(draw, n=3)", tags=["hide-input", "remove-output", "nbval-ignore-output"]),
        v4.new_markdown_cell("```{exercise}\n:label: predict-loss\n\nWhat is it?\n```"),
        v4.new_markdown_cell("```{solution-start} predict-loss\n:class: dropdown\n```"),
        code("print(2 * loss)", [v4.new_output("stream", text="1.0\n")]),
        v4.new_markdown_cell("```{solution-end}\n```"),
    ]
    for count, (_, cell) in enumerate(rules.code_cells(nb), start=1):
        cell.execution_count = count
    return nb


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
def test_a_good_chapter_passes(rule):
    assert list(rule(good())) == []


def test_checks_may_stand_together_and_predictions_be_closed():
    nb = good()
    check = CLAIM[:-1] + ", shown=False)"
    nb.cells[5].source = f"half = 0.5\ndisplay({check}, {check})"
    nb.cells[5].metadata = {"tags": ["remove-cell", "nbval-ignore-output"]}
    nb.cells[2].source = "guess = Predict('Which?', choices=['a', 'b'])\nquiz = guess.close(loss, 'So.')"
    assert list(rules.claims_beside_their_sentences(nb)) == list(rules.predictions_closed(nb)) == []


@pytest.mark.parametrize(
    "measured",
    [
        "[loss]",
        "[loss for seed in seeds]",
        "np.array([0.4, 0.5])",
        "[loss, 0.4], each=True",
        "[x for x in kept.values()], each=True",
    ],
)
def test_a_mean_over_seeds_and_each_of_several_may_be_claimed(measured):
    nb = good()
    nb.cells[5].source = CLAIM.replace("measured=loss", f"measured={measured}")
    assert list(rules.different_things_one_by_one(nb)) == []


def test_what_a_claim_measures_may_be_shown_in_another_form():
    nb = good()
    nb.cells[4].source = "loss = 0.5\nrows = {'all': loss}\nfor name in rows:\n    print(name, rows[name])\nrows"
    assert list(rules.covered(nb)) == []


@pytest.mark.parametrize(
    "closing", ["guess.close(loss, 'Text.')", "best = loss > 0\nguess.close(measured=best, text='Text.')"]
)
def test_a_guess_is_closed_by_what_a_claim_measures_without_one_beside_it(closing):
    nb = good()
    nb.cells[6].source, nb.cells[6].metadata = closing, {"tags": ["nbval-ignore-output"]}
    assert list(rules.exemptions(nb)) + list(rules.covered(nb)) == []


def source(cell, text):
    def change(nb):
        nb.cells[cell].source = text

    return change


def add(cell, text):
    def change(nb):
        nb.cells[cell].source += text

    return change


def output(cell, *outputs):
    def change(nb):
        nb.cells[cell].outputs = list(outputs)

    return change


def metadata(cell, **values):
    def change(nb):
        nb.cells[cell].metadata = values

    return change


def not_executed(nb):
    nb.cells[2].execution_count = None


def out_of_order(nb):
    nb.cells[2].execution_count, nb.cells[4].execution_count = 3, 2


def without(cell):
    def change(nb):
        del nb.cells[cell]

    return change


def second_figure(nb):
    nb.cells[4] = nb.cells[2]


def figure_settings(**figure):
    return metadata(2, mystnb={**FIGURE, "figure": {**FIGURE["figure"], **figure}})


ERROR = v4.new_output("error", ename="ZeroDivisionError", evalue="division by zero", traceback=[])
BROKEN = [
    (rules.opens_with_a_question, source(0, "# It stopped."), "title"),
    (rules.opens_with_a_question, without(0), "title"),
    (rules.executed, not_executed, "got None"),
    (rules.executed, out_of_order, "expected execution count"),
    (rules.executed, source(2, "  \n"), "empty"),
    (rules.clean_outputs, output(4, ERROR), "is an error"),
    (rules.clean_outputs, output(4, v4.new_output("stream", name="stderr", text="oh")), "stderr"),
    (rules.clean_outputs, output(4, v4.new_output("stream", text="<A object at 0x7f3c5a1b2c>")), "address"),
    (rules.clean_outputs, output(4, shown({"text/plain": "'/home/me/x.py'"})), "path"),
    (rules.clean_outputs, output(4, shown({rules.VIEW: {"model_id": "0f" * 16}})), "random name"),
    (rules.plain_python, source(2, "%pip install numpy"), "plain Python"),
    (rules.plain_python, source(2, "!ls"), "plain Python"),
    (rules.plain_python, source(2, "files = !ls"), "plain Python"),
    (rules.plain_python, add(2, ";"), "semicolon"),
    (rules.plain_python, add(2, "  # NBVAL_SKIP"), "comment"),
    (rules.imports_in_set_up, source(4, "import math"), "set-up is cell 2"),
    (rules.imports_in_set_up, source(4, "def f():\n    from math import pi\n"), "set-up is cell 2"),
    (rules.imports_in_set_up, source(1, "from numpy import *"), "star"),
    (rules.imports_in_set_up, source(1, "import urllib.request"), "downloads"),
    (rules.imports_in_set_up, source(1, "from warnings import filterwarnings"), "warning filters"),
    (rules.tables_shown, source(4, "plots.table(rows)\nloss = 0.5\nprint(loss)"), "not the last line"),
    (rules.set_up_folded, metadata(1), "not folded"),
    (rules.no_global_state, source(1, "np.random.seed(0)"), "global seed"),
    (rules.no_global_state, source(4, "torch.manual_seed(0)"), "global seed"),
    (rules.no_global_state, source(4, "np.random.randn(3)"), "global generator"),
    (rules.no_global_state, source(4, "warnings.filterwarnings('ignore')"), "filters warnings"),
    (rules.claims_beside_their_sentences, metadata(5, tags=["nbval-ignore-output"]), "expected the tags"),
    (rules.claims_beside_their_sentences, source(5, "print(loss)\n" + CLAIM), "nothing else"),
    (rules.claims_beside_their_sentences, source(5, f"{CLAIM}\n{CLAIM}"), "nothing else"),
    (rules.claims_beside_their_sentences, source(5, f"result = {CLAIM}"), "nothing else"),
    (rules.claims_beside_their_sentences, source(5, CLAIM[:-1] + ", shown=False)"), "'remove-cell'"),
    *(
        (rules.different_things_one_by_one, source(5, CLAIM.replace("measured=loss", f"measured={measured}")), "each")
        for measured in (
            "[loss, 0.4]",
            "(loss, 0.4)",
            "[2 * x for x in (loss, 0.4)]",
            "[x for x in kept.values()]",
            "[x for s in seeds for _, x in kept[s].items()]",
        )
    ),
    (rules.predictions_closed, source(2, "guess = Predict('Which?', choices=['a', 'b'])"), "'guess' is never closed"),
    (
        rules.no_formulas_in_widgets,
        output(4, shown({rules.VIEW: {}, "text/plain": "It is $2^{-10}$."})),
        "a formula in plain text: '$2^{-10}$'",
    ),
    (rules.no_trials, source(3, "In trial runs it took longer."), "trial runs"),
    (rules.figures, metadata(2), "no caption"),
    (rules.figures, figure_settings(caption=" "), "no caption"),
    (rules.figures, metadata(2, mystnb={**FIGURE, "image": {"alt": "The loss."}}), "what to see"),
    (rules.figures, figure_settings(name="loss"), "begins with fig-"),
    (rules.figures, source(0, "# Why?\n\nNo figure is named."), "refers"),
    (rules.figures, second_figure, "two figures"),
    (rules.figures, metadata(5, mystnb=FIGURE), "no figure"),
    (rules.figures, output(2, shown({"image/png": "iV"}), shown({"text/plain": "<Axes>"})), "shows 2 things"),
    (rules.figures, output(4, shown({rules.VIEW: {"model_id": "walk"}, "text/plain": "Frames()"})), "explorable"),
    (rules.exemptions, without(5), "without a claim"),
    (rules.exemptions, source(6, "print(3)"), "without a claim"),
    (rules.exemptions, metadata(6, tags=["hide-input"]), "live cell lacks"),
    (rules.exemptions, metadata(2, tags=["nbval-skip"]), "not among"),
    (rules.exemptions, metadata(2, tags=["nbval-ignore-outputs"]), "not among"),
    (rules.exemptions, metadata(2, tags=["raises-exception"]), "names no error"),
    (rules.covered, source(4, "loss, gain = 0.5, 2.0\nprint(loss)\nprint(gain)"), "decides: gain"),
    (rules.covered, source(4, "loss, rows = 0.5, [2.0]\nrows"), "decides: rows"),
    (rules.covered, source(4, "loss, rows = 0.5, [2.0]\ndisplay(table(rows))"), "decides: table"),
    (rules.covered, add(5, "\nprint(other)"), "decides: other"),
    (rules.covered, source(6, "guess.close(other, 'Text.')"), "closes the guess: other"),
    (rules.covered, source(6, "guess.close(3.48, f'It is {loss}.')"), "closes the guess: 3.48"),
    (rules.covered, source(9, "other = 2\nguess.close(text='Text.', measured=other)"), "closes the guess: other"),
    (rules.exemptions, source(6, "plt.close(loss)"), "without a claim"),
    (rules.exercises, without(9), "no code cell"),
    (rules.exercises, without(8), "has no solution"),
    (rules.exercises, without(7), "belongs to no exercise"),
    (rules.exercises, source(8, "```{solution-start} predict-loss\n```"), "not folded"),
    (rules.exercises, source(8, "```{solution} predict-loss\n:class: dropdown\nOne.\n```"), "solution-start"),
    (rules.exercises, source(7, "```{exercise}\nWhat is it?\n```"), "without a label"),
    (rules.chapter_wording, source(3, "Let us delve into it."), "hype"),
    (rules.chapter_wording, source(3, "The initialization of weights."), "American"),
    (rules.chapter_wording, source(3, "```{note}\nIts color is red.\n```"), "American"),
    (rules.chapter_wording, source(3, f"pip asks {'pypi'}.org for it."), "registry"),
    (rules.chapter_wording, source(3, "It lies in `/home/me/data`."), "machine"),
    (rules.chapter_wording, figure_settings(caption="The gray line."), "American"),
    (rules.chapter_wording, output(4, shown({rules.VIEW: {}, "text/plain": "What color?"})), "American"),
]


@pytest.mark.parametrize(("rule", "change", "expected"), BROKEN, ids=lambda value: getattr(value, "__name__", None))
def test_a_broken_chapter_is_caught(rule, change, expected):
    nb = good()
    change(nb)
    found = list(rule(nb))
    assert any(expected in sentence for sentence in found), found


def test_an_explorable_needs_no_caption():
    nb = good()
    text = "The distance against the number of steps, for 100 steps."
    nb.cells[4].outputs = [shown({rules.VIEW: {"model_id": "walk"}, "image/png": "iV", "text/plain": text})]
    assert list(rules.figures(nb)) == []


def test_an_error_that_the_text_names_may_be_shown():
    nb = good()
    nb.cells[4].outputs, nb.cells[4].metadata = [ERROR], {"tags": ["raises-exception"]}
    nb.cells[3].source = "This raises a `ZeroDivisionError`."
    assert list(rules.exemptions(nb)) + list(rules.clean_outputs(nb)) == []


def test_quotations_code_and_references_keep_their_spelling():
    text = (
        'It says "normalization". `color="red"`, $gray$.\n\n> They initialize.\n\n## References\nBatch Normalization.'
    )
    assert list(rules.wording(text)) == []
