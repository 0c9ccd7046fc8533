"""Healthy programs of many kinds, as keyword arguments of `diagnose`: `HEALTHY[name]()` draws its weights."""

from functools import partial

import torch
from doctors_pairs import Net, images, inputs, line, points, program, step_of, tokens
from torch import nn
from torch.nn import functional as F

from unstuck.init import initialise
from unstuck.models import mlp, small_cnn, small_transformer


def sgd(lr, **settings):
    return lambda parameters: torch.optim.SGD(parameters, lr, **settings)


class Reader(nn.Module):
    """Tokens through an embedding and a recurrent net."""

    def __init__(self, outputs=2, every=False):
        super().__init__()
        self.embedding, self.gru, self.head = (
            nn.Embedding(20, 24),
            nn.GRU(24, 24, batch_first=True),
            nn.Linear(24, outputs),
        )
        self.every = every

    def forward(self, x):
        states, _ = self.gru(self.embedding(x))
        return self.head(states if self.every else states[:, -1])


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(20, 16), nn.Linear(16, 2)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2)

    def forward(self, x):
        return self.head(self.encoder(self.embedding(x)).mean(1))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(196, 64), nn.Linear(64, 10)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(64), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64)) for _ in range(6)
        )

    def forward(self, x):
        x = self.first(x.flatten(1))
        for block in self.blocks:
            x = x + block(x)
        return self.last(x)


class Shy(nn.Module):
    """Blocks whose last layer starts at zero, and an output that does."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 12, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(12, 12, 3, padding=1), nn.GELU(), nn.Conv2d(12, 12, 1)) for _ in range(3)
        )
        self.out = nn.Linear(12 * 49, 10)
        for layer in (*(block[-1] for block in self.blocks), self.out):
            nn.init.zeros_(layer.weight), nn.init.zeros_(layer.bias)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.out(x.flatten(1))


class LowRank(nn.Module):
    """A frozen layer and a product of two narrow matrices beside it, the second of which starts at zero."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.down = layer.requires_grad_(False), nn.Linear(layer.in_features, 3, bias=False)
        self.up = nn.Linear(3, layer.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x):
        return self.layer(x) + self.up(self.down(x))


def adapted():
    """A trained perceptron whose three layers are adapted by products of low rank to moved pictures."""
    model, data = Net(), images()
    step, optimizer = step_of(F.cross_entropy), torch.optim.Adam(model.parameters(), 3e-3)
    for i in range(60):
        step(model, optimizer, data["batch"][i % 4])
    model.fc1, model.fc2, model.fc3 = LowRank(model.fc1), LowRank(model.fc2), LowRank(model.fc3)
    data = inputs(data, lambda x: x.roll(1, -1))
    trained = [p for p in model.parameters() if p.requires_grad]
    return program(model, data, optimizer=lambda _: torch.optim.Adam(trained, 1e-2))


def adapted_to_other_names():
    """The same, of which the trained network is sure, and which are called otherwise now: the first loss is high."""
    made = adapted()
    names = torch.tensor([3, 4, 5, 6, 7, 8, 9, 0, 1, 2])
    return made | {"batch": [(x.roll(-1, -1), names[y]) for x, y in made["batch"]], "validation": None}


