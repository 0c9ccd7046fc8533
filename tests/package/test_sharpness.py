"""Sharpness against whole Hessians by PyTorch, spectra that are known, the rate at which descent diverges."""

import copy

import numpy as np
import pytest
import torch
from samples import points
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import parametrizations, prune
from watching import Twice

from unstuck.data import standardise
from unstuck.evaluate import in_mode
from unstuck.models import mlp, small_cnn
from unstuck.probes import sharpness, watch
from unstuck.train import fit

N, D, K = 23, 6, 3
GENERATOR = torch.Generator().manual_seed(5)
X = torch.randn(N, D, generator=GENERATOR, dtype=torch.float64)
Y = torch.arange(N) % K
TARGETS = F.one_hot(Y, K).double()


def network(activation="tanh", norm=None, widths=(D, 7, 5, K)):
    torch.manual_seed(2)
    return mlp(widths, activation, norm=norm).double()


def spectrum(model, x=X, y=Y, loss_fn=F.cross_entropy, seed=None):
    """All eigenvalues, descending, of PyTorch's own Hessian of a copy: (n,)."""
    model = copy.deepcopy(model)
    named = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}

    def loss(flat):
        parts = flat.split([p.numel() for p in named.values()])
        if seed is not None:
            torch.manual_seed(seed)
        given = {name: part.view(p.shape) for (name, p), part in zip(named.items(), parts, strict=True)}
        return loss_fn(functional_call(model, given, (x.clone(),)), y)

    flat = torch.cat([p.flatten() for p in named.values()])
    with sdpa_kernel(SDPBackend.MATH):
        hessian = torch.autograd.functional.hessian(loss, flat)
    torch.testing.assert_close(hessian, hessian.T)  # `eigvalsh` looks at one half
    return torch.linalg.eigvalsh(hessian).flip(0).numpy()


def assert_close(found, expected, rtol=1e-9):
    assert isinstance(found, np.ndarray) and found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol * abs(expected).max())


# ---------------------------------------------------------------------------------------- whole Hessians


def log_cosh(output, y):
    return torch.log(torch.cosh(output - y)).mean()


LOSSES = {
    "cross entropy": (F.cross_entropy, Y),
    "smoothed": (lambda output, y: F.cross_entropy(output, y, label_smoothing=0.1), Y),
    "squares": (F.mse_loss, TARGETS),
    "log cosh": (log_cosh, TARGETS),
    "the reverse": (lambda output, y: -F.cross_entropy(output, y), Y),  # what is not convex anywhere
}


@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu"])
@pytest.mark.parametrize("name", LOSSES)
def test_the_largest_eigenvalues_of_the_whole_hessian(activation, name):
    loss_fn, y = LOSSES[name]
    model = network(activation)
    expected = spectrum(model, X, y, loss_fn)
    n = len(expected)
    for k in (1, 4, n // 2 + 1, n):  # Lanczos, and the whole
        found = sharpness(model, X, y, loss_fn=loss_fn, k=k)
        assert found.shape == (k,)
        assert_close(found, expected[:k])


def test_a_convolutional_network_and_attention():
    torch.manual_seed(0)
    cnn = small_cnn((2, 3), 4, "elu").double()
    x, y = torch.randn(5, 2, 8, 8, dtype=torch.float64), torch.arange(5) % 4
    assert_close(sharpness(cnn, x, y, k=3, batch_size=2), spectrum(cnn, x, y)[:3])
    block = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, batch_first=True).double()
    x, y = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    assert_close(sharpness(block, x, y, loss_fn=F.mse_loss, k=2), spectrum(block, x, y, F.mse_loss)[:2])


def test_float32_is_close_to_float64():
    model = network()
    expected = sharpness(model, X, Y, k=3)
    found = sharpness(copy.deepcopy(model).float(), X.float(), Y, k=3, batch_size=10)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert (found != expected).any()


# ------------------------------------------------------------------------------------- spectra that are known


