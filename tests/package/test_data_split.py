"""Split: what it refuses, and what is cut from it."""

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import torch
from samples import images, points
from torch.nn.functional import avg_pool2d

from unstuck.data import mnist


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
        (
            {"x_train": np.zeros((400, 3), np.float32)},
            TypeError,
            "x_train, y_train, .*: expected four tensors or",
        ),
        ({"y_test": [0] * 50}, TypeError, "y_test: expected a torch tensor or a NumPy array, got "),
        ({"x_train": torch.zeros(400, 3, dtype=torch.uint8)}, TypeError, "x_train: expected float32"),
        ({"x_test": torch.zeros(50, 3, dtype=torch.float64)}, TypeError, "x_test: expected float32"),
        ({"y_train": torch.zeros(400)}, TypeError, r"y_train: expected int64, got torch\.float32"),
        ({"x_test": torch.zeros(50, 4)}, ValueError, r"x_test: expected .* got \(50, 4\)"),
        ({"x_test": torch.zeros(0, 3)}, ValueError, "x_test: expected .* N > 0"),
        ({"x_train": torch.zeros(400)}, ValueError, "x_train: expected"),
        ({"y_train": torch.zeros(399, dtype=torch.int64)}, ValueError, r"y_train: .*\(400,\), got \(399,\)"),
        ({"y_test": torch.full((50,), 4)}, ValueError, "y_test: expected labels 0 to 3"),
        ({"y_test": torch.full((50,), -1)}, ValueError, "y_test: expected labels 0 to 3"),
        ({"classes": "abcd"}, TypeError, "classes: expected a sequence of names"),
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


def test_subset_of_mnist_is_exact_and_nested():
    digits = mnist()
    small, large = (digits.subset(n, seed=1) for n in (100, 1000))
    assert small.y_train.bincount().tolist() == [10] * 10
    assert large.y_train.bincount().tolist() == [100] * 10
    within = {x.numpy().tobytes() for x in large.x_train}
    assert all(x.numpy().tobytes() in within for x in small.x_train)


def places(part, split):
    """Where the examples `part` stand in the training part of `split`."""
    place = {x.numpy().tobytes(): i for i, x in enumerate(split.x_train)}
    return [place[x.numpy().tobytes()] for x in part]


@pytest.mark.parametrize("seed", range(3))
def test_what_is_cut_keeps_the_order(seed):
    split = points()
    cut = split.validation(0.3, seed)
    for part in (split.subset(37, seed).x_train, cut.x_train, cut.x_test):
        found = places(part, split)
        assert found == sorted(found)
    assert places(split.subset(400).x_train, split) == list(range(400))


def test_validation_cuts_the_training_part_in_two():
    split = points()
    cut = split.validation(0.2, seed=5)
    assert len(cut.x_train) == 320 and len(cut.x_test) == 80
    share = split.y_train.bincount(minlength=4) * 0.2
    assert (cut.y_test.bincount(minlength=4) - share).abs().max() < 1
    whole = torch.cat([cut.x_train, cut.x_test]), torch.cat([cut.y_train, cut.y_test])
    pairs = sorted((x.numpy().tobytes(), int(y)) for x, y in zip(*whole, strict=True))
    assert pairs == sorted((x.numpy().tobytes(), int(y)) for x, y in zip(split.x_train, split.y_train, strict=True))


def test_one_example_may_be_held_out_and_all_but_one():
    split = points()
    assert len(split.validation(1 / 400).x_test) == 1
    assert len(split.validation(399 / 400).x_train) == 1


def test_cuts_work_alike_in_numpy():
    split = points()
    for cut in (lambda s: s.subset(30, 1), lambda s: s.validation(0.3, 1), lambda s: s.map(lambda x: 2 * x)):
        ours, theirs = cut(split.numpy()), cut(split)
        for name in ("x_train", "y_train", "x_test", "y_test"):
            assert isinstance(getattr(ours, name), np.ndarray)
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name).numpy())


