"""The student's process: reads a job from standard input, runs it behind the fence, and writes back plain values.

Run as `python -sP worker.py` by process.py. It gets the code of the cells and the inputs of the calls, never an
expected value: whatever a submission reads or replaces here, all it can do is choose what it answers.
"""

import json
import os
import random
import sys
import traceback
import types


class NoShell:
    """Stands for IPython's shell: magics and shell commands do nothing."""

    def __getattr__(self, name):
        return lambda *arguments, **named: None


def same_numbers() -> None:
    """Seed the generators that need no seed, so that marking twice gives the same marks."""
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


def main() -> None:
    job = json.load(sys.stdin)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    silent = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silent, stream)
    sys.path[:0] = job["paths"]
    for name in job["imports"]:
        __import__(name)
    import fence
    from visible import plain, restored, run

    fence.close(job["read"], [os.getcwd()], job["memory"], job["processor"])

    def answer(**message) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    answer(ready=True)
    notebook = sys.modules["__main__"] = types.ModuleType("__main__")
    space = notebook.__dict__
    space.update(get_ipython=NoShell, display=lambda *shown: None)
    sys.path.insert(0, os.getcwd())
    for step in job["steps"]:
        answer(begin=step["id"])
        same_numbers()
        try:
            if "code" in step:
                exec(compile(step["code"], f"<{step['name']}>", "exec"), space)
                answer(done=step["id"], values={})
            else:
                case = {**step, "inputs": restored(step["inputs"])}
                answer(done=step["id"], values={name: plain(value) for name, value in run(case, space).items()})
        except BaseException as error:  # SystemExit and KeyboardInterrupt, too
            said = "".join(traceback.format_exception_only(error)).strip()
            places = [
                f"{frame.name.strip('<>')}, line {frame.lineno}"
                for frame in traceback.extract_tb(error.__traceback__)
                if frame.filename.startswith("<")
            ][-1:]
            answer(done=step["id"], error=" ".join([*places, said])[:600])
    answer(end=True)


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    main()
