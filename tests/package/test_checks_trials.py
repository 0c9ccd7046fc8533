"""`first_loss`, `overfit_tiny`, `rate_range`, the report, a record, and the program on the command line."""

import math
import re

import pytest
import torch
from doctors_pairs import Net, build, images
from torch import nn
from torch.nn import functional as F

from unstuck.checks import FAULTS, diagnose, first_loss, overfit_tiny, rate_range
from unstuck.checks.__main__ import main
from unstuck.checks.report import found
from unstuck.clinic.samples import images as halved
from unstuck.faults import in_words
from unstuck.models import mlp
from unstuck.pages import page_in_words
from unstuck.probes import watch
from unstuck.record import Record


@pytest.fixture
def data():
    torch.manual_seed(0)
    return torch.randn(60, 20), torch.randint(3, (60,))


@pytest.fixture
def rule():
    """Labels that follow from the inputs."""
    torch.manual_seed(0)
    x = torch.randn(120, 20)
    return x, x[:, :3].argmax(1)


# --- the first loss ---


@pytest.mark.parametrize("classes", [2, 3, 100])
def test_the_first_loss_is_ln_k(classes):
    model = nn.Linear(20, classes)
    nn.init.zeros_(model.weight), nn.init.zeros_(model.bias)
    found = first_loss(model, (torch.randn(50, 20), torch.randint(classes, (50,))))
    assert found.measured == pytest.approx(math.log(classes), rel=1e-6)
    assert found.expected == pytest.approx(math.log(classes), rel=1e-6) and f"ln {classes}" in str(found)


def test_a_penalty_raises_it_by_its_term(data):
    model = nn.Linear(20, 3)
    penalty = 0.01 * float(model.weight.detach().square().sum()) + 1
    found = first_loss(model, data, lambda o, y: F.cross_entropy(o, y) + penalty)
    assert found.added == pytest.approx(penalty, rel=1e-5)
    assert found.expected == pytest.approx(math.log(3), rel=1e-5)
    assert found.measured == pytest.approx(F.cross_entropy(model(data[0]), data[1]).item() + penalty, rel=1e-5)


def test_of_numbers_it_is_the_variance():
    x, y = torch.randn(200, 4), 3 * torch.randn(200, 1) + 7
    found = first_loss(nn.Linear(4, 1), (x, y), F.mse_loss)
    assert found.expected == pytest.approx(float(y.var(correction=0)), rel=1e-5)


@pytest.mark.parametrize("n", [1, 60])
def test_labels_may_stand_in_a_column(data, n):
    torch.manual_seed(0)
    model, x, y = mlp((20, 32, 3)), data[0][:n], data[1][:n]
    found = first_loss(model, (x, y[:, None]))
    assert found == first_loss(model, (x, y))
    assert found.measured == pytest.approx(F.cross_entropy(model(x), y).item(), rel=1e-5)


# --- a few examples by heart ---


def test_random_labels_are_learned_by_heart_and_a_dead_network_learns_nothing(data):
    torch.manual_seed(0)
    model = mlp((20, 32, 3))
    found = overfit_tiny(model, data)
    assert found.learned and found.examples == 10 and found.loss < 0.1 * found.first
    nn.init.constant_(model.linear1.bias, -100.0)
    found = overfit_tiny(model, data, 5)
    assert not found.learned and found.examples == 5 and "could not" in str(found)


# --- the learning rate ---


def test_the_suggested_rate_trains_well(rule):
    torch.manual_seed(0)
    model = mlp((20, 32, 3))
    found = rate_range(model, rule, optimizer=torch.optim.SGD(model.parameters(), 1.0))
    assert found.rates[0] == pytest.approx(1e-6) and len(found.rates) == len(found.losses)
    assert str(found).startswith("suggested learning rate")
    optimizer = torch.optim.SGD(model.parameters(), found.suggestion)
    for _ in range(100):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(rule[0]), rule[1])
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.7 * math.log(3)


