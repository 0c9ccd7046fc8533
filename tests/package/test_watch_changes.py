"""What a user does to a watched model meanwhile, and models and calls of every kind: followed, left out or listed."""

import copy
import io
import pickle
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy
from torch.nn.utils import prune
from watching import Twice, X, Y, manual_in_place, network, sgd_step, train, values, watched_and_not

from unstuck.probes import watch

# ------------------------------------------------------------------------- what a user does to the model meanwhile


def prune_weight(model):
    prune.l1_unstructured(model.linear2, "weight", amount=0.5)


def new_weight_norm(model):
    nn.utils.parametrizations.weight_norm(model.linear2)


def old_weight_norm(model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        nn.utils.weight_norm(model.linear2)


def spectral_norm(model):
    nn.utils.parametrizations.spectral_norm(model.linear2)


def replace_layer(model):
    model.linear2 = nn.Linear(7, 6)


def widen_layer(model):
    model.linear2, model.linear3 = nn.Linear(7, 9), nn.Linear(9, 3)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (prune_weight, ["weight_orig"]),
        (new_weight_norm, ["parametrizations.weight.original0", "parametrizations.weight.original1"]),
        (old_weight_norm, ["weight_g", "weight_v"]),
        (spectral_norm, ["parametrizations.weight.original"]),
        (replace_layer, ["weight"]),
        (widen_layer, ["weight"]),
    ],
)
def test_parameters_that_are_exchanged_are_followed_under_their_layer(change, names):
    """What is recorded is what is trained: that from which the weight is computed."""
    norms = []

    def loop(model):
        left = train(model, steps=2)
        change(model)
        own = [model.linear2.get_parameter(name) for name in names]
        norms.append(torch.cat([p.detach().flatten() for p in own]).norm())
        left += train(model, steps=1)
        norms.append(torch.cat([p.grad.flatten() for p in own]).norm())
        return left + train(model, steps=2)

    _, record = watched_and_not(network, loop)
    for quantity in ("weight_norm", "grad_norm"):
        assert record.layers(quantity) == ["linear1", "linear2", "linear3"]
        assert all(record.get(quantity, layer)[0].tolist() == [0, 1, 2, 3, 4] for layer in record.layers(quantity))
    assert values(record, "weight_norm", "linear2")[2] == pytest.approx(float(norms[0]), rel=1e-6)
    assert values(record, "grad_norm", "linear2")[2] == pytest.approx(float(norms[1]), rel=1e-6)
    assert record.get("update_ratio", "linear1")[0].tolist() == [0, 1, 2, 3, 4]
    steps, ratios = record.get("update_ratio", "linear2")
    assert steps.tolist()[-3:] == [2, 3, 4] and all(ratios[-3:] > 0)
    if 1 not in steps:  # its update cannot be measured any more
        assert {entry["where"] for entry in record.meta["failed"]} >= {"the update of 'linear2'"}


def test_a_parameter_that_is_exchanged_before_its_update_costs_the_other_layers_nothing():
    """Between a forward and the update that follows, so that there is no difference of its own to measure."""
    model = network()
    norm = model.linear1.weight.detach().norm()
    with watch(model) as record:
        cross_entropy(model(X), Y).backward()
        gradient = model.linear1.weight.grad.clone()
        model.linear2.weight = nn.Parameter(torch.ones(5, 7))
        manual_in_place(model.linear1)
    expected = (0.1 * gradient.norm() / norm).item()
    assert values(record, "update_ratio", "linear1") == pytest.approx([expected], rel=1e-4)
    assert record.layers("update_ratio") == ["linear1", "linear3"]
    assert {entry["where"] for entry in record.meta["failed"]} == {"the update of 'linear2'"}


@pytest.mark.parametrize("lr", [None, 0.1])
def test_a_layer_that_is_exchanged_before_its_update_is_reported_and_does_not_stand_still(lr):
    """By hand, or under plain descent, whose update is the gradient times the learning rate."""
    model = network()
    norm = model.linear1.weight.detach().norm()
    with watch(model) as record:
        optimizer = None if lr is None else torch.optim.SGD(model.parameters(), lr)
        for step in range(2):
            cross_entropy(model(X), Y).backward()
            gradient = model.linear1.weight.grad.clone()
            if step == 1:
                norm = model.linear1.weight.detach().norm()
                model.linear2 = nn.Linear(7, 6)
            if optimizer is None:
                manual_in_place(model.linear1)
                manual_in_place(model.linear3)
            else:
                optimizer.step()
                optimizer.zero_grad()
            if step == 0 and optimizer is None:
                manual_in_place(model.linear2)
    assert record.get("update_ratio", "linear2")[0].tolist() == [0]
    if lr is None:
        assert values(record, "update_ratio", "linear1")[1] == pytest.approx(
            float(0.1 * gradient.norm() / norm), rel=1e-4
        )
        assert {entry["where"] for entry in record.meta["failed"]} == {"the update of 'linear2'"}
    else:  # no copy was made beforehand: the step is listed
        assert record.meta["no_update"] == [1]


