"""`stack` against its members: outputs, gradients and buffers of each, computed by the network alone."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from unstuck.activations import ACTIVATIONS
from unstuck.ensemble import Stack, stack, unstack
from unstuck.models import activation_module, mlp

M, N = 3, 5


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def members(make, m=M):
    """Networks in float64 that differ in every number."""
    models = [make().double() for _ in range(m)]
    for model in models:
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.data.copy_(torch.rand_like(tensor) + 0.2)  # positive: also a variance
                if tensor.ndim > 1:
                    tensor.data.sub_(0.7)
    return models


def states(models):
    return [{name: tensor.clone() for name, tensor in model.state_dict().items()} for model in models]


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def assert_equals_members(models, x, times=1):
    """`times` forwards and backwards of x (M, N, ...), of the stack and of each member."""
    stacked, apart = stack(models), [copy.deepcopy(model) for model in models]
    for _ in range(times):
        x_all, x_each = x.clone().requires_grad_(), [part.clone().requires_grad_() for part in x]
        together, each = stacked(x_all), [model(part) for model, part in zip(apart, x_each, strict=True)]
        downstream = [torch.randn_like(output) for output in each]
        close(together, torch.stack(each))
        together.backward(torch.stack(downstream))
        for output, d in zip(each, downstream, strict=True):
            output.backward(d)
    close(x_all.grad, torch.stack([part.grad for part in x_each]))
    gradients = {name: p.grad for name, p in stacked.body.named_parameters()}
    assert set(gradients) == {name for name, _ in apart[0].named_parameters()}
    for name, gradient in gradients.items():
        close(gradient, torch.stack([model.get_parameter(name).grad for model in apart]))
    for ours, theirs in zip(unstack(stacked), apart, strict=True):
        for (name, a), (expected_name, b) in zip(ours.state_dict().items(), theirs.state_dict().items(), strict=True):
            assert name == expected_name
            close(a, b)


def inputs(*shape):
    return torch.randn(M, N, *shape, dtype=torch.float64)


# --- layers ---


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("middle", [(), (4,), (2, 4)])
def test_linear(middle, bias):
    assert_equals_members(members(lambda: nn.Linear(6, 3, bias=bias)), inputs(*middle, 6))


BATCH_NORMS = [{}, {"momentum": None}, {"momentum": 0.0}, {"affine": False}, {"track_running_stats": False}]
BATCH_NORMS += [{"eps": 0.1, "momentum": 0.7}, {"momentum": None, "track_running_stats": False}]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("settings", BATCH_NORMS)
@pytest.mark.parametrize(
    ("kind", "shape"), [(nn.BatchNorm1d, (4,)), (nn.BatchNorm1d, (4, 3)), (nn.BatchNorm2d, (4, 2, 3))]
)
def test_batch_norm(kind, shape, settings, training):
    models = members(lambda: kind(4, **settings).train(training))
    assert_equals_members(models, inputs(*shape), times=3)


def test_batch_norm_without_momentum_of_networks_that_have_seen_different_numbers_of_batches():
    models = members(lambda: nn.BatchNorm1d(4, momentum=None))
    for m, model in enumerate(models):
        model.num_batches_tracked += 5 * m
    assert_equals_members(models, inputs(4), times=2)


class Twice(nn.Module):
    def __init__(self, momentum):
        super().__init__()
        self.norm = nn.BatchNorm1d(4, momentum=momentum)

    def forward(self, x):
        return self.norm(x) + self.norm(x * x)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_batch_norm_that_runs_twice_in_a_forward(momentum):
    assert_equals_members(members(lambda: Twice(momentum)), inputs(4), times=2)


def test_batch_norm_whose_tracking_was_switched_off_later():
    models = members(lambda: nn.BatchNorm1d(4))
    for model in models:
        model.track_running_stats = False
    assert_equals_members(models, inputs(4), times=2)
    for model in models:
        model.eval()
    assert_equals_members(models, inputs(4))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(("shape", "given"), [((4,), (4,)), ((3, 4), (4,)), ((3, 4), (3, 4)), ((2, 3, 4), (3, 4))])
def test_layer_norm(shape, given, affine, bias):
    make = partial(nn.LayerNorm, given, elementwise_affine=affine, bias=bias, eps=0.01)
    assert_equals_members(members(make), inputs(*shape))


@pytest.mark.parametrize("settings", [{}, {"eps": 0.1}, {"elementwise_affine": False}])
@pytest.mark.parametrize(("shape", "given"), [((4,), (4,)), ((3, 4), (4,)), ((3, 4), (3, 4))])
def test_rms_norm(shape, given, settings):
    assert_equals_members(members(lambda: nn.RMSNorm(given, **settings)), inputs(*shape))


@pytest.mark.parametrize("settings", [{}, {"eps": 0.1}, {"affine": False}])
@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("shape", [(12,), (12, 3), (12, 2, 3)])
def test_group_norm(shape, groups, settings):
    assert_equals_members(members(lambda: nn.GroupNorm(groups, 12, **settings)), inputs(*shape))


@pytest.mark.parametrize("slopes", [1, 4])
@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 2, 3)])
def test_prelu(shape, slopes):
    x = inputs(*shape)
    x.flatten()[::3] = 0  # the kink
    assert_equals_members(members(lambda: nn.PReLU(slopes)), x)


def test_an_infinite_activation_leaves_a_prelu_its_slope():
    x = torch.tensor([[[torch.inf], [1.0]]]).double()
    stacked = stack([nn.Sequential(nn.PReLU(), nn.Tanh()).double()])
    stacked(x).sum().backward()
    assert stacked.body[0].weight.grad.tolist() == [[0.0]]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_slopes_at_kinks_and_ties_are_those_of_autograd(name):
    x = torch.arange(-3.0, 4.0).repeat(13)[: M * N * 6].view(M, N, 6).double()  # zeros, equal pieces for maxout
    x[0, 0] = 1.0
    assert_equals_members(members(lambda: activation_module(name)), x)


ELEMENTWISE = [
    *(nn.Threshold(0.1, 20.0), nn.Hardtanh(-0.5, 0.7), nn.ReLU6(), nn.Hardsigmoid(), nn.Hardswish(), nn.CELU(0.3)),
    *(nn.Mish(), nn.Hardshrink(), nn.LogSigmoid(), nn.Softplus(2.0), nn.Softshrink(), nn.Softsign()),
    *(nn.Tanhshrink(), nn.GELU("tanh"), nn.LeakyReLU(0.3), nn.ELU(0.5), nn.ReLU(inplace=True)),
]
BY_EXAMPLE = [
    *(nn.GLU(), nn.GLU(dim=1), nn.Softmax(dim=1), nn.LogSoftmax(dim=-1), nn.Unflatten(1, (2, 2)), nn.AvgPool1d(2)),
    *(nn.Flatten(), nn.Flatten(-2), nn.Flatten(1, 1), nn.Flatten(0), nn.Identity(), nn.LayerNorm(6)),
]


@pytest.mark.parametrize("module", ELEMENTWISE + BY_EXAMPLE, ids=str)
def test_modules_behind_a_linear_layer(module):
    def make():
        return nn.Sequential(nn.Linear(6, 6), copy.deepcopy(module))

    assert_equals_members(members(make), inputs(4, 6))


@pytest.mark.parametrize("shape", [(4,), (4, 2, 3)])
@pytest.mark.parametrize("start", [0, 1, 2, -1])
def test_flatten(start, shape):
    if start < len(shape) + 1:
        assert_equals_members(members(lambda: nn.Flatten(start)), inputs(*shape))


# --- whole networks ---


class Residual(nn.Module):
    """What users write: branches that are added, multiplied, concatenated; a layer used twice; own parameters."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(6, 4), nn.Linear(4, 4), nn.Linear(8, 2)
        self.norm, self.prelu = nn.BatchNorm1d(4), nn.PReLU(4)
        self.blocks = nn.ModuleList([nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 4)) for _ in range(2)])
        self.gates = nn.ModuleDict({"gate": nn.Linear(4, 4)})
        self.mix = nn.Parameter(torch.zeros(4, 4))
        self.row = nn.Parameter(torch.zeros(1, 4))
        self.register_buffer("shift", torch.zeros(1, 4))
        self.register_buffer("scale", torch.zeros(1, 4), persistent=False)

    def forward(self, x):
        a = F.relu(self.norm(self.first(x)))
        a = a + self.prelu(self.second(a))
        a = a + self.second(a) * torch.sigmoid(self.gates["gate"](a))
        for block in self.blocks:
            a = a - 0.5 * block(a)
        a = a @ self.mix + self.row * self.scale - self.shift
        return self.last(torch.cat([a, a.square()], dim=-1))


