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
SCRATCH = ("activations", "check", "convolution", "layer", "linear", "losses", "network", "norm")
# the standard library is free to all; a new module needs a row
MAY_IMPORT = {
    "unstuck": set(),
    "unstuck.activations": set(),
    "unstuck.arguments": set(),
    "unstuck.claims": {"numpy"},
    "unstuck.data": {"numpy", "torch", "unstuck.arguments"},
    "unstuck.ensemble": {"unstuck.ensemble.stacked", "unstuck.ensemble.training"},
    "unstuck.ensemble.stacked": {"torch", "unstuck.arguments", "unstuck.parts"},
    "unstuck.ensemble.population": {
        *("torch", "unstuck.data", "unstuck.ensemble.stacked", "unstuck.ensemble.trial", "unstuck.evaluate"),
        *("unstuck.measure", "unstuck.parts", "unstuck.probes.log", "unstuck.record", "unstuck.train"),
    },
    "unstuck.ensemble.training": {
        *("numpy", "torch", "tqdm", "unstuck.arguments", "unstuck.data", "unstuck.ensemble.population"),
        *("unstuck.ensemble.stacked", "unstuck.ensemble.trial", "unstuck.init", "unstuck.models"),
        *("unstuck.record", "unstuck.train"),
    },
    "unstuck.ensemble.trial": {"torch", "unstuck.ensemble.stacked"},
    "unstuck.evaluate": {"numpy", "torch", "unstuck.arguments", "unstuck.measure", "unstuck.models", "unstuck.parts"},
    "unstuck.explore": {"PIL", "anywidget", "ipywidgets", "matplotlib", "traitlets"},
    "unstuck.init": {"torch", "unstuck.models", "unstuck.theory"},
    "unstuck.models": {"torch"},
    "unstuck.plots": {"matplotlib", "numpy", "unstuck.claims", "unstuck.record"},
    "unstuck.measure": {"torch", "unstuck.activations", "unstuck.record"},
    "unstuck.parts": {"torch", "unstuck.arguments"},
    "unstuck.probes": {"unstuck.evaluate", "unstuck.probes.watch"},
    "unstuck.probes.functional": {"torch", "unstuck.parts"},
    "unstuck.probes.log": {"numpy", "torch", "unstuck.measure", "unstuck.record"},
    "unstuck.probes.private": {"torch"},
    "unstuck.probes.watch": {
        *("torch", "unstuck.arguments", "unstuck.measure", "unstuck.parts", "unstuck.probes.functional"),
        *("unstuck.probes.log", "unstuck.probes", "unstuck.record"),
    },
    "unstuck.record": {"unstuck.record.quantities", "unstuck.record.record", "unstuck.record.runs"},
    "unstuck.record.quantities": set(),
    "unstuck.record.record": {"numpy", "pandas", "unstuck.arguments", "unstuck.record.quantities"},
    "unstuck.record.runs": {"numpy", "unstuck.record.record"},
    "unstuck.scratch": {f"unstuck.scratch.{name}" for name in SCRATCH},
    "unstuck.scratch.activations": {"numpy", "unstuck.scratch.layer"},
    "unstuck.scratch.check": {"numpy", "unstuck.scratch.network"},
    "unstuck.scratch.convolution": {"numpy", "unstuck.scratch.layer", "unstuck.scratch.linear"},
    "unstuck.scratch.layer": {"numpy"},
    "unstuck.scratch.linear": {"numpy", "unstuck.scratch.layer"},
    "unstuck.scratch.losses": {"numpy", "unstuck.scratch.activations"},
    "unstuck.scratch.network": {
        *("numpy", "unstuck.arguments", "unstuck.record", "unstuck.scratch.activations", "unstuck.scratch.layer"),
        *("unstuck.scratch.linear", "unstuck.scratch.losses"),
    },
    "unstuck.scratch.norm": {"numpy", "unstuck.scratch.layer"},
    "unstuck.theory": {"numpy", "unstuck.arguments", "unstuck.scratch.activations"},
    "unstuck.train": {
        *("torch", "tqdm", "unstuck.arguments", "unstuck.data", "unstuck.evaluate", "unstuck.probes"),
        "unstuck.record",
    },
}
HEAVY = {"anywidget", "ipywidgets", "matplotlib", "numpy", "pandas", "scipy", "torch"}
# what is loaded in the end, also through others
MAY_LOAD = {
    "unstuck": set(),
    "unstuck.record": {"numpy"},
    "unstuck.claims": {"numpy"},
    "unstuck.plots": HEAVY - {"torch", "anywidget", "ipywidgets", "pandas", "scipy"},
    "unstuck.scratch": {"numpy"},
    "unstuck.theory": {"numpy"},
    "unstuck.train": {"numpy", "torch"},
    "unstuck.explore": HEAVY - {"torch", "pandas", "scipy"},
}


def modules() -> dict[str, Path]:
    """Every module of the package, by its dotted name."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = ("unstuck", *path.relative_to(PACKAGE).with_suffix("").parts)
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


def imports(source: str) -> set[str]:
    """What a source imports anywhere in it: modules of ours in full, others by their first name, no standard ones."""
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
    ours = {name for name in names if name.startswith("unstuck.")}
    others = {name.split(".")[0] for name in names} - {"unstuck"}
    return ours | (others - sys.stdlib_module_names)


def test_the_reader_of_imports_sees_them_all():
    source = "import os, torch.nn as nn\nfrom unstuck import data\ndef f():\n    from unstuck.record import Record\n"
    assert imports(source) == {"torch", "unstuck.data", "unstuck.record"}


def test_every_module_has_a_row():
    assert sorted(modules()) == sorted(MAY_IMPORT)


@pytest.mark.parametrize("name", sorted(MAY_IMPORT))
def test_imports_only_what_its_row_allows(name):
    assert imports(modules()[name].read_text(encoding="utf-8")) <= MAY_IMPORT[name]


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

import ipywidgets  # adds filters of its own
before = state()
import {", ".join(sorted(MAY_IMPORT))}
print([was == now for was, now in zip(before, state())])
"""
    assert printed(program).strip() == str([True] * 9)
