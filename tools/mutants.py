"""Plant faults in the package, one at a time, and count those that the tests find: `make mutants`.

The faults are those of mutmut, one small change of the source each (an operator, a number, an argument, a text). Its
own runner is not used: it leaves out decorated functions and tables at module level, and rewrites what tests read. A
fault is planted in a copy of the project, in which the tests of its room run until one fails. Docstrings, type hints
and the texts of errors and warnings get none.

`python tools/mutants.py --sample 200` plants a random sample, `--seed 1` another one; `--only train` takes
one room, module or line (`train:88`). An interrupt ends early and counts what was tried.
"""

import argparse
import ast
import compileall
import contextlib
import difflib
import gc
import importlib
import multiprocessing
import os
import py_compile
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import libcst
import pytest
from libcst import matchers
from mutmut.mutation.file_mutation import Mutation, MutationVisitor
from mutmut.mutation.mutators import mutation_operators
from mutmut.mutation.pragma_handling import get_ignored_lines

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path("src", "unstuck")
LEFT_OUT = (".*", "_build", "__pycache__", "*.egg-info", "build", "dist")
ENSEMBLE = ("stack", "stack_refused", "ensemble_build", "ensemble", "ensemble_executors")
WATCH = ("watch", "watch_layers", "watch_parameters", "watch_changes", "watch_harmless")
PLOTS = ("plots/test_*",)
TESTS = {
    "activations": ("models", "scratch_layers", "init", "plots/test_style"),
    "arguments": ("arguments",),
    "cache": ("cache", "features"),
    "checks": ("checks_*", "faults"),
    "claims": ("claims", "plots/test_tables"),
    "clinic": ("clinic_scoring", "clinic"),
    "data": ("data_*", "build_data"),
    "ensemble": ENSEMBLE,
    "evaluate": ("evaluate", "dead_units", "train"),
    "faults": ("faults",),
    "explore": ("explore", "explore_predict", "explore_valley"),
    "features": ("features", "pretrained"),
    "graph": (*WATCH, *ENSEMBLE),
    "init": ("init",),
    "measure": ("measure", *WATCH, "ensemble"),
    "models": ("models", "transformer", "pretrained", "init", "ensemble"),
    "pages": ("faults",),
    "parts": ("parts", "evaluate", "stack", "stack_refused", "ensemble_build", *WATCH),
    "plots": PLOTS,
    "private": (*WATCH, "evaluate", *ENSEMBLE),
    "probes": (*WATCH, "norm_drift", "dead_units", "train", "ensemble"),
    "record": ("record", "runs", "measure", *PLOTS, "watch", "train"),
    "scratch": ("scratch_*", "theory"),
    "sharpness": ("sharpness",),
    "theory": ("theory", "init"),
    "train": ("train", "ensemble_build"),
    "transfer": ("transfer",),
}
"""Each room of the package, with the files in tests/package that look at it, nearest first; `bad_calls` looks at all.
Left out are files that read or install the source, or take long for what they add."""
MESSAGE = matchers.Raise() | matchers.Call(func=matchers.Attribute(attr=matchers.Name("warn")))
SLOW = ("torch._dynamo", "scipy.stats", "matplotlib.pyplot", "pandas")  # to import
WORDS = {"instance": slice(3, 4), "attempt": slice(1), "fail": slice(1), "Fault": slice(3), "_told": slice(1, None)}
"""Which arguments of our own functions are but words of a message; also where `partial` keeps them for later."""
GUARDS = ("strict",)
"""Keywords that turn a mistake of ours into an error, and change nothing else."""
OUTCOMES = ("killed", "timed out", "survived")


class Visitor(MutationVisitor):
    """mutmut's, which also enters decorated functions, and leaves out the texts of errors and warnings."""

    words: frozenset[libcst.CSTNode] = frozenset()

    def _skip_node_and_children(self, node: libcst.CSTNode) -> bool:
        if isinstance(node, libcst.FunctionDef):
            return False
        if isinstance(node, libcst.Call):
            called, given = _name(node.func), node.args
            if called == "partial":
                called, given = _name(given[0].value), given[1:]
            self.words |= set(given[WORDS[called]] if called in WORDS else ())
            self.words |= {given for given in node.args if given.keyword and given.keyword.value in GUARDS}
        return node in self.words or matchers.matches(node, MESSAGE) or super()._skip_node_and_children(node)


