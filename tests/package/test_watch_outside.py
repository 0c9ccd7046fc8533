"""`watch` on networks that this book never trains: those of transformers for images, text and sound, and others.

All are tiny, with random weights, built from their configurations: nothing is downloaded. In each one unit is killed
by hand, which must be counted as dead, along the axis that the layer in front of the activation says.
"""

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from watching import bits, hooks_of, watched_and_not

from unstuck.probes import dead_units, watch

SIZE, VOCABULARY, CLASSES = 32, 64, 3
RNG = torch.Generator().manual_seed(0)
IMAGES = torch.randn(4, 3, SIZE, SIZE, generator=RNG)
TOKENS = torch.randint(3, VOCABULARY, (4, 12), generator=RNG)
SOUND = torch.randn(4, 400, generator=RNG)
SERIES = torch.randn(4, 9, 5, generator=RNG)
LABELS = torch.tensor([0, 1, 2, 0])


def transformers():
    """The library; without it the test is skipped, and with CI set it fails."""
    try:
        import transformers
    except ImportError as error:
        reason = f"transformers is missing ({error}): pip install transformers"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return transformers


@dataclass(frozen=True)
class Units:
    """`layer` puts out `units` along `axis`; each has its own place in the parameter `made`, which comes before."""

    made: str
    layer: str
    axis: int
    units: int


@dataclass(frozen=True)
class Case:
    """An architecture, its data, and what is known of it."""

    build: Callable[[], nn.Module]
    batch: dict
    units: Units
    count: int  # activations that are measured in a forward
    unseen: set = field(default_factory=set)  # (layer, function)
    alone: bool = True  # whether it can be called with the data alone, without labels


def of_transformers(model, **settings):
    def build():
        kind = getattr(transformers(), model)
        return kind(kind.config_class(**settings)).train()

    return build


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.rnn, self.head = kind(5, 6, num_layers=2, batch_first=True, dropout=0.1), nn.Linear(6, 8)
        self.act, self.out = nn.ReLU(), nn.Linear(8, CLASSES)

    def forward(self, x, labels=None):
        return loss_or_logits(self.out(self.act(self.head(self.rnn(x)[0])))[:, -1], labels)


class Encoder(nn.Module):
    """torch.nn's own transformer, whose activations are functions."""

    def __init__(self):
        super().__init__()
        self.into = nn.Linear(5, 8)
        block = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, activation="gelu")
        self.blocks = nn.TransformerEncoder(block, 2)
        self.act, self.head = nn.LeakyReLU(0.0), nn.Linear(8, CLASSES)

    def forward(self, x, labels=None):
        return loss_or_logits(self.head(self.blocks(self.act(self.into(x))).mean(1)), labels)


class UNet(nn.Module):
    """Convolutions down and up again, joined across; some activations as functions, one in place."""

    def __init__(self):
        super().__init__()
        self.down1, self.down2 = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1)
        self.up, self.join = nn.ConvTranspose2d(8, 6, 2, stride=2), nn.Conv2d(12, 6, 3, padding=1)
        self.norm, self.act, self.head = nn.GroupNorm(2, 6), nn.ReLU(inplace=True), nn.Conv2d(6, CLASSES, 1)

    def forward(self, x, labels=None):
        first = self.act(self.down1(x))
        low = F.silu(self.down2(F.max_pool2d(first, 2)))
        joined = torch.cat([first, F.relu(self.up(low))], dim=1)
        return loss_or_logits(self.head(self.act(self.norm(self.join(joined)))).mean((2, 3)), labels)


