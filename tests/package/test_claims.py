"""`claim`: true ones are shown, false ones raise, and a wrong call is told apart from a false claim."""

import json
import math
import re

import numpy as np
import pytest
import torch
from IPython.core.formatters import DisplayFormatter
from scipy import stats

from unstuck.claims import MIME, Claim, ClaimError, claim, number, plus_minus

RNG = np.random.default_rng
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
    assert claim(TEXT, measured=[torch.tensor(0.25), torch.tensor(0.75)], expected=0.5, abs=0).n == 2


# --- each of them ---


@pytest.mark.parametrize(
    ("limits", "true", "false"),
    [
        ({"expected": 2.0, "rel": 0.1}, [1.81, 2.19], [2.0, 2.21, 1.9]),  # the mean of the second is 2.04
        ({"expected": -2.0, "abs": 0.5}, [-2.5, -1.5], [-2.6, -1.5]),
        ({"at_least": 0.9}, [0.9, 5.0], [0.89, 5.0]),
        ({"at_most": 0.9}, [0.9, -5.0], [0.91, -5.0]),
        ({"at_least": -1, "at_most": 1}, [-1, 1], [-1.01, 1]),
        ({"at_least": -1, "at_most": 1}, [0.0], [0.0, 0.0, 1.01]),
    ],
)
def test_each_value_can_be_asked_for(limits, true, false):
    assert claim(TEXT, measured=true, each=True, **limits).held
    assert claim(TEXT, measured=false, **limits).held  # their mean is inside
    with pytest.raises(ClaimError, match="required is each "):
        claim(TEXT, measured=false, each=True, **limits)


@pytest.mark.parametrize("strange", [math.nan, math.inf, -math.inf])
def test_each_does_not_hold_where_one_is_not_finite(strange):
    for limits in ({"at_least": 0}, {"at_most": 0}, {"expected": 0, "abs": 1e300}):
        with pytest.raises(ClaimError):
            claim(TEXT, measured=[0.0, strange], each=True, **limits)


def test_each_shows_the_least_and_the_greatest():
    held = claim("All learn.", measured=[5, 0.25, 3], at_least=0.2, at_most=6, each=True)
    assert held.extremes == (0.25, 5.0) and held.required == "each at least 0.2 and at most 6"
    assert shown_lines(held) == ["All learn.", "we measured 0.250 to 5 (3 values)"]
    assert shown_lines(claim("All learn.", measured=[5, 5], at_least=1, each=True))[1] == "we measured 5 (2 values)"
    assert claim(TEXT, measured=3, at_least=1, each=True).measured == "3"
    assert claim(TEXT, measured=[1, 2], at_least=1).extremes is None
    with pytest.raises(ClaimError) as caught:
        claim("All learn.", measured=[5, 5, 4], at_least=4.5, each=True)
    assert str(caught.value) == (
        'The claim "All learn." does not hold: required is each at least 4.5, but we measured 4 to 5 (3 values).'
    )


def test_each_is_stored_with_its_extremes_and_nothing_is_where_it_is_not_asked_for():
    asked = claim(TEXT, measured=[1, 2, 6], at_least=1, each=True).fields()
    fields = claim(TEXT, measured=[1, 2, 6], at_least=1).fields()
    assert asked == fields | {"required": "each at least 1", "least": 1.0, "greatest": 6.0}


# --- no difference ---


@pytest.mark.parametrize(
    "values", [[0.1, -0.2, 0.15], [0.01] * 3, RNG(0).normal(0, 1, 8), RNG(1).normal(0.5, 0.1, 40)]
)
def test_within_is_student_s_interval(values):
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), max(stats.sem(values), 1e-300))
    limit = max(-low, high)
    held = claim(TEXT, measured=values, within=limit * (1 + 1e-9))
    assert held.interval == pytest.approx((low, high), rel=1e-9)
    assert held.held and held.n == len(values) and held.mean == pytest.approx(np.mean(values))
    with pytest.raises(ClaimError):
        claim(TEXT, measured=values, within=limit * (1 - 1e-9))


