"""Predict on a static page: the reader commits, then sees what was measured; no kernel, no request."""

import math
import re
from itertools import pairwise

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from unstuck.explore import Predict

pytestmark = pytest.mark.browser
CHOICES = ["The rate, `lr`, is wrong.", "The units are <b>dead</b>.", "The first weights are too small."]
DARK = {"surface": "#1f2830", "background": "#151b21", "text-base": "#dfe5ea", "border": "#37444f"}
DARK |= {"accent-bg": "#3b241e", "primary-bg": "#1a3342", "primary": "#7fc0e4", "success": "#a3cf7c"}
NOWHERE = "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('refused'); } })"


def diagnosis():
    """A question and what closes it."""
    guess = Predict("What is your diagnosis?", choices=CHOICES)
    return guess._widget, guess.close(CHOICES[2], "A layer loses a factor of `10`.")


def share(measured=0.05, **given):
    guess = Predict("How much is it?", **{"number": (0.001, 10), "log": True, "unit": "nats", **given})
    return guess._widget, guess.close(measured, "It is {measured}, <i>because</i>.")


def quiz():
    choices = {"0": "That is `ln 1`.", "2.30": "", "10": ""}
    return Predict("What is `ln 10`?", choices=choices, answer="2.30", why="`exp(2.30)` is 10.")._widget


def closing(page):
    return page.get_by_role("group", name="What was measured")


def question(page):
    return page.locator("form")


def test_the_keyboard_commits_and_a_reload_keeps_it(show):
    page = show(*diagnosis())
    expect(page.get_by_role("radio").first).to_be_visible()  # the widgets mount by themselves, in their own time
    expect(closing(page)).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    dead = page.get_by_role("radio", name="The units are <b>dead</b>.")
    expect(dead).to_be_focused()
    expect(dead).to_be_checked()
    expect(page.get_by_role("status")).to_be_empty()
    expect(closing(page)).to_contain_text("You have not guessed yet")
    page.keyboard.press("Enter")

    expect(page.get_by_role("button", name="Change my guess")).to_be_focused()
    for _ in range(2):
        expect(page.get_by_role("status")).to_contain_text("You said: The units are <b>dead</b>.")
        expect(dead).to_be_disabled()
        expect(closing(page).locator("dd")).to_have_text([CHOICES[1], CHOICES[2]])
        expect(closing(page)).to_contain_text("A layer loses a factor of 10.")
        expect(closing(page)).not_to_contain_text("You were right.")
        page.reload()

    page.get_by_role("button", name="Change my guess").press("Enter")
    expect(dead).to_be_focused()
    expect(closing(page)).to_contain_text("You have not guessed yet")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(closing(page)).to_contain_text("You were right. A layer")
    assert page.heard == []


def test_without_a_guess_the_answer_is_folded_and_a_link_leads_to_the_question(show):
    page = show(*diagnosis())
    question(page).get_by_role("button").click()  # with nothing chosen
    expect(question(page).get_by_role("group")).to_be_enabled()
    expect(closing(page)).not_to_contain_text(CHOICES[2], use_inner_text=True)
    # the question is not asked a second time: it stands above
    expect(closing(page)).not_to_contain_text("What is your diagnosis?", use_inner_text=True)
    closing(page).get_by_role("link", name="Make a guess").press("Enter")
    expect(page.get_by_role("radio").first).to_be_focused()
    summary = closing(page).locator("summary")
    summary.focus()
    page.keyboard.press("Enter")
    expect(closing(page).get_by_text("A layer loses a factor of 10.")).to_be_visible()
    expect(closing(page).get_by_text(CHOICES[2])).to_be_visible()
    expect(closing(page).get_by_text("What is your diagnosis?")).to_be_visible()
    assert page.heard == []


def test_jupyterlab_leaves_the_keys_alone(show):
    page = show(*diagnosis(), *share())
    reached = page.locator("main :is(input, button, a, summary)")
    assert reached.count() == 4 + 3 + 2 * 2
    for node in reached.all():
        assert node.get_attribute("data-lm-suppress-shortcuts") == "true"


