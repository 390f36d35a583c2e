"""Which tokens are visible: index splits and the verbs on them. Nothing here is learnable.

No boolean masks and no ``nonzero``: every shape is a host integer, so nothing waits for the device.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

from .errors import UserError
from .randomness import dealt
from .structures import Split


@dataclass(frozen=True)
class MaskRatio:
    """How much is masked in training: a truncated normal of mean 1 (D-JEPA's recipe: 0.25 above 0.7).

    Args:
        low: The smallest masked share, in [0, 1].
        std: Standard deviation before the truncation to [low, 1]; above 0. A large one is uniform.
        multiple: The visible count is rounded to a multiple of this, up or down at random so that its mean
            stays, and compiled code meets few shapes.

    Raises:
        UserError: A number is out of range.
    """

    low: float = 0.7
    std: float = 0.25
    multiple: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.low <= 1:
            raise UserError(f"mask_ratio.low is {self.low}; it must lie between 0 and 1")
        if not self.std > 0:
            raise UserError(f"mask_ratio.std is {self.std}; it must be above 0")
        if self.multiple < 1:
            raise UserError(f"mask_ratio.multiple is {self.multiple}; it must be at least 1")

    def ratio(self, uniform: float) -> float:
        """The masked share in [low, 1] at a quantile ``uniform`` in [0, 1): the inverse of the distribution."""
        normal = NormalDist(1.0, self.std)
        least = normal.cdf(self.low)
        quantile = least + uniform * (0.5 - least)
        return self.low if quantile <= 0 else min(max(normal.inv_cdf(quantile), self.low), 1.0)

    def visible_count(self, tokens: int, uniform: float, rounding: float) -> int:
        """V for N ``tokens``: N - ceil(r N), rounded; ``uniform`` and ``rounding`` are drawn from [0, 1)."""
        visible = tokens - masked_count(tokens, self.ratio(uniform))
        return int(visible / self.multiple + rounding) * self.multiple


def masked_count(tokens: int, ratio: float) -> int:
    """ceil(r N), at least one: how many of N ``tokens`` a share of ``ratio`` masks."""
    return max(1, math.ceil(ratio * tokens - 1e-9))  # 0.7 * 10 is 7.000000000000001 without the margin


def draw(
    batch: int, tokens: int, ratio: MaskRatio, device: torch.device, generator: torch.Generator | None = None
) -> Split:
    """A random split for training: one count for the batch, an independent permutation per image.

    All masked tokens are asked for.

    Args:
        batch: B.
        tokens: N.
        ratio: How much is masked.
        device: Where the order lies.
        generator: Source of the randomness, on the CPU and equal on all processes, so that all masks have one size
            and no process waits for another's; by default PyTorch's own.
    """
    uniform, rounding = torch.rand(2, generator=generator).tolist()
    visible = min(ratio.visible_count(tokens, uniform, rounding), tokens - 1)
    order = dealt(torch.rand, (batch, tokens), generator=generator).to(device, non_blocking=True).argsort(dim=1)
    return Split(order, visible, tokens - visible)


def gather(tokens: Tensor, positions: Tensor) -> Tensor:
    """Tokens ``[B, N, C]`` at positions ``[B, K]``: ``[B, K, C]``. Its backward is an index-add."""
    batch, count, channels = tokens.shape
    rows = positions + torch.arange(batch, device=tokens.device)[:, None] * count
    return tokens.reshape(batch * count, channels).index_select(0, rows.flatten()).view(*rows.shape, channels)


def scatter(tokens: Tensor, positions: Tensor, values: Tensor) -> Tensor:
    """Tokens ``[B, N, C]`` with ``values [B, K, C]`` written at positions ``[B, K]``; a new tensor."""
    return tokens.scatter(1, positions[..., None].expand_as(values), values)
