"""What a student's process can do: compute, read the libraries, write into its own folder, and nothing else.

Three layers. Limits of the operating system hold on Linux and macOS. On Linux the kernel itself refuses files outside
the folders named (Landlock), new processes, sockets and signals to others (seccomp): what runs inside cannot undo
either. An audit hook refuses the same in Python, for systems without the two. It stops what is tried in plain Python
and is no wall: there, grade strangers' code in a virtual machine.
"""

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

FOLDERS = ("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/sys/devices/system/cpu", "/proc/cpuinfo")
DEVICES = ("/dev/null", "/dev/urandom", "/dev/zero")
MEGABYTE = 2**20

# linux/landlock.h; the system calls have the same numbers on every architecture
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
EXECUTE, WRITE, READ, LIST = 1, 2, 4, 8
RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}  # the file rights that a version of Landlock knows; later ones know 16
SCOPE_ALL = 3  # abstract sockets and signals, from version 6

# linux/seccomp.h, linux/filter.h, linux/audit.h
NO_NEW_PRIVILEGES, SET_SECCOMP, FILTER_MODE = 38, 22, 2
LOAD, EQUAL, ANY_BIT, RETURN = 0x20, 0x15, 0x45, 0x06
ALLOW, REFUSE, NO_SUCH_CALL = 0x7FFF0000, 0x00050001, 0x00050026  # EPERM, ENOSYS
CLONE_THREAD = 0x10000
CLONE3 = 435
REFUSED = {
    "x86_64": {
        **{
            "fork": 57,
            "vfork": 58,
            "execve": 59,
            "execveat": 322,
            "kill": 62,
            "tkill": 200,
            "tgkill": 234,
            "socket": 41,
        },
        **{
            "ptrace": 101,
            "process_vm_readv": 310,
            "process_vm_writev": 311,
            "unshare": 272,
            "setns": 308,
            "mount": 165,
        },
        **{"setpgid": 109, "setsid": 112, "prlimit64": 302, "setpriority": 141, "sched_setaffinity": 203},
    },
    "aarch64": {
        **{"execve": 221, "execveat": 281, "kill": 129, "tkill": 130, "tgkill": 131, "socket": 198, "ptrace": 117},
        **{
            "process_vm_readv": 270,
            "process_vm_writev": 271,
            "unshare": 97,
            "setns": 268,
            "mount": 40,
            "setpgid": 154,
        },
        **{"setsid": 157, "prlimit64": 261, "setpriority": 140, "sched_setaffinity": 122},
    },
}
REFUSED_EVERYWHERE = {"pidfd_send_signal": 424, "io_uring_setup": 425}
MACHINES = {"x86_64": (0xC000003E, 56), "aarch64": (0xC00000B7, 220)}  # the machine's number, and that of `clone`


def has_walls() -> bool:
    """Whether the kernel of this machine has Landlock and seccomp, without putting them up."""
    if sys.platform != "linux" or platform.machine() not in MACHINES:
        return False
    return ctypes.CDLL(None, use_errno=True).syscall(CREATE_RULESET, None, 0, 1) >= 1


