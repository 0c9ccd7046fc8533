"""Submissions to assignment 1 that cheat, break or run away: {name: (what is changed, the parts that are lost)}.

What is changed is a function's new source, a cell put in front, or a function of the notebook.
"""

from pathlib import Path

from assignments.grading.source import grading

ROOT = Path(__file__).resolve().parents[2]
ALL = {
    *("neuron-loss", "neuron-gradient", "linear-dx", "linear-dw", "linear-db", "relu-gradient", "softmax-loss"),
    *("softmax-gradient", "softmax-stable", "numeric-value", "numeric-restores", "relative-error", "chain-gradient"),
    "suspects",
}
RELU = "def relu_backward(da, z):\n"
RIGHT = "    return da * (z > 0)\n"
WRONG = "    return da\n"
FOLDER = str(ROOT / "assignments" / "backprop")

# in the place of relu_backward
FUNCTIONS = {
    "an endless loop": (RELU + "    while True:\n        pass\n", {"relu-gradient"}),
    "an endless sleep": (RELU + "    import time\n    time.sleep(1e6)\n", {"relu-gradient"}),
    "os._exit": (RELU + "    import os\n    os._exit(0)\n", {"relu-gradient"}),
    "sys.exit": (RELU + "    raise SystemExit\n", {"relu-gradient"}),
    "endless recursion": (RELU + "    return relu_backward(da, z)\n", {"relu-gradient"}),
    "a memory hog": (RELU + "    kept = [np.ones(10**7) for _ in range(10**6)]\n" + RIGHT, {"relu-gradient"}),
    "a slow memory hog": (
        RELU + "    kept = []\n    while True:\n        kept.append(bytearray(10**6))\n",
        {"relu-gradient"},
    ),
    "a huge array": (RELU + "    return np.broadcast_to(1.0, (10**6, 10**6))\n", {"relu-gradient"}),
    "an answer of 100 MB": (RELU + "    return np.zeros(10**7)\n", {"relu-gradient"}),
    "output without end": (RELU + "    while True:\n        print('a' * 10**6)\n", {"relu-gradient"}),
    "output of 100 MB": (RELU + "    print('a' * 10**8)\n" + RIGHT, set()),
    "a file without end": (
        RELU + "    with open('big', 'wb') as file:\n        while True:\n            file.write(bytes(10**6))\n",
        {"relu-gradient"},
    ),
    "files without end": (
        RELU + "    for name in range(10**9):\n        with open(str(name), 'wb') as file:\n"
        "            file.write(bytes(10**7))\n",
        {"relu-gradient"},
    ),
    "a crash": (RELU + "    import ctypes\n    ctypes.string_at(0)\n", {"relu-gradient"}),
    "an object equal to all": (
        RELU + "    class Yes:\n        __eq__ = __le__ = __ge__ = lambda self, other: True\n    return Yes()\n",
        {"relu-gradient"},
    ),
    "an array equal to all": (
        RELU + "    class Yes(np.ndarray):\n        def __eq__(self, other):\n            return True\n"
        "    return da.view(Yes)\n",
        {"relu-gradient"},
    ),
    "NaN everywhere": (RELU + "    return da * float('nan')\n", {"relu-gradient"}),
    "nothing returned": (RELU + "    pass\n", {"relu-gradient"}),
    "a syntax error": ("def relu_backward(da, z)\n    return da\n", {"relu-gradient"}),
    "half a character": (RELU + "    raise ValueError('\\ud800')\n", {"relu-gradient"}),
    "the examples by heart": (
        RELU
        + "    import json, visible\n    for case in json.load(open('examples.json'))['relu-gradient']['cases']:\n"
        "        return visible.restored(case['expected'])['dz']\n",
        {"relu-gradient"},
    ),
    "the solution's file": (
        RELU + f"    text = open({FOLDER!r} + '/backprop.ipynb').read()\n" + RIGHT,
        {"relu-gradient"},
    ),
    "the solution's file, by numpy": (
        RELU + f"    np.fromfile({FOLDER!r} + '/questions.py', dtype='u1')\n" + RIGHT,
        {"relu-gradient"},
    ),
    "the solution as a module": (
        RELU + f"    import sys\n    sys.path.insert(0, {str(ROOT)!r})\n"
        "    import assignments.backprop.questions\n" + RIGHT,
        {"relu-gradient"},
    ),
    "the solution through a link": (
        RELU + f"    import os\n    os.symlink({FOLDER!r}, 'link')\n    open('link/questions.py').read()\n" + RIGHT,
        {"relu-gradient"},
    ),
    "a folder above": (RELU + "    open('../hostile', 'w').write('a')\n" + RIGHT, {"relu-gradient"}),
    "a file of the project": (
        RELU + f"    open({FOLDER!r} + '/questions.py', 'a').write('a = 1')\n" + RIGHT,
        {"relu-gradient"},
    ),
    "another program": (RELU + "    import subprocess\n    subprocess.run(['true'])\n" + RIGHT, {"relu-gradient"}),
    "another process": (RELU + "    import os\n    os.fork()\n" + RIGHT, {"relu-gradient"}),
    "the grader ended": (RELU + "    import os\n    os.kill(os.getppid(), 9)\n" + RIGHT, {"relu-gradient"}),
    "the grader's memory": (
        RELU + "    import os\n    open(f'/proc/{os.getppid()}/mem', 'rb')\n" + RIGHT,
        {"relu-gradient"},
    ),
    "the grader's limits": (
        RELU + "    import os, resource\n    resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))\n" + RIGHT,
        {"relu-gradient"},
    ),
    "the network": (RELU + "    import socket\n    socket.socket()\n" + RIGHT, {"relu-gradient"}),
    "a forged answer": (
        RELU + '    import os\n    line = \'{"done": "relu-gradient/0", "values": {"dz": 1}}\\n\'\n'
        "    for number in range(3, 20):\n        try:\n            os.write(number, line.encode())\n"
        "        except OSError:\n            pass\n" + WRONG,
        {"relu-gradient"},
    ),
    "an answer that is no JSON": (
        RELU
        + "    import os\n    for number in range(3, 20):\n        try:\n            os.write(number, b'[' * 9**5)\n"
        "        except OSError:\n            pass\n" + RIGHT,
        {"relu-gradient"},
    ),
    "a forged end": (
        RELU + "    import os\n    for number in range(3, 20):\n        try:\n"
        "            os.write(number, b'{\"end\": 1}\\n')\n"
        "        except OSError:\n            pass\n" + WRONG,
        {
            *("relu-gradient", "softmax-loss", "softmax-gradient", "softmax-stable", "numeric-value"),
            *("numeric-restores", "relative-error", "chain-gradient", "suspects"),
        },
    ),
}