def test_small_batches_and_their_order_leave_the_suggestion_where_it_is():
    x, y = halved("digits", 0)
    x, suggested = 3 * x.flatten(1), []
    for seed in range(3):
        torch.manual_seed(seed)
        model, order = mlp((196, 30, 10)), torch.randperm(len(x))
        batches = list(zip(x[order].split(16), y[order].split(16), strict=True))
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        suggested.append(rate_range(model, batches, optimizer=optimizer, steps=60).suggestion)
    assert max(suggested) < 5 * min(suggested)


@pytest.mark.parametrize("several", [False, True])
def test_too_few_examples_are_told_and_no_rate_is_suggested(data, several):
    x, y = data[0][:8], data[1][:8]
    batch = list(zip(x.split(2), y.split(2), strict=True)) if several else (x, y)
    found = rate_range(mlp((20, 32, 3)), batch, steps=60)
    assert math.isnan(found.suggestion) and "8 examples are too few to tell" in found.reason
    assert str(found).startswith("no learning rate is suggested") and "give 300 in one batch" in str(found)


def test_an_optimiser_of_another_model_is_refused(data):
    model, other = nn.Linear(20, 3), nn.Linear(7, 2)
    with pytest.raises(ValueError, match=r"^optimizer: .*weight.*bias.*\(2, 7\)"):
        rate_range(model, data, optimizer=torch.optim.SGD(other.parameters(), 0.1))
    head = torch.optim.SGD([*model.parameters(), *other.parameters()], 0.1)  # a part of it may be another's
    rate_range(model, data, optimizer=head, steps=10)


def test_it_ends_on_a_loss_that_is_not_finite(data):
    found = rate_range(nn.Linear(20, 3), data, loss_fn=lambda o, y: (o * math.nan).sum())
    assert len(found.losses) == 1 and math.isnan(found.suggestion) and "find_nan" in found.reason


def test_it_ends_where_the_loss_has_grown(data):
    torch.manual_seed(0)
    model, target = nn.Linear(20, 1), torch.randn(60, 1)  # nothing to be learned: the lowest loss is near the first
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    found = rate_range(model, (data[0], target), loss_fn=F.mse_loss, optimizer=optimizer, highest=1e3)
    (*earlier, last), first = found.losses, F.mse_loss(model(data[0]), target).item()
    assert last > 4 * min(earlier) and max(earlier) < 5 * first
    assert found.rates == pytest.approx([1e-6 * 10 ** (i / 11) for i in range(len(found.losses))])


def test_where_no_rate_helps_there_is_no_suggestion(data):
    found = rate_range(nn.Linear(20, 3), data, loss_fn=lambda o, y: F.cross_entropy(0 * o, y))
    assert math.isnan(found.suggestion) and "no rate" in found.reason


def test_the_suggested_rate_is_below_that_of_the_lowest_loss():
    torch.manual_seed(0)
    x, y = halved("digits", 0)
    model = mlp((196, 30, 10))
    found = rate_range(model, (3 * x.flatten(1), y), optimizer=torch.optim.SGD(model.parameters(), 0.1))
    lowest = float(re.search(r"lowest, [\d.]+, at ([\d.e-]+)", found.reason)[1])
    assert found.suggestion < 0.9 * lowest  # which is told with two digits; the next rate is a sixth higher


def test_the_rate_at_which_the_loss_is_no_longer_finite_is_told():
    torch.manual_seed(0)
    x = torch.randn(300, 5)
    y = 0.5 * torch.sign(x[:, :1])

    def bounded(output, y):  # infinite as soon as one output is above 2
        return F.mse_loss(output, y) / (output.abs().max() < 2).float()

    model = mlp((5, 16, 1))
    nn.init.zeros_(model[-1].weight)
    found = rate_range(model, (x, y), loss_fn=bounded)
    assert not math.isfinite(found.losses[-1]) and math.isfinite(found.losses[-2])
    told = re.search(r"is not finite at ([\d.e-]+)$", found.reason)
    assert float(told[1]) == pytest.approx(found.rates[-1], rel=0.05)  # two digits


