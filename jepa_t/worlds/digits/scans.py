"""The handwritten digits of scikit-learn: 1,797 scans of 8 x 8 pixels, split once, before anything is rendered.

1,500 are there to train on; 297 neither the generator nor the judge sees before the evaluation.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from ...data.hashing import hash_bits
from ...errors import UserError

TRAINING_SCANS = 1500
SIDE = 8  # pixels of a scan


@dataclass(frozen=True)
class Scans:
    """Handwritten digits: ``coverage`` by ink ``[N, 8, 8]`` in [0, 1], in sixteenths, and ``digits [N]``."""

    coverage: Tensor
    digits: np.ndarray


@cache
def load_scans() -> tuple[Scans, Scans]:
    """The 1,500 training scans and the 297 held-out ones; any prefix of the former has balanced digits."""
    from sklearn.datasets import load_digits

    images, digits = load_digits(return_X_y=True)
    shuffled = np.argsort(hash_bits(0, "split", np.arange(len(digits))), kind="stable")
    train, held_out = shuffled[:TRAINING_SCANS], shuffled[TRAINING_SCANS:]
    # First of each digit, then the second of each, ...
    train = train[np.argsort(occurrence(digits[train]), kind="stable")]
    coverage = torch.from_numpy(images.reshape(-1, SIDE, SIDE) / 16).float()
    return tuple(Scans(coverage[part], digits[part]) for part in (train, held_out))


def training_prefix(scans: int) -> Scans:
    """The first ``scans`` training scans.

    Raises:
        UserError: Fewer than one a digit, or more than there are.
    """
    if not 10 <= scans <= TRAINING_SCANS:
        raise UserError(f"scans={scans}: use 10 (one a digit) to {TRAINING_SCANS}")
    train, _ = load_scans()
    return Scans(train.coverage[:scans], train.digits[:scans])


def occurrence(values: np.ndarray) -> np.ndarray:
    """How often each value ``[N]`` has occurred before: 0 for its first place, 1 for its second, ..."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    count = np.empty(len(values), np.int64)
    count[order] = np.arange(len(values)) - np.searchsorted(ordered, ordered)
    return count


def pick(scans: Scans, digits: np.ndarray, rank: np.ndarray) -> Tensor:
    """The ``rank``-th scan (counted around) of each of the ``digits [...]``: coverage ``[..., 8, 8]``."""
    order, counts = np.argsort(scans.digits, kind="stable"), np.bincount(scans.digits, minlength=10)
    # Both unsigned: numpy takes the remainder of a mixed pair in floating point, which loses the low bits.
    nth = (rank.astype(np.uint64) % counts.astype(np.uint64)[digits]).astype(np.int64)
    return scans.coverage[order[(np.cumsum(counts) - counts)[digits] + nth]]


def pick_at_random(scans: Scans, digits: np.ndarray, seed: int, stream: str, index: np.ndarray) -> Tensor:
    """A scan of each of the ``digits [N, places]``, drawn by seed, stream and ``index [N]``."""
    ranks = [hash_bits(seed, f"{stream} scan {place}", index) for place in range(digits.shape[1])]
    return pick(scans, digits, np.stack(ranks, 1))
