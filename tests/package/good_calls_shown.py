"""A good call of every public function, class and method of what records and shows, with the bad values of each."""

import atexit
import shutil
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from bad_values import (
    BAND,
    COLOUR,
    LEGEND,
    Argument,
    array,
    axes,
    flag,
    function,
    integer,
    mapping,
    name,
    names,
    nothing,
    number,
    optional,
    path,
    text,
)
from good_calls import call, method
from matplotlib.figure import Figure

from unstuck import claims, explore, plots
from unstuck import record as records
from unstuck.record import Record, Run, Runs

FOLDER = Path(tempfile.mkdtemp())
atexit.register(shutil.rmtree, FOLDER)


def record() -> Record:
    rows = [(step, layer, "dead", 0.5) for step in (0, 1, 2) for layer in ("act1", "act2")]
    arrays = {(step, "act1", "zero_fraction"): np.array([0.0, 0.5]) for step in (0, 1)}
    return Record([*rows, *((step, "", "loss", 1.0) for step in (0, 1, 2))], arrays)


def runs() -> Runs:
    return Runs(Run({"lr": lr, "gain": gain}, record()) for lr in (0.1, 0.2) for gain in (1.0, 2.0))


record().save(FOLDER / "good.npz")
COLUMNS = record().to_columns()
QUANTITY = name("loss")
LAYER = optional(Argument("", ("unknown", 3, None, [""], nothing)))
A_LAYER = Argument("act1", (3, None, ["act1"], nothing))  # a new name is a new layer
BAD_ROWS = (3, None, [3], ["abc"], [(0, "", "loss")], [(0.5, "", "loss", 1.0)], [(0, 3, "loss", 1.0)], [None])
BAD_ROWS += ([(0, "", "unknown", 1.0)], [(0, "", "loss", "x")], [(True, "", "loss", 1.0)], nothing)
BAD_ARRAYS = (
    {3: np.ones(2)},
    {("a", "b"): np.ones(2)},
    {(0.5, "", "loss"): np.ones(2)},
    {(0, 3, "loss"): np.ones(2)},
)

RECORD = [
    call(
        Record,
        rows=Argument(record().rows, BAD_ROWS),
        arrays=optional(mapping(record().arrays, *BAD_ARRAYS)),
        meta=optional(mapping({"a": 1}, None)),
    ),
    method(record, "extend", rows=Argument(record().rows, BAD_ROWS)),
    method(
        record,
        "add",
        step=integer(3, least=None),
        layer=A_LAYER,
        quantity=QUANTITY,
        # a loss that is NaN or infinite is what a Record is for
        value=Argument(0.5, ("x", 1j, None, [1.0, 2.0], {}, True, nothing)),
    ),
    method(
        record,
        "add_series",
        layer=A_LAYER,
        quantity=QUANTITY,
        steps=array([3, 4], [3.5, 4.5], [3], [[3, 4]], [True, False], 3),
        values=array([0.5, 0.6], [0.5], [[0.5, 0.6]], 3),
    ),
    method(record, "layers", quantity=QUANTITY),
    method(record, "get", quantity=QUANTITY, layer=LAYER),
    method(record, "last", quantity=QUANTITY, layer=LAYER, over=integer(1)),
    *[method(record, each) for each in ("quantities", "to_columns", "to_pandas")],
    method(
        lambda: Record,
        "from_columns",
        columns=mapping(COLUMNS, None, {}, {**COLUMNS, "step": [1]}, {**COLUMNS, "value": 3}),
        arrays=optional(mapping(record().arrays, *BAD_ARRAYS)),
        meta=optional(mapping({"a": 1}, None)),
    ),
    method(record, "save", path=path(FOLDER / "saved.npz")),
    method(lambda: Record, "load", path=Argument(FOLDER / "good.npz", path(0).bad)),
    call(
        Run,
        settings=mapping({"lr": 0.1}, None, [("lr", 0.1)]),
        record=Argument(record(), (None, "record", 3, COLUMNS, Record)),
        model=Argument(None, ()),  # anything
    ),
    call(Runs, runs=Argument([Run({}, record())], (3, None, "ab", [record()], [None], Run({}, record()), nothing))),
    method(runs, "where", lr=Argument(0.1, (0.3, "0.1", None, True, [0.1])), gain=Argument(1.0, (3.0, nothing))),
    method(runs, "last", quantity=QUANTITY, layer=LAYER, over=integer(1)),
    method(runs, "curves", quantity=QUANTITY, layer=LAYER),
    method(runs, "each", function=function(lambda run: 0.5)),
    call(records.of_scope, scopes=name("activation")),
]

