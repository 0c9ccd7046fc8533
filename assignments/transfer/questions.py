"""Assignment 5: what each part calls, and the mistakes that are known by name."""

import functools

import numpy as np
import torch

from assignments.grading.parts import Part, Questions
from unstuck.data import fashion

NETWORK = """
torch.manual_seed(seed)
model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.5), nn.Linear(5, 3)).double()
"""
FEATURES = NETWORK + "found = features(model, torch.tensor(x), k)"
FREEZE = """
model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, classes))
count = freeze(model, n)
flags = [parameter.requires_grad for parameter in model.parameters()]
"""
BEST = "found = classify(torch.tensor(images), labels, torch.tensor(unknown))"


def cut(rng):
    return {"seed": int(rng.integers(1000)), "x": rng.normal(size=(6, 4)), "k": int(rng.choice([2, 4]))}


def two_parts(rng):
    f = int(rng.integers(3, 6))
    train, test = (rng.normal(size=(n, f)) * rng.uniform(0.3, 4, size=f) for n in (6, 4))
    train[:, 0] = 2
    return {"train": train, "test": test + 1}


def head(rng):
    n, f, k = 7, int(rng.integers(3, 6)), 3
    y = np.concatenate([np.arange(k), rng.integers(0, k, size=n - k)])
    return {"features": rng.normal(size=(n, f)) + 1, "y": y, "K": k, "strength": float(rng.uniform(0.5, 3))}


def scores(rng):
    f = int(rng.integers(3, 6))
    return {"W": rng.normal(size=(f + 1, 5)) * 2, "features": rng.normal(size=(8, f))}


def budget(rng):
    y = rng.permutation(np.repeat(np.arange(4), [5, 6, 9, 30]))
    return {"y": y, "n": int(rng.integers(4, 6)), "seed": int(rng.integers(1000))}


def results(rng):
    return {"results": rng.uniform(0.5, 1, size=int(rng.integers(3, 8)))}


def freezing(rng):
    return {"n": int(rng.integers(1, 4)), "classes": int(rng.integers(2, 9))}


@functools.cache
def new_clothes():
    clothes = fashion()
    is_new = clothes.y_test >= 5
    return clothes.x_test[is_new].numpy(), clothes.y_test[is_new].numpy() - 5


def images(rng):
    """Ten images of each new class and 400 others, shifted by a pixel and with some noise."""
    x, y = new_clothes()
    known = np.concatenate([rng.choice(np.flatnonzero(y == k), 10, replace=False) for k in range(5)])
    unknown = rng.choice(np.setdiff1d(np.arange(len(y)), known), 400, replace=False)
    both = x[np.concatenate([known, unknown])]
    both = np.stack([np.roll(image, rng.integers(-1, 2, size=2), axis=(1, 2)) for image in both])
    both = np.clip(both + 0.03 * rng.normal(size=both.shape), 0, 1).astype(np.float32)
    return {"images": both[:50], "labels": y[known], "unknown": both[50:], "_right": y[unknown]}


def reaches(enough):
    def judge(values, inputs):
        right = []
        for value, drawn in zip(values, inputs, strict=True):
            if np.shape(value["found"]) != drawn["_right"].shape:
                return "classify does not return one class for each image"
            right.append(np.mean(np.asarray(value["found"]) == drawn["_right"]))
        found = np.mean(right)
        return "" if found >= enough else f"accuracy {found:.2f} on new images; {enough} is asked for"

    return judge


def fair(values, inputs):
    for value, drawn in zip(values, inputs, strict=True):
        places = np.asarray(value["places"])
        if places.ndim != 1 or places.dtype.kind not in "iu" or places.min() < 0 or places.max() >= len(drawn["y"]):
            return "these are not places in y"
        if len(np.unique(places)) != len(places):
            return "an example is chosen twice"
        if not np.array_equal(np.bincount(drawn["y"][places], minlength=4), [drawn["n"]] * 4):
            return "there are not n examples of each class"
        if np.array_equal(np.sort(places), np.sort(value["again"])):
            return "the choice is not random: another generator gives the same"
    return ""


CHOOSE = """
places = choose(y, n, np.random.default_rng(seed))
again = choose(y, n, np.random.default_rng(seed + 1))
"""
QUESTIONS = Questions(
    title="5. Transfer on a small budget",
    imports=("numpy", "torch"),
    parts=[
        Part("features", FEATURES, ("found",), cut),
        Part("standardised-train", "found, _ = standardised(train, test)", ("found",), two_parts),
        Part("standardised-test", "_, found = standardised(train, test)", ("found",), two_parts),
        Part("ridge-head", "W = ridge_head(features, y, K, strength)", ("W",), head),
        Part("predict", "classes = predict(W, features)", ("classes",), scores),
        Part("choose", CHOOSE, ("places", "again"), budget, judge=fair),
        Part("mean-and-error", "found = list(mean_and_error(results))", ("found",), results),
        Part("freeze-flags", FREEZE, ("flags",), freezing),
        Part("freeze-count", FREEZE, ("count",), freezing),
        Part("best-60", BEST, ("found",), images, judge=reaches(0.6)),
        Part("best-76", BEST, ("found",), images, cases=5, judge=reaches(0.76)),
    ],
)
wrong = QUESTIONS.mistake


@wrong("features", "Dropout and BatchNorm are in training mode: call eval first", "features")
def in_training(model, x, k):
    with torch.no_grad():
        return model[:k](x).flatten(1).numpy()


@wrong("features", "this is the output of k + 1 layers", "features")
def one_layer_more(model, x, k):
    with torch.no_grad():
        return model[: k + 1].eval()(x).flatten(1).numpy()


