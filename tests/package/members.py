"""What `fit_many` promises: each member is what `fit` makes of it alone."""

import numpy as np
import torch
from torch import nn

from unstuck.data import Split
from unstuck.ensemble import fit_many
from unstuck.init import initialise
from unstuck.models import mlp
from unstuck.probes import DEFAULT
from unstuck.record import Record
from unstuck.train import OPTIMIZERS, fit

N, D, K = 50, 12, 3  # batches of 15 leave one of 5
SHAPE = (D, 9, 7, K)
EVERYTHING = (*DEFAULT, "test_loss", "test_accuracy")


def make_split(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)

    def part(n):
        x = torch.randn(n, 3, 2, 2, generator=generator, dtype=dtype)
        return x, (x.flatten(1)[:, :K] + 0.3 * torch.randn(n, K, generator=generator)).argmax(1)

    return Split(*part(N), *part(40), classes=("a", "b", "c"))


def member(scheme="he", lr=0.05, **settings):
    return {"scheme": scheme, "lr": lr, **settings}


def network(settings, split, build, order=0, batch_size=15):
    """A member as it starts: made under its seed, initialised where it has a scheme."""
    seed = settings.get("seed", 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(dict(settings)).to(split.x_train.dtype)
    drawn = {name: settings[name] for name in ("scheme", "scale", "gain", "bias") if name in settings}
    if drawn.get("scheme") is None:
        return model
    if drawn["scheme"] == "lsuv":
        first = torch.randperm(N, generator=torch.Generator().manual_seed(order))[:batch_size]
        drawn["x"] = split.x_train[first]
    return initialise(model, **drawn, seed=seed)


def alone(settings, split, *, build=None, norm=None, shape=SHAPE, seed=0, clip=None, warmup=0, **arguments):
    """The record and the network of `fit`."""
    order = settings.get("seed", 0) if seed is None else seed
    build = build or (lambda s: mlp(shape, s.get("activation", "relu"), norm=norm))
    model = network(settings, split, build, order, arguments["batch_size"])
    if clip is not None:
        arguments["optimizer"] = clipped(arguments.get("optimizer", "sgd"), clip)
    if warmup:
        arguments["schedule"] = lambda step: min(1.0, (step + 1) / warmup)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.get("seed", 0))  # dropout
        return fit(model, split, lr=settings["lr"], seed=order, **arguments), model


def clipped(optimizer, clip):
    def make(parameters, lr):
        parameters = list(parameters)
        optim = OPTIMIZERS[optimizer](parameters, lr)
        step = optim.step

        def clip_and_step():
            nn.utils.clip_grad_norm_(parameters, clip)
            step()

        optim.step = clip_and_step
        return optim

    return make


def assert_same(ours: Record, theirs: Record, rel=1e-8):
    """The same rows: the same steps of the same quantities in the same layers."""
    assert {q: sorted(ours.layers(q)) for q in ours.quantities()} == {
        q: sorted(theirs.layers(q)) for q in theirs.quantities()
    }
    for quantity in theirs.quantities():
        for layer in theirs.layers(quantity):
            (steps, values), (expected_steps, expected) = ours.get(quantity, layer), theirs.get(quantity, layer)
            assert steps.tolist() == expected_steps.tolist(), (quantity, layer)
            np.testing.assert_allclose(values, expected, rtol=rel, atol=1e-12, err_msg=f"{quantity} {layer}")
    assert ours.stopped == theirs.stopped


def assert_same_weights(ours, theirs, rel=1e-8):
    """Parameters and buffers: batch norm's running statistics too."""
    for (name, a), (expected_name, b) in zip(ours.state_dict().items(), theirs.state_dict().items(), strict=True):
        assert name == expected_name
        torch.testing.assert_close(a, b, rtol=rel, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}")


def assert_equals_fit(
    grid, split, *, build=None, norm=None, shape=SHAPE, seed=0, rel=1e-8, weights=True, **arguments
):
    arguments = {"steps": 50, "batch_size": 15, "every": 7, "quantities": EVERYTHING} | arguments
    runs = fit_many(build or shape, split, grid, norm=norm, seed=seed, **arguments)
    assert len(runs) == len(grid)
    for settings, run in zip(grid, runs, strict=True):
        assert run.settings == {"seed": 0} | settings
        record, model = alone(settings, split, build=build, norm=norm, shape=shape, seed=seed, **arguments)
        assert_same(run.record, record, rel)
        if weights:
            assert_same_weights(run.model, model, rel)
        assert [m.training for m in run.model.modules()] == [m.training for m in model.modules()]
    return runs