@pytest.mark.parametrize("given", [{"lowest": 0.0}, {"lowest": 2.0, "highest": 1.0}, {"steps": 5}])
def test_a_range_needs_ends(data, given):
    with pytest.raises(ValueError, match=next(iter(given))):
        rate_range(nn.Linear(20, 3), data, **given)


# --- the report ---


def test_a_report_is_a_page_to_act_on():
    report = diagnose(**build("softmax_in_forward", True, 0))
    text, fault = str(report), FAULTS["softmax_before_loss"]
    assert text.splitlines()[0] == report.headline == str(report.findings[0])
    for part in (fault.symptom, fault.cause, fault.cure, page_in_words(fault.page)):
        assert re.sub(r"\s+", " ", part) in re.sub(r"\s+", " ", text)
    assert fault.page not in text + report._repr_html_() and page_in_words(fault.page) in report._repr_html_()
    assert "1.46" in text  # ln(1 + 9 / e), the least value of a softmax of a softmax
    assert "Looked for and not found:" in text
    verdicts = [finding.verdict for finding in report.findings]
    assert verdicts == sorted(verdicts, key=("failure", "warning", "inconclusive", "ok").index)


def test_what_follows_from_a_failure_is_neither_well_nor_a_finding():
    report = diagnose(**build("bytes_of_images", True, 0))
    assert "first_loss_high" in report.later and "first loss high" in str(report)
    assert not {finding.fault for finding in report.findings} & set(report.later)
    assert not {"first_loss_high", "diverges"} & {finding.fault for finding in report.of("ok")}


def test_silence_says_how_much_could_not_be_judged():
    report = diagnose(Net(), images()["batch"])
    unjudged = {finding.fault for finding in report.of("inconclusive")}
    assert report.silent and f"{len(unjudged)} could not be judged" in report.headline
    assert re.search(r"give train_step: no step, gradients not zeroed", str(report))


@pytest.mark.parametrize("given", [{}, {"optimizer": True}])
def test_the_counts_of_a_silent_report_add_up_to_all_faults(given):
    model = Net()
    given = {name: torch.optim.SGD(model.parameters(), lr=0.1) for name in given}
    report = diagnose(model, images()["batch"], **given)
    absent, total, unjudged, passed_over = map(int, re.findall(r"\d+", report.headline))
    assert total == len(FAULTS) == absent + unjudged + passed_over
    listed = str(report).replace("-\n      ", "-").replace("\n      ", " ")
    assert all(in_words(slug) in listed for slug in FAULTS)  # each stands in one of the lists


def test_silence_on_a_network_that_does_not_learn_is_no_all_clear():
    torch.manual_seed(0)  # labels and inputs are noise, and too few to tell
    report = diagnose(mlp((5, 8, 3)), (torch.randn(20, 5), torch.randint(3, (20,))), steps=10)
    assert report.silent and any("hardly fell" in note for note in report.notes)


def test_a_loss_of_ones_own_on_labels_of_no_known_kind_is_examined():
    def sizes(output, y):
        return (output.mean(1) - y.float().mean(1)).square().mean()

    torch.manual_seed(0)
    report = diagnose(nn.Linear(5, 3), (torch.randn(60, 5), torch.randint(9, (60, 4))), loss_fn=sizes, steps=10)
    assert not any("could not be examined" in note for note in report.notes)


def test_in_a_notebook_it_is_a_table_with_pictures():
    report = diagnose(**build("hardly_moving", True, 0))
    page = report._repr_html_()
    assert page.count("<svg") == 2 and "currentColor" in page and "unstuck-table" in page
    assert page.count("<tr>") == 1 + len(report.of("failure", "warning"))
    assert report._repr_mimebundle_()["text/plain"] == str(report)