@pytest.mark.parametrize("training", [True, False])
def test_a_forward_of_ones_own(training):
    assert_equals_members(members(lambda: Residual().train(training)), inputs(6), times=2)


@pytest.mark.parametrize("norm", [None, "batch", "layer"])
@pytest.mark.parametrize("activation", ["maxout", "prelu"])
def test_a_perceptron_on_shared_images(activation, norm):
    x = inputs(3, 1, 2)[:1].expand(M, N, 3, 1, 2)
    models = members(lambda: mlp((6, 7, 5, 2), activation, norm=norm))
    assert_equals_members(models, x, times=2)


class OtherInTraining(nn.Module):
    def forward(self, x):
        return x + 1 if self.training else 2 * x


def test_a_module_without_state_knows_the_mode():
    stacked, x = stack(members(lambda: nn.Sequential(nn.Linear(3, 3), OtherInTraining()))), inputs(3)
    for mode in (True, False, True):
        each = [model.train(mode)(part) for model, part in zip(unstack(stacked), x, strict=True)]
        close(stacked.train(mode)(x), torch.stack(each))


# --- the round trip ---


@pytest.mark.parametrize("make", [Residual, lambda: mlp((6, 4, 2), "prelu", norm="batch"), lambda: nn.Linear(2, 3)])
def test_round_trip(make):
    models = members(make)
    models[0].eval()  # modes are part of an architecture
    for model in models[1:]:
        model.eval()
    next(models[0].parameters()).requires_grad_(False)
    for model in models[1:]:
        next(model.parameters()).requires_grad_(False)
    before, back = states(models), unstack(stack(models))
    assert [type(model) for model in back] == [type(model) for model in models]
    for model, original, state in zip(back, models, before, strict=True):
        assert list(model.state_dict()) == list(state)
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            own = dict((*original.named_parameters(), *original.named_buffers()))[name]
            assert torch.equal(tensor, own) and tensor.dtype == own.dtype and tensor.is_contiguous()
            assert tensor.requires_grad == own.requires_grad and tensor.data_ptr() != own.data_ptr()
        assert [module.training for module in model.modules()] == [module.training for module in original.modules()]
    assert all(
        torch.equal(model.state_dict()[name], tensor)
        for model, state in zip(models, before, strict=True)
        for name, tensor in state.items()
    )