def test_slider_and_field_say_the_same_number(show):
    page = show(*share())
    slider, field = page.get_by_role("slider"), page.get_by_role("spinbutton", name="Your guess")
    expect(field).to_have_value("")  # the slider's place is no guess
    slider.press("ArrowRight")
    expect(field).to_have_value("0.11")  # the middle of the scale is 0.1, and a hundredth of it a factor of 1.1
    assert slider.get_attribute("aria-valuetext") == "0.11 nats"
    slider.press("End")
    expect(field).to_have_value("10")
    field.fill("0.01")
    assert slider.evaluate("node => node.valueAsNumber") == 25  # 0.001 to 10: one of four decades
    for refused in ("11", "0", "-1", ""):
        field.fill(refused)
        field.press("Enter")
        expect(field).to_be_enabled()
    field.fill("0.2")
    field.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("You said: 0.2 nats.")
    expect(closing(page).locator("dd")).to_have_text(["0.2 nats", "0.0500 nats"])
    expect(closing(page)).to_contain_text("It is 0.0500 nats, <i>because</i>.")
    assert page.heard == []


@pytest.mark.parametrize(
    ("measured", "given", "mine", "theirs"),
    [
        (0.05, {}, math.log10(0.2 / 0.001) / 4, math.log10(0.05 / 0.001) / 4),
        (100.0, {}, math.log10(0.2 / 0.001) / 5, 1),  # the scale grows to what was measured
        (5.0, {"number": (0, 10), "log": False}, 0.02, 0.5),
        (-10.0, {"number": (0, 10), "log": False}, 0.51, 0),
    ],
)
def test_both_marks_stand_where_the_numbers_are(show, measured, given, mine, theirs):
    page = show(*share(measured, **given))
    page.get_by_role("spinbutton").fill("0.2")
    question(page).get_by_role("button").click()
    line = page.locator(".unstuck-predict-line").bounding_box()
    for name, expected in (("mine", mine), ("theirs", theirs)):
        mark = page.locator(f".unstuck-predict-{name}").bounding_box()
        middle = mark["x"] + mark["width"] / 2
        assert (middle - line["x"]) / line["width"] == pytest.approx(expected, abs=0.005)


def test_a_quiz_answers_at_once_and_not_before(show):
    page = show(quiz())
    expect(page.locator("main")).not_to_contain_text("exp(2.30)", use_inner_text=True)
    page.get_by_role("radio", name="0", exact=True).check()
    page.get_by_role("button", name="This is my guess").click()
    told = "You said: 0. That is ln 1. Right is: 2.30. exp(2.30) is 10."
    expect(page.get_by_role("status")).to_have_text(told)
    page.get_by_role("button", name="Guess again").click()
    expect(page.get_by_role("status")).to_be_empty()
    page.get_by_role("radio", name="2.30").check()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("Right. exp(2.30) is 10.")
    assert page.heard == []


def test_questions_do_not_mix_and_two_views_of_one_agree(show):
    asked, closed = diagnosis()
    page = show(asked, closed, *share(), asked)
    first, number, again = (question(page).nth(i) for i in range(3))
    first.get_by_role("radio").nth(1).check()
    first.get_by_role("button").click()
    expect(again.get_by_role("status")).to_contain_text("You said: The units")
    expect(number.get_by_role("status")).to_be_empty()
    expect(closing(page).nth(1)).to_contain_text("You have not guessed yet")


@pytest.mark.parametrize("kept", ["not JSON", '"a choice of last year"', "[3]", "3"])
def test_what_the_browser_kept_of_another_time_is_no_guess(show, kept):
    page = show(*diagnosis())
    key = question(page).get_attribute("id")
    page.evaluate("([key, kept]) => localStorage.setItem(key, kept)", [key, kept])
    page.reload()
    expect(closing(page)).to_contain_text("You have not guessed yet")
    expect(page.get_by_role("button", name="This is my guess")).to_be_visible()
    assert page.heard == []


def test_where_the_browser_keeps_nothing_a_guess_holds_until_the_page_is_left(show):
    page = show(*diagnosis())
    page.add_init_script(NOWHERE)
    page.reload()
    page.get_by_role("radio").nth(2).check()
    page.keyboard.press("Enter")
    expect(closing(page)).to_contain_text("You were right.")
    page.reload()
    expect(closing(page)).to_contain_text("You have not guessed yet")
    assert page.heard == []


def test_a_guess_stays_in_the_browser(show):
    page = show(*diagnosis())
    page.get_by_role("radio").nth(2).check()
    page.keyboard.press("Enter")
    key = question(page).get_attribute("id")
    assert re.fullmatch("guess-[0-9a-f]{24}", key)
    assert page.evaluate("({ ...localStorage })") == {key: f'"{CHOICES[2]}"'}
    assert page.heard == []


