"""The embedded images: parts of MNIST and of Fashion-MNIST.

`tools/build_data.py` made the files and shows where they come from; their licences lie beside them.
"""

from pathlib import Path

import numpy as np
import torch

from unstuck.cache import checksum
from unstuck.data.split import Split

FOLDER = Path(__file__).parents[1] / "_data"

CHECKSUMS: dict[str, dict[str, str]] = {
    "mnist": {
        "x_train": "f83ddfb6346264b52ed4a5c96f7891bb59b5b151c2cb216648d82f22e3c85195",
        "y_train": "81018dafcfe18151c97046f4634773cc19464ce01f34c11a89a445656fa5599c",
        "x_test": "48ace1148aeab1e8552a84ce84926544e3bfd8ccbe447ad54376efec238ff286",
        "y_test": "3bf76f642479e446772e8449a67278e25c4b43823eb428ea9f715b96279d282a",
        "test_filled": "9d2db6882af4d47ef9e2a7239f8792008b59e7c7f6512998778e0eb2fa42a525",
    },
    "fashion": {
        "x_train": "e1427044c614fabc29feeff0f27e6b68f88a9ee2f2cfe7d783b9157159864883",
        "y_train": "2c02745d4ad8b4511333d0eca662ac5664a371860abaa4588b1670e7be59fbdf",
        "x_test": "c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a",
        "y_test": "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9",
        "test_filled": "5b6fb58e61fa475939767d68a446f97f1bff02c0e5935a3ea8bb51e6515783d8",
    },
}
"""SHA-256 of the bytes of every embedded array, in C order; `tools/build_data.py` verifies the same table."""

DIGITS = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
CLOTHES = ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


def mnist() -> Split:
    """Handwritten digits: 10,000 training and 10,000 test images (N, 1, 28, 28), 1,000 a class in each part.

    A balanced part of MNIST (LeCun, Cortes, Burges 1998). Training part: of each class the first 1,000
    official training images. Test part: of each class the first 1,000 official test images. Five classes
    have fewer (there are only 892 fives): 214 images are filled in from the official training images that
    follow those of the training part, so no image is in both. The filled ones stand at the end of the test
    part; otherwise everything keeps the order of the official files. `meta["test_filled"]` counts
    them by class, `meta["test_official"]` is the number of official ones in front of them.

    Raises ValueError when the embedded file is damaged.
    """
    return _embedded("mnist", DIGITS, "MNIST database of handwritten digits; Y. LeCun, C. Cortes, C. J. C. Burges")


def fashion() -> Split:
    """Articles of clothing: 10,000 training and 10,000 test images (N, 1, 28, 28), 1,000 a class in each part.

    Part of Fashion-MNIST (Xiao, Rasul, Vollgraf 2017). Training part: of each class the first 1,000 official
    training images, in the order of the official file. Test part: the official one, unchanged.

    Raises ValueError when the embedded file is damaged.
    """
    return _embedded("fashion", CLOTHES, "Fashion-MNIST; H. Xiao, K. Rasul, R. Vollgraf; (c) 2017 Zalando SE")


def _embedded(name: str, classes: tuple[str, ...], source: str) -> Split:
    arrays = _read(FOLDER / f"{name}.npz", CHECKSUMS[name])
    filled = arrays["test_filled"].tolist()
    by_class, official = dict(zip(classes, filled, strict=True)), len(arrays["y_test"]) - sum(filled)
    meta = {"name": name, "source": source, "test_filled": by_class, "test_official": official}
    x_train, x_test = (torch.from_numpy(arrays[key]).unsqueeze(1).float().div_(255) for key in ("x_train", "x_test"))
    y_train, y_test = (torch.from_numpy(arrays[key]).long() for key in ("y_train", "y_test"))
    return Split(x_train, y_train, x_test, y_test, classes, meta)


def _read(path: Path, checksums: dict[str, str]) -> dict[str, np.ndarray]:
    cure = "install unstuck again, or rebuild the file with tools/build_data.py"
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in checksums}
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: missing: expected a file that comes with unstuck; {cure}") from error
    except Exception as error:  # zip, zlib, NumPy's header parser: each has its own
        expected, found = f"a readable .npz with {list(checksums)}", f"{type(error).__name__}: {error}"
        raise ValueError(f"{path}: damaged: expected {expected}, got {found}; {cure}") from error
    for key, expected in checksums.items():
        if (found := checksum(arrays[key])) != expected:
            raise ValueError(f"{path}: damaged: expected {key} with SHA-256 {expected}, got {found}; {cure}")
    return arrays
