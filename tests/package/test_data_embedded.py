"""The embedded images: what is in the package is what was published, and damage is refused."""

import hashlib
import struct
import zipfile

import numpy as np
import pytest
import torch

from unstuck.data import embedded, fashion, mnist

EMBEDDED = {"mnist": mnist, "fashion": fashion}


@pytest.fixture(scope="module")
def splits():
    return {name: load() for name, load in EMBEDDED.items()}


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_parts_are_balanced_images(splits, name):
    split = splits[name]
    for x, y in ((split.x_train, split.y_train), (split.x_test, split.y_test)):
        assert x.shape == (10_000, 1, 28, 28) and x.dtype == torch.float32
        assert y.shape == (10_000,) and y.dtype == torch.int64
        assert y.bincount().tolist() == [1000] * 10
        assert x.min() == 0 and x.max() == 1
        bytes_again = x * 255
        assert (bytes_again - bytes_again.round()).abs().max() < 1e-4


@pytest.mark.parametrize("name", EMBEDDED)
def test_no_image_is_there_twice(splits, name):
    x = torch.cat([splits[name].x_train, splits[name].x_test])
    assert len({image.numpy().tobytes() for image in x}) == 20_000


# First labels of the official files and mean and standard deviation of the 60,000 official training pixels: as
# printed in countless tutorials, e.g. the normalisation constants of PyTorch's MNIST example.
OFFICIAL = {
    "mnist": ([5, 0, 4, 1, 9, 2, 1, 3, 1, 4], [7, 2, 1, 0, 4, 1, 4, 9, 5, 9], 0.1307, 0.3081),
    "fashion": ([9, 0, 0, 3, 0, 2, 7, 2, 5, 5], [9, 2, 1, 1, 6, 1, 4, 6, 5, 7], 0.2860, 0.3530),
}


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_images_are_the_published_ones(splits, name):
    first_train, first_test, mean, std = OFFICIAL[name]
    split = splits[name]
    assert split.y_train[:10].tolist() == first_train
    assert split.y_test[:10].tolist() == first_test
    assert float(split.x_train.mean()) == pytest.approx(mean, rel=0.02)
    assert float(split.x_train.std()) == pytest.approx(std, rel=0.02)


def test_classes_have_the_published_names(splits):
    clothes = "T-shirt/top, Trouser, Pullover, Dress, Coat, Sandal, Shirt, Sneaker, Bag, Ankle boot"  # its README
    assert splits["fashion"].classes[0] == "T-shirt/top"
    assert [name.capitalize() for name in splits["fashion"].classes] == clothes.split(", ")
    assert all(name.islower() for name in splits["fashion"].classes[1:])
    assert splits["mnist"].classes == tuple("0123456789")


def test_labels_belong_to_their_images(splits):
    # A class mean classifies 80 % of the digits and 68 % of the clothes; shuffled labels would give 10 %.
    for name, least in (("mnist", 0.75), ("fashion", 0.60)):
        x, y = splits[name].x_train.flatten(1), splits[name].y_train
        means = torch.stack([x[y == k].mean(0) for k in range(10)])
        nearest = torch.cdist(splits[name].x_test.flatten(1), means).argmin(1)
        assert float((nearest == splits[name].y_test).float().mean()) > least
    ink = splits["mnist"].x_train.mean((1, 2, 3))
    by_digit = [float(ink[splits["mnist"].y_train == k].mean()) for k in range(10)]
    assert min(by_digit) == by_digit[1] and max(by_digit) == by_digit[0]


def test_mnist_fills_what_the_official_test_part_lacks(splits):
    official = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]  # test images a class, as published
    lacking = [max(0, 1000 - count) for count in official]
    split = splits["mnist"]
    assert {name: each.meta["name"] for name, each in splits.items()} == {name: name for name in splits}
    assert list(split.meta["test_filled"].values()) == lacking
    assert split.meta["test_official"] == 10_000 - sum(lacking)
    assert split.y_test[split.meta["test_official"] :].bincount(minlength=10).tolist() == lacking
    assert f"{sum(lacking)} images" in " ".join(mnist.__doc__.split())
    assert sum(splits["fashion"].meta["test_filled"].values()) == 0


@pytest.mark.parametrize("name", EMBEDDED)
def test_checksums_against_the_bytes_in_the_zip(name):
    with zipfile.ZipFile(embedded.FOLDER / f"{name}.npz") as archive:
        assert sorted(archive.namelist()) == sorted(f"{key}.npy" for key in embedded.CHECKSUMS[name])
        for key, digest in embedded.CHECKSUMS[name].items():
            member = archive.read(f"{key}.npy")
            (header,) = struct.unpack("<H", member[8:10])  # .npy, version 1: magic, version, length, header
            assert hashlib.sha256(member[10 + header :]).hexdigest() == digest


def test_embedded_files_fit_and_carry_their_licences():
    sizes = [path.stat().st_size for path in embedded.FOLDER.glob("*.npz")]
    assert len(sizes) == 2 and sum(sizes) < 14e6
    assert "Zalando SE" in (embedded.FOLDER / "LICENSE-fashion-mnist").read_text()
    assert "licenses/by-sa/3.0" in (embedded.FOLDER / "LICENSE-mnist").read_text()


# ---- damaged files


@pytest.mark.parametrize("where", [0.0, 0.3, 0.6, 0.999])
def test_flipped_byte_is_refused(tmp_path, monkeypatch, where):
    content = bytearray((embedded.FOLDER / "mnist.npz").read_bytes())
    content[int(where * len(content))] ^= 0xFF
    (tmp_path / "mnist.npz").write_bytes(content)
    monkeypatch.setattr(embedded, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match=r"mnist\.npz: damaged: expected .*, got "):
        mnist()


def test_changed_pixel_in_a_sound_file_is_refused_by_its_checksum(tmp_path, monkeypatch):
    with np.load(embedded.FOLDER / "mnist.npz") as file:
        arrays = dict(file)
    np.savez(tmp_path / "mnist.npz", **arrays)
    monkeypatch.setattr(embedded, "FOLDER", tmp_path)
    assert len(mnist().x_train) == 10_000  # the folder is the one that is read
    arrays["x_test"][7, 14, 14] ^= 1
    np.savez(tmp_path / "mnist.npz", **arrays)
    with pytest.raises(ValueError, match=f"x_test with SHA-256 {embedded.CHECKSUMS['mnist']['x_test']}"):
        mnist()


def test_truncated_missing_and_pickled_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(embedded, "FOLDER", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"mnist\.npz"):
        mnist()
    (tmp_path / "mnist.npz").write_bytes(b"")
    with pytest.raises(ValueError, match=r"mnist\.npz: damaged"):
        mnist()
    np.savez(tmp_path / "mnist.npz", **{key: np.array([{}]) for key in embedded.CHECKSUMS["mnist"]})
    with pytest.raises(ValueError, match="allow_pickle"):
        mnist()
