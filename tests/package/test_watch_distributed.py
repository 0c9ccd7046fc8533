"""`watch` under DistributedDataParallel: the gradient that counts is the one that the optimiser gets.

Two processes on one machine (gloo) train on different data; each checks for itself.
"""

import datetime

import pytest
import torch
from torch import distributed, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from watching import network, state_of

from unstuck.probes import watch

CASES = [
    {"gradient_as_bucket_view": bucket_view, "find_unused_parameters": unused}
    for bucket_view in (False, True)
    for unused in (False, True)
]
TWO = 2


def data(rank, seed=0):
    rng = torch.Generator().manual_seed(10 * seed + rank)
    return torch.randn(12, 8, generator=rng), torch.randint(3, (12,), generator=rng)


def loss_of(model, x, y):
    return cross_entropy(model(x), y)


def averaged(model, seed):
    """The gradient norms of the mean over both processes' data, computed in one."""
    model.zero_grad()
    torch.stack([loss_of(model, *data(rank, seed)) for rank in range(TWO)]).mean().backward()
    return {name: float(layer.weight.grad.norm()) for name, layer in linears(model)}


def linears(model):
    return [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)]


def assert_close(record, step, expected, prefix):
    for name, norm in expected.items():
        steps, got = record.get("grad_norm", prefix + name)
        assert got[steps.tolist().index(step)] == pytest.approx(norm, rel=1e-5), (step, name)


def check(rank, arguments, whole):
    """`whole`: watch the DistributedDataParallel module, not the one inside."""
    model, twin = network(), network()
    parallel = DistributedDataParallel(model, **arguments)
    optim, twin_optim = (torch.optim.SGD(m.parameters(), 0.1) for m in (model, twin))
    prefix = "module." if whole else ""
    with watch(parallel if whole else model) as record:
        expected = []
        for step in range(3):  # from the second on the buckets are laid out anew
            optim.zero_grad(set_to_none=step < 2)
            loss_of(parallel, *data(rank, step)).backward()
            optim.step()
            expected.append(averaged(twin, step))
            twin_optim.step()
        with parallel.no_sync():  # accumulates what is this process's own
            optim.zero_grad()
            loss_of(parallel, *data(rank, 3)).backward()
            own = {name: float(layer.weight.grad.norm()) for name, layer in linears(model)}
        loss_of(parallel, *data(rank, 4)).backward()
        total = {name: float(layer.weight.grad.norm()) for name, layer in linears(model)}
    for step, norms in enumerate([*expected, own, total]):
        assert_close(record, step, norms, prefix)
    alone = network()
    loss_of(alone, *data(rank, 0)).backward()
    assert abs(float(alone.linear2.weight.grad.norm()) / expected[0]["linear2"] - 1) > 0.02  # so that it could fail
    assert record.meta["failed"] == [] and record.meta["no_update"] == [3, 4]


def check_unchanged(rank):
    """Bit-identical with and without, across the processes' sums."""
    states = []
    for watching in (False, True):
        model = network()
        parallel = DistributedDataParallel(model)
        optim = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)

        def steps(parallel=parallel, optim=optim):
            for step in range(3):
                optim.zero_grad()
                loss_of(parallel, *data(rank, step)).backward()
                optim.step()

        if watching:
            with watch(model):
                steps()
        else:
            steps()
        states.append(state_of(model)[0])
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))


def work(rank, file):
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{file}", rank=rank, world_size=TWO, timeout=datetime.timedelta(seconds=60)
    )
    try:
        for arguments in CASES:
            for whole in (False, True):
                check(rank, arguments, whole)
        check_unchanged(rank)
    finally:
        distributed.destroy_process_group()


@pytest.mark.skipif(not distributed.is_available(), reason="this PyTorch has no torch.distributed")
def test_the_gradient_is_the_averaged_one(tmp_path):
    torch.multiprocessing.spawn(work, (str(tmp_path / "meeting"),), nprocs=TWO)
