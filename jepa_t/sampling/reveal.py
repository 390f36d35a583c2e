"""Reveal schedules: how many tokens a sampling step draws, and which.

Counts are host integers, so that no shape waits for the device.
"""

import math
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError, check_integer, check_share
from ..registry import REVEAL_ORDERS, REVEAL_SCHEDULES, function


@REVEAL_SCHEDULES.register_module()
def cosine(made: float) -> float:
    """The share of tokens still masked after a share of the steps: few are revealed at first, many at the end (MAR)."""
    return math.cos(math.pi / 2 * made)


@REVEAL_SCHEDULES.register_module()
def arccos(made: float) -> float:
    """The share still masked after a share of the steps: nearly as many are revealed by each, most by the very last."""
    return math.acos(made) / (math.pi / 2)


@REVEAL_SCHEDULES.register_module()
def linear(made: float) -> float:
    """The share still masked after a share of the steps: each reveals as many tokens."""
    return 1 - made


@REVEAL_SCHEDULES.register_module()
def paced(made: float, structure: float = 0.5, slow: float = 0.75) -> float:
    """Two paces: a share ``structure`` of the tokens in a share ``slow`` of the steps, few at first; then the rest.

    With the order ``checkerboard`` the black cells make the structure, between which the white ones are almost
    determined (Generation then Reconstruction, arXiv 2510.17171).

    Raises:
        UserError: One is no share, or nothing is left of the steps for the rest.
    """
    check_share("paced structure", structure)
    if check_share("paced slow", slow) == 1:
        raise UserError("paced slow is 1; give less, so that steps are left for the rest of the tokens")
    if made < slow:
        return 1 - structure * (1 - math.cos(math.pi / 2 * made / slow))
    return (1 - structure) * (1 - made) / (1 - slow)


def reveal_counts(tokens: int, steps: int, schedule: Any = "cosine") -> list[int]:
    """How many tokens each step draws: at least one, N in all, in min(steps, N) steps.

    Args:
        tokens: N, how many tokens an image has.
        steps: S; more than N are cut to N.
        schedule: One of the registry ``REVEAL_SCHEDULES``: the share still masked after a share of the steps.

    Raises:
        UserError: The schedule is unknown, or ``steps`` no whole number of at least 1.

    Examples:
        >>> reveal_counts(tokens=16, steps=4)
        [2, 3, 5, 6]
    """
    still_masked = function(schedule, REVEAL_SCHEDULES)
    steps, masked, counts = min(check_integer("sampler.steps", steps), tokens), tokens, []
    for step in range(1, steps + 1):
        share = still_masked(step / steps)
        if not math.isfinite(share):
            raise UserError(
                f"sampler.schedule={schedule!r} gives {share} at {step / steps:.3g}; give a share in [0, 1]"
            )
        planned = math.floor(tokens * share + 1e-9)
        left = max(min(planned, masked - 1), steps - step)  # fall by one at least, keep one for each later step
        left = 0 if step == steps else left
        counts.append(masked - left)
        masked = left
    return counts


@REVEAL_ORDERS.register_module(name=["random", "confidence"])  # MaskGIT's begins so, and is sorted anew at each step
def random_order(priority: Tensor, _grid: tuple[int, int]) -> Tensor:
    """A uniform permutation for each image: the order of ``priority [B, N]``."""
    return priority.argsort(dim=1, stable=True)


@REVEAL_ORDERS.register_module(name="halton")
def halton_order(priority: Tensor, grid: tuple[int, int]) -> Tensor:
    """The cells as the two-dimensional Halton sequence first visits them: always far from the last ones.

    The same order for each image (Halton-MaskGIT, arXiv 2503.17076).
    """
    height, width = grid
    cells: dict[int, None] = {}
    index = 1
    while len(cells) < height * width:
        row, column = (_mirrored(index, base, n) for base, n in ((2, height), (3, width)))
        cells.setdefault(row * width + column)
        index += 1
    order = torch.tensor(list(cells), device=priority.device)
    return order.expand(priority.shape[0], -1)


@REVEAL_ORDERS.register_module(name="checkerboard")
def checkerboard_order(priority: Tensor, grid: tuple[int, int]) -> Tensor:
    """The black cells of a checkerboard, then the white ones, each in random order (arXiv 2510.17171)."""
    row, column = (torch.arange(n, device=priority.device) for n in grid)
    white = ((row[:, None] + column) % 2).flatten()
    return (priority + white).argsort(dim=1, stable=True)


def _mirrored(index: int, base: int, cells: int) -> int:
    """The cell, of so many, in which the Halton number lies: the digits of ``index``, mirrored at the point."""
    numerator, denominator = 0, 1
    while index:
        index, digit = divmod(index, base)
        numerator, denominator = numerator * base + digit, denominator * base
    return numerator * cells // denominator


def most_confident_first(order: Tensor, before: int, confidence: Tensor) -> Tensor:
    """The order ``[B, N]``, what follows its first ``before`` positions sorted by ``confidence [B, N - before]``."""
    ranks = confidence.argsort(dim=1, descending=True)
    return torch.cat([order[:, :before], order[:, before:].gather(1, ranks)], 1)


def reveal_order(name: Any, priority: Tensor, grid: tuple[int, int]) -> Tensor:
    """A permutation of the N = height x width positions for each image ``[B, N]``.

    Args:
        name: One of the registry ``REVEAL_ORDERS``.
        priority: A uniform number in [0, 1) for each token ``[B, N]``.
        grid: Height and width in tokens.

    Raises:
        UserError: The name is unknown.

    Examples:
        >>> reveal_order("random", torch.tensor([[0.3, 0.1, 0.2]]), (1, 3)).tolist()
        [[1, 2, 0]]
    """
    return function(name, REVEAL_ORDERS)(priority, grid)
