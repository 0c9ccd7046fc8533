"""The solar cells: their labels and split, the shrinking of images, and what happens without the package."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.functional import adaptive_avg_pool2d

from unstuck.data import solar, solar_cells


@pytest.fixture(scope="module")
def split():
    return solar_cells(30)


def test_shapes_counts_and_labels(split):
    assert repr(split).startswith("Split(solar_cells: 1,968 training and 656 test examples of shape (1, 30, 30)")
    for part in ("train", "test"):
        x, y = getattr(split, f"x_{part}"), getattr(split, f"y_{part}")
        probability = split.meta["probability"][part]
        assert 0 <= float(x.min()) < 0.2 < 0.8 < float(x.max()) <= 1
        assert np.array_equal(y.numpy() == 1, probability > 0.5)
        assert set(split.meta["cell_type"][part]) == {"mono", "poly"}
    majority = 1 - torch.cat([split.y_train, split.y_test]).double().mean()
    assert float(majority) == pytest.approx((1508 + 295) / 2624)


def test_every_cell_is_in_one_part_and_groups_are_shared_out_evenly(split):
    index = split.meta["index"]
    assert sorted([*index["train"], *index["test"]]) == list(range(2624))
    for probability in np.unique(split.meta["probability"]["test"]):
        for kind in ("mono", "poly"):
            here = [
                int(((split.meta["probability"][p] == probability) & (split.meta["cell_type"][p] == kind)).sum())
                for p in ("train", "test")
            ]
            assert abs(here[1] - sum(here) / 4) < 1


def test_the_seed_makes_the_split_and_nothing_else(split):
    same, other = solar_cells(30), solar_cells(30, seed=1)
    assert torch.equal(same.x_test, split.x_test)
    assert not np.array_equal(other.meta["index"]["test"], split.meta["index"]["test"])
    shared, here, there = np.intersect1d(
        split.meta["index"]["test"], other.meta["index"]["test"], return_indices=True
    )
    assert 100 < len(shared) < 250  # a quarter of a quarter is 164
    assert torch.equal(split.x_test[here], other.x_test[there])


def test_what_is_known_of_each_example_is_cut_with_it(split):
    held = split.validation(0.2, seed=0)
    assert np.array_equal(held.y_test.numpy() == 1, held.meta["probability"]["test"] > 0.5)
    assert len(split.subset(100).meta["cell_type"]["train"]) == 100


@pytest.mark.parametrize("size", [100, 30])
def test_shrinking_by_a_whole_factor_is_average_pooling(size):
    weights = torch.from_numpy(solar._averaging(size))
    image = torch.rand(300, 300, dtype=torch.float64)
    pooled = adaptive_avg_pool2d(image[None, None], size)[0, 0]
    assert torch.allclose(weights @ image @ weights.T, pooled)


def test_shrinking_to_96_is_that_of_an_image_of_whole_factors():
    weights = torch.from_numpy(solar._averaging(96))
    image = torch.rand(300, 300, dtype=torch.float64)
    fine = image.repeat_interleave(8, 0).repeat_interleave(8, 1)  # 2,400 pixels, and 25 of them are one of 96
    assert torch.allclose(weights @ image @ weights.T, adaptive_avg_pool2d(fine[None, None], 96)[0, 0])


def test_a_missing_package_is_named_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "elpv_dataset", None)
    with pytest.raises(ModuleNotFoundError, match="pip install elpv-dataset"):
        solar_cells()


def test_another_package_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("UNSTUCK_CACHE", str(tmp_path))
    images = np.zeros((4, 300, 300), dtype=np.uint8)
    wrong = SimpleNamespace(
        __name__="other", load_dataset=lambda: (images, np.array([0, 0, 1 / 3, 1]), np.array(["mono"] * 4))
    )
    monkeypatch.setattr(solar, "_package", lambda: wrong)
    with pytest.raises(ValueError, match="elpv-dataset: expected images of 300 x 300"):
        solar_cells()
    assert list(tmp_path.iterdir()) == []


def test_images_probabilities_and_types_come_from_the_package(monkeypatch, tmp_path):
    monkeypatch.setenv("UNSTUCK_CACHE", str(tmp_path))
    monkeypatch.setattr(solar, "GRADES", {0.0: 4, 1.0: 4})
    images = np.repeat(np.arange(8, dtype=np.uint8), 300 * 300).reshape(8, 300, 300)
    kinds = np.array(["mono", "poly"] * 4)
    loaded = (images, np.repeat([0.0, 1.0], 4), kinds)
    monkeypatch.setattr(solar, "_package", lambda: SimpleNamespace(__name__="small", load_dataset=lambda: loaded))
    split = solar_cells(30)
    for part in ("train", "test"):
        shown = (255 * getattr(split, f"x_{part}")).round().long()
        cell = shown[:, 0, 0, 0].tolist()
        assert torch.equal(shown, shown[:, :, :1, :1].expand_as(shown)) and cell == split.meta["index"][part].tolist()
        assert getattr(split, f"y_{part}").tolist() == [int(n >= 4) for n in cell]
        assert split.meta["cell_type"][part].tolist() == kinds[cell].tolist()
