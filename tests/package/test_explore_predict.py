"""explore: what Predict stores, shows and refuses. How it answers is tested in a browser, tests/site."""

import html.parser
import re

import numpy as np
import pytest
import torch

from unstuck.explore import Explorable, Predict

VIEW = "application/vnd.jupyter.widget-view+json"
RATES = ["0.01", "0.1", "1 and `more`"]


def chosen(**given):
    return Predict("Which rate is <best>?", **{"choices": RATES, **given})


def scaled(**given):
    return Predict("How much?", **{"number": (0, 10), **given})


def bundle(shown):
    return shown._repr_mimebundle_()[0]


class Reader(html.parser.HTMLParser):
    """The text of a page, apart from what is folded in <details>, and the tags that stay open."""

    def __init__(self, page):
        super().__init__()
        self.open, self.plain, self.folded = [], "", ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "details" in self.open:
            self.folded += data
        else:
            self.plain += data


def page(shown):
    reader = Reader(bundle(shown)["text/html"])
    assert reader.open == []
    return reader


# what is shown where nothing moves


def test_a_question_shows_its_choices_and_no_answer():
    shown = bundle(chosen())
    assert set(shown) == {"text/plain", "text/html", VIEW}
    assert shown["text/plain"] == "Predict: Which rate is <best>?\n- 0.01\n- 0.1\n- 1 and `more`"
    assert page(chosen()).plain == "Which rate is <best>?0.010.11 and more"
    assert page(chosen()).folded == ""
    assert "<code>more</code>" in shown["text/html"]
    assert "a number from 0 to 10 nats" in page(scaled(unit="nats")).plain


def test_what_was_measured_is_folded_on_the_page_and_no_part_of_the_text():
    closing = scaled(unit="nats").close([3.0, 3.9675], "It is {measured}, because.")
    assert bundle(closing)["text/plain"] == "What was measured: How much?\nIt is …, because."
    assert page(closing).plain == "How much?"
    assert page(closing).folded == "What was measured3.48 natsIt is 3.48 nats, because."


def test_a_page_has_a_minus_before_a_number_and_a_terminal_a_hyphen():
    guess = Predict("Is it `-1` or -1, of 1-layer networks?", number=(-10, 30), unit="points")
    asked, closed = bundle(guess), bundle(guess.close(-2.5, "It is {measured}."))
    assert "<code>-1</code> or −1, of 1-layer" in asked["text/html"]
    assert "from −10 to 30 points" in asked["text/html"]
    assert "from -10 to 30 points" in asked["text/plain"]
    assert closed["text/html"].count("−2.50 points") == 2 and "-2" not in closed["text/html"]


def test_a_quiz_folds_its_answer():
    quiz = chosen(answer="0.1", why="So it is.")
    assert page(quiz).plain == page(chosen()).plain
    assert page(quiz).folded == "Answer0.1So it is."
    assert bundle(quiz)["text/plain"].endswith("\nAnswer: 0.1\nSo it is.")


def test_repr_has_no_address():
    assert repr(chosen()) == "Predict('Which rate is <best>?', 3 choices)"
    assert repr(scaled()) == "Predict('How much?', a number from 0 to 10)"


# what the page's script gets


@pytest.mark.parametrize(
    "measured",
    [2.5, np.float32(2.5), [2.0, 3.0], np.array([[2.0], [3.0]]), torch.tensor(2.5), 5 / 2],
    ids=lambda value: type(value).__name__,
)
def test_several_numbers_are_closed_by_their_mean(measured):
    closing = scaled().close(measured, "{measured}!")
    assert closing.answer == 2.5
    assert (closing.shown, closing.why) == ("2.50", "2.50!")


def test_a_choice_is_closed_by_the_one_that_is_right():
    losses = np.array([0.9, 0.1, 0.5])
    closing = chosen().close(np.array(RATES)[losses.argmin()], "Because {{so}}.")
    assert (closing.answer, closing.shown, closing.why) == ("0.1", "0.1", "Because {so}.")
    assert closing.closing


def test_a_question_holds_no_answer_and_a_quiz_does():
    assert chosen()._widget.answer is None
    quiz = Predict("Which?", choices={"a": "Not so.", "b": ""}, answer="b", why="By definition.")._widget
    assert (quiz.choices, quiz.replies) == (["a", "b"], ["Not so.", ""])
    assert (quiz.answer, quiz.shown, quiz.why, quiz.closing) == ("b", "b", "By definition.", False)
    sent = quiz.get_state()  # what the browser is told
    assert (sent["answer"], sent["shown"], sent["why"]) == ("b", "b", "By definition.")
    assert scaled(answer=3, why="So.")._widget.answer == 3.0


# identity


def test_ids_depend_on_the_question_alone():
    def ids(guess, measured, text):
        closing = guess.close(measured, text)
        return closing.guess, guess._widget.guess, closing.model_id, guess._widget.model_id

    first = ids(scaled(), 2.0, "Text.")
    assert ids(scaled(), 3.0, "Other text.") == first
    assert first[0] == first[1]
    assert first[2] != first[3]
    assert all(re.fullmatch("unstuck-[0-9a-f]{24}", model_id) for model_id in first[2:])
    others = [ids(scaled(number=(1, 10)), 2.0, "Text."), ids(scaled(number=(1, 10), log=True), 2.0, "Text.")]
    others += [ids(chosen(), "0.1", "Text."), ids(chosen(choices=RATES[:2]), "0.1", "Text.")]
    assert len({*first, *(each for other in others for each in other)}) == 5 * 3