def test_cuts_say_in_meta_what_they_did():
    cut = points().validation(0.5, seed=2).subset(np.int64(10), seed=3)
    note = {"validation": {"fraction": 0.5, "seed": 2}, "subset": {"n": 10, "seed": 3}}
    assert cut.meta == {"name": "points", **note}
    assert type(cut.meta["subset"]["n"]) is int


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda s: s.subset(0), ValueError, "n: expected an integer of at least 1, got 0"),
        (lambda s: s.subset(401), ValueError, "n: expected an integer of at most 400, got 401"),
        (lambda s: s.subset(True), TypeError, "n: expected an integer"),
        (lambda s: s.subset(10, seed=-1), ValueError, "seed: expected an integer of at least 0"),
        (lambda s: s.validation(0.3, seed=None), TypeError, "seed: expected an integer"),
        (lambda s: s.validation("half"), TypeError, "fraction: expected a number, got 'half'"),
        (lambda s: s.validation(0.0), ValueError, "fraction: expected to leave examples in both parts of 400, got 0"),
        (lambda s: s.validation(1.0), ValueError, "fraction: expected to leave examples in both parts of 400, got 1"),
        (lambda s: s.validation(-0.5), ValueError, "fraction: expected to leave examples in both parts"),
        (lambda s: s.validation(1e-4), ValueError, "fraction: expected to leave examples in both parts"),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match="^" + message):
        call(points())


@pytest.mark.parametrize("cut", [lambda seed: points().subset(20, seed), lambda seed: points().validation(0.3, seed)])
def test_seed_decides_and_global_random_state_stays(cut):
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    one, again, other = (cut(seed).x_train for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)


# ---- map


def test_map_changes_both_x_parts_and_nothing_else():
    split = images()
    mapped = split.map(lambda x: avg_pool2d(x, (3, 2)))
    for name in ("x_train", "x_test"):
        x = getattr(split, name).numpy()
        expected = x.reshape(len(x), 2, 1, 3, 2, 2).mean(axis=(3, 5))
        np.testing.assert_allclose(getattr(mapped, name).numpy(), expected, rtol=1e-6)
    assert mapped.y_train is split.y_train and mapped.y_test is split.y_test
    assert mapped.classes == split.classes and mapped.meta == split.meta
    assert split.x_train.shape == (60, 2, 3, 4)


def test_map_gives_the_function_each_part_once():
    split, seen = points(), []
    split.map(lambda x: seen.append(x) or x)
    assert seen[0] is split.x_train and seen[1] is split.x_test and len(seen) == 2


@pytest.mark.parametrize(
    ("f", "error", "message"),
    [
        (3, TypeError, r"f: expected a function of \(x\), got 3"),
        ("mean", TypeError, r"f: expected a function of \(x\), got 'mean'"),
        (lambda x: None, TypeError, "f: expected to return a torch tensor, got None"),
        (lambda x: x.numpy(), TypeError, r"f: expected to return a torch tensor, got ndarray of shape \(400, 3\)"),
        (lambda x: x if len(x) == 400 else 0, TypeError, "f: expected to return a torch tensor, got 0"),
        (
            lambda x: x[1:],
            ValueError,
            r"f: .* x_train, y_train: expected .* \(399,\), got \(400,\)",
        ),
        (lambda x: x.half(), TypeError, "f: its result does not fit: x_train: expected float32"),
        (lambda x: x[:, : 1 + (len(x) == 400)], ValueError, "f: .* x_test: expected .* both parts alike"),
        (lambda x: x.mean(1), ValueError, "f: its result does not fit: x_train: expected"),
    ],
)
def test_map_refuses_what_gives_no_split(f, error, message):
    with pytest.raises(error, match="^" + message):
        points().map(f)


def test_map_of_arrays_wants_an_array_back():
    with pytest.raises(TypeError, match=r"^f: expected to return a NumPy array, got Tensor of shape"):
        points().numpy().map(torch.from_numpy)


# ---- entries of meta that hold something about every example


