"""`claim`: true ones are shown, false ones raise, and a wrong call is told apart from a false claim."""

import json
import math
import re

import numpy as np
import pytest
import torch

from unstuck.claims import MIME, ClaimError, claim, number

TEXT = "The loss falls."


# --- what holds and what does not ---


@pytest.mark.parametrize(
    ("limits", "true", "false"),
    [
        ({"expected": 2.0, "rel": 0.1}, [2.0, 1.81, 2.19], [1.79, 2.21, -2.0]),
        ({"expected": -2.0, "rel": 0.1}, [-2.0, -1.81, -2.19], [-1.79, -2.21, 2.0]),
        ({"expected": 0.0, "abs": 0.5}, [0.0, 0.5, -0.5], [0.51, -0.51]),
        ({"expected": 5, "abs": 0}, [5, 5.0], [5.0001, 4]),
        ({"at_least": 0.9}, [0.9, 1e9], [0.8999, -1.0]),
        ({"at_most": 0.9}, [0.9, -1e9], [0.9001]),
        ({"at_least": -1, "at_most": 1}, [-1, 0, 1], [-1.01, 1.01]),
        ({"at_least": 0}, [0, 1], [-1e-9]),  # a limit of 0 is a limit
        ({"at_most": 0}, [0, -1], [1e-9]),
    ],
)
def test_limits(limits, true, false):
    for value in true:
        assert claim(TEXT, measured=value, **limits).mean == value
    for value in false:
        with pytest.raises(ClaimError):
            claim(TEXT, measured=value, **limits)


@pytest.mark.parametrize("limits", [{"expected": 1, "abs": 1e9}, {"at_least": -1e9}, {"at_most": 1e9}])
@pytest.mark.parametrize(
    "measured", [math.nan, [1.0, math.nan], math.inf, -math.inf, [1.0, math.inf], [math.inf] * 2]
)
def test_what_is_not_finite_never_holds(measured, limits):
    with pytest.raises(ClaimError, match=r"we measured (nan|-?inf)"):
        claim(TEXT, measured=measured, **limits)


def test_the_mean_over_seeds_is_tested_not_each_seed():
    seeds = [0.8, 0.9, 1.0, 0.7]
    held = claim(TEXT, measured=seeds, at_least=0.84)  # two of four are below
    assert held.mean == pytest.approx(0.85) and held.n == 4
    assert held.std == pytest.approx(math.sqrt((0.05**2 + 0.05**2 + 0.15**2 + 0.15**2) / 3))
    with pytest.raises(ClaimError):
        claim(TEXT, measured=seeds, at_least=0.86)


def test_a_claim_error_is_an_assertion_error_and_a_wrong_call_is_not():
    assert issubclass(ClaimError, AssertionError)
    assert not issubclass(ClaimError, ValueError | TypeError)


def test_what_they_say_and_what_theory_gives_is_never_asserted():
    held = claim(TEXT, measured=1.0, at_least=0, says=50.0, theory=-3.0, source="a book")
    assert held.mean == 1.0


def test_numbers_of_numpy_and_torch_are_taken():
    for measured in (
        np.float32(0.5),
        np.array([[0.4], [0.6]]),
        torch.tensor(0.5),
        torch.tensor([0.25, 0.75]),
        (0.5,),
    ):
        assert claim(TEXT, measured=measured, expected=np.float32(0.5), abs=torch.tensor(0.01)).mean == 0.5
    assert claim(TEXT, measured=True, at_least=1).mean == 1.0


# --- wrong calls ---


@pytest.mark.parametrize(
    ("arguments", "error", "names"),
    [
        ({}, ValueError, "expected"),
        ({"expected": 1}, ValueError, "rel, abs"),
        ({"expected": 1, "rel": 0.1, "abs": 0.1}, ValueError, "rel, abs"),
        ({"rel": 0.1}, ValueError, "expected"),
        ({"at_least": 1, "rel": 0.1}, ValueError, "rel, abs"),
        ({"at_most": 1, "abs": 0.1}, ValueError, "rel, abs"),
        ({"expected": 1, "rel": 0.1, "at_least": 0}, ValueError, "expected"),
        ({"expected": 1, "rel": -0.1}, ValueError, "rel"),
        ({"expected": 1, "abs": -0.1}, ValueError, "abs"),
        ({"expected": 0, "rel": 0.1}, ValueError, "rel: .*abs"),
        ({"at_least": 2, "at_most": 1}, ValueError, "at_least, at_most"),
        ({"at_least": math.nan}, ValueError, "at_least"),
        ({"at_most": math.inf}, ValueError, "at_most"),
        ({"expected": math.nan, "abs": 1}, ValueError, "expected"),
        ({"at_least": "many"}, TypeError, "at_least"),
        ({"at_least": [1, 2]}, TypeError, "at_least"),
        ({"at_least": 0, "theory": [1, 2]}, TypeError, "theory"),
        ({"at_least": 0, "theory": math.inf}, ValueError, "theory"),
        ({"at_least": 0, "says": math.nan}, ValueError, "says"),
        ({"at_least": 0, "measured": []}, ValueError, "measured"),
        ({"at_least": 0, "measured": "many"}, TypeError, "measured"),
        ({"at_least": 0, "measured": {1: 2}}, TypeError, "measured"),
        ({"at_least": 0, "measured": [[1], [1, 2]]}, TypeError, "measured"),
        ({"at_least": 0, "measured": torch.ones(2, requires_grad=True)}, TypeError, "measured"),
        ({"at_least": 0, "text": " "}, TypeError, "text"),
        ({"at_least": 0, "text": 3}, TypeError, "text"),
    ],
)
def test_wrong_calls_name_the_argument(arguments, error, names):
    arguments = {"text": TEXT, "measured": 1.0} | arguments
    with pytest.raises(error, match=f"^{names}"):
        claim(arguments.pop("text"), **arguments)


