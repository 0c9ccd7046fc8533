"""Where the evidence allows to say more than the table of faults, a finding says it; and not where it does not."""

import doctors_pairs
import pytest
import torch
from torch import nn

from unstuck.checks import FAULTS, diagnose
from unstuck.checks.training import Trial
from unstuck.models import mlp

SAID = {
    "all_of_one_class": "all labels that were handed over are the same",
    "shares_cast_to_whole_numbers": ".long() makes 0",
    "one_class_after_the_other": "shuffle the examples",
    "rare_class_weighted_down": "turn the weights of the loss round",
    "other_numbers_in_the_validation": "the classes are numbered differently",
    "mask_in_grey_levels": "divide them by 255",
    "several_labels_in_one_softmax": "apply a sigmoid to each output",
    "divergence_of_probabilities": "log_softmax",
    "not_shifted": "shift them by one",
    "logits_viewed_not_transposed": "move the axis first",
    "unknown_words": "text and vocabulary",
    "the_first_batch_in_each_step": "take the batch of the loop",
    "the_smaller_of_the_two": "turned sign",
    "divergence_of_a_softmax": "log_softmax",
    "no_causal_mask": "causal mask",
    "a_number_for_what_is_missing": "4 % of the targets are exactly -999",
    "padding_mask_turned_round": "turn the mask round",
    "normalised_over_one_score": "layer normalisation over a single feature",
    "another_model_in_the_step": "build the model once",
    "no_activations": "an activation after each layer",
    "epochs_counted_in_batches": "once after each epoch",
    "hidden_state_kept": "detach() what is kept",
    "a_loss_for_each_example": "loss.mean()",
    "changed_in_place": "x = x + y",
    "a_last_batch_of_one": "drop_last=True",
    "missing_values_left_in": "stands for what is missing",
    "some_classes_exchanged_in_the_validation": "the classes are numbered differently",
    "validation_out_of_step": "how the validation data were made",
    "averages_loaded_into_the_trained_model": "writes the parameters back",
    "a_warm_up_for_a_far_longer_run": "shorten the warm-up",
    "cosines_times_the_temperature": "by a temperature",
    "sigmoid_of_a_distance": "one of the two classes is never named",
    "the_loader_begun_anew_for_each_batch": "every batch holds the same examples",
    "rates_taken_for_logarithms": "log_input=False",
    "an_eps_that_float16_cannot_hold": "in the number format of the weights",
    "gradients_of_absent_words_divided_by_their_size": "what the step and its optimiser divide by",
    "labels_overwritten_by_guesses": "does not use the labels",
    "mask_turned_round_and_read_at_the_first_token": "turn the mask round",
}


def first(program):
    return diagnose(**program).findings[0]


def unjudged(report):
    return {finding.fault: finding.evidence for finding in report.of("inconclusive")}


@pytest.mark.parametrize("name", SAID)
def test_it_is_said(name):
    found = first(doctors_pairs.build(name, True, 0))
    assert SAID[name] in f"{found.cause}; {found.cure}", found


@pytest.mark.parametrize("name", ("one_in_fifty", "sorted_files", "distance_to_class_numbers"))
def test_otherwise_it_is_what_the_table_says(name):
    found = first(doctors_pairs.build(name, True, 0))
    row = FAULTS[found.fault]
    assert (found.symptom, found.cause, found.cure) == (row.symptom, row.cause, row.cure)


@pytest.mark.parametrize("fault", ("all_frozen", "tiny_start", "one_column_in_euros"))
def test_an_error_comes_before_everything_else(fault):
    made = doctors_pairs.build(fault, True, 0)

    def step(model, optimizer, batch):
        raise KeyError("no such thing")

    found = first(made | {"train_step": step})
    assert found.symptom == "Training stops with an error." and "step 1 raises KeyError" in found.evidence


def test_a_loss_for_each_example_may_be_averaged_in_the_step():
    each, made = nn.CrossEntropyLoss(reduction="none"), doctors_pairs.build("softmax_in_forward", False, 0)
    step = doctors_pairs.step_of(lambda o, y: each(o, y).mean())
    assert diagnose(**made | {"loss_fn": each, "train_step": step}).silent
    del made["train_step"]
    assert first(made | {"loss_fn": each}).verdict == "warning"


