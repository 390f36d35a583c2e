"""Which tokens are visible: index splits and the verbs on them. Nothing here is learnable.

No boolean masks and no ``nonzero``: every shape is a host integer, so nothing waits for the device.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor

from .errors import UserError, check_integer
from .randomness import own_rows
from .registry import MASK_RATIOS, function
from .structures import Split


@MASK_RATIOS.register_module()
def truncated_normal(uniform: float, low: float = 0.7, std: float = 0.25) -> float:
    """A normal distribution of mean 1, cut to [low, 1] (D-JEPA's recipe: 0.25 above 0.7).

    Args:
        uniform: A quantile in [0, 1).
        low: The smallest masked share, in [0, 1].
        std: Standard deviation before the cut; above 0. A large one is uniform.

    Raises:
        UserError: A number is out of range.
    """
    if not 0 <= low <= 1:
        raise UserError(f"mask_ratio.low is {low}; it must lie between 0 and 1")
    if not std > 0:
        raise UserError(f"mask_ratio.std is {std}; it must be above 0")
    normal = NormalDist(1.0, std)
    least = normal.cdf(low)
    quantile = least + uniform * (0.5 - least)
    return low if quantile <= 0 else min(max(normal.inv_cdf(quantile), low), 1.0)


@dataclass(frozen=True)
class MaskRatio:
    """How much is masked in training.

    Args:
        ratio: The masked share in [0, 1] at a quantile in [0, 1): the inverse of its distribution.
        multiple: The visible count is rounded to a multiple of this, so that compiled code meets few shapes: up or
            down at random, so that its mean stays, but never to more than leaves a token masked.

    Raises:
        UserError: A number is out of range.

    Examples:
        >>> MaskRatio().visible_count(tokens=16, uniform=0.5, rounding=0.0)
        2
    """

    ratio: Callable[[float], float] = truncated_normal
    multiple: int = 1

    def __post_init__(self) -> None:
        check_integer("mask_ratio.multiple", self.multiple)
        for quantile in (0.0, 0.5, 0.999):
            self.visible_count(1, quantile, 0.0)

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "MaskRatio":
        """Read a config: ``type``, a name of the registry ``MASK_RATIOS``, its options, and ``multiple``.

        Raises:
            UserError: The name or an option is unknown, or a number out of range.
        """
        options = {"type": "truncated_normal"} | dict(options)
        return cls(multiple=options.pop("multiple", 1), ratio=function(options, MASK_RATIOS))

    def visible_count(self, tokens: int, uniform: float, rounding: float) -> int:
        """V for N ``tokens``: N - ceil(r N), rounded; ``uniform`` and ``rounding`` are drawn from [0, 1).

        Raises:
            UserError: The masked share is outside [0, 1].
        """
        share = self.ratio(uniform)
        if not 0 <= share <= 1:
            raise UserError(f"mask_ratio gives {share!r} at the quantile {uniform:.3g}; it must lie between 0 and 1")
        visible = tokens - masked_count(tokens, share)
        most = (tokens - 1) // self.multiple  # at least one is masked
        return min(int(visible / self.multiple + rounding), most) * self.multiple


def masked_count(tokens: int, ratio: float) -> int:
    """ceil(r N), at least one: how many of N ``tokens`` a share of ``ratio`` masks."""
    return max(1, math.ceil(ratio * tokens - 1e-9))  # 0.7 * 10 is 7.000000000000001 without the margin


def draw_split(
    batch: int, tokens: int, ratio: MaskRatio, device: torch.device, generator: torch.Generator | None = None
) -> Split:
    """A random split for training: one count for the batch, an independent permutation per image.

    All masked tokens are asked for.

    Args:
        batch: B, how many images.
        tokens: N, how many tokens an image has.
        ratio: How much is masked.
        device: Where the order lies.
        generator: Source of the randomness, on the CPU and equal on all processes, so that all masks have one size
            and no process waits for another's; by default PyTorch's own.

    Examples:
        >>> split = draw_split(2, 16, MaskRatio(), torch.device("cpu"))
        >>> split.visible_count + split.asked_count
        16
    """
    uniform, rounding = torch.rand(2, generator=generator).tolist()
    visible = ratio.visible_count(tokens, uniform, rounding)
    order = own_rows(torch.rand, (batch, tokens), generator=generator).to(device, non_blocking=True).argsort(dim=1)
    return Split(order, visible, tokens - visible)


def gather(tokens: Tensor, positions: Tensor) -> Tensor:
    """Tokens ``[B, N, C]`` at positions ``[B, K]``: ``[B, K, C]``. Its backward is an index-add.

    Examples:
        >>> gather(torch.tensor([[[1.0], [2.0], [3.0]]]), torch.tensor([[2, 0]])).tolist()
        [[[3.0], [1.0]]]
    """
    batch, count, channels = tokens.shape
    rows = positions + torch.arange(batch, device=tokens.device)[:, None] * count
    return tokens.reshape(batch * count, channels).index_select(0, rows.flatten()).view(*rows.shape, channels)


def scatter(tokens: Tensor, positions: Tensor, values: Tensor) -> Tensor:
    """Tokens ``[B, N, C]`` with ``values [B, K, C]`` written at positions ``[B, K]``; a new tensor.

    Examples:
        >>> scatter(torch.zeros(1, 3, 1), torch.tensor([[2]]), torch.ones(1, 1, 1)).tolist()
        [[[0.0], [0.0], [1.0]]]
    """
    return tokens.scatter(1, positions[..., None].expand_as(values), values)
