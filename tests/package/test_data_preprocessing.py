"""Preprocessing does what its formulas say, and is fitted on the training part alone."""

import numpy as np
import pytest
import torch
from samples import images, points

from unstuck.data import Split, mnist, standardise, whiten


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


def test_a_constant_whose_mean_is_rounded_is_a_constant():
    split = points().map(lambda x: torch.full_like(x, 0.1, dtype=torch.float64))
    x = split.x_train.numpy()
    assert (x.std(axis=0) > 0).all()  # the sum of 400 tenths is not 40
    fitted = standardise(split).meta["standardise"]
    assert fitted["constant"].tolist() == [0, 1, 2] and fitted["scale"].tolist() == [1, 1, 1]


@pytest.mark.parametrize(("per", "constant"), [("channel", [1]), ("all", [])])
def test_a_constant_channel_is_listed_and_a_constant_everything_too(per, constant):
    split = images().map(lambda x: torch.stack([x[:, 0], torch.full_like(x[:, 1], 0.1)], dim=1))
    fitted = standardise(split, per).meta["standardise"]
    assert fitted["constant"].tolist() == constant
    if per == "channel":
        assert fitted["scale"].shape == (2, 1, 1) and fitted["scale"][1] == 1
    black = standardise(split.map(torch.zeros_like), "all")
    assert black.meta["standardise"]["constant"].tolist() == [0] and black.meta["standardise"]["scale"] == 1
    assert bool((black.x_train == 0).all())


@pytest.mark.parametrize("step", [2.0**-20, 1e-30])
def test_a_feature_that_hardly_varies_is_no_constant(step):
    """One example in N differs by `step`: the mean is step / N, the deviation step sqrt(N - 1) / N."""
    split = points()
    for values in (split.x_train, split.x_test):
        values[:, 1] = 0.0
    split.x_train[7, 1] = step
    split.x_test[0, 1] = 3 * step
    result, n = standardise(split), 400
    fitted = result.meta["standardise"]
    assert fitted["constant"].tolist() == []
    assert fitted["scale"][1] == pytest.approx(step * np.sqrt(n - 1) / n, rel=1e-6)
    expected = np.full(n, -1 / np.sqrt(n - 1))
    expected[7] = np.sqrt(n - 1)
    np.testing.assert_allclose(result.x_train[:, 1].numpy(), expected, rtol=1e-6)
    assert float(result.x_test[0, 1]) == pytest.approx((3 * n - 1) / np.sqrt(n - 1), rel=1e-6)  # 60 deviations


def test_standardise_lists_mnist_pixels_that_are_always_black():
    digits = mnist()
    x = digits.x_train.flatten(1)
    black = [i for i in range(784) if len(x[:, i].unique()) == 1]
    result = standardise(digits)
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


@pytest.mark.parametrize("transform", [standardise, whiten])
def test_arrays_stay_arrays(transform):
    ours, theirs = transform(points().numpy()), transform(points())
    assert isinstance(ours.x_train, np.ndarray) and isinstance(theirs.x_train, torch.Tensor)
    np.testing.assert_array_equal(ours.x_train, theirs.x_train.numpy())
    np.testing.assert_array_equal(ours.x_test, theirs.x_test.numpy())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda s: standardise(s.x_train), TypeError, r"split: expected a Split, got Tensor of shape \(400, 3\)"),
        (lambda s: standardise(s, per="pixel"), ValueError, "per: 'pixel' is not one of"),
        (lambda s: standardise(s, per=0), TypeError, "per: expected one of"),
        (lambda s: standardise(s, per="channel"), ValueError, "per: 'channel' needs images"),
        (lambda s: whiten(s, eps=-1.0), ValueError, "eps: expected a number of at least 0"),
        (lambda s: whiten(s, eps="0"), TypeError, "eps: expected a number"),
        (lambda s: whiten(s.subset(1)), ValueError, "x_train: expected at least 2 examples"),
        (lambda s: standardise(standardise(s)), ValueError, "split: .* standardise was applied before"),
        (lambda s: whiten(whiten(s)), ValueError, "split: .* whiten was applied before"),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match="^" + message):
        call(points())