def test_the_bundle_shows_the_widget():
    assert bundle(chosen())[VIEW]["model_id"] == chosen()._widget.model_id
    closing = chosen().close("0.1", "Text.")
    assert isinstance(closing, Explorable)
    assert bundle(closing)[VIEW]["model_id"] == closing.model_id


# what is refused


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({}, ValueError, "choices, number: expected one of them, got none"),
        ({"choices": RATES, "number": (0, 1)}, ValueError, "choices, number: expected one of them, got both"),
        ({"question": " ", "choices": RATES}, ValueError, "question: expected a text that is not blank"),
        ({"choices": "ab"}, TypeError, "choices: expected a list of texts, or texts with replies, got 'ab'"),
        ({"choices": [1, 2]}, TypeError, "choices: expected a text, got 1"),
        ({"choices": ["a"]}, ValueError, r"choices: expected at least two different texts, got \['a'\]"),
        ({"choices": ["a", "b", "a"]}, ValueError, "choices: expected at least two different texts"),
        ({"choices": ["a", " "]}, ValueError, "choices: expected a text that is not blank"),
        ({"choices": {"a": "x", "b": ""}}, ValueError, "choices: expected replies only with an answer"),
        ({"choices": {"a": 3, "b": ""}}, TypeError, "choices: expected a text as a reply, got 3"),
        ({"choices": RATES, "unit": "nats"}, ValueError, "unit, log: expected neither with choices"),
        ({"choices": RATES, "log": True}, ValueError, "unit, log: expected neither with choices"),
        ({"number": 3}, TypeError, "number: expected two numbers, low and high, got 3"),
        ({"number": (1,)}, ValueError, "number: expected two numbers, low below high"),
        ({"number": (1, 2, 3)}, ValueError, "number: expected two numbers, low below high"),
        ({"number": (1, 1)}, ValueError, "number: expected two numbers, low below high, got (1, 1)"),
        ({"number": (2, 1)}, ValueError, "number: expected two numbers, low below high"),
        ({"number": (0, np.inf)}, ValueError, "number: expected a finite number"),
        ({"number": (0, 1), "log": True}, ValueError, "number: expected a number above 0, got 0"),
        ({"number": (0, 1), "log": 1}, TypeError, "log: expected True or False"),
        ({"number": (0, 1), "unit": 3}, TypeError, "unit: expected a text, got 3"),
        ({"choices": RATES, "answer": "2", "why": "So."}, ValueError, "answer: '2' is not one of"),
        ({"choices": RATES, "answer": 2, "why": "So."}, TypeError, "answer: expected one of"),
        ({"number": (0, 1), "answer": "2", "why": "So."}, TypeError, "answer: expected a number, got '2'"),
        ({"choices": RATES, "answer": "0.1"}, ValueError, "why: expected a text that is not blank"),
        ({"choices": RATES, "why": "So."}, ValueError, "why: expected none without an answer, got 'So.'"),
    ],
)
def test_wrong_questions_are_named(given, error, message):
    with pytest.raises(error, match="^" + message.replace("(1, 1)", r"\(1, 1\)")):
        Predict(**{"question": "How much?", **given})


@pytest.mark.parametrize(
    ("guess", "measured", "text", "error", "message"),
    [
        (chosen, "0.2", "So.", ValueError, "measured: '0.2' is not one of"),
        (chosen, 0.1, "So.", TypeError, "measured: expected one of"),
        (scaled, "0.1", "So.", TypeError, "measured: expected a number or a sequence of numbers, got '0.1'"),
        (scaled, [], "So.", ValueError, "measured: expected at least one number"),
        (scaled, np.nan, "So.", ValueError, "measured: expected a finite number, got nan"),
        (scaled, [1, np.inf, -np.inf], "So.", ValueError, "measured: expected a finite number, got inf"),
        (lambda: scaled(number=(1, 10), log=True), 0, "So.", ValueError, "measured: expected a number above 0"),
        (scaled, 1, " ", ValueError, "text: expected a text that is not blank"),
        (scaled, 1, None, TypeError, "text: expected a text, got None"),
        (scaled, 1, "{mean}", ValueError, r"text: expected names among \['measured'\] in braces, got '{mean}'"),
        (lambda: chosen(answer="0.1", why="So."), "0.1", "So.", ValueError, "answer: expected none where `close`"),
    ],
)
def test_wrong_closings_are_named(guess, measured, text, error, message):
    with pytest.raises(error, match=f"^{message}"):
        guess().close(measured, text)


def test_an_explorable_has_one_stand_in():
    for given in ({}, {"picture": b"PNG", "page": "<p>It.</p>"}):
        with pytest.raises(ValueError, match=r"^picture, page: expected one of them"):
            Explorable(text="A text.", **given)
    with pytest.raises(ValueError, match=r"^page: expected a text that is not blank"):
        Explorable(text="A text.", page=" ")
    with pytest.raises(TypeError, match=r"^identity: expected a text"):
        Explorable(text="A text.", page="<p>It.</p>", identity=3)
