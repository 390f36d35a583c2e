"""A source of random numbers for each image; on the way between two seeds their numbers turn into each other."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Generator, Tensor

from ..contracts import RandomSource
from ..structures import Between, Seed

Stream = Generator | Between[Generator]
LEAST, MOST = 2.0**-25, 1 - 2.0**-24  # uniform numbers whose quantiles are finite, below 1 in float32


class Generators(RandomSource):
    """A source of randomness for each image, on the CPU: an image depends on its seed, not on its batch or device.

    Args:
        seeds: One per image.
        device: Where the numbers are wanted.
    """

    def __init__(self, seeds: Sequence[Seed], device: torch.device) -> None:
        self.streams = [_stream(seed) for seed in seeds]
        self.device = device

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers ``[B, *shape]``."""
        return self._draw(partial(_normal, shape))

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1) ``[B, *shape]``."""
        return self._draw(partial(_uniform, shape))

    def gumbel(self, *shape: int) -> Tensor:
        """Standard Gumbel numbers ``[B, *shape]``."""
        return -(-self.uniform(*shape).clamp(min=torch.finfo(torch.float32).tiny).log()).log()  # 0 would be infinite

    def _draw(self, draw: Callable[[Stream], Tensor]) -> Tensor:
        return torch.stack([draw(stream) for stream in self.streams]).to(self.device, non_blocking=True)


def slerp(first: Tensor, second: Tensor, share: float) -> Tensor:
    """Normal numbers on the way between two independent ones, which stay normal: on a circle, since their vectors are
    as good as at right angles. A share of 0 is the first to the bit, 1 the second."""
    if share in (0, 1):
        return second if share else first
    angle = share * math.pi / 2
    return math.cos(angle) * first + math.sin(angle) * second


def _stream(seed: Seed) -> Stream:
    if isinstance(seed, Between):
        return Between(Generator().manual_seed(seed.first), Generator().manual_seed(seed.second), seed.share)
    return Generator().manual_seed(seed)


def _normal(shape: Sequence[int], stream: Stream) -> Tensor:
    if isinstance(stream, Generator):
        return torch.randn(shape, generator=stream)
    return slerp(_normal(shape, stream.first), _normal(shape, stream.second), stream.share)


def _uniform(shape: Sequence[int], stream: Stream) -> Tensor:
    if isinstance(stream, Generator):
        return torch.rand(shape, generator=stream)
    first, second = _uniform(shape, stream.first), _uniform(shape, stream.second)
    if stream.share in (0, 1):
        return second if stream.share else first
    first, second = (torch.special.ndtri(end.clamp(LEAST, MOST)) for end in (first, second))
    return torch.special.ndtr(slerp(first, second, stream.share)).clamp(max=MOST)