TOLERANCE = number(0.1, least=0)
MEASURED = Argument([1.0, 1.1, 1.2], (None, "x", [], 1j, True, ["x"], [[1.0], [1.0, 2.0]], {}, nothing))
SAYS = optional(Argument("about 1", (1j, True, np.nan, [1.0], None, nothing)))

CLAIMS = [
    call(
        claims.claim,
        text=text(),
        measured=MEASURED,
        at_least=optional(number(0.0)),
        at_most=optional(number(2.0)),
        says=SAYS,
        theory=SAYS,
        source=text(blank=True),
        shown=flag(True),
        each=flag(False),
    ),
    call(claims.claim, text=text(), measured=MEASURED, expected=number(1.1), rel=TOLERANCE),
    call(claims.claim, text=text(), measured=MEASURED, expected=number(1.1), abs=TOLERANCE),
    call(claims.claim, text=text(), measured=Argument([0.0, 0.1, -0.1], (3.0, [1.0])), within=number(1.0, above=0)),
    call(claims.measurements, measured=MEASURED),
    call(claims.minus, text=text("-1", blank=True)),
    call(
        claims.plus_minus,
        mean=Argument(0.5, (None, 1j, [0.5], nothing, b"0.5")),
        std=Argument(0.1, (None, 1j, [0.5], nothing, b"0.5")),
        digits=integer(3),
    ),
    call(claims.number, value=Argument(0.5, (None, 1j, [0.5], nothing, b"0.5")), digits=integer(3)),
]


def draw(lr=0.1):
    return Figure(figsize=(1, 1))


def failing(lr=0.1):
    return None


BAD_SLIDERS = (3, None, "ab", [], [1], [1, 1], [None, 1], [True, False], [np.nan, 1], {"a": 1}, nothing)
BAD_SLIDERS += tuple(explore.Slider(given) for given in BAD_SLIDERS[:6])
BAD_SLIDERS += tuple(explore.Slider([1, 2], **{part: 3}) for part in ("label", "unit", "start"))

BAD_CHOICES = (3, None, "ab", [], ["a"], ["a", "a"], [1, 2], [None, "a"], ["a", ""], nothing)

EXPLORE = [
    call(
        explore.Explorable,
        text=text("what stands in for it"),
        picture=Argument(b"a picture", ("a picture", None, 3, [b"a"], nothing)),
        identity=text("an identity", blank=True),
    ),
    call(
        explore.Explorable,
        text=text("what stands in for it"),
        page=Argument("<p>It.</p>", (b"<p>", None, 3, ["<p>"], nothing, "", " ")),
    ),
    call(
        explore.Frames,
        draw=function(draw, failing, draw()),
        title=text("a title"),
        alt=Argument("at {lr}", (3, None, "", " ", ["a"], "at {rate}", "at {lr", lambda lr: "", lambda lr: None)),
        dpi=number(20, above=0),
        lr=Argument([0.1, 0.2], BAD_SLIDERS),
    ),
    call(
        explore.Predict,
        question=text(),
        choices=Argument({"a": "so", "b": ""}, (*BAD_CHOICES, *({"a": bad, "b": ""} for bad in (3, None)))),
        answer=Argument("a", ("c", "", 3, True, ["a"], nothing)),
        why=text(),
    ),
    call(explore.Valley, mean=number(1.0, least=-4), scale=number(1.0, least=0.2), title=text("a title")),
    call(explore.Predict, question=text(), choices=Argument(["a", "b"], (*BAD_CHOICES, {"a": "so", "b": ""}))),
    call(
        explore.Predict,
        question=text(),
        number=Argument((0.1, 10), (3, "ab", None, (1,), (1, 2, 3), (2, 1), (1, 1), (0, 1), (1, np.nan), nothing)),
        unit=text("nats", blank=True),
        log=flag(True),
        answer=optional(number(2.0, above=0)),
        why=text(),
    ),
    method(
        lambda: explore.Predict("How much?", number=(0.1, 10), log=True),
        "close",
        measured=Argument([1.0, 2.0], (*MEASURED.bad, 0, -1.0)),
        text=text("It is {measured}."),
    ),
    method(
        lambda: explore.Predict("Which?", choices=["a", "b"]),
        "close",
        measured=Argument("a", ("c", "", 3, None, True, ["a"], nothing)),
        text=Argument("It is {measured}.", ("{other}", "{measured", "{}", 3, None, "", " ")),
    ),
]

