"""Explorables on a static page: what `anymount.js` mounts from stored states moves in a real browser."""

import re

import anywidget
import pytest
import traitlets
from axe_playwright_python.sync_playwright import Axe
from ipywidgets import IntSlider, Layout
from matplotlib.figure import Figure

from unstuck.explore import Frames, Slider

pytestmark = pytest.mark.browser


@pytest.fixture
def colours():
    """3 x 2 frames; the middle of each is the colour that its sliders name."""
    return Frames(
        lambda red, way: Figure(figsize=(6.4, 4), facecolor=(red / 255, {"in": 0, "far out": 1}[way], 0)),
        title="Colours",
        alt="Red {red}, going {way}.",
        red=Slider([0, 100, 200], "redness", "units", start=100),
        way=["in", "far out"],
    )


def colour(page):
    """Red, green, blue in the middle of the picture shown."""
    return page.locator(".unstuck-frames img").evaluate(
        """async (image) => {
            await image.decode();
            const pen = new OffscreenCanvas(1, 1).getContext("2d");
            pen.drawImage(image, 320, 200, 1, 1, 0, 0, 1, 1);
            return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3);
        }"""
    )


def test_the_keyboard_chooses_the_frame(show, colours):
    page = show(colours)
    red, way = page.get_by_role("slider", name="redness"), page.get_by_role("slider", name="way")
    picture, output = page.locator(".unstuck-frames img"), page.locator("output")
    assert colour(page) == [100, 0, 0]
    assert picture.get_attribute("alt") == "Red 100, going in."
    source = picture.get_attribute("src")

    red.press("ArrowRight")
    assert picture.get_attribute("src") != source
    assert red.get_attribute("aria-valuetext") == output.first.text_content() == "200 units"
    assert picture.get_attribute("alt") == "Red 200, going in."
    assert colour(page) == [200, 0, 0]

    way.press("End")
    assert way.get_attribute("aria-valuetext") == output.last.text_content() == "far out"
    assert colour(page) == [200, 255, 0]
    red.press("Home")
    assert colour(page) == [0, 255, 0]
    page.get_by_text("Red 0, going far out.").wait_for(state="attached")  # what a screen reader announces
    assert page.locator("[aria-live=polite]").text_content() == "Red 0, going far out."
    assert page.heard == []


def test_a_phone_shows_all_of_it_and_nothing_moves_but_the_picture(show, colours):
    page = show(colours, viewport={"width": 375, "height": 800}, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    red, picture = page.get_by_role("slider", name="redness"), page.locator(".unstuck-frames img")
    box = picture.bounding_box()
    assert box["width"] / box["height"] == pytest.approx(640 / 400, rel=0.01)
    touch = red.bounding_box()
    assert touch["height"] >= 44
    page.touchscreen.tap(touch["x"] + touch["width"] - 5, touch["y"] + 5)
    assert red.get_attribute("aria-valuetext") == "200 units"
    assert picture.bounding_box() == box


def test_colours_follow_the_theme_without_a_script(show, colours):
    page = show(colours)
    group = page.get_by_role("group", name="Colours")

    def style():
        return group.evaluate("node => [getComputedStyle(node).backgroundColor, getComputedStyle(node).color]")

    assert style() == ["rgb(255, 255, 255)", "rgb(26, 26, 26)"]
    page.add_style_tag(content=":root { --pst-color-surface: #123456; --pst-color-text-base: #fedcba }")
    assert style() == ["rgb(18, 52, 86)", "rgb(254, 220, 186)"]


def test_no_serious_accessibility_violation(show, colours):
    violations = Axe().run(show(colours)).response["violations"]
    assert [v["id"] for v in violations if v["impact"] in ("serious", "critical")] == []


class Counter(anywidget.AnyWidget):
    """Uses what a view may ask of a model; `bias` travels as a buffer."""

    _esm = """
    export default {
      initialize({ model }) { model.set("count", model.get("bias").getUint8(1)); },
      render({ model, el }) {
        const button = document.createElement("button");
        const show = () => (button.textContent = model.get("count"));
        show();
        model.on("change:count", show);
        button.addEventListener("click", () => {
          model.set("count", model.get("count") + 1);
          model.save_changes();
          if (model.get("count") === 9) model.off("change:count", show);
        });
        el.append(button);
      },
    };
    """
    _css = "button { color: rgb(1, 2, 3) }"
    count = traitlets.Int().tag(sync=True)
    bias = traitlets.Bytes(bytes([5, 7])).tag(sync=True)


def test_two_views_share_one_model(show):
    counter = Counter()
    page = show(counter, counter)
    first, second = page.get_by_role("button").first, page.get_by_role("button").nth(1)
    first.click()
    assert (first.text_content(), second.text_content()) == ("8", "8")
    first.click()  # 9: the first view listens no longer
    second.click()
    assert (first.text_content(), second.text_content()) == ("9", "10")
    assert first.evaluate("node => getComputedStyle(node).color") == "rgb(1, 2, 3)"
    assert page.locator("style").count() == 1
    assert page.heard == []


class Broken(anywidget.AnyWidget):
    _esm = 'export default { render() { throw new Error("on purpose"); } };'


def test_a_broken_widget_is_reported_and_the_others_are_mounted(show, colours):
    broken, core = Broken(), IntSlider(layout=Layout())
    page = show(broken, core, colours)
    page.get_by_role("group", name="Colours").wait_for()
    assert page.get_by_text("This interactive figure could not be shown.").count() == 2
    assert len(page.heard) == 2
    assert any(re.search(f"widget {broken.model_id}.*on purpose", text) for text in page.heard)
    assert any(re.search(f"widget {core.model_id}.*no state", text) for text in page.heard)