class Quadratic(nn.Module):
    """w'Aw / 2, of a matrix with given eigenvalues."""

    def __init__(self, eigenvalues, seed=0):
        super().__init__()
        rng = np.random.default_rng(seed)
        basis, _ = np.linalg.qr(rng.standard_normal((len(eigenvalues),) * 2))
        self.matrix = torch.from_numpy((basis * np.asarray(eigenvalues, float)) @ basis.T)
        self.w = nn.Parameter(torch.from_numpy(rng.standard_normal(len(eigenvalues))))

    def forward(self, x):
        return 0.5 * self.w @ self.matrix @ self.w


def first(output, y):
    return output


@pytest.mark.parametrize(
    "eigenvalues",
    [
        np.arange(-30.0, 70.0),
        -np.arange(1.0, 101.0),
        np.geomspace(1e-12, 1e-3, 100),
        np.r_[5.0, np.zeros(99)],
        np.r_[-5.0, np.zeros(99)],
        np.r_[3.0, 2.0, 1.0, -4.0, np.zeros(96)],
        np.zeros(100),
        np.ones(100),
        np.r_[[10.0] * 10, [5.0] * 10, np.linspace(-1, 1, 80)],
        np.r_[[3.0] * 3, 2.9, 2.8, np.linspace(0, 2, 195)],
    ],
    ids=lambda eigenvalues: f"{eigenvalues.min():g} to {eigenvalues.max():g}",
)
@pytest.mark.parametrize("k", [1, 2, 3, 10])
def test_a_quadratic_has_the_spectrum_it_was_given(eigenvalues, k):
    model = Quadratic(eigenvalues)
    found = sharpness(model, X, Y, loss_fn=first, k=k)
    np.testing.assert_allclose(found, np.sort(eigenvalues)[::-1][:k], atol=1e-9 * abs(eigenvalues).max())


def test_linear_regression_has_the_spectrum_of_its_inputs():
    outputs = 4
    x = torch.randn(60, 12, generator=GENERATOR, dtype=torch.float64) + 0.5
    model = nn.Linear(12, outputs).double()
    design = np.c_[x.numpy(), np.ones(len(x))]  # (N, D + 1)
    expected = np.linalg.eigvalsh(design.T @ design / len(x))[::-1].repeat(outputs)  # as often as there are outputs
    found = sharpness(
        model, x, torch.zeros(60, outputs), k=10, loss_fn=lambda a, y: 0.5 * ((a - y) ** 2).sum(1).mean()
    )
    assert_close(found, expected[:10])


def test_softmax_regression_at_zero():
    # every class has 1 / K: the Hessian is (I - 1 1' / K) / K, whose eigenvalues are 1 / K and a 0, times the inputs'
    model = nn.Linear(D, 10, bias=False).double()
    nn.init.zeros_(model.weight)
    inputs = np.linalg.eigvalsh((X.T @ X / N).numpy())[::-1]
    expected = np.r_[(inputs / 10).repeat(9), np.zeros(D)]
    for k in (1, 12, 60):
        assert_close(sharpness(model, X, Y, k=k), expected[:k])


# --------------------------------------------------------------------------------- where descent diverges


def excess(lr, momentum=0.0, steps=600):
    """The loss of linear regression above its minimum, before full-batch descent and after it."""
    torch.manual_seed(1)
    model = nn.Linear(D, 1, bias=False).double()
    y = X @ torch.arange(1.0, D + 1, dtype=torch.float64)[:, None]  # can be fitted: the minimum is 0
    optim = torch.optim.SGD(model.parameters(), lr, momentum)
    losses = []
    for _ in range(steps):
        losses.append(F.mse_loss(model(X), y))
        optim.zero_grad()
        losses[-1].backward()
        optim.step()
    return losses[0].item(), losses[-1].item()


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_descent_diverges_just_above_the_border_and_converges_just_below(momentum):
    (top,) = sharpness(nn.Linear(D, 1, bias=False).double(), X, torch.zeros(N, 1), loss_fn=F.mse_loss)
    border = 2 * (1 + momentum) / top
    start, end = excess(0.98 * border, momentum)
    assert end < 1e-4 * start
    start, end = excess(1.02 * border, momentum)
    assert end > 1e4 * start