def test_a_stack_has_the_keys_of_its_members_and_shares_nothing_with_them():
    models = members(Residual)
    stacked = stack(model for model in models)
    assert len(stacked) == M and isinstance(stacked, Stack)
    assert list(stacked.body.state_dict()) == list(models[0].state_dict())
    for name, tensor in stacked.body.state_dict().items():
        assert tensor.shape == (M, *models[0].state_dict()[name].shape)
    before = states(models)
    with torch.no_grad():
        for p in stacked.parameters():
            p.zero_()
    assert all(torch.equal(s[name], m.state_dict()[name]) for s, m in zip(before, models, strict=True) for name in s)


def test_a_stack_without_parameters_has_a_size():
    stacked = stack([nn.ReLU(), nn.ReLU()])
    assert len(stacked) == 2 and [type(model) for model in unstack(stacked)] == [nn.ReLU] * 2


def test_a_stack_can_change_its_dtype_and_be_copied():
    models = members(lambda: mlp((3, 4, 2), norm="batch"))
    single = copy.deepcopy(stack(models)).float()
    for ours, theirs in zip(unstack(single), models, strict=True):
        for name, tensor in theirs.float().state_dict().items():
            assert torch.equal(ours.state_dict()[name], tensor)


def test_keep_goes_on_with_some_their_gradients_and_buffers():
    models, x = members(Residual), inputs(6)
    stacked = stack(models)
    stacked(x).sum().backward()
    gradients = {name: p.grad.clone() for name, p in stacked.body.named_parameters()}
    state = {name: tensor.clone() for name, tensor in stacked.body.state_dict().items()}
    parameters = list(stacked.parameters())
    which = torch.tensor([True, False, True])
    stacked.keep(which)
    assert len(stacked) == 2 and all(p is q for p, q in zip(parameters, stacked.parameters(), strict=True))
    for name, tensor in stacked.body.state_dict().items():
        assert torch.equal(tensor, state[name][which])
    for name, p in stacked.body.named_parameters():
        assert torch.equal(p.grad, gradients[name][which])
    apart = unstack(stacked)
    close(stacked(x[which]), torch.stack([model(part) for model, part in zip(apart, x[which], strict=True)]))
    stacked.zero_grad()
    stacked.keep(torch.tensor([False, True]))
    assert len(stacked) == 1 and all(p.grad is None for p in stacked.parameters())
    stacked.keep(torch.tensor([False]))
    assert len(stacked) == 0 and unstack(stacked) == []
