"""Fixtures of the tests of figures."""

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from unstuck.record import Record, Run, Runs


@pytest.fixture(autouse=True)
def no_figure_left():
    yield
    plt.close("all")


@pytest.fixture
def record() -> Record:
    """Three steps of a network of three layers."""
    rows = []
    for step in (0, 10, 20):
        rows.append((step, "", "loss", 2.3 - step / 20))
        for i in (1, 2, 3):
            rows.append((step, f"act{i}", "act_std", 0.5**i + step / 100))
            rows.append((step, f"act{i}", "dead", step / 100 * i))
            rows.append((step, f"linear{i}", "update_ratio", 10.0**-i))
    arrays = {(step, "act1", "zero_fraction"): np.array([0.0, 0.5, step / 20]) for step in (20, 0, 10)}
    return Record(rows, arrays)


@pytest.fixture
def runs() -> Runs:
    """Two rates, two gains (the larger first) and three seeds; at rate 0.1 and gain 2 two of the seeds stopped.

    At step 10 the loss is 1000 lr + 10 gain + seed, twice that at step 0.
    """

    def run(lr: float, gain: float, seed: int) -> Run:
        end = 1000 * lr + 10 * gain + seed
        own = Record([(0, "", "loss", 2 * end), (0, "act1", "dead", 0.5), (10, "act1", "dead", 0.1 * seed)])
        if lr == 0.1 and gain == 2.0 and seed:
            own.stopped = (3, "the loss is nan")
        else:
            own.add(10, "", "loss", end)
        return Run({"lr": lr, "gain": gain, "seed": seed}, own)

    return Runs(run(lr, gain, seed) for lr in (0.01, 0.1) for gain in (2.0, 1.0) for seed in (0, 1, 2))
