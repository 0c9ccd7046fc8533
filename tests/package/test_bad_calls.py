"""Bad calls of the whole package: one argument at a time is wrong, and the error has to name it.

`good_calls`, `good_calls_checks`, `good_calls_numpy` and `good_calls_shown` have one good call of everything
public, and the bad values of each argument.
"""

import copy
import importlib
import inspect
import re
import signal
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import ModuleType
from typing import Any

import good_calls
import good_calls_checks
import good_calls_numpy
import good_calls_shown
import matplotlib.pyplot as plt
import pytest
from bad_values import Argument
from torch import nn

CALLS = [*good_calls.CALLS, *good_calls_checks.CALLS, *good_calls_numpy.CALLS, *good_calls_shown.CALLS]
ROOMS = ("data", "scratch", "models", "init", "evaluate", "probes", "train", "ensemble", "theory", "claims", "plots")
ROOMS += ("explore", "record", "sharpness", "features", "checks")
PATIENCE = 10.0  # seconds of work, whatever else the machine does, after which a call is said to hang
KINDS = ("named", "unnamed", "obscure", "accepted", "hangs")
NO_CALLS = {
    "Activation", "Layer", "Loss",  # for a subclass to fill in
    "ClaimError", "Claim", "GradientReport", "NormDrift", "Table", "Quantity",  # come out, and do not go in
    "Finding", "FirstLoss", "NonFinite", "Overfit", "RateRange", "Report",
    "Slider",  # `Frames` checks it, which knows its name
}  # fmt: skip


class Hangs(BaseException):
    """So that no `except Exception` takes it."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    def late(number, frame):
        raise Hangs

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def run(call: good_calls.Call, **replaced: Any) -> None:
    """The call with some of its arguments replaced; what it returns is entered, if it is a context."""
    given = {name: argument.good for name, argument in call.arguments.items()} | replaced
    given = {name: copy.deepcopy(value) if isinstance(value, nn.Module) else value for name, value in given.items()}
    function = call.make()
    several = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.VAR_POSITIONAL]
    positional = [given.pop(name) for name in several]
    result = function(*positional, **given)
    with result if hasattr(result, "__enter__") else nullcontext():
        pass


def outcome(call: good_calls.Call, name: str, value: Any) -> tuple[str, str]:
    """The kind of what a bad call ends in, and the error's text.

    An error names the argument where the argument stands before the first colon: "x, y: expected ...".
    """
    try:
        with limited(PATIENCE), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run(call, **{name: value})
    except (TypeError, ValueError) as error:
        head = str(error).split(":")[0]
        return "named" if re.search(rf"\b{name}\b", head) else "unnamed", f"{type(error).__name__}: {error}"
    except Hangs:
        return "hangs", ""
    except Exception as error:
        return "obscure", f"{type(error).__name__}: {error}"
    finally:
        plt.close("all")
    return "accepted", ""


def shown(value: Any) -> str:
    return re.sub(r"\s+", " ", f"{type(value).__name__} {value!r}")[:70]


def public() -> Iterator[tuple[ModuleType, str, Any]]:
    """The functions and classes that a room offers and that are its own."""
    for room in ROOMS:
        module = importlib.import_module(f"unstuck.{room}")
        for name, value in vars(module).items():
            own = getattr(value, "__module__", "").startswith(f"unstuck.{room}")
            if own and not name.startswith("_") and (inspect.isfunction(value) or inspect.isclass(value)):
                yield module, name, value


def test_what_a_room_exports_is_there():
    for room in ROOMS:
        module = importlib.import_module(f"unstuck.{room}")
        assert set(getattr(module, "__all__", ())) <= set(vars(module)), room


def test_the_table_has_everything_public_with_every_argument():
    covered: dict[str, set[str]] = {}
    for call in CALLS:
        covered.setdefault(call.label, set()).update(call.arguments)
    for _, name, value in public():
        if name in NO_CALLS or (inspect.isclass(value) and not inspect.signature(value).parameters):
            continue
        arguments = inspect.signature(value).parameters.values()
        due = {each.name for each in arguments if each.kind is not each.VAR_KEYWORD}
        assert due <= covered[name], name
    for call in CALLS:
        arguments = inspect.signature(call.make()).parameters.values()
        due = {each.name for each in arguments if each.kind is not each.VAR_KEYWORD}
        assert due <= covered[call.label], call.label


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.label)
def test_the_good_call_is_good(call):
    with limited(PATIENCE), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run(call)
    plt.close("all")


def test_an_outcome_is_what_it_is_said_to_be():
    def called(argument):
        raise argument

    call = good_calls.call(called, argument=Argument(None, ()))
    for error, kind in [
        (ValueError("argument: expected 3"), "named"),
        (TypeError("x, argument: expected 3"), "named"),
        (ValueError("expected 3: the argument is wrong"), "unnamed"),
        (TypeError("arguments: expected 3"), "unnamed"),
        (AttributeError("argument: expected 3"), "obscure"),
    ]:
        assert outcome(call, "argument", error)[0] == kind
    assert (
        outcome(good_calls.call(lambda argument: None, argument=Argument(None, ())), "argument", 3)[0] == "accepted"
    )


def test_what_does_not_end_hangs():
    with pytest.raises(Hangs), limited(0.01):
        while True:
            pass


def test_a_seed_is_0_where_none_is_given():
    arguments = [inspect.signature(call.make()).parameters for call in CALLS]
    defaults = [each["seed"].default for each in arguments if "seed" in each]
    assert {default for default in defaults if default is not inspect.Parameter.empty} == {0}


def test_every_bad_call_names_the_argument():
    """With `pytest -s` it shows the counts of each room, and every call that does not name its argument."""
    found: list[tuple[str, ...]] = []
    for call in CALLS:
        for name, argument in call.arguments.items():
            found += [
                (call.room, call.label, name, shown(value), *outcome(call, name, value)) for value in argument.bad
            ]
    counts = Counter(kind for *_, kind, _ in found)
    print(f"\n{'':10}", *(f"{kind:>9}" for kind in KINDS))
    for room in (*ROOMS, "all"):
        here = Counter(kind for at, *_, kind, _ in found if room in (at, "all"))
        print(f"{room:10}", *(f"{here[kind]:9}" for kind in KINDS))
    for _, label, name, value, kind, text in found:
        if kind != "named":
            print(f"  {kind:9} {label}({name}={value}) {text[:150]!r}")
    assert len(found) >= 1000
    assert counts["hangs"] == 0
    assert Counter(room for room, *_, kind, _ in found if kind != "named") == {}
