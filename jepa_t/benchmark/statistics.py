"""Intervals for runs and for paired differences: the hierarchical bootstrap.

A training run is the unit of replication; prompts are nested in it. Each draw takes seeds with replacement, and
for each of them prompts with replacement. With three to five seeds such intervals are rather too narrow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 10_000
LEVEL = 95  # per cent


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float


def interval(seeds: Sequence[np.ndarray], generator: np.random.Generator | None = None) -> Interval:
    """The mean over seeds and prompts.

    Args:
        seeds: For each seed the outcomes ``[P]`` in {-1, 0, 1} of its prompts: 0 or 1, or paired differences of
            such. A single number ``[1]`` of any size, such as a distance, is resampled by seed alone.
        generator: Source of the draws; by default always the same.
    """
    random = generator or np.random.default_rng(0)
    seeds = [np.asarray(outcomes, float) for outcomes in seeds]
    mean = float(np.mean([outcomes.mean() for outcomes in seeds]))
    chosen = random.integers(len(seeds), size=(DRAWS, len(seeds)))
    if all(len(outcomes) == 1 for outcomes in seeds):
        draws = np.array([outcomes[0] for outcomes in seeds])[chosen]
    else:
        # Resampling P prompts with outcomes in {-1, 0, 1} is a multinomial draw.
        count = np.array([len(outcomes) for outcomes in seeds])[chosen]
        up = np.array([(outcomes > 0).mean() for outcomes in seeds])[chosen]
        down = np.array([(outcomes < 0).mean() for outcomes in seeds])[chosen]
        ups = random.binomial(count, up)
        rest = np.divide(down, 1 - up, out=np.zeros_like(down), where=up < 1).clip(0, 1)
        draws = (ups - random.binomial(count - ups, rest)) / count
    edge = (100 - LEVEL) / 2
    low, high = np.percentile(draws.mean(1), [edge, 100 - edge])
    return Interval(mean, float(low), float(high))


def paired(first: Mapping[int, np.ndarray], second: Mapping[int, np.ndarray]) -> list[np.ndarray]:
    """``first - second`` prompt by prompt, for the seeds that both have."""
    common = sorted(first.keys() & second.keys())
    return [np.asarray(first[seed], float) - np.asarray(second[seed], float) for seed in common]


def steps_to(curve: Mapping[int, float], threshold: float) -> int | None:
    """The first step of a learning curve at or above a threshold; None if it never gets there."""
    return min((step for step, value in curve.items() if value >= threshold), default=None)
