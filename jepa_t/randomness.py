"""Random numbers of a batch that several processes share.

Each process draws for the whole batch, from generators that are equal on all, and keeps its own rows. So what is
masked and which noise is added is a function of (seed, step, sample), however many processes share the batch, and
no process waits for another. What is drawn for others costs little: the orders of 2,048 images of 256 tokens take 2 ms
of a core, and flow matching's noise for as many, 0.1 GB, is drawn on the GPU.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_dist_info
from torch import Tensor

from .errors import UserError
from .structures import Between, Seed, ends

SEEDS = 2**32  # a seed lies below: PyTorch reads no more of it on a CPU
Generators = tuple[torch.Generator | None, torch.Generator | None]


def generators(seed: int | None, device: torch.device) -> Generators:
    """The generators of a step, equal on all processes: one on the CPU and one on ``device``.

    On the CPU they are the same one; without a seed both are None, which stands for PyTorch's own.
    """
    if seed is None:
        return None, None
    host = torch.Generator().manual_seed(seed)
    return host, host if device.type == "cpu" else torch.Generator(device).manual_seed(seed)


def own_rows(draw: Callable[..., Tensor], shape: Sequence[int], dim: int = 0, **options: Any) -> Tensor:
    """This process's rows of what ``draw`` gives for the batches of all processes.

    Samples are dealt out like cards (``SeededSampler``), and so are the rows here.

    Args:
        draw: Such as ``torch.randn``; called with the shape for all processes and ``options``.
        shape: Of this process's part.
        dim: Which dimension is the batch's.
        **options: Such as ``generator`` and ``device``.

    Returns:
        Numbers of ``shape``.
    """
    rank, world_size = get_dist_info()
    shape = list(shape)
    batch = shape[dim]
    shape[dim] *= world_size
    return draw(shape, **options).unflatten(dim, (batch, world_size)).select(dim + 1, rank)


def checked_seeds(seeds: Any, count: int | None) -> list[Seed]:
    """A seed for each of so many captions, given as numbers of Python, NumPy or PyTorch, or between two of them.

    With a count of None they may be any number of seeds.

    Raises:
        UserError: There are more or fewer, or one is no whole number in [0, 2^32).
    """
    try:
        numbers = [_plain(seed) for seed in seeds]
    except (TypeError, ValueError, RuntimeError) as error:  # such as one number, or rows of numbers
        raise UserError(f"seeds is {seeds!r}; give a list with one for each caption, such as [0]") from error
    if count is not None and len(numbers) != count:
        raise UserError(f"{count} captions and {len(numbers)} seeds; give one seed per caption")
    for seed in [end for number in numbers for end in ends(number)]:
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < SEEDS:
            raise UserError(f"the seed {seed!r} is no whole number from 0 to 2^32 - 1")
    return numbers


def _plain(seed: Any) -> Any:
    """A seed as a number of Python; both ends of what lies between two."""
    if isinstance(seed, Between):
        return replace(seed, first=_plain(seed.first), second=_plain(seed.second))
    return seed.item() if isinstance(seed, (Tensor, np.generic)) else seed
