"""The context encoder: visible tokens to context. Its averaged copy is the target encoder."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UserError
from ..layers import EPS, Blocks, linear, table
from ..registry import BACKBONES


@BACKBONES.register_module()
class ContextEncoder(nn.Module):
    """A Transformer over registers and visible tokens (D-JEPA, section 3).

    Args:
        channels: C, of the image tokens.
        tokens: N, how many positions there are.
        width: D.
        depth: Blocks.
        heads: Attention heads.
        registers: R, learned tokens without a position in the image, each different from the start.
        dropout: In attention and after both branches of a block.
        attention: As in :func:`~jepa_t.attention.attention`.
        checkpointing: Recompute the blocks in the backward pass.

    Raises:
        UserError: A number doesn't fit.
    """

    def __init__(
        self,
        channels: int,
        tokens: int,
        width: int,
        depth: int,
        heads: int,
        registers: int = 64,
        dropout: float = 0.0,
        attention: str = "auto",
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if registers < 1:
            raise UserError(f"registers={registers}; use at least 1, for when no token is visible")
        self.embed = nn.Sequential(linear(channels, width), nn.LayerNorm(width, eps=EPS))
        self.positions = table(tokens, width)
        self.registers = table(registers, width)
        self.blocks = Blocks(depth, width, heads, dropout, attention, checkpointing)
        self.norm = nn.LayerNorm(width, eps=EPS)

    def forward(self, tokens: Tensor, positions: Tensor, registers: Tensor) -> tuple[Tensor, Tensor]:
        """Encode what is visible.

        Args:
            tokens: Visible tokens ``[B, V, C]``.
            positions: Their positions ``[B, V]``.
            registers: ``self.registers`` for each image, after the ``encoder`` fusion ``[B, R, D]``.

        Returns:
            The registers ``[B, R, D]`` and the tokens ``[B, V, D]``, encoded.
        """
        x = self.embed(tokens) + F.embedding(positions, self.positions)
        x = torch.cat([registers, x], 1)
        for index in range(len(self.blocks)):
            x = self.blocks.run(index, x)
        return self.norm(x).tensor_split([registers.shape[1]], 1)
