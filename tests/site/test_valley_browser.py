"""Valley on a static page: its JavaScript computes what NumPy does; keys, a finger and a theme reach it."""

import math

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from unstuck.explore import Valley
from unstuck.explore.explorable import SCRIPTS
from unstuck.explore.valley import Descent

pytestmark = pytest.mark.browser
DARK = {"surface": "#1f2830", "text-base": "#dfe5ea", "border": "#37444f", "primary": "#7fc0e4"}


def slider(page, name):
    return page.get_by_role("slider", name=name)


def numbers(page):
    """Condition number, border and steps as written."""
    return page.locator(".unstuck-valley dd").all_text_contents()


def test_javascript_computes_what_numpy_computes(show):
    page = show(Valley())
    source = (SCRIPTS / "valley.js").read_text(encoding="utf-8")
    cases = [(m, s, r) for m in (-4, -0.7, 0, 2) for s in (0.2, 1, 2.7) for r in (0.3, 0.97, 1.02)]
    cases = [(m, s, r * Descent(m, s).border) for m, s, r in cases] + [(m, s, Descent(m, s).lr) for m, s, _ in cases]
    found = page.evaluate(
        """async ([source, cases]) => {
            const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
            const { bowl, descend } = await import(url);
            return cases.map(([mean, scale, lr]) => [bowl(mean, scale), descend(mean, scale, lr)]);
        }""",
        [source, cases],
    )
    for (mean, scale, lr), (bowl, descent) in zip(cases, found, strict=True):
        matrix = np.array([[scale**2 + mean**2, mean], [mean, 1]])
        curvatures, axes = np.linalg.eigh(matrix)
        np.testing.assert_allclose([bowl["flat"], bowl["steep"]], curvatures, rtol=1e-9)
        assert bowl["kappa"] == pytest.approx(np.linalg.cond(matrix), rel=1e-8)
        assert bowl["border"] == pytest.approx(2 / curvatures[-1])
        steep = np.array([math.cos(bowl["angle"]), math.sin(bowl["angle"])])
        if bowl["kappa"] > 1.01:
            assert abs(steep @ axes[:, 1]) == pytest.approx(1)
        expected = Descent(mean, scale, lr)
        assert descent["arrived"] == math.isfinite(expected.steps)
        if descent["arrived"]:
            assert abs(descent["steps"] - expected.steps) <= 1  # the last step may hang on rounding
        shared = min(len(descent["path"]), len(expected.path))
        assert abs(len(descent["path"]) - len(expected.path)) <= 1
        size = np.abs(expected.path).max()
        np.testing.assert_allclose(
            np.array(descent["path"])[:shared], expected.path[:shared], rtol=1e-6, atol=1e-9 * size
        )
    assert page.heard == []


def test_the_page_writes_what_python_says(show):
    page = show(Valley(mean=2, scale=1))
    expect(slider(page, "mean of the feature")).to_have_attribute("aria-valuetext", "2")
    assert numbers(page) == ["34", "0.343", "79"]
    assert "79" in str(Descent(2, 1))
    assert page.heard == []


def test_keys_centre_the_feature_and_the_path_becomes_one_step(show):
    page = show(Valley(mean=2, scale=1))
    mean, path = slider(page, "mean of the feature"), page.locator(".unstuck-valley-path")
    zigzag = path.get_attribute("points")
    assert len(zigzag.split()) == 80
    mean.press("ArrowLeft")
    expect(mean).to_have_attribute("aria-valuetext", "1.9")
    kappa = Descent(1.9, 1).kappa
    assert numbers(page)[0] == f"{kappa:.3g}"
    for _ in range(2):
        mean.press("PageDown")
    mean.press("ArrowRight")
    expect(mean).to_have_attribute("aria-valuetext", "0")
    assert numbers(page) == ["1", "2", "1"]
    assert len(path.get_attribute("points").split()) == 2
    news = page.locator(".unstuck-valley-news")
    expect(news).to_contain_text("Feature of mean 0, scale 1. The lines of equal loss are round, condition number 1.")
    expect(news).to_contain_text("Descent needs 1 step at learning rate 1. The border is 2.")
    expect(page.get_by_role("img").nth(1)).to_have_attribute("aria-label", news.text_content().split(". ", 1)[1])
    mean.press("Home")
    expect(mean).to_have_attribute("aria-valuetext", "−4")
    slider(page, "scale").press("End")
    expect(slider(page, "scale")).to_have_attribute("aria-valuetext", "3")
    assert numbers(page)[0] == f"{Descent(-4, 3).kappa:.3g}"
    assert page.heard == []


