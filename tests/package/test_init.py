"""`initialise` against torch.nn.init's formulas, the papers' numbers, and statistics with their standard errors."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize, prune

from unstuck.init import SCHEMES, fans, initialise, weighted_layers
from unstuck.models import ACTIVATIONS, NORMS, mlp, small_cnn
from unstuck.theory import gain, standard_deviation

SCALE = {"constant": 0.3, "normal": 0.3, "uniform": 0.3}


def arguments(scheme, model_input=None):
    found = {"scale": SCALE[scheme]} if scheme in SCALE else {}
    return found | ({"x": model_input} if scheme == "lsuv" else {})


def assert_std(values, expected):
    """The mean is 0 and the standard deviation as expected, to five standard errors of a normal sample."""
    n = values.numel()
    assert n > 1e4
    assert abs(float(values.mean())) < 5 * expected / math.sqrt(n)
    assert abs(float(values.std()) / expected - 1) < 5 / math.sqrt(2 * n)


def assert_normal(values, expected):
    """And so is the kurtosis, which tells a normal from a uniform (1.8) or truncated one."""
    assert_std(values, expected)
    kurtosis = float(((values / expected) ** 4).mean())
    assert abs(kurtosis - 3) < 5 * math.sqrt(96 / values.numel())


# --- fans ---


@pytest.mark.parametrize(
    "weight",
    [
        nn.Linear(7, 11).weight,
        nn.Conv1d(4, 6, 5).weight,
        nn.Conv2d(4, 6, (3, 5)).weight,
        nn.Conv3d(2, 3, 2).weight,
        nn.Conv2d(4, 6, 3, groups=2).weight,
    ],
    ids=lambda weight: str(tuple(weight.shape)),
)
def test_fans_are_torch_s(weight):
    assert fans(weight) == nn.init._calculate_fan_in_and_fan_out(weight)


def test_what_has_no_fans_is_refused():
    with pytest.raises(ValueError, match=r"^weight: .*\(5,\)"):
        fans(torch.zeros(5))
    with pytest.raises(TypeError, match=r"^weight: expected a torch.Tensor, got ndarray of shape \(5, 4\)"):
        fans(np.ones((5, 4)))


# --- what the schemes draw ---


def big_layers():
    return [nn.Linear(200, 150), nn.Conv2d(20, 60, 3), nn.Conv1d(30, 100, 5)]


TORCH = {
    "lecun": lambda w: nn.init.kaiming_normal_(w, nonlinearity="linear"),
    "xavier": nn.init.xavier_normal_,
    "he": lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),
}


@pytest.mark.parametrize("scheme", TORCH)
@pytest.mark.parametrize("layer", big_layers(), ids=lambda layer: type(layer).__name__)
def test_scaled_schemes_are_normal_with_torch_s_spread(scheme, layer):
    torch.manual_seed(0)
    expected = float(TORCH[scheme](torch.empty(layer.weight.shape)).std())
    initialise(layer, scheme, seed=1)
    # both are samples: sqrt(2) times the error of one
    assert float(layer.weight.detach().std()) == pytest.approx(expected, rel=5 / math.sqrt(layer.weight.numel()))
    assert_normal(layer.weight.detach(), standard_deviation(scheme, *fans(layer.weight)))


def test_gain_multiplies():
    one, three = nn.Linear(50, 40), nn.Linear(50, 40)
    for scheme in ("lecun", "xavier", "orthogonal"):
        initialise(one, scheme)
        initialise(three, scheme, gain=3.0)
        torch.testing.assert_close(three.weight, 3 * one.weight)


def test_plain_schemes():
    layer = nn.Linear(200, 150)
    initialise(layer, "normal", scale=0.3)
    assert_normal(layer.weight.detach(), 0.3)
    initialise(layer, "uniform", scale=0.3)
    assert_std(layer.weight.detach(), 0.3 / math.sqrt(3))
    assert 0.2999 < float(layer.weight.detach().abs().max()) <= 0.3
    initialise(layer, "constant", scale=-0.3)
    assert torch.equal(layer.weight, torch.full((150, 200), -0.3))
    initialise(layer, "zeros")
    assert not layer.weight.any() and not layer.bias.any()


@pytest.mark.parametrize("shape", [(30, 50), (50, 30), (40, 40)])
def test_orthogonal_rows_or_columns(shape):
    layer = initialise(nn.Linear(shape[1], shape[0]).double(), "orthogonal", gain=2.0)
    w = layer.weight.detach()
    product = w @ w.T if shape[0] <= shape[1] else w.T @ w
    torch.testing.assert_close(product, 4 * torch.eye(min(shape), dtype=torch.float64), rtol=0, atol=1e-12)


def test_orthogonal_convolution_is_orthogonal_when_flattened():
    w = initialise(nn.Conv2d(3, 8, 3).double(), "orthogonal").weight.detach().flatten(1)
    torch.testing.assert_close(w @ w.T, torch.eye(8, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("make", [lambda: nn.Linear(100, 800), lambda: nn.Conv2d(4, 800, 5)], ids=["linear", "conv"])
def test_pytorch_scheme_draws_what_a_layer_draws_by_itself(make):
    """The same distribution by the Kolmogorov-Smirnov test, weights and biases; both have a fan-in of 100."""
    from scipy.stats import ks_2samp

    torch.manual_seed(0)
    own, ours = make(), initialise(make(), "pytorch", seed=1)
    own.reset_parameters()
    for name in ("weight", "bias"):
        theirs, drawn = (getattr(layer, name).detach().flatten().numpy() for layer in (own, ours))
        assert ks_2samp(theirs, drawn).pvalue > 1e-3
        assert ks_2samp(1.5 * theirs, drawn).pvalue < 1e-9  # so that the test can fail
        assert 0.099 < abs(drawn).max() <= 0.1  # 800 uniform draws stay below 0.099 in 3 cases of 10 000
    assert_std(ours.weight.detach(), standard_deviation("pytorch", *fans(ours.weight)))


def test_pytorch_scheme_draws_each_layer_for_its_own_fan_in():
    model = initialise(small_cnn((3, 400, 100), 10), "pytorch")
    for _, layer in weighted_layers(model):
        bound = fans(layer.weight)[0] ** -0.5
        assert 0.99 * bound < float(layer.weight.detach().abs().max()) <= bound
        assert float(layer.bias.detach().abs().max()) <= bound


# --- biases ---


def test_biases():
    layer = nn.Linear(300, 20_000)
    for bias in (0.0, -1, np.float32(0.5)):
        assert torch.equal(initialise(layer, "zeros", bias=bias).bias, torch.full((20_000,), float(bias)))
    before = layer.bias.clone()
    assert torch.equal(initialise(layer, "he", bias=None).bias, before)
    assert_normal(initialise(layer, "normal", scale=0.2, bias="like weights").bias.detach(), 0.2)
    assert_std(initialise(layer, "uniform", scale=0.2, bias="like weights").bias.detach(), 0.2 / math.sqrt(3))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_layers_without_bias(scheme):
    layer = nn.Linear(30, 20, bias=False)
    before = layer.weight.clone()
    initialise(layer, scheme, **arguments(scheme, torch.randn(50, 30)))
    assert layer.bias is None and not torch.equal(layer.weight, before)


# --- LSUV ---


@pytest.mark.parametrize("activation", ["relu", "tanh", "maxout"])
@pytest.mark.parametrize("make", [mlp, small_cnn])
def test_lsuv_gives_every_layer_unit_variance(make, activation):
    model = make((3 * 64, 50, 40, 30, 10), activation) if make is mlp else make((3, 8, 8), 10, activation)
    x = 5 * torch.rand(200, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    initialise(model, "lsuv", x=x)
    seen = []
    for _, layer in weighted_layers(model):
        layer.register_forward_hook(lambda m, i, output: seen.append(output.detach().numpy().std()))
    model(x)
    assert len(seen) == len(weighted_layers(model))
    np.testing.assert_allclose(seen, 1, atol=0.02)


@pytest.mark.parametrize("examples", [2, 3, 400])
def test_lsuv_means_the_standard_deviation_of_the_batch_itself(examples):
    """Not the estimate for a population, which differs by sqrt(2) where a layer has two outputs."""
    x = torch.randn(examples, 20, generator=torch.Generator().manual_seed(1))
    model = initialise(nn.Sequential(nn.Linear(20, 1), nn.Tanh(), nn.Linear(1, 1)), "lsuv", x=x)
    z = x.double() @ model[0].weight.detach().double().T + model[0].bias.detach().double()
    for out in (z, torch.tanh(z) @ model[2].weight.detach().double().T + model[2].bias.detach().double()):
        out = out.flatten().tolist()
        mean = sum(out) / examples
        assert math.sqrt(sum((value - mean) ** 2 for value in out) / examples) == pytest.approx(1, abs=0.02)


def test_lsuv_starts_from_orthogonal_weights():
    lsuv, start = mlp((20, 15, 5)), mlp((20, 15, 5))
    initialise(lsuv, "lsuv", x=torch.randn(100, 20))
    initialise(start, "orthogonal")
    ratio = lsuv.linear2.weight / start.linear2.weight
    torch.testing.assert_close(ratio, ratio[0, 0].expand_as(ratio), rtol=1e-4, atol=0)


class Backwards(nn.Module):
    """Registers its layers in the opposite of the order in which it runs them."""

    def __init__(self):
        super().__init__()
        self.last, self.first = nn.Linear(20, 5), nn.Linear(30, 20)

    def forward(self, x):
        return self.last(self.first(x).relu())


def test_lsuv_follows_the_forward_pass_not_the_registration():
    model, x = Backwards(), 9 * torch.randn(100, 30)
    initialise(model, "lsuv", x=x)
    with torch.no_grad():
        assert float(model.first(x).std()) == pytest.approx(1, abs=0.02)
        assert float(model(x).std()) == pytest.approx(1, abs=0.02)


def test_lsuv_leaves_modes_hooks_and_buffers():
    model = mlp((20, 15, 15, 5), norm="batch")
    model.norm1.eval()
    modes = [module.training for module in model.modules()]
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    initialise(model, "lsuv", x=torch.randn(100, 20))
    assert [module.training for module in model.modules()] == modes
    assert not any(module._forward_hooks for module in model.modules())
    for name, value in model.named_buffers():
        assert torch.equal(value, buffers[name])


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (torch.zeros(10, 20), "^x: layer 'linear1' has standard deviation 0.0"),
        (torch.full((10, 20), math.nan), "^x: layer 'linear1' has standard deviation nan"),
        (torch.full((10, 20), math.inf), "^x: layer 'linear1' has standard deviation (nan|inf)"),
    ],
)
def test_lsuv_refuses_a_batch_without_spread(x, says):
    model = mlp((20, 15, 5)).eval()
    with pytest.raises(ValueError, match=says):
        initialise(model, "lsuv", x=x)
    assert not any(module._forward_hooks for module in model.modules())


def test_lsuv_refuses_layers_that_do_not_run():
    model = mlp((20, 15, 5))
    model.linear1.register_module("aside", nn.Linear(3, 3))
    with pytest.raises(ValueError, match=r"^x: layers \['linear1.aside'\]"):
        initialise(model, "lsuv", x=torch.randn(10, 20))


def test_lsuv_says_when_biases_keep_it_from_unit_variance():
    layer = nn.Linear(20, 50)
    nn.init.normal_(layer.bias, std=10.0)
    with pytest.raises(ValueError, match="does not reach unit variance"):
        initialise(layer, "lsuv", x=torch.randn(100, 20), bias=None)


# --- randomised asymmetric ---


@pytest.mark.parametrize("layer", [nn.Linear(12, 20_000), nn.Conv2d(3, 20_000, 2)], ids=["linear", "conv"])
def test_rai_has_one_beta_entry_a_unit(layer):
    fan_in, units, sigma = 12, 20_000, 0.6007 / math.sqrt(12)
    initialise(layer, "rai")
    rows = torch.cat([layer.weight.detach().flatten(1), layer.bias.detach()[:, None]], dim=1)  # (units, 13)
    # Beta(2, 1) has mean 2/3 and second moment 1/2; the other twelve entries are N(0, sigma^2)
    sums, squares = rows.sum(1), (rows**2).sum(1)
    error = math.sqrt((1 / 18 + fan_in * sigma**2) / units)
    assert float(sums.mean()) == pytest.approx(2 / 3, abs=5 * error)
    assert float(sums.var()) == pytest.approx(1 / 18 + fan_in * sigma**2, rel=5 * math.sqrt(2 / units))
    assert float(squares.mean()) == pytest.approx(1 / 2 + fan_in * sigma**2, rel=0.02)
    # the entry is as likely to be any weight as the bias
    np.testing.assert_allclose(rows.mean(0).numpy(), 2 / 3 / 13, atol=5 * math.sqrt((1 / 26 + sigma**2) / units))


def test_rai_entry_follows_the_beta_distribution():
    """With a single input and no bias, the weight is the Beta entry itself."""
    from scipy.stats import beta, kstest

    weights = initialise(nn.Linear(1, 5000, bias=False), "rai").weight.detach().flatten().numpy()
    assert kstest(weights, beta(2, 1).cdf).pvalue > 1e-3
    assert kstest(weights, beta(1, 2).cdf).pvalue < 1e-9  # so that the test can fail


def test_rai_units_are_born_dead_less_often_than_he_s():
    x = torch.rand(500, 1, generator=torch.Generator().manual_seed(0)) * 2 - 1
    dead = {}
    for scheme in ("he", "rai"):
        # the network of Lu et al. 2019: ten layers of two units
        models = [initialise(mlp([1, *[2] * 10, 1]), scheme, seed=seed) for seed in range(200)]
        with torch.no_grad():
            dead[scheme] = sum(float(model(x).std()) == 0 for model in models) / 200
    assert dead["rai"] < 0.5 * dead["he"]


# --- seeds, state, scope ---


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_seed_alone_decides_and_the_global_state_is_untouched(scheme):
    x = torch.randn(100, 20)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002  (the global state is what is tested)
    first = weights(initialise(model := mlp((20, 15, 5)), scheme, seed=3, **arguments(scheme, x)))
    # building the model draws from the global state; initialising does not
    torch.manual_seed(1)
    mlp((20, 15, 5))
    built = torch.get_rng_state()
    initialise(model, scheme, seed=4, **arguments(scheme, x))
    assert torch.equal(torch.get_rng_state(), built) and not torch.equal(built, state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    torch.manual_seed(99)
    again = weights(initialise(mlp((20, 15, 5)), scheme, seed=np.int64(3), **arguments(scheme, x)))
    assert torch.equal(first, again)
    assert torch.equal(first, weights(model)) == (scheme in ("zeros", "constant"))  # another seed, other weights


def test_layers_differ_from_one_another():
    model = initialise(mlp((10, 10, 10)), "he")
    assert not torch.equal(model.linear1.weight, model.linear2.weight)


@pytest.mark.parametrize("norm", NORMS)
def test_other_modules_and_gradient_flags_are_left_alone(norm):
    model = mlp((20, 15, 15, 5), "prelu", norm=norm)
    nn.init.constant_(model.norm1.weight, 7.0)
    model.linear1.requires_grad_(False)
    assert initialise(model, "he", bias=0.5) is model
    assert torch.equal(model.norm1.weight, torch.full((15,), 7.0))
    assert norm == "rms" or not model.norm1.bias.any()  # which has none
    assert model.act1.weight.item() == 0.25
    assert not model.linear1.weight.requires_grad and model.linear2.weight.requires_grad
    assert model.linear2.weight.grad_fn is None


def test_weighted_layers_of_nested_models():
    model = nn.Sequential(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)), nn.Flatten(), nn.Linear(8, 2))
    assert [name for name, _ in weighted_layers(model)] == ["0.0", "2"]


@pytest.mark.parametrize(
    ("scheme", "wrong", "error", "names"),
    [
        ("kaiming", {}, ValueError, "scheme: 'kaiming' is not one of"),
        (None, {}, TypeError, "scheme: expected one of"),
        ("normal", {}, ValueError, "scale: needed by 'normal'"),
        ("he", {"scale": 1.0}, ValueError, "scale: not used by 'he'"),
        ("normal", {"scale": -1.0}, ValueError, "scale: .* of at least 0, got -1.0"),
        ("constant", {"scale": "big"}, TypeError, "scale: expected a number"),
        ("normal", {"scale": 1.0, "gain": 2.0}, ValueError, "gain: not used by 'normal'"),
        ("he", {"gain": -1.0}, ValueError, "gain: .* of at least 0, got -1.0"),
        ("he", {"gain": True}, TypeError, "gain: expected a number, got True"),
        ("lsuv", {}, ValueError, "x: needed by 'lsuv'"),
        ("he", {"x": torch.ones(2, 20)}, ValueError, "x: not used by 'he'"),
        ("lsuv", {"x": np.ones((9, 20))}, TypeError, r"x: expected a torch.Tensor, got ndarray of shape \(9, 20\)"),
        ("he", {"bias": "like weights"}, ValueError, "bias: 'like weights' goes with"),
        ("normal", {"scale": 1.0, "bias": "like weight"}, ValueError, r"bias: 'like weight' is not one of"),
        ("he", {"bias": math.nan}, ValueError, "bias: expected a finite number"),
        ("rai", {"bias": 0.1}, ValueError, "bias: 'rai' draws its own"),
        ("rai", {"bias": None}, ValueError, "bias: 'rai' draws its own"),
        ("pytorch", {"bias": 0.1}, ValueError, "bias: 'pytorch' draws its own"),
        ("pytorch", {"bias": None}, ValueError, "bias: 'pytorch' draws its own"),
        ("pytorch", {"bias": "like weights"}, ValueError, "bias: 'like weights' goes with"),
        ("pytorch", {"gain": 1.0}, ValueError, "gain: not used by 'pytorch'"),
        ("pytorch", {"scale": 1.0}, ValueError, "scale: not used by 'pytorch'"),
        ("he", {"seed": True}, TypeError, "seed: expected an integer, got True"),
        ("he", {"seed": -1}, ValueError, "seed: expected an integer of at least 0, got -1"),
        ("he", {"seed": 2**64}, ValueError, "seed: expected an integer of at most"),
    ],
)
def test_wrong_arguments_are_named_and_change_nothing(scheme, wrong, error, names):
    model = mlp((20, 15, 5))
    before = weights(model)
    with pytest.raises(error, match=f"^{names}"):
        initialise(model, scheme, **wrong)
    assert torch.equal(weights(model), before)


def test_the_largest_seed_is_one():
    assert not torch.equal(*(initialise(nn.Linear(2, 2), "he", seed=2**64 - k).weight for k in (1, 2)))


def test_what_is_no_model_is_refused():
    for wrong in (None, "mlp", nn.Linear, np.ones((2, 2)), nn.Linear(2, 2).weight):
        for call in (lambda wrong=wrong: initialise(wrong, "he"), lambda wrong=wrong: weighted_layers(wrong)):
            with pytest.raises(TypeError, match=r"^model: expected a torch.nn.Module, got "):
                call()
    with pytest.raises(ValueError, match=r"^model: ReLU has no linear or convolutional layer"):
        initialise(nn.ReLU(), "he")


# --- weights that are computed from others ---

COMPUTED = {
    "parametrize": lambda layer: parametrize.register_parametrization(layer, "weight", nn.Tanh()),
    "bias": lambda layer: parametrize.register_parametrization(layer, "bias", nn.Tanh()),
    "weight norm": nn.utils.parametrizations.weight_norm,
    "old weight norm": nn.utils.weight_norm,
    "spectral norm": nn.utils.parametrizations.spectral_norm,
    "old spectral norm": nn.utils.spectral_norm,
    "orthogonal": nn.utils.parametrizations.orthogonal,
    "pruning": lambda layer: prune.l1_unstructured(layer, "weight", amount=0.5),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")  # the old one, which older models have
@pytest.mark.parametrize("scheme", ["he", "lsuv", "rai", "pytorch"])
@pytest.mark.parametrize("how", COMPUTED)
def test_weights_that_are_computed_are_refused_by_name(how, scheme):
    model, x = mlp((20, 15, 10, 5)), torch.randn(50, 20)
    COMPUTED[how](model.linear2)
    model.eval()
    with torch.no_grad():
        before, state = model(x), {name: value.clone() for name, value in model.state_dict().items()}
        with pytest.raises(
            ValueError, match=rf"^model: layer 'linear2' computes its {'bias' if how == 'bias' else 'w'}"
        ):
            initialise(model, scheme, **arguments(scheme, x))
        # not even the layers before it
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
        assert torch.equal(model(x), before)


@pytest.mark.parametrize("how", ["parametrize", "weight norm"])
def test_weights_that_are_no_longer_computed_are_taken(how):
    model = mlp((20, 15, 5))
    COMPUTED[how](model.linear1)
    parametrize.remove_parametrizations(model.linear1, "weight")
    assert torch.equal(initialise(model, "he").linear1.weight, initialise(mlp((20, 15, 5)), "he").linear1.weight)


def test_other_layers_may_be_parametrised():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    parametrize.register_parametrization(model[1], "weight", nn.Softplus())
    before = model[1].weight.clone()
    initialise(model, "constant", scale=0.5)
    assert torch.equal(model[0].weight, torch.full((4, 3), 0.5)) and torch.equal(model[1].weight, before)


def test_lazy_layers_are_refused_until_they_have_weights():
    model = nn.Sequential(nn.Linear(3, 4), nn.LazyLinear(5))
    with pytest.raises(ValueError, match=r"^model: layer '1' has no weights before its first batch"):
        initialise(model, "he")
    model(torch.ones(2, 3))
    assert initialise(model, "constant", scale=0.5)[1].weight.unique().tolist() == [0.5]


# --- gains ---


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_gain_of_theory_keeps_the_size_of_a_signal(activation):
    """Behind 500 units of each layer q = 1 stays 1, to what 500 random units leave: some 5 % a layer at worst."""
    x = torch.randn(2000, 500, generator=torch.Generator().manual_seed(0))
    model = initialise(mlp((500, 500, 500, 500), activation), "he", gain=gain(activation), seed=1)
    with torch.no_grad():
        z = model.linear1(x / x.pow(2).mean(dim=1, keepdim=True).sqrt() / gain(activation))
        deep = model.linear3(model.act2(model.linear2(model.act1(z))))
    assert float((z**2).mean()) == pytest.approx(1, abs=0.02)
    assert float((deep**2).mean()) == pytest.approx(1, abs=0.15)
