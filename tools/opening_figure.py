"""Measure and draw the opening figure, book/_static/opening.svg: one network, two kinds of first weights.

Run: python tools/opening_figure.py (about half a minute on one core).
"""

from __future__ import annotations

import math
from importlib.resources import files
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import pyplot as plt

from unstuck.data import mnist
from unstuck.init import initialise
from unstuck.models import mlp
from unstuck.plots import INK, style_of
from unstuck.train import fit

TARGET = Path(__file__).resolve().parents[1] / "book" / "_static" / "opening.svg"
WIDTHS = (784, 200, 200, 200, 200, 10)
STEPS = 300  # three times through the 10,000 training images
SEEDS = range(5)
STARTS = {
    "small": {"scheme": "normal", "scale": 0.01},
    "he": {"scheme": "he"},
}
SIZE = (5.4, 3.4)  # inches; smaller than other figures, so that a phone shows the same type larger


def measure() -> dict[str, np.ndarray]:
    """The loss of every batch, from each start: name to (seeds, T)."""
    split = mnist()
    losses = {}
    for name, start in STARTS.items():
        runs = []
        for seed in SEEDS:
            model = initialise(mlp(WIDTHS), **start, seed=seed)
            record = fit(model, split, steps=STEPS, batch_size=100, lr=0.1, seed=seed, progress=False)
            runs.append(record.get("loss")[1])
        losses[name] = np.array(runs)
    return losses


def smooth(runs: np.ndarray, window: int = 9) -> np.ndarray:
    """The running mean over `window` batches of each row (seeds, T), shorter at the two ends."""
    kernel = np.ones(window)
    weight = np.convolve(np.ones(runs.shape[1]), kernel, mode="same")
    return np.array([np.convolve(run, kernel, mode="same") for run in runs]) / weight


def draw(losses: dict[str, np.ndarray]):
    """The figure: five thin lines and their mean for each start, in the colour that its scheme has in the book."""
    fig, ax = plt.subplots(figsize=SIZE)
    steps = np.arange(STEPS)
    for name, start in STARTS.items():
        runs, colour = smooth(losses[name]), style_of(start["scheme"])["color"]
        ax.plot(steps, runs.T, color=colour, lw=0.9, alpha=0.4)
        ax.plot(steps, runs.mean(axis=0), color=colour, lw=2.6)
    ax.axhline(math.log(10), color=INK, lw=0.9, ls=(0, (1, 3)), zorder=0)
    ax.text(STEPS - 2, 2.35, "pure guessing: ln 10 = 2.30", color=INK, ha="right", va="bottom")
    ax.text(STEPS - 2, 2.22, "initial weights too small", color=INK, ha="right", va="top", weight="bold")
    end = smooth(losses["he"]).mean(axis=0)
    ax.text(65, end[65] + 0.16, "initial weights of the right size", color=INK, ha="left", va="bottom", weight="bold")
    ax.set(xlim=(0, STEPS), ylim=(0, 2.6), xlabel="training step", ylabel="loss")
    ax.set_yticks([0, 0.5, 1, 1.5, 2])
    ax.grid(visible=False)
    return fig


def main() -> None:
    losses = measure()
    for name, runs in losses.items():
        last = runs[:, -50:].mean(axis=1)
        print(f"{name}: loss over the last 50 steps {last.mean():.3f}, from {last.min():.3f} to {last.max():.3f}")
    matplotlib.use("svg")
    look = str(files("unstuck") / "unstuck.mplstyle")
    with plt.style.context([look, {"svg.hashsalt": "unstuck"}]):
        figure = draw(losses)
        figure.savefig(TARGET, metadata={"Date": None, "Creator": None})
        printed = {"CreationDate": None, "Creator": None, "Producer": None}
        figure.savefig(TARGET.with_suffix(".pdf"), metadata=printed)  # for the book on paper


if __name__ == "__main__":
    main()