def test_a_learning_rate_of_ones_own_and_back(show):
    page = show(Valley(mean=2, scale=1))
    rate, usual = slider(page, "learning rate"), page.get_by_role("checkbox")
    expect(usual).to_be_checked()
    expect(rate).to_have_attribute("aria-valuetext", "0.333")
    rate.press("ArrowRight")
    expect(usual).not_to_be_checked()
    expect(rate).to_have_attribute("aria-valuetext", "0.347")
    assert numbers(page)[2] == "diverges"  # the border is 0.343
    expect(page.locator(".unstuck-valley-news")).to_contain_text("Descent diverges at learning rate 0.347.")
    rate.press("Home")
    steps = Descent(2, 1, 0.01).steps
    expect(rate).to_have_attribute("aria-valuetext", "0.01")
    assert numbers(page)[2] == f"{steps:,}"
    slider(page, "scale").press("Home")
    slider(page, "mean").press("End")
    assert numbers(page)[2] == "more than 100,000"  # at a hundredth
    usual.press("Space")
    assert numbers(page)[2] == f"{Descent(4, 0.2).steps:,}"
    assert page.heard == []


def test_the_cloud_can_be_dragged(show):
    page = show(Valley(mean=2, scale=1))
    box = page.locator(".unstuck-valley-data").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 2 / 16 * 300 / 362 * box["width"], y, steps=4)  # 16 units are 300 of the 362 that it is wide
    page.mouse.up()
    expect(slider(page, "mean")).to_have_attribute("aria-valuetext", "0")
    assert numbers(page)[2] == "1"
    page.mouse.move(x, y)
    expect(slider(page, "mean")).to_have_attribute("aria-valuetext", "0")
    assert page.heard == []


def test_a_phone_shows_all_of_it_and_a_finger_moves_it(show):
    page = show(Valley(mean=2, scale=1), viewport={"width": 375, "height": 800}, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    mean = slider(page, "mean of the feature")
    touch = mean.bounding_box()
    assert touch["height"] >= 44
    assert page.locator(".unstuck-valley-check").bounding_box()["height"] >= 44
    page.touchscreen.tap(touch["x"] + touch["width"] / 2, touch["y"] + 22)
    expect(mean).to_have_attribute("aria-valuetext", "0")
    for panel in page.get_by_role("img").all():
        assert panel.bounding_box()["width"] >= 250
    assert page.heard == []


def test_two_valleys_on_a_page_do_not_mix(show):
    page = show(Valley(mean=2, title="One"), Valley(mean=-1, title="Two"))
    first, second = page.get_by_role("group", name="One"), page.get_by_role("group", name="Two")
    first.get_by_role("slider", name="mean").press("Home")
    expect(first.get_by_role("slider", name="mean")).to_have_attribute("aria-valuetext", "−4")
    expect(second.get_by_role("slider", name="mean")).to_have_attribute("aria-valuetext", "−1")
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((node) => node.id)")
    assert len(set(ids)) == len(ids) == 4


def test_jupyterlab_leaves_the_keys_alone(show):
    page = show(Valley())
    expect(page.get_by_role("checkbox")).to_be_visible()
    for node in page.locator("main input").all():
        assert node.get_attribute("data-lm-suppress-shortcuts") == "true"


def test_colours_follow_the_theme(show):
    page = show(Valley())
    page.add_style_tag(
        content=":root {" + ";".join(f"--pst-color-{name}: {value}" for name, value in DARK.items()) + "}"
    )
    group = page.get_by_role("group", name="Centre and scale one feature")
    style = "node => [getComputedStyle(node).backgroundColor, getComputedStyle(node).color]"
    assert group.evaluate(style) == ["rgb(31, 40, 48)", "rgb(223, 229, 234)"]
    stroke = page.locator(".unstuck-valley-path").evaluate("node => getComputedStyle(node).stroke")
    assert stroke == "rgb(127, 192, 228)"
    assert (
        page.locator(".unstuck-valley text").first.evaluate("node => getComputedStyle(node).fill")
        == "rgb(223, 229, 234)"
    )


@pytest.mark.parametrize("dark", [False, True])
def test_no_serious_accessibility_violation(show, dark):
    page = show(Valley())
    expect(page.get_by_role("checkbox")).to_be_visible()
    if dark:
        style = ";".join(f"--pst-color-{name}: {value}" for name, value in DARK.items())
        page.add_style_tag(content=f":root {{{style}}} body {{background: #151b21; color: #dfe5ea}}")
    violations = Axe().run(page).response["violations"]
    assert [v["id"] for v in violations if v["impact"] in ("serious", "critical")] == []