class Graph(nn.Module):
    """All nodes of one graph at once, with who is whose neighbour."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(12, 24), nn.Linear(24, 3)

    def forward(self, x, near):
        return self.b(near @ F.relu(self.a(near @ x)))


def one_graph():
    draw = torch.Generator().manual_seed(0)
    y = torch.randint(3, (120,), generator=draw)
    alike = torch.where(y[:, None] == y, 0.15, 0.02)
    near = (torch.rand(alike.shape, generator=draw) < alike).float().maximum(torch.eye(120))
    x = torch.randn(120, 12, generator=draw) + 0.7 * F.one_hot(y, 12)
    made = program(Graph(), {"batch": ((x, near / near.sum(1, keepdim=True)), y), "validation": None}, lr=1e-2)
    return made | {"train_step": None}


def unsupervised():
    """An autoencoder whose step has no use for the labels that the loader hands it."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(196, 32), nn.ReLU(), nn.Linear(32, 196))

    def train_step(model, optimizer, batch):
        x, _ = batch
        loss = F.mse_loss(model(x), x.flatten(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return program(model, images(), None, train_step=train_step)


def by_turns():
    """Each label is another one than that before: moved by one place, and turned round, they are the same again."""
    ((x, y),) = points(float_labels=True)["batch"]
    order = torch.stack([torch.nonzero(y[:, 0] == label).flatten()[:140] for label in (0, 1)]).T.flatten()
    return {"batch": [(x[order], y[order])], "validation": None}


def second_order():
    """LBFGS, and no step of one's own."""
    data = {"batch": line()["batch"], "validation": None}
    return program(nn.Linear(5, 1), data, nn.MSELoss(), torch.optim.LBFGS) | {"train_step": None}


def own_penalty(output, x):
    """A reconstruction from a code with noise, whose size costs something: the loss cannot come near 0."""
    made, code = output
    return F.mse_loss(made, x.flatten(1)) + 0.02 * code.square().sum(1).mean()


class Coded(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Sequential(nn.Flatten(), nn.Linear(196, 32)), nn.Linear(32, 196)

    def forward(self, x):
        code = self.inner(x)
        return self.outer(code + torch.randn_like(code)), code


class Named(Net):
    """A dict as output, of which the loss takes one entry."""

    def forward(self, x):
        return {"logits": super().forward(x), "features": x.flatten(1)}


class Two(nn.Module):
    """Two inputs."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.out = nn.Linear(5, 16), nn.Linear(5, 16), nn.Linear(16, 1)

    def forward(self, a, b):
        return self.out(F.relu(self.a(a) + self.b(b)))


class Scaled(Net):
    """Bytes, divided in the forward."""

    def forward(self, x):
        return super().forward(x / 255)


class Variational(nn.Module):
    """Draws in every forward, in evaluation too."""

    def __init__(self):
        super().__init__()
        self.inner, self.mean, self.log_var = nn.Linear(196, 64), nn.Linear(64, 8), nn.Linear(64, 8)
        self.outer = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 196), nn.Sigmoid())

    def forward(self, x):
        a = F.relu(self.inner(x.flatten(1)))
        mean, log_var = self.mean(a), self.log_var(a)
        return self.outer(mean + torch.randn_like(mean) * torch.exp(log_var / 2)), mean, log_var


def evidence_bound(output, x):
    made, mean, log_var = output
    distance = -0.5 * (1 + log_var - mean**2 - log_var.exp()).sum()
    return F.binary_cross_entropy(made, x.flatten(1), reduction="sum") + distance


def itself(data):
    """The inputs as targets."""
    return {"batch": [(x, x) for x, _ in data["batch"]], "validation": None}


def fine_tuned():
    """A CNN that was trained, frozen, with a new head."""
    model, data = small_cnn((1, 16, 32)), images()
    step, optimizer = step_of(F.cross_entropy), torch.optim.Adam(model.parameters(), 1e-2)
    for i in range(100):
        step(model, optimizer, data["batch"][i % 4])
    for p in model.parameters():
        p.requires_grad = False
    model.linear1 = nn.Linear(32, 10)
    return program(model, data, optimizer=lambda _: torch.optim.Adam(model.linear1.parameters(), 1e-2))


def segmentation():
    data = {"batch": [(x, (x[:, 0] > 0).long()) for x, _ in images()["batch"]], "validation": None}
    return program(nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1)), data)


def language_model():
    draw = torch.Generator().manual_seed(0)
    start, pace = (torch.randint(n, (80, 1), generator=draw) for n in (20, 3))
    x = (start + torch.arange(11) * (pace + 1)) % 20
    data = {"batch": [(x[:, :-1], x[:, 1:])], "validation": None}
    return program(Reader(20, every=True), data, lambda o, y: F.cross_entropy(o.flatten(0, 1), y.flatten()), lr=1e-2)


def two_inputs():
    data = {"batch": [((x, x.flip(0)), y) for x, y in line()["batch"]], "validation": None}
    made = program(Two(), data, F.mse_loss)
    del made["train_step"]
    return made


def bytes_with_norm():
    data = inputs(images(raw=True), lambda x: 255 * x)
    norm = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(196), nn.Linear(196, 64), nn.ReLU(), nn.Linear(64, 10))
    data["validation"] = None  # features that hardly vary in 200 pictures do so in others
    return program(norm, data)


def generator():
    return {"model": Net(), "batch": (pair for pair in images()["batch"]), "loss_fn": F.cross_entropy}


def evaluated():
    """Handed over after an evaluation."""
    model = small_cnn((1, 8, 16), norm="batch").eval()
    return {"model": model, "batch": images()["batch"], "loss_fn": F.cross_entropy}


def scheduled(schedule):
    """A scheduler that is called after each batch, as it is meant."""

    def build():
        made = program(mlp((196, 64, 10)), images(), optimizer=sgd(0.1, momentum=0.9))
        step, plan = made["train_step"], schedule(made["optimizer"])

        def stepping(model, optimizer, batch):
            loss = step(model, optimizer, batch)
            plan.step()
            return loss

        return made | {"train_step": stepping}

    return build


def log_of_probabilities(p, y):
    return F.nll_loss(torch.log(p + 1e-9), y)


class Density(nn.Module):
    """A mean and a spread for each input."""

    def __init__(self):
        super().__init__()
        self.inner, self.mean, self.log_std = nn.Linear(5, 32), nn.Linear(32, 1), nn.Linear(32, 1)

    def forward(self, x):
        a = torch.tanh(self.inner(x))
        return self.mean(a), self.log_std(a)


def density_loss(output, y):
    """May be below 0: a density may be above 1."""
    mean, log_std = output
    return (log_std + ((y - mean) / log_std.exp()) ** 2 / 2).mean()


def narrow_density():
    data = {"batch": list(zip(*(part.split(30) for part in line()["batch"][0]), strict=True))}
    return program(Density(), data | {"validation": line()["validation"]}, density_loss, lr=1e-2)


def soft(data, change):
    """The same data with shares of the classes as targets."""
    return {"batch": [(x, change(F.one_hot(y, 10).float())) for x, y in data["batch"]], "validation": None}


def mixed(y):
    """As the targets of mixed examples are."""
    return 0.7 * y + 0.3 * y.roll(1, 0)


def smoothed(y):
    return 0.9 * y + 0.01


def softened(y):
    """As of a teacher at a high temperature: the least cross-entropy is not much below that of chance."""
    return (3 * y).softmax(1)


def divergence(out, y):
    return F.kl_div(F.log_softmax(out, 1), y, reduction="batchmean")


def counts(last, loss):
    draw = torch.Generator().manual_seed(0)
    (x, y), held = line()["batch"][0], line()["validation"]
    data = {
        "batch": [(x, torch.poisson((0.5 * y + 1.5).exp(), generator=draw))],
        "validation": (held[0], torch.poisson((0.5 * held[1] + 1.5).exp(), generator=draw)),
    }
    return program(nn.Sequential(nn.Linear(5, 32), nn.Tanh(), nn.Linear(32, 1), last), data, loss, lr=1e-2)


def successes(out, y):
    """Of 20 draws."""
    return -torch.distributions.Binomial(20, logits=out).log_prob(y.clamp(max=20)).mean()


class Twins(nn.Module):
    """Two views of an example, in one space."""

    def __init__(self, size=8):
        super().__init__()
        self.f = nn.Sequential(nn.Linear(196, 48), nn.GELU(), nn.Linear(48, size))

    def forward(self, x):
        return torch.cat([F.normalize(self.f(x + 0.1 * torch.randn_like(x)), dim=1) for _ in range(2)], 1)


def nearest_twin(output, y):
    a, b = output.chunk(2, 1)
    return F.cross_entropy(a @ b.T / 0.2, y)


def contrastive():
    data = {"batch": [(x.flatten(1), torch.arange(50)) for x, _ in images()["batch"]], "validation": None}
    return program(Twins(), data, nearest_twin)


def border_ignored():
    """Masks in which places without a class have the number 255."""

    def mask(x):
        y = (x[:, 0] > 0).long()
        y[:, 0] = 255
        return y

    data = {"batch": [(x, mask(x)) for x, _ in images()["batch"]], "validation": None}
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1))
    return program(model, data, nn.CrossEntropyLoss(ignore_index=255))


def words_of_a_text():
    """Counts of words, described by a softmax over all words: the targets are the inputs."""
    draw = torch.Generator().manual_seed(0)
    topics = torch.randn(4, 30, generator=draw).mul(2).softmax(1)
    x = torch.stack([torch.bincount(row, minlength=30) for row in topics.repeat(50, 1).multinomial(15, True)]).float()
    data = {"batch": [(x, x)], "validation": None}
    model = nn.Sequential(nn.Linear(30, 4), nn.Tanh(), nn.Linear(4, 30))
    return program(model, data, lambda o, y: F.cross_entropy(o, y) / 15)


def labels_not_used():
    """A loss that needs no labels is handed zeros."""
    data = {"batch": [(x, torch.zeros(len(x), 1)) for x, _ in images()["batch"]], "validation": None}
    model = mlp((196, 32, 1), "tanh")
    return program(model, data, lambda o, y: (o.mean() - 1) ** 2 + (o.std() - 1) ** 2, lr=1e-2)


def quantiles(out, y):
    """Three outputs for each label."""
    wrong, q = y - out, torch.tensor([0.1, 0.5, 0.9])
    return torch.maximum(q * wrong, (q - 1) * wrong).mean()


def ranked(out, y):
    """A loss that couples the examples on purpose, of outputs (N, 1) and labels (N,)."""
    score = out.squeeze(1)
    return F.softplus(-(score[:, None] - score) * (y[:, None] - y).sign()).mean()


def correlated(out, y):
    return 1 - torch.corrcoef(torch.stack([out.view(-1), y]))[0, 1]


class Similar(Twins):
    """How similar each of the examples' first views is to each of the second."""

    def forward(self, x):
        a, b = super().forward(x).chunk(2, 1)
        return a @ b.T / 0.2


def similarities():
    """The labels are the places in the batch."""
    data = {"batch": [(x.flatten(1), torch.arange(50)) for x, _ in images()["batch"]], "validation": None}
    return program(Similar(), data)


class Taught(Net):
    """A teacher beside it, which is its own moving average."""

    def __init__(self):
        super().__init__()
        self.teacher = Net().requires_grad_(False)
        self.teacher.load_state_dict(self.state_dict(), strict=False)


def taught():
    made = program(Taught(), images())
    step = made["train_step"]

    def follow(model, optimizer, batch):
        loss = step(model, optimizer, batch)
        with torch.no_grad():
            for name, p in model.teacher.named_parameters():
                p.lerp_(model.get_parameter(name), 0.02)
        return loss

    return made | {"train_step": follow}


def laplace(out, y):
    """A middle and the logarithm of a width for each label, which is small: the loss soon is below 0."""
    return (out[:, 1:] + (y - out[:, :1]).abs() * torch.exp(-out[:, 1:])).mean()


HEALTHY = {
    "perceptron": lambda: program(mlp((196, 64, 64, 10)), images()),
    "descent": lambda: program(initialise(mlp((196, 100, 100, 10)), "he"), images(), optimizer=sgd(0.1)),
    "slow descent": lambda: program(mlp((196, 100, 100, 10)), images(), optimizer=sgd(0.01)),
    "tanh": lambda: program(mlp((196, 64, 64, 10), "tanh"), images(), optimizer=sgd(0.1, momentum=0.9)),
    "sigmoid": lambda: program(mlp((196, 64, 10), "sigmoid"), images(), lr=1e-2),
    "deep": lambda: program(initialise(mlp((196, *[50] * 8, 10)), "he"), images(), lr=1e-3),
    "batch norm": lambda: program(
        mlp((196, 64, 64, 10), norm="batch"), images(), optimizer=sgd(0.1, weight_decay=5e-4)
    ),
    "layer norm": lambda: program(mlp((196, 64, 64, 10), "gelu", norm="layer"), images(), lr=1e-3),
    "CNN": lambda: program(small_cnn((1, 16, 32), norm="batch"), images(), optimizer=sgd(0.05, momentum=0.9)),
    "residual": lambda: program(Residual(), images(), lr=1e-3),
    "transformer": lambda: program(small_transformer((1, 14, 14), patch=7), images(), lr=1e-3),
    "PyTorch's encoder": lambda: program(Encoder(), tokens()),
    "GRU": lambda: program(Reader(), tokens(), lr=1e-2),
    "language model": language_model,
    "regression": lambda: program(Net(d=5, k=1), line(), F.mse_loss),
    "flat regression": lambda: program(Net(lambda o: o.squeeze(-1), d=5, k=1), line(column=False), nn.MSELoss()),
    "linear": lambda: program(nn.Linear(5, 1), line(), nn.MSELoss(), sgd(0.1)),
    "two classes": lambda: program(
        Net(d=2, k=1), points(float_labels=True), F.binary_cross_entropy_with_logits, lr=1e-2
    ),
    "probabilities": lambda: program(Net(torch.sigmoid, d=2, k=1), points(float_labels=True), nn.BCELoss(), lr=1e-2),
    "log-softmax": lambda: program(Net(nn.LogSoftmax(1)), images(), nn.NLLLoss()),
    "log-softmax twice": lambda: program(Net(nn.LogSoftmax(1)), images()),
    "logarithm of a softmax": lambda: program(Net(nn.Softmax(1)), images(), log_of_probabilities),
    "autoencoder": lambda: program(
        nn.Sequential(nn.Flatten(), nn.Linear(196, 32), nn.ReLU(), nn.Linear(32, 196), nn.Unflatten(1, (1, 14, 14))),
        itself(images()),
        F.mse_loss,
    ),
    "variational": lambda: program(Variational(), itself(images(raw=True)), evidence_bound),
    "segmentation": segmentation,
    "fine-tuned": fine_tuned,
    "zero branches below a zero output": lambda: program(Shy(), images()),
    "low rank beside frozen layers": adapted,
    "low rank, other names": adapted_to_other_names,
    "one graph": one_graph,
    "unsupervised": unsupervised,
    "second order": second_order,
    "labels by turns": lambda: program(Net(d=2, k=1), by_turns(), F.binary_cross_entropy_with_logits, lr=1e-2),
    "penalty on a code": lambda: program(Coded(), itself(images()), own_penalty),
    "dict": lambda: program(Named(), images(), lambda o, y: F.cross_entropy(o["logits"], y)),
    "two inputs": two_inputs,
    "bytes, normalised": bytes_with_norm,
    "bytes, divided": lambda: program(Scaled(), inputs(images(raw=True), lambda x: 255 * x)),
    "dropout": lambda: program(Net(p=0.5), images()),
    "clipped": lambda: program(mlp((196, 64, 10)), images(), train_step=step_of(F.cross_entropy, clip=1.0)),
    "clipped, Adam": lambda: program(mlp((196, 64, 10)), images(), train_step=step_of(F.cross_entropy, clip=1e-3)),
    "small batches, CNN": lambda: program(small_cnn((1, 8, 16), norm="batch"), images(n=200, batch=4), lr=1e-2),
    "AdamW": lambda: program(
        mlp((196, 64, 10)), images(), optimizer=partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.1)
    ),
    "smoothed labels": lambda: program(Net(), images(), nn.CrossEntropyLoss(label_smoothing=0.1)),
    "weighted classes": lambda: program(Net(), images(), nn.CrossEntropyLoss(weight=torch.linspace(0.5, 2, 10))),
    "no more than a batch": lambda: {"model": Net(), "batch": images()["batch"][0]},
    "cosine": scheduled(lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 90)),
    "one cycle": scheduled(lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=110)),
    "generator": generator,
    "evaluated": evaluated,
    "density": narrow_density,
    "mixed examples": lambda: program(mlp((196, 48, 10)), soft(images(), mixed)),
    "smoothed by hand": lambda: program(mlp((196, 48, 10), "tanh"), soft(images(), smoothed)),
    "a teacher's answers": lambda: program(mlp((196, 48, 10)), soft(images(), softened)),
    "divergence": lambda: program(mlp((196, 48, 10)), soft(images(), smoothed), divergence),
    "counts": lambda: counts(nn.Softplus(), nn.PoissonNLLLoss(log_input=False)),
    "logarithms of counts": lambda: counts(nn.Identity(), nn.PoissonNLLLoss()),
    "successes": lambda: counts(nn.Identity(), successes),
    "contrastive": contrastive,
    "border ignored": border_ignored,
    "words of a text": words_of_a_text,
    "labels not used": labels_not_used,
    "squeezed in the loss": lambda: program(
        Net(d=5, k=1), line(column=False), lambda o, y: F.mse_loss(o.squeeze(1), y)
    ),
    "unsqueezed in the loss": lambda: program(
        Net(d=5, k=1), line(column=False), lambda o, y: F.l1_loss(o, y.unsqueeze(1))
    ),
    "mask without channel": lambda: program(
        nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1)),
        {"batch": [(x, (x[:, 0] > 0).float()) for x, _ in images()["batch"]], "validation": None},
        lambda o, y: F.binary_cross_entropy_with_logits(o[:, 0], y),
    ),
    "laplace": lambda: program(mlp((5, 32, 2), "tanh"), line(scale=0.01), laplace, lr=1e-2),
    "similarities": similarities,
    "taught": taught,
    "quantiles": lambda: program(mlp((5, 32, 3), "tanh"), line(), quantiles, lr=1e-2),
    "heads": lambda: program(mlp((5, 32, 4), "tanh"), line(), lambda o, y: (o - y).square().mean(), lr=1e-2),
    "ranked": lambda: program(mlp((5, 32, 1), "tanh"), line(column=False), ranked, lr=1e-2),
    "correlated": lambda: program(mlp((5, 32, 1), "tanh"), line(column=False), correlated, lr=1e-2),
}
