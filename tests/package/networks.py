"""Networks that users write, for `fit_many`: what can be stacked, and what breaks under an axis more."""

import torch
from members import D, K
from torch import nn
from torch.nn import functional as F

from unstuck.models import small_cnn


class Net(nn.Module):
    """Two layers; a subclass says what comes between them."""

    def __init__(self, settings=None, width=8):
        super().__init__()
        self.first, self.last = nn.Linear(D, width), nn.Linear(width, K)

    def forward(self, x):
        return self.last(self.between(torch.relu(self.first(x.flatten(-3)))))


# --- what is stacked ---


class Double(nn.Module):
    """No activation: it bends nothing, and has no rows."""

    def forward(self, x):
        return 2 * x


class Shrink(nn.Module):
    """An activation of one's own."""

    def forward(self, x):
        return x * torch.sigmoid(x)


class Signed(Net):
    """An activation's own name ends as that of another one's second call does."""

    def __init__(self, settings):
        super().__init__(settings)
        self.act = nn.ModuleDict({"C#": nn.ReLU(), "C": nn.Tanh()})

    def between(self, x):
        return self.act["C#"](x - 1) + self.act["C"](x)


class Residual(Net):
    def __init__(self, settings):
        super().__init__(settings)
        self.second, self.norm, self.twofold, self.shrink = nn.Linear(8, 8), nn.BatchNorm1d(8), Double(), Shrink()
        self.act = nn.PReLU(8)
        self.gain, self.unused = nn.Parameter(torch.ones(1, 8)), nn.Parameter(torch.ones(2, 2))
        self.first.requires_grad_(False)

    def between(self, a):
        a = a + self.act(self.norm(self.second(a)))
        a = a + self.shrink(self.twofold(self.second(a)))  # a second use of one layer
        return self.act(a) * self.gain


class Early(nn.Module):
    """An activation of one's own, called on the inputs, where no graph tells what it is, and again."""

    def __init__(self, settings):
        super().__init__()
        self.act, self.linear, self.head = Shrink(), nn.Linear(D, 9), nn.Linear(9, K)

    def forward(self, x):
        return self.head(self.act(self.linear(self.act(x.flatten(-3)))))


class Scalar(Net):
    """A parameter without axes: (M,) in the stack."""

    def __init__(self, settings):
        super().__init__(settings)
        self.alpha = nn.Parameter(torch.tensor(0.7))

    def between(self, a):
        return a * self.alpha.view(-1, *[1] * (a.ndim - 1))


class Images(nn.Sequential):
    """Activations of images, at the input and behind a norm of channels: the units are the channels."""

    def __init__(self, settings):
        super().__init__(nn.ReLU(), nn.BatchNorm2d(3), nn.Tanh(), nn.Flatten(2), nn.ReLU(), nn.Flatten())
        self.append(nn.Linear(D, K))


class Column(Net):
    """An activation of one number an example, (N,), behind a norm of channels."""

    def __init__(self, settings):
        super().__init__(settings)
        self.norm, self.act = nn.BatchNorm1d(8), nn.ReLU()

    def between(self, a):
        return a * self.act(self.norm(a).sum(-1) - 3).unsqueeze(-1)


class Chosen(Net):
    """Settings that shapes do not tell: a number, a function."""

    def __init__(self, settings):
        super().__init__(settings, settings["width"])
        self.by, self.act = settings["by"], getattr(F, settings["activation"])

    def between(self, a):
        return self.act(self.by * a - 1)


# --- what is not ---


class MeanOfExamples(Net):
    def between(self, a):
        return a - a.mean(0)


class FirstThree(Net):
    def __init__(self, settings):
        super().__init__(settings)
        self.middle = nn.Linear(3, 8)

    def between(self, a):
        return self.middle(a[:, :3])


class Concatenated(Net):
    def __init__(self, settings):
        super().__init__(settings)
        self.last = nn.Linear(16, K)

    def between(self, a):
        return torch.cat([a, -a], 1)


class SoftmaxOfAxis1(Net):
    def between(self, a):
        return a * torch.softmax(a, 1)


class Viewed(Net):
    def between(self, a):
        return a.view(len(a), -1)


class Transposed(Net):
    def between(self, a):
        return (a.T - a.T.mean()).T


class OwnVector(Net):
    """A vector of parameters: broadcasts against (M, N, F) only by accident, and all start alike."""

    def __init__(self, settings):
        super().__init__(settings)
        self.gain = nn.Parameter(torch.ones(8))

    def between(self, a):
        return a * self.gain


class OwnBuffer(Net):
    """A buffer that is in no state_dict."""

    def __init__(self, settings):
        super().__init__(settings)
        self.register_buffer("gain", torch.full((8,), 1.0 + settings["seed"]), persistent=False)

    def between(self, a):
        return a * self.gain


class HiddenByZeros(Net):
    """Its output is zero whatever `between` does, until the last layer has learned something."""

    def __init__(self, settings):
        super().__init__(settings)
        nn.init.zeros_(self.last.weight)

    def between(self, a):
        return a - a.mean(0)


class Squeezed(Net):
    """Loses the axis M as soon as one network is left."""

    def between(self, a):
        return a.squeeze(0) if len(a) < 2 else a


class Grown(Net):
    """One example more, where there are more axes than it was written for."""

    def between(self, a):
        return a if a.ndim == 2 else torch.cat([a, a[:, :1]], 1)


class OnlyInEvaluation(Net):
    def between(self, a):
        return a if self.training else a - a.mean(0, keepdim=True)


class Unlike(Net):
    """What a member computes is in what no signature shows."""

    def __init__(self, settings):
        super().__init__(settings)
        self.settings = settings

    def between(self, a):
        return a * (1 + self.settings["seed"])


class Dropping(Net):
    def between(self, a):
        return F.dropout(a, 0.3, self.training)


class Overwriting(nn.Module):
    def __init__(self, settings):
        super().__init__()
        self.flatten, self.last = nn.Flatten(), nn.Linear(D, K)

    def forward(self, x):
        x += 1
        return self.last(self.flatten(x))


class Masked(Net):
    """A hook on a weight, that a stack would lose."""

    def __init__(self, settings):
        super().__init__(settings)
        self.first.weight.register_hook(lambda grad: grad * (torch.arange(8) % 2)[:, None])

    def between(self, a):
        return a


class Twice(Net):
    def __init__(self, settings):
        super().__init__(settings)
        self.one = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
        self.same = self.one

    def between(self, a):
        return self.same(self.one(a))


def convolutional(settings):
    return small_cnn((3, 4), K, "relu", norm="batch")


def with_dropout(settings):
    return nn.Sequential(nn.Flatten(), nn.Linear(D, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, K))
