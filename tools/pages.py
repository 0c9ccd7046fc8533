"""The pages in book/: which of them somebody means, and what keeps one from being read at all."""

import ast
import json
import warnings
from fnmatch import fnmatchcase
from pathlib import Path

FLAGS = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
BOOK = Path(__file__).resolve().parents[1] / "book"


def chosen(only: list[str], folder: Path = BOOK) -> list[Path]:
    """The notebooks that one of `only` names, all without any: "03", "03_activations", or a pattern such as "03*"."""
    there = sorted(folder.glob("*.ipynb"))
    return [path for path in there if not only or any(_means(pattern, path.stem) for pattern in only)]


def _means(pattern: str, stem: str) -> bool:
    return fnmatchcase(stem, pattern.removesuffix(".ipynb")) or stem.partition("_")[0] == pattern


def faults(path: Path) -> list[str]:
    """What is wrong with a notebook as a file: no JSON (an unsolved merge, say), or code that is no Python."""
    text = path.read_text(encoding="utf-8")
    try:
        cells = json.loads(text)["cells"]
    except json.JSONDecodeError as error:
        line = text.splitlines()[error.lineno - 1][:60] if text else ""
        merge = ", an unsolved merge" if line.startswith(("<<<<<<<", "=======", ">>>>>>>")) else ""
        return [f"{path.name}, line {error.lineno}: expected JSON, got {line!r}{merge} ({error.msg})"]
    except (KeyError, TypeError):
        return [f"{path.name}: expected a notebook with cells, got other JSON"]
    found = []
    for number, cell in enumerate(cells, start=1):
        if cell["cell_type"] != "code":
            continue
        source = "".join(cell["source"])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the linter's business
                compile(_without_magics(source), path.name, "exec", FLAGS)
        except SyntaxError as error:
            line = (error.text or "").strip()
            found.append(f"{path.name}, cell {number}, line {error.lineno}: no Python: {line!r} ({error.msg})")
    return found


def _without_magics(source: str) -> str:
    """IPython's own lines (%time, !ls) as comments."""
    return "\n".join("pass" if line.startswith(("%", "!")) else line for line in source.splitlines())
