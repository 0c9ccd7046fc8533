"""What the whole package says of a wrong argument, tested once; elsewhere a row shows that a check is there."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from unstuck.arguments import choice, flag, function, instance, names, real, short, whole, wholes, words

BOOLEANS = [True, False, np.True_, np.False_, np.array(True), torch.tensor(True)]
NO_NUMBERS = [
    *BOOLEANS,
    None,
    "3",
    "",
    b"3",
    3j,
    np.complex64(3),
    [3],
    (3,),
    {3},
    {3: 3},
    np.array([3]),
    np.array([1, 2]),
    np.array("3"),
    np.datetime64(3, "s"),
    torch.tensor([3]),
    torch.ones(2, 2),
    int,
    np.float64,
    object(),
]
WHOLE = [3, np.int8(3), np.int64(3), np.uint16(3), np.array(3), torch.tensor(3)]
BROKEN = [1.5, 3.0, np.float32(3), np.float64(3), math.nan, Fraction(3), np.array(3.0), torch.tensor(3.0)]


def each(names, cases):
    """A test for each case, named by its type: a value itself may have an address or 6000 digits."""
    return pytest.mark.parametrize(names, cases, ids=lambda value: type(value).__name__)


# --- integers ---


@each("value", WHOLE)
def test_an_integer_is_python_s_in_the_end(value):
    for found in (whole("n", value), whole("n", value, least=3, most=3), whole("n", value, least=None)):
        assert found == 3 and type(found) is int


@each("value", NO_NUMBERS + BROKEN)
def test_what_is_no_integer_is_a_type_error(value):
    with pytest.raises(TypeError, match=r"^n: expected an integer, got "):
        whole("n", value)
    with pytest.raises(TypeError, match=r"^n: expected an integer, got "):
        whole("n", value, least=None)


@each(
    ("value", "bounds", "message"),
    [
        (0, {}, "n: expected an integer of at least 1, got 0"),
        (-1, {"least": 0}, "n: expected an integer of at least 0, got -1"),
        (np.int64(2), {"least": 3}, "n: expected an integer of at least 3, got 2"),
        (7, {"most": 6}, "n: expected an integer of at most 6, got 7"),
        (1_000_001, {"most": 1_000_000}, "n: expected an integer of at most 1000000, got 1000001"),
        (10**6000, {"most": 6}, "n: expected an integer of at most 6, got int too long to show"),
    ],
)
def test_an_integer_out_of_bounds_is_a_value_error(value, bounds, message):
    with pytest.raises(ValueError) as caught:
        whole("n", value, **bounds)
    assert str(caught.value) == message


def test_an_integer_without_bounds():
    assert whole("n", 1) == 1
    assert whole("n", -(10**400), least=None) == -(10**400)
    assert whole("n", 10**400) == 10**400


@each("values", [[3, 2], (3, 2), range(3, 1, -1), np.array([3, 2]), torch.tensor([3, 2]), iter([3, 2])])
def test_integers_in_a_row(values):
    found = wholes("widths", values, fewest=2)
    assert found == (3, 2) and [type(size) for size in found] == [int, int]


def test_how_many_integers_in_a_row():
    assert wholes("widths", []) == ()
    with pytest.raises(ValueError, match=r"^widths: expected at least 2 integers, got \[5\]$"):
        wholes("widths", [5], fewest=2)
    assert wholes("shape", [5, 6], count=2) == (5, 6)
    for wrong in ([], [5], [5, 6, 7]):
        with pytest.raises(ValueError, match=r"^shape: expected 2 integers, got \["):
            wholes("shape", wrong, count=2)


@each("value", [3, None, "34", b"34", True, object()])
def test_what_is_no_row_of_integers_is_a_type_error(value):
    with pytest.raises(TypeError, match=r"^widths: expected a sequence of integers, got "):
        wholes("widths", value)


def test_each_integer_of_a_row_is_checked():
    with pytest.raises(TypeError, match=r"^widths: expected an integer, got 2\.5$"):
        wholes("widths", [3, 2.5])
    with pytest.raises(TypeError, match=r"^widths: expected an integer, got True$"):
        wholes("widths", [3, True])
    with pytest.raises(TypeError, match=r"^widths: expected an integer, got ndarray of shape \(2,\)$"):
        wholes("widths", np.ones((2, 2), dtype=int))
    with pytest.raises(ValueError, match=r"^widths: expected an integer of at least 1, got 0$"):
        wholes("widths", [3, 0])
    with pytest.raises(ValueError, match=r"^widths: expected an integer of at least 2, got 1$"):
        wholes("widths", [3, 1], least=2)


# --- numbers ---


@each(
    "value",
    [
        *(0.5, np.float16(0.5), np.float32(0.5), np.float64(0.5), np.longdouble(0.5), Fraction(1, 2)),
        *(np.array(0.5), torch.tensor(0.5), torch.tensor(0.5, requires_grad=True)),
    ],
)
def test_a_number_is_a_float_in_the_end(value):
    found = real("lr", value, above=0, least=0.5, most=0.5)
    assert found == 0.5 and type(found) is float


@each("value", WHOLE)
def test_an_integer_is_a_number(value):
    found = real("lr", value)
    assert found == 3.0 and type(found) is float


@each("value", NO_NUMBERS)
def test_what_is_no_number_is_a_type_error(value):
    with pytest.raises(TypeError, match=r"^lr: expected a number, got "):
        real("lr", value)


@each(
    "value",
    [
        *(math.nan, math.inf, -math.inf, np.float32("nan"), np.float64("-inf"), np.array(math.inf)),
        *(torch.tensor(math.nan), 10**400, -(10**6000)),
    ],
)
def test_a_number_is_finite(value):
    for bounds in ({}, {"least": -1e9}, {"above": 0}, {"most": 0}):
        with pytest.raises(ValueError, match=r"^lr: expected a finite number, got "):
            real("lr", value, **bounds)


@each(
    ("value", "bounds", "message"),
    [
        (-0.5, {"least": 0}, "lr: expected a number of at least 0, got -0.5"),
        (0.25, {"least": 0.5}, "lr: expected a number of at least 0.5, got 0.25"),
        (1.0000001, {"most": 1.0}, "lr: expected a number of at most 1, got 1.0000001"),
        (0, {"above": 0.0}, "lr: expected a number above 0, got 0.0"),
        (np.float32(-1), {"above": 0, "most": 1}, "lr: expected a number above 0, got -1.0"),
        (2, {"above": 0, "most": 1}, "lr: expected a number of at most 1, got 2.0"),
    ],
)
def test_a_number_out_of_bounds_is_a_value_error(value, bounds, message):
    with pytest.raises(ValueError) as caught:
        real("lr", value, **bounds)
    assert str(caught.value) == message


def test_a_bound_itself_is_within_but_for_above():
    assert real("lr", 0, least=0) == 0 and real("lr", 1, most=1) == 1
    assert real("lr", 5e-324, above=0) == 5e-324
    with pytest.raises(ValueError):
        real("lr", 5, above=5)


def test_a_number_may_be_infinite_where_it_is_said_so():
    assert real("lr", math.inf, finite=False) == math.inf and math.isnan(real("lr", np.float32("nan"), finite=False))
    for wrong in ("x", True, 1j, None):
        with pytest.raises(TypeError, match=r"^lr: expected a number, got "):
            real("lr", wrong, finite=False)
    with pytest.raises(ValueError, match=r"^lr: expected a number of at most 1, got inf$"):
        real("lr", math.inf, most=1, finite=False)


# --- booleans and texts ---


@each("value", BOOLEANS)
def test_a_flag_is_python_s_in_the_end(value):
    found = flag("shown", value)
    assert found is bool(value)


@each("value", [value for value in NO_NUMBERS + WHOLE + BROKEN if all(value is not b for b in BOOLEANS)])
def test_what_is_no_flag_is_a_type_error(value):
    with pytest.raises(TypeError, match=r"^shown: expected True or False, got "):
        flag("shown", value)


def test_words():
    assert words("title", "A title") == "A title"
    assert type(words("title", np.str_("A title"))) is str
    for blank in ("", " ", "\n\t"):
        with pytest.raises(ValueError, match=r"^title: expected a text that is not blank, got '"):
            words("title", blank)
    for wrong in (None, 3, True, b"A title", ["A title"], np.array(["A title"])):
        with pytest.raises(TypeError, match=r"^title: expected a text, got "):
            words("title", wrong)


# --- names ---

KNOWN = {"relu": 1, "tanh": 2}  # a dict, as most tables are


def test_choice():
    assert choice("activation", "relu", KNOWN) == "relu"
    assert type(choice("activation", np.str_("relu"), KNOWN)) is str
    with pytest.raises(ValueError) as caught:
        choice("activation", "step", KNOWN)
    assert str(caught.value) == "activation: 'step' is not one of ['relu', 'tanh']"
    for wrong in ("", "RELU", "relu "):
        with pytest.raises(ValueError, match=f"^activation: '{wrong}' is not one of"):
            choice("activation", wrong, KNOWN)


@each("value", [None, 3, True, b"relu", ["relu"], {"relu"}, np.array(["relu", "tanh"]), str])
def test_what_is_no_name_is_a_type_error(value):
    with pytest.raises(TypeError, match=r"^activation: expected one of \['relu', 'tanh'\], got "):
        choice("activation", value, KNOWN)


@each("values", [["b", "a"], ("b", "a"), {"b": 1, "a": 2}, np.array(["b", "a"]), iter("ba")])
def test_names_keep_their_order(values):
    assert names("layers", values, known=("a", "b", "c")) == ("b", "a")


def test_names_of_any_kind():
    assert names("layers", []) == () and names("layers", ["x", "x"]) == ("x", "x")


@each("values", ["relu", b"relu", "", None, 3, True])
def test_a_single_text_is_no_sequence_of_names(values):
    with pytest.raises(TypeError, match=r"^layers: expected a sequence of names, got "):
        names("layers", values)


def test_names_that_are_wrong():
    with pytest.raises(TypeError, match=r"^layers: expected names, got 3 among them$"):
        names("layers", ["a", 3])
    with pytest.raises(TypeError, match=r"^layers: expected names, got None among them$"):
        names("layers", [None], known=("a",))
    with pytest.raises(ValueError, match=r"^layers: \['d', 'e'\] are not among \['a', 'b'\]$"):
        names("layers", ["a", "d", "e"], known=("a", "b"))


# --- classes ---


def test_instance():
    model = torch.nn.ReLU()
    assert instance("model", model, torch.nn.Module, "a torch.nn.Module") is model
    assert instance("x", 3, (int, str), "an integer or a text") == 3
    for wrong in (None, "model", torch.nn.ReLU, np.ones(3)):
        with pytest.raises(TypeError, match=r"^model: expected a torch\.nn\.Module, got "):
            instance("model", wrong, torch.nn.Module, "a torch.nn.Module")


def two(step, model=None):
    """A function of one argument or two."""


@each("value", [two, lambda *given: None, print, np.add, torch.add, torch.nn.MSELoss()])
def test_function(value):
    assert function("f", value, "step, model") is value


def test_what_is_no_such_function():
    for wrong in (None, 3, "f", [two], torch.nn.MSELoss):
        with pytest.raises(TypeError, match=r"^f: expected a function of \(x\), got "):
            function("f", wrong, "x")
    with pytest.raises(TypeError, match=r"^f: expected a function of \(x, y, z\), got .* \(too many"):
        function("f", two, "x, y, z")
    assert function("f", torch.optim.Adam, "parameters, lr", made=True) is torch.optim.Adam
    with pytest.raises(TypeError, match=r"^f: expected a function of \(x\), got 3$"):
        function("f", 3, "x", made=True)


# --- what is shown ---


@each(
    ("value", "text"),
    [
        (None, "None"),
        (1.5, "1.5"),
        ("relu", "'relu'"),
        ([1, 2], "[1, 2]"),
        (np.array([3.0]), "array([3.])"),
        (np.array(3), "array(3)"),
        (np.ones((2, 3)), "ndarray of shape (2, 3)"),
        (np.empty((0, 3)), "ndarray of shape (0, 3)"),
        (torch.ones(4, 5), "Tensor of shape (4, 5)"),
        (torch.nn.Parameter(torch.ones(2)), "Parameter of shape (2,)"),
        ("a" * 78, repr("a" * 78)),
        ("a" * 79, "str (\"'" + "a" * 39 + '" ...)'),
        (np.ones((1, 1, 1)), "array([[[1.]]])"),
        (10**5000, "int too long to show"),
    ],
)
def test_short(value, text):
    assert short(value) == text


def test_short_has_one_line_whatever_it_shows():
    model = torch.nn.Sequential(*[torch.nn.Linear(3, 3) for _ in range(20)])
    assert repr(model).count("\n") > 1
    for value in (model, list(range(10_000)), {"a": "b" * 1000}, "\n".join("abc")):
        assert "\n" not in short(value) and len(short(value)) < 120
    assert short("a" * 20, most=10) == 'str ("\'aaaa" ...)'
