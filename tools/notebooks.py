"""Execute chapters in place and store their outputs: `python tools/notebooks.py [03 03b "04*" ...]`.

The only way in which outputs get into a notebook. Two chapters run at a time. A chapter is written when all of it
has run, beside the old file and then moved over it: what fails or is interrupted leaves the old file. What is
written depends on the chapter alone (no times, versions, random names), so that running twice leaves no diff.
"""

import asyncio
import atexit
import contextlib
import hashlib
import importlib
import io
import json
import os
import re
import signal
import sys
import time
from base64 import b64decode, b64encode
from pathlib import Path

import nbformat
from lab_cells import arrange
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal, DeadKernelError
from pages import BOOK, chosen, faults
from PIL import Image
from tqdm import tqdm

PARALLEL = 2
CELL_TIMEOUT = 300  # seconds: a busy machine
KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE_INFO = {
    "codemirror_mode": {"name": "ipython", "version": 3},
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
}
CELL_METADATA = ("mystnb", "tags")  # what authors write; lab_cells adds to it, the rest is what editors leave behind
VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
VALID_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class ChapterError(Exception):
    """A chapter that cannot be stored; the message says in which cell and why."""


def normalise(nb):
    """Take out of a notebook, in place, all that does not depend on its cells; returns it."""
    state = nb.metadata.get("widgets")
    nb.metadata = nbformat.from_dict({"kernelspec": KERNELSPEC, "language_info": LANGUAGE_INFO})
    for cell in nb.cells:
        cell.metadata = nbformat.from_dict(
            {key: cell.metadata[key] for key in CELL_METADATA if cell.metadata.get(key)}
        )
    arrange(nb)
    seen = set()
    for number, cell in enumerate(nb.cells):
        cell.id = _cell_id(cell, number, seen)
        if cell.cell_type == "code":
            _normalise_outputs(cell)
    shown = _displayed(nb, state[STATE]["state"]) if state else {}
    for model in shown.values():
        _with_todays_script(model["state"])
    if shown:
        nb.metadata["widgets"] = nbformat.from_dict({STATE: {**state[STATE], "state": shown}})
    nb.nbformat, nb.nbformat_minor = 4, 5
    return nb


def _cell_id(cell, number: int, seen: set[str]) -> str:
    """The cell's own id where it is valid and its alone, otherwise one made of its position and source."""
    own = cell.get("id", "")
    if not VALID_ID.fullmatch(own) or own in seen:
        own = hashlib.sha256(f"{number}\n{cell.source}".encode()).hexdigest()[:8]
    seen.add(own)
    return own


def _normalise_outputs(cell) -> None:
    if "remove-output" in cell.metadata.get("tags", []):
        cell.outputs = []  # live cells: what they show needs a kernel
    for output in cell.outputs:
        if "metadata" in output:
            output.metadata = nbformat.from_dict({})
        if output.output_type == "execute_result":
            output.execution_count = cell.execution_count
        if "image/png" in output.get("data", {}):
            output.data["image/png"] = _fewer_colours(output.data["image/png"])


def _fewer_colours(png: str) -> str:
    """A PNG in base64 with at most 256 colours: a third of the size, and no difference to the eye."""
    image = Image.open(io.BytesIO(b64decode(png)))
    if image.mode != "P":
        image = image.convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    file = io.BytesIO()
    image.save(file, "png", optimize=True)
    return b64encode(file.getvalue()).decode() + "\n"


def _displayed(nb, state: dict) -> dict:
    """The widget models that outputs show, and the models those refer to, sorted."""
    views = [o.data[VIEW]["model_id"] for c in nb.cells for o in c.get("outputs", []) if VIEW in o.get("data", {})]
    shown = {}
    while views:
        model = views.pop()
        if model in state and model not in shown:
            shown[model] = state[model]
            views += re.findall(r"IPY_MODEL_([\w-]+)", json.dumps(state[model]))
    return dict(sorted(shown.items()))


def read(path: Path):
    """A chapter with all the cells that will be executed."""
    nb = nbformat.read(path, as_version=4)
    arrange(nb)
    return nb


def _with_todays_script(state: dict) -> None:
    """An explorable's state holds its script and its style: they belong to the package, not to the run."""
    module, _, name = state.get("_anywidget_id", "").rpartition(".")
    if module.startswith("unstuck."):
        kind = getattr(importlib.import_module(module), name)
        state.update(_esm=str(kind._esm), _css=str(kind._css))