def _name(node: libcst.CSTNode) -> str:
    """The last part of a dotted name: `attempt` of `self.attempt`."""
    return libcst.Module([]).code_for_node(node).split(".")[-1]


@dataclass(frozen=True)
class Fault:
    """One change of one module."""

    module: Path
    mutation: Mutation

    @property
    def name(self) -> str:
        """The module as ONLY has it: `plots/maps`."""
        return self.module.relative_to(PACKAGE).with_suffix("").as_posix()

    @property
    def room(self) -> str:
        return self.name.split("/")[0]

    def planted(self) -> str | None:
        """The module's source with the fault, or None where it is no program or the same one."""
        tree, source = parsed(self.module)
        replaced = tree.deep_replace(self.mutation.original_node, self.mutation.mutated_node)
        assert isinstance(replaced, libcst.Module)
        changed = replaced.code
        try:
            compile(changed, "", "exec")
            same = ast.dump(ast.parse(changed)) == ast.dump(ast.parse(source))
        except SyntaxError:
            return None
        return None if same else changed

    def diff(self, changed: str) -> tuple[int, str]:
        """The line of the fault, and what it changes."""
        lines = list(
            difflib.unified_diff(parsed(self.module)[1].splitlines(), changed.splitlines(), n=0, lineterm="")
        )
        return int(re.findall(r"-(\d+)", lines[2])[0]), "\n".join(lines[3:])


@cache
def visited(module: Path) -> tuple[libcst.Module, str, list[Mutation]]:
    """A module's tree, its source, and the faults that belong into it."""
    source = (ROOT / module).read_text(encoding="utf-8")
    wrapper = libcst.MetadataWrapper(libcst.parse_module(source))
    visitor = Visitor(mutation_operators, get_ignored_lines(str(module), source, wrapper))
    tree = wrapper.visit(visitor)
    assert isinstance(tree, libcst.Module)
    return tree, source, visitor.mutations


def parsed(module: Path) -> tuple[libcst.Module, str]:
    return visited(module)[:2]


def faults(only: str) -> list[Fault]:
    """All faults of the package, or of the room, module or line that `only` names."""
    name, _, line = only.partition(":")
    modules = (path.relative_to(ROOT) for path in sorted((ROOT / PACKAGE).rglob("*.py")))
    found = [Fault(module, mutation) for module in modules for mutation in visited(module)[2]]
    found = [fault for fault in found if not name or f"{fault.name}/".startswith(f"{name}/")]
    if line:
        found = [fault for fault in found if (changed := fault.planted()) and fault.diff(changed)[0] == int(line)]
    return found


def files(room: str) -> list[str]:
    """The test files of a room, by their path in the project."""
    found: dict[str, None] = {}
    for name in (*TESTS[room], "bad_calls"):
        pattern = f"{name}.py" if "/" in name else f"test_{name}.py"
        there = sorted((ROOT / "tests/package").glob(pattern))
        assert there, f"{room}: there is no {pattern}"
        found |= {path.relative_to(ROOT).as_posix(): None for path in there}
    return list(found)


class Copy:
    """A copy of the project, in which tests run, each time in a fork of this process, which has imported much."""

    def __init__(self, folder: Path):
        self.root, self.log = folder / "project", folder / "log"
        self.seconds: dict[str, float] = {}
        shutil.copytree(ROOT, self.root, ignore=shutil.ignore_patterns(*LEFT_OUT))
        source = str(self.root / "src")
        # compiled by content: a source that changed within a second is compiled again, and nothing is written for it
        compileall.compile_dir(source, quiet=1, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
        os.environ |= {"TMPDIR": str(folder), "PYTHONPATH": source, "PYTHONDONTWRITEBYTECODE": "1"}
        os.environ |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # none is needed, and they are slow to import
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        tempfile.tempdir = None  # read TMPDIR again
        sys.path.insert(0, source)
        for module in SLOW:
            importlib.import_module(module)
        gc.freeze()  # what is there by now need not be searched again and again in each fork

    def run(self, paths: list[str], limit: int | None = None) -> int | None:
        """pytest's exit code, or None where it took more than `limit` processor seconds, or waited for ever."""
        child = multiprocessing.get_context("fork").Process(target=self._tests, args=(paths, limit))
        child.start()
        assert child.pid
        try:
            child.join(None if limit is None else 10 * limit)  # others may use the machine, too
            return None if child.exitcode == -signal.SIGXCPU else child.exitcode
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)  # also what the tests themselves started
            child.join()

    def _tests(self, paths: list[str], limit: int | None) -> None:
        os.setsid()
        os.chdir(self.root)
        sys.dont_write_bytecode = limit is not None  # the first run compiles the tests for those that follow
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        code = pytest.main(["-x", "--tb=short", "-p", "no:cacheprovider", *paths])
        sys.stdout.flush()
        os._exit(int(code))

    def limit(self, room: str) -> int:
        """Processor seconds after which the tests of a room hang, from a run without a fault, which must pass."""
        if room not in self.seconds:
            begin = spent()
            if self.run(files(room)) != 0:
                sys.exit(f"The tests of {room} fail without a fault:\n{self.log.read_text()}")
            self.seconds[room] = spent() - begin
        return 2 + round(3 * self.seconds[room])

    def outcome(self, fault: Fault, changed: str) -> str:
        """What the tests of the room make of a fault."""
        limit = self.limit(fault.room)
        path = self.root / fault.module
        path.write_text(changed, encoding="utf-8")
        try:
            code = self.run(files(fault.room), limit)
        finally:
            path.write_text(parsed(fault.module)[1], encoding="utf-8")
        return "timed out" if code is None else "killed" if code else "survived"