# ------------------------------------------------------------------------------------- batches and losses


@pytest.mark.parametrize("batch_size", [1, 7, 22, 23, 24, np.int64(1000)])
def test_batches_do_not_matter(batch_size):
    loss_fn, y = LOSSES["log cosh"]
    model = network(widths=(D, 4, K))
    found = sharpness(model, X, y, loss_fn=loss_fn, batch_size=batch_size)
    assert_close(found, spectrum(model, X, y, loss_fn)[:1])


def test_a_sum_is_n_times_the_mean_and_needs_a_single_batch():
    model, weights = network(), torch.tensor([1.0, 1.1, 3.0], dtype=torch.float64)
    summed = sharpness(model, X, Y, loss_fn=nn.CrossEntropyLoss(reduction="sum"))
    np.testing.assert_allclose(summed, N * sharpness(model, X, Y), rtol=1e-9)
    weighted = nn.CrossEntropyLoss(weights)  # a mean, but over weights
    assert_close(sharpness(model, X, Y, loss_fn=weighted), spectrum(model, loss_fn=weighted)[:1])
    for loss_fn in (nn.CrossEntropyLoss(reduction="sum"), weighted):
        with pytest.raises(ValueError, match=r"^loss_fn, batch_size: expected a mean over the examples"):
            sharpness(model, X, Y, loss_fn=loss_fn, batch_size=10)


def test_an_output_that_is_no_tensor():
    class Pair(nn.Sequential):
        def forward(self, x):
            z = super().forward(x)
            return {"logits": z, "penalty": (z**2).mean()}

    def loss(output, y):
        return F.cross_entropy(output["logits"], y) + 0.1 * output["penalty"]

    model = Pair(*network())
    for batch_size in (10, 1000):
        found = sharpness(model, X, Y, loss_fn=loss, batch_size=batch_size)
        assert_close(found, spectrum(model, loss_fn=loss)[:1])


# -------------------------------------------------------------------------- parameters, modes and randomness


def test_frozen_parameters_are_constants():
    model = network()
    whole = sharpness(model, X, Y)
    model.linear1.requires_grad_(False)
    model.linear3.bias.requires_grad_(False)
    expected = spectrum(model)
    assert len(expected) == 55
    found = sharpness(model, X, Y, k=55)
    assert_close(found, expected)
    assert found[0] < 0.999 * whole[0]
    with pytest.raises(ValueError, match=r"^k: expected an integer of at most 55, got 56"):
        sharpness(model, X, Y, k=56)


def test_unused_parameters_give_zeros_and_shared_ones_count_once():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.again, self.unused = nn.Linear(D, D), nn.Linear(D, D), nn.Linear(D, 4)
            self.again.weight = self.first.weight
            self.shift = nn.Parameter(torch.zeros(D))  # enters the loss linearly

        def forward(self, x):
            return self.again(torch.tanh(self.first(x))), self.shift.sum()

    def loss(output, y):
        return F.cross_entropy(output[0], y) + output[1]

    torch.manual_seed(0)
    model = Odd().double()
    expected = spectrum(model, loss_fn=loss)
    assert len(expected) == D * D + 2 * D + 4 * D + 4 + D  # the weight once
    assert_close(sharpness(model, X, Y, loss_fn=loss, k=5), expected[:5])
    assert_close(sharpness(model, X, Y, loss_fn=loss, k=len(expected)), expected)
    linear = nn.Linear(D, 4).double()
    assert sharpness(linear, X, Y, loss_fn=lambda output, y: output.mean(), k=2).tolist() == [0, 0]


def test_the_mode_is_the_models_own():
    model = network(norm="batch")
    model.norm1.running_mean += 0.3
    model.norm2.eval()
    training = sharpness(model, X, Y, k=2)
    assert_close(training, spectrum(model)[:2])
    with in_mode(model, training=False):
        evaluation = sharpness(model, X, Y, k=2, batch_size=5)
        assert_close(evaluation, spectrum(model)[:2])
    assert abs(training / evaluation - 1).max() > 0.1
    assert [module.training for module in (model, model.norm1, model.norm2)] == [True, True, False]