AX = axes()
OWN_AX = Argument(Figure().subplots(), (None, "ax", 3, plt, Record(), [Figure().subplots()], Figure()))
OWN_AX.good.plot([0, 1], label="a curve")
BAD_NUMBERS = ("x", 3j, [], [None, {}], ["x"], [[1.0], [1.0, 2.0]], nothing)
ARRAYS = {"act1": np.ones((2, 3)), "act2": np.ones((2, 3))}
BAD_IMAGES = ({}, None, 3, {3: np.eye(3)}, {"act1": np.ones(3)}, {"act1": np.ones((2, 3, 3))}, {"act1": "x"})
BAD_ARRAYS_BY_NAME = (*({"act1": bad} for bad in BAD_NUMBERS), {}, {3: np.ones(3)}, None, *BAD_NUMBERS)
STEPS = optional(Argument(None, (3, "x", [0, 1], [[0, 1, 2]], ["a", "b", "c"], [None, 1, 2], nothing)))
SOME = np.array([1.0, 2.0, 3.0])
ONE_DIMENSIONAL = Argument(SOME, (None, *BAD_NUMBERS, np.ones((3, 1)), np.ones(2), 3))

PLOTS = [
    call(
        plots.activation,
        name=text("relu"),
        z=ONE_DIMENSIONAL,
        f=ONE_DIMENSIONAL,
        df=ONE_DIMENSIONAL,
        ax=AX,
        legend=LEGEND,
    ),
    call(
        plots.dots,
        values=Argument({"he": SOME, "xavier": SOME}, BAD_ARRAYS_BY_NAME),
        quantity=QUANTITY,
        groups=Argument([["he", "xavier"]], (3, None, ["he"], [["unknown"]], [3], "he", nothing)),
        colour=COLOUR,
        ax=AX,
        legend=LEGEND,
    ),
    call(
        plots.by_step,
        values=Argument(ARRAYS, BAD_ARRAYS_BY_NAME),
        quantity=QUANTITY,
        layers=optional(names(["act1"], [])),
        steps=STEPS,
        band=BAND,
        ax=AX,
        legend=LEGEND,
    ),
    call(plots.by_step, values=Argument(record(), (Record(), [record(), None], runs())), quantity=name("dead")),
    call(
        plots.spread,
        runs=Argument(np.ones((2, 3)), (None, np.ones(3), {}, {"a": "x"}, {3: np.ones((2, 3))}, *BAD_NUMBERS)),
        x=STEPS,
        quantity=optional(QUANTITY),
        band=BAND,
        label=text("", blank=True),
        colour=COLOUR,
        ax=AX,
        legend=LEGEND,
    ),
    call(plots.spread, runs=Argument(record(), (Record(), [record(), None], runs())), quantity=QUANTITY, layer=LAYER),
    call(
        plots.layer_curve,
        values=Argument([1.0, 2.0], (None, {}, {"act1": "x"}, np.ones((2, 2, 2)), *BAD_NUMBERS)),
        quantity=QUANTITY,
        band=BAND,
        colour=COLOUR,
        ax=AX,
        legend=LEGEND,
    ),
    call(
        plots.layer_curve,
        values=Argument(record(), (Record(), [record(), None], runs())),
        quantity=name("dead"),
        step=optional(Argument(1, (9, -1, 1.5, "1", [1], None, nothing, True))),
    ),
    call(
        plots.histograms,
        values=Argument({"he": ARRAYS}, (*BAD_ARRAYS_BY_NAME, *({"he": bad} for bad in BAD_ARRAYS_BY_NAME))),
        bins=integer(5),
        share=name("row"),
        xlabel=text("activation", blank=True),
        axes=Argument(None, (3, "axes", [3, 4], OWN_AX.good, np.array([OWN_AX.good] * 3), nothing)),
    ),
    call(
        plots.images,
        values=Argument(
            {"he": {"act1": np.eye(3), "act2": np.eye(3)}}, (*BAD_IMAGES, *({"he": bad} for bad in BAD_IMAGES))
        ),
        share=name("row"),
        signed=flag(False),
        ranges=flag(False),
        axes=Argument(None, (3, "axes", [3, 4], OWN_AX.good, np.array([OWN_AX.good] * 3), nothing)),
    ),
    call(
        plots.unit_heatmap,
        values=Argument(np.ones((3, 4)), (None, SOME, *BAD_NUMBERS)),
        quantity=name("zero_fraction"),
        steps=Argument(None, (*STEPS.bad, [2, 1, 0], [0, 0, 1])),
        ax=AX,
    ),
    call(
        plots.unit_heatmap,
        values=Argument(record(), (Record(), [record(), record()], [record(), None])),
        layer=A_LAYER,
        quantity=name("zero_fraction"),
    ),
    call(
        plots.grid_map,
        values=Argument(np.ones((2, 3)), (None, SOME, np.ones((3, 2)), *BAD_NUMBERS)),
        x=Argument([0.1, 0.2], (None, 3, "lr", [0.2, 0.1], [0.1], nothing)),
        y=Argument(["a", "b", "c"], (None, 3, "lr", [0.1], nothing)),
        quantity=optional(QUANTITY),
        xscale=name("log"),
        yscale=Argument("linear", ("log", *name("linear").bad)),
        limits=Argument(None, (3, "ab", [1], [2, 1], [0, np.nan], [0, "1"], nothing)),
        colourbar=flag(True),
        ax=AX,
    ),
    call(
        plots.grid_map,
        values=Argument(runs(), (Runs(), runs()[:3], [*runs(), None])),
        x=name("lr"),
        y=name("gain"),
        quantity=QUANTITY,
        layer=LAYER,
    ),
    call(plots.label_curves, ax=Argument(OWN_AX.good, (*OWN_AX.bad, Figure().subplots()))),
    call(
        plots.panels,
        titles=names(["he", "relu"], known=False),
        columns=integer(2),
        height=number(2.4, above=0),
        # "row", "col", "all" and "none" are matplotlib's own, and mean something here too
        sharex=Argument(True, (None, 3, "yes", [True])),
        sharey=Argument(True, (None, 3, "yes", [True])),
    ),
    call(
        plots.reference,
        ax=OWN_AX,
        text=text(blank=True),
        x=number(0.5),
        colour=Argument("red", ("no colour", 3, None, ["red"], nothing)),
    ),
    call(plots.reference, ax=OWN_AX, y=number(0.5)),
    call(plots.axis_label, quantity=QUANTITY),
    call(plots.healthy_band, ax=OWN_AX, quantity=QUANTITY),
    call(plots.label_of, name=text("relu", blank=True)),
    call(plots.layer_colour, i=integer(1)),
    call(plots.style_of, name=text("relu", blank=True), position=integer(0, least=0)),
    call(
        plots.table,
        rows=Argument(
            [{"fix": "he", "loss": 0.5}],
            (
                3,
                None,
                "ab",
                [],
                [3],
                [{}],
                [{"fix": None}],
                [{"fix": "he", "loss": 1j}],
                [{"fix": 3}, {"a": 1}],
                nothing,
            ),
        ),
        best=optional(mapping({"loss": "min"}, {"unknown": "max"}, {"loss": "most"}, {"loss": None}, None)),
        caption=text("a caption", blank=True),
    ),
]

CALLS = [*RECORD, *CLAIMS, *EXPLORE, *PLOTS]