class Dense(nn.Module):
    """DenseNet's block: normalise, bend in place, convolve, and append."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(4 + 3 * i) for i in range(3))
        self.convs = nn.ModuleList(nn.Conv2d(4 + 3 * i, 3, 3, padding=1, bias=False) for i in range(3))
        self.act, self.head = nn.ReLU(inplace=True), nn.Linear(13, CLASSES)

    def forward(self, x, labels=None):
        features = self.stem(x)
        for norm, conv in zip(self.norms, self.convs, strict=True):
            features = torch.cat([features, conv(self.act(norm(features)))], dim=1)
        return loss_or_logits(self.head(F.adaptive_avg_pool2d(features.sigmoid(), 1).flatten(1)), labels)


def loss_or_logits(logits, labels):
    return logits if labels is None else {"loss": F.cross_entropy(logits, labels), "logits": logits}


VISION = {"pixel_values": IMAGES, "labels": LABELS}
TEXT = {"input_ids": TOKENS, "labels": TOKENS}
SENTENCES = {"input_ids": TOKENS, "labels": LABELS}
SOUNDS = {"input_values": SOUND, "labels": LABELS}
STEPS = {"x": SERIES, "labels": LABELS}
PICTURES = {"x": IMAGES, "labels": LABELS}

BLOCKS = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 24}
STAGES = {"hidden_sizes": [8, 16], "depths": [1, 1], "num_labels": CLASSES}
SQUARES = {"image_size": SIZE, "num_labels": CLASSES}
WORDS = {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2}
MBCONV = {"in_channels": [32, 16], "out_channels": [16, 24], "strides": [1, 2], "kernel_sizes": [3, 3]}
MBCONV |= {"num_block_repeats": [1, 1], "expand_ratios": [1, 6], "depthwise_padding": [], "drop_connect_rate": 0.2}
MBCONV |= {"width_coefficient": 0.25, "depth_coefficient": 1.0, "hidden_dim": 320, "initializer_range": 0.2}
WINDOWS = {"embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4, "patch_size": 4}
GPT = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 16}
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0}
WAVES = {"conv_dim": (8, 8), "conv_stride": (5, 2), "conv_kernel": (10, 3), "feat_extract_norm": "layer"}
WAVES |= {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "do_stable_layer_norm": True}
WAVES |= {"classifier_proj_size": 8, "mask_time_prob": 0.0, "num_labels": CLASSES}

CASES = {
    "ResNet": Case(
        of_transformers("ResNetForImageClassification", embedding_size=8, layer_type="basic", **STAGES),
        VISION,
        Units("resnet.embedder.embedder.normalization.bias", "resnet.embedder.embedder.activation", 1, 8),
        count=5,
    ),
    "ConvNeXt": Case(  # channels last inside its blocks, with stochastic depth
        of_transformers("ConvNextForImageClassification", num_stages=2, drop_path_rate=0.3, **STAGES),
        VISION,
        Units("convnext.encoder.stages.1.layers.0.pwconv1.bias", "convnext.encoder.stages.1.layers.0.act", -1, 64),
        count=2,
    ),
    "RegNet": Case(  # with gates
        of_transformers("RegNetForImageClassification", embedding_size=8, groups_width=4, layer_type="y", **STAGES),
        VISION,
        Units(
            "regnet.encoder.stages.1.layers.0.layer.2.attention.0.bias",
            "regnet.encoder.stages.1.layers.0.layer.2.attention.1",
            axis=1,
            units=2,
        ),
        count=11,
    ),
    "EfficientNet": Case(
        of_transformers("EfficientNetForImageClassification", **MBCONV, **SQUARES),
        VISION,
        Units(
            "efficientnet.encoder.blocks.1.expansion.expand_bn.bias",
            "efficientnet.encoder.blocks.1.expansion.expand_act",
            axis=1,
            units=48,
        ),
        count=9,
    ),
    "MobileNetV2": Case(
        of_transformers("MobileNetV2ForImageClassification", depth_multiplier=0.25, **SQUARES),
        VISION,
        Units(
            "mobilenet_v2.layer.3.expand_1x1.normalization.bias",
            "mobilenet_v2.layer.3.expand_1x1.activation",
            axis=1,
            units=48,
        ),
        count=35,
    ),
    "ViT": Case(
        of_transformers("ViTForImageClassification", patch_size=8, **BLOCKS, **SQUARES),
        VISION,
        Units("vit.layers.1.mlp.fc1.bias", "vit.layers.1.mlp.activation_fn", -1, 24),
        count=2,
    ),
    "Swin": Case(
        of_transformers("SwinForImageClassification", **WINDOWS, **SQUARES),
        VISION,
        Units(
            "swin.encoder.layers.0.blocks.0.mlp.fc1.bias",
            "swin.encoder.layers.0.blocks.0.mlp.activation_fn",
            axis=-1,
            units=32,
        ),
        count=2,
    ),
    "BERT": Case(
        of_transformers("BertForSequenceClassification", vocab_size=VOCABULARY, num_labels=CLASSES, **BLOCKS),
        SENTENCES,
        Units(
            "bert.encoder.layer.0.intermediate.dense.bias",
            "bert.encoder.layer.0.intermediate.intermediate_act_fn",
            axis=-1,
            units=24,
        ),
        count=3,
    ),
    "GPT-2": Case(
        of_transformers("GPT2LMHeadModel", **GPT, **WORDS),
        TEXT,
        Units("transformer.h.0.mlp.c_fc.bias", "transformer.h.0.mlp.act", -1, 64),
        count=2,
    ),
    "Llama": Case(
        of_transformers("LlamaForCausalLM", num_key_value_heads=1, mlp_bias=True, **BLOCKS, **WORDS),
        TEXT,
        Units("model.layers.1.mlp.gate_proj.bias", "model.layers.1.mlp.act_fn", -1, 24),
        count=2,
    ),
    "T5": Case(
        of_transformers("T5ForConditionalGeneration", vocab_size=VOCABULARY, feed_forward_proj="gated-gelu", **T5),
        TEXT,
        Units(
            "decoder.block.1.layer.2.DenseReluDense.wi_0.weight",
            "decoder.block.1.layer.2.DenseReluDense.act",
            axis=-1,
            units=24,
        ),
        count=4,
        alone=False,
    ),
    "wav2vec 2": Case(  # a layer norm of features between two transpositions, then channels first again
        of_transformers("Wav2Vec2ForSequenceClassification", **WAVES, **BLOCKS),
        SOUNDS,
        Units(
            "wav2vec2.feature_extractor.conv_layers.0.layer_norm.bias",
            "wav2vec2.feature_extractor.conv_layers.0.activation",
            axis=1,
            units=8,
        ),
        count=5,
    ),
    "LSTM": Case(functools.partial(Recurrent, nn.LSTM), STEPS, Units("head.bias", "act", -1, 8), count=1),
    "GRU": Case(
        functools.partial(Recurrent, nn.GRU),
        STEPS,
        Units("head.bias", "act", -1, 8),
        count=1,
        unseen={("rnn", "sigmoid"), ("rnn", "tanh")},  # its gates; those of an LSTM are one operation
    ),
    "TransformerEncoder": Case(
        Encoder,
        STEPS,
        Units("into.bias", "act", -1, 8),
        count=1,
        unseen={("blocks.layers.0", "gelu"), ("blocks.layers.1", "gelu")},
    ),
    "U-Net": Case(UNet, PICTURES, Units("norm.bias", "act#2", 1, 6), count=2, unseen={("", "relu"), ("", "silu")}),
    "DenseNet": Case(Dense, PICTURES, Units("norms.1.bias", "act#2", 1, 7), count=3, unseen={("", "sigmoid")}),
}
DEAD = 1


def built(case):
    model = case.build()
    made = model.get_parameter(case.units.made)
    with torch.no_grad():
        made[DEAD] = -1e4 if made.ndim == 1 else 0.0
    return model


def train(model, case, steps, seen):
    """Steps with momentum; of the last, what should have been recorded is put into `seen`. Returns the losses."""
    optim = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    losses = []
    for _ in range(steps):
        optim.zero_grad()
        loss = model(**case.batch)["loss"]
        loss.backward()
        groups = {name: own for name, module in model.named_modules() if (own := measured_parameters(module))}
        before = {name: [p.detach().double().clone() for p in own] for name, own in groups.items()}
        seen["grad_norm"] = {
            name: norm(p.grad for p in own if p.grad is not None)
            for name, own in groups.items()
            if any(p.grad is not None for p in own)
        }
        optim.step()
        seen["weight_norm"] = {name: norm(own) for name, own in before.items()}
        seen["update_ratio"] = {
            name: norm(p.detach().double() - q for p, q in zip(own, before[name], strict=True)) / norm(before[name])
            for name, own in groups.items()
            if norm(before[name]) > 0
        }
        losses.append(loss.detach())
    return losses


def measured_parameters(module):
    """The weight alone; computed by a parametrisation, what it is computed from; else all."""
    if hasattr(module, "parametrizations") and "weight" in module.parametrizations:
        return list(module.parametrizations.weight.parameters(recurse=False))
    if isinstance(module, nn.utils.parametrize.ParametrizationList):
        return []
    own = dict(module.named_parameters(recurse=False))
    return [own["weight"]] if "weight" in own else list(own.values())


def norm(tensors):
    return float(torch.cat([tensor.detach().double().flatten() for tensor in tensors]).norm())


def hooks(model):
    held = [value for module in model.modules() for key, value in vars(module).items() if "hooks" in key]
    return [len(value) if isinstance(value, dict) else value for value in held]


@pytest.mark.parametrize("name", CASES)
def test_an_outside_architecture(name):
    case, seen, before = CASES[name], {}, hooks_of(nn.Module())[1:]
    model, record = watched_and_not(lambda: built(case), lambda model: train(model, case, 3, seen), units=True)
    bare = built(case)
    train(bare, case, 1, {})  # some libraries put hooks of their own on a model in its first forward
    assert hooks_of(nn.Module())[1:] == before and hooks(model) == hooks(bare)
    assert record.meta["failed"] == [] and record.meta["no_update"] == []
    assert {(entry["layer"], entry["function"]) for entry in record.meta["unseen"]} == case.unseen
    assert len(record.layers("act_mean")) == case.count
    for quantity, expected in seen.items():
        assert set(record.layers(quantity)) == set(expected), quantity
        got = [record.last(quantity, layer) for layer in expected]
        np.testing.assert_allclose(got, list(expected.values()), rtol=1e-3 if quantity == "update_ratio" else 1e-5)
        assert all(record.get(quantity, layer)[0].tolist()[-1] == 2 for layer in expected)


@pytest.mark.parametrize("name", CASES)
def test_the_dead_unit_of_an_outside_architecture(name):
    """Against what a hook of the test's own sees, along the axis that the layer in front of it has."""
    case, kept = CASES[name], []
    layer, units, axis = case.units.layer, case.units.units, case.units.axis
    torch.manual_seed(3)
    model = built(case)
    called, _, call = layer.partition("#")
    handle = model.get_submodule(called).register_forward_hook(
        lambda module, args, output: kept.append(output.detach().clone())
    )
    with watch(model, units=True) as record:
        model(**case.batch)
    handle.remove()
    out = kept[int(call or 1) - 1]
    expected = (out == 0).double().mean([i for i in range(out.ndim) if i != axis % out.ndim])
    assert len(expected) == units and expected[DEAD] == 1 and expected.min() < 1
    np.testing.assert_allclose(record.arrays[0, layer, "zero_fraction"], expected, atol=1e-6)
    silent = float((expected == 1).double().mean())
    assert record.last("dead", layer) == record.last("never_fired", layer) == pytest.approx(silent)
    if case.alone:
        found = dead_units(model, next(iter(case.batch.values())), batch_size=3)
        assert found[layer].shape == (units,) and found[layer][DEAD] and not found[layer].all()


def test_a_package_that_is_missing_is_no_pass(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="transformers is missing"):
        transformers()
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="transformers is missing"):
        transformers()


def test_the_comparison_sees_one_bit():
    one = torch.ones(3)
    assert not torch.equal(bits(one), bits(torch.nextafter(one, 2 * one)))
