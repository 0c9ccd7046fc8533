"""The table of patients, and how one is built."""

from __future__ import annotations

from unstuck.arguments import whole
from unstuck.clinic import patients_data as data
from unstuck.clinic import patients_layers as layers
from unstuck.clinic import patients_training as training
from unstuck.clinic.healthy import HEALTHY
from unstuck.clinic.program import Case, Patient, Program, seeded

# The first 24 are of every group; cases A, B and C, and those that look alike, lead. Neighbours have little in
# common: a number says nothing to who treats a patient blind.
PATIENTS: tuple[Case, ...] = (
    *(training.black_picture, training.deep_digits, training.gated_digits, training.slow_clothes),
    *(training.silent_digits, data.clothes_cnn, training.clothes_with_momentum, layers.deep_clothes),
    *(data.digits_perceptron, data.forecast, data.clothes_classifier, training.attending_digits),
    *(data.digits_by_hundred, training.five_layers, training.tanh_clothes, training.patched_digits),
    *(training.headed_points, training.shrinking_digits, layers.ordered_waves, layers.narrow_points),
    *(layers.few_clothes, layers.padded_waves, layers.weighted_digits, layers.drifting_clothes),
    *(data.temperatures, training.blank_digits, layers.normalised_digits, data.gaps, training.tanh_points),
    *(layers.noisy_curve, data.picture_loader, layers.thinned_digits, data.patches),
    *(training.deep_arms, layers.soft_digits, data.rare_waves, training.tower, layers.paired_digits),
    *(data.two_figures, training.filtered_figures, layers.cosine_digits, data.two_arms),
    *(training.steep_regression, layers.broad_digits, data.rectified_curve, training.rolling_points),
    *(data.compressed_clothes, training.careful_waves, data.circle_cnn, training.recurrent_waves),
    *(data.likely_digits, training.encoded_points, data.sure_digits, training.block_points, data.prices),
    training.clipped_digits,
)


def patient(n: int, seed: int = 0) -> Patient:
    """Patient `n` of `PATIENTS`, from 1 on: the sick program and its twin, with the same weights, data and draws."""
    row = PATIENTS[whole("n", n, most=len(PATIENTS)) - 1]
    seed = whole("seed", seed, least=0, most=2**64 - 1)
    sick, repaired = (seeded(row.build, is_sick, seed=seed) for is_sick in (True, False))
    return Patient(row.fault, sick, repaired, f"{row.set_up}; repaired: {row.cure}")


def healthy(n: int, seed: int = 0) -> Program:
    """Healthy program `n` of `HEALTHY`, from 1 on."""
    build = HEALTHY[whole("n", n, most=len(HEALTHY)) - 1]
    return seeded(build, seed=whole("seed", seed, least=0, most=2**64 - 1))
