"""explore: what Frames draws, stores and refuses. How it moves is tested in a browser, tests/site."""

import base64
import io
import re

import comm
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from ipywidgets import Widget
from matplotlib.figure import Figure
from PIL import Image

from unstuck.explore import Explorable, Frames, Slider


def plain(red=0, green=0):
    """A figure of one colour, 80 x 40 pixels at 100 dpi; pyplot does not know it."""
    return Figure(figsize=(0.8, 0.4), facecolor=(red / 255, green / 255, 0))


def curve(power):
    figure, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
    x = np.linspace(-1, 1, 200)
    for i in range(4):
        ax.plot(x, x**power + i)
    ax.set(xlabel="z", ylabel="a", title=f"Power {power}")
    return figure


def frames(draw=plain, **given):
    return Frames(draw, **{"title": "Colours", "alt": "A colour.", **(given or {"red": [0, 255]})})


def pixels(encoded):
    """An image in base64 as (Hi, Wi, 3) integers."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")).astype(int)


# what is drawn


def test_each_combination_is_drawn_once_and_the_last_slider_varies_fastest():
    calls = []

    def draw(**values):
        calls.append(tuple(values.items()))
        return plain(**values)

    widget = frames(draw, red=[0, 100], green=[50, 150, 250], alt="red {red}, green {green}")
    expected = [(red, green) for red in (0, 100) for green in (50, 150, 250)]
    assert calls == [(("red", red), ("green", green)) for red, green in expected]
    assert widget.alts == [f"red {red}, green {green}" for red, green in expected]
    for frame, (red, green) in zip(widget.frames, expected, strict=True):
        assert (pixels(frame) == (red, green, 0)).all()


def test_a_frame_shows_what_matplotlib_saves():
    widget = frames(curve, power=[1, 3])
    file = io.BytesIO()
    figure = curve(3)
    figure.savefig(file, format="png", dpi=100)
    plt.close(figure)
    expected = np.asarray(Image.open(file).convert("RGB")).astype(int)
    difference = np.abs(pixels(widget.frames[1]) - expected)
    assert difference.max() <= 24  # of 255: 256 colours stand for all
    assert difference.mean() < 1
    assert len(base64.b64decode(widget.frames[1])) < 12_000


def test_size_follows_the_figure_and_dpi_even_where_the_style_crops():
    with matplotlib.rc_context({"savefig.bbox": "tight", "savefig.dpi": 33}):
        widget = frames(curve, power=[1, 3], dpi=50)
    assert (widget.width, widget.height) == (320, 200)
    assert {pixels(frame).shape for frame in widget.frames} == {(200, 320, 3)}


def test_what_is_transparent_is_white():
    widget = frames(lambda red: Figure(figsize=(1, 1), facecolor="none"), red=[1, 2])
    assert (pixels(widget.frames[0]) == 255).all()


# what is stored


def test_equal_frames_are_equal_bytes_with_one_stable_id():
    first = frames(curve, power=[1, 3])
    state, model_id, layout_id = dict(first.get_state()), first.model_id, first.layout.model_id
    second = frames(curve, power=[1, 3])
    assert second.get_state() == state
    assert (second.model_id, second.layout.model_id) == (model_id, layout_id)
    assert re.fullmatch("unstuck-[0-9a-f]{24}", model_id)
    others = [frames(curve, power=[1, 3], title="Other"), frames(curve, power=[1, 2]), frames(curve, power=[3, 1])]
    assert len({model_id, *(other.model_id for other in others)}) == 4


def test_a_cell_that_runs_again_leaves_the_new_widget_open():
    old, widget = frames(), frames()
    old.close()  # as when it is collected
    old.layout.close()
    manager = comm.get_comm_manager()
    assert manager.get_comm(widget.model_id) is widget.comm
    assert manager.get_comm(widget.layout.model_id) is widget.layout.comm
    assert {widget.model_id, widget.layout.model_id} <= set(Widget.get_manager_state()["state"])


def test_bundle_shows_the_frame_that_the_sliders_start_at():
    sliders = {"red": Slider([0, 100], start=100), "green": Slider(["50", "150"], start="150")}
    widget = frames(lambda red, green: plain(red, int(green)), **sliders, alt=lambda red, green: f"{red} and {green}")
    data, _ = widget._repr_mimebundle_()
    assert set(data) == {"text/plain", "image/png", "application/vnd.jupyter.widget-view+json"}
    assert data["text/plain"] == "100 and 150"
    assert (pixels(data["image/png"]) == (100, 150, 0)).all()
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == widget.model_id
    assert [slider["start"] for slider in widget.sliders] == [1, 1]


def test_repr_has_no_address():
    assert repr(frames(red=Slider([0, 1, 2], "redness"))) == "Frames('Colours', 3 frames over redness)"


def test_sliders_tell_labels_and_values():
    widget = frames(
        lambda **values: plain(),
        weight_decay=[0.0, 1e-4, np.float32(0.5)],
        width=Slider(np.array([10, 1_000_000]), "units a layer"),
        share=Slider([10, 50], unit="%"),
        way=["in", "out"],
    )
    assert [slider["label"] for slider in widget.sliders] == ["weight decay", "units a layer", "share", "way"]
    assert [slider["texts"] for slider in widget.sliders] == [
        ["0", "0.0001", "0.5"],
        ["10", "1000000"],
        ["10 %", "50 %"],
        ["in", "out"],
    ]


# what is left as it was


def test_pyplot_and_rcparams_are_left_as_they_were():
    mine = plt.figure()
    before = dict(matplotlib.rcParams), plt.isinteractive()

    def draw(red):
        matplotlib.rcParams["lines.linewidth"] = 7
        plt.figure()  # and one that is forgotten
        return plt.figure(figsize=(1, 1))

    try:
        frames(draw, red=[1, 2])
        assert plt.get_fignums() == [mine.number]
        assert plt.gcf() is mine
        assert (dict(matplotlib.rcParams), plt.isinteractive()) == before
    finally:
        plt.close(mine)


def test_a_draw_that_raises_says_where_and_leaves_no_figure():
    before = dict(matplotlib.rcParams)

    def draw(red, way):
        plt.figure()
        matplotlib.rcParams["lines.linewidth"] = 7
        raise ZeroDivisionError("by hand")

    with pytest.raises(ZeroDivisionError, match="by hand") as raised:
        frames(draw, red=[1, 2], way=["in", "out"])
    assert raised.value.__notes__ == ["in the frame of red=1, way='in'"]
    assert plt.get_fignums() == []
    assert dict(matplotlib.rcParams) == before


# what is refused


def test_sixty_frames_are_drawn_and_sixty_one_are_not_begun():
    assert len(frames(lambda a, b: plain(), a=range(6), b=range(10)).frames) == 60

    def draw(a):
        raise AssertionError("drawn")

    with pytest.raises(ValueError, match=r"sliders: expected at most 60 frames, got 61 \(a\) = 61"):
        frames(draw, a=range(61))
    with pytest.raises(ValueError, match=r"got 8 \(a\) x 8 \(b\) = 64"):
        frames(lambda a, b: plain(), a=range(8), b=range(8))


def test_frames_of_different_sizes_are_refused_by_name():
    with pytest.raises(ValueError, match=r"one size, got \(300, 100\) pixels for a=3 and \(100, 100\) for a=1"):
        frames(lambda a: Figure(figsize=(a, 1)), a=[1, 3])


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"title": " ", "red": [1, 2]}, ValueError, "title: expected a text that is not blank, got ' '"),
        (
            {"draw": None, "red": [1, 2]},
            TypeError,
            "draw: expected a function that returns a matplotlib Figure, got None",
        ),
        ({"dpi": 0, "red": [1, 2]}, ValueError, "dpi: expected a number above 0"),
        ({"title": "None"}, ValueError, "sliders: expected at least one"),
        ({"red": []}, ValueError, "red: expected at least two values"),
        ({"red": [1]}, ValueError, r"red: expected at least two values that look different, got \['1'\]"),
        ({"red": [1, 1]}, ValueError, "red: expected at least two values"),
        ({"red": [0.1, 0.10000001]}, ValueError, r"got \['0.1', '0.1'\]"),
        ({"red": "abc"}, TypeError, "red: expected a Slider or a list of numbers or texts, got 'abc'"),
        ({"red": {1: 2}}, TypeError, "red: expected a Slider or a list"),
        ({"red": {1, 2}}, TypeError, "red: expected a Slider or a list"),
        ({"red": 3}, TypeError, "red: expected a Slider or a list"),
        ({"red": None}, TypeError, "red: expected a Slider or a list"),
        ({"red": [1, True]}, TypeError, "red: expected a number, got True"),
        ({"red": ["", "a"]}, ValueError, "red: expected a text that is not blank, got ''"),
        ({"red": Slider([1, 2], label=3)}, TypeError, "red: expected a text as label and unit, got 3"),
        ({"red": Slider([1, 2], start=np.ones(2))}, TypeError, "red: expected a number, got ndarray"),
        ({"red": Slider([1, 2], start=3)}, ValueError, r"red: expected start to be one of \[1, 2\], got 3"),
        ({"red": [1, 2], "alt": ""}, ValueError, "alt: expected a text that is not blank, got ''"),
        ({"red": [1, 2], "alt": None}, TypeError, "alt: expected a text, got None"),
        ({"red": [1, 2], "alt": lambda red: None}, TypeError, "alt for red=1: expected a text, got None"),
        (
            {"red": [1, 2], "alt": "{green}"},
            ValueError,
            r"alt: expected names among \['red'\] in braces, got '{green}'",
        ),
        ({"red": [1, 2], "alt": "{}"}, ValueError, r"alt: expected names among \['red'\] in braces, got '{}'"),
        ({"red": [1, 2], "alt": "{red:zz}"}, ValueError, "alt: expected names among"),
    ],
)
def test_wrong_arguments_are_named(given, error, message):
    with pytest.raises(error, match=message if message.startswith("got") else f"^{message}"):
        frames(**given)


def test_an_explorable_needs_a_text_and_a_picture():
    with pytest.raises(ValueError, match=r"^text: expected a text that is not blank"):
        Explorable(text="", picture=b"")
    with pytest.raises(TypeError, match=r"^picture: expected the bytes of a PNG, got 'x.png'"):
        Explorable(text="A picture.", picture="x.png")


def test_draw_must_return_a_figure():
    with pytest.raises(TypeError, match=r"^draw: expected a matplotlib Figure, got \(1, 2\)"):
        frames(lambda red: (1, 2), red=[1, 2])
