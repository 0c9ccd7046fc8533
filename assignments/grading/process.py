"""Runs the steps of a submission in a process of its own (worker.py), and again without the step that ended it."""

import contextlib
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from assignments.grading.parts import Questions
from assignments.grading.source import ROOT
from assignments.grading.submission import clean
from assignments.grading.visible import restored

HERE = Path(__file__).resolve().parent
MEGABYTE = 2**20
ANSWERS, FILES = 64 * MEGABYTE, 256 * MEGABYTE
"""How much a submission may answer, and how much it may have on disk."""
READABLE = (sys.prefix, sys.base_prefix, str(ROOT / "src"))
"""What a submission may read, besides the folders of the system."""
POLL = 0.1  # seconds


@dataclass
class Outcome:
    """What became of one step: the values of a call ({} for a cell), or why there are none."""

    values: dict[str, Any] | None = None
    error: str = ""


class Ended(Exception):
    """The process is over before its steps are; the message says why."""


def run_steps(steps: list[dict], questions: Questions, public: Path) -> dict[str, Outcome]:
    """The outcome of every step by its id. `public`: the folder with the files that students have."""
    outcomes: dict[str, Outcome] = {}
    ended: set[str] = set()
    deadline = time.monotonic() + questions.total
    while True:
        left = [step for step in steps if step["id"] not in ended and ("code" in step or step["id"] not in outcomes)]
        if not any("call" in step for step in left):
            break
        if time.monotonic() > deadline:
            spent = Outcome(error=f"the submission had used all of its {questions.total} s")
            outcomes.update({step["id"]: spent for step in left if "call" in step})
            break
        with tempfile.TemporaryDirectory(prefix="submission-", ignore_cleanup_errors=True) as folder:
            worker = Worker(left, questions, public, Path(folder))
            try:
                worker.collect(outcomes, deadline)
                break
            except Ended as end:
                guilty = next(step["id"] for step in left if step["id"] not in worker.done)
                alike = [step["id"] for step in left if step["id"].split("/")[0] == guilty.split("/")[0]]
                outcomes.update(dict.fromkeys(alike, Outcome(error=str(end))))
                ended.update(alike)  # the other calls of a part would end it, too
            finally:
                worker.stop()
    return outcomes


class Worker:
    """One run of worker.py in a folder of its own."""

    def __init__(self, steps: list[dict], questions: Questions, public: Path, folder: Path) -> None:
        self.steps, self.questions, self.folder = steps, questions, folder
        self.done: set[str] = set()
        self.lines: queue.Queue[str | None] = queue.Queue()
        for name in ("visible.py", "examples.json"):
            if (public / name).exists():
                shutil.copyfile(public / name, folder / name)
        cache = _font_cache() if any(name.startswith("matplotlib") for name in questions.imports) else None
        job = {
            "steps": steps,
            "imports": questions.imports,
            "paths": [str(ROOT / "src")],
            "read": [*READABLE, str(HERE / "visible.py"), *([cache] if cache else [])],
            "memory": questions.memory,
            "processor": questions.total + 30,
        }
        environment = {"HOME": str(folder), "TMPDIR": str(folder), "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}
        environment |= {"MPLCONFIGDIR": cache or str(folder), "PYTHONHASHSEED": "0", "PATH": os.defpath}
        environment |= {name: os.environ[name] for name in ("SYSTEMROOT", "LANG") if name in os.environ}
        self.process = subprocess.Popen(
            [sys.executable, "-sP", str(HERE / "worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
        threading.Thread(target=self._feed, args=(json.dumps(job).encode(),), daemon=True).start()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _feed(self, job: bytes) -> None:
        try:
            with self.process.stdin as pipe:
                pipe.write(job)
        except OSError:
            pass  # it has ended already, which `collect` notices

    def _read(self) -> None:
        begun, size = [], 0  # the pieces of a line that has not ended
        while size < ANSWERS and (block := self.process.stdout.read1(2**16)):
            size += len(block)
            *lines, last = block.split(b"\n")
            for line in lines:
                self.lines.put(b"".join([*begun, line]).decode(errors="replace"))
                begun.clear()
            begun.append(last)
        self.lines.put(None)

    def collect(self, outcomes: dict[str, Outcome], deadline: float) -> None:
        """Read answers until the last; raises Ended where a limit is reached or the process ends before."""
        known = {step["id"] for step in self.steps}
        ready, begun, used = False, time.monotonic(), self._processor()
        while True:
            try:
                line = self.lines.get(timeout=POLL)
            except queue.Empty:
                self._within_limits(begun, used, deadline)
                continue
            if line is None and not ready:
                raise RuntimeError(
                    f"the student's process did not start: {self.process.stderr.read().decode()[-500:]}"
                )
            if line is None:
                raise Ended("it ended the process, or wrote too much")
            try:
                message = json.loads(line)
                values = restored({"dict": message["values"]}) if "values" in message else None
            except Exception:  # whatever a submission may have put there
                raise Ended("its answer could not be read") from None
            if not ready:
                ready = message.get("ready", False)
                begun, used = time.monotonic(), self._processor()
            elif "end" in message:
                self._missing(outcomes)
                return
            elif message.get("done") in known:
                self.done.add(message["done"])
                outcomes[message["done"]] = Outcome(values, clean(message.get("error", ""))[:600])
                begun, used = time.monotonic(), self._processor()

    def _missing(self, outcomes: dict[str, Outcome]) -> None:
        for step in self.steps:
            outcomes.setdefault(step["id"], Outcome(error="no answer came"))

    def _processor(self) -> float:
        """Seconds of processor time so far."""
        try:
            times = psutil.Process(self.process.pid).cpu_times()
        except psutil.Error:
            return 0.0
        return times.user + times.system

    def _within_limits(self, begun: float, used: float, deadline: float) -> None:
        seconds, now = self.questions.seconds, time.monotonic()
        if self._processor() - used > seconds or now - begun > 3 * seconds or now > deadline:
            raise Ended(f"it took more than {seconds} s")
        try:
            memory = psutil.Process(self.process.pid).memory_info().rss
        except psutil.Error:
            return
        if memory > (self.questions.memory + 1024) * MEGABYTE:
            raise Ended("it took too much memory")
        if sum(path.lstat().st_size for path in self.folder.glob("*")) > FILES:
            raise Ended("it wrote too much into its folder")

    def stop(self) -> None:
        """End the process and all it started."""
        try:
            running = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.Error:
            running = []
        for process in (*running, self.process):
            with contextlib.suppress(psutil.Error, OSError):
                process.kill()
        self.process.wait()
        self.reader.join(timeout=5)
        for pipe in (self.process.stdout, self.process.stderr):
            pipe.close()


def _font_cache() -> str:
    """Matplotlib's folder with its list of fonts, which takes seconds to make."""
    import matplotlib.font_manager

    return matplotlib.get_cachedir()
