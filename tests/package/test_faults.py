"""The table of faults: each row is whole, and leads to a page of the book's own table."""

from pathlib import Path

import pytest
import yaml

from unstuck.checks import causes
from unstuck.faults import CLOSER, FAULTS, in_words
from unstuck.pages import PAGES, page_in_words

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = ROOT / "book" / "chapters.yml"


@pytest.mark.parametrize("slug", FAULTS)
def test_a_fault_can_be_read_aloud(slug):
    fault = FAULTS[slug]
    assert slug.isidentifier() and slug == slug.lower()
    assert fault.symptom[0].isupper() and fault.symptom.endswith(".")
    for phrase in (fault.cause, fault.cure):  # phrases, which sentences begin or go on with
        assert (phrase and not phrase[0].isupper()) or phrase.split()[0] in ("Adam's",)
        assert not phrase.endswith(".")


@pytest.mark.parametrize("name", CLOSER)
def test_a_closer_form_of_a_fault_says_something_else_than_its_row_and_is_found_by_a_check(name):
    fault, said = CLOSER[name]
    assert name not in FAULTS and said and set(said) <= {"symptom", "cause", "cure"}
    assert all(text != getattr(FAULTS[fault], part) for part, text in said.items())
    assert "symptom" not in said or (said["symptom"][0].isupper() and said["symptom"].endswith("."))
    assert not any(said.get(part, "").endswith(".") for part in ("cause", "cure"))
    checks = (ROOT / "src" / "unstuck" / "checks").glob("*.py")
    assert any(f'"{name}"' in path.read_text(encoding="utf-8") for path in checks)


def test_a_closer_form_has_a_cause_and_a_cure_of_its_own_but_for_a_few_that_fit_their_row():
    lacking = {part: {name for name, (_, said) in CLOSER.items() if part not in said} for part in ("cause", "cure")}
    assert lacking["cause"] == {"divergence_of_probabilities", "several_labels"}
    assert lacking["cure"] == {"loss_refuses", "loss_refuses_types", "graph_cut"}


@pytest.mark.parametrize(
    ("slug", "said"),
    [
        ("lr_small", "learning rate small"),
        ("nan_in_loss", "NaN in loss"),
        ("adam_eps", "Adam's eps"),
        ("batchnorm_mode", "batch norm mode"),
        ("half_overflow", "half-precision overflow"),
        ("relu_at_output", "ReLU at output"),
    ],
)
def test_short_names_in_a_slug_are_said_in_full(slug, said):
    assert slug in FAULTS and in_words(slug) == said


def test_every_page_has_the_number_and_the_title_of_the_book_and_every_cause_is_told_once():
    chapters = yaml.safe_load(CHAPTERS.read_text(encoding="utf-8"))["chapters"]
    book = {chapter["file"]: (str(chapter["number"]), chapter["question"]) for chapter in chapters}
    assert {fault.page for fault in FAULTS.values()} == set(PAGES)
    assert {name: book[name] for name in PAGES} == PAGES
    assert page_in_words("11b_learning_rate") == "11b, How do I find the learning rate?"
    assert len({fault.cause for fault in FAULTS.values()}) == len(FAULTS)


def test_causes_and_what_follows_from_them_are_faults():
    named = {*causes.ORDER, *causes.EXPLAINS, *(slug for follows in causes.EXPLAINS.values() for slug in follows)}
    assert named <= set(FAULTS)
