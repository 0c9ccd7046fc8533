"""`watch` against straightforward implementations: what a step is, and what is measured in it."""

import copy
import math
import timeit
import tracemalloc
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from watching import X, Y, by_hand, manual_in_place, network, sgd_step, train, values

from unstuck import measure
from unstuck.probes import DEFAULT, watch
from unstuck.probes.log import Log
from unstuck.record import Record

# ------------------------------------------------------------------ every quantity, computed another way


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1),
    "momentum and decay": lambda p: torch.optim.SGD(p, 0.02, momentum=0.9, weight_decay=0.1),
    "adam": lambda p: torch.optim.Adam(p, 0.01),
}


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "maxout"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_quantity_is_what_a_direct_computation_gives(activation, optimizer):
    watched = network(activation=activation)
    with torch.no_grad():  # some units die, some saturate
        watched.linear1.weight.mul_(4)
        watched.linear1.bias[0] = -100.0
    twin = copy.deepcopy(watched)
    optim = OPTIMIZERS[optimizer](watched.parameters())
    with watch(watched, window=3) as record:
        for _ in range(40):  # more than are worked off at once
            sgd_step(watched, optim)
    expected = by_hand(twin, OPTIMIZERS[optimizer](twin.parameters()), X, Y, steps=40, window=3)
    recorded = {(quantity, layer) for _, layer, quantity, _ in record.rows}
    assert recorded == set(expected)
    assert {quantity for quantity, _ in recorded} >= set(DEFAULT) - {"saturated_fraction"}
    for (quantity, layer), wanted in expected.items():
        steps, got = record.get(quantity, layer)
        assert steps.tolist() == list(range(40))
        np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=2e-6, err_msg=f"{quantity} of {layer}")
    if activation == "relu":
        assert 0 < values(record, "dead", "act1")[0] < 1
    if activation in ("tanh", "sigmoid"):
        assert 0 < values(record, "saturated_fraction", "act1")[0] < 1


def test_layers_come_in_the_order_of_the_forward():
    model = network()
    with watch(model) as record:
        train(model)
    assert record.layers("act_std") == ["act1", "act2"]
    assert record.layers("dead") == ["act1", "act2"]
    assert record.layers("update_ratio") == ["linear1", "linear2", "linear3"]
    assert record.meta["kinds"] == {"act1": "ReLU", "act2": "ReLU"} | {f"linear{i}": "Linear" for i in (1, 2, 3)}


def test_standard_deviation_survives_a_large_mean():
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
    x = 1e4 + X  # E[x^2] - E[x]^2 in float32 has no correct digit here
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(8))
        model[0].bias.zero_()
    with watch(model) as record:
        model(x)
    np.testing.assert_allclose(record.last("act_std", "1"), x.double().numpy().std(), rtol=1e-3)


def test_dead_is_recent_and_never_fired_is_since_the_beginning():
    model = network()
    with torch.no_grad():
        model.linear1.bias[0] = -1e3  # silent from the start
    with watch(model, window=4) as record:
        for step in range(12):
            if step == 5:
                with torch.no_grad():
                    model.linear1.bias[1] = -1e3  # killed late
            model(X)
    np.testing.assert_allclose(values(record, "never_fired", "act1"), [1 / 7] * 12)
    # fired last in step 4: silent in 4 steps for the first time at step 8
    np.testing.assert_allclose(values(record, "dead", "act1"), [1 / 7] * 8 + [2 / 7] * 4)


def test_a_unit_that_comes_back_is_not_dead():
    model = network()
    with watch(model, window=2) as record:
        for bias in (0.0, -1e3, -1e3, -1e3, 0.0):
            with torch.no_grad():
                model.linear1.bias.fill_(bias)
            model(X)
    assert values(record, "dead", "act1")[2:4].tolist() == [1.0, 1.0]
    assert values(record, "dead", "act1")[4] < 1


# --------------------------------------------------------------------------- what a step is


def test_every_observes_each_kth_step():
    model = network()
    reference = copy.deepcopy(model)
    with watch(model, every=3) as record:
        train(model, steps=8)
    with watch(reference) as full:
        train(reference, steps=8)
    for quantity in ("act_std", "grad_norm", "update_ratio"):
        layer = record.layers(quantity)[0]
        steps, got = record.get(quantity, layer)
        assert steps.tolist() == [0, 3, 6]
        np.testing.assert_array_equal(got, values(full, quantity, layer)[::3])


def test_evaluation_and_forwards_without_gradients_are_not_recorded():
    model = network()
    with watch(model) as record:
        with torch.no_grad():
            model(X)
        with torch.inference_mode():
            model(X)
        model.eval()
        model(X)
        model.train()
        train(model, steps=1)
        model.eval()
        with torch.no_grad():
            model(X)
    assert {step for step, *_ in record.rows} == {0}
    assert record.last("update_ratio", "linear1") > 0


def test_a_checkpointed_recomputation_is_no_step():
    inner = network()
    with watch(inner) as record:
        for _ in range(2):
            checkpoint(inner, X, use_reentrant=False).sum().backward()
            manual_in_place(inner)
    assert {step for step, *_ in record.rows} == {0, 1}
    assert all(values(record, "update_ratio", "linear1") > 0)
    assert record.layers("act_mean") == ["act1", "act2"]


