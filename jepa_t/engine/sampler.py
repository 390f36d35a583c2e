"""Which sample comes when: a pure function of the seed and the position."""

import sys
from collections.abc import Iterator, Sized

import numpy as np
import torch
from mmengine.dist import get_dist_info
from torch.utils.data import Sampler

from ..errors import UserError, check_integer
from ..registry import DATA_SAMPLERS


def mix(*numbers: int) -> int:
    """One 32-bit seed from several whole numbers; torch's CPU generator reads no more bits than that."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


@DATA_SAMPLERS.register_module()
class SeededSampler(Sampler[int]):
    """An endless stream of indices: one seeded permutation of the dataset after the other.

    Process ``r`` of ``W`` takes every ``W``-th index of the common stream, so the processes share no sample
    within a pass.

    Args:
        dataset: Anything with a length of at least one.
        seed: Decides every permutation.

    Raises:
        UserError: The dataset is empty, or the seed is no whole number of at least 0.
    """

    def __init__(self, dataset: Sized, seed: int = 0) -> None:
        if len(dataset) == 0:
            raise UserError(f"{type(dataset).__name__} is empty; training needs at least one sample")
        self.size = len(dataset)
        self.seed = check_integer("SeededSampler.seed", 0 if seed is None else seed, 0)
        self.rank, self.world_size = get_dist_info()
        self.start = 0

    def skip(self, count: int) -> None:
        """Begin the next iteration ``count`` samples of all processes into the stream, without reading any.

        Where the stream goes on thus doesn't depend on how many processes had read it.
        """
        self.start = count

    def __iter__(self) -> Iterator[int]:
        """The indices of this process, without end."""
        epoch, first = divmod(self.start + self.rank, self.size)
        while True:
            generator = torch.Generator().manual_seed(mix(self.seed, epoch))
            mine = torch.randperm(self.size, generator=generator)[first :: self.world_size].tolist()
            yield from mine
            passes, first = divmod(first + len(mine) * self.world_size, self.size)
            epoch += passes

    def __len__(self) -> int:
        """A length that no training reaches: MMEngine does odd things where it believes that an epoch has ended."""
        return sys.maxsize
