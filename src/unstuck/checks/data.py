"""What is wrong with the inputs as they are handed over, before any model sees them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from unstuck import parts
from unstuck.checks.batches import pooled, same
from unstuck.checks.first_pass import FirstPass, look
from unstuck.checks.program import Program
from unstuck.checks.report import Finding, found, judged
from unstuck.claims import number

ONE_TOKEN, TOKENS = 0.95, 300
"""A share of one token at which hardly any text is left, among so many or more; the commonest word of English has
0.06. Padding does not count."""

LARGE, SMALL = 10.0, 0.02
"""A standard deviation an order of magnitude above 1 (for the small side: 50 times below it) is not scaled: the
weight gradient of the first layer is proportional to its inputs, its curvature to their square, so the largest
learning rate that does not diverge is 100 times smaller than that of all other layers (LeCun et al. 1998, Efficient
BackProp, 4.3)."""

UNEVEN = 30.0
"""Ratio of the largest to the median standard deviation of features: the condition number is its square, about
1,000."""

OFF_CENTRE = 5.0
"""Mean over standard deviation, both root mean square over features: the mean adds the square of this, 25, to the
condition number (LeCun et al. 1991). Photographs in [0, 1] have about 2, Iris in cm 3.6, handwritten digits 0.7."""

APART = 20.0
"""Distances from the median, in middle ones: of normal numbers none in a million is above 8, of exponential ones none
in 10,000 above 20."""

MOVED = 3.0
"""Validation inputs three standard deviations away from those of training, or three times as wide, are other
inputs."""


def look_at_inputs(program: Program) -> list[Finding]:
    floating = [t for pair in program.batches for t in parts.tensors(pair) if t.is_floating_point()]
    text, bad = "all inputs are finite", [t for t in floating if not t.isfinite().all()]
    if bad:
        count, first = sum(int((~t.isfinite()).sum()) for t in bad), int((~bad[0].isfinite()).nonzero()[0, 0])
        text = f"{count} values are not finite, the first in example {first}; all of them must be"
    result = [judged("inputs_not_finite", bool(bad), text)]
    joined = program.inputs
    if joined is None or len(joined) < 2:
        return result
    joined = joined.reshape(len(joined), -1).double()
    spread, size = (joined - joined[0]).abs().max().item(), joined.abs().max().item()
    constant = spread <= 1e-6 * size  # float32 has 7 digits: below, differences are rounding
    text = f"the {len(joined)} examples differ by at most {number(spread)}, their size is {number(size)}"
    result.append(judged("inputs_constant", constant, text if constant else "the examples differ"))
    others = [x for x, _ in program.batches[1:]]
    if len(others) > 1 and not constant and all(x is not program.x and same(x, program.x) for x in others):
        text = f"the inputs of all {len(program.batches)} batches are equal"
        result.append(found("batches_alike", "failure", text))
    table = program.inputs if program.inputs is not None and program.inputs.is_floating_point() else None
    return [*result, *(_coded(table.flatten(0, -2).double()) if table is not None and 1 < table.ndim < 4 else ())]


def far_off(values: Tensor) -> Tensor | None:
    """Which numbers lie far from most, where they set the scale of all; None where none do."""
    off = (values - values.median()).abs()
    far = off > APART * off.median()
    if not off.median() or not 0 < int(far.sum()) < 0.5 * len(values) or values[~far].std() > 0.3 * values.std():
        return None
    return far


def _coded(table: Tensor) -> list[Finding]:
    """Whether in columns of numbers one that lies far from all others comes again and again."""
    if not table.isfinite().all():
        return []
    off = (table - table.median(0).values).abs()
    middle = off.median(0).values
    likely = ((middle > 0) & (off.amax(0) > APART * middle)).nonzero().flatten().tolist()
    hit = []
    for column in likely:
        values, far = table[:, column], far_off(table[:, column])
        if far is not None and int(far.sum()) > 2 and bool((values[far] == values[far][0]).all()):
            hit.append((column, float(values[far][0]), 100 * float(far.double().mean()), values[~far]))
    if not hit:
        return []
    column, value, share, others = hit[0]
    text = f"in column {column} (counted from 0) {share:.0f} % of the numbers are exactly {number(value)}, and the"
    text += f" others lie between {number(float(others.min()))} and {number(float(others.max()))}"
    text += f"; so it is in {len(hit)} of {table.shape[1]} columns" if len(hit) > 1 else ""
    return [found("missing_coded", "failure" if 2 * len(hit) >= table.shape[1] else "warning", text)]


def one_token(program: Program) -> str:
    """What is to be noted where nearly all that goes into an embedding is the same token; "" where it is not."""
    x = program.inputs
    embeddings = [m for m in program.model.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag)]
    if x is None or not embeddings or x.ndim != 2 or x.is_floating_point() or x.dtype == torch.bool:
        return ""
    padding = {0, *(m.padding_idx for m in embeddings if m.padding_idx is not None)}
    tokens = x[~torch.isin(x, torch.tensor(sorted(padding), device=x.device))]
    kinds, counts = tokens.unique(return_counts=True)
    if len(tokens) < TOKENS or len(kinds) < 3 or counts.max() < ONE_TOKEN * len(tokens):
        return ""
    share = 100 * float(counts.max()) / len(tokens)
    text = f"Token {int(kinds[counts.argmax()])} makes {share:.0f} % of the inputs (0 and padding aside)"
    return f"{text}: is it the one of unknown words, and the vocabulary that of another text?"


def look_at_padding(program: Program, seen: FirstPass) -> list[Finding]:
    """Whether of all tokens only the padding reaches the loss, as with a mask that is the wrong way round.

    A token that stands at the same place in every example, at which the output is read, tells nothing.
    """
    x, _ = program.sample
    if not isinstance(x, Tensor) or x.is_floating_point() or not x.numel():
        return []
    masked = _masked(program, x)
    if masked is not None:
        return [masked]
    for name, module in program.model.named_modules():
        g = seen.gradients.get(f"{name}.weight") if isinstance(module, nn.Embedding) else None
        if g is None or g.is_sparse or int(x.max()) >= len(g):
            continue
        padding = int(module.padding_idx or 0)  # type: ignore[union-attr, arg-type]
        tokens = x[:, (x != x[:1]).any(0)].unique() if x.ndim == 2 else x.unique()
        if padding not in tokens or len(tokens) < 3 or bool(g[tokens[tokens != padding]].any()):
            continue
        model = program.bare()
        model.get_submodule(name).padding_idx = None  # type: ignore[assignment]
        again = look(program, model).gradients[f"{name}.weight"]
        if again is not None and bool(again[padding].any()):
            text = f"the loss has a gradient by the embedding of token {padding}, and exactly 0 by those of the"
            return [found("only_padding", "failure", f"{text} {len(tokens) - 1} others", name)]
    return []


def _masked(program: Program, x: Tensor) -> Finding | None:
    """A mask that is handed to attention, and leaves out every token that is no padding and nothing else."""
    model, wrong = program.bare(), list[tuple[str, float]]()
    padding = {0, *(m.padding_idx for m in model.modules() if isinstance(m, nn.Embedding) and m.padding_idx)}

    def see(name: str, given: Any) -> None:
        mask = given.get("key_padding_mask")
        if mask is None or mask.shape != x.shape:
            return
        left_out = mask if mask.dtype == torch.bool else mask < 0
        shares = [float((x == token).double().mean()) for token in padding if torch.equal(left_out, x != token)]
        wrong.extend((name, share) for share in shares if 0 < share < 1)

    attending = [each for each in model.named_modules() if isinstance(each[1], nn.MultiheadAttention)]
    if not attending:
        return None
    for name, module in attending:
        module.register_forward_pre_hook(lambda m, args, given, name=name: see(name, given), with_kwargs=True)
    with torch.no_grad():
        program.output(model, x)
    if not wrong:
        return None
    name, share = wrong[0]
    text = (
        f"the mask leaves out {100 * (1 - share):.0f} % of all tokens, which are exactly those that are no padding,"
    )
    return found("only_padding", "failure", f"{text} and keeps the padding", name)


def look_at_scale(program: Program, seen: FirstPass, stuck: bool = False) -> list[Finding]:
    """The size and the mean of what reaches the first layer with weights; limits are half as far where a trial has
    learned nothing (`stuck`)."""
    x = next(parts.tensors(program.x), None)
    if x is None or not x.is_floating_point() or x.ndim < 1 or len(x) < 2:
        return []
    given, where = (x, "") if seen.entry is None else (seen.entry, seen.entry_layer)
    given = given.detach().float()
    if not given.isfinite().all() or given.ndim < 2:
        return []
    if seen.norm_first or (seen.layers and seen.layers[0].normalised):
        return [found(slug, "ok", "a normalisation follows") for slug in ("inputs_not_scaled", "inputs_not_centred")]
    features = given.movedim(1, -1).flatten(0, -2) if given.ndim > 2 and seen.entry is not None else given.flatten(1)
    features = features if len(features) > 1 else given.reshape(-1, 1)
    mean, std = features.mean(0), features.std(0, correction=0)
    high, low = (0.5 * LARGE, 2 * SMALL) if stuck else (LARGE, SMALL)
    return [
        _scale(mean, std, float(given.abs().max()), high, low, where),
        _centre(mean, std, OFF_CENTRE / 2 if stuck else OFF_CENTRE, where),
    ]


def _scale(mean: Tensor, std: Tensor, size: float, high: float, low: float, where: str) -> Finding:
    slug, largest, live = "inputs_not_scaled", float(std.max()), std[std > 1e-6 * (mean.abs() + 1e-6 * std.max())]
    least, middle = (float(live.min()), float(live.median())) if len(live) else (0.0, 0.0)
    spans = f"features have standard deviations from {number(least)} to {number(largest)}"
    above, few = largest > high, (std > min(high, UNEVEN * middle)).nonzero().flatten().tolist()
    if 0 < len(few) < 0.5 * len(live):
        names = (
            f"s {', '.join(map(str, few[:5]))}{' …' if len(few) > 5 else ''} have" if few[1:] else f" {few[0]} has"
        )
        rest = float(live[live <= min(high, UNEVEN * middle)].max())
        spans = (
            f"feature{names} a standard deviation of {number(largest)}, the others of up to {number(rest)} (counted"
        )
        spans += " from 0)"
    if above or (largest < low and size < 10 * low):
        text = f"{spans}; {f'above {high:g}' if above else f'below {low:g}'} one learning rate"
        return found(slug, "failure", f"{text} cannot serve all layers, the aim is 1", where)
    if largest > 1 and middle and largest / middle > UNEVEN and len(live) > 1:
        text = f"{spans}, the median {number(middle)}; more than {UNEVEN:g} apart the loss is a valley"
        return found(slug, "warning", text, where)
    return found(slug, "ok", f"{spans}: below {LARGE:g}")


def _centre(mean: Tensor, std: Tensor, limit: float, where: str) -> Finding:
    size, centre = float(std.square().mean().sqrt()), float(mean.square().mean().sqrt())
    ratio = centre / size if size else math.inf
    text = f"means are {number(ratio)} times the standard deviations (root mean square); below {OFF_CENTRE:g} is well"
    if ratio > limit and centre > 0.5:  # a feature that is the same in all examples is a bias, if it is no larger
        return found("inputs_not_centred", "failure" if ratio > 4 * OFF_CENTRE else "warning", text, where)
    return found("inputs_not_centred", "ok", text)


def look_at_validation(program: Program) -> list[Finding]:
    here, there = program.inputs, pooled([x for x, _ in program.validation])
    if here is None or there is None or not here.is_floating_point() or here.shape[1:] != there.shape[1:]:
        return []
    (mean, std), (other_mean, other_std) = (
        (float(x.float().mean()), float(x.float().std(correction=0))) for x in (here, there)
    )
    if not std or not all(map(math.isfinite, (mean, std, other_mean, other_std))):
        return []
    if std / MOVED < other_std < MOVED * std and abs(mean - other_mean) <= MOVED * std:
        return []
    text = f"training inputs have mean {number(mean)} and standard deviation {number(std)}, those of the validation"
    text += f" {number(other_mean)} and {number(other_std)}: they are not scaled by the same numbers"
    return [found("validation_scaled_otherwise", "failure", text)]