def test_a_claim_without_a_measurement_is_no_call():
    with pytest.raises(TypeError, match="measured"):
        claim(TEXT, at_least=0)


# --- what is read ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"measured": 0.8996, "at_least": 0.9},
            'The claim "The loss falls." does not hold: required is at least 0.9, but we measured 0.899600.',
        ),
        (
            {"measured": 3.5, "at_least": 1, "at_most": 2},
            'The claim "The loss falls." does not hold: required is at least 1 and at most 2, '
            "but we measured 3.50000.",
        ),
        (
            {"measured": [1.0, 2.0], "expected": 4, "rel": 0.1},
            'The claim "The loss falls." does not hold: required is 4 ± 0.40, '
            "but we measured 1.50000 ± 0.71 (n = 2).",
        ),
    ],
)
def test_a_false_claim_reads_like_a_sentence(arguments, message):
    with pytest.raises(ClaimError) as caught:
        claim(TEXT, **arguments)
    assert str(caught.value) == message


def test_repr_holds_the_numbers():
    text = repr(claim(TEXT, measured=[0.52, 0.54], at_least=0.5, says="about 0.25", theory=0.5333, source="notes"))
    assert text == "The loss falls. We measured: 0.530 ± 0.014 (n = 2). Theory gives: 0.533. They say: about 0.25."
    assert repr(claim(TEXT, measured=3, at_least=0)) == "The loss falls. We measured: 3."


def test_zero_is_shown_as_what_theory_gives():
    shown = repr(claim(TEXT, measured=0.1, at_most=1, theory=0, says=0.0))
    assert "Theory gives: 0." in shown and "They say: 0." in shown


def test_the_display_escapes_and_shows_every_field():
    held = claim(
        "a < b & <script>alert(1)</script>",
        measured=0.123456,
        at_most=0.5,
        says="<b>bold</b>",
        theory="x > y",
        source='"book" & <i>',
    )
    bundle = held._repr_mimebundle_()
    page = bundle["text/html"]
    assert bundle["text/plain"] == repr(held)
    assert set(re.findall(r"<(\w+)", page)) == {"div", "p", "dl", "dt", "dd"}
    for shown in ("a &lt; b &amp; &lt;script&gt;", "&lt;b&gt;bold", "x &gt; y", "book&quot; &amp; &lt;i&gt;"):
        assert shown in page
    terms = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page))
    assert list(terms) == ["they say", "theory gives", "we measured", "required", "source"]
    assert terms["we measured"] == "0.123" and terms["required"] == "at most 0.5"


def test_the_display_leaves_out_what_was_not_given():
    page = claim(TEXT, measured=1.0, at_least=0)._repr_mimebundle_()["text/html"]
    assert re.findall(r"<dt>(.*?)</dt>", page) == ["we measured", "required"]


def test_the_fields_are_json_whatever_library_the_numbers_came_from():
    held = claim(
        TEXT,
        measured=torch.tensor([0.5, 0.75]),
        expected=np.float32(0.6),
        rel=np.float64(0.1),
        says=np.float32(0.25),
        theory=torch.tensor(0.5),
        source="notes",
    )
    fields = held._repr_mimebundle_()[MIME]
    assert json.loads(json.dumps(fields, allow_nan=False)) == {
        "text": TEXT,
        "mean": 0.625,
        "std": pytest.approx(0.1767767),
        "n": 2,
        "required": "0.600 ± 0.060",
        "says": 0.25,
        "theory": 0.5,
        "source": "notes",
    }


def test_the_asserted_bound_is_shown_as_given():
    assert claim(TEXT, measured=1.0, at_least=0.9996).required == "at least 0.9996"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (-0.0, "0"),
        (5, "5"),
        (np.int64(60_000), "60,000"),
        (5.0, "5"),
        (-12.5, "-12.5"),
        (0.9994, "0.999"),
        (0.9995, "1.00"),
        (9.996, "10.0"),
        (99.96, "100"),
        (-0.05234, "-0.0523"),
        (0.001, "0.00100"),
        (0.00099961, "0.00100"),
        (0.0009994, "9.99e-4"),
        (1e-12, "1.00e-12"),
        (-1.239e-12, "-1.24e-12"),
        (123456, "123,456"),
        (123456.7, "123,457"),
        (999_999.7, "1.00e6"),
        (1_234_567, "1.23e6"),
        (np.float32(0.1), "0.100"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        ("about a quarter", "about a quarter"),
    ],
)
def test_numbers_are_shown_at_three_figures(value, shown):
    assert number(value) == shown


def test_a_shown_number_is_within_half_a_unit_of_its_last_figure():
    for value in np.random.default_rng(0).lognormal(0, 8, 500) * np.resize([1, -1], 500):
        shown = float(number(float(value)).replace(",", ""))
        assert abs(shown - value) <= max(0.5 * 10 ** (math.floor(math.log10(abs(value))) - 2), 0) * 1.0001


def test_the_number_of_figures_can_be_chosen():
    assert [number(math.pi, digits) for digits in (1, 2, 6)] == ["3", "3.1", "3.14159"]