def test_every_heading_of_the_text_is_on_the_page():
    report = diagnose(**build("bytes_of_images", True, 0))
    headings = re.findall(r"^([A-Z].*):$", str(report), re.M)
    assert len(headings) > 2
    assert re.findall(r"<summary>(.*?)</summary>", report._repr_html_()) == headings


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ("failure", "The outputs are all negative (module head)."),
        ("warning", "Perhaps the outputs are all negative (module head)."),
        ("inconclusive", "It could not be judged whether the outputs are all negative."),
        ("ok", "It is not so that the outputs are all negative."),
    ],
)
def test_a_finding_is_a_sentence_that_says_how_sure_it_is(verdict, said):
    made = found("loss_unfit", verdict, "they go from -3 to -1", "head", cause="the outputs are all negative")
    assert str(made) == said


def test_text_is_escaped():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.add_module("<b>", nn.Linear(196, 10))

        def forward(self, x):
            return getattr(self, "<b>")(1000 * x.flatten(1))

    page = diagnose(Odd(), images()["batch"], loss_fn=F.cross_entropy)._repr_html_()
    assert "&lt;b&gt;" in page and "<b>" not in page


# --- a record of the program's own training ---


def test_a_record_tells_of_units_that_died():
    record = Record([(0, "act1", "dead", 0.0), (50, "act1", "dead", 0.9)])
    report = diagnose(Net(), images()["batch"], loss_fn=F.cross_entropy, record=record)
    assert report.findings[0].fault == "units_killed" and report.findings[0].layer == "act1"
    assert "90 %" in report.findings[0].evidence


def test_a_record_tells_of_overfitting():
    rows = [(0, "", "loss", 2.0), (30, "", "loss", 0.125)]
    rows += [(10 * i, "", "test_loss", value) for i, value in enumerate((2.25, 0.5, 0.75, 1.5))]
    report = diagnose(Net(), images()["batch"], loss_fn=F.cross_entropy, record=Record(rows))
    (told,) = report.of("failure")
    assert told.fault == "overfitting"
    assert told.evidence == "test loss 0.500 at best, 1.50 at last, training loss 0.125"


def test_a_healthy_record_says_nothing():
    torch.manual_seed(0)
    model, pairs = mlp((196, 64, 10)), images()["batch"]
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with watch(model) as record:
        for i in range(20):
            optimizer.zero_grad()
            F.cross_entropy(model(pairs[i % 4][0]), pairs[i % 4][1]).backward()
            optimizer.step()
    assert diagnose(model, pairs, loss_fn=F.cross_entropy, optimizer=optimizer, record=record).silent


# --- on the command line ---

SOURCE = """
import torch
from torch import nn

torch.manual_seed(0)
net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3){end})
x = torch.randn(60, 4)
data = (x, x[:, :3].argmax(1))
loss = nn.CrossEntropyLoss()
if __name__ == "__main__":
    raise SystemExit("the training")
"""


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [(", nn.Softmax(1)", 1, "probabilities already"), ("", 0, "Nothing")],
)
def test_a_program_that_is_no_notebook(tmp_path, capsys, end, code, said):
    path = tmp_path / "program.py"
    path.write_text(SOURCE.format(end=end), encoding="utf-8")
    assert main([str(path), "--model", "net", "--batch", "data", "--loss-fn", "loss"]) == code
    assert said in capsys.readouterr().out.splitlines()[0]


def test_names_that_are_not_there_are_told(tmp_path, capsys):
    path = tmp_path / "program.py"
    path.write_text(SOURCE.format(end=""), encoding="utf-8")
    for arguments, said in (
        ([str(path), "--model", "model", "--batch", "data"], "--model model"),
        ([str(tmp_path / "none.py"), "--model", "net", "--batch", "data"], "there is no"),
    ):
        with pytest.raises(SystemExit):
            main(arguments)
        assert said in capsys.readouterr().err