# in front of the notebook's cells, with a wrong relu_backward where nothing else is said
CELLS = {
    "NumPy's comparisons replaced": (
        "import numpy as np, numpy.testing\nfor name in ('allclose', 'isclose', 'array_equal'):\n"
        "    setattr(np, name, lambda *a, **k: True)\nnp.testing.assert_allclose = lambda *a, **k: None\n",
        {"relu-gradient"},
    ),
    "torch.allclose replaced": ("import torch\ntorch.allclose = lambda *a, **k: True\n", {"relu-gradient"}),
    "the helper replaced": (
        "import visible, sys\nfor name in ('verdict', 'difference', 'check', 'numbers_differ'):\n"
        "    setattr(visible, name, lambda *a, **k: '')\n",
        {"relu-gradient"},
    ),
    "the helper's file replaced": (
        "open('visible.py', 'w').write('check = lambda *a: None')\nopen('examples.json', 'w').write('{}')\n",
        {"relu-gradient"},
    ),
    "the channel closed": (
        "import os\nfor number in range(3, 20):\n    try:\n        os.close(number)\n"
        "    except OSError:\n        pass\n",
        {"relu-gradient"},
    ),
    "a cell that never ends": ("while True:\n    pass\n", {"relu-gradient"}),
    "a cell that ends it all": ("import os\nos._exit(0)\n", {"relu-gradient"}),
    "magics and a shell": ("%matplotlib inline\n!rm -rf ~\n%%time\nx = 1\n", {"relu-gradient"}),
    "the fence taken down": (
        "import sys, fence\nfence.refuse = fence.hook = None\nsys.addaudithook(lambda *a: None)\n"
        f"text = open({FOLDER!r} + '/questions.py').read()\nimport builtins\nbuiltins.open = None\n",
        {"relu-gradient"},
    ),
}


def tests_deleted(notebook):
    notebook.cells = [cell for cell in notebook.cells if not (grading(cell).get("grade") and "check(" in cell.source)]


def tests_edited(notebook):
    for cell in notebook.cells:
        if "check(" in cell.source and grading(cell).get("grade"):
            cell.source, cell.metadata["nbgrader"]["points"] = "assert True", 1000


def tests_that_stop(notebook):
    for cell in notebook.cells:
        if "check(" in cell.source:
            cell.source = "raise SystemExit"


def locked_cells_edited(notebook):
    for cell in notebook.cells:
        if grading(cell).get("grade_id") in ("backprop-setup", "backprop-toys", "backprop-suspects"):
            cell.source = "raise ValueError('mine')"


def locked_cells_deleted(notebook):
    notebook.cells = [cell for cell in notebook.cells if not grading(cell).get("locked")]


def ids_taken_away(notebook):
    for cell in notebook.cells:
        cell.metadata.pop("nbgrader", None)


def strange_metadata(notebook):
    for cell in notebook.cells[::2]:
        cell.metadata["nbgrader"] = {"grade_id": 7, "solution": "x", "grade": None}


def every_solution_deleted(notebook):
    notebook.cells = [cell for cell in notebook.cells if not grading(cell).get("solution")]


def no_cell(notebook):
    notebook.cells = []


NOTEBOOKS = {
    "tests deleted": (tests_deleted, set()),
    "tests edited": (tests_edited, set()),
    "tests that stop": (tests_that_stop, set()),
    "locked cells edited": (locked_cells_edited, set()),
    "locked cells deleted": (locked_cells_deleted, set()),
    "ids taken away": (ids_taken_away, set()),
    "solutions deleted": (every_solution_deleted, ALL),
    "no cell": (no_cell, ALL),
}

FILES = {
    "empty": b"",
    "no notebook": b"\x00\xff\xfe garbage",
    "JSON of another kind": b"[1, 2, 3]",
    "a list of nothing": b'{"cells": 3, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}',
    "an old format": b'{"nbformat": 99, "cells": []}',
    "nested without end": b"[" * 10**6,
    "half a notebook": b'{"cells": [{"cell_type": "code", "source": "import',
    "too large": b" " * (21 * 2**20),
}
