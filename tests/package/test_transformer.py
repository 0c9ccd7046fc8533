"""`small_transformer` against PyTorch's encoder layer, its formulas, and the paper on where its norms belong."""

import math

import numpy as np
import pytest
import torch
from members import K, assert_equals_fit, make_split, member
from torch import nn
from torch.nn.functional import cross_entropy

from unstuck.data import fashion
from unstuck.evaluate import accuracy, dead_units, trace
from unstuck.init import SCHEMES, initialise, weighted_layers
from unstuck.models import count_parameters, small_transformer
from unstuck.probes import watch
from unstuck.train import fit

PLACES = ("pre", "post")


def transformer(seed=0, **settings):
    """A small one in float64, with norms and biases that are not 1 and 0."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = small_transformer((5, 6), 3, **{"width": 8, "heads": 2} | settings).double()
        for p in model.parameters():
            p.data += 0.1 * torch.randn_like(p)
    return model


def sequences(n=4, seed=1):
    return torch.randn(n, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# --- what it is made of ---


def test_layers_are_named_and_ordered():
    image = [name for name, _ in small_transformer(layers=3).named_children()]
    assert image == ["patches", "embed", "positions", "block1", "block2", "block3", "norm", "average", "linear"]
    sequence = [name for name, _ in small_transformer((5, 6), norm="post", positions=False).named_children()]
    assert sequence == ["embed", "block1", "block2", "average", "linear"]
    block = dict(small_transformer().block1.named_modules())
    parts = ["attention.query", "attention.key", "attention.value", "attention.softmax", "attention.out"]
    assert {"norm1", "attention", *parts, "norm2", "linear1", "act1", "linear2"} == set(block) - {""}


@pytest.mark.parametrize("norm", PLACES)
@pytest.mark.parametrize("shape", [(3, 8, 12), (7, 5)])
def test_shapes_and_parameters(shape, norm):
    model = small_transformer(shape, 5, norm=norm, patch=4, width=6, layers=2, heads=3)
    tokens, features = (6, 48) if len(shape) == 3 else shape
    block = 4 * (6 + 1) * 6 + (6 + 1) * 24 + (24 + 1) * 6 + 2 * 2 * 6
    expected = (features + 1) * 6 + tokens * 6 + 2 * block + 2 * 6 * (norm == "pre") + (6 + 1) * 5
    assert count_parameters(model) == expected
    assert model(torch.randn(2, *shape)).shape == (2, 5)
    seen = {name: tuple(tensor.shape) for name, tensor in trace(model, torch.randn(2, *shape)).items()}
    assert seen["embed"] == seen["positions"] == seen["block2.linear2"] == (2, tokens, 6)
    assert seen["block1.act1"] == (2, tokens, 24) and seen["average"] == (2, 6)
    assert seen["block1.attention.softmax"] == (2, 3, tokens, tokens)


def test_patches_are_cut_row_by_row():
    images = torch.randn(2, 3, 8, 12)
    patches = small_transformer((3, 8, 12), patch=4).patches(images)
    for t in range(6):
        row, column = 4 * (t // 3), 4 * (t % 3)
        assert torch.equal(patches[:, t], images[:, :, row : row + 4, column : column + 4].flatten(1))


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("norm", PLACES)
@pytest.mark.parametrize("heads", [1, 4])
def test_a_block_is_pytorch_s_encoder_layer(norm, heads, activation):
    block = transformer(norm=norm, heads=heads, activation=activation).block1
    theirs = nn.TransformerEncoderLayer(
        8, heads, 32, 0.0, activation, batch_first=True, norm_first=norm == "pre", dtype=torch.float64
    )
    pairs = [(theirs.self_attn.out_proj, block.attention.out)]
    pairs += [(getattr(theirs, name), getattr(block, name)) for name in ("linear1", "linear2", "norm1", "norm2")]
    for to, of in pairs:
        to.load_state_dict(of.state_dict())
    three = [block.attention.query, block.attention.key, block.attention.value]
    with torch.no_grad():
        theirs.self_attn.in_proj_weight.copy_(torch.cat([part.weight for part in three]))
        theirs.self_attn.in_proj_bias.copy_(torch.cat([part.bias for part in three]))
    x = torch.randn(3, 5, 8, dtype=torch.float64, requires_grad=True)
    direction = torch.randn(3, 5, 8, dtype=torch.float64)
    ours, expected = block(x), theirs(x)
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)
    gradients = [torch.autograd.grad((y * direction).sum(), [x, layer.weight], retain_graph=True) for y, layer in
                 ((ours, block.linear1), (expected, theirs.linear1))]  # fmt: skip
    for mine, other in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-12)


def test_what_is_around_the_blocks():
    model, x = transformer(), sequences()
    inner = model.embed(x) + model.positions.weight
    for block in (model.block1, model.block2):
        inner = block(inner)
    torch.testing.assert_close(model(x), model.linear(model.norm(inner).sum(1) / 5), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("norm", PLACES)
def test_without_positions_the_order_of_the_tokens_makes_no_difference(norm):
    x, order = sequences(), torch.tensor([3, 0, 4, 1, 2])
    without, knows = transformer(norm=norm, positions=False), transformer(norm=norm)
    torch.testing.assert_close(without(x[:, order]), without(x), rtol=1e-12, atol=1e-12)
    assert (knows(x[:, order]) - knows(x)).abs().max() > 1e-3


@pytest.mark.parametrize("norm", PLACES)
def test_every_weight_has_a_gradient(norm):
    model = transformer(norm=norm)
    cross_entropy(model(sequences()), torch.tensor([0, 1, 2, 0])).backward()
    for name, p in model.named_parameters():
        if name.endswith("key.bias"):  # adds the same to every logit of a softmax
            assert p.grad.abs().max() < 1e-15
        else:
            assert p.grad.abs().max() > 1e-6, name


# --- the instruments see it, and initialise it ---


@pytest.mark.parametrize("norm", PLACES)
def test_every_activation_is_seen(norm):
    model, x = transformer(norm=norm), sequences()
    with watch(model) as record:
        cross_entropy(model(x), torch.tensor([0, 1, 2, 0])).backward()
    assert record.layers("zero_fraction") == ["block1.act1", "block2.act1"]
    assert record.meta["unseen"] == []
    assert {"embed", "positions", "block1.attention.key", "block2.linear2"} <= set(record.layers("grad_norm"))
    act = trace(model, x)["block2.act1"]
    assert record.last("zero_fraction", "block2.act1") == pytest.approx(float((act == 0).double().mean()))
    with torch.no_grad():
        model.block1.linear1.bias[:7] = -1000.0
    dead = dead_units(model, x)["block1.act1"]  # a unit is a feature, over all examples and tokens
    assert dead.shape == (32,) and dead[:7].all() and not dead.all()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_initialise_sets_its_linear_layers_and_nothing_else(scheme):
    scale, x = {"constant": 0.3, "normal": 0.3, "uniform": 0.3}.get(scheme), sequences(50)
    model = transformer(layers=1)
    before = {name: p.clone() for name, p in model.state_dict().items()}
    initialise(model, scheme, scale=scale, x=x if scheme == "lsuv" else None)
    linear = [name for name, _ in weighted_layers(model)]
    parts = [f"block1.attention.{part}" for part in ("query", "key", "value", "out")]
    assert sorted(linear) == sorted(["embed", *parts, "block1.linear1", "block1.linear2", "linear"])
    for name, p in model.state_dict().items():
        assert torch.equal(p, before[name]) == (name.rpartition(".")[0] not in linear), name
    if scheme == "lsuv":
        for name in linear:
            assert trace(model, x)[name].std(correction=0) == pytest.approx(1, abs=0.02)


def last_gradient(norm, layers, seed):
    """The gradient's norm in the last block, of one example of one token, as in the paper's theorem."""
    generator = torch.Generator().manual_seed(seed)
    model = initialise(small_transformer((1, 32), norm=norm, layers=layers, width=32), "xavier", seed=seed)
    x, y = torch.randn(1, 1, 32, generator=generator), torch.randint(10, (1,), generator=generator)
    weight = model.get_submodule(f"block{layers}.linear2").weight
    return float(torch.autograd.grad(cross_entropy(model(x), y), weight)[0].norm())


def test_gradients_at_birth_are_those_of_xiong_et_al():
    """Behind "pre" the last norm divides by what has been added up, and a gradient with it; "post" divides each time.

    Of the embedding that is a variance of 1; of each block 1 of attention, to itself alone, and with Xavier's start
    128 / 80 (32 / 80) / 2 of the two linear layers.
    """
    few, many, block = 4, 32, 1 + 128 / 80 * (32 / 80) / 2
    for norm, expected in (("pre", math.sqrt((1 + few * block) / (1 + many * block))), ("post", 1.0)):
        gradients = np.array([[last_gradient(norm, depth, seed) for depth in (few, many)] for seed in range(20)])
        mean, error = gradients.mean(0), gradients.std(0, ddof=1) / math.sqrt(20)
        assert mean[1] / mean[0] == pytest.approx(expected, rel=3 * math.hypot(*(error / mean)))


# --- training ---


@pytest.mark.parametrize("norm", PLACES)
def test_members_of_a_stack_equal_fit(norm):
    split = make_split()

    def build(settings):
        return small_transformer((3, 2, 2), K, settings["activation"], norm=norm, patch=1, width=6, heads=2)

    grid = [member(scheme, activation=a, seed=s) for s, (scheme, a) in
            enumerate([("xavier", "relu"), ("he", "relu"), ("xavier", "gelu"), (None, "gelu")])]  # fmt: skip
    runs = assert_equals_fit(grid, split, build=build, optimizer="momentum")
    assert [run.record.meta["stacked"] for run in runs] == [True] * 4


@pytest.mark.parametrize("norm", PLACES)
def test_it_learns(norm):
    split = fashion()
    model = initialise(small_transformer(norm=norm), "xavier")
    record = fit(model, split, steps=100, lr=2e-3, optimizer="adam")
    assert record.last("loss", over=10) < 1.2
    assert accuracy(model, split.x_test[:2000], split.y_test[:2000]) > 0.6  # chance is 0.1


# --- wrong arguments ---


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"shape": (3,)}, ValueError, "shape: expected at least 2 integers"),
        ({"shape": (1, 2, 3, 4)}, ValueError, r"shape: expected an image \(C, Hi, Wi\) or a sequence \(T, D\), got"),
        ({"shape": (1, 28, 27)}, ValueError, r"patch: expected a side that divides those of images .*27\), got 7"),
        ({"patch": 5}, ValueError, "patch: .* got 5"),
        ({"heads": 5}, ValueError, "heads: expected a number that divides the width 32, got 5"),
        ({"norm": "layer"}, ValueError, r"norm: 'layer' is not one of \['pre', 'post'\]"),
        ({"norm": None}, TypeError, "norm: expected one of"),
        ({"activation": "maxout"}, ValueError, "activation: expected one that works on each value by itself"),
        ({"positions": 1}, TypeError, "positions: expected True or False"),
        ({"layers": 0}, ValueError, "layers"),
    ],
)
def test_wrong_arguments_are_refused(wrong, error, message):
    with pytest.raises(error, match="^" + message):
        small_transformer(**wrong)
