"""What takes long to compute is kept on disk: written atomically, and checked whenever it is read."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unstuck.arguments import function, words

Arrays = dict[str, np.ndarray]

HEADER = "header"
"""The entry of the file, a JSON text, that holds the key and the checksums of the others."""


def folder() -> Path:
    """Where the cache lies: `UNSTUCK_CACHE`, or `unstuck` in the user's cache folder of the operating system.

    It need not exist. On Linux that is `XDG_CACHE_HOME` or ~/.cache, on macOS ~/Library/Caches, on Windows
    `LOCALAPPDATA`.
    """
    if chosen := os.environ.get("UNSTUCK_CACHE"):
        return Path(chosen).expanduser()
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "unstuck" / "cache"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "unstuck"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "unstuck"


def checksum(array: np.ndarray) -> str:
    """SHA-256 of an array's bytes in C order, as hexadecimal text."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def cached(name: str, key: Mapping[str, Any], make: Callable[[], Arrays]) -> Arrays:
    """The arrays that `make()` returns: read from the cache, or made and kept there.

    Args:
        name: how the file's name begins.
        key: everything that the result depends on, as JSON can write it; another key is another file.
        make: of no arguments; returns `{name: array}`, without Python objects.

    The file appears complete or not at all. One that does not have the key and the checksums that it was written with
    is made again, with a warning; so is nothing where the folder cannot be written: then the result is only returned.
    """
    text = json.dumps({"name": words("name", name), **key}, sort_keys=True)
    function("make", make, "")
    path = folder() / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.npz"
    try:
        return _read(path, text)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        warnings.warn(f"{path}: damaged ({error}): it is made again", stacklevel=2)
    arrays = make()
    try:
        _write(path, text, arrays)
    except OSError as error:
        warnings.warn(f"{path}: not kept, it is made again next time ({error})", stacklevel=2)
    return arrays


def _read(path: Path, key: str) -> Arrays:
    with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
        header = json.loads(str(file[HEADER]))
        if header["key"] != key:
            raise ValueError("it has another key")
        arrays = {name: file[name] for name in header["checksums"]}
    for name, expected in header["checksums"].items():
        if checksum(arrays[name]) != expected:
            raise ValueError(f"{name} has another checksum than it was written with")
    return arrays


def _write(path: Path, key: str, arrays: Arrays) -> None:
    """To a file of another name first, which then takes the name: an interrupted write leaves nothing to be read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = json.dumps({"key": key, "checksums": {name: checksum(array) for name, array in arrays.items()}})
    handle, temporary = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=".npz", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **{HEADER: np.array(header)}, **arrays)  # type: ignore[arg-type]
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
