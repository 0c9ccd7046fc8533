"""How every benchmark here measures: ratios of times, taken in turn, so that a busy machine hits all alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ratio:
    """Time of one piece of work over that of the baseline in the same round: median and quartiles of all rounds."""

    median: float
    low: float
    high: float
    seconds: float  # median time of the work itself

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def interleaved(work: dict[str, Callable[[], object]], rounds: int = 15, warmup: int = 2) -> dict[str, Ratio]:
    """Time pieces of work in turn and compare each with the first, the baseline.

    Args:
        work: name to a function without arguments; the first is the baseline. A call should take 10 ms or more.
        rounds: each runs everything once, in an order that moves on by one.
        warmup: rounds before, not counted.
    """
    if len(work) < 2 or rounds < 3:
        raise ValueError(f"work, rounds: expected at least 2 and 3, got {len(work)} and {rounds}")
    names = list(work)
    times: dict[str, list[float]] = {name: [] for name in names}
    for i in range(warmup + rounds):
        start = i % len(names)
        for name in names[start:] + names[:start]:
            spent = seconds(work[name])
            if i >= warmup:
                times[name].append(spent)
    baseline = np.array(times[names[0]])
    result = {}
    for name in names:
        low, median, high = np.quantile(np.array(times[name]) / baseline, (0.25, 0.5, 0.75))
        result[name] = Ratio(float(median), float(low), float(high), float(np.median(times[name])))
    return result