def test_a_recomputation_inside_the_model_is_no_second_use():
    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = network()

        def forward(self, x):
            return checkpoint(self.body, x, use_reentrant=False)

    model = Checkpointed()
    with watch(model) as record:
        model(X).sum().backward()
    assert record.layers("act_mean") == ["body.act1", "body.act2"]
    assert record.last("grad_norm", "body.linear1") == pytest.approx(float(model.body.linear1.weight.grad.norm()))


def test_a_forward_that_raises_leaves_no_row_and_uses_up_its_number():
    class Touchy(nn.Sequential):
        def forward(self, x):
            out = super().forward(x)
            if torch.isnan(x).any():
                raise RuntimeError("NaN")
            return out

    model = Touchy(nn.Linear(8, 4), nn.ReLU())
    with watch(model) as record:
        model(X).sum().backward()
        with pytest.raises(RuntimeError, match="NaN"):
            model(torch.full_like(X, math.nan))
        model.eval()
        model(X)
        model.train()
        model(X).sum().backward()
    assert {step for step, *_ in record.rows} == {0, 2}
    assert record.get("grad_norm", "0")[0].tolist() == [0, 2]


def test_a_backward_that_raises_leaves_the_step_without_a_gradient():
    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            raise RuntimeError("on the way back")

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.fails = nn.Sequential(nn.Linear(8, 4), nn.ReLU()), True

        def forward(self, x):
            return self.body(Fails.apply(x) if self.fails else x).sum()

    model, x = Model(), X.clone().requires_grad_()
    with watch(model) as record:
        with pytest.raises(RuntimeError, match="way back"):
            model(x).backward()
        model.fails = False
        model.zero_grad()
        model(x).backward()
    assert record.get("act_mean", "body.1")[0].tolist() == [0, 1]
    assert record.meta["no_update"] == [0, 1]
    assert record.get("grad_norm", "body.0")[0].tolist() == [1]
    assert record.last("grad_norm", "body.0") == pytest.approx(float(model.body[0].weight.grad.norm()))


def test_an_exception_in_the_block_leaves_the_rows_so_far():
    model = network()
    with pytest.raises(KeyError), watch(model) as record:
        train(model, steps=2)
        raise KeyError
    assert record.get("update_ratio", "linear1")[0].tolist() == [0, 1]


# ------------------------------------------------------------------------------------------ a long watch


def filled(log, steps, layers):
    """What `steps` steps of many layers leave in a log, without the network."""
    value, signal = torch.tensor(1.0), measure.Signal(torch.zeros(2, 3))
    tensors = measure.Tensors([[value.view(1)]] * len(layers))
    tensors.norms = [value] * len(layers)
    for step in range(steps):
        log.begin()
        for layer in layers:
            log.see(layer, signal)
        log.end(step)
        log.parameters(step, layers, tensors)
        log.gradients(step, layers, tensors)
        log.updates(step, layers, tensors, tensors)
    return log


def test_a_long_watch_takes_a_few_dozen_bytes_a_number():
    """16 of them are the record's own: step and value. A row as a tuple with its names takes more than 200."""
    layers = [f"layer{i}" for i in range(100)]
    peaks = {}
    for steps in (64, 256):  # the difference is what grows
        log, record = Log(DEFAULT, window=10), Record()
        filled(log, 1, layers)
        tracemalloc.start()
        filled(log, steps, layers).fill([record])
        peaks[len(record)] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        del log
    (few, low), (many, high) = peaks.items()
    assert many - few == 192 * 100 * 8  # nothing saturates
    assert (high - low) / (many - few) < 40


def test_the_last_value_of_a_long_record_is_found_at_once():
    def fastest(rows):
        record = Record()
        record.add_series("", "loss", np.arange(rows), np.ones(rows))
        return min(timeit.repeat(lambda: record.last("loss"), number=20, repeat=20))

    assert fastest(1_000_000) < 20 * fastest(1_000)  # a copy of the column would take hundreds of times as long


# --------------------------------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"quantities": ("act_mean", "loss")}, r"quantities: \['loss'\]"),
        ({"quantities": ("speed",)}, "quantities: .*'speed'"),
        ({"every": 0}, "every: .* got 0"),
        ({"window": 0}, "window: .* got 0"),
        ({"layers": ["act9"]}, "layers: .*act9"),
    ],
)
def test_arguments_that_do_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        watch(network(), **arguments)


def test_what_is_no_model_or_not_ready():
    with pytest.raises(TypeError, match=r"every: .* got 1\.5"):
        watch(network(), every=1.5)
    with pytest.raises(TypeError, match=r"model: expected a torch\.nn\.Module"):
        watch(torch.relu)
    with pytest.raises(TypeError, match=r"quantities: .* 'dead'"):
        watch(network(), quantities="dead")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some versions say that lazy modules are new
        lazy = nn.LazyLinear(3)
    with pytest.raises(ValueError, match=r"model: .*lazy"):
        watch(lazy)


def test_only_what_is_asked_for_is_recorded():
    for quantity in DEFAULT:
        model = network(activation="tanh")
        with watch(model, quantities=(quantity,)) as record:
            train(model, steps=2)
        assert record.quantities() == [quantity]