def test_a_schedule_that_ends_before_the_trial_is_no_fault():
    made = doctors_pairs.build("softmax_in_forward", False, 0)
    plan = torch.optim.lr_scheduler.OneCycleLR(made["optimizer"], 1e-2, total_steps=60)
    plain = doctors_pairs.step_of(nn.functional.cross_entropy)

    def step(model, optimizer, batch):
        loss = plain(model, optimizer, batch)
        plan.step()
        return loss

    report = diagnose(**made | {"train_step": step})
    assert report.silent and any("Tried to step 61 times" in note for note in report.notes)


@pytest.mark.parametrize("seed", range(3))
def test_a_loss_that_follows_a_reward_is_not_judged_by_its_level(seed):
    torch.manual_seed(seed)
    model, x, right = mlp((8, 32, 4), "tanh"), torch.randn(200, 8), torch.randn(8, 4)

    def step(model, optimizer, batch):
        drawn = torch.distributions.Categorical(logits=model(batch[0]))
        action = drawn.sample()
        loss = -(drawn.log_prob(action) * ((action == batch[1]).float() - 0.25)).mean()
        optimizer.zero_grad(), loss.backward(), optimizer.step()
        return loss

    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    report = diagnose(model, (x, (x @ right).argmax(1)), optimizer=optimizer, train_step=step)
    assert report.silent, report
    assert "below 0" in unjudged(report)["lr_small"]


def test_a_step_whose_labels_suit_no_usual_loss_is_asked_for_its_loss():
    torch.manual_seed(0)
    model, x = mlp((5, 32, 4), "tanh"), torch.randn(64, 5)

    def step(model, optimizer, batch):
        value = model(batch[0]).gather(1, (batch[1] > 0).long()[:, None])
        loss = (value[:, 0] - batch[1]).square().mean()
        optimizer.zero_grad(), loss.backward(), optimizer.step()
        return loss

    report = diagnose(model, (x, x[:, 0]), optimizer=torch.optim.Adam(model.parameters(), 1e-2), train_step=step)
    assert report.silent and "give loss_fn" in report.notes[-1], report


@pytest.mark.parametrize(("held", "layer"), [(True, "linear1"), (False, "linear2")])
def test_what_is_frozen_on_purpose_is_a_note_where_the_program_learns(held, layer):
    torch.manual_seed(0)
    model = mlp((196, 96, 10))
    model.get_submodule(layer).requires_grad_(False)
    optimizer = torch.optim.Adam([p for p in model.parameters() if held or p.requires_grad], 1e-2)
    report = diagnose(**doctors_pairs.program(model, doctors_pairs.images(), optimizer=lambda _: optimizer))
    assert report.silent and any("Frozen, and it learns" in note for note in report.notes), report


def test_few_labels_of_one_class_are_not_enough():
    torch.manual_seed(0)
    model, x = mlp((5, 8, 3)), torch.randn(64, 5)
    report = diagnose(model, (x, torch.zeros(64).long()), loss_fn=nn.CrossEntropyLoss())
    assert report.silent
    assert unjudged(report)["labels_imbalanced"] == "give all batches of the training data: all 64 labels are 0 here"


def test_the_rare_examples_of_all_batches_are_counted():
    """In one batch the ten rare examples lie apart; in the other thirty have the inputs of many that are not rare."""
    torch.manual_seed(0)
    x, place = torch.randn(10, 5).repeat(25, 1), torch.arange(250)
    apart = torch.where((place < 10)[:, None], x + 8, x)
    model = mlp((5, 16, 2))
    pairs = [(apart, (place < 10).long()), (x, (place < 30).long())]
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    report = diagnose(model, pairs, loss_fn=nn.CrossEntropyLoss(), optimizer=optimizer)
    said = unjudged(report)["labels_imbalanced"]
    assert said.startswith("92.0 % of the labels are 0; after the trial 25 % of the others are told from it"), report