def test_a_phone_shows_all_of_it_and_a_finger_commits(show):
    page = show(*diagnosis(), *share(9.9), quiz(), viewport={"width": 375, "height": 800}, has_touch=True)
    for label in page.locator("label").all():
        assert label.bounding_box()["height"] >= 44
    for form in question(page).all():
        if form.get_by_role("slider").count():
            box = form.get_by_role("slider").bounding_box()
            assert box["height"] >= 44
            page.touchscreen.tap(box["x"] + box["width"] - 2, box["y"] + box["height"] / 2)
        else:
            form.locator("label").nth(1).tap()
        form.get_by_role("button").tap()
    expect(closing(page).locator("dd")).to_have_text([CHOICES[1], CHOICES[2], "10 nats", "9.90 nats"])
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    for box in page.locator(".unstuck-predict").all():
        right = box.bounding_box()["x"] + box.bounding_box()["width"]
        for part in box.locator("*").all():
            inside = part.bounding_box()
            assert inside is None or inside["x"] + inside["width"] <= right


@pytest.mark.parametrize("dark", [False, True])
def test_no_accessibility_violation_before_and_after(show, dark):
    page = show(*diagnosis(), *share(), quiz())
    if dark:
        colours = "".join(f"--pst-color-{name}: {value};" for name, value in DARK.items())
        colours += "--u-orange-text: #f0957d; background: #151b21; color: #fff"
        page.add_style_tag(content=f":root {{ {colours} }}")
    assert violations(page) == []
    for form in question(page).all():
        if form.get_by_role("spinbutton").count():
            form.get_by_role("spinbutton").fill("1")
        else:
            form.get_by_role("radio").first.check()
        form.get_by_role("button").click()
    expect(closing(page).locator("dd")).to_have_count(4)
    assert violations(page) == []


def violations(page):
    return [f"{found['id']}: {found['nodes'][0]['html']}" for found in Axe().run(page).response["violations"]]


def test_colours_follow_the_theme_and_focus_is_seen(show):
    page = show(*diagnosis())
    form, button = question(page), question(page).get_by_role("button")

    def style(node, *names):
        return node.evaluate("(node, names) => names.map((name) => getComputedStyle(node)[name])", names)

    assert style(form, "backgroundColor", "color") == ["rgb(255, 255, 255)", "rgb(26, 26, 26)"]
    assert style(button, "backgroundColor", "color") == ["rgb(26, 26, 26)", "rgb(255, 255, 255)"]
    page.add_style_tag(content=":root { --pst-color-accent-bg: #123456; --pst-color-text-base: #fedcba }")
    assert style(form, "backgroundColor", "color") == ["rgb(18, 52, 86)", "rgb(254, 220, 186)"]
    assert style(button, "outlineStyle") == ["none"]
    page.get_by_role("radio").first.press("Tab")
    expect(button).to_be_focused()
    assert style(button, "outlineStyle", "outlineWidth") == ["solid", "3px"]


def test_in_print_nothing_is_to_be_pressed(show):
    page = show(*diagnosis())
    page.emulate_media(media="print")
    expect(page.get_by_role("button")).to_have_count(0)
    expect(page.get_by_text(CHOICES[2])).to_have_count(2)
    expect(closing(page).get_by_text(CHOICES[2])).to_be_visible()  # paper has no folds


def test_a_printed_quiz_says_what_is_right(show):
    page = show(quiz())
    answer = page.locator(".unstuck-predict-printed")
    expect(answer).to_be_hidden()
    page.emulate_media(media="print")
    expect(answer).to_contain_text("Right is:")


@pytest.mark.parametrize(
    ("given", "marks"),
    [
        ({}, ["0.001", "0.01", "0.1", "1", "10"]),
        ({"number": (1, 1e12)}, ["1", "1,000", "1e6", "1e9", "1e12"]),
        ({"number": (1, 500)}, ["1", "500"]),
        ({"number": (0, 40), "log": False}, ["0", "40"]),
    ],
)
def test_a_logarithmic_scale_says_that_it_is_one(show, given, marks):
    page = show(share(**given)[0])
    written = page.locator(".unstuck-predict-marks span")
    expect(written).to_have_text(marks)
    places = [span.bounding_box()["x"] for span in written.all()]
    gaps = [right - left for left, right in pairwise(places)]
    assert max(gaps) - min(gaps) < 1  # a pixel: decades are equally wide


