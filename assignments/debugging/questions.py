"""Assignment 6: what each part calls, and the mistakes that are known by name."""

import math

import numpy as np

from assignments.grading.parts import Part, Questions

ENOUGH = 0.75
FAULTS = {1: "gradients add up", 2: "two softmaxes", 3: "dead units", 4: "wrong mode"}
COMPANY = """
def predict(x):
    return (x - mixed * x.mean(axis=0)) @ w
difference = company(predict, x)
"""


def activations(rng):
    a = np.maximum(rng.normal(size=(6, 8)), 0)
    a[:, : rng.integers(1, 4)] = 0
    return {"a": a}


def parameters(rng):
    before = rng.normal(size=(4, 5))
    return {"before": before, "after": before + 0.1 * rng.normal(size=(4, 5))}


def company_inputs(rng):
    return {"x": rng.normal(size=(6, 3)), "w": rng.normal(size=(3, 4)), "mixed": float(rng.uniform(0.2, 1))}


def clouds(offset):
    def inputs(rng):
        centres = 1.6 * rng.normal(size=(12, 10))
        cloud = rng.permutation(np.arange(1200) % 12)
        x = (centres[cloud] + rng.normal(size=(1200, 10)) + offset).astype(np.float32)
        new_x, new_y = x[600:], cloud[600:] % 4
        classes = rng.permutation(np.repeat(np.arange(4), 3))  # of each class three groups, in no order
        groups = [rng.choice(np.flatnonzero(new_y == k), 40, replace=False) for k in classes]
        return {"x": x[:600], "y": cloud[:600] % 4, "new": [new_x[group] for group in groups], "_classes": classes}

    return inputs


def predicts(values, inputs):
    """Whether enough of the new points, one class at a time, are predicted right."""
    for value, drawn in zip(values, inputs, strict=True):
        answers, right = value["classes"], drawn["_classes"]
        if len(answers) != len(right) or any(np.shape(answer) != (40,) for answer in answers):
            return "the function that you return does not give one class for each point"
        found = np.mean([np.mean(np.asarray(answer) == k) for answer, k in zip(answers, right, strict=True)])
        if not found >= ENOUGH:
            return f"accuracy {found:.2f} on new points, one class at a time; {ENOUGH} is asked for"
    return ""


def named(number):
    def judge(values, inputs):
        return "" if str(values[0]["word"]).strip().lower() == FAULTS[number] else "this is not the fault"

    return judge


def no_inputs(rng):
    return {}


def classes_inputs(rng):
    return {"K": int(rng.integers(3, 60))}


QUESTIONS = Questions(
    title="6. Debug this",
    imports=("numpy", "torch"),
    parts=[
        Part("guess-loss", "loss = loss_of_a_guess(K)", ("loss",), classes_inputs),
        Part("dead-fraction", "fraction = dead_fraction(a)", ("fraction",), activations),
        Part("update-ratio", "ratio = update_ratio(before, after)", ("ratio",), parameters),
        Part("two-softmaxes", "loss = lowest_loss_after_two_softmaxes(K)", ("loss",), classes_inputs),
        Part("company", COMPANY, ("difference",), company_inputs),
        *(
            Part(f"diagnosis-{k}", f"word = str(diagnosis[{k}])", ("word",), no_inputs, cases=1, judge=named(k))
            for k in FAULTS
        ),
        *(
            Part(
                f"cure-{k}",
                f"predict = cured_{k}(x, y)\nclasses = [predict(part) for part in new]",
                ("classes",),
                clouds(30.0 if k == 3 else 0.0),
                cases=2,
                judge=predicts,
            )
            for k in FAULTS
        ),
    ],
)
wrong = QUESTIONS.mistake


@wrong("loss_of_a_guess", "this is the probability of the right class; the loss is minus its logarithm", "guess-loss")
def probability(K):
    return 1 / K


@wrong("loss_of_a_guess", "the sign is missing: the logarithm of 1/K is negative, a loss is not", "guess-loss")
def no_minus(K):
    return math.log(1 / K)


@wrong("loss_of_a_guess", "this is the logarithm to base 2; cross_entropy uses the natural one", "guess-loss")
def base_two(K):
    return math.log2(K)


@wrong(
    "dead_fraction",
    "this is the fraction of zeros; a unit is dead only if it is zero for every example",
    "dead-fraction",
)
def zeros(a):
    return float((np.asarray(a) == 0).mean())


@wrong(
    "dead_fraction",
    "this counts units that are zero for some example; dead means zero for every one",
    "dead-fraction",
)
def sometimes_zero(a):
    return float((np.asarray(a) == 0).any(axis=0).mean())


@wrong("dead_fraction", "this is a number of units, not a fraction of them", "dead-fraction")
def number_of_dead(a):
    return float((np.asarray(a) == 0).all(axis=0).sum())


@wrong("dead_fraction", "this looks along the units; examples are the rows of a", "dead-fraction")
def dead_examples(a):
    return float((np.asarray(a) > 0).all(axis=1).mean())


@wrong("update_ratio", "this is the change relative to the size after the step", "update-ratio")
def relative_to_after(before, after):
    return float(np.linalg.norm(after - before) / np.linalg.norm(after))


@wrong("update_ratio", "this is the difference of the sizes, not the size of the difference", "update-ratio")
def difference_of_sizes(before, after):
    return float(abs(np.linalg.norm(after) - np.linalg.norm(before)) / np.linalg.norm(before))


@wrong(
    "update_ratio",
    "this is the mean of the entries' own ratios; take the norm over all entries first",
    "update-ratio",
)
def mean_of_ratios(before, after):
    return float(np.mean(np.abs(after - before) / np.abs(before)))


@wrong("lowest_loss_after_two_softmaxes", "0 is what logits can reach; a probability is at most 1", "two-softmaxes")
def zero(K):
    return 0.0


@wrong("lowest_loss_after_two_softmaxes", "each of the K - 1 wrong classes adds e^0 = 1, not 0", "two-softmaxes")
def wrong_classes_forgotten(K):
    return math.log(math.e + 1) - 1


@wrong("company", "this is the mean; one example that changes would be lost in it", "company")
def mean_difference(predict, x):
    together = predict(x)
    alone = np.concatenate([predict(x[start : start + 2]) for start in range(0, len(x), 2)])
    return float(np.abs(together - alone).mean())


@wrong("company", "differences of both signs: take absolute values before the largest", "company")
def no_absolute_value(predict, x):
    together = predict(x)
    alone = np.concatenate([predict(x[start : start + 2]) for start in range(0, len(x), 2)])
    return float((together - alone).max())


@wrong("cured_1", "the gradients still add up", "cure-1")
def still_adds_up(x, y, seed=0):
    return sick_1(x, y, seed)  # noqa: F821


@wrong("cured_2", "the second softmax is still there", "cure-2")
def still_two_softmaxes(x, y, seed=0):
    return sick_2(x, y, seed)  # noqa: F821


@wrong("cured_3", "the new points are centred on their own mean, which is that of one class", "cure-3")
def own_mean(x, y, seed=0):
    predict = cured_1(x - x.mean(axis=0), y, seed)  # noqa: F821
    return lambda new: predict(new - new.mean(axis=0))


@wrong("cured_4", "still in training mode: each call takes the mean of what it is given", "cure-4")
def still_training(x, y, seed=0):
    return sick_4(x, y, seed)  # noqa: F821
