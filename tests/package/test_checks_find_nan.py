"""`find_nan`: the first module and operation, forward, in the loss and backward; and what is no fault."""

import math
import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from unstuck.checks import find_nan


class Inside(nn.Module):
    """A function between two linear layers."""

    def __init__(self, function):
        super().__init__()
        self.first, self.function, self.last = nn.Linear(5, 4), Function(function), nn.Linear(4, 3)

    def forward(self, x):
        return self.last(self.function(self.first(x)))


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def batch(n=12):
    torch.manual_seed(0)
    return torch.randn(n, 5), torch.randint(3, (n,))


def attention(x, rows):
    """Rows of scores, of which `rows` are masked completely."""
    scores = torch.zeros(len(x), len(x)) + x[:, :1]
    mask = torch.zeros(len(x), len(x), dtype=torch.bool)
    mask[:, -1] = True  # an ordinary mask
    mask[:rows] = True
    return scores.masked_fill(mask, -math.inf).softmax(-1) @ x


@pytest.mark.parametrize(
    ("function", "operation", "value"),
    [
        (lambda x: torch.log(x * 0), "log", "infinite"),
        (lambda x: x / (x - x), "div", "infinite"),
        (lambda x: torch.sqrt(-x.abs() - 1), "sqrt", "NaN"),
        (lambda x: torch.exp(1000 * x.abs() + 100), "exp", "infinite"),
        (lambda x: torch.exp(1000 + x) / torch.exp(1000 + x).sum(1, keepdim=True), "exp", "infinite"),
        (lambda x: attention(x, rows=1), "_softmax", "NaN"),
        (lambda x: (0 * x) / (0 * x).norm(dim=1, keepdim=True), "div", "NaN"),
    ],
)
def test_in_the_forward_pass(function, operation, value):
    found = find_nan(Inside(function), batch())
    assert (found.where, found.layer, found.operation, found.value) == ("forward", "function", operation, value)
    assert operation in str(found) and "function" in str(found)


@pytest.mark.parametrize(
    ("function", "node"),
    [
        (lambda x: torch.sqrt(F.relu(x - 100)), "SqrtBackward0"),
        (lambda x: x + (0 * x).norm(dim=1, keepdim=True).pow(0.5), "PowBackward0"),
        (lambda x: torch.where(x > -1e9, x, torch.log(F.relu(x))), "LogBackward0"),
    ],
)
def test_in_the_backward_pass(function, node):
    found = find_nan(Inside(function), batch())
    assert (found.where, found.layer, found.operation) == ("backward", "function", node)


def test_in_the_loss():
    found = find_nan(nn.Linear(5, 3), batch(), lambda o, y: -torch.log(F.relu(o.softmax(1) - 2)).mean())
    assert (found.where, found.operation) == ("loss", "log")


def test_in_the_data_and_in_the_weights():
    x, y = batch()
    model = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3))
    broken = x.clone()
    broken[2, 1] = math.inf
    assert find_nan(model, (broken, y)).where == "data"
    model[1].weight.data[0, 0] = math.nan
    found = find_nan(model, (x, y))
    assert (found.where, found.layer, found.value) == ("weights", "1.weight", "NaN")


def test_it_takes_the_first_batch_that_shows_something():
    x, y = batch()
    model = Inside(lambda x: x / (len(x) - 5))
    assert not find_nan(model, [(x, y)] * 2)
    assert find_nan(model, [(x, y), (x[:5], y[:5])]).operation == "div"
    assert find_nan(model, [(x, y), (math.nan * x, y)]).where == "data"


@pytest.mark.parametrize(
    "function",
    [
        lambda x: attention(x, rows=0),
        lambda x: x + torch.where(x > 1e9, math.inf, 0.0),
        lambda x: torch.exp(-torch.exp(1000 * x.abs())) * 0 + x,  # an infinity that vanishes again
        lambda x: F.relu(x),
    ],
)
def test_an_infinity_that_does_no_harm(function):
    def forward_only(output, y):
        return F.cross_entropy(output, y).detach()

    found = find_nan(Inside(function), batch(), forward_only)
    assert not found and "finite" in str(found)


def test_float16_is_told():
    model = Inside(lambda x: (300 * x.half().abs() + 300) ** 2)
    model = nn.Sequential(model.first, model.function, Function(to_float), model.last)
    found = find_nan(model, batch())
    assert found.half and found.layer == "1" and found.where == "forward"


def to_float(x):
    return x.float()


def test_what_came_in_is_told():
    found = find_nan(Inside(lambda x: torch.log(F.relu(x) * 0 - 2)), batch())
    assert found.operation == "log" and "-2 to -2" in found.detail and found.detail in str(found)
    both = find_nan(Inside(lambda x: (0 * x + 3) / (0 * x)), batch())
    assert both.operation == "div" and re.search(r"3 to 3 and -?0 to 0", both.detail)


def test_a_mask_of_infinities_is_not_the_first_step():
    left_out = torch.full((12,), -math.inf)  # made before

    def scattered(x):  # a whole row is left out, with masked_scatter instead of masked_fill
        scores = torch.zeros(len(x), len(x)) + x[:, :1]
        mask = torch.zeros(len(x), len(x), dtype=torch.bool)
        mask[0] = True
        return scores.masked_scatter(mask, left_out).softmax(-1) @ x

    assert find_nan(Inside(scattered), batch()).operation == "_softmax"
