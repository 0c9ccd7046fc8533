"""`Valley`: the loss of two weights and the path of gradient descent, computed in the page as a feature is moved."""

from __future__ import annotations

import io
import math
from dataclasses import InitVar, dataclass, field

import numpy as np
import traitlets
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from unstuck.arguments import real, words
from unstuck.explore.explorable import SCRIPTS, Explorable

MEANS, SCALES, RATES = (-4.0, 4.0), (0.2, 3.0), (0.01, 4.0)
"""From where to where the sliders go."""
NEAR = 1e-4
"""Descent has arrived when this share of the excess loss, what it has above its smallest value, is left."""
MOST_STEPS, LOST = 100_000, 1e12  # LOST: how many times the first excess loss is called divergence
DRAWN = 2000
POINTS = 40


@dataclass(frozen=True)
class Descent:
    """Gradient descent on half the mean squared error of `y = w x + b`, from w = b = 0.

    The feature is x = mean + scale z and the target y = 1 + z + noise. z has mean 0 and variance 1, the noise has
    mean 0 and does not go with z. So the Hessian is E[(x, 1)(x, 1)ᵀ] = [[scale² + mean², mean], [mean, 1]], and the
    best weights are w = 1/scale, b = 1 - mean/scale.

    Args:
        mean, scale: of the feature; scale above 0.
        rate: the learning rate; None: 2 / (steep + flat), which shrinks the steep and the flat direction equally
            fast. From some starts another is a little faster, but none is from all.

    Attributes:
        lr: the learning rate.
        flat, steep: the eigenvalues of the Hessian, the curvatures of the loss.
        border: the learning rate 2 / steep, from which on descent diverges.
        steps: until a ten-thousandth of the excess loss is left; inf if it diverges or takes more than 100,000.
        path: the first 2,000 weights (T, 2), w and b.
    """

    mean: float
    scale: float
    rate: InitVar[float | None] = None
    lr: float = field(init=False)
    flat: float = field(init=False)
    steep: float = field(init=False)
    border: float = field(init=False)
    steps: float = field(init=False)
    path: np.ndarray = field(init=False, repr=False)

    def __post_init__(self, rate: float | None) -> None:
        mean, scale = real("mean", self.mean), real("scale", self.scale, above=0)
        trace = scale**2 + mean**2 + 1
        steep = (trace + math.sqrt(trace**2 - 4 * scale**2)) / 2
        flat = scale**2 / steep  # their product is the determinant; the difference of the two would cancel
        lr = 2 / (steep + flat) if rate is None else real("rate", rate, above=0)
        found = {"mean": mean, "scale": scale, "lr": lr, "flat": flat, "steep": steep, "border": 2 / steep}
        for name, value in found.items():
            object.__setattr__(self, name, value)
        steps, path = self._walk()
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "path", path)

    @property
    def kappa(self) -> float:
        """The condition number."""
        return self.steep / self.flat

    @property
    def best(self) -> tuple[float, float]:
        """The weights with the smallest loss."""
        return 1 / self.scale, 1 - self.mean / self.scale

    def excess(self, u: float, v: float) -> float:
        """The loss above its smallest value where w and b are that far from the best."""
        return ((self.mean * u + v) ** 2 + (self.scale * u) ** 2) / 2

    def _walk(self) -> tuple[float, np.ndarray]:
        (w_best, b_best), (mean, scale, lr) = self.best, (self.mean, self.scale, self.lr)
        u, v = -w_best, -b_best  # how far w and b are from the best
        path, steps = [(0.0, 0.0)], 0
        first = left = self.excess(u, v)
        while NEAR * first < left < LOST * first and steps < MOST_STEPS:
            slope_u, slope_v = (scale**2 + mean**2) * u + mean * v, mean * u + v
            u, v = u - lr * slope_u, v - lr * slope_v
            steps, left = steps + 1, self.excess(u, v)
            if steps < DRAWN:
                path.append((w_best + u, b_best + v))
        return steps if left <= NEAR * first else math.inf, np.array(path)

    def __str__(self) -> str:
        end = f"steps: {self.steps:,}" if math.isfinite(self.steps) else "it does not arrive"
        return (
            f"Mean {self.mean:.3g}, scale {self.scale:.3g}: condition number {_written(self.kappa)}, "
            f"border {_written(self.border)}, learning rate {_written(self.lr)}, {end}."
        )


