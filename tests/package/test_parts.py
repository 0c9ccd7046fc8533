"""What of a module's output is measured, and what counts as a curve, at the edges that no network of ours reaches."""

from dataclasses import dataclass, field

import pytest
import torch
from torch import nn

from unstuck import parts


@pytest.mark.parametrize(
    "output",
    [
        torch.arange(4),
        torch.tensor([True, False]),
        torch.eye(3).to_sparse(),
        torch.zeros(3, device="meta"),
        torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)], layout=torch.jagged),
        torch.zeros(0, 3),
        "text",
        None,
    ],
)
def test_what_cannot_be_measured(output):
    assert parts.measurable(output) is None


def test_what_can_be_measured_has_a_batch_axis_no_graph_and_enough_digits():
    z = torch.ones(3, requires_grad=True)
    made = parts.measurable({"first": (2 * z).half()})
    assert made.shape == (1, 3) and made.dtype == torch.float32 and made.grad_fn is None
    assert parts.measurable(z.double()).dtype == torch.float64


def test_a_field_that_was_not_set_is_passed_over():
    @dataclass
    class Output:
        logits: torch.Tensor
        states: torch.Tensor = field(init=False)

    z = torch.ones(2, 3)
    assert [t is z for t in parts.tensors(Output(z))] == [True]


class Bent(nn.Module):
    """A curve by values alone: without a graph nothing tells that it is one."""

    def forward(self, x):
        return x.clamp(max=0.5)


@torch.no_grad()
def test_one_value_apart_from_all_others_is_enough_to_see_a_curve_or_a_line():
    x = torch.zeros(100)
    x[7] = 1.0
    assert parts.bends(x, Bent()(x), 0) is False  # two points lie on a line
    x[8] = 0.6
    assert parts.bends(x, Bent()(x), 0) is True
    assert parts.bends(x * 0, Bent()(x * 0), 0) is None
