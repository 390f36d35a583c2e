"""The context encoder: visible tokens to context. Its averaged copy is the target encoder."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..contracts import Encoder
from ..errors import UserError, unknown
from ..layers import EPS, Blocks, linear, table
from ..registry import BACKBONES

NORM_AT = ("tokens", "sequence")


@BACKBONES.register_module()
class ContextEncoder(Encoder):
    """A Transformer over registers and visible tokens (D-JEPA, section 3).

    Args:
        channels: C, of the image tokens.
        tokens: N, how many positions there are.
        width: D, channels of the network's features.
        depth: How many blocks it has.
        heads: Attention heads.
        registers: R, learned tokens without a position in the image, each different from the start.
        norm_at: What the first norm acts on: ``tokens``, projected and still without a position; or ``sequence``:
            registers and tokens with their positions (D-JEPA's code).
        dropout: In attention and after both branches of a block.
        attention: Which kernel computes it: ``auto``, ``sdpa``, ``math``, ``xformers``, or one of your own.
        checkpointing: Recompute the blocks in the backward pass.

    Raises:
        UserError: A number doesn't fit, or ``norm_at`` is unknown.

    Examples:
        >>> encoder = ContextEncoder(channels=12, tokens=16, width=32, depth=1, heads=2, registers=4)
        >>> visible, positions = torch.randn(2, 3, 12), torch.tensor([[0, 5, 9]] * 2)
        >>> registers, tokens = encoder(visible, positions, encoder.registers.expand(2, -1, -1))
        >>> registers.shape, tokens.shape
        (torch.Size([2, 4, 32]), torch.Size([2, 3, 32]))
    """

    def __init__(
        self,
        channels: int,
        tokens: int,
        width: int,
        depth: int,
        heads: int,
        registers: int = 64,
        norm_at: str = "tokens",
        dropout: float = 0.0,
        attention: str = "auto",
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if registers < 1:
            raise UserError(f"registers={registers}; use at least 1, for when no token is visible")
        if norm_at not in NORM_AT:
            raise unknown("ContextEncoder norm_at", norm_at, NORM_AT)
        self.norm_at = norm_at
        self.embed = nn.Sequential(linear(channels, width), nn.LayerNorm(width, eps=EPS))
        self.positions = table(tokens, width)
        self.blocks = Blocks(depth, width, heads, dropout, attention, checkpointing)
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.registers = table(registers, width)  # drawn last: more of them leave the other initial weights alone

    def forward(self, tokens: Tensor, positions: Tensor, registers: Tensor) -> tuple[Tensor, Tensor]:
        """Encode the visible tokens.

        Args:
            tokens: Visible tokens ``[B, V, C]``.
            positions: Their positions ``[B, V]``.
            registers: ``self.registers`` for each image, after the ``encoder`` fusion ``[B, R, D]``.

        Returns:
            The registers ``[B, R, D]`` and the tokens ``[B, V, D]``, encoded.
        """
        project, norm = self.embed
        x, positions = project(tokens), F.embedding(positions, self.positions)
        if self.norm_at == "tokens":
            x = torch.cat([registers, norm(x) + positions], 1)
        else:
            x = norm(torch.cat([registers, x + positions], 1))
        for index in range(len(self.blocks)):
            x = self.blocks.run(index, x)
        return self.norm(x).tensor_split([registers.shape[1]], 1)
