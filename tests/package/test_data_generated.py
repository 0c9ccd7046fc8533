"""Generated data: circles, crosses and spirals are what their formulas say."""

import numpy as np
import pytest
import torch

from unstuck.data import circle_and_cross, spirals


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


def test_the_arms_of_spirals_lie_apart_unless_noise_is_asked_for():
    split = spirals()
    nearest = torch.cdist(split.x_test, split.x_train).argmin(dim=1)
    assert (split.y_train[nearest] == split.y_test).float().mean() > 0.95


@pytest.mark.parametrize("make", [circle_and_cross, spirals])
def test_test_part_is_drawn_from_a_stream_of_its_own(make):
    split = make(n=30, n_test=30)
    train, test = ({x.numpy().tobytes() for x in part} for part in (split.x_train, split.x_test))
    assert not train & test


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: circle_and_cross(n=1), ValueError, "n: expected an integer of at least 2"),
        (lambda: circle_and_cross(n_test=1), ValueError, "n_test: expected an integer of at least 2"),
        (lambda: circle_and_cross(size=7), ValueError, "size: expected an integer of at least 8"),
        (lambda: circle_and_cross(noise=-0.1), ValueError, "noise: expected a number of at least 0"),
        (lambda: circle_and_cross(jitter=1.5), ValueError, "jitter: expected a number of at most 1"),
        (lambda: circle_and_cross(jitter=-0.5), ValueError, "jitter: expected a number of at least 0"),
        (lambda: circle_and_cross(seed=0.5), TypeError, "seed: expected an integer"),
        (lambda: spirals(arms=1), ValueError, "arms: expected an integer of at least 2"),
        (lambda: spirals(n=2), ValueError, "n: expected an integer of at least 3"),
        (lambda: spirals(n_test=3, arms=4), ValueError, "n_test: expected an integer of at least 4"),
        (lambda: spirals(noise=float("nan")), ValueError, "noise: expected a finite number"),
        (lambda: spirals(seed=-1), ValueError, "seed: expected an integer of at least 0"),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match="^" + message):
        call()


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: circle_and_cross(n=4, noise=0.1, seed=seed, n_test=4),
        lambda seed: spirals(n=30, seed=seed, n_test=30),
    ],
)
def test_seed_decides_and_global_random_state_stays(make):
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    one, again, other = (make(seed) for seed in (1, 1, 2))
    for part in ("x_train", "x_test"):
        assert torch.equal(getattr(one, part), getattr(again, part))
        assert not torch.equal(getattr(one, part), getattr(other, part))
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_meta_says_how_they_were_made():
    split = spirals(n=np.int64(30), arms=2, noise=0, seed=4, n_test=8)
    assert split.meta == {"name": "spirals", "n": 30, "arms": 2, "noise": 0.0, "seed": 4, "n_test": 8}
    again = circle_and_cross(
        **{k: v for k, v in circle_and_cross(n=5, jitter=0.2, seed=3).meta.items() if k != "name"}
    )
    assert torch.equal(again.x_train, circle_and_cross(n=5, jitter=0.2, seed=3).x_train)
