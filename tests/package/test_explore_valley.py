"""explore: the bowl that Valley shows, its numbers and its state. How it moves is tested in a browser, tests/site."""

import base64
import io
import math
import re

import numpy as np
import pytest
from PIL import Image

from unstuck.explore import Explorable, Valley
from unstuck.explore.valley import Descent

VIEW = "application/vnd.jupyter.widget-view+json"
FEATURES = [(0.0, 1.0), (2.0, 1.0), (-3.0, 0.5), (0.5, 3.0), (4.0, 0.2)]


def hessian(points, mean, scale):
    """Of half the mean squared error, from the data themselves."""
    u = np.column_stack([mean + scale * points[:, 0], np.ones(len(points))])
    return u, u.T @ u / len(u)


@pytest.fixture(scope="module")
def points():
    return np.array(Valley().points)


# what is computed


@pytest.mark.parametrize(("mean", "scale"), FEATURES)
def test_curvatures_are_eigenvalues_of_the_data_shown(points, mean, scale):
    u, matrix = hessian(points, mean, scale)
    found = Descent(mean, scale)
    np.testing.assert_allclose(
        [found.flat, found.steep], np.linalg.eigvalsh(matrix), rtol=5e-3
    )  # points have 3 digits
    assert found.kappa == pytest.approx(np.linalg.cond(matrix), rel=5e-3)
    assert found.border == 2 / found.steep
    assert found.lr == 2 / (found.steep + found.flat)
    y = 1 + points.sum(axis=1)
    np.testing.assert_allclose(found.best, np.linalg.lstsq(u, y)[0], atol=2e-2)


@pytest.mark.parametrize(("mean", "scale"), FEATURES)
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_the_path_is_that_of_the_gradient(mean, scale, share):
    matrix = np.array([[scale**2 + mean**2, mean], [mean, 1]])
    best = np.array([1 / scale, 1 - mean / scale])
    found = Descent(mean, scale, share * 2 / np.linalg.eigvalsh(matrix)[-1])
    w, path = np.zeros(2), [np.zeros(2)]
    for _ in found.path[1:]:
        w = w - found.lr * matrix @ (w - best)
        path.append(w)
    np.testing.assert_allclose(found.path, path, rtol=1e-9, atol=1e-12)

    def excess(w):
        return (w - best) @ matrix @ (w - best)

    if found.steps < 2000:
        assert len(found.path) == found.steps + 1
        assert excess(found.path[-1]) <= 1e-4 * excess(np.zeros(2)) < excess(found.path[-2])


@pytest.mark.parametrize(("mean", "scale"), FEATURES)
@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_below_the_border_the_path_stays_in_the_frame_that_is_drawn(mean, scale, share):
    found = Descent(mean, scale, share * Descent(mean, scale).border)
    farthest = np.abs(found.path - found.best).max()
    assert farthest < 1.1 * np.hypot(*found.best)  # half a side of the frame


@pytest.mark.parametrize(("mean", "scale"), [(2, 1), (-3, 0.5), (4, 0.2)])
def test_the_usual_learning_rate_needs_the_steps_that_kappa_predicts(mean, scale):
    found = Descent(mean, scale)
    shrink = (found.kappa - 1) / (found.kappa + 1)
    assert found.steps == math.ceil(math.log(100) / -math.log(shrink))

    def worst(lr):
        return max(abs(1 - lr * curvature) for curvature in (found.flat, found.steep))

    assert worst(found.lr) == pytest.approx(shrink)
    assert min(worst(0.99 * found.lr), worst(1.01 * found.lr)) > shrink


def test_the_border_is_where_it_begins_to_diverge():
    border = Descent(2, 1).border
    assert math.isfinite(Descent(2, 1, 0.99 * border).steps)
    assert math.isinf(Descent(2, 1, 1.01 * border).steps)
    assert len(Descent(2, 1, 1.01 * border).path) > 100


def test_too_many_steps_are_not_told_and_few_are_kept():
    slow = Descent(0, 1, 1e-5)
    assert math.isinf(slow.steps)
    assert len(slow.path) == 2000


def test_a_round_bowl_needs_one_step():
    assert (Descent(0, 1).kappa, Descent(0, 1).steps) == (1, 1)


def test_the_sign_of_the_mean_does_not_matter_for_curvature():
    assert Descent(2, 1).kappa == Descent(-2, 1).kappa == pytest.approx(17 + 12 * math.sqrt(2))


# what is shown and stored


def test_points_are_standardised_and_their_noise_is_not_in_the_way(points):
    z, noise = points.T
    assert points.shape == (40, 2)
    np.testing.assert_allclose([z.mean(), z.var(), noise.mean(), z @ noise / 40], [0, 1, 0, 0], atol=2e-3)


def test_bundle_has_the_numbers_and_a_picture():
    data, _ = Valley(mean=2, scale=1, title="One feature")._repr_mimebundle_()
    assert set(data) == {"text/plain", "image/png", VIEW}
    assert data["text/plain"] == (
        "One feature. Mean 2, scale 1: condition number 34, border 0.343, learning rate 0.333, steps: 79."
    )
    image = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert image.size == (700, 340)
    assert len(image.convert("RGB").getcolors(700 * 340)) > 20
    assert "condition number 7,260" in Valley(mean=4, scale=0.2)._repr_mimebundle_()[0]["text/plain"]
    assert str(Descent(2, 1, 0.5)).endswith("learning rate 0.5, it does not arrive.")


def test_equal_valleys_have_one_id_and_others_another():
    first = Valley()
    state, model_id = dict(first.get_state()), first.model_id
    second = Valley()
    assert (second.get_state(), second.model_id) == (state, model_id)
    assert re.fullmatch("unstuck-[0-9a-f]{24}", model_id)
    others = [Valley(mean=1), Valley(scale=2), Valley(title="Other")]
    assert len({model_id, *(other.model_id for other in others)}) == 4
    assert isinstance(second, Explorable)
    assert second.limits == {"mean": [-4.0, 4.0], "scale": [0.2, 3.0], "lr": [0.01, 4.0]}


def test_repr_has_no_address():
    assert repr(Valley(mean=2)) == "Valley('Centre and scale one feature', mean=2, scale=1)"


@pytest.mark.parametrize("mean", [-4, 0, 4])
@pytest.mark.parametrize("scale", [0.2, 1, 3])
def test_every_usual_learning_rate_is_on_its_slider(mean, scale):
    assert Valley().limits["lr"][0] < Descent(mean, scale).lr < Valley().limits["lr"][1]


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"mean": 4.1}, ValueError, "mean: expected a number"),
        ({"mean": -5}, ValueError, "mean: expected"),
        ({"mean": "2"}, TypeError, "mean: expected a number"),
        ({"scale": 0}, ValueError, "scale: expected"),
        ({"scale": 3.5}, ValueError, "scale: expected"),
        ({"scale": True}, TypeError, "scale: expected a number, got True"),
        ({"title": " "}, ValueError, "title: expected a text that is not blank"),
        ({"title": 3}, TypeError, "title: expected a text, got 3"),
    ],
)
def test_wrong_arguments_are_named(given, error, message):
    with pytest.raises(error, match=f"^{message}"):
        Valley(**given)


@pytest.mark.parametrize(("given", "name"), [((0, 0), "scale"), ((0, 1, 0), "rate"), ((math.nan, 1), "mean")])
def test_a_descent_refuses_what_has_no_bowl(given, name):
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        Descent(*given)