def test_batches_of_one_class_each_may_take_turns():
    torch.manual_seed(0)
    pairs = [(torch.randn(32, 5) + 2 * (i % 2), torch.full((32, 1), float(i % 2))) for i in range(8)]
    model = mlp((5, 16, 1))
    report = diagnose(
        model, pairs, loss_fn=nn.BCEWithLogitsLoss(), optimizer=torch.optim.Adam(model.parameters(), 1e-2)
    )
    assert report.silent, report


def test_labels_below_zero_count_from_the_end():
    """A loss that picks outputs by their number takes -1 for the last class."""
    torch.manual_seed(0)
    model, x, y = mlp((5, 8, 3)), torch.randn(60, 5), torch.randint(3, (60,)) - 1
    found = first(
        {"model": model, "batch": (x, y), "loss_fn": lambda o, y: -o.log_softmax(1)[range(len(y)), y].mean()}
    )
    assert (found.fault, found.verdict) == ("labels_out_of_range", "failure")


@pytest.mark.parametrize("offset", (0.0, -5.0))
def test_overfitting_does_not_depend_on_where_the_loss_has_its_zero(offset):
    torch.manual_seed(0)
    x, held = torch.randn(30, 5), torch.randn(200, 5)
    y, held_y = (t[:, :1] + 2 * torch.randn(len(t), 1) for t in (x, held))
    model = mlp((5, 200, 200, 1))
    report = diagnose(
        model,
        [(x[:15], y[:15]), (x[15:], y[15:])],
        loss_fn=lambda o, y: nn.functional.mse_loss(o, y) + offset,
        optimizer=torch.optim.Adam(model.parameters(), 3e-3),
        validation=(held, held_y),
    )
    assert "overfitting" in {f.fault for f in report.of("failure")}, report


# --- what is handed over in another form, and what several outputs allow to say ---


def test_a_batch_of_another_form_is_told_what_would_make_it_one():
    x, y = torch.randn(20, 5), torch.randn(20, 1)
    for batch, cure in (
        ([[x, x, y]], "make one tuple"),
        ((x, x, y), "make one tuple"),
        ((x.numpy(), y.numpy()), "torch.from_numpy"),
        ([(x, y.numpy())], "torch.from_numpy"),
    ):
        with pytest.raises(TypeError, match=cure):
            diagnose(nn.Linear(5, 1), batch)
    with pytest.raises(ValueError, match=r"the inputs are float64, the weights float32: hand over x\.float\(\)"):
        diagnose(nn.Linear(5, 1), (x.double(), y))
    with pytest.raises(ValueError, match=r"hand over x\.to\(torch\.float16\)"):
        diagnose(nn.Linear(5, 1).half(), (x, y))


def test_a_loss_of_several_outputs_is_not_asked_for_again():
    made = doctors_pairs.build("one_of_two_tasks_in_its_own_units", False, 0)
    assert "several labels" in unjudged(diagnose(**made))["loss_unfit"]


def test_a_squared_error_is_known_however_large_the_targets():
    draw = torch.Generator().manual_seed(0)
    batch = torch.randn(60, 3, generator=draw), 5000 + 700 * torch.randn(60, 1, generator=draw)
    report = diagnose(nn.Linear(3, 1), batch, loss_fn=nn.MSELoss())
    assert "loss_unfit" not in unjudged(report) and report.findings[0].fault == "targets_not_scaled"


def test_a_squared_error_that_cuts_its_outputs_at_zero_is_known_on_targets_near_zero():
    draw = torch.Generator().manual_seed(0)
    batch = torch.randn(60, 3, generator=draw), 0.02 * torch.rand(60, 1, generator=draw)
    report = diagnose(nn.Linear(3, 1), batch, loss_fn=lambda o, y: nn.functional.mse_loss(o.relu(), y))
    assert "loss_unfit" not in unjudged(report)