def with_notes():
    """A Split with three such entries, which can be told from the examples, and one that only looks like one."""
    split = points()
    parts = {"train": split.x_train.double().numpy(), "test": split.x_test.double().numpy()}
    notes = {
        "array": {part: np.stack([x[:, 0], -x[:, 1]], axis=1) for part, x in parts.items()},
        "list": {part: x[:, 1].tolist() for part, x in parts.items()},
        "tuple": {part: tuple(map(str, x[:, 2])) for part, x in parts.items()},
        "other": {part: x[:, 0] for part, x in parts.items()},
    }
    return replace(split, meta={**split.meta, **notes, "per_example": ["array", "list", "tuple"]})


def assert_notes_fit(split):
    for part in ("train", "test"):
        x = np.asarray(getattr(split, f"x_{part}"), dtype=np.float64)
        notes = {name: split.meta[name][part] for name in ("array", "list", "tuple")}
        assert [type(values) for values in notes.values()] == [np.ndarray, list, tuple]
        np.testing.assert_array_equal(notes["array"], np.stack([x[:, 0], -x[:, 1]], axis=1))
        assert notes["list"] == x[:, 1].tolist()
        assert notes["tuple"] == tuple(map(str, x[:, 2]))


CUTS = {
    "none": lambda s: s,
    "subset": lambda s: s.subset(37, seed=1),
    "validation": lambda s: s.validation(0.3, seed=1),
    "both": lambda s: s.validation(0.3, seed=1).subset(20, seed=2),
    "numpy": lambda s: s.numpy().subset(37, seed=1).validation(0.5),
}


@pytest.mark.parametrize("name", CUTS)
def test_entries_per_example_are_cut_along(name):
    split = with_notes()
    cut = CUTS[name](split)
    assert_notes_fit(cut)
    assert cut.meta["per_example"] == ("array", "list", "tuple")
    assert cut.meta["other"] is split.meta["other"]  # not named there
    assert_notes_fit(split)  # the original is as it was


def test_map_keeps_the_entries_per_example():
    split = with_notes()
    assert split.map(lambda x: x + 1).meta == split.meta


ENTRY = {"train": list(range(400)), "test": list(range(50))}


@pytest.mark.parametrize(
    ("meta", "error", "message"),
    [
        ({"per_example": "kind", "kind": ENTRY}, TypeError, r"meta\['per_example'\]: expected a sequence of names"),
        ({"per_example": ["kind"]}, ValueError, r"meta\['per_example'\]: \['kind'\] are not among"),
        ({"per_example": ["kind"], "kind": ENTRY["train"]}, TypeError, r"meta\['kind'\]: expected a dict with"),
        (
            {"per_example": ["kind"], "kind": {"train": ENTRY["train"]}},
            ValueError,
            r"meta\['kind'\]: expected a dict",
        ),
        (
            {"per_example": ["kind"], "kind": ENTRY | {"train": "x" * 400}},
            TypeError,
            r"meta\['kind'\]\['train'\]: expected a NumPy array, a list or a tuple",
        ),
        (
            {"per_example": ["kind"], "kind": ENTRY | {"test": np.zeros((2, 50))}},
            ValueError,
            r"meta\['kind'\]\['test'\]: expected an item an example, \(50, ...\), got \(2, 50\)",
        ),
        (
            {"per_example": ["kind"], "kind": ENTRY | {"train": ENTRY["train"][1:]}},
            ValueError,
            r"meta\['kind'\]\['train'\]: expected an item an example, \(400, ...\), got \(399,\)",
        ),
        ({"per_example": ["kind"], "kind": ENTRY | {"train": np.array(1)}}, ValueError, r".* got \(\)"),
        ([], TypeError, "meta: expected a dict"),
    ],
)
def test_entries_per_example_that_do_not_fit_are_refused(meta, error, message):
    assert replace(points(), meta={"per_example": ["kind"], "kind": ENTRY}).meta["kind"] == ENTRY
    with pytest.raises(error, match="^" + message):
        replace(points(), meta=meta)