def test_a_pruned_model_is_recorded_from_the_start():
    model = network()
    prune_weight(model)
    with watch(model) as record:
        train(model, steps=2)
    assert record.layers("grad_norm") == ["linear1", "linear2", "linear3"]
    assert record.last("grad_norm", "linear2") == pytest.approx(float(model.linear2.weight_orig.grad.norm()))


def test_an_activation_that_is_replaced_is_followed_under_its_name():
    def loop(model):
        left = train(model, steps=2)
        model.act1 = nn.GELU()
        left += train(model, steps=1)
        left.append(model.act1(model.linear1(X)).detach())
        return left

    _, record = watched_and_not(network, loop)
    assert record.get("act_mean", "act1")[0].tolist() == [0, 1, 2]
    assert values(record, "zero_fraction", "act1")[1] > 0 == record.last("zero_fraction", "act1")
    assert record.meta["kinds"]["act1"] == "GELU" and record.meta["failed"] == []


def test_a_module_that_comes_later_is_measured_and_one_that_goes_is_not():
    model = network()
    with watch(model) as record:
        train(model, steps=1)
        model.add_module("more", nn.Sequential(nn.Linear(3, 3), nn.Sigmoid()))
        train(model, steps=1)
        model._modules.pop("more")
        train(model, steps=1)
    assert record.get("act_mean", "more.1")[0].tolist() == record.get("grad_norm", "more.0")[0].tolist() == [1]
    assert record.get("act_mean", "act2")[0].tolist() == [0, 1, 2]


def test_a_named_layer_that_goes_is_no_error():
    model = network()
    with watch(model, layers=["act1", "linear3"]) as record:
        train(model, steps=1)
        model.act1 = nn.Sequential(nn.Tanh())
        del model.linear3
        train(model, steps=1, y=Y % 3)
    assert record.get("act_mean", "act1")[0].tolist() == [0, 1]
    assert record.get("act_mean", "linear3")[0].tolist() == [0]


class Clone:
    """What a user may do with a model in the middle of a step."""

    @staticmethod
    def deepcopy(model):
        return copy.deepcopy(model)

    @staticmethod
    def pickle(model):
        return pickle.loads(pickle.dumps(model))

    @staticmethod
    def save(model):
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        return torch.load(file, weights_only=False)


@pytest.mark.parametrize("how", ["deepcopy", "pickle", "save"])
@pytest.mark.parametrize(
    "when", ["before a forward", "after a forward", "after a backward", "after a failed forward"]
)
def test_a_copy_carries_nothing_of_the_watch(how, when):
    bare = Twice()
    with warnings.catch_warnings(), watch(bare):
        warnings.simplefilter("ignore", UserWarning)  # nothing was recorded, where there was no forward
        out = bare(X) if when != "before a forward" else None
        if when == "after a backward":
            out.sum().backward()
        if when == "after a failed forward":
            with pytest.raises(TypeError):  # in the middle of it
                bare("no tensor")
        made = getattr(Clone, how)(bare)
    for module, original in zip(made.modules(), Twice().modules(), strict=True):
        assert vars(module).keys() == vars(original).keys()
        assert not any(value for key, value in vars(module).items() if "hook" in key)
    assert all(not p._backward_hooks and not p._post_accumulate_grad_hooks for p in made.parameters())
    made.zero_grad()
    made(X).sum().backward()
    assert float(made.first.weight.grad.norm()) > 0


def test_a_copy_that_trains_in_the_block_is_not_taken_for_the_model():
    model = network()
    with watch(model) as record:
        train(model, steps=1)
        train(copy.deepcopy(model), steps=4)
    assert {step for step, *_ in record.rows} == {0}


def test_a_hook_of_the_user_that_changes_an_output():
    def build():
        model = network()
        model.act1.register_forward_hook(lambda module, args, output: output * 0)
        model.linear2.register_full_backward_hook(lambda module, grad_in, grad_out: (grad_in[0] * 2,))
        return model

    model, record = watched_and_not(build, train)
    assert record.last("act_mean", "act1") > 0  # what the module itself put out
    assert record.last("grad_norm", "linear3") == pytest.approx(float(model.linear3.weight.grad.norm()))
    assert record.meta["failed"] == []


