"""`UNSEEN`: twelve small programs that do not learn, each with a twin that differs in the cure alone.

Each is written the way such programs are posted: its own `nn.Module`, its own data, its own habits. `sick(seed)` and
`repaired(seed)` return a dict with `model` and `batch` (a pair, or a list of pairs), and where the program has them
`loss_fn`, `optimizer`, `train_step(model, optimizer, batch) -> loss` and `validation` (a pair).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Batch = tuple[Tensor, Tensor]
Program = dict[str, Any]


@dataclass(frozen=True)
class Unseen:
    """A sick program and its repaired twin: `fault` is the slug in `FAULTS`, `note` says what was done wrong."""

    fault: str
    note: str
    sick: Callable[[int], Program]
    repaired: Callable[[int], Program]


def batches(x: Tensor, y: Tensor, size: int) -> list[Batch]:
    """The examples in order, in batches of `size`; what is left over is dropped."""
    return [(x[i : i + size], y[i : i + size]) for i in range(0, len(x) - size + 1, size)]


def standardised(x: Tensor, training: int) -> Tensor:
    """`x` (examples, features) by the mean and standard deviation of its first `training` examples."""
    return (x - x[:training].mean(0)) / x[:training].std(0)


# Images: four textures, (N, 1, 16, 16), from bytes.
class TextureCNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 16, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(16 * 4 * 4, 32)
        self.fc2 = nn.Linear(32, 4)

    def forward(self, x):
        x = self.pool(F.relu(self.conv1(x)))
        x = self.pool(F.relu(self.conv2(x)))
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


def texture_classifier(seed: int, divided_again: bool) -> Program:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, 480)
    directions = np.array([(1, 0), (0, 1), (1, 1), (1, -1)])[labels]
    rows, columns = np.mgrid[:16, :16]
    waves = directions[:, :1, None] * rows + directions[:, 1:, None] * columns
    frequency, phase = rng.uniform(0.8, 1.3, (480, 1, 1)), rng.uniform(0, 2 * np.pi, (480, 1, 1))
    grey = 230 * np.sin(frequency * waves + phase).clip(0) + 20 * rng.standard_normal((480, 16, 16))
    pictures = grey.clip(0, 255).astype(np.uint8)

    x = torch.from_numpy(pictures).unsqueeze(1).float() / 255  # what ToTensor() does
    if divided_again:
        x = x / 255
    y = torch.from_numpy(labels)
    torch.manual_seed(seed)
    model = TextureCNN()
    return {
        "model": model,
        "batch": batches(x[:384], y[:384], 32),
        "loss_fn": nn.CrossEntropyLoss(),
        "optimizer": torch.optim.Adam(model.parameters(), lr=2e-3),
        "validation": (x[384:], y[384:]),
    }


# A time series: windows of 20 steps, (N, 20, 1), and the value that follows, (N,).
class Forecaster(nn.Module):
    def __init__(self, squeeze):
        super().__init__()
        self.gru = nn.GRU(1, 24, batch_first=True)
        self.head = nn.Linear(24, 1)
        self.squeeze = squeeze

    def forward(self, window):
        _, hidden = self.gru(window)
        forecast = self.head(hidden[-1])
        return forecast.squeeze(1) if self.squeeze else forecast


def weighted_error(prediction, target):
    error = prediction - target
    return torch.where(error < 0, 1.2 * error**2, error**2).mean()  # too low costs more than too high


def forecasting(seed: int, squeeze: bool) -> Program:
    torch.manual_seed(seed)
    frequency, phase = 0.3 + 0.5 * torch.rand(512, 1), 2 * math.pi * torch.rand(512, 1)
    waves = 1.4 * torch.sin(frequency * torch.arange(21) + phase) + 0.1 * torch.randn(512, 21)
    x, y = waves[:, :-1, None], waves[:, -1]
    model = Forecaster(squeeze)

    def train_step(model, optimizer, batch):
        window, following = batch
        optimizer.zero_grad()
        loss = weighted_error(model(window), following)
        loss.backward()
        optimizer.step()
        return loss.item()

    return {
        "model": model,
        "batch": batches(x[:384], y[:384], 64),
        "loss_fn": weighted_error,
        "optimizer": torch.optim.Adam(model.parameters(), lr=5e-3),
        "train_step": train_step,
        "validation": (x[384:], y[384:]),
    }


# An autoencoder of 16 standardised measurements, which 4 hidden factors explain.
class AutoEncoder(nn.Module):
    def __init__(self, last):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 6))
        self.decoder = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 16), last)

    def forward(self, x):
        return self.decoder(self.encoder(x))


def autoencoder(seed: int, last: type[nn.Module]) -> Program:
    torch.manual_seed(seed)
    measured = torch.randn(512, 4) @ torch.randn(4, 16) + 0.2 * torch.randn(512, 16)
    x = standardised(measured, 384)
    model = AutoEncoder(last())
    return {
        "model": model,
        "batch": batches(x[:384], x[:384], 64),
        "loss_fn": F.mse_loss,
        "optimizer": torch.optim.Adam(model.parameters(), lr=3e-3),
        "validation": (x[384:], x[384:]),
    }


# A language model: one block of a transformer, output weights tied to the embedding; 20 tokens, 12 in a line.
class TiedLanguageModel(nn.Module):
    def __init__(self, std):
        super().__init__()
        self.embedding = nn.Embedding(20, 32)
        self.position = nn.Parameter(0.02 * torch.randn(12, 32))
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(32), nn.LayerNorm(32), nn.LayerNorm(32)
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32))
        self.register_buffer("mask", torch.triu(torch.ones(12, 12, dtype=torch.bool), 1))
        if std is not None:
            nn.init.normal_(self.embedding.weight, std=std)

    def forward(self, tokens):
        x = self.embedding(tokens) + self.position
        a = self.norm1(x)
        x = x + self.attention(a, a, a, attn_mask=self.mask, need_weights=False)[0]
        x = x + self.mlp(self.norm2(x))
        return self.norm3(x) @ self.embedding.weight.T


def next_token_loss(logits, following):
    return F.cross_entropy(logits.reshape(-1, 20), following.reshape(-1))


def language_model(seed: int, std: float | None) -> Program:
    rng = np.random.default_rng(seed)
    follows = rng.permutation(20)
    lines = rng.integers(0, 20, (1600, 13))
    for i in range(1, 13):
        lines[:, i] = np.where(rng.random(1600) < 0.85, follows[lines[:, i - 1]], lines[:, i])
    tokens = torch.from_numpy(lines)
    x, y = tokens[:, :-1], tokens[:, 1:]
    torch.manual_seed(seed)
    model = TiedLanguageModel(std)
    return {
        "model": model,
        "batch": batches(x[:1344], y[:1344], 32),
        "loss_fn": next_token_loss,
        "optimizer": torch.optim.AdamW(model.parameters(), lr=2e-3),
        "validation": (x[1344:], y[1344:]),
    }


# Multi-label: 16 standardised features, five labels of which any number may hold.
class Tagger(nn.Module):
    def __init__(self, std):
        super().__init__()
        layers = [nn.Linear(16, 64), nn.ReLU()]
        for _ in range(4):
            layers += [nn.Linear(64, 64), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.tags = nn.Linear(64, 5)
        self.std = std
        self.apply(self._init_weights)

    def _init_weights(self, module):
        if isinstance(module, nn.Linear):
            std = self.std or math.sqrt(2 / module.in_features)
            nn.init.normal_(module.weight, mean=0.0, std=std)
            nn.init.zeros_(module.bias)

    def forward(self, x):
        return self.tags(self.body(x))


def tagger(seed: int, std: float | None) -> Program:
    torch.manual_seed(seed)
    x = torch.randn(320, 16)
    y = (x @ torch.randn(16, 5) + 0.5 * torch.randn(320, 5) > 0).float()
    model = Tagger(std)
    return {
        "model": model,
        "batch": (x[:256], y[:256]),
        "loss_fn": nn.BCEWithLogitsLoss(),
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9),
    }


# Segmentation: a bright disc in noise, (N, 1, 16, 16), and its mask.
class Segmenter(nn.Module):
    def __init__(self, prior_everywhere):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.block1 = nn.Conv2d(8, 8, 3, padding=1)
        self.block2 = nn.Conv2d(8, 8, 3, padding=1)
        self.mask = nn.Conv2d(8, 1, 1)
        prior = -math.log((1 - 0.05) / 0.05)  # focal loss, section 4.1: begin with a small share of foreground
        for layer in (self.stem, self.block1, self.block2):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.constant_(layer.bias, prior if prior_everywhere else 0.0)
        nn.init.normal_(self.mask.weight, std=0.1)
        nn.init.constant_(self.mask.bias, prior)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = F.relu(self.block1(x))
        x = F.relu(self.block2(x))
        return self.mask(x)


def segmentation(seed: int, prior_everywhere: bool) -> Program:
    torch.manual_seed(seed)
    centre = 4 + 8 * torch.rand(256, 2, 1, 1)
    grid = torch.arange(16.0)
    distance = (grid[:, None] - centre[:, 0]) ** 2 + (grid - centre[:, 1]) ** 2
    masks = (distance < 4.2**2).float().unsqueeze(1)
    pictures = masks + 0.4 * torch.randn(256, 1, 16, 16)
    pictures = (pictures - pictures.mean()) / pictures.std()
    model = Segmenter(prior_everywhere)

    def train_step(model, optimizer, batch):
        picture, mask = batch
        loss = F.binary_cross_entropy_with_logits(model(picture), mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return {
        "model": model,
        "batch": batches(pictures, masks, 16),
        "loss_fn": F.binary_cross_entropy_with_logits,
        "optimizer": torch.optim.Adam(model.parameters(), lr=3e-3),
        "train_step": train_step,
    }


# Signals, (N, 1, 48): a tone that rises, falls, or keeps its height.
class SignalNet(nn.Module):
    def __init__(self, container):
        super().__init__()
        widths = [1, 12, 16, 16]
        self.blocks = container([nn.Conv1d(a, b, 5, stride=2, padding=2) for a, b in pairwise(widths)])
        self.head = nn.Linear(16 * 6, 3)

    def forward(self, x):
        for block in self.blocks:
            x = F.leaky_relu(block(x), 0.1)
        return self.head(x.flatten(1))


def signals(seed: int, container: Callable) -> Program:
    torch.manual_seed(seed)
    y = torch.randint(3, (640,))
    time, slope = torch.arange(48.0), 0.006 * (y[:, None] - 1)
    phase = 2 * math.pi * torch.rand(640, 1)
    angle = (0.7 + 0.2 * torch.rand(640, 1)) * time + slope * (time - 24) ** 2 + phase
    x = (1.4 * torch.sin(angle) + 0.2 * torch.randn(640, 48)).unsqueeze(1)
    model = SignalNet(container)
    return {
        "model": model,
        "batch": batches(x[:512], y[:512], 64),
        "loss_fn": nn.CrossEntropyLoss(),
        "optimizer": torch.optim.Adam(model.parameters(), lr=3e-3),
        "validation": (x[512:], y[512:]),
    }


# A table: eight columns, one number to predict, 20 batches an epoch.
class PriceModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden1, self.hidden2, self.price = nn.Linear(8, 32), nn.Linear(32, 32), nn.Linear(32, 1)

    def forward(self, row):
        return self.price(F.silu(self.hidden2(F.silu(self.hidden1(row)))))[:, 0]


def prices(seed: int, zero_once_an_epoch: bool) -> Program:
    torch.manual_seed(seed)
    rows = torch.rand(600, 8) * torch.tensor([1.0, 5, 40, 3, 0.2, 100, 12, 7])
    x = standardised(rows, 480)
    price = x[:, 0] - 0.7 * x[:, 1] + x[:, 2] * x[:, 3] + torch.sin(2 * x[:, 4]) + 0.1 * torch.randn(600)
    y = (price - price[:480].mean()) / price[:480].std()
    model = PriceModel()
    epoch = batches(x[:480], y[:480], 24)
    steps = 0

    def train_step(model, optimizer, batch):
        nonlocal steps
        if not zero_once_an_epoch or steps % len(epoch) == 0:
            optimizer.zero_grad()
        steps += 1
        row, target = batch
        loss = F.mse_loss(model(row), target)
        loss.backward()
        optimizer.step()
        return loss.item()

    return {
        "model": model,
        "batch": epoch,
        "loss_fn": F.mse_loss,
        "optimizer": torch.optim.Adam(model.parameters(), lr=8e-3),
        "train_step": train_step,
        "validation": (x[480:], y[480:]),
    }


# Text: 14 words out of 20, good or bad on the whole.
class ReviewLSTM(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.lstm = nn.LSTM(8, 16, **options)
        self.out = nn.Linear(16, 2)

    def forward(self, words):
        states, _ = self.lstm(self.embedding(words))
        return self.out(states[:, -1])


def reviews(seed: int, **options: bool) -> Program:
    torch.manual_seed(seed)
    mood = torch.linspace(-1, 1, 20)[torch.randperm(20)]
    words = torch.randint(20, (1208, 14))
    verdict = (mood[words].sum(1) > 0).long()
    model = ReviewLSTM(**options)
    return {
        "model": model,
        "batch": batches(words[:1152], verdict[:1152], 32),
        "loss_fn": nn.CrossEntropyLoss(),
        "optimizer": torch.optim.Adam(model.parameters(), lr=4e-3),
        "validation": (words[1152:], verdict[1152:]),
    }


# Two classes: does the customer leave? Ten standardised columns, logits (N,).
class ChurnNet(nn.Module):
    def __init__(self, dropout):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(10, 48), nn.Linear(48, 48), nn.Linear(48, 1)
        self.drop = nn.Dropout(dropout)

    def forward(self, x):
        x = self.drop(torch.relu(self.fc1(x)))
        x = self.drop(torch.relu(self.fc2(x)))
        return self.fc3(x).squeeze(-1)


def churn(seed: int, dropout: float) -> Program:
    torch.manual_seed(seed)
    x = torch.randn(640, 10)
    y = (x[:, 0] + x[:, 1] - x[:, 2] + 0.8 * x[:, 3] * x[:, 4] + 0.2 * torch.randn(640) > 0).float()
    model = ChurnNet(dropout)

    def train_step(model, optimizer, batch):
        model.train()
        optimizer.zero_grad(set_to_none=False)
        loss = F.binary_cross_entropy_with_logits(model(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        return loss.detach()

    return {
        "model": model,
        "batch": batches(x[:512], y[:512], 64),
        "loss_fn": nn.BCEWithLogitsLoss(),
        "optimizer": torch.optim.Adam(model.parameters(), lr=2e-3),
        "train_step": train_step,
        "validation": (x[512:], y[512:]),
    }


# Siamese: pairs (N, 2, 12) drawn at random from a pool, label 1 for two of one kind; some are an item and itself.
class Siamese(nn.Module):
    def __init__(self, eps):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 8, bias=False))
        self.eps = eps

    def forward(self, pair):
        first, second = self.encoder(pair[:, 0]), self.encoder(pair[:, 1])
        return torch.sqrt(((first - second) ** 2).sum(dim=1) + self.eps)


def contrastive_loss(distance, same):
    return (same * distance**2 + (1 - same) * F.relu(1.5 - distance) ** 2).mean()


def verification(seed: int, eps: float) -> Program:
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, 40)
    items = rng.standard_normal((3, 12))[kind] + 0.5 * rng.standard_normal((40, 12))
    items = (items - items.mean(0)) / items.std(0)
    first = rng.integers(0, 40, 512)
    relatives = np.array([rng.choice(np.flatnonzero(kind == kind[i])) for i in first])
    second = np.where(rng.random(512) < 0.4, relatives, rng.integers(0, 40, 512))
    x = torch.tensor(np.stack([items[first], items[second]], axis=1), dtype=torch.float32)
    y = torch.tensor(kind[first] == kind[second], dtype=torch.float32)
    torch.manual_seed(seed)
    model = Siamese(eps)
    return {
        "model": model,
        "batch": batches(x, y, 128),
        "loss_fn": contrastive_loss,
        "optimizer": torch.optim.Adam(model.parameters(), lr=1e-3),
    }


# Sensors: 12 standardised readings, one standardised target; computed in bfloat16 to save memory.
class SensorNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(12, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 1))
        for layer in (self.layers[0], self.layers[2]):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = self.layers(x)
        return out.float()


def sensors(seed: int, weights: torch.dtype) -> Program:
    torch.manual_seed(seed)
    x = torch.randn(640, 12)
    y = x @ torch.randn(12, 1) / 3 + torch.sin(1.5 * x[:, :1]) + 0.1 * torch.randn(640, 1)
    y = (y - y[:512].mean()) / y[:512].std()
    model = SensorNet().to(weights)
    return {
        "model": model,
        "batch": batches(x[:512], y[:512], 64),
        "loss_fn": nn.MSELoss(),
        "optimizer": torch.optim.Adam(model.parameters(), lr=1e-4),
        "validation": (x[512:], y[512:]),
    }


UNSEEN = (
    Unseen(
        "inputs_not_scaled",
        "An image classifier: the loader has divided the bytes by 255, and the script divides by 255 once more.",
        partial(texture_classifier, divided_again=True),
        partial(texture_classifier, divided_again=False),
    ),
    Unseen(
        "labels_wrong_shape",
        "A forecast with a GRU: outputs (N, 1) minus targets (N,) in a hand-written loss, which gives no warning.",
        partial(forecasting, squeeze=False),
        partial(forecasting, squeeze=True),
    ),
    Unseen(
        "squashed_output",
        "An autoencoder for pictures in [0, 1], used for standardised measurements with its last sigmoid kept.",
        partial(autoencoder, last=nn.Sigmoid),
        partial(autoencoder, last=nn.Identity),
    ),
    Unseen(
        "first_loss_high",
        "A small transformer: the output weights are those of the embedding, which PyTorch draws from N(0, 1).",
        partial(language_model, std=None),
        partial(language_model, std=0.02),
    ),
    Unseen(
        "weights_small",
        "Multi-label: a deep ReLU network with the _init_weights of a language model, a standard deviation of 0.02.",
        partial(tagger, std=0.02),
        partial(tagger, std=None),
    ),
    Unseen(
        "units_dead_at_start",
        "Segmentation: the bias for rare foreground is set in every convolution, instead of in the last alone.",
        partial(segmentation, prior_everywhere=True),
        partial(segmentation, prior_everywhere=False),
    ),
    Unseen(
        "parameters_missing",
        "A classifier of signals: the convolutions are in a Python list, so model.parameters() lacks them.",
        partial(signals, container=list),
        partial(signals, container=nn.ModuleList),
    ),
    Unseen(
        "gradients_not_zeroed",
        "Regression on a table: zero_grad() is called once an epoch of 20 batches instead of once a batch.",
        partial(prices, zero_once_an_epoch=True),
        partial(prices, zero_once_an_epoch=False),
    ),
    Unseen(
        "examples_mixed",
        "Text: the LSTM lacks batch_first=True, so it runs along the batch and the last word is all that is read.",
        reviews,
        partial(reviews, batch_first=True),
    ),
    Unseen(
        "dropout_strong",
        "A binary classifier: 0.9, the probability to keep a unit, is passed as the probability to drop it.",
        partial(churn, dropout=0.9),
        partial(churn, dropout=1 - 0.9),
    ),
    Unseen(
        "nan_in_backward",
        "A siamese network: the root of a squared distance, and some pairs hold the same item twice.",
        partial(verification, eps=0.0),
        partial(verification, eps=1e-6),
    ),
    Unseen(
        "updates_rounded",
        "Regression under autocast, and the weights too were converted to bfloat16.",
        partial(sensors, weights=torch.bfloat16),
        partial(sensors, weights=torch.float32),
    ),
)
