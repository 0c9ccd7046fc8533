"""The cache on disk: atomic, checked, and never in the way."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from unstuck import cache

A = np.arange(6.0).reshape(2, 3)


@pytest.fixture
def counted(tmp_path, monkeypatch):
    """What makes the arrays, and how often it was asked."""
    monkeypatch.setenv("UNSTUCK_CACHE", str(tmp_path / "deep" / "cache"))
    calls = []

    def make():
        calls.append(1)
        return {"a": A, "n": np.array([3])}

    return make, calls


def test_the_folder_is_the_one_named_or_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("UNSTUCK_CACHE", str(tmp_path))
    assert cache.folder() == tmp_path
    monkeypatch.delenv("UNSTUCK_CACHE")
    monkeypatch.setattr(cache.sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.folder() == tmp_path / "xdg" / "unstuck"
    monkeypatch.setattr(cache.sys, "platform", "darwin")
    assert cache.folder() == Path.home() / "Library" / "Caches" / "unstuck"
    monkeypatch.setattr(cache.sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache.folder() == tmp_path / "local" / "unstuck" / "cache"


def test_made_once_a_key(counted):
    make, calls = counted
    for _ in range(3):
        found = cache.cached("x", {"size": 3}, make)
    assert len(calls) == 1
    assert np.array_equal(found["a"], A) and found["n"].tolist() == [3]
    cache.cached("x", {"size": 4}, make)
    cache.cached("y", {"size": 3}, make)
    assert len(calls) == 3
    assert len(list(cache.folder().iterdir())) == 3


@pytest.mark.parametrize("damage", ["cut", "text", "byte", "other key"])
def test_a_damaged_file_is_made_again(counted, damage):
    make, calls = counted
    cache.cached("x", {"size": 3}, make)
    (path,) = cache.folder().iterdir()
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "text":
        path.write_text("no archive")
    elif damage == "byte":
        at = content.index(A.tobytes())
        path.write_bytes(content[:at] + b"\xff" + content[at + 1 :])
    else:
        cache.cached("x", {"size": 4}, make)
        (other,) = set(cache.folder().iterdir()) - {path}
        path.write_bytes(other.read_bytes())
    before = len(calls)
    with pytest.warns(UserWarning, match=f"{path.name}: damaged"):
        found = cache.cached("x", {"size": 3}, make)
    assert len(calls) == before + 1
    assert np.array_equal(found["a"], A)
    cache.cached("x", {"size": 3}, make)  # and is whole now
    assert len(calls) == before + 1


def test_arrays_that_were_changed_with_their_archive_are_noticed(counted):
    make, _ = counted
    cache.cached("x", {}, make)
    (path,) = cache.folder().iterdir()
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    arrays["a"] = A + 1  # a valid archive with other numbers
    np.savez(path, **arrays)
    with pytest.warns(UserWarning, match="another checksum"):
        assert np.array_equal(cache.cached("x", {}, make)["a"], A)


def test_an_interrupted_write_leaves_nothing(counted, monkeypatch):
    make, _ = counted

    def interrupted(file, **arrays):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(cache.np, "savez", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cache.cached("x", {}, make)
    assert list(cache.folder().iterdir()) == []


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("UNSTUCK_CACHE", str(blocked))
    with pytest.warns(UserWarning) as seen:
        assert np.array_equal(cache.cached("x", {}, lambda: {"a": A})["a"], A)
    assert "not kept" in str(seen[-1].message)


def test_checksum_is_of_the_bytes_in_c_order():
    assert cache.checksum(A) == hashlib.sha256(A.tobytes()).hexdigest()
    assert cache.checksum(A.T) == hashlib.sha256(A.T.tobytes(order="C")).hexdigest()
