"""`check("part")`: does your function give the right values on an example, and if not, what went wrong?

This file lies beside your notebook and reads `examples.json`: inputs, the right values, and the values to which
common mistakes lead. Your work is graded by the same comparison on other inputs, in another process.
"""

import base64
import contextlib
import copy
import json
import math
import sys
from pathlib import Path

import numpy as np

KINDS = "biuf"  # booleans, whole numbers, floats: what an array may hold on its way between processes


def plain(value):
    """A value as JSON can hold it; arrays and tensors become {"dtype", "shape", "array"}, the unknown {"other"}."""
    if value is None or isinstance(value, bool | int | float | str):
        return {"number": repr(float(value))} if isinstance(value, float) and not math.isfinite(value) else value
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, dict):
        return {"dict": {str(name): plain(part) for name, part in value.items()}}
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in KINDS:
        data = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return {"dtype": value.dtype.str, "shape": list(value.shape), "array": data}
    return {"other": type(value).__name__}


def restored(value):
    """The inverse of `plain`; raises ValueError, TypeError or KeyError for what `plain` does not make."""
    if isinstance(value, list):
        return [restored(part) for part in value]
    if not isinstance(value, dict):
        return value
    if "number" in value:
        return float(value["number"])
    if "dict" in value:
        return {name: restored(part) for name, part in value["dict"].items()}
    if "other" in value:
        return Other(str(value["other"])[:40])
    dtype = np.dtype(str(value["dtype"]))
    if dtype.kind not in KINDS:
        raise ValueError(f"an array of {dtype}")
    return np.frombuffer(base64.b64decode(value["array"]), dtype).reshape(value["shape"]).copy()


class Other:
    """Stands for a value of a type that nobody asked for."""

    def __init__(self, name):
        self.name = name


def run(case, names):
    """The values that a call gives with these names: {name: value}."""
    space = {**names, **copy.deepcopy(case["inputs"])}
    exec(compile(case["call"], "<the call>", "exec"), space)
    return {name: space[name] for name in case["returns"]}


def difference(value, expected, rtol=1e-5, atol=1e-8):
    """What distinguishes a value from the expected one, as a sentence, or "" where they agree."""
    if isinstance(expected, dict):
        if not isinstance(value, dict) or set(value) != set(expected):
            return f"expected a dict with the keys {sorted(expected)}, got {kind(value)}"
        said = ((name, difference(value[name], expected[name], rtol, atol)) for name in expected)
        return next((f"{name}: {text}" for name, text in said if text), "")
    if isinstance(expected, list):
        if not isinstance(value, list) or len(value) != len(expected):
            return f"expected {len(expected)} values, got {kind(value)}"
        said = (difference(*pair, rtol, atol) for pair in zip(value, expected, strict=True))
        return next((text for text in said if text), "")
    if isinstance(expected, str | bool) or expected is None:
        right = isinstance(value, str | bool | np.ndarray) and np.array_equal(value, expected)
        return "" if right or value is expected else f"{kind(value)} is not the answer"
    return numbers_differ(value, np.asarray(expected, dtype=float), rtol, atol)


def kind(value):
    """What a value is, in words."""
    if value is None:
        return "None (is there a `return`?)"
    if isinstance(value, Other):
        return f"an object of the type {value.name}"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    if isinstance(value, dict):
        return f"a dict with the keys {sorted(value)[:8]}"
    if isinstance(value, list):
        return f"{len(value)} values"
    return f"{type(value).__name__} {str(value)[:40]}"


def numbers_differ(value, expected, rtol, atol):
    """`difference` for numbers and arrays of them."""
    if isinstance(value, list):
        with contextlib.suppress(ValueError, TypeError):
            value = np.array(value, dtype=float)
    if not isinstance(value, np.ndarray | float | int) or isinstance(value, bool):
        return f"expected {kind(expected) if expected.ndim else 'a number'}, got {kind(value)}"
    value = np.asarray(value, dtype=float)
    if value.shape != expected.shape:
        swapped = value.ndim == 2 and value.shape == expected.shape[::-1]
        hint = ": it is transposed" if swapped else ""
        return f"expected the shape {expected.shape}, got {value.shape}{hint}"
    if not np.isfinite(value[np.isfinite(expected)]).all():
        return "some of the numbers are NaN or infinite"
    wrong = ~np.isclose(value, expected, rtol=rtol, atol=atol * max(1.0, scale(expected)), equal_nan=True)
    if not wrong.any():
        return ""
    return factor(value, expected) or f"{wrong.sum()} of {wrong.size} numbers are wrong"


def scale(array):
    finite = np.abs(array[np.isfinite(array)])
    return float(finite.max()) if finite.size else 0.0


def factor(value, expected):
    """The sentence for a result that is right but for one factor, or ""."""
    square = float(np.vdot(expected, expected))
    if expected.size < 2 or not np.isfinite(square) or square == 0:
        return ""
    ratio = float(np.vdot(expected, value)) / square
    if ratio == 0 or not np.allclose(value, ratio * expected, rtol=1e-4, atol=1e-6 * scale(expected) * abs(ratio)):
        return ""
    return "the sign is wrong" if abs(ratio + 1) < 1e-6 else f"all numbers are {ratio:.4g} times what they should be"


def verdict(values, cases, rtol=1e-5, atol=1e-8):
    """Why the values of a function, one dict a case, are wrong, or "": by name where a known mistake gives them all.

    A case holds `expected`, {name: value}, and `wrong`: a list of {"message", "values"}.
    """
    said = [difference(value, case["expected"], rtol, atol) for value, case in zip(values, cases, strict=True)]
    found = next((text for text in said if text), "")
    if not found:
        return ""
    for number, mistake in enumerate(cases[0]["wrong"]):
        known = [case["wrong"][number]["values"] for case in cases]
        if all(not difference(*pair, rtol, atol) for pair in zip(values, known, strict=True)):
            return mistake["message"]
    return found


def check(part):
    """Compare your function with the examples of a part; an AssertionError says what is wrong."""
    names = sys._getframe(1).f_globals
    known = json.loads((Path(__file__).parent / "examples.json").read_text(encoding="utf-8"))[part]
    cases = [
        {name: value if name in ("call", "returns", "wrong") else restored(value) for name, value in case.items()}
        for case in known["cases"]
    ]
    for case in cases:
        case["wrong"] = [{**mistake, "values": restored(mistake["values"])} for mistake in case["wrong"]]
    found = [restored(plain(run(case, names))) for case in cases]
    said = verdict(found, cases, known["rtol"], known["atol"])
    assert not said, f"{part}: {said}."
    print(f"{part}: right on the examples.")
