"""Every function of `measure` against NumPy in float64, for one network and for several at once."""

import numpy as np
import pytest
import torch

from unstuck import measure
from unstuck.measure import Signal, Tensors
from unstuck.record import QUANTITIES, Quantity, of_scope

A = torch.randn(3, 20, 5, generator=torch.Generator().manual_seed(0)).relu_()  # (M, N, H)
A[:, :, 1] = 0.0  # a unit that is silent in all

# what a number of a quantity is, from the values of one network: activations (N, H), or a layer's tensors, flat
BY_HAND = {
    "act_mean": lambda a: a.mean(),
    "act_std": lambda a: a.std(),
    "zero_fraction": lambda a: (a == 0).mean(axis=0),
    "dead": lambda a: (a == 0).mean(axis=0),
    "never_fired": lambda a: (a == 0).mean(axis=0),
    "unit_std": lambda a: a.std(axis=0),
    "unit_range": lambda a: np.ptp(a, axis=0),
    "saturated_fraction": lambda a: (a * (1 - a) < 0.02 / 4).mean(),  # of a sigmoid
    "grad_norm": lambda w: np.sqrt((w**2).sum()),
    "weight_norm": lambda w: np.sqrt((w**2).sum()),
    "update_ratio": lambda dw, w: np.sqrt((dw**2).sum()) / np.sqrt((w**2).sum()),
}


def test_every_quantity_that_is_measured_has_a_computation_by_hand():
    assert set(BY_HAND) == set(of_scope("activation", "unit", "parameter", "gradient", "update"))


def measured(name, *what):
    (function,) = measure.functions([name], QUANTITIES[name].scope)
    return function(*what)


@pytest.mark.parametrize("name", of_scope("activation", "unit"))
def test_activations(name):
    kind = "Sigmoid" if name == "saturated_fraction" else "ReLU"
    a = (6 * A).sigmoid() if kind == "Sigmoid" else A
    together = measured(name, Signal(a.clone(), kind=kind, members=True))
    for m in range(3):
        expected = BY_HAND[name](a[m].double().numpy())
        alone = measured(name, Signal(a[m].clone(), kind=kind))
        np.testing.assert_allclose(alone, expected, rtol=1e-6)
        np.testing.assert_allclose(together[m], expected, rtol=1e-6)


@pytest.mark.parametrize("name", of_scope("activation", "unit"))
def test_measuring_changes_nothing(name):
    a = A.clone()
    for members in (False, True):
        measured(name, Signal(a, kind="Sigmoid", members=members))
    assert torch.equal(a, A)


def test_a_single_example_gives_one_number_for_each_unit():
    for signal in (Signal(torch.tensor([0.0, 2.0, 3.0])), Signal(torch.rand(2, 3), members=True)):
        for function in (measure.unit_std, measure.unit_range):
            assert torch.equal(function(signal), torch.zeros(signal.a.shape))
        assert torch.equal(signal.zeros, (signal.a == 0).float())


def test_units_lie_where_the_axis_says():
    images = torch.rand(2, 3, 4, 5) + 0.1  # (N, C, Hi, Wi)
    images[:, 1] = 0.0  # a channel
    assert Signal(images, unit_axis=1).zeros.tolist() == [0, 1, 0]
    for function in (measure.unit_std, measure.unit_range):
        assert (function(Signal(images, unit_axis=1)) == 0).tolist() == [False, True, False]
    images = images.movedim(1, -1).contiguous()  # channels last
    assert Signal(images).zeros.tolist() == [0, 1, 0]
    both = torch.stack([images, images.clamp(min=0.5)])
    assert Signal(both, members=True).zeros.tolist() == [[0, 1, 0], [0, 0, 0]]


def test_a_not_a_number_is_no_zero():
    a = torch.tensor([[0.0, torch.nan], [0.0, torch.nan]])
    assert Signal(a).zeros.tolist() == [1, 0]


def test_saturation_is_for_what_saturates_on_both_sides():
    assert measure.saturated_fraction(Signal(A[0], kind="ReLU")) is None
    assert measure.saturated_fraction(
        Signal(torch.tensor([[0.9898, 0.9900, -0.9900]]), kind="Tanh")
    ) == pytest.approx(2 / 3)


def layers(*shape):
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(*shape, 4, 3, generator=generator)
    pair = [torch.randn(*shape, 6, generator=generator), torch.randn(*shape, 2, 2, generator=generator)]
    return [[weight], pair]  # a layer that is its weight, and one of two tensors


@pytest.mark.parametrize("name", of_scope("parameter", "gradient", "update"))
def test_parameters(name):
    tensors = layers(3), [[2 * t + 1 for t in group] for group in layers(3)]
    count = 2 if QUANTITIES[name].scope == "update" else 1
    together = measured(name, *(Tensors(groups, members=True) for groups in tensors[:count]))
    for m in range(3):
        mine = [[[t[m] for t in group] for group in groups] for groups in tensors[:count]]
        alone = measured(name, *map(Tensors, mine))
        for layer in range(2):
            values = [np.concatenate([t.double().numpy().ravel() for t in groups[layer]]) for groups in mine]
            np.testing.assert_allclose(alone[layer], BY_HAND[name](*values), rtol=1e-6)
            np.testing.assert_allclose(together[layer][m], BY_HAND[name](*values), rtol=1e-6)


def test_flat_holds_all_values_of_a_network():
    assert Signal(A, members=True).flat.shape == (3, 100) and Signal(A).flat.shape == (300,)
    assert [t.shape for t in Tensors(layers(3), members=True).flat] == [(3, 12), (3, 10)]
    assert [t.shape for t in Tensors(layers()).flat] == [(12,), (10,)]


def test_half_precision_is_measured_in_single():
    small = [[torch.full((4,), 1e-6, dtype=torch.float16)]]  # whose squares are zero in half precision
    assert float(Tensors(small).norms[0]) == pytest.approx(2e-6, rel=0.05)  # float16 has no 1e-6


def test_drift_of_batch_norm():
    generator = np.random.default_rng(0)
    mean, running_mean = generator.standard_normal((2, 3, 5))  # (M, C)
    var, running_var = generator.uniform(0.5, 2, (2, 3, 5))
    tensors = [torch.from_numpy(a) for a in (mean, running_mean, var, running_var)]
    for m in (*range(3), slice(None)):
        mine, old, spread, old_spread = (tensor[m] for tensor in tensors)
        z = (mean - running_mean)[m] / np.sqrt(running_var[m] + 0.1)
        expected = np.sqrt((z**2).mean(axis=-1))
        np.testing.assert_allclose(measure.mean_drift(mine, old, old_spread, 0.1), expected, rtol=1e-12)
        ratio = np.log(np.sqrt(var[m] + 0.1) / np.sqrt(running_var[m] + 0.1))
        expected = np.sqrt((ratio**2).mean(axis=-1))
        np.testing.assert_allclose(measure.std_drift(spread, old_spread, 0.1), expected, rtol=1e-12)


def test_functions_are_found_by_scope_and_shared():
    found = measure.functions(["dead", "never_fired", "act_mean", "grad_norm"], "activation")
    assert found == {measure.zeros: ["dead", "never_fired"], measure.act_mean: ["act_mean"]}


def test_a_row_without_a_function_is_refused_by_name(monkeypatch):
    monkeypatch.setitem(QUANTITIES, "loud", Quantity("loudest", "1", "max", "activation", measure="loudness"))
    with pytest.raises(ValueError, match=r"quantities: 'loud' is measured by 'loudness', which unstuck\.measure"):
        measure.functions(["loud"], "activation")
