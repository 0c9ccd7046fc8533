"""A good call of every public function of `unstuck.checks`, with bad values of its arguments."""

import torch
from bad_values import Argument, function, integer, model, nothing, number, optional
from good_calls import NUMPY, X, Y, call, net
from torch import nn
from torch.nn.functional import cross_entropy

from unstuck import checks
from unstuck.record import Record


def train_step(model, optimizer, batch):
    optimizer.zero_grad()
    loss = cross_entropy(model(batch[0]), batch[1])
    loss.backward()
    optimizer.step()
    return loss


BATCHES = (3, "batch", nothing, X, [], [3], (X,), (X, None), (X, 3), (NUMPY.x_train, NUMPY.y_train), {"x": X, "y": Y})
BATCH = Argument([(X, Y)], (None, *BATCHES, (X[:, :2], Y), [(X, Y), X]))
MODEL = model(net(), nn.LazyLinear(3), net(7))
LOSS = optional(function(cross_entropy, nothing, lambda output: output.mean()))
LOSS_USED = Argument(LOSS.good, (*LOSS.bad, lambda output, y: 1.0, lambda output, y: None))
OWNER = net()
OPTIMIZER = Argument(None, (3, "sgd", torch.optim.SGD, nothing, list(OWNER.parameters())))
SEED = integer(0, least=0, most=2**32 - 1)

CALLS = [
    call(
        checks.diagnose,
        model=MODEL,
        batch=BATCH,
        loss_fn=LOSS,
        optimizer=OPTIMIZER,
        train_step=optional(function(train_step, nothing, lambda model, batch: None)),
        validation=Argument((X, Y), BATCHES),
        record=Argument(Record(), (3, "record", {}, nothing)),
        steps=integer(2),
        seed=SEED,
        device=Argument("cpu", ("nowhere", "", ["cpu"], 1.5, nothing)),
    ),
    call(checks.find_nan, model=MODEL, batch=BATCH, loss_fn=LOSS),
    call(checks.first_loss, model=MODEL, batch=BATCH, loss_fn=LOSS_USED),
    call(checks.overfit_tiny, model=MODEL, batch=BATCH, n=integer(4), loss_fn=LOSS_USED, steps=integer(2), seed=SEED),
    call(
        checks.rate_range,
        model=MODEL,
        batch=BATCH,
        loss_fn=LOSS_USED,
        optimizer=Argument(None, (*OPTIMIZER.bad, torch.optim.SGD(OWNER.parameters(), 0.1))),
        lowest=number(1e-3, above=0),
        highest=number(1.0, above=0),
        steps=integer(10, least=10),
        seed=SEED,
    ),
]
