"""Histograms: what they draw, and what they count instead."""

import numpy as np

from unstuck import plots

Z = np.linspace(-2, 2, 9)


def test_histograms_count_what_they_do_not_draw():
    values = np.array([0.0, 0.0, np.nan, 1.0, 1.0, 2.0, 3.0, 4.0])
    axes = plots.histograms({"he": {"act1": values[3:], "act2": values}, "xavier": {"act1": np.zeros(3), "act2": Z}})
    assert axes.shape == (2, 2)
    assert "12% not finite" in axes[0, 1].get_title() and "100% zeros" in axes[1, 0].get_title()
    assert f"sd {values[3:].std():.1f}" in axes[0, 0].get_title()
    drawn = axes[0, 0].patches[0].get_data()
    counts, _ = np.histogram(values[3:], bins=drawn.edges)
    np.testing.assert_allclose(drawn.values, counts / counts.max())
    assert axes[0, 0].get_xlim() == axes[0, 1].get_xlim() != axes[1, 0].get_xlim()
    assert len(axes[1, 0].patches) == 0
    assert [ax.get_ylabel() for ax in axes[:, 0]] == ["He", "Xavier"]


def test_an_axis_leaves_out_a_thousandth_at_either_end():
    values = np.concatenate([np.linspace(1, 2, 10_001), [1000.0]])
    low, high = plots.histograms({"he": {"act1": values}})[0, 0].get_xlim()
    assert low < 0 and 1.998 < high < 2.2
    low, high = plots.histograms({"he": {"act1": np.linspace(-1, 3, 10_001)}})[0, 0].get_xlim()
    assert -1.3 < low <= -0.996 and 2.996 <= high < 3.3


def test_histograms_share_what_is_asked():
    values = {"he": {"act1": Z, "act2": 9 * Z}, "xavier": {"act1": Z, "act2": 3 * Z}}
    for share, different in (("all", 1), ("row", 2), ("panel", 3)):
        axes = plots.histograms(values, share=share)
        assert len({ax.get_xlim() for ax in axes.flat}) == different


def test_an_axis_that_is_symmetric_about_zero_has_a_margin_of_a_twentieth():
    values = np.linspace(-2, 2, 10_001)  # without a thousandth at either end: 3.992 wide
    low, high = plots.histograms({"he": {"act1": values}}, share="panel")[0, 0].get_xlim()
    np.testing.assert_allclose((low, high), (-1.996 - 0.05 * 3.992, 1.996 + 0.05 * 3.992), rtol=1e-3)