# ---------------------------------------------------------------------------- models and calls of every kind


def test_scripted_parts_are_no_error_and_are_listed():
    def build():
        model = network()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            model.linear2 = torch.jit.script(nn.Sequential(nn.Linear(7, 6), nn.ReLU()))
        return model

    model, record = watched_and_not(build, train)
    assert record.layers("act_mean") == ["act1", "act2"]
    assert record.last("grad_norm", "linear2.0") == pytest.approx(float(next(model.linear2.parameters()).grad.norm()))
    assert [entry["where"] for entry in record.meta["failed"]] == ["the inside of 'linear2'"]


def test_integer_and_boolean_parameters():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(8, 3)
            self.linear.order = nn.Parameter(torch.tensor([2, 0, 1]), requires_grad=False)
            self.mask = nn.Parameter(torch.tensor([True, False, True]), requires_grad=False)

        def forward(self, x):
            return self.linear(x)[:, self.linear.order] * self.mask

    def loop(model):
        optim = torch.optim.SGD(model.linear.parameters(), 0.1)
        return [sgd_step(model, optim) for _ in range(3)]

    model, record = watched_and_not(Model, loop)
    assert record.layers("grad_norm") == record.layers("update_ratio") == record.layers("weight_norm") == ["linear"]
    assert record.last("grad_norm", "linear") == pytest.approx(float(model.linear.weight.grad.norm()))
    assert record.meta["failed"] == []


def test_transforms_of_torch_func():
    """functional_call computes with other parameters: their update is not the model's."""

    def loop(model):
        def loss(parameters, x, y):
            return cross_entropy(functional_call(model, parameters, (x,)), y)

        fast = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}
        left = list(torch.autograd.grad(loss(fast, X, Y), list(fast.values())))  # step 0
        fast = {name: p - 0.1 * g for (name, p), g in zip(fast.items(), left, strict=True)}
        loss(fast, X, Y).backward()  # step 1
        each = vmap(grad(loss), (None, 0, 0))({name: p.detach() for name, p in fast.items()}, X[:, None], Y[:, None])
        left += [*each.values(), vmap(model)(torch.stack([X, 2 * X]))]
        return left + train(model, steps=2)

    _, record = watched_and_not(network, loop)
    assert {step for step, *_ in record.rows} == {0, 1, 2, 3}
    assert (
        record.get("update_ratio", "linear1")[0].tolist() == record.get("grad_norm", "linear1")[0].tolist() == [2, 3]
    )
    assert record.meta["no_update"] == [0, 1] and record.meta["failed"] == []


def test_what_only_traces_the_model_is_no_step():
    def operations(traced):
        return torch.tensor(str(traced.inlined_graph).count("aten::"))

    def loop(model):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            traced = torch.jit.trace(model, X)
        left = [traced(X), operations(traced), torch.fx.symbolic_trace(model)(X)]
        left.append(torch.export.export(model, (X,)).module()(X))
        with FakeTensorMode(allow_non_fake_inputs=True):
            model(X)
        return left + train(model, steps=1)

    _, record = watched_and_not(network, loop)
    assert {step for step, *_ in record.rows} == {0} and record.meta["failed"] == []


@pytest.mark.parametrize("value", [10**18, np.int64(2**62)])
def test_a_huge_window_and_a_huge_distance(value):
    _, record = watched_and_not(network, train, window=value)
    assert values(record, "dead", "act1").tolist() == [0, 0, 0] and record.meta["failed"] == []
    _, record = watched_and_not(network, train, every=value)
    assert {step for step, *_ in record.rows} == {0} and record.meta["every"] == value


def test_a_model_on_the_meta_device_has_nothing_to_measure():
    model = nn.Sequential(nn.Linear(8, 4), nn.ReLU()).to("meta")
    with pytest.warns(UserWarning, match="watch: nothing was recorded"), watch(model, units=True):
        model(X.to("meta")).sum().backward()


class Counting(torch.Tensor):
    """A tensor class of the user's own that counts what is done with it."""

    done = 0

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if getattr(function, "__name__", "") not in ("__get__", "__set__"):
            cls.done += 1
        return super().__torch_function__(function, types, args, kwargs or {})


def test_a_tensor_class_of_the_user_sees_only_what_the_user_does():
    def loop(model):
        Counting.done = 0
        out = model(X.as_subclass(Counting))
        assert type(out) is Counting
        out.sum().backward()
        return [torch.tensor(Counting.done)]

    _, record = watched_and_not(network, loop)
    assert record.layers("act_mean") == ["act1", "act2"] and record.meta["failed"] == []
