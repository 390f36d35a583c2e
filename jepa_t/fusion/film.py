"""Fusion by feature-wise modulation."""

from torch import Tensor, nn

from ..layers import linear
from ..registry import FUSIONS
from ..structures import Text


@FUSIONS.register_module()
class FiLM(nn.Module):
    """Scale and shift every channel by the pooled text (Perez et al. 2018). Starts as the identity.

    Args:
        width: D.
        text_width: E.
    """

    def __init__(self, width: int, text_width: int) -> None:
        super().__init__()
        self.proj = linear(text_width, 2 * width, zero=True)

    def forward(self, x: Tensor, text: Text) -> Tensor:
        """Fuse ``x [B, K, D]`` with the text: ``[B, K, D]``."""
        scale, shift = self.proj(text.pooled)[:, None].chunk(2, -1)
        return x * (1 + scale) + shift
