"""Fusion by addition."""

from torch import Tensor, nn

from ..layers import linear
from ..registry import FUSIONS
from ..structures import Text


@FUSIONS.register_module()
class Add(nn.Module):
    """Add the projected pooled text to every token. Starts as the identity.

    Args:
        width: D, channels of the network's features.
        text_width: E, channels of the text.

    Examples:
        >>> import torch
        >>> text = Text(torch.randn(2, 5, 8), torch.ones(2, 5, dtype=torch.bool), torch.randn(2, 8))
        >>> fusion, x = Add(width=16, text_width=8), torch.randn(2, 4, 16)
        >>> torch.equal(fusion(x, text), x)  # it starts as the identity
        True
    """

    def __init__(self, width: int, text_width: int) -> None:
        super().__init__()
        self.proj = linear(text_width, width, zero=True)

    def forward(self, x: Tensor, text: Text) -> Tensor:
        """Fuse ``x [B, K, D]`` with the text: ``[B, K, D]``."""
        return x + self.proj(text.pooled)[:, None]
