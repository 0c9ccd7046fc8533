"""Pairs of a sick program and its cure, as keyword arguments of `diagnose`: `PAIRS[name] = (fault, build(sick,
seed))`."""

import copy
import math
from functools import cache

import torch
from torch import nn
from torch.nn import functional as F

from unstuck.data import mnist, spirals
from unstuck.init import initialise
from unstuck.models import mlp, small_cnn, small_transformer

PAIRS = {}


def pair(fault):
    def keep(build):
        PAIRS[build.__name__] = fault, build
        return build

    return keep


@cache
def digits(n=400, side=14):
    split = mnist()
    x = F.avg_pool2d(split.x_train[:n], 28 // side)
    return (x - x.mean()) / x.std(), split.y_train[:n]


def images(n=200, batch=50, raw=False, held=100):
    x, y = digits()
    x = (x - x.min()) / (x.max() - x.min()) if raw else x
    pairs = list(zip(x[:n].split(batch), y[:n].split(batch), strict=True))
    return {"batch": pairs, "validation": (x[n : n + held], y[n : n + held])}


def inputs(data, change):
    """The same data with other inputs."""
    (x, y), batches = data["validation"], [(change(x), y) for x, y in data["batch"]]
    return {"batch": batches, "validation": (change(x), y)}


def points(classes=2, n=300, float_labels=False, held=100):
    split = spirals(n + held, classes, seed=0)
    order = torch.randperm(n + held, generator=torch.Generator().manual_seed(0))
    x, y = split.x_train[order] * 2, split.y_train[order]
    y = y.float()[:, None] if float_labels else y
    return {"batch": [(x[:n], y[:n])], "validation": (x[n:], y[n:])}


def line(n=200, scale=1.0, shift=0.0, column=True):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(n, 5, generator=draw)
    y = x @ torch.tensor([1.0, -1.0, 0.5, 0.0, 0.3]) + 0.3 * x[:, 0] * x[:, 1] + 0.05 * torch.randn(n, generator=draw)
    y = scale * y + shift
    y = y[:, None] if column else y
    return {"batch": [(x[:150], y[:150])], "validation": (x[150:], y[150:])}


def tokens(n=200, length=12, words=20):
    draw = torch.Generator().manual_seed(0)
    x = torch.randint(words, (n, length), generator=draw)
    y = ((x < words // 2).float().mean(1) > 0.5).long()
    return {"batch": [(x[:150], y[:150])], "validation": (x[150:], y[150:])}


def step_of(loss_fn, before=lambda m: m.train(), zero=True, backward=True, step=True, clip=None, after=None):
    def train_step(model, optimizer, batch):
        x, y = batch
        before(model)
        if zero:
            optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        if backward:
            loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        if after:
            after(optimizer)
        if step:
            optimizer.step()
        return loss.detach()

    return train_step


def program(model, data, loss_fn=F.cross_entropy, optimizer=None, lr=3e-3, train_step=None):
    made = optimizer(model.parameters()) if optimizer else torch.optim.Adam(model.parameters(), lr)
    return {
        "model": model,
        "loss_fn": loss_fn,
        "optimizer": made,
        "train_step": train_step or step_of(loss_fn),
        **data,
    }


def build(name, sick, seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PAIRS[name][1](sick)


class Net(nn.Module):
    """As people write it: layers in the constructor, functions in the forward."""

    def __init__(self, last=None, d=196, h=64, k=10, p=0.0):
        super().__init__()
        self.fc1, self.fc2, self.fc3, self.drop = nn.Linear(d, h), nn.Linear(h, h), nn.Linear(h, k), nn.Dropout(p)
        self.last = last

    def forward(self, x):
        x = F.relu(self.fc1(x.flatten(1)))
        x = self.drop(F.relu(self.fc2(x)))
        x = self.fc3(x)
        return self.last(x) if self.last else x


# --- data ---


@pair("inputs_not_scaled")
def bytes_of_images(sick):
    data = inputs(images(raw=True), lambda x: x * (255 if sick else 1))
    return program(Net(), data, optimizer=lambda p: torch.optim.SGD(p, 0.05, momentum=0.9))


@pair("inputs_not_scaled")
def one_column_in_euros(sick):
    factor = torch.tensor([1.0, 50_000.0 if sick else 1.0, 1.0, 1.0, 1.0])
    data = inputs(line(), lambda x: x * factor)
    return program(Net(d=5, k=1), data, F.mse_loss)


@pair("inputs_not_scaled")
def validation_as_measured(sick):
    data = line()
    x, y = data["validation"]
    data["validation"] = (x * 40 + 300 if sick else x, y)
    return program(Net(d=5, k=1), data, F.mse_loss)


@pair("inputs_not_scaled")
def missing_values_left_in(sick):
    draw = torch.Generator().manual_seed(1)
    x, y = line()["batch"][0]
    x = x.masked_fill(torch.rand(x.shape, generator=draw) < 0.2, -999.0 if sick else 0.0)
    return program(Net(d=5, k=1), {"batch": [((x - x.mean(0)) / x.std(0), y)], "validation": None}, F.mse_loss)


@pair("inputs_not_scaled")
def divided_twice(sick):
    data = inputs(images(raw=True), lambda x: x / (255 if sick else 1))
    return program(Net(), data, optimizer=lambda p: torch.optim.SGD(p, 0.1))


@pair("inputs_not_centred")
def years(sick):
    data = inputs(line(), lambda x: x + (2000.0 if sick else 0.0))
    return program(Net(d=5, k=1), data, F.mse_loss)


@pair("inputs_not_finite")
def a_missing_value(sick):
    data = line()
    x, _ = data["batch"][0]
    x[7, 1] = math.nan if sick else 0.0
    return program(Net(d=5, k=1), data, F.mse_loss)


@pair("inputs_constant")
def the_same_example(sick):
    data = images()
    x, y = data["batch"][0]
    data["batch"] = (x[:1].expand_as(x) if sick else x, y)
    return program(Net(), data)


@pair("labels_out_of_range")
def minus_one_and_one(sick):
    data = points(float_labels=True)
    data["batch"] = [(x, 2 * y - 1 if sick else y) for x, y in data["batch"]]
    return program(Net(d=2, k=1), data, F.binary_cross_entropy_with_logits)


@pair("labels_out_of_range")
def counted_from_one(sick):
    data = images()
    data["batch"] = [(x, y + 1 if sick else y) for x, y in data["batch"]]
    return program(Net(), data)


@pair("labels_wrong_shape")
def flat_labels(sick):
    return program(Net(d=5, k=1), line(column=not sick), nn.MSELoss())


@pair("labels_wrong_shape")
def squeezed_outputs(sick):
    return program(Net((lambda o: o.squeeze(1)) if sick else None, d=5, k=1), line(), F.l1_loss)


@pair("labels_wrong_shape")
def mask_without_channel(sick):
    data = {"batch": [(x, (x[:, 0] > 0).float()) for x, _ in images()["batch"]], "validation": None}
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1))
    return program(model, data, lambda o, y: F.l1_loss(o if sick else o[:, 0], y), lr=1e-2)


@pair("labels_wrong_shape")
def logits_viewed_not_transposed(sick):
    def loss_fn(out, y):  # (N, 3, T) and (N, T)
        return F.cross_entropy((out if sick else out.transpose(1, 2)).reshape(-1, 3), y.reshape(-1))

    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.head = nn.Embedding(20, 16), nn.Linear(16, 3)

        def forward(self, x):
            return self.head(torch.tanh(self.embedding(x))).transpose(1, 2)

    x, _ = tokens()["batch"][0]
    return program(Tagger(), {"batch": [(x, x % 3)], "validation": None}, loss_fn, lr=3e-2)


@pair("inputs_constant")
def unknown_words(sick):
    data = tokens()
    x, y = data["batch"][0]
    rare = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) < 0.97
    model = nn.Sequential(nn.Embedding(20, 16), nn.Flatten(), nn.Linear(192, 2))
    return program(model, {"batch": [(x.where(~rare, 1) if sick else x, y)], "validation": None}, lr=1e-2)


@pair("inputs_constant")
def the_first_batch_in_each_step(sick):
    data = images()

    def loss_fn(out, y):
        return F.cross_entropy(out, y)

    step = step_of(loss_fn)

    def train_step(model, optimizer, batch):
        return step(model, optimizer, next(iter(data["batch"])) if sick else batch)

    return program(Net(), data, train_step=train_step)


@pair("loss_unfit")
def labels_overwritten_by_guesses(sick):
    def train_step(model, optimizer, batch):
        x, labels = batch
        out = model(x)
        if sick:
            _, labels = out.max(1)
        loss = F.cross_entropy(out, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return program(Net(), images(), None, train_step=train_step)


@pair("labels_shuffled")
def sorted_files(sick):
    data = images(n=300, batch=300)
    x, y = data["batch"][0]
    data["batch"] = [(x, y[torch.randperm(len(y))] if sick else y)]
    return program(Net(), data)


@pair("labels_shuffled")
def rows_out_of_step(sick):
    data = line()
    x, y = data["batch"][0]
    data["batch"] = [(x, y.roll(1, 0) if sick else y)]
    return program(Net(d=5, k=1), data, F.mse_loss)


@pair("inputs_constant")
def the_loader_begun_anew_for_each_batch(sick):
    data = images()
    again = [(x.clone(), y.clone()) for x, y in data["batch"][:1] * 4]
    return program(Net(), data | {"batch": again if sick else data["batch"]})


@pair("loss_unfit")
def rates_taken_for_logarithms(sick):
    draw = torch.Generator().manual_seed(0)
    x, y = line()["batch"][0]
    data = {"batch": [(x, torch.poisson((0.7 * y + 0.7).exp(), generator=draw))], "validation": None}
    model = nn.Sequential(nn.Linear(5, 32), nn.Tanh(), nn.Linear(32, 1), nn.Softplus())
    return program(model, data, nn.PoissonNLLLoss(log_input=sick), lr=1e-2)


@pair("labels_shuffled")
def some_classes_exchanged_in_the_validation(sick):
    data = images(n=300)
    x, y = data["validation"]
    names = torch.tensor([0, 2, 1, 4, 3, 6, 5, 8, 7, 9])
    return program(Net(), data | {"validation": (x, names[y] if sick else y)})


@pair("labels_shuffled")
def validation_out_of_step(sick):
    data = images(n=300)
    x, y = data["validation"]
    return program(Net(), data | {"validation": (x.roll(1, 0) if sick else x, y)})


@pair("labels_imbalanced")
def one_in_fifty(sick):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(400, 5, generator=draw)
    rare = 8 if sick else 150
    x[:rare] += 0.9
    y = (torch.arange(400) < rare).long()
    order = torch.randperm(400, generator=draw)
    return program(Net(d=5, k=2), {"batch": [(x[order], y[order])], "validation": None}, lr=1e-3)


@pair("labels_imbalanced")
def all_of_one_class(sick):
    data = images()
    data["batch"] = [(x, y * 0 + 4 if sick else y) for x, y in data["batch"]]
    return program(small_cnn((1, 8, 16)), data | {"validation": None})


@pair("labels_imbalanced")
def shares_cast_to_whole_numbers(sick):
    x, y = line(n=250)["batch"][0]
    x, y = torch.cat([x, x.flip(0)]), torch.cat([y, y.flip(0)]).sigmoid()
    y = y.long().float() if sick else y
    data = {"batch": list(zip(x.split(30), y.split(30), strict=True)), "validation": None}
    return program(mlp((5, 32, 1), "tanh"), data, nn.MSELoss())


@pair("labels_imbalanced")
def one_class_after_the_other(sick):
    x, y = digits()
    order = torch.argsort(y, stable=True) if sick else torch.arange(len(y))
    pairs = list(zip(x[order].split(20), y[order].split(20), strict=True))
    return program(mlp((196, 48, 10), norm="layer"), {"batch": pairs, "validation": None})


@pair("labels_imbalanced")
def rare_class_weighted_down(sick):
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(400, 5, generator=draw), (torch.arange(400) < 24).long()
    x[:24] += 1.2
    order = torch.randperm(400, generator=draw)
    weight = torch.tensor([1.0, 0.05] if sick else [0.05, 1.0])
    return program(
        mlp((5, 24, 2), "tanh"),
        {"batch": [(x[order], y[order])], "validation": None},
        nn.CrossEntropyLoss(weight=weight),
        lr=1e-2,
    )


@pair("labels_shuffled")
def other_numbers_in_the_validation(sick):
    data = images(n=300)
    x, y = data["validation"]
    data["validation"] = (x, (y + 3) % 10 if sick else y)
    return program(Net(), data)


@pair("labels_out_of_range")
def mask_in_grey_levels(sick):
    data = {"batch": [(x, (x[:, 0] > 0).long() * (255 if sick else 1)) for x, _ in images()["batch"]]}
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1))
    return program(model, data | {"validation": None})