def test_dropout_in_the_forward_of_the_model_itself_is_in_no_module():
    class Dropping(doctors_pairs.Net):
        def forward(self, x):
            return super().forward(nn.functional.dropout(x, 0.5))

    found = first(doctors_pairs.program(Dropping(), doctors_pairs.images()))
    assert (found.fault, found.layer) == ("dropout_mode", "") and "the model itself" in found.evidence


def test_features_that_are_not_scaled_are_named():
    made = doctors_pairs.build("one_column_in_euros", True, 0)
    assert first(made).evidence.startswith("feature 1 has a standard deviation of ")


def test_a_loss_that_does_not_fall_is_said_to_rise_where_it_does():
    trial = Trial([1.1, 1.2], 1.1, 1.2, nn.Linear(1, 1), torch.optim.SGD([torch.zeros(1)]))
    assert trial.course() == "the trial's loss rose: from 1.10 to 1.20 in 2 steps"
    trial.before, trial.chance = 3.0, 1.0
    assert "came down to that of chance (1)" in trial.course()
    trial.chance = 4.0
    assert "hardly fell, either: from 3 to" in trial.course()


def test_labels_in_a_column_that_the_loss_refuses_are_shown_beside_the_outputs():
    x, y = torch.randn(60, 5), torch.randint(3, (60, 1))
    report = diagnose(mlp((5, 16, 3)), (x, y), loss_fn=nn.CrossEntropyLoss(), steps=10)
    said = {finding.fault: finding.evidence for finding in report.of("failure")}
    assert said["labels_wrong_shape"].startswith("labels have shape (60, 1) beside outputs (60, 3): ")


def test_a_network_in_half_precision_is_not_taught_by_heart():
    x, y = torch.randn(60, 5), torch.randint(3, (60,))
    report = diagnose(mlp((5, 16, 3)).bfloat16(), (x.bfloat16(), y), steps=10)
    assert unjudged(report)["cannot_overfit"] == "Adam needs more than half precision"


def test_outputs_that_are_cut_off_at_zero_are_found_without_a_relu():
    class Cut(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp((5, 32, 1))

        def forward(self, x):
            return self.net(x).clamp(min=0)

    torch.manual_seed(0)
    data = doctors_pairs.line()
    report = diagnose(**doctors_pairs.program(Cut(), data, nn.MSELoss()))
    assert report.findings[0].fault == "relu_at_output"


@pytest.mark.parametrize("name", ["padding_mask_turned_round", "mask_turned_round_and_read_at_the_first_token"])
def test_a_mask_that_leaves_out_all_words_is_read_as_numbers_and_as_truth_values(name):
    made = doctors_pairs.build(name, True, 0)  # nn.TransformerEncoder makes numbers of it: -inf at what is left out
    x = made["batch"][0][0]
    share = 100 * (x != 0).sum() / x.numel()
    assert f"the mask leaves out {share:.0f} % of all tokens" in first(made).evidence


def test_a_loss_that_is_lower_only_a_little_far_from_the_targets_is_turned_round():
    def score(output, y):
        return -1e-3 * (output - y).square().mean()

    torch.manual_seed(0)
    data = doctors_pairs.line()
    found = first(doctors_pairs.program(mlp((5, 32, 1)), data, score))
    away = 10 * float(data["batch"][0][1].std()) + 1  # about 15
    there = f"{-1e-3 * away**2:.3f}"
    said = f"have a loss of 0, those that are {away:.0f} above them {there}, below {there}"
    assert found.fault == "loss_unfit" and found.evidence.endswith(said)


def test_a_loss_is_a_sum_although_it_takes_nothing_but_shares():
    def surprise(output, y):
        if not torch.allclose(output.sum(1), torch.ones(len(output))):
            raise ValueError("the shares of an example must have the sum 1")
        return -output[range(len(y)), y].log().sum()

    torch.manual_seed(0)
    data = doctors_pairs.points(classes=3)
    model = nn.Sequential(mlp((2, 32, 3)), nn.Softmax(1))
    made = doctors_pairs.program(model, data, surprise, optimizer=lambda p: torch.optim.SGD(p, 1e-4))
    report = diagnose(**made)
    assert "loss_summed" in {finding.fault for finding in report.of("failure")}