def spent() -> float:
    """Processor seconds of the processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def interval(found: int, planted: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    z = 1.96
    middle = (found + z**2 / 2) / (planted + z**2)
    half = z / (planted + z**2) * (found * (planted - found) / planted + z**2 / 4) ** 0.5
    return middle - half, middle + half


def table(counts: dict[str, Counter[str]], sampled: bool) -> str:
    """Planted and found, by room; with the 95 % interval of a sample."""
    rows = [f"{'':12}  planted  killed  timed out  survived  found"]
    for room, count in [*sorted(counts.items()), ("all", sum(counts.values(), Counter()))]:
        planted, found = count.total(), count["killed"] + count["timed out"]
        share = f"{found / planted:6.1%}"
        if sampled:
            share += "  ({:.0%} to {:.0%})".format(*interval(found, planted))
        numbers = (f"{count[outcome]:{len(outcome)}}" for outcome in OUTCOMES)
        rows.append(f"{room:12}  {planted:7}  {'  '.join(numbers)} {share}")
    return "\n".join(rows)


def tried(chosen: list[Fault], sample: int | None) -> Iterator[tuple[Fault, str, str]]:
    """Each fault, up to `sample` of them, with its source and its outcome."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy, left = Copy(Path(folder)), sample
        for fault in chosen:
            if left == 0:
                break
            if changed := fault.planted():
                yield fault, changed, copy.outcome(fault, changed)
                left = left and left - 1


def main() -> int:
    parser = argparse.ArgumentParser(description="Plant faults in the package and count those that the tests find.")
    parser.add_argument("--only", default="", help="a room, module or line: plots, plots/maps, plots/maps:30")
    parser.add_argument("--sample", default="", help="how many, drawn at random; without it all")
    parser.add_argument("--seed", type=int, default=0, help="of the sample; another seed is another sample")
    given = parser.parse_args()
    chosen = faults(given.only)
    if not chosen:
        print(f"There is no fault in {given.only}.")
        return 2
    random.Random(given.seed).shuffle(chosen)  # so that what an interrupt leaves is a random sample, too
    sample = int(given.sample) if given.sample else None
    print(
        f"{len(chosen)} faults, {sample or len(chosen)} to try, each in seconds; an interrupt ends early", flush=True
    )
    counts: dict[str, Counter[str]] = {}
    survivors: list[str] = []
    begin = time.monotonic()
    try:
        for number, (fault, changed, outcome) in enumerate(tried(chosen, sample), start=1):
            counts.setdefault(fault.room, Counter())[outcome] += 1
            line, diff = fault.diff(changed)
            if outcome == "survived":
                survivors.append(f"{fault.module}:{line}\n{diff}")
            print(f"{number:5} {time.monotonic() - begin:6.0f} s  {outcome:9}  {fault.name}:{line}", flush=True)
            if outcome != "killed":
                print(diff, flush=True)
    except KeyboardInterrupt:
        print("Interrupted: what follows counts the faults tried.")
    if not counts:
        return 130
    planted = sum(count.total() for count in counts.values())
    print("\nSurvivors:", *survivors, sep="\n\n")
    print(f"\n{table(counts, sampled=planted < len(chosen))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
