"""What is told of the start and of the wiring: the cure fits what was found, and what comes right by itself is no
failure."""

import pytest
import torch
from doctors_healthy import HEALTHY, Encoder, Reader
from doctors_pairs import Net, build, images, program, tokens
from torch import nn
from torch.nn import functional as F

from unstuck.checks import diagnose
from unstuck.faults import in_words
from unstuck.init import initialise
from unstuck.models import mlp


class Later(Net):
    """Two outputs, of which the second is for a later phase, and a layer that leads nowhere where `lost`."""

    def __init__(self, lost=False):
        super().__init__()
        self.place, self.lost = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 2)), lost

    def forward(self, x):
        a = F.relu(self.fc1(x.flatten(1)))
        place = self.place(a)
        a = self.fc3(F.relu(self.fc2(a)))
        return (a,) if self.lost else (a, place)


def first_output(output, y):
    return F.cross_entropy(output[0], y)


@pytest.fixture(autouse=True)
def _draws():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def test_an_output_that_the_loss_does_not_use_is_a_note():
    report = diagnose(**program(Later(), images(), first_output))
    assert report.silent
    assert any("place.0.weight" in note and "do not learn" in note for note in report.notes)


def test_a_layer_that_leads_to_no_output_is_a_failure():
    report = diagnose(**program(Later(lost=True), images(), first_output))
    assert [f.fault for f in report.of("failure", "warning")] == ["parameters_unused"]
    assert report.notes == []


def test_layers_that_the_model_does_not_know_are_told_from_an_optimiser_that_lacks_them():
    unknown = diagnose(**build("layers_in_a_dict", True, 0)).findings[0]
    assert "nn.ModuleDict" in unknown.cure and "4 parameters" in unknown.evidence
    lacking = diagnose(**build("new_head_after_the_optimiser", True, 0)).findings[0]
    assert lacking.fault == unknown.fault and "nn.ModuleDict" not in lacking.cure


def test_of_validation_inputs_that_are_scaled_otherwise_the_training_inputs_are_not_accused():
    found = diagnose(**build("validation_as_measured", True, 0)).findings[0]
    assert "validation" in found.cause and "same numbers" in found.cure and "300" not in found.cause
    training = diagnose(**build("bytes_of_images", True, 0)).findings[0]
    assert training.fault == found.fault and "validation" not in training.cause


def test_weights_of_zero_that_never_move_are_named():
    found = diagnose(**build("all_zero", True, 0)).findings[0]
    assert found.fault == "weights_zero" and "after 3 steps they still are" in found.evidence


@pytest.mark.parametrize("name", ["zero branches below a zero output", "low rank beside frozen layers"])
@pytest.mark.parametrize("seed", [1, 2])
def test_weights_of_zero_that_move_are_a_start_as_good_as_others(name, seed):
    torch.manual_seed(seed)
    assert diagnose(**HEALTHY[name]()).of("failure", "warning") == []


@pytest.mark.parametrize("seed", [0, 1])
def test_a_collapse_that_the_trial_undoes_is_a_warning(seed):
    torch.manual_seed(seed)
    deep = nn.Sequential(nn.Flatten(), *(part for _ in range(8) for part in (nn.LazyLinear(80), nn.ReLU())))
    deep.append(nn.LazyLinear(10))(torch.zeros(2, 196))
    report = diagnose(**program(deep, images(), lr=1e-3))
    assert [(f.fault, f.verdict) for f in report.of("failure", "warning")] == [("inputs_collapse", "warning")]
    assert "the trial undoes it" in report.findings[0].evidence


def test_a_collapse_that_stays_is_a_failure():
    model = initialise(mlp((196, *[50] * 10, 10), "tanh"), "xavier", seed=0)
    for name, p in model.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(p, std=2.0)
    report = diagnose(**program(model, images(), optimizer=lambda p: torch.optim.SGD(p, 0.01)))
    assert report.findings[0].verdict == "failure"
    assert report.findings[0].fault in ("inputs_collapse", "gradient_vanishes", "units_saturated"), report


@pytest.mark.parametrize("squashing", [nn.Sigmoid, nn.Tanh])
def test_the_share_of_saturated_values_is_told(squashing):
    model = nn.Sequential(nn.Flatten(), nn.Linear(196, 64), squashing(), nn.Linear(64, 10))
    with torch.no_grad():
        model[1].bias[:48] = 100.0
    found = diagnose(**program(model, images())).findings[0]
    assert (found.fault, found.layer) == ("units_saturated", "2")
    assert found.evidence == "75 % of 2; more than 50 % is no chance"


class Exported(nn.Module):
    """Batch norm as `torch.export` writes it for evaluation: an operation that knows of no batch's statistics."""

    def __init__(self, d):
        super().__init__()
        self.register_buffer("mean", torch.zeros(d)), self.register_buffer("var", torch.ones(d))

    def forward(self, x):
        return torch.ops.aten._native_batch_norm_legit_no_training(x, None, None, self.mean, self.var, 0.1, 1e-5)[0]


def test_an_exported_batch_norm_does_not_use_the_statistics_of_the_batch():
    model = nn.Sequential(nn.Flatten(), nn.Linear(196, 64), Exported(64), nn.ReLU(), nn.Linear(64, 10))
    report = diagnose(**program(model, images()))
    assert report.silent and report.notes == [], report


def test_one_token_that_is_nearly_all_of_a_text_is_told_and_padding_is_not():
    (x, y), held = tokens()["batch"][0], torch.rand(150, 12)
    for other, said in ((7, True), (0, False)):
        text = torch.where(held < 0.98, other, x)
        report = diagnose(**program(Reader(), {"batch": [(text, y)]}, lr=1e-2))
        told = report.notes + [f.evidence for f in report.of("failure") if f.fault == "inputs_constant"]
        assert any("Token 7 makes 98 %" in note for note in told) == said, report
    assert not any("Token" in note for note in diagnose(**program(Reader(), tokens(), lr=1e-2)).notes)


@pytest.mark.parametrize(("network", "said"), [(Encoder, True), (Reader, False)])
def test_where_nothing_is_learned_and_order_changes_nothing_this_is_noted(network, said):
    x, _ = tokens()["batch"][0]
    data = {"batch": [(x, (x[:, 2] < x[:, 8]).long())]}
    report = diagnose(**program(network(), data, lr=1e-4))
    assert any("hardly fell" in note for note in report.notes)
    assert any("reverse order" in note for note in report.notes) == said


def test_what_is_passed_over_is_not_said_to_be_looked_for():
    report = diagnose(**program(Reader(), tokens(), lr=1e-2))
    assert "inputs_collapse" in report.passed_over
    listed, skipped = str(report).split("Passed over")
    assert in_words("inputs_collapse") in skipped and in_words("inputs_collapse") not in listed