class Valley(Explorable):
    """A feature's mean and scale are dragged; the loss of two weights and the path of descent follow, in the page.

    Left the data, a feature x and a target y; right the lines of equal loss of `y = w x + b` over the two weights,
    and gradient descent from (0, 0). Above them stand the condition number, the border 2/λ of the learning rate, and
    the steps until a ten-thousandth of the excess loss is left (see `Descent`). The learning rate is
    2/(λmax + λmin) until the reader sets it.

    Args:
        mean, scale: of the feature at first; from -4 to 4 and from 0.2 to 3.
        title: stands above it and names it for a screen reader.

    Raises:
        ValueError, TypeError: a mean or a scale that the sliders do not reach, a blank title.
    """

    _esm = SCRIPTS / "valley.js"
    _css = SCRIPTS / "valley.css"

    title = traitlets.Unicode().tag(sync=True)
    mean = traitlets.Float().tag(sync=True)  # at first: a view keeps to itself what its reader does
    scale = traitlets.Float().tag(sync=True)
    points: traitlets.List[list] = traitlets.List().tag(sync=True)  # of [z, y - 1 - z]
    limits: traitlets.Dict[str, tuple] = traitlets.Dict().tag(sync=True)  # of the sliders

    def __init__(self, *, mean: float = 2.0, scale: float = 1.0, title: str = "Centre and scale one feature") -> None:
        title = words("title", title)
        mean = real("mean", mean, least=MEANS[0], most=MEANS[1])
        scale = real("scale", scale, least=SCALES[0], most=SCALES[1])
        points, descent = _points(), Descent(mean, scale)
        super().__init__(
            text=f"{title}. {descent}",
            picture=_picture(descent, points),
            title=title,
            mean=mean,
            scale=scale,
            points=points.round(3).tolist(),
            limits={"mean": list(MEANS), "scale": list(SCALES), "lr": list(RATES)},
        )

    def __repr__(self) -> str:
        return f"Valley({self.title!r}, mean={self.mean:g}, scale={self.scale:g})"


def _written(value: float) -> str:
    """With three digits and commas, as the page writes it."""
    return f"{float(f'{value:.3g}'):,g}"


def _points() -> np.ndarray:
    """(40, 2): z of mean 0 and variance 1, and noise that does not go with it."""
    rng = np.random.default_rng(0)
    z, noise = rng.normal(size=(2, POINTS))
    z = (z - z.mean()) / z.std()
    noise -= noise.mean() + z * (z @ noise) / POINTS
    return np.column_stack([z, 0.3 * noise / noise.std()])


def _picture(descent: Descent, points: np.ndarray) -> bytes:
    """What GitHub and print show: the data, and the valley with the path."""
    figure = Figure(figsize=(7, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    z, noise = points.T
    left.plot(descent.mean + descent.scale * z, 1 + z + noise, "o", ms=4, color="#0272db")
    left.axvline(0, color="#8f9194", lw=0.8)
    left.set(xlim=(-8, 8), ylim=(-3, 5), xlabel="feature x", ylabel="target y")
    steps = f"{descent.steps:,}" if math.isfinite(descent.steps) else "no end of"
    left.set_title(f"mean {descent.mean:.3g}, scale {descent.scale:.3g}")
    best = np.array(descent.best)
    angle = math.degrees(math.atan2(2 * descent.mean, descent.scale**2 + descent.mean**2 - 1) / 2)
    double = 2 * descent.excess(*-best)  # twice the excess loss at the start
    for k in range(1, 9):
        wide, high = (k / 4 * 2 * math.sqrt(double / curvature) for curvature in (descent.steep, descent.flat))
        right.add_patch(Ellipse(best, wide, high, angle=angle, fill=False, color="#b9c3c9", lw=0.8))  # type: ignore
    right.plot(*descent.path.T, ".-", color="#0272db", lw=1, ms=4)
    right.plot(*best, "x", color="#993d00", ms=9, mew=2)
    reach = 1.1 * np.hypot(*best)  # descent that arrives never gets farther from the best than it starts
    right.set(xlim=(best[0] - reach, best[0] + reach), ylim=(best[1] - reach, best[1] + reach))
    right.set(xlabel="weight w", ylabel="bias b", aspect="equal")
    right.set_title(f"condition number {_written(descent.kappa)}: {steps} steps")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return file.getvalue()