@wrong("standardised", "the test part is standardised with its own statistics", "standardised-test")
def own_statistics(train, test):
    deviation = train.std(axis=0)
    deviation = np.where(deviation == 0, 1, deviation)
    return (train - train.mean(axis=0)) / deviation, (test - test.mean(axis=0)) / test.std(axis=0)


@wrong(
    "standardised",
    "the statistics are those of both parts together: the test part leaks in",
    ["standardised-train", "standardised-test"],
)
def of_both(train, test):
    both = np.concatenate([train, test])
    mean, deviation = both.mean(axis=0), both.std(axis=0)
    return (train - mean) / deviation, (test - mean) / deviation


@wrong(
    "standardised",
    "you divided by the variance, not by the standard deviation",
    ["standardised-train", "standardised-test"],
)
def by_variance(train, test):
    mean, variance = train.mean(axis=0), train.var(axis=0)
    variance = np.where(variance == 0, 1, variance)
    return (train - mean) / variance, (test - mean) / variance


@wrong("ridge_head", "lambda is missing: this is the plain least-squares fit", "ridge-head")
def no_ridge(features, y, K, strength):
    F = np.hstack([features, np.ones((len(features), 1))])
    return np.linalg.lstsq(F, np.eye(K)[y], rcond=None)[0]


@wrong("ridge_head", "lambda is multiplied by N; the sum of squares is not a mean here", "ridge-head")
def strength_times_n(features, y, K, strength):
    F = np.hstack([features, np.ones((len(features), 1))])
    return np.linalg.solve(F.T @ F + len(F) * strength * np.eye(F.shape[1]), F.T @ np.eye(K)[y])


@wrong("ridge_head", "the column of ones stands first; the bias is the last row of W", "ridge-head")
def ones_first(features, y, K, strength):
    F = np.hstack([np.ones((len(features), 1)), features])
    return np.linalg.solve(F.T @ F + strength * np.eye(F.shape[1]), F.T @ np.eye(K)[y])


@wrong("ridge_head", "the bias is not held back here; in this question it is, like every other row", "ridge-head")
def bias_free(features, y, K, strength):
    F = np.hstack([features, np.ones((len(features), 1))])
    ridge = strength * np.eye(F.shape[1])
    ridge[-1, -1] = 0
    return np.linalg.solve(F.T @ F + ridge, F.T @ np.eye(K)[y])


@wrong("predict", "the bias, the last row of W, is missing", "predict")
def no_bias(W, features):
    return (features @ W[:-1]).argmax(axis=1)


@wrong("predict", "the smallest score wins here; it should be the largest", "predict")
def smallest(W, features):
    return (features @ W[:-1] + W[-1]).argmin(axis=1)


@wrong("choose", "an example may come twice", "choose")
def with_replacement(y, n, rng):
    return np.concatenate([rng.choice(np.flatnonzero(y == k), n) for k in np.unique(y)])


@wrong("choose", "n for each class in the mean only", "choose")
def in_total(y, n, rng):
    return rng.choice(len(y), n * len(np.unique(y)), replace=False)


@wrong("choose", "always the first ones", "choose")
def first_ones(y, n, rng):
    return np.concatenate([np.flatnonzero(y == k)[:n] for k in np.unique(y)])


@wrong(
    "mean_and_error",
    "the second number is the standard deviation of one draw, not the standard error of the mean",
    "mean-and-error",
)
def deviation_only(results):
    return np.mean(results), np.std(results, ddof=1)


@wrong("mean_and_error", "the standard deviation divides by n; use n - 1", "mean-and-error")
def divides_by_n(results):
    return np.mean(results), np.std(results) / np.sqrt(len(results))


@wrong("mean_and_error", "you divided by n, not by its root", "mean-and-error")
def without_root(results):
    return np.mean(results), np.std(results, ddof=1) / len(results)


@wrong("freeze", "this is the number of all parameters, frozen ones included", "freeze-count")
def counts_all(model, n):
    model.requires_grad_(False)
    for layer in model[len(model) - n :]:
        layer.requires_grad_(True)
    return sum(parameter.numel() for parameter in model.parameters())


@wrong("freeze", "this counts arrays, not the numbers in them", "freeze-count")
def counts_arrays(model, n):
    model.requires_grad_(False)
    for layer in model[len(model) - n :]:
        layer.requires_grad_(True)
    return sum(parameter.requires_grad for parameter in model.parameters())


@wrong(
    "freeze",
    "nothing is frozen: setting `requires_grad` on a module does nothing, it belongs to parameters",
    "freeze-flags",
)
def on_modules(model, n):
    for layer in model[: len(model) - n]:
        layer.requires_grad = False
    return sum(parameter.numel() for layer in model[len(model) - n :] for parameter in layer.parameters())


@wrong("classify", "the last hidden layer, as the advice has it", "best-76")
def last_hidden_layer(images, labels, unknown):
    with torch.no_grad():
        known, asked = old_network[:7](images).numpy(), old_network[:7](unknown).numpy()  # noqa: F821
    mean, deviation = known.mean(axis=0), known.std(axis=0) + 0.1 * known.std()
    known, asked = (known - mean) / deviation, (asked - mean) / deviation
    F = np.hstack([known, np.ones((len(known), 1))])
    W = np.linalg.solve(F.T @ F + 0.1 * F.shape[1] * np.eye(F.shape[1]), F.T @ np.eye(5)[labels])
    return (asked @ W[:-1] + W[-1]).argmax(axis=1)


@wrong("classify", "the old classes as they are", ["best-60", "best-76"])
def old_classes(images, labels, unknown):
    with torch.no_grad():
        return old_network(unknown).argmax(dim=1).numpy()  # noqa: F821