def test_within_needs_few_values_that_agree_or_many():
    # mean 0, and yet nobody can say so: t is 4.3 with two degrees of freedom
    noise = [0.1, -0.1, 0.0]
    with pytest.raises(ClaimError):
        claim(TEXT, measured=noise, within=0.2)
    assert claim(TEXT, measured=noise * 5, within=0.2).held
    # an interval on one side of 0 is a difference, and a small one
    assert claim(TEXT, measured=[0.010, 0.011, 0.012], within=0.02).held
    with pytest.raises(ClaimError):
        claim(TEXT, measured=[-0.03, -0.031, -0.032], within=0.02)


@pytest.mark.parametrize("values", [[math.nan, 0, 0], [math.inf, 0, 0], [math.inf, -math.inf, 0]])
def test_within_does_not_hold_for_what_is_not_finite(values):
    with pytest.raises(ClaimError, match=r"we measured (nan|inf)"):
        claim(TEXT, measured=values, within=1e9)


# --- wrong calls ---


@pytest.mark.parametrize(
    ("arguments", "error", "names"),
    [
        ({}, ValueError, "expected, at_least, at_most, within: expected one way to be tested, got none"),
        ({"rel": 0.1}, ValueError, "expected, at_least"),
        ({"expected": 1, "rel": 0.1, "at_least": 0}, ValueError, "expected, .* got expected and at_least, at_most"),
        ({"expected": 1, "rel": 0.1, "within": 1}, ValueError, "expected, .* got expected and within"),
        ({"at_most": 1, "within": 1}, ValueError, "expected, .* got at_least, at_most and within"),
        ({"expected": 1}, ValueError, "rel, abs: expected one tolerance"),
        ({"expected": 1, "rel": 0.1, "abs": 0.1}, ValueError, "rel, abs: expected one tolerance"),
        ({"at_least": 1, "rel": 0.1}, ValueError, "rel, abs: expected none"),
        ({"at_most": 1, "abs": 0.1}, ValueError, "rel, abs: expected none"),
        ({"within": 1, "abs": 0.1, "measured": [0, 0, 0]}, ValueError, "rel, abs: expected none"),
        ({"expected": 1, "rel": -0.1}, ValueError, "rel: expected a number of at least 0"),
        ({"expected": 1, "abs": -0.1}, ValueError, "abs: expected a number of at least 0"),
        ({"expected": 0, "rel": 0.1}, ValueError, "rel: expected abs instead"),
        ({"expected": math.nan, "abs": 1}, ValueError, "expected: expected a finite number"),
        ({"at_least": 2, "at_most": 1}, ValueError, "at_least, at_most: expected at_least to be the smaller"),
        ({"at_least": "many"}, TypeError, "at_least: expected a number"),
        ({"at_most": True}, TypeError, "at_most: expected a number, got True"),
        ({"within": 0, "measured": [0, 0, 0]}, ValueError, "within: expected a number above 0"),
        ({"within": 1, "measured": [0, 0]}, ValueError, "measured: expected at least 3 values .* got 2"),
        ({"at_least": 0, "theory": [1, 2]}, TypeError, "theory: expected a number"),
        ({"at_least": 0, "says": math.nan}, ValueError, "says: expected a finite number"),
        ({"at_least": 0, "source": None}, TypeError, "source: expected a text"),
        ({"at_least": 0, "shown": 1}, TypeError, "shown: expected True or False"),
        ({"at_least": 0, "each": "all"}, TypeError, "each: expected True or False"),
        ({"within": 1, "each": True, "measured": [0, 0, 0]}, ValueError, "each: expected False with within"),
        ({"at_least": 0, "measured": []}, ValueError, "measured: expected at least one number"),
        ({"at_least": 0, "measured": None}, TypeError, "measured"),
        ({"at_least": 0, "measured": "3"}, TypeError, "measured"),
        ({"at_least": 0, "measured": ["3", "4"]}, TypeError, "measured"),
        ({"at_least": 0, "measured": [1, None]}, TypeError, "measured"),
        ({"at_least": 0, "measured": True}, TypeError, "measured"),
        ({"at_least": 0, "measured": np.ones(3) > 0}, TypeError, "measured"),
        ({"at_least": 0, "measured": {1: 2}}, TypeError, "measured"),
        ({"at_least": 0, "measured": [[1], [1, 2]]}, TypeError, "measured"),
        ({"at_least": 0, "measured": torch.ones(2, requires_grad=True)}, TypeError, "measured"),
        ({"at_least": 0, "text": " "}, ValueError, "text"),
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
            "but we measured 1.50000 ± 0.70711 (mean of 2).",
        ),
        (
            {"measured": [0.1, -0.1, 0.0], "within": 0.2},
            'The claim "The loss falls." does not hold: required is a 95 % interval within ±0.2, '
            "but we measured 0.00000, 95 % interval -0.24841 to 0.24841 (mean of 3).",
        ),
    ],
)
def test_a_false_claim_reads_like_a_sentence(arguments, message):
    with pytest.raises(ClaimError) as caught:
        claim(TEXT, **arguments)
    assert str(caught.value) == message


