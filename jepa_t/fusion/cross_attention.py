"""Fusion by cross-attention."""

from torch import Tensor, nn

from ..contracts import AttendingFusion
from ..layers import EPS, Attention
from ..registry import FUSIONS
from ..structures import Text


@FUSIONS.register_module()
class CrossAttention(AttendingFusion):
    """Each image token looks at the text tokens: ``x + CrossAttention(Q = x, K = V = text)`` (JEPA-T).

    Keys and values are the caption's tokens, not copies of one pooled vector, for which the softmax would be
    uniform and queries and keys would never learn. Starts as the identity.

    Args:
        width: D, channels of the network's features.
        text_width: E, channels of the text.
        heads: Attention heads; must divide D.
        dropout: Of the attention weights and the output.
        attention: Which kernel computes it: ``auto``, ``sdpa``, ``math``, ``xformers``, or one of your own.

    Examples:
        >>> import torch
        >>> text = Text(torch.randn(2, 5, 8), torch.ones(2, 5, dtype=torch.bool), torch.randn(2, 8))
        >>> fusion, x = CrossAttention(width=16, text_width=8, heads=4), torch.randn(2, 4, 16)
        >>> torch.equal(fusion(x, text), x)  # it starts as the identity
        True
    """

    def __init__(
        self, width: int, text_width: int, heads: int = 4, dropout: float = 0.0, attention: str = "auto"
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.attn = Attention(width, heads, text_width, dropout, attention, zero=True)

    def forward(self, x: Tensor, text: Text) -> Tensor:
        """Fuse ``x [B, K, D]`` with the text: ``[B, K, D]``."""
        return x + self.attn(self.norm(x), text.tokens, text.valid)

    def attention(self, x: Tensor, text: Text) -> Tensor:
        """How each of ``x [B, K, D]`` shares its attention among the text tokens, the mean of heads ``[B, K, L]``."""
        return self.attn.shares(self.norm(x), text.tokens, text.valid)
