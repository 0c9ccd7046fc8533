"""What follows from what: the order of findings, causes before consequences."""

from __future__ import annotations

from unstuck.checks.report import RAISES, VERDICTS, Finding

ORDER = (
    *("weights_not_finite", "inputs_not_finite", "labels_out_of_range", "batchnorm_single", "parameters_detached"),
    *("single_output", "softmax_before_loss", "sigmoid_before_loss", "sigmoid_missing", "relu_at_output"),
    *("loss_unfit", "labels_wrong_shape", "squashed_output"),
    *("half_overflow", "nan_in_loss", "nan_in_forward", "nan_in_backward"),
    *("examples_mixed", "parameters_missing", "parameters_frozen", "half_underflow", "no_step"),
    *("gradients_not_zeroed", "batchnorm_mode", "dropout_mode", "inputs_constant"),
    *("inputs_not_scaled", "inputs_not_centred", "targets_not_scaled", "loss_summed"),
    *("weights_zero", "weights_equal", "weights_small", "weights_large", "units_dead_at_start"),
    *("updates_rounded", "momentum_out_of_range", "weight_decay_strong", "clipping_always"),
    *("units_saturated", "gradient_vanishes", "inputs_collapse", "gradient_explodes"),
    *("adam_eps", "parameters_unused", "first_loss_high", "dropout_strong"),
    *("units_killed", "diverges", "lr_large", "lr_small"),
    *("labels_shuffled", "labels_imbalanced", "capacity_small", "batchnorm_drift", "overfitting"),
    *("cannot_overfit", "bias_before_norm"),
)
"""Causes before what follows from them."""

AILING = ("first_loss_high", "units_saturated", "units_killed", "diverges", "lr_large", "lr_small", "cannot_overfit")
BROKEN = (*AILING, "gradient_explodes", "gradient_vanishes", "capacity_small", "overfitting", "batchnorm_drift")
WEAK = (*AILING, "gradient_vanishes", "inputs_collapse", "adam_eps", "no_step", "capacity_small")

ROOTS = tuple(slug for slug in ORDER if slug not in AILING)

NAN = ("nan_in_forward", "nan_in_loss", "nan_in_backward")
ALIKE = ("units_dead_at_start", "inputs_collapse", *BROKEN)

EXPLAINS: dict[str, tuple[str, ...]] = {
    "weights_not_finite": ORDER[1:],
    "inputs_not_finite": (*NAN, *BROKEN),
    "labels_out_of_range": ("nan_in_loss", "loss_unfit", "labels_imbalanced", *BROKEN),
    "sigmoid_missing": ("nan_in_loss", "nan_in_backward", *BROKEN),
    "single_output": (
        *("loss_unfit", "weights_zero", "weights_equal", "no_step", "labels_imbalanced", "parameters_unused"),
        *BROKEN,
    ),
    **dict.fromkeys(("softmax_before_loss", "sigmoid_before_loss"), (*BROKEN, "labels_imbalanced")),
    "relu_at_output": ("units_dead_at_start", *BROKEN),
    "half_overflow": (*NAN, "updates_rounded", *BROKEN),
    "nan_in_loss": ("nan_in_backward", *BROKEN),
    "nan_in_forward": ("nan_in_loss", "nan_in_backward", *BROKEN),
    "examples_mixed": (*BROKEN, "labels_shuffled"),
    "inputs_constant": ("inputs_not_centred", "inputs_not_scaled", "labels_shuffled", *ALIKE),
    "parameters_detached": ("loss_unfit", "no_step", "parameters_unused", *BROKEN),
    **dict.fromkeys(("parameters_frozen", "parameters_missing"), ("no_step", "parameters_unused", *BROKEN)),
    "batchnorm_mode": ("examples_mixed", *BROKEN),
    "inputs_not_scaled": ("inputs_not_centred", "weights_large", "weights_small", *ALIKE),
    "inputs_not_centred": ("weights_large", *ALIKE),
    "weights_zero": ("weights_small", *WEAK),
    "weights_equal": ("inputs_collapse", *BROKEN),
    "weights_small": WEAK,
    "weights_large": ALIKE,
    "units_dead_at_start": ("inputs_collapse", *BROKEN),
    "gradient_vanishes": ("inputs_collapse", "adam_eps", *BROKEN),
    "units_saturated": ("gradient_vanishes", "inputs_collapse", *AILING),
    "half_underflow": ("updates_rounded", "no_step", *BROKEN),
    "updates_rounded": ("lr_small",),
    "first_loss_high": ("units_saturated", "units_killed"),
    "units_killed": ("lr_large", "cannot_overfit"),
    "diverges": ("units_killed", "lr_large", "overfitting"),
    "lr_large": ("overfitting", "labels_imbalanced"),
    "lr_small": ("labels_imbalanced", "labels_shuffled"),
    **dict.fromkeys(("parameters_unused", "capacity_small"), ("cannot_overfit",)),
    "labels_shuffled": ("overfitting", "cannot_overfit"),
    **dict.fromkeys(
        (
            *("squashed_output", "loss_unfit", "labels_wrong_shape", "nan_in_backward", "no_step"),
            *("gradients_not_zeroed", "targets_not_scaled", "loss_summed"),
        ),
        BROKEN,
    ),
    "inputs_collapse": ("adam_eps", *BROKEN),
    **dict.fromkeys(
        ("momentum_out_of_range", "adam_eps", "weight_decay_strong", "clipping_always", "dropout_strong"), AILING
    ),
}
"""What follows from a cause: where the cause fails, its consequences are no findings of their own."""


def ordered(findings: list[Finding]) -> tuple[list[Finding], list[str]]:
    """Failures, warnings, inconclusive, ok; causes first, and without what would follow from a failure that is there.

    The faults left out come second: whether they were seen or not, they can only be judged when it is mended.
    """
    failing = {f.fault for f in findings if f.verdict == "failure"}
    roots = [slug for slug in ORDER if slug in failing]
    explained: set[str] = set()
    for slug in roots:
        if slug not in explained:
            explained |= set(EXPLAINS.get(slug, ())) & set(ORDER[ORDER.index(slug) + 1 :])
    worst: dict[str, Finding] = {}
    for finding in findings:
        before = worst.get(finding.fault)
        if before is None or VERDICTS.index(finding.verdict) < VERDICTS.index(before.verdict):
            worst[finding.fault] = finding
    kept = [f for f in worst.values() if f.symptom == RAISES or f.fault not in explained]
    later = [slug for slug in ORDER if slug in explained and slug in worst and worst[slug] not in kept]
    return sorted(kept, key=lambda f: (VERDICTS.index(f.verdict), f.symptom != RAISES, ORDER.index(f.fault))), later