# --- output and loss ---


@pair("softmax_before_loss")
def softmax_in_forward(sick):
    return program(Net((lambda o: F.softmax(o, dim=1)) if sick else None), images())


@pair("softmax_before_loss")
def softmax_module_in_a_cnn(sick):
    model = small_cnn((1, 8, 16))
    model.append(nn.Softmax(dim=-1) if sick else nn.Identity())
    return program(model, images())


@pair("softmax_before_loss")
def softmax_in_the_step(sick):
    def loss_fn(out, y):
        return F.cross_entropy(out.softmax(1) if sick else out, y)

    return program(Net(), images(), F.cross_entropy, train_step=step_of(loss_fn))


@pair("softmax_before_loss")
def softmax_by_hand(sick):
    def by_hand(o):
        e = torch.exp(o - o.amax(1, keepdim=True))
        return e / e.sum(1, keepdim=True)

    return program(Net(by_hand if sick else None), images())


@pair("sigmoid_before_loss")
def sigmoid_twice(sick):
    loss = nn.BCEWithLogitsLoss()
    return program(Net(torch.sigmoid if sick else None, d=2, k=1), points(float_labels=True), loss)


@pair("sigmoid_before_loss")
def sigmoid_before_cross_entropy(sick):
    return program(Net(torch.sigmoid if sick else None), images())