def test_a_number_below_zero_has_a_minus(show):
    page = show(*share(measured=-2.5, number=(-10, 30), log=False, unit="points"))
    expect(page.locator(".unstuck-predict-marks span")).to_have_text(["−10", "30"])
    page.get_by_role("spinbutton").fill("-1")
    question(page).get_by_role("button").click()
    expect(page.get_by_role("status")).to_contain_text("You said: −1 points.")
    expect(closing(page).locator("dd")).to_have_text(["−1 points", "−2.50 points"])
    expect(closing(page)).to_contain_text("It is −2.50 points")
    expect(closing(page).locator(".unstuck-predict-track")).to_contain_text("−10")


# --- on the website: the result stands below the question already ---

COVERED = ".unstuck-covered"
FIRST = "book/03_activations.html"  # a question, and one figure that answers it
LONG = "book/01_stuck.html"  # a question that the whole page answers
SLIDERS = "book/02_backprop.html"  # with sliders between a question and its answer


def results(page):
    """Of each result between the first question of the page and what closes it, whether it is covered."""
    return page.evaluate(
        """selector => {
          const [form] = document.querySelectorAll('form.unstuck-predict:not(.unstuck-predict-quiz)');
          const box = [...document.querySelectorAll('[aria-label^="What was measured"]')][0];
          const follows = (one, other) => one.compareDocumentPosition(other) & Node.DOCUMENT_POSITION_FOLLOWING;
          const within = node => follows(form, node) && follows(node, box) && !node.contains(box);
          return [...document.querySelectorAll('.cell_output')].filter(within).map(node => node.matches(selector));
        }""",
        COVERED,
    )


def test_a_result_is_covered_until_there_is_a_guess(open_page, base):
    page = open_page(f"{base}/{FIRST}").page
    expect(page.locator(COVERED).first).to_be_attached()
    assert results(page) == [True]
    before = page.locator(COVERED).count()
    result = page.locator(f"{COVERED} > :not(button)").first
    assert result.evaluate("node => [node.inert, getComputedStyle(node).filter !== 'none']") == [True, True]
    page.locator("form input[type=number]").first.fill("50")
    page.locator("form button").first.click()
    expect(page.locator(COVERED)).to_have_count(before - 1)
    assert results(page) == [False]
    assert page.locator("article [inert]").count() == page.locator(f"{COVERED} > [inert]").count()


@pytest.mark.parametrize("by", [".unstuck-lift", ".unstuck-predict summary"])
def test_it_is_shown_to_who_asks_for_it_and_stays(open_page, base, by):
    visit = open_page(f"{base}/{FIRST}")
    expect(visit.page.locator(COVERED).first).to_be_attached()
    visit.page.locator(by).first.click()
    for _ in range(2):
        expect(visit.page.get_by_text("You have not guessed yet").first).to_be_visible()
        expect(visit.page.locator(".unstuck-predict details").first).to_have_attribute("open", "")
        assert results(visit.page) == [False]
        visit.page.reload()
    assert visit.complaints == []


def test_a_question_that_the_whole_page_answers_covers_nothing(open_page, base):
    page = open_page(f"{base}/{LONG}").page
    expect(page.get_by_text("You have not guessed yet").first).to_be_visible()
    assert len(results(page)) > 3 and not any(results(page))


def test_sliders_are_not_covered(open_page, base):
    page = open_page(f"{base}/{SLIDERS}").page
    expect(page.locator(COVERED).first).to_be_attached()
    expect(page.locator("input[type=range]").first).to_be_attached()
    assert page.locator(f"{COVERED} .anymount").count() == 0


def test_paper_and_a_browser_without_scripts_cover_nothing(open_page, base, browser):
    page = open_page(f"{base}/{FIRST}").page
    expect(page.locator(COVERED).first).to_be_attached()
    page.emulate_media(media="print")
    result = page.locator(f"{COVERED} > :not(button)").first
    assert result.evaluate("node => getComputedStyle(node).filter") == "none"
    expect(page.locator(".unstuck-lift").first).to_be_hidden()
    context = browser.new_context(java_script_enabled=False)
    try:
        plain = context.new_page()
        plain.goto(f"{base}/{FIRST}")
        expect(plain.locator(COVERED)).to_have_count(0)
    finally:
        context.close()