def test_batch_norm_in_training_mode_normalises_by_the_batch():
    model = network(norm="batch")

    class Halves(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, x):
            return torch.cat([self.model(half) for half in (x[:12], x[12:])])

    found = sharpness(model, X, Y, k=2, batch_size=12)
    assert_close(found, spectrum(Halves())[:2])
    assert abs(found / sharpness(model, X, Y, k=2) - 1).max() > 0.01


class Drops(nn.Sequential):
    """Dropout as a function, and a state that every forward changes, by a new tensor and in place."""

    def __init__(self, *modules):
        super().__init__(*modules)
        self.calls = 1.0
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("shift", torch.ones(()))

    def forward(self, x):
        self.calls += 1
        self.scale = self.scale + 0.1
        self.shift += 0.1
        return F.dropout(super().forward(x), 0.3) * self.calls * self.scale + self.shift**2 * x[:, :K]


def test_what_is_drawn_at_random_and_what_has_a_state_is_the_same_in_every_product():
    model = Drops(*network())
    expected = spectrum(Fresh(model), seed=0)[:2]
    for seed in (3, 4):
        torch.manual_seed(seed)
        assert_close(sharpness(model, X, Y, k=2), expected)
    assert model.calls == 1 and model.scale == 1 and model.shift == 1
    once, again = (sharpness(model, X, Y, k=2, batch_size=9) for _ in range(2))
    assert once.tolist() == again.tolist()
    assert abs(once - expected).max() > 1e-3


class Fresh(nn.Module):
    """A model whose state goes back after each call."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        state = self.model.calls, self.model.scale, self.model.shift.clone()
        try:
            return self.model(x)
        finally:
            self.model.calls, self.model.scale, self.model.shift = state


@pytest.mark.parametrize("kind", ["pruned", "spectral norm", "old spectral norm"])
def test_weights_that_are_computed_from_others(kind):
    model = network()
    if kind == "pruned":
        prune.l1_unstructured(model.linear1, "weight", 0.5)
    else:
        norm = parametrizations.spectral_norm if kind == "spectral norm" else nn.utils.spectral_norm
        norm(model.linear1)
        model(X)
        model.eval()  # in training mode its iteration goes on
    F.cross_entropy(model(X), Y)  # leaves what it computed on a graph
    found = sharpness(model, X, Y, k=2, batch_size=12)
    with torch.no_grad():
        model(X)  # what it computes now can be copied
    assert_close(found, spectrum(model)[:2])


# ------------------------------------------------------------------------------------- nothing is changed


def state(model, x, y):
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers()), "x": x, "y": y}
    return (
        {
            name: (id(t), t._version, t.detach().clone().numpy().tobytes(), t.requires_grad)
            for name, t in tensors.items()
        },
        [None if p.grad is None else (id(p.grad), p.grad.numpy().tobytes()) for p in model.parameters()],
        [(module.training, sorted(vars(module))) for module in model.modules()],
        torch.get_rng_state().numpy().tobytes(),
        torch.is_grad_enabled(),
        torch.backends.cuda.flash_sdp_enabled(),
    )


@pytest.mark.parametrize("batch_size", [12, 1000])
@pytest.mark.parametrize("failing", [None, 1, 2])
def test_nothing_is_changed_also_after_an_exception(batch_size, failing):
    calls = []

    def loss(output, y):
        calls.append(1)
        if len(calls) == failing:
            raise RuntimeError("boom")
        return F.cross_entropy(output, y)

    torch.manual_seed(0)
    model = Twice()
    model.second.bias.requires_grad_(False)
    model.norm.eval()
    x = torch.randn(N, 8)
    F.cross_entropy(model(x), Y).backward()
    before = state(model, x, Y)
    if failing is None or (failing == 2 and batch_size == 1000):  # a single batch is computed once
        sharpness(model, x, Y, loss_fn=loss, k=2, batch_size=batch_size)
    else:
        with pytest.raises(RuntimeError, match="boom"):
            sharpness(model, x, Y, loss_fn=loss, k=2, batch_size=batch_size)
    assert state(model, x, Y) == before


def test_training_and_a_watch_do_not_notice():
    split = standardise(points(n=60))

    def run(each_step):
        torch.manual_seed(0)
        model = mlp((3, 6, 4), norm="batch")
        model.insert = None
        with watch(model, every=2) as outer:
            record = fit(model, split, steps=5, batch_size=20, lr=0.1, quantities=("dead",), each_step=each_step)
        return outer.to_columns(), record.to_columns(), [p.tolist() for p in model.parameters()]

    seen = []
    watched = run(lambda step, model: seen.append(sharpness(model, split.x_train, split.y_train, batch_size=30)))
    assert len(seen) == 5 and len({float(top[0]) for top in seen}) == 5
    assert repr(watched) == repr(run(None))


def test_gradients_may_be_disabled_around_it():
    expected = sharpness(network(), X, Y)
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            x, y = X + 0, Y + 0  # tensors of inference mode
            assert sharpness(network(), x, y).tolist() == expected.tolist()
            assert not torch.is_grad_enabled()


def test_the_same_call_gives_the_same_numbers():
    once = sharpness(network(), X, Y, k=3)
    np.random.seed(4)  # noqa: NPY002
    assert sharpness(network(), X, Y, k=3).tolist() == once.tolist()


# --------------------------------------------------------------------------------------------- bad calls


class Direction(torch.autograd.Function):
    """z / |z|, whose backward takes |z| for a constant."""

    @staticmethod
    def forward(ctx, z):
        ctx.save_for_backward(z)
        return z / z.norm(dim=1, keepdim=True)

    @staticmethod
    def backward(ctx, grad):
        (z,) = ctx.saved_tensors
        size = z.detach().norm(dim=1, keepdim=True)
        return grad / size - z * (z * grad).sum(1, keepdim=True) / size**3


class Wrong(nn.Sequential):
    def forward(self, x):
        return Direction.apply(super().forward(x))


class DrawsElsewhere(nn.Sequential):
    """Dropout of whole examples by NumPy's generator."""

    def forward(self, x):
        return super().forward(x) * torch.from_numpy(np.random.random(len(x)))[:, None]  # noqa: NPY002


