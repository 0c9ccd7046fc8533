"""`Frames`: figures drawn beforehand, which sliders choose from."""

from __future__ import annotations

import io
import itertools
import math
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import traitlets
from matplotlib.figure import Figure
from PIL import Image

from unstuck.arguments import instance, real, short, words
from unstuck.explore.explorable import SCRIPTS, Explorable, filled

MAX_FRAMES = 60


@dataclass(frozen=True)
class Slider:
    """What one slider of `Frames` chooses from.

    Args:
        values: at least two different numbers or strings, in the order of the slider.
        label: what the reader is told it is; empty: the argument's name.
        unit: shown behind each value.
        start: the value shown first; None: the first.
    """

    values: Sequence[float | str]
    label: str = ""
    unit: str = ""
    start: float | str | None = None

    def texts(self) -> list[str]:
        """The values as the reader sees them."""
        shown = (f"{value:g}" if isinstance(value, float) else str(value) for value in self.values)
        return [f"{text} {self.unit}".strip() for text in shown]


class Frames(Explorable):
    """Figures drawn beforehand, one for each combination of the sliders' values.

        Frames(draw, title="A training run", alt="The loss with {activation} at a rate of {lr:g}.",
               lr=Slider([0.01, 0.1, 1], "learning rate", start=0.1), activation=["relu", "tanh"])

    Args:
        draw: called once a combination, `draw(lr=0.01, activation="relu")`, the last slider varying fastest; returns
            a matplotlib Figure. Figures that it opens are closed, rcParams that it sets are set back.
        title: stands above the sliders and names the whole for a screen reader.
        alt: what is to be seen in a frame: a text with the sliders' names in braces, or a function of their values.
            The first frame's text is compared by nbval: it must not depend on training.
        dpi: pixels an inch of the figure, above 0.
        **sliders: for each argument of `draw` a `Slider`, or just its list of values.

    Raises:
        ValueError: more than 60 combinations, frames of different sizes, a slider that is none, an empty text, names
            in `alt` that are no sliders.
        TypeError: an argument of the wrong kind, or `draw` does not return a Figure.
    """

    _esm = SCRIPTS / "frames.js"
    _css = SCRIPTS / "frames.css"

    title = traitlets.Unicode().tag(sync=True)
    sliders: traitlets.List[dict] = traitlets.List().tag(sync=True)  # of {label, texts, start: position}
    frames: traitlets.List[str] = traitlets.List().tag(sync=True)  # WebP in base64, the last slider fastest
    alts: traitlets.List[str] = traitlets.List().tag(sync=True)
    width = traitlets.Int().tag(sync=True)
    height = traitlets.Int().tag(sync=True)

    def __init__(
        self,
        draw: Callable[..., Figure],
        *,
        title: str,
        alt: str | Callable[..., str],
        dpi: float = 100,
        **sliders: Slider | Sequence[float | str],
    ) -> None:
        instance("draw", draw, Callable, "a function that returns a matplotlib Figure")
        title, dpi = words("title", title), real("dpi", dpi, above=0)
        if not sliders:
            raise ValueError("sliders: expected at least one, as in Frames(draw, ..., lr=[0.01, 0.1]), got none")
        specs = {name: _checked(name, given) for name, given in sliders.items()}
        counts = [len(spec.values) for spec in specs.values()]
        if math.prod(counts) > MAX_FRAMES:
            product = " x ".join(f"{count} ({name})" for name, count in zip(specs, counts, strict=True))
            raise ValueError(f"sliders: expected at most {MAX_FRAMES} frames, got {product} = {math.prod(counts)}")

        combinations = [
            dict(zip(specs, chosen, strict=True))
            for chosen in itertools.product(*(spec.values for spec in specs.values()))
        ]
        alts = [_described(alt, values) for values in combinations]
        images = _drawn(draw, combinations, dpi)

        first = combinations.index({name: _start(spec) for name, spec in specs.items()})
        super().__init__(
            text=alts[first],
            picture=_encoded(images[first], "png", optimize=True),
            title=title,
            sliders=[
                {
                    "label": spec.label or name.replace("_", " "),
                    "texts": spec.texts(),
                    "start": list(spec.values).index(_start(spec)),
                }
                for name, spec in specs.items()
            ],
            frames=[b64encode(_encoded(image, "webp", lossless=True, quality=100)).decode() for image in images],
            alts=alts,
            width=images[0].width,
            height=images[0].height,
        )

    def __repr__(self) -> str:
        labels = ", ".join(slider["label"] for slider in self.sliders)
        return f"Frames({self.title!r}, {len(self.frames)} frames over {labels})"


def _checked(name: str, given: Any) -> Slider:
    """`given` as a Slider, or an error that names the slider."""
    spec = given if isinstance(given, Slider) else Slider(given)
    if isinstance(spec.values, str | bytes | Mapping) or not hasattr(spec.values, "__getitem__"):
        raise TypeError(f"{name}: expected a Slider or a list of numbers or texts, got {short(given)}")
    for value in (*spec.values, *([] if spec.start is None else [spec.start])):
        if isinstance(value, str):
            words(name, value)
        else:
            real(name, value)
    for text in (spec.label, spec.unit):
        instance(name, text, str, "a text as label and unit")
    texts = spec.texts()
    if len(set(texts)) < max(2, len(texts)):
        raise ValueError(f"{name}: expected at least two values that look different, got {texts}")
    if _start(spec) not in list(spec.values):
        raise ValueError(f"{name}: expected start to be one of {list(spec.values)}, got {spec.start!r}")
    return spec


def _start(spec: Slider) -> float | str:
    return spec.values[0] if spec.start is None else spec.start


def _worded(values: dict) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in values.items())


def _described(alt: str | Callable[..., str], values: dict) -> str:
    if callable(alt):
        return words(f"alt for {_worded(values)}", alt(**values))
    return filled("alt", alt, values)


def _drawn(draw: Callable[..., Figure], combinations: list[dict], dpi: float) -> list[Image.Image]:
    """One image a combination, all of one size."""
    images = []
    for values in combinations:
        try:
            image = _rendered(draw, values, dpi)
        except Exception as error:
            error.add_note(f"in the frame of {_worded(values)}")
            raise
        images.append(image)
        if image.size != images[0].size:
            raise ValueError(
                f"draw: expected frames of one size, got {image.size} pixels for {_worded(values)} "
                f"and {images[0].size} for {_worded(combinations[0])}"
            )
    return images


def _rendered(draw: Callable[..., Figure], values: dict, dpi: float) -> Image.Image:
    """The figure as an image of at most 256 colours; pyplot and rcParams are left as they were."""
    before = set(plt.get_fignums())
    file = io.BytesIO()
    # A tight box would give every frame a size of its own.
    with plt.ioff(), matplotlib.rc_context({"savefig.bbox": "standard"}):
        try:
            figure = draw(**values)
            instance("draw", figure, Figure, "a matplotlib Figure").savefig(file, format="png", dpi=dpi)
        finally:
            for number in set(plt.get_fignums()) - before:
                plt.close(number)
    image = Image.open(file).convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    # Few colours without loss are half the size of lossy WebP here, and letters stay sharp.
    return image.quantize(256, method=Image.Quantize.MAXCOVERAGE)


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
