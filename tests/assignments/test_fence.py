"""Each wall alone: what the kernel refuses with the audit hook away, and what the hook refuses without the kernel."""

import json
import subprocess
import sys

import pytest
from conftest import ROOT

TRIED = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
import numpy, fence
inside = os.getcwd()
if sys.argv[2] == "kernel":
    fence.hook = lambda read, write: lambda event, arguments: None
    missing = fence.close([sys.prefix, sys.base_prefix], [inside], 512, 20)
else:
    fence.landlock = fence.seccomp = lambda *folders: True
    missing = fence.close([sys.prefix, sys.base_prefix], [inside], 512, 20)
above, parent = os.path.dirname(inside), os.getppid()

def child():
    if os.fork() == 0:
        os._exit(0)

import resource, signal, socket, threading
tried = {
    "read above": lambda: open(above + "/secret"),
    "list above": lambda: os.listdir(above),
    "write above": lambda: open(above + "/mine", "w"),
    "remove above": lambda: os.remove(above + "/secret"),
    "link above": lambda: (os.symlink(above + "/secret", "link"), open("link")),
    "memory of the parent": lambda: open(f"/proc/{parent}/mem", "rb"),
    "signal the parent": lambda: os.kill(parent, 0),
    "limit the parent": lambda: resource.prlimit(parent, resource.RLIMIT_CPU, (100, 100)),
    "a child": child,
    "a program": lambda: os.execv(sys.executable, [sys.executable, "-c", "0"]),
    "TCP": lambda: socket.create_connection(("127.0.0.1", 9), 1),
    "UDP": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "too much memory": lambda: numpy.ones(10**8),
    "write inside": lambda: open("mine", "w").write("a"),
    "read inside": lambda: open("mine").read(),
    "a folder inside": lambda: os.mkdir("folder"),
    "a thread": lambda: (lambda thread: (thread.start(), thread.join()))(threading.Thread(target=print)),
    "a library": lambda: __import__("numpy.polynomial"),
}
found = {}
for name, attempt in tried.items():
    try:
        attempt()
        found[name] = "allowed"
    except (OSError, MemoryError) as error:
        found[name] = "refused"
print(json.dumps([missing, found]))
"""
ALLOWED = {"write inside", "read inside", "a folder inside", "a thread", "a library"}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the walls of the kernel")
@pytest.mark.parametrize("wall", ["kernel", "hook"])
def test_a_wall_alone(tmp_path, wall):
    (tmp_path / "secret").write_text("17")
    (tmp_path / "inside").mkdir()
    command = [sys.executable, "-sP", "-c", TRIED, str(ROOT / "assignments" / "grading"), wall]
    done = subprocess.run(command, cwd=tmp_path / "inside", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    missing, found = json.loads(done.stdout.splitlines()[-1])
    if missing:
        pytest.skip(f"this kernel lacks {' and '.join(missing)}")
    assert {name for name, became in found.items() if became == "allowed"} == ALLOWED
    assert (tmp_path / "secret").read_text() == "17" and {path.name for path in tmp_path.iterdir()} == {
        "secret",
        "inside",
    }