def limit(memory: int, processor: int) -> None:
    """At most `memory` more megabytes than now, `processor` seconds, files of 16 megabytes, 64 of them open."""
    try:
        import resource
    except ImportError:  # Windows
        return
    try:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + memory * MEGABYTE,) * 2)
    except OSError:
        pass  # macOS has neither the file nor the limit
    resource.setrlimit(resource.RLIMIT_CPU, (processor, processor))
    resource.setrlimit(resource.RLIMIT_FSIZE, (16 * MEGABYTE,) * 2)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def landlock(read: Iterable[str], write: Iterable[str]) -> bool:
    """Let the kernel refuse every file outside these folders, TCP, and signals to others; False where it cannot."""
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(CREATE_RULESET, None, 0, 1)
    if version < 1:
        return False
    rights = 2 ** RIGHTS.get(version, 16) - 1
    attributes = struct.pack("QQQ", rights, 3 if version >= 4 else 0, SCOPE_ALL if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = libc.syscall(CREATE_RULESET, attributes, size, 0)
    for paths, allowed in ((read, READ | LIST), (DEVICES, READ | WRITE), (write, rights & ~EXECUTE)):
        for path in paths:
            if not os.path.exists(path):
                continue
            opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
            kept = allowed if os.path.isdir(path) else allowed & (READ | WRITE)
            libc.syscall(ADD_RULE, ruleset, 1, struct.pack("=Qi", kept, opened), 0)
            os.close(opened)
    libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    done = libc.syscall(RESTRICT_SELF, ruleset, 0) == 0
    os.close(ruleset)
    return done


def seccomp() -> bool:
    """Let the kernel refuse processes, programs, sockets and signals; threads stay allowed. False where it cannot."""
    if sys.platform != "linux" or platform.machine() not in MACHINES:
        return False
    machine, clone = MACHINES[platform.machine()]
    refused = {**REFUSED[platform.machine()], **REFUSED_EVERYWHERE}
    tests = [*((EQUAL, number, REFUSE) for number in refused.values()), (EQUAL, CLONE3, NO_SUCH_CALL)]
    code = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, machine), (RETURN, 0, 0, REFUSE), (LOAD, 0, 0, 0)]
    for kind, number, answer in tests:
        code += [(kind, 0, 1, number), (RETURN, 0, 0, answer)]
    if machine == MACHINES["x86_64"][0]:  # the same calls under other numbers (x32)
        code += [(0x35, 0, 1, 0x40000000), (RETURN, 0, 0, REFUSE)]
    code += [(EQUAL, 0, 3, clone), (LOAD, 0, 0, 16), (ANY_BIT, 1, 0, CLONE_THREAD), (RETURN, 0, 0, REFUSE)]
    code += [(RETURN, 0, 0, ALLOW)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
    header = struct.pack("HxxxxxxP", len(code), ctypes.addressof(program))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    return libc.prctl(SET_SECCOMP, FILTER_MODE, header, 0, 0) == 0


def hook(read: Iterable[str], write: Iterable[str]) -> Callable[[str, tuple], None]:
    """An audit hook that refuses files outside these folders, processes, sockets, and the insides of Python."""
    real = os.path.realpath
    may_write = tuple(real(path) for path in (*write, *DEVICES))
    may_read = (*may_write, *(real(path) for path in read))
    harmless = ("os.putenv", "os.unsetenv", "os.listxattr", "os.getxattr", "os.get_blocking", "os.walk", "os.fwalk")
    closed = (
        "subprocess.",
        "socket.",
        "ctypes.",
        "os.",
        "shutil.",
        "pty.",
        "fcntl.",
        "mmap.",
        "signal.",
        "gc.",
        "resource.",
    )
    reading = ("os.listdir", "os.scandir", "os.chdir")

    def inside(path, folders) -> bool:
        if isinstance(path, int):
            return True  # a file that is open already
        place = real(os.fsdecode(path if path is not None else "."))
        return any(place == folder or place.startswith(folder + os.sep) for folder in folders)

    def refuse(event: str, arguments: tuple) -> None:
        if event == "open":
            path, _, flags = arguments
            writes = bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND))
            if not inside(path, may_write if writes else may_read):
                raise PermissionError(f"a submission may not open {os.fsdecode(path)}")
        elif event in reading:
            if not inside(arguments[0], may_read):
                raise PermissionError(f"a submission may not read {arguments[0]}")
        elif event.startswith(closed) and event not in harmless:
            paths = [part for part in arguments if isinstance(part, str | bytes)]
            changes_files = event.startswith(("os.", "shutil.")) and paths and not event.startswith(PROCESSES)
            if not (changes_files and all(inside(path, may_write) for path in paths)):
                raise PermissionError(f"a submission may not use {event}")

    return refuse


PROCESSES = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.kill", "os.startfile")


def close(read: Iterable[str], write: Iterable[str], memory: int, processor: int) -> list[str]:
    """Put up all layers, for good; returns the names of those that this system lacks."""
    read = [*FOLDERS, *read]
    limit(memory, processor)
    missing = [name for name, works in (("Landlock", landlock(read, write)), ("seccomp", seccomp())) if not works]
    sys.addaudithook(hook(read, write))
    return missing
