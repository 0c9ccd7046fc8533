"""`fit_many` in other processes and threads, and what an interrupt leaves."""

import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np
import pytest
import torch
from members import EVERYTHING, SHAPE, assert_same, assert_same_weights, make_split, member
from networks import Net, Residual, convolutional, with_dropout

from unstuck.data import Split
from unstuck.ensemble import fit_many, training
from unstuck.models import mlp
from unstuck.record import Runs


@pytest.fixture
def split():
    return make_split()


# --- executors ---


@pytest.fixture(scope="module")
def processes():
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        yield pool


@pytest.fixture(scope="module")
def dask():
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        if os.environ.get("CI"):
            raise
        pytest.skip("Dask is not installed")
    with (
        LocalCluster(1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield client.get_executor()


@pytest.fixture
def threads():
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.mark.parametrize("kind", ["processes", "dask", "threads"])
@pytest.mark.parametrize("build", [SHAPE, Residual, convolutional, with_dropout])
def test_an_executor_changes_nothing(split, request, kind, build):
    executor, state = request.getfixturevalue(kind), torch.get_rng_state()
    settings = {"scheme": ("he", None)} if build is SHAPE else {"what": (0, 1)}
    grid = [
        {"lr": 0.05, "seed": s} | {name: value} for s in range(6) for name, two in settings.items() for value in two
    ]
    arguments = {"steps": 8, "batch_size": 15, "every": 3, "quantities": EVERYTHING, "seed": None}
    arguments["schedule"] = lambda step: 1 / (1 + step)  # what cannot be sent is not
    here = fit_many(build, split, grid, **arguments)
    there = fit_many(build, split, grid, executor=executor, **arguments)
    assert [run.settings for run in there] == [run.settings for run in here]
    for one, other in zip(there, here, strict=True):
        assert_same(one.record, other.record, rel=1e-12)
        assert one.record.meta["stacked"] == other.record.meta["stacked"]
        assert_same_weights(one.model, other.model, rel=1e-12)
    assert torch.equal(torch.get_rng_state(), state)
    assert fit_many(build, split, [], executor=executor, **arguments) == []


def test_parts_of_the_grid_are_large_enough_to_gain_from_a_stack(split, threads, monkeypatch):
    sizes, train = [], training._train
    monkeypatch.setattr(training, "_train", lambda plan, members: sizes.append(len(members)) or train(plan, members))
    for build, expected in ((SHAPE, [8, 8, 4]), (convolutional, [1] * 20)):
        fit_many(build, split, [{"lr": 0.1, "seed": s} for s in range(20)], steps=1, batch_size=15, executor=threads)
        assert sorted(sizes, reverse=True) == expected
        sizes.clear()


def test_an_error_elsewhere_is_raised_here(split, processes):
    with pytest.raises(ValueError, match=r"^grid\[9\]: x: layer 'linear1' has standard deviation 0"):
        zero = Split(0 * split.x_train, split.y_train, split.x_test, split.y_test, split.classes)
        grid = [member(seed=s) for s in range(9)] + [member("lsuv")]
        fit_many(SHAPE, zero, grid, steps=2, batch_size=10, executor=processes)


# --- interrupts ---


class Interrupted(Net):
    """Ctrl-C in its forward, at one of its calls."""

    calls = 0

    def __init__(self, settings, at, leading):
        super().__init__(settings)
        self.at, self.leading = at, leading

    def between(self, a):
        Interrupted.calls += 1
        if Interrupted.calls == self.at:
            raise KeyboardInterrupt
        return a if self.leading else a - a.mean(0)


@pytest.mark.parametrize("leading", [True, False])
def test_an_interrupt_hands_over_the_rows_so_far(split, leading):
    Interrupted.calls = 0
    grid = [{"lr": 0.1, "seed": s} for s in range(3)]
    at = 40 if leading else 60  # behind the trial, in the stack's training or in that of the second network
    state, arguments = (
        torch.get_rng_state(),
        {"steps": 45, "batch_size": 10, "every": 1, "quantities": ("grad_norm",)},
    )
    with pytest.raises(KeyboardInterrupt) as caught:
        fit_many(partial(Interrupted, at=at, leading=leading), split, grid, **arguments)
    runs = caught.value.record
    assert isinstance(runs, Runs) and torch.equal(torch.get_rng_state(), state)
    assert [run.settings["seed"] for run in runs] == ([0, 1, 2] if leading else [0, 1])
    Interrupted.calls = 1000
    whole = fit_many(partial(Interrupted, at=-1, leading=leading), split, grid, **arguments)
    lengths = [len(run.record.get("loss")[0]) for run in runs]
    assert 0 < lengths[-1] < 45 and (lengths[0] == 45) is not leading
    for run, other in zip(runs, whole, strict=False):
        for quantity, layer in (("loss", ""), ("accuracy", ""), ("grad_norm", "first"), ("grad_norm", "last")):
            (steps, values), expected = run.record.get(quantity, layer), other.record.get(quantity, layer)[1]
            assert steps.tolist() == list(range(len(values)))
            np.testing.assert_allclose(values, expected[: len(values)], rtol=1e-12)
        assert run.record.meta["stacked"] == other.record.meta["stacked"]
        assert isinstance(run.model, Interrupted) and all(module.training for module in run.model.modules())


def test_an_interrupt_in_a_schedule_hands_over_no_runs(split):
    def schedule(step):
        if step == 7:
            raise KeyboardInterrupt
        return 1.0

    with pytest.raises(KeyboardInterrupt) as caught:
        fit_many(SHAPE, split, [{"lr": 0.1}], steps=9, batch_size=10, schedule=schedule)
    assert type(caught.value.record) is Runs and caught.value.record == []


@pytest.mark.parametrize("executor", [True, False])
def test_an_interrupt_while_a_network_is_built(split, threads, executor, monkeypatch):
    def build(settings):
        if settings["seed"] == 21:
            raise KeyboardInterrupt
        return mlp(SHAPE)

    monkeypatch.setattr(training, "MEMORY", 1)
    grid = [{"lr": 0.1, "seed": s} for s in range(24)]
    state = torch.get_rng_state()
    with pytest.raises(KeyboardInterrupt) as caught:
        fit_many(build, split, grid, steps=3, batch_size=10, executor=threads if executor else None)
    seeds = [run.settings["seed"] for run in caught.value.record]
    threads.shutdown()  # parts that were under way when it came draw until they end
    assert torch.equal(torch.get_rng_state(), state)
    assert seeds == sorted(seeds) and set(seeds) <= set(range(21)) and (executor or len(seeds) == 21)


def test_an_interrupted_worker_stops_the_others(split, monkeypatch):
    cancelled = []

    class Executor(ThreadPoolExecutor):
        def submit(self, *args):
            future = super().submit(*args)
            cancel = future.cancel
            future.cancel = lambda: cancelled.append(cancel())
            return future

    def build(settings):
        if settings["seed"] == 3:
            raise KeyboardInterrupt
        return convolutional(settings)

    with Executor(1) as executor, pytest.raises(KeyboardInterrupt):
        fit_many(
            build, split, [{"lr": 0.1, "seed": s} for s in range(60)], steps=30, batch_size=10, executor=executor
        )
    assert sum(cancelled) > 30
