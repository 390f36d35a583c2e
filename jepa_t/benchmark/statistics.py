"""Intervals for runs and for paired differences: a bootstrap over seeds and prompts.

All seeds answer the same prompts with the same noise, so the two are crossed: each draw takes seeds with replacement,
and one set of prompts with replacement for all of them. With three to five seeds such intervals are rather too narrow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

DRAWS = 10_000
LEVEL = 95  # per cent


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float


def interval(seeds: Sequence[np.ndarray]) -> Interval:
    """The mean over seeds and prompts; the same whenever it is asked for.

    Args:
        seeds: For each seed the outcomes ``[P]`` of its prompts, such as 0 or 1, or paired differences. Of a single
            number ``[1]``, such as a distance, the seed alone is drawn.
    """
    outcomes = np.stack([np.asarray(one, float) for one in seeds])  # [S, P]
    count, prompts = outcomes.shape
    chosen = _drawn(count, count)  # how often each seed is in a draw, as shares [DRAWS, S]
    draws = np.einsum("ds,dp,sp->d", chosen, _drawn(prompts, prompts), outcomes, optimize=True)
    edge = (100 - LEVEL) / 2
    low, high = np.percentile(draws, [edge, 100 - edge])
    return Interval(float(outcomes.mean()), float(low), float(high))


@cache
def _drawn(kinds: int, times: int) -> np.ndarray:
    """How large a share each kind has among ``times`` draws with replacement ``[DRAWS, kinds]``."""
    random = np.random.default_rng([kinds, times])
    return random.multinomial(times, np.full(kinds, 1 / kinds), size=DRAWS) / times


def paired(first: Mapping[int, np.ndarray], second: Mapping[int, np.ndarray]) -> list[np.ndarray]:
    """``first - second`` prompt by prompt, for the seeds that both have."""
    common = sorted(first.keys() & second.keys())
    return [np.asarray(first[seed], float) - np.asarray(second[seed], float) for seed in common]


def steps_to(curve: Mapping[int, float], threshold: float) -> int | None:
    """The first step of a learning curve at or above a threshold; None if it never gets there."""
    return min((step for step, value in curve.items() if value >= threshold), default=None)
