"""JupyterLab spoils nothing: a small notebook in the form of a chapter, opened in the real JupyterLab."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from urllib.error import URLError
from urllib.request import urlopen

import nbformat
import pytest
from nbformat import v4
from notebooks import normalise

pytestmark = pytest.mark.browser

PATIENCE = 60  # seconds; it takes about ten on two free cores
NO_UPDATES = "jupyterlab.handlers.announcements.NeverCheckForUpdate"
TEXT = """# Why?

{numref}`fig-loss` shows it, {cite:t}`he2015` says it.
"""
EXERCISE = """````{exercise}
:label: ex-sum
How much is it?
````

````{solution-start} ex-sum
:class: dropdown
````
Prose of the solution."""
END = """````{solution-end}
````

## Quiz

:::{dropdown} Who asks?
Answer of the quiz.
:::

:::{deeper-start} Why $x$
:::
Prose of what goes deeper."""
LAST = """:::{deeper-end}
:::

```{chapter-map}
```

Last line.

## References

```{bibliography}
```"""
FIGURE = {"figure": {"name": "fig-loss", "caption": "It falls."}, "image": {"alt": "A curve that falls."}}


def chapter():
    """Text, a folded figure, an exercise with its solution, a quiz and something deeper, as authors write them."""

    def code(source: str, **metadata):
        output = v4.new_output("stream", name="stdout", text=f"output of {source.splitlines()[0]}\n")
        return v4.new_code_cell(source, outputs=[output], metadata=metadata)

    sources = [
        TEXT,
        code("hidden = 1\nhidden_too = 2", tags=["hide-input"], mystnb=FIGURE),
        EXERCISE,
        code("in_solution = 3"),
        END,
        code("in_deeper = 4"),
        LAST,
    ]
    return normalise(v4.new_notebook(cells=[v4.new_markdown_cell(s) if isinstance(s, str) else s for s in sources]))


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of the notebook in a JupyterLab that has no settings of anybody."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "book").mkdir()
    nbformat.write(chapter(), folder / "book" / "small.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = ("CONFIG_DIR", "DATA_DIR", "LAB_SETTINGS_DIR", "LAB_WORKSPACES_DIR")
    own = {f"JUPYTER{'' if 'LAB' in place else '_'}{place}": str(folder / place) for place in places}
    options = [f"--port={port}", "--ServerApp.port_retries=0", "--ip=127.0.0.1", "--no-browser", "--allow-root"]
    options += ["--IdentityProvider.token=test", "--LabApp.check_for_updates_class=" + NO_UPDATES]
    with open(folder / "log", "w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options],
            cwd=folder / "book",
            env={**os.environ, **own, "IPYTHONDIR": str(folder / "ipython")},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    base = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                urlopen(f"{base}/api?token=test", timeout=5).close()
                break
            except (URLError, ConnectionError, TimeoutError):
                if server.poll() is not None or time.monotonic() > deadline:
                    pytest.fail("JupyterLab did not start:\n" + (folder / "log").read_text())
                time.sleep(0.2)
        yield f"{base}/doc/tree/small.ipynb?token=test"
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


SHOWN = ("Figure 1 shows it", "It falls.", "Exercise 1", "How much is it?", "# your answer", "Who asks?")
SHOWN += ("Solution", "Go deeper: Why", "Last line.", "he2015: Kaiming He", "hidden = 1", "output of hidden = 1")
SPOILT = ("Prose of the solution.", "in_solution", "Answer of the quiz.", "Prose of what goes deeper.", "in_deeper")
RAW = ("hidden_too", "{", "```", ":::", "Unknown Directive", "solution-start")
VISIBLE = "() => document.querySelector('.jp-Notebook')?.innerText.replace(/\\s+/g, ' ') ?? ''"


def visible_with(page, *parts: str) -> str:
    """The text that is visible in the notebook once it holds `parts`; which it lacks, if it never does."""
    deadline = time.monotonic() + PATIENCE
    while lacking := [part for part in parts if part not in (text := page.evaluate(VISIBLE))]:
        assert time.monotonic() < deadline, f"{lacking} not in\n{text}"
        page.wait_for_timeout(200)
    return text


def open_quiz(question) -> None:
    """Click until the fold is open: a click is lost while JupyterLab draws the cell again because others opened."""
    deadline = time.monotonic() + PATIENCE
    while not question.evaluate("element => element.closest('details').open"):
        assert time.monotonic() < deadline, "the quiz does not open"
        question.click()
        question.page.wait_for_timeout(500)


def test_nothing_is_spoiled_and_everything_opens(lab, browser):
    context = browser.new_context(viewport={"width": 1200, "height": 2400})  # no cell is left undrawn
    try:
        page = context.new_page()
        page.goto(lab, timeout=PATIENCE * 1000)
        solution, deeper = (page.locator(".jp-showHiddenCellsButton").nth(number) for number in (0, 1))
        deeper.wait_for(timeout=PATIENCE * 1000)
        text = visible_with(page, *SHOWN)
        assert [part for part in SPOILT + RAW if part in text] == []
        assert text.count("# your answer") == 1

        deeper.click()
        text = visible_with(page, "Prose of what goes deeper.", "in_deeper = 4", "output of in_deeper")
        assert [part for part in SPOILT[:3] + RAW if part in text] == []
        solution.click()
        visible_with(page, "Prose of the solution.", "in_solution = 3", "output of in_solution")
        open_quiz(page.get_by_text("Who asks?", exact=True))
        visible_with(page, "Answer of the quiz.", *SHOWN)
    finally:
        context.close()
