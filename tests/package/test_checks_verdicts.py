"""How serious a finding is, what it says, and what it costs to find."""

import re

import pytest
import torch
from doctors_pairs import Net, build, images, line, program, step_of
from torch import nn
from torch.nn import functional as F

from unstuck.checks import diagnose
from unstuck.models import mlp


def raised(report):
    """Fault: verdict, of what is raised."""
    return {finding.fault: finding.verdict for finding in report.of("failure", "warning")}


def evidence(report):
    return report.of("failure", "warning")[0].evidence


# --- dropout, batch norm ---


def dropping(p, depth):
    torch.manual_seed(0)
    hidden = [layer for i in range(depth) for layer in (nn.Linear(32 if i else 196, 32), nn.ReLU(), nn.Dropout(p))]
    return diagnose(**program(nn.Sequential(nn.Flatten(), *hidden, nn.Linear(32, 10)), images(), lr=1e-2))


def test_strong_dropout_is_a_failure_only_where_learning_suffers():
    assert raised(dropping(0.6, 1)) == {}
    assert raised(dropping(0.72, 1)) == {"dropout_strong": "warning"}
    assert raised(dropping(0.92, 1)) == {"dropout_strong": "failure"}
    suffers = dropping(0.85, 4)
    assert raised(suffers) == {"dropout_strong": "failure"} and "without dropout" in evidence(suffers)


@pytest.mark.parametrize(("size", "said"), [(2, "beta - gamma"), (4, "82 %")])
def test_few_values_of_a_channel_are_a_warning(size, said):
    torch.manual_seed(0)
    made = program(mlp((196, 64, 10), norm="batch"), images(n=100, batch=size))
    report = diagnose(**made)
    assert raised(report) == {"batchnorm_single": "warning"} and said in evidence(report)
    assert evidence(report).startswith(f"batches of {size}: ")


@pytest.mark.parametrize(
    ("norms", "said"),
    [
        ((1,), "the step runs module 1 in evaluation mode"),
        ((1, 4), "the step runs modules 1 and 4 in evaluation mode"),
        ((1, 4, 7), "the step runs modules 1, 4 and 7 in evaluation mode"),
        ((1, 4, 7, 10, 13), "the step runs 5 modules, 1, 10, 13 among them, in evaluation mode"),
    ],
)
def test_modules_in_the_wrong_mode_are_named_as_modules(norms, said):
    torch.manual_seed(0)
    layers = [nn.Flatten()]
    for i in range(1, 16, 3):
        layers += [nn.BatchNorm1d(196) if i in norms else nn.Identity(), nn.Linear(196, 196), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(196, 10))
    step = step_of(F.cross_entropy, before=lambda m: m.eval())
    report = diagnose(**program(model, images(), train_step=step))
    assert next(f.evidence for f in report.findings if f.fault == "batchnorm_mode").startswith(said)


# --- the learning rate ---


def test_a_rate_that_a_scheduler_holds_at_zero_is_a_warning():
    assert raised(diagnose(**build("a_warm_up_that_begins_at_zero", True, 0))) == {"lr_small": "warning"}
    never = diagnose(**build("a_rate_of_zero", True, 0))
    assert raised(never) == {"lr_small": "failure"}
    assert "is 0: no step changes a weight" in evidence(never)


def test_a_schedule_that_ends_in_the_trial_is_told_with_its_rates():
    said = evidence(diagnose(**build("epochs_counted_in_batches", True, 0)))
    assert re.search(r"from 0\.05 to [\d.e-]+ within 100 steps", said) and "after each batch" in said


@pytest.mark.parametrize(("kind", "clip", "bad"), [("Adam", 1e-3, False), ("Adam", 1e-7, True), ("SGD", 1e-3, True)])
def test_clipping_is_none_of_adams_business_unless_eps_is_larger(kind, clip, bad):
    torch.manual_seed(0)
    step = step_of(F.cross_entropy, clip=clip)
    report = diagnose(
        **program(Net(), images(), optimizer=lambda p: getattr(torch.optim, kind)(p, 3e-3), train_step=step)
    )
    assert raised(report).get("clipping_always") == ("failure" if bad else None)