@pytest.mark.parametrize(("kind", "batch_size"), [(Wrong, N), (Wrong, 10), (DrawsElsewhere, 10)])
@pytest.mark.parametrize("k", [1, 90])
def test_second_derivatives_that_are_not_symmetric_are_refused(kind, batch_size, k):
    with pytest.raises(ValueError, match=r"^model, loss_fn: expected second derivatives that are symmetric"):
        sharpness(kind(*network()), X, Y, batch_size=batch_size, k=k)


class Returns(nn.Module):
    def __init__(self, function, **attributes):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(30))
        self.function = function
        vars(self).update(attributes)

    def forward(self, x):
        return self.function(self.w)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Returns(lambda w: w.sum() / 0), "model, x, y, loss_fn: expected a finite loss, got nan"),
        (Returns(lambda w: w.sum().exp() / 0), "model, x, y, loss_fn: expected a finite loss, got inf"),
        (Returns(lambda w: (w.abs() ** 1.5).sum()), "model, loss_fn: expected second derivatives that are finite"),
        (Returns(lambda w: w), "model, loss_fn: expected one number that .*, got Parameter of shape"),
        (
            Returns(lambda w: w.detach().sum()),
            "model, loss_fn: expected one number that depends on parameters, got t",
        ),
        (Returns(None, lock=(i for i in "uncopied")), r"model: expected a module that can be copied \(cannot pickle"),
        (nn.ReLU(), "model: expected parameters that require gradients"),
        (nn.Linear(2, 2).requires_grad_(False), "model: expected parameters that require gradients"),
        (nn.Linear(2, 2, dtype=torch.complex64), "model: expected parameters .* all of them real"),
        (nn.LazyLinear(2), "model: expected initialised parameters"),
    ],
)
def test_what_has_no_hessian_is_refused(model, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        sharpness(model, X, Y, loss_fn=first)