def shown_lines(held) -> list[str]:
    """What a reader sees of it, a line an element."""
    page = held._repr_mimebundle_()["text/html"]
    return [re.sub("<[^>]+>", "", line) for line in re.findall(r"<(?:p|li|small)>.*?</(?:p|li|small)>", page)]


def test_a_negative_number_has_a_minus_on_the_page_and_a_hyphen_in_the_terminal():
    held = claim("Between 1-layer networks.", measured=[-0.5, -0.1, 0.2], within=9, theory=-3, says="-5e4 or so")
    page, text = held._repr_mimebundle_()["text/html"], repr(held)
    assert "−0.13" in page and "interval −" in page and "theory −3" in page and "they say: −5e4" in page
    assert "1-layer" in page and "−" not in text and "-0.13" in text


def test_what_is_shown_is_short():
    held = claim(TEXT, measured=[0.52, 0.54], at_least=0.5, says="about 0.25", theory=0.5333, source="notes, p. 3")
    assert shown_lines(held) == [
        "The loss falls.",
        "we measured 0.530 ± 0.014 (mean of 2)",
        "theory 0.533",
        "they say: about 0.25",
        "notes, p. 3",
    ]
    assert repr(held) == "The loss falls.\nwe measured 0.530 ± 0.014 (mean of 2)\ntheory 0.533\nthey say: about 0.25"
    assert held._repr_mimebundle_()["text/plain"] == repr(held)


def test_what_was_not_given_is_not_shown_nor_what_was_required():
    held = claim(TEXT, measured=3, at_least=0)
    assert shown_lines(held) == ["The loss falls.", "we measured 3"]
    assert held.required == "at least 0"


def test_an_interval_is_shown_with_its_mean():
    held = claim(TEXT, measured=[0.010, 0.011, 0.0125], within=0.02)
    assert shown_lines(held)[1] == "we measured 0.0112, 95 % interval 0.0080 to 0.0143 (mean of 3)"
    assert held.required == "a 95 % interval within ±0.02"


def test_zero_is_shown_as_what_theory_gives():
    assert shown_lines(claim(TEXT, measured=0.1, at_most=1, theory=0, says=0.0))[2:] == ["theory 0", "they say: 0"]


def test_the_display_escapes():
    held = claim(
        "a < b & <script>alert(1)</script>",
        measured=0.123456,
        at_most=0.5,
        says="<b>bold</b>",
        theory="x > y",
        source='"book" & <i>',
    )
    page = held._repr_mimebundle_()["text/html"]
    assert set(re.findall(r"<(\w+)", page)) == {"div", "p", "ul", "li", "small"}
    for shown in ("a &lt; b &amp; &lt;script&gt;", "&lt;b&gt;bold", "x &gt; y", "book&quot; &amp; &lt;i&gt;"):
        assert shown in page