def test_a_mild_clip_of_every_gradient_is_no_failure():
    def step(model, optimizer, batch):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(batch[0]), batch[1])
        loss.backward()
        norm = nn.utils.get_total_norm([p.grad for p in model.parameters()])
        share = 0.5 + 0.4 * (norm / (1 + norm))  # each is shortened, to between 50 and 90 % of its norm
        nn.utils.clip_grad_norm_(model.parameters(), share * norm)
        optimizer.step()
        return loss.detach()

    torch.manual_seed(0)
    report = diagnose(**program(Net(), images(), optimizer=lambda p: torch.optim.SGD(p, 0.05), train_step=step))
    assert "clipping_always" not in raised(report)


@pytest.mark.parametrize(
    ("momentum", "verdict", "said"),
    [(0.9, "ok", "momentum and betas are usual"), (0.999, "failure", "momentum 0.999 averages over 1000 steps")],
)
def test_momentum_is_read_from_the_optimiser(momentum, verdict, said):
    torch.manual_seed(0)
    made = program(Net(), images(), optimizer=lambda p: torch.optim.SGD(p, 0.01 * (1 - momentum), momentum=momentum))
    row = next(f for f in diagnose(**made).findings if f.fault == "momentum_out_of_range")
    assert row.verdict == verdict and row.evidence.startswith(said)


def test_three_layers_are_enough_to_compare_their_gradients():
    def judged(*widths):
        torch.manual_seed(0)
        return {f.fault for f in diagnose(mlp((196, *widths, 10)), images()["batch"]).findings}

    assert {"gradient_vanishes", "gradient_explodes"} <= judged(64, 64)
    assert not {"gradient_vanishes", "gradient_explodes"} & judged(64)


# --- what does not arrive ---


def test_the_module_is_named_at_which_all_examples_are_the_same():
    report = diagnose(**build("forgotten_behind_the_padding", True, 0))
    assert report.of("failure")[0].layer == "head" and "the outputs of 50 examples are the same" in evidence(report)
    assert diagnose(**build("normalised_over_one_score", True, 0)).of("failure")[0].layer == "norm"


def test_a_last_layer_of_zeros_is_no_collapse():
    torch.manual_seed(0)
    model = mlp((196, 32, 10))
    nn.init.zeros_(model.linear2.weight)
    assert "inputs_collapse" not in raised(diagnose(**program(model, images(), lr=1e-2)))


def test_the_operation_without_a_slope_is_named():
    assert "floor()" in evidence(diagnose(**build("a_loss_of_steps", True, 0)))
    assert "exactly 0" in evidence(diagnose(**build("a_step_that_rounds", True, 0)))


@pytest.mark.parametrize("step", [torch.round, torch.sign, torch.floor, torch.ceil, torch.trunc, torch.sgn])
def test_each_function_that_makes_steps_is_named(step):
    made = program(mlp((5, 32, 1), "tanh"), line(), lambda out, y: F.mse_loss(step(2 * out), y), lr=1e-2)
    assert f"it goes through {step.__name__}()" in evidence(diagnose(**made))


def test_a_loss_that_fails_says_on_which_shapes():
    def refuses(out, y):
        raise RuntimeError("not today")

    report = diagnose(**program(mlp((196, 32, 10)), images(n=100), refuses, lr=1e-2))
    assert "the loss fails on outputs (50, 10), labels (50,): not today" in evidence(report)


# --- what it costs ---


class Long(nn.Module):
    """A recurrent network over many steps, which counts how often it is run."""

    runs = 0

    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(1, 16, batch_first=True), nn.Linear(16, 10)

    def forward(self, x):
        Long.runs += 1
        return self.head(self.lstm(x.flatten(1)[..., None])[0].mean(1))


def test_a_network_that_cannot_learn_costs_no_more_than_some_trials():
    draw = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    data = {"batch": [(torch.randn(8, 1, 20, 20, generator=draw), torch.randint(10, (8,), generator=draw))]}
    Long.runs = 0
    report = diagnose(**program(Long(), data, lr=1e-3))
    assert Long.runs < 500  # two trials of 100 steps, and what looks at a batch now and then
    assert any("A step is expensive" in note for note in report.notes)
    assert "cannot_overfit" not in raised(report)  # too few steps to say so
