"""Fusion by concatenation."""

from torch import Tensor, nn

from ..layers import linear
from ..registry import FUSIONS
from ..structures import Text


@FUSIONS.register_module()
class Concat(nn.Module):
    """Project ``[x; pooled text]`` and add it: ``W [x; p]`` with ``W`` starting at ``[I, 0]`` (JEPA-T's injection).

    The projection of a concatenation is the sum of two projections, so the text is projected once per image
    and not once per token.

    Args:
        width: D, channels of the network's features.
        text_width: E, channels of the text.

    Examples:
        >>> import torch
        >>> text = Text(torch.randn(2, 5, 8), torch.ones(2, 5, dtype=torch.bool), torch.randn(2, 8))
        >>> fusion, x = Concat(width=16, text_width=8), torch.randn(2, 4, 16)
        >>> torch.equal(fusion(x, text), x)  # it starts as the identity
        True
    """

    def __init__(self, width: int, text_width: int) -> None:
        super().__init__()
        self.proj = linear(width, width, zero=True)
        self.text_proj = linear(text_width, width, zero=True)

    def forward(self, x: Tensor, text: Text) -> Tensor:
        """Fuse ``x [B, K, D]`` with the text: ``[B, K, D]``."""
        return x + self.proj(x) + self.text_proj(text.pooled)[:, None]