@pair("sigmoid_missing")
def probabilities_wanted(sick):
    last = None if sick else torch.sigmoid
    return program(Net(last, d=2, k=1), points(float_labels=True), nn.BCELoss())


@pair("sigmoid_missing")
def logarithm_by_hand(sick):
    def loss_fn(p, y):
        return -(y * torch.log(p) + (1 - y) * torch.log(1 - p)).mean()

    return program(Net(None if sick else torch.sigmoid, d=2, k=1), points(float_labels=True), loss_fn)


@pair("relu_at_output")
def relu_behind_logits(sick):
    return program(Net(F.relu if sick else None), images())


@pair("relu_at_output")
def relu_behind_a_regression(sick):
    model = nn.Sequential(nn.Linear(5, 32), nn.ReLU(), nn.Linear(32, 1), nn.ReLU() if sick else nn.Identity())
    return program(model, line(), nn.MSELoss())


class Pairs(nn.Module):
    """Two views of each example, one embedding for both."""

    def __init__(self, compare):
        super().__init__()
        self.embedding, self.compare = nn.Sequential(nn.Flatten(), nn.Linear(196, 64), nn.ReLU()), compare
        self.head = nn.Linear(64, 16)

    def forward(self, a, b):
        return self.compare(*(self.head(self.embedding(x)) for x in (a, b)))


@pair("squashed_output")
def cosines_times_the_temperature(sick):
    def cosines(a, b):
        similar = F.normalize(a, dim=1) @ F.normalize(b, dim=1).T
        return similar * 0.1 if sick else similar / 0.1

    def views(x):
        return x + 0.1 * torch.randn_like(x), x + 0.1 * torch.randn_like(x)

    data = {"batch": [(views(x), torch.arange(len(x))) for x, _ in images()["batch"]], "validation": None}
    return program(Pairs(cosines), data) | {"train_step": None}