async def execute(path: Path, bar: tqdm, stop) -> str:
    """Execute one chapter and store it; returns a line that says so, or raises ChapterError.

    `stop` is called on an interrupt.
    """
    begin = time.monotonic()
    nb = read(path)
    at = 0

    def starts(cell, cell_index):
        nonlocal at
        at = cell_index + 1
        bar.set_description(f"{path.stem} cell {at}")

    client = NotebookClient(
        nb,
        kernel_name="python3",
        timeout=CELL_TIMEOUT,
        extra_arguments=["--log-level=CRITICAL"],  # the kernel's own log, to which it also writes when interrupted
        coalesce_streams=True,
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
        on_notebook_start=lambda notebook: _on_interrupt(stop),
        on_cell_execute=starts,
        on_cell_executed=lambda cell, cell_index, execute_reply: bar.update(),
    )
    # nbclient would play the page for the Output widget of `interact` and answer it on the socket on which it waits;
    # jupyter_client sends past asyncio there, and then now and then sleeps through the reply until the time-out
    client.comm_open_handlers["jupyter.widget"] = lambda message: None
    try:
        await client.async_execute()
    except Exception as error:
        if asyncio.current_task().cancelling():
            raise asyncio.CancelledError from error  # what an interrupt looks like from inside nbclient
        if isinstance(error, (CellControlSignal, DeadKernelError)):  # exception in a cell, time-out, kernel that died
            raise ChapterError(f"{path.name}, cell {at}:\n{COLOUR.sub('', str(error))}") from error
        raise
    finally:
        if client.km is None:  # after an interrupt nbclient forgets that it has nothing left to clean up
            atexit.unregister(client._cleanup_kernel)
    for number, cell in enumerate(nb.cells, start=1):
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                raise ChapterError(f"{path.name}, cell {number} wrote to stderr:\n{output.text}\nin\n{cell.source}")
    how = "written" if store(normalise(nb), path) else "unchanged"
    return f"{path.name}: {how}, {time.monotonic() - begin:.1f} s"


def _on_interrupt(stop) -> None:
    # in place of nbclient's own handler, which ends one kernel and lets the other chapters run on
    for name in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows
            asyncio.get_running_loop().add_signal_handler(name, stop)


def store(nb, path: Path) -> bool:
    """Write a notebook beside `path` and move it there; False where the file already says the same."""
    text = nbformat.writes(nb) + "\n"
    if path.read_text(encoding="utf-8") == text:
        return False
    beside = path.with_name(f".{path.name}.part")
    try:
        beside.write_text(text, encoding="utf-8", newline="\n")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return True


async def run(paths: list[Path]) -> int:
    """Execute the chapters, `PARALLEL` at a time; returns how many failed."""
    free = asyncio.Semaphore(PARALLEL)
    stop = asyncio.current_task().cancel
    failed = 0
    cells = sum(cell.cell_type == "code" for path in paths for cell in read(path).cells)
    with tqdm(total=cells, unit="cell", disable=None) as bar:  # None: no bar where it would fill a log

        async def one(path):
            nonlocal failed
            async with free:
                try:
                    bar.write(await execute(path, bar, stop))
                except ChapterError as error:
                    failed += 1
                    bar.write(f"FAILED, left as it was: {error}\n")

        await asyncio.gather(*map(one, paths))
    return failed


def main(only: list[str], folder: Path = BOOK) -> int:
    """Execute the chapters that `only` names (all without any, see `chosen`); returns the exit code."""
    paths = chosen(only, folder)
    if not paths:
        there = chosen([], folder)
        print(f"No notebook is {' or '.join(only)}; there are:" if there else "There is no notebook yet.")
        print("\n".join(path.name for path in there), end="\n" if there else "")
        return 1 if only else 0
    if unreadable := [fault for path in paths for fault in faults(path)]:
        print("Nothing was executed:", *unreadable, sep="\n")
        return 1
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # inherited by the kernels, of which PARALLEL run
    try:
        failed = asyncio.run(run(paths))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("Interrupted; chapters not named above are left as they were.")
        return 130
    if failed:
        print(f"{failed} of {len(paths)} chapters failed.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
