"""Features, their cache, and the linear classifier on them."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from unstuck import features as module
from unstuck.cache import folder
from unstuck.features import features, fingerprint, linear_classifier

X = torch.randn(25, 3, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] + 0.5 * X[:, 1] > 0).long()


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.ReLU())


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("UNSTUCK_CACHE", str(tmp_path))


@pytest.mark.parametrize("keep", [False, True])
def test_features_are_the_output_in_evaluation_mode(keep):
    model = network().train()
    found = features(model, X, batch_size=4, keep=keep)
    assert all(part.training for part in model) and int(model[1].num_batches_tracked) == 0
    assert not found.requires_grad
    assert torch.allclose(found, model.eval()(X))
    assert len(list(folder().iterdir())) == keep


def test_features_are_computed_once_for_the_same_model_and_examples(monkeypatch):
    model = network()
    first = features(model, X)
    runs = []
    model.register_forward_hook(lambda *_: runs.append(1))
    assert torch.equal(features(model, X), first) and runs == []
    features(model, X[:-1])
    with torch.no_grad():
        model[1].running_mean += 1
    assert not torch.equal(features(model, X), first)
    assert len(runs) == 2


def test_the_fingerprint_sees_layers_weights_and_buffers():
    model = network()
    before = {fingerprint(model), fingerprint(nn.Sequential(*list(model)[:-1], nn.Tanh()))}
    with torch.no_grad():
        model[0].weight[0, 0] += 1e-6
    before.add(fingerprint(model))
    model[1].running_var[0] += 1e-6
    assert len(before | {fingerprint(model)}) == 4
    assert fingerprint(network()) == fingerprint(network().eval())


def test_the_linear_classifier_is_at_the_minimum():
    x = 3 * X.double() + 5
    layer = linear_classifier(x, Y, penalty=0.1)
    mean, std = x.mean(dim=0), x.std(dim=0, correction=0)
    w = (layer.weight * std).detach().requires_grad_()
    b = (layer.bias + layer.weight @ mean).detach().requires_grad_()
    loss = cross_entropy((x - mean) / std @ w.T + b, Y) + 0.05 * w.square().sum()
    loss.backward()
    assert float(w.grad.abs().max()) < 1e-5 and float(b.grad.abs().max()) < 1e-5
    assert float((layer(x).argmax(dim=1) == Y).double().mean()) > 0.9


def test_a_constant_feature_does_no_harm():
    layer = linear_classifier(torch.cat([X, torch.ones(25, 1)], dim=1), Y, penalty=0.01)
    assert bool(layer.weight.isfinite().all()) and float(layer.weight[:, 3].detach().abs().max()) < 1e-6


def test_labels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="classes, y: expected labels 0 to 1, got 0 to 2"):
        linear_classifier(X, Y + (X[:, 2] > 0), penalty=0.1)


def test_a_bar_is_shown_where_it_is_asked_for(capsys):
    features(network(), X, keep=False, progress=True)
    assert "features" in capsys.readouterr().err
    features(network(), X, keep=False)
    assert capsys.readouterr().err == ""
    assert module.is_silent(None)