def test_a_claim_that_is_not_shown_is_asserted_and_stored():
    arguments = {"measured": [0.5, 0.6, 0.7], "at_least": 0.5, "says": "one half", "source": "notes"}
    hidden, shown = claim(TEXT, **arguments, shown=False), claim(TEXT, **arguments)
    bundle = hidden._repr_mimebundle_()
    assert (bundle["text/html"], bundle["text/plain"]) == ("", "held")
    assert bundle[MIME] == shown._repr_mimebundle_()[MIME] | {"shown": False}
    with pytest.raises(ClaimError):
        claim(TEXT, measured=0.4, at_least=0.5, shown=False)


def test_a_notebook_displays_what_it_should():
    """IPython's own formatter, which picks what is stored."""
    for shown in (True, False):
        data, _ = DisplayFormatter().format(claim(TEXT, measured=0.5, at_least=0, shown=shown))
        assert set(data) == {"text/plain", "text/html", MIME}
        assert bool(data["text/html"]) == shown


def test_the_fields_are_json_whatever_library_the_numbers_came_from():
    held = claim(
        TEXT,
        measured=torch.tensor([0.5, 0.75]),
        expected=np.float32(0.6),
        rel=np.float64(0.1),
        says=np.float32(0.25),
        theory=torch.tensor(0.5),
        source="notes",
        shown=np.True_,
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
        "shown": True,
        "held": True,
    }
    assert list(fields) == ["text", "mean", "std", "n", "required", "says", "theory", "source", "shown", "held"]
    within = claim(TEXT, measured=np.zeros(3, dtype=np.float32), within=np.float32(0.5))
    assert list(json.loads(json.dumps(within.fields()))) == list(fields)


def test_the_asserted_bound_is_shown_as_given():
    assert claim(TEXT, measured=1.0, at_least=0.9996).required == "at least 0.9996"
    assert claim(TEXT, measured=2e6, at_least=1_234_567, at_most=0.1 + 3e6).required == (
        "at least 1234567 and at most 3000000.1"
    )


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


def test_what_is_no_number_is_not_shown_as_one():
    with pytest.raises(TypeError, match=r"^value: expected a number or a text, got None"):
        number(None)
    with pytest.raises(ValueError, match=r"^digits: expected an integer of at least 1, got 0"):
        number(0.5, 0)


def test_the_number_of_figures_can_be_chosen():
    assert [number(math.pi, digits) for digits in (1, 2, 6)] == ["3", "3.1", "3.14159"]


@pytest.mark.parametrize("required", [{"expected": 2, "abs": 1}, {"within": 9}, {"at_least": 1, "each": True}])
def test_fields_make_the_claim_again(required):
    before = claim("Two.", measured=[1.0, 2, 3], says="one", **required)
    after = Claim.from_fields(json.loads(json.dumps(before.fields())))
    assert after == before and after.measured == before.measured


@pytest.mark.parametrize(
    ("mean", "std", "shown"),
    [
        (2.302675, 4e-6, "2.30 ± 0.00"),
        (2.30, 0.0049, "2.30 ± 0.00"),
        (2.30, 0.0051, "2.30 ± 0.01"),
        (0.1943, 5.61, "0.2 ± 5.6"),
        (-0.01, 5.61, "0.0 ± 5.6"),
        (92.84, 0.82, "92.8 ± 0.8"),
        (58.02, 23.4, "58 ± 23"),
        (99.96, 0.9, "100 ± 1"),
        (-56_315, 5_649.3, "-56,315 ± 5,649"),
        (1.44e-5, 1.6e-6, "1.44e-5 ± 0.16e-5"),
        (1e-12, 3.0, "0.0 ± 3.0"),
        (5e-324, 0.0, "4.94e-324 ± 0.00e-324"),
        (52, 0.3, "52.0 ± 0.3"),
        (10, 0, "10 ± 0"),
        (1234.5, 0.1, "1,234 ± 0"),
        (math.nan, 1.0, "nan ± 1"),
    ],
)
def test_mean_and_deviation_end_at_the_same_decimal_place(mean, std, shown):
    assert plus_minus(mean, std) == shown


def test_an_interval_ends_where_its_mean_ends():
    shown = claim("No difference.", measured=[-5.2, 0.1943, 5.7], within=20).measured
    assert shown == "0, 95 % interval -13 to 14 (mean of 3)"
