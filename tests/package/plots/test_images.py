"""Images: which colours they come out in, and on which scale."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgb

from unstuck import plots

RAMP = np.array([[-2.0, 0.0], [1.0, 4.0]])


def shown(ax) -> np.ndarray:
    """The colours (Hi, Wi, 3) of the one image of `ax`."""
    [image] = ax.get_images()
    return np.asarray(image.to_rgba(image.get_array()))[..., :3]


def test_black_is_zero_or_less_and_white_the_largest():
    colours = shown(plots.images({"a": {"b": RAMP}}).item())
    np.testing.assert_allclose(colours[..., 0], [[0, 0], [0.25, 1]], atol=0.01)
    assert np.ptp(colours, axis=2).max() == 0
    assert plots.images({"a": {"b": -3 * RAMP}}).item().get_images()[0].get_clim() == (0, -3 * RAMP.min())
    assert shown(plots.images({"a": {"b": np.zeros((3, 3))}}).item()).max() == 0


def test_signs_have_colours_of_their_own_and_one_scale():
    values = np.array([[-4.0, 0.0], [2.0, 4.0]])
    colours = shown(plots.images({"a": {"b": values}}, signed=True).item())
    np.testing.assert_allclose(colours[0, 1], to_rgb(plots.PAPER), atol=0.01)
    assert colours[0, 0, 0] > colours[0, 0, 2] and colours[1, 1, 2] > colours[1, 1, 0]
    ends = [
        plots.images({"a": {"b": sign * values}}, signed=True).item().get_images()[0].get_clim() for sign in (1, -1)
    ]
    assert ends == [(-4, 4), (-4, 4)]


def test_colour_images_keep_their_colours():
    values = np.random.default_rng(0).random((3, 4, 5))
    np.testing.assert_allclose(
        plots.images({"a": {"b": values}}).item().get_images()[0].get_array(), values.transpose(1, 2, 0)
    )


def test_images_share_the_scale_that_is_asked_for():
    values = {"a": {"b": np.eye(2), "c": 2 * np.eye(2)}, "d": {"b": 3 * np.eye(2), "c": 4 * np.eye(2)}}
    tops = {"panel": [1, 2, 3, 4], "row": [2, 2, 4, 4], "all": [4, 4, 4, 4]}
    for share, expected in tops.items():
        axes = plots.images(values, share=share)
        assert [ax.get_images()[0].get_clim()[1] for ax in axes.flat] == expected


def test_names_and_ranges_stand_beside_the_images():
    axes = plots.images(
        {"he": {"b": RAMP, "c": np.full((2, 2), 7.0)}, "d": {"b": RAMP, "c": RAMP * np.nan}}, ranges=True
    )
    assert [ax.get_xlabel() for ax in axes.flat] == ["-2 to 4", "7", "-2 to 4", "NaN"]
    assert [ax.get_title() for ax in axes.flat] == ["b", "c", "", ""]
    assert [ax.get_ylabel() for ax in axes[:, 0]] == ["He", "d"]
    plain = plots.images({"a": {"b": RAMP}}).item()
    assert plain.get_xlabel() == "" and not plain.get_xticks().size


def test_what_is_not_finite_is_seen():
    values = np.array([[np.nan, 0.0], [1.0, np.inf]])
    colours = shown(plots.images({"a": {"b": values}}).item())
    for i in (0, 1):
        np.testing.assert_allclose(colours[i, i], to_rgb(plots.RUST), atol=0.01)
    np.testing.assert_allclose(colours[1, 0], [1, 1, 1], atol=0.01)


def test_axes_given_are_used_in_their_order():
    _, axes = plt.subplots(1, 4)
    values = {"a": {"b": np.eye(2), "c": np.eye(3)}, "d": {"b": np.eye(4), "c": np.eye(5)}}
    found = plots.images(values, axes=axes)
    assert found.shape == (2, 2) and list(found.flat) == list(axes)
    assert [len(ax.get_images()[0].get_array()) for ax in axes] == [2, 3, 4, 5]
