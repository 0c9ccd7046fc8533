"""On healthy networks of many kinds nothing is said, before training and after it, and no check fails."""

import time

import pytest
import torch
from doctors_healthy import HEALTHY

from unstuck.checks import diagnose
from unstuck.data import mnist
from unstuck.models import mlp

TRAINED = ("descent", "tanh", "batch norm", "layer norm", "regression", "probabilities", "GRU")


def said(name, seed=0, steps=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = HEALTHY[name]()
        for i in range(steps):
            made["train_step"](made["model"], made["optimizer"], made["batch"][i % len(made["batch"])])
    report = diagnose(**made)
    assert len(report.of("ok")) > 20 and report.notes == [], report
    return report.of("failure", "warning")


@pytest.mark.parametrize("name", HEALTHY)
def test_an_untrained_network_that_is_well(name):
    assert said(name) == []


@pytest.mark.parametrize("name", TRAINED)
def test_a_trained_network_that_is_well(name):
    assert said(name, seed=1, steps=200) == []


def test_what_is_missing_is_named():
    torch.manual_seed(0)
    report = diagnose(mlp((5, 8, 3)), (torch.randn(60, 5), torch.randint(3, (60,))))
    unjudged = {finding.fault: finding.evidence for finding in report.of("inconclusive")}
    assert "loss_fn" in unjudged["softmax_before_loss"]
    assert "optimizer" in unjudged["parameters_missing"] and "train_step" in unjudged["gradients_not_zeroed"]
    assert "all batches" in unjudged["overfitting"] or "validation" in unjudged["overfitting"]


def test_a_small_perceptron_takes_two_seconds_at_most():
    split = mnist()
    torch.manual_seed(0)
    model = mlp((784, 100, 100, 10))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    batch, held = (split.x_train[:100], split.y_train[:100]), (split.x_test[:100], split.y_test[:100])
    loss = torch.nn.functional.cross_entropy
    began = time.process_time()
    report = diagnose(model, batch, loss_fn=loss, optimizer=optimizer, validation=held)
    assert time.process_time() - began < 2.0
    assert report.silent