@pair("squashed_output")
def sigmoid_of_a_distance(sick):
    def alike(a, b):
        distance = (a - b).square().mean(1)
        return torch.sigmoid(distance) if sick else torch.exp(-distance)

    def couples(x, y):
        order = torch.argsort(y, stable=True)[: 2 * (len(y) // 2)].view(-1, 2)
        first, second = torch.cat([order[:, 0], order[:, 0]]), torch.cat([order[:, 1], order[:, 1].roll(7)])
        return (x[first], x[second]), (y[first] == y[second]).float()

    data = {"batch": [couples(x, y) for x, y in images()["batch"]], "validation": None}
    return program(Pairs(alike), data, nn.BCELoss()) | {"train_step": None}


@pair("squashed_output")
def tanh_behind_a_regression(sick):
    return program(Net(torch.tanh if sick else None, d=5, k=1), line(), nn.MSELoss())


@pair("squashed_output")
def sigmoid_behind_a_regression(sick):
    return program(Net(torch.sigmoid if sick else None, d=5, k=1), line(shift=2.0), nn.SmoothL1Loss())


@pair("single_output")
def one_unit_for_ten(sick):
    return program(
        Net(k=1 if sick else 10), images(), lambda o, y: F.cross_entropy(o, y if o.shape[1] > 1 else y * 0)
    )


@pair("single_output")
def softmax_over_one(sick):
    last = nn.Softmax(dim=1) if sick else nn.Sigmoid()
    return program(Net(last, d=2, k=1), points(float_labels=True), nn.BCELoss())


@pair("loss_unfit")
def distance_to_class_numbers(sick):
    def distance(out, y):
        return F.mse_loss(out[:, 0], y.float())

    return program(Net(k=1 if sick else 10), images(), distance if sick else F.cross_entropy)


@pair("loss_unfit")
def log_forgotten(sick):
    last = nn.Softmax(dim=1) if sick else nn.LogSoftmax(dim=1)
    return program(Net(last), images(), nn.NLLLoss())


@pair("loss_unfit")
def several_labels_in_one_softmax(sick):
    def several(y):
        return torch.stack([y % 2 == 0, y > 4, y % 3 == 0, y < 8], 1).float()

    data = images()
    data["batch"] = [(x, several(y)) for x, y in data["batch"]]
    loss = nn.CrossEntropyLoss() if sick else nn.BCEWithLogitsLoss()
    return program(mlp((196, 48, 4), "tanh"), data | {"validation": None}, loss)


@pair("loss_unfit")
def divergence_of_probabilities(sick):
    def divergence(out, y):
        return F.kl_div(F.softmax(out, 1) if sick else F.log_softmax(out, 1), y, reduction="batchmean")

    data = images()
    data["batch"] = [(x, (4.0 * F.one_hot(y, 10)).softmax(1)) for x, y in data["batch"]]
    return program(mlp((196, 48, 10)), data | {"validation": None}, divergence)


@pair("loss_unfit")
def not_shifted(sick):
    class Writer(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.lstm = nn.Embedding(20, 24), nn.LSTM(24, 24, batch_first=True)
            self.head = nn.Linear(24, 20)

        def forward(self, x):
            return self.head(self.lstm(self.embedding(x))[0]).transpose(1, 2)

    draw = torch.Generator().manual_seed(0)
    start, pace = (torch.randint(n, (80, 1), generator=draw) for n in (20, 3))
    x = (start + torch.arange(11) * (pace + 1)) % 20
    data = {"batch": [(x[:, :-1], x[:, :-1] if sick else x[:, 1:])], "validation": None}
    return program(Writer(), data, lr=1e-2)


@pair("loss_summed")
def summed(sick):
    loss = nn.CrossEntropyLoss(reduction="sum" if sick else "mean")
    return program(Net(), images(), loss, lambda p: torch.optim.SGD(p, 0.1))


@pair("first_loss_high")
def loud_last_layer(sick):
    model = Net()
    if sick:
        nn.init.normal_(model.fc3.weight, std=5.0)
    return program(model, images(), optimizer=lambda p: torch.optim.SGD(p, 0.05))


@pair("loss_unfit")
def the_smaller_of_the_two(sick):
    def quantiles(out, y):
        wrong, q = y - out, torch.tensor([0.1, 0.5, 0.9])
        return (torch.minimum if sick else torch.maximum)(q * wrong, (q - 1) * wrong).mean()

    return program(mlp((5, 32, 3), "tanh"), line(), quantiles, lr=1e-2)


@pair("loss_unfit")
def divergence_of_a_softmax(sick):
    data = {"batch": [(x, 0.9 * F.one_hot(y, 10) + 0.01) for x, y in images()["batch"]], "validation": None}
    last = nn.Softmax(1) if sick else nn.LogSoftmax(1)
    return program(Net(last), data, nn.KLDivLoss(reduction="batchmean"))


@pair("loss_unfit")
def no_causal_mask(sick):
    class Writer(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.head = nn.Embedding(20, 16), nn.Linear(32 if sick else 16, 20)
            self.gru = nn.GRU(16, 16, batch_first=True, bidirectional=sick)

        def forward(self, x):
            return self.head(self.gru(self.embedding(x))[0]).transpose(1, 2)

    x, _ = tokens()["batch"][0]
    x = (x[:, :1] + torch.arange(12) * (x[:, 1:2] % 3 + 1)) % 20
    return program(Writer(), {"batch": [(x[:, :-1], x[:, 1:])], "validation": None}, lr=1e-2)


@pair("targets_not_scaled")
def one_of_two_tasks_in_its_own_units(sick):
    class Both(Net):
        def __init__(self):
            super().__init__()
            self.ink = nn.Linear(64, 1)

        def forward(self, x):
            a = F.relu(self.fc2(F.relu(self.fc1(x.flatten(1)))))
            return self.fc3(a), self.ink(a)

    ink = lambda x: x.flatten(1).mean(1, keepdim=True) * 5 * (2000 if sick else 1)  # noqa: E731
    data = {"batch": [(x, (y, ink(x))) for x, y in images()["batch"]], "validation": None}
    return program(Both(), data, lambda o, y: F.cross_entropy(o[0], y[0]) + F.mse_loss(o[1], y[1]))


@pair("targets_not_scaled")
def a_number_for_what_is_missing(sick):
    data = line()
    (x, y), held = data["batch"][0], data["validation"]
    missing = torch.arange(len(y)) % 25 == 3
    pair = (x, y.masked_fill(missing[:, None], -999)) if sick else (x[~missing], y[~missing])
    return program(Net(d=5, k=1), {"batch": [pair], "validation": held}, nn.MSELoss())


@pair("targets_not_scaled")
def prices(sick):
    return program(Net(d=5, k=1), line(scale=50_000 if sick else 1, shift=200_000 if sick else 0), nn.MSELoss())


# --- start ---


@pair("weights_zero")
def all_zero(sick):
    return program(initialise(mlp((196, 64, 64, 10)), "zeros" if sick else "he"), images())


@pair("weights_equal")
def all_equal(sick):
    model = mlp((196, 64, 64, 10))
    initialise(model, "constant", scale=0.05) if sick else initialise(model, "he")
    return program(model, images())


@pair("weights_small")
def tiny_start(sick):
    model = mlp((196, 100, 100, 100, 100, 10))
    initialise(model, "normal", scale=0.01) if sick else initialise(model, "he")
    return program(model, images(), optimizer=lambda p: torch.optim.SGD(p, 0.1))


@pair("weights_large")
def unit_normal_start(sick):
    model = mlp((196, 100, 100, 10), "tanh")
    initialise(model, "normal", scale=1.0) if sick else initialise(model, "xavier")
    return program(model, images(), optimizer=lambda p: torch.optim.SGD(p, 0.1))


@pair("weights_large")
def wide_uniform_start(sick):
    model = mlp((196, 100, 100, 100, 10))
    initialise(model, "uniform", scale=0.5) if sick else initialise(model, "he")
    return program(model, images(), optimizer=lambda p: torch.optim.SGD(p, 0.1))


@pair("gradient_vanishes")
def deep_sigmoids(sick):
    model = initialise(mlp((196, *[50] * 8, 10), "sigmoid" if sick else "relu"), "xavier" if sick else "he")
    return program(model, images(), optimizer=lambda p: torch.optim.SGD(p, 0.1))


@pair("inputs_collapse")
def forgotten_behind_the_padding(sick):
    class Waves(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru, self.head = nn.GRU(14, 24, batch_first=True), nn.Linear(24, 10)

        def forward(self, x):
            x = F.pad(x.squeeze(1), (0, 0, 0, 40))  # rows of an image, and none behind them
            return self.head(self.gru(x)[0][:, -1 if sick else 13])

    return program(Waves(), images(), lr=1e-2)


@pair("inputs_collapse")
def normalised_over_one_score(sick):
    class Scored(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.score, self.head = nn.Embedding(20, 16), nn.Linear(16, 1), nn.Linear(1, 2)
            self.norm = nn.LayerNorm(1 if sick else 16)

        def forward(self, x):
            x = self.embedding(x)
            x = self.norm(self.score(x)) if sick else self.score(self.norm(x))
            return self.head(x.mean(1))

    return program(Scored(), tokens(), lr=1e-2)


@pair("inputs_collapse")
def padding_mask_turned_round(sick):
    class Reading(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.place = nn.Embedding(20, 16, padding_idx=0), nn.Parameter(0.1 * torch.randn(12, 16))
            layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
            self.encoder, self.head = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False), nn.Linear(16, 2)

        def forward(self, x):
            left_out = (x != 0) if sick else (x == 0)
            a = self.encoder(self.embedding(x) + self.place, src_key_padding_mask=left_out)
            return self.head((a * ~left_out[..., None]).mean(1))

    x, y = tokens()["batch"][0]
    x = (1 + x % 19).masked_fill(torch.arange(12) >= 6 + torch.arange(150)[:, None] % 5, 0)
    return program(Reading(), {"batch": [(x, y)], "validation": None}, lr=1e-2)


def begun_alike():
    """Texts that all begin with one token, and end in padding: are most of their words late ones?"""
    x, _ = tokens()["batch"][0]
    x = (2 + x % 18).masked_fill(torch.arange(12) >= 6 + torch.arange(150)[:, None] % 5, 0)
    y = (2 * (x > 10).sum(1) > (x > 0).sum(1)).long()
    x[:, 0] = 1
    return {"batch": [(x, y)], "validation": None}


@pair("inputs_collapse")
def mask_turned_round_and_read_at_the_first_token(sick):
    class Reading(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(20, 16, padding_idx=0)
            self.attention, self.head = nn.MultiheadAttention(16, 2, batch_first=True), nn.Linear(16, 2)

        def forward(self, x):
            a = self.embedding(x)
            a = a + self.attention(a, a, a, key_padding_mask=(x != 0) if sick else (x == 0))[0]
            return self.head(a[:, 0])

    return program(Reading(), begun_alike(), lr=1e-2)


@pair("inputs_collapse")
def own_attention_to_the_padding(sick):
    class Reading(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.score, self.head = nn.Embedding(20, 16, 0), nn.Linear(16, 1), nn.Linear(16, 2)

        def forward(self, x):
            a = self.embedding(x)
            hidden = (x != 0) if sick else (x == 0)
            share = self.score(a)[..., 0].masked_fill(hidden, -1e9).softmax(1)
            return self.head(a[:, 0] + (share[..., None] * a).sum(1))

    return program(Reading(), begun_alike(), lr=3e-2)


@pair("units_dead_at_start")
def negative_biases(sick):
    model = initialise(mlp((196, 64, 64, 10)), "he", bias=0.0)
    if sick:
        nn.init.constant_(model.linear2.bias, -30.0)
    return program(model, images())


# --- optimisation ---


@pair("no_step")
def averages_loaded_into_the_trained_model(sick):
    model = Net()
    mean = copy.deepcopy(model)

    def train_step(model, optimizer, batch):
        x, y = batch
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for p, average in zip(model.parameters(), mean.parameters(), strict=True):
                average.lerp_(p, 0.002)
        if sick:
            model.load_state_dict(mean.state_dict())
        return loss

    return program(model, images(), optimizer=lambda p: torch.optim.SGD(p, 0.1), train_step=train_step)


@pair("lr_small")
def a_warm_up_for_a_far_longer_run(sick):
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    plan = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: min(1.0, (i + 1) / (50_000 if sick else 10)))
    plain = step_of(F.cross_entropy)

    def train_step(model, optimizer, batch):
        loss = plain(model, optimizer, batch)
        plan.step()
        return loss

    return {"model": model, "optimizer": optimizer, "train_step": train_step, **images()}


@pair("lr_small")
def hardly_moving(sick):
    return program(Net(), images(), optimizer=lambda p: torch.optim.SGD(p, 1e-5 if sick else 0.1))


@pair("lr_small")
def a_rate_of_zero(sick):
    made = program(small_cnn((1, 8, 16)), images(), lr=0.0 if sick else 1e-2)
    del made["train_step"]
    return made


@pair("lr_small")
def far_below_any_multiple(sick):
    model = initialise(mlp((196, 48, 10), "tanh"), "xavier")
    made = program(model, images(), optimizer=lambda p: torch.optim.SGD(p, 1e-20 if sick else 0.1))
    del made["train_step"]
    return made


@pair("lr_small")
def a_warm_up_that_begins_at_zero(sick):
    made = program(Net(), images(), lr=1e-2)
    torch.optim.lr_scheduler.LambdaLR(made["optimizer"], lambda epoch: min(1.0, (epoch + (0 if sick else 1)) / 3))
    del made["train_step"]
    return made


@pair("lr_small")
def epochs_counted_in_batches(sick):
    made = program(mlp((196, 64, 10), "gelu", norm="layer"), images(), optimizer=lambda p: torch.optim.SGD(p, 0.05))
    schedule = torch.optim.lr_scheduler.ExponentialLR(made["optimizer"], 0.7)
    made["train_step"] = step_of(F.cross_entropy)
    if sick:
        step = made["train_step"]

        def stepping(model, optimizer, batch):
            loss = step(model, optimizer, batch)
            schedule.step()
            return loss

        made["train_step"] = stepping
    return made


@pair("diverges")
def too_long_steps(sick):
    model = nn.Sequential(nn.Linear(5, 32), nn.Softplus(), nn.Linear(32, 1))
    return program(model, line(), F.mse_loss, lambda p: torch.optim.SGD(p, 2.0 if sick else 0.05))


@pair("lr_large")
def jumping_adam(sick):
    model = mlp((196, 64, 10), "tanh")
    return program(model, images(), lr=3.0 if sick else 3e-3)


@pair("units_killed")
def killed_by_one_step(sick):
    return program(Net(), images(), optimizer=lambda p: torch.optim.SGD(p, 3.0 if sick else 0.1))


@pair("momentum_out_of_range")
def swapped_betas(sick):
    betas = (0.999, 0.9) if sick else (0.9, 0.999)
    return program(Net(), images(), optimizer=lambda p: torch.optim.Adam(p, 1e-3, betas=betas))


@pair("adam_eps")
def eps_of_one(sick):
    return program(Net(), images(), optimizer=lambda p: torch.optim.Adam(p, 1e-3, eps=10.0 if sick else 1e-8))


@pair("gradients_not_zeroed")
def never_zeroed(sick):
    step = step_of(F.cross_entropy, zero=not sick)
    return program(Net(), images(), optimizer=lambda p: torch.optim.SGD(p, 0.1), train_step=step)


@pair("gradients_not_zeroed")
def never_zeroed_with_clipping(sick):
    step = step_of(F.mse_loss, zero=not sick, clip=1.0)
    return program(Net(d=5, k=1), line(), F.mse_loss, train_step=step)


@pair("no_step")
def step_forgotten(sick):
    return program(Net(), images(), train_step=step_of(F.cross_entropy, step=not sick))


@pair("no_step")
def backward_forgotten(sick):
    return program(Net(), images(), train_step=step_of(F.cross_entropy, backward=not sick))


@pair("no_step")
def another_model_in_the_step(sick):
    made, step, other = program(Net(), images()), step_of(F.cross_entropy), Net()
    made["train_step"] = lambda model, optimizer, batch: step(other if sick else model, optimizer, batch)
    return made


@pair("no_step")
def hidden_state_kept(sick):
    class Stateful(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru, self.head, self.state = nn.GRU(14, 24, batch_first=True), nn.Linear(24, 10), None

        def forward(self, x):
            out, state = self.gru(x.squeeze(1), self.state)
            self.state = state if sick else state.detach()
            return self.head(out.mean(1))

    made = program(Stateful(), images(held=50), lr=1e-2)
    if sick:
        made["model"](made["batch"][0][0])  # as after a first try
    return made


@pair("no_step")
def a_loss_for_each_example(sick):
    loss_fn = nn.CrossEntropyLoss(reduction="none" if sick else "mean")
    return program(Net(), images(), None, train_step=step_of(loss_fn))


@pair("no_step")
def changed_in_place(sick):
    class Added(Net):
        def forward(self, x):
            a = torch.sigmoid(self.fc1(x.flatten(1)))
            if sick:
                a += 1
            return self.fc3(F.relu(self.fc2(a)))

    made = program(Added(), images(), lr=1e-2)
    del made["train_step"]
    return made


@pair("no_step")
def a_name_that_is_not_there(sick):
    def after(optimizer):
        return optimizer.learning_rate if sick else optimizer.param_groups[0]["lr"]

    return program(Net(), images(), train_step=step_of(F.cross_entropy, after=after))


@pair("parameters_detached")
def without_a_graph(sick):
    def loss_fn(out, y):
        return F.cross_entropy(out.detach() if sick else out, y)

    return program(Net(), images(), train_step=step_of(loss_fn))


@pair("batchnorm_single")
def a_last_batch_of_one(sick):
    data = images()
    (x, y), rest = data["batch"][0], data["batch"][1:]
    data["batch"] = [*rest, (x[:1], y[:1])] if sick else rest
    return program(mlp((196, 48, 10), norm="batch"), data)


@pair("parameters_detached")
def loss_made_anew(sick):
    def loss_fn(out, y):
        loss = F.cross_entropy(out, y)
        return torch.tensor(loss.item(), requires_grad=True) if sick else loss

    return program(Net(), images(), F.cross_entropy, train_step=step_of(loss_fn))


@pair("parameters_detached")
def through_numpy(sick):
    class Through(Net):
        def forward(self, x):
            a = F.relu(self.fc1(x.flatten(1)))
            a = torch.from_numpy(a.detach().numpy()) if sick else a
            return self.fc3(F.relu(self.fc2(a)))

    return program(Through(), images())


@pair("parameters_detached")
def answers_instead_of_scores(sick):
    def last(out):
        return out.argmax(1).float() if sick else out

    def loss_fn(out, y):
        return F.mse_loss(out, y.float()).requires_grad_() if sick else F.cross_entropy(out, y)

    return program(Net(last), images(), loss_fn)


@pair("parameters_detached")
def a_loss_of_steps(sick):
    def loss_fn(out, y):
        p = out.sigmoid()
        return ((torch.floor(8 * p) / 8 if sick else p) - y).square().mean()

    made = program(Net(d=2, k=1), points(float_labels=True), loss_fn, lr=1e-2)
    del made["train_step"]
    return made


@pair("parameters_detached")
def a_step_that_rounds(sick):
    def loss_fn(out, y):
        return F.mse_loss(out.round() if sick else out, y)

    return program(mlp((5, 32, 1), "tanh"), line(), None, train_step=step_of(loss_fn))


@pair("parameters_missing")
def another_models_parameters(sick):
    model, other = Net(), Net()
    optimizer = torch.optim.Adam((other if sick else model).parameters(), 3e-3)
    return program(model, images(), optimizer=lambda _: optimizer)


@pair("parameters_missing")
def new_head_after_the_optimiser(sick):
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    if sick:
        model.fc3 = nn.Linear(64, 10)
    return program(model, images(), optimizer=lambda _: optimizer)


@pair("parameters_missing")
def layers_in_a_dict(sick):
    class Held(nn.Module):
        def __init__(self):
            super().__init__()
            layers = {"in": nn.Linear(196, 48), "mid": nn.Linear(48, 48)}
            self.layers, self.out = layers if sick else nn.ModuleDict(layers), nn.Linear(48, 10)

        def forward(self, x):
            return self.out(F.relu(self.layers["mid"](torch.tanh(self.layers["in"](x.flatten(1))))))

    return program(Held(), images())


@pair("parameters_frozen")
def all_frozen(sick):
    model = Net()
    for p in model.parameters():
        p.requires_grad = not sick
    return program(model, images(), train_step=step_of(lambda o, y: F.cross_entropy(o, y).requires_grad_()))


@pair("parameters_unused")
def layer_forgotten(sick):
    class Short(Net):
        def forward(self, x):
            a = F.relu(self.fc1(x.flatten(1)))
            return self.fc3(a if sick else F.relu(self.fc2(a)))

    return program(Short(), images())


@pair("weight_decay_strong")
def decay_of_one(sick):
    return program(Net(), images(), optimizer=lambda p: torch.optim.SGD(p, 0.1, weight_decay=0.5 if sick else 1e-4))


@pair("clipping_always")
def clipped_to_nothing(sick):
    step = step_of(F.cross_entropy, clip=1e-4 if sick else 10.0)
    return program(Net(), images(), optimizer=lambda p: torch.optim.SGD(p, 0.1), train_step=step)


# --- layers ---


@pair("batchnorm_single")
def a_batch_of_one(sick):
    data = images()
    x, y = data["batch"][0]
    data["batch"] = [(x[:1], y[:1])] if sick else data["batch"]
    return program(mlp((196, 64, 10), norm="batch"), data)


@pair("batchnorm_single")
def batches_of_three(sick):
    return program(mlp((196, 64, 10), "gelu", norm="batch"), images(n=120, batch=3 if sick else 20))


@pair("batchnorm_drift")
def statistics_that_do_not_settle(sick):
    model = mlp((196, 48, 48, 10), "gelu", norm="batch")
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.momentum = 2e-4 if sick else 0.1
    return program(model, inputs(images(), lambda x: 4 * x + 6), lr=3e-3)


@pair("batchnorm_mode")
def evaluation_for_ever(sick):
    step = step_of(F.cross_entropy, before=lambda m: m.eval() if sick else m.train())
    return program(small_cnn((1, 8, 16), norm="batch"), images(), train_step=step)


@pair("batchnorm_mode")
def functional_norm(sick):
    class Normed(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(196, 64), nn.Linear(64, 10)
            self.register_buffer("mean", torch.zeros(64))
            self.register_buffer("var", torch.ones(64))

        def forward(self, x):
            x = F.batch_norm(self.a(x.flatten(1)), self.mean, self.var, training=True if sick else self.training)
            return self.b(F.relu(x))

    return program(Normed(), images())


@pair("dropout_mode")
def always_dropping(sick):
    class Dropping(Net):
        def forward(self, x):
            x = F.relu(self.fc1(x.flatten(1)))
            x = F.dropout(x, 0.5) if sick else F.dropout(x, 0.5, training=self.training)
            return self.fc3(F.relu(self.fc2(x)))

    return program(Dropping(), images())


@pair("dropout_strong")
def keep_taken_for_drop(sick):
    return program(Net(p=0.9 if sick else 0.1), images())


@pair("dropout_strong")
def three_quarters(sick):
    return program(Net(p=0.75 if sick else 0.5), images(), lr=1e-2)


@pair("examples_mixed")
def reshaped_wrongly(sick):
    class Reshaping(Net):
        def forward(self, x):
            x = x.flatten(1)
            x = x.t().reshape(len(x), -1) if sick else x
            return super().forward(x)

    return program(Reshaping(), images())


@pair("examples_mixed")
def sequence_first(sick):
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru, self.head = nn.GRU(14, 32, batch_first=not sick), nn.Linear(32, 10)

        def forward(self, x):
            return self.head(self.gru(x.squeeze(1))[0][:, -1])

    return program(Reader(), images(), lr=1e-2)


@pair("examples_mixed")
def softmax_over_the_batch(sick):
    return program(Net(lambda o: F.log_softmax(o, dim=0 if sick else 1)), images(), nn.NLLLoss())


@pair("capacity_small")
def no_activations(sick):
    between = [nn.Identity() if sick else nn.ReLU() for _ in range(2)]
    model = nn.Sequential(nn.Linear(2, 64), between[0], nn.Linear(64, 64), between[1], nn.Linear(64, 2))
    return program(model, points(), lr=1e-2)


@pair("capacity_small")
def two_units(sick):
    split = spirals(400, 3, seed=0)
    order = torch.randperm(400, generator=torch.Generator().manual_seed(0))
    x, y = 2 * split.x_train[order], split.y_train[order]
    data = {"batch": [(x[:300], y[:300])], "validation": (x[300:], y[300:])}
    return program(Net(d=2, h=2 if sick else 64, k=3), data, lr=1e-2)


# --- numbers ---


@pair("adam_eps")
def an_eps_that_float16_cannot_hold(sick):
    data = {"batch": [(x.half(), y) for x, y in images()["batch"]], "validation": None}
    optimizer = lambda p: torch.optim.Adam(p, 1e-3, eps=1e-8 if sick else 1e-4)  # noqa: E731
    return program(Net().half(), data, optimizer=optimizer)


@pair("diverges")
def gradients_of_absent_words_divided_by_their_size(sick):
    def divide(optimizer):
        g = optimizer.param_groups[0]["params"][0].grad
        g.div_(g.norm(dim=1, keepdim=True) + (0 if sick else 1e-9))

    model = nn.Sequential(nn.Embedding(25, 16), nn.Flatten(), nn.Linear(192, 2))
    step = step_of(F.cross_entropy, after=divide)
    return program(model, tokens(), optimizer=lambda p: torch.optim.SGD(p, 0.1), train_step=step)


@pair("nan_in_loss")
def logarithm_of_zero(sick):
    def loss_fn(out, y):
        p = out.softmax(1)
        hot = F.one_hot(y, 10)
        return -(hot * torch.log(p * hot if sick else p)).sum(1).mean()

    return program(Net(), images(), loss_fn)


@pair("nan_in_forward")
def divided_by_the_norm(sick):
    class Normalised(Net):
        def forward(self, x):
            x = x.flatten(1) * 0 + (x.flatten(1) > 3)
            x = x / (x.norm(dim=1, keepdim=True) + (0 if sick else 1e-6))
            return super().forward(x)

    return program(Normalised(), images())


@pair("nan_in_backward")
def root_of_zero(sick):
    class Root(Net):
        def forward(self, x):
            a = F.relu(self.fc1(x.flatten(1)))
            return self.fc3(F.relu(self.fc2(torch.sqrt(a + (0 if sick else 1e-6)))))

    return program(Root(), images())


@pair("weights_not_finite")
def a_broken_checkpoint(sick):
    model = Net()
    if sick:
        model.fc2.weight.data[3, 4] = math.nan
    return program(model, images())


@pair("half_underflow")
def small_gradients_in_float16(sick):
    model = Net()
    loss = lambda o, y: F.cross_entropy(o.float(), y) * (1e-6 if sick else 1.0)  # noqa: E731
    data = images()
    data = {"batch": [(x.half(), y) for x, y in data["batch"]], "validation": None}
    return program(model.half(), data, loss, lambda p: torch.optim.SGD(p, 0.5), step_of(loss))


@pair("updates_rounded")
def bfloat16_weights(sick):
    model, data = Net(), images()
    if sick:
        model = model.bfloat16()
        data = {"batch": [(x.bfloat16(), y) for x, y in data["batch"]], "validation": None}
    loss = lambda o, y: F.cross_entropy(o.float(), y)  # noqa: E731
    return program(model, data, loss, lambda p: torch.optim.SGD(p, 0.002, momentum=0.9), step_of(loss))


# --- layers that are no modules of their own ---


@pair("sigmoid_before_loss")
def transformer_with_a_sigmoid(sick):
    model = nn.Sequential(
        small_transformer((1, 14, 14), 10, patch=7, width=16), nn.Sigmoid() if sick else nn.Identity()
    )
    data = images()
    data["batch"] = [(x, F.one_hot(y, 10).float()) for x, y in data["batch"]]
    data["validation"] = None
    return program(model, data, F.binary_cross_entropy_with_logits)
