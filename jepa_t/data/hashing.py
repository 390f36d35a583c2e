"""Randomness without state: every number is a function of its seed, stream and index alone."""

import zlib
from dataclasses import dataclass

import numpy as np


def hash_bits(seed: int, stream: str, index: np.ndarray) -> np.ndarray:
    """64 random bits for each index: the SplitMix64 finaliser over seed, stream and index.

    Args:
        seed: Any whole number.
        stream: What the bits are for; two names give unrelated bits.
        index: Whole numbers ``[N]``, 0 or more.

    Returns:
        The bits ``[N]``, uint64.
    """
    bits = np.full(len(index), seed % 2**64, np.uint64)
    for word in (np.uint64(zlib.crc32(stream.encode())), index.astype(np.uint64)):
        bits = bits + word + np.uint64(0x9E3779B97F4A7C15)
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        bits = bits ^ (bits >> np.uint64(31))
    return bits


def draw(seed: int, stream: str, index: np.ndarray, below: int | np.ndarray) -> np.ndarray:
    """Whole numbers ``[N]`` in [0, below), int64, one for each index; ``below`` is one number or ``[N]``."""
    return (hash_bits(seed, stream, index) % np.asarray(below, np.uint64)).astype(np.int64)


@dataclass(frozen=True)
class Stream:
    """The randomness of N samples: a seed, a name and their indices ``[N]``."""

    seed: int
    name: str
    index: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> "Stream":
        """The randomness of some of the samples."""
        return Stream(self.seed, self.name, self.index[rows])

    def bits(self, what: str) -> np.ndarray:
        """64 random bits for each sample ``[N]``, uint64."""
        return hash_bits(self.seed, f"{self.name} {what}", self.index)

    def draw(self, what: str, below: int | np.ndarray) -> np.ndarray:
        """A whole number in [0, below) for each sample ``[N]``, int64."""
        return draw(self.seed, f"{self.name} {what}", self.index, below)
