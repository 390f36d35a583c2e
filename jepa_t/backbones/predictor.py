"""The feature predictor: from context to the features of what is masked."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import contracts
from ..layers import EPS, Blocks, linear, table
from ..registry import BACKBONES
from ..structures import Split


@BACKBONES.register_module()
class Predictor(contracts.Predictor):
    """A Transformer over context and mask queries (D-JEPA, section 3).

    The tokens are laid out as registers | visible | asked | not asked yet. Attention doesn't know the order of
    its tokens, so "in place" means: each with the embedding of its position.

    Args:
        tokens: N, how many positions there are.
        width: D, channels of the network's features.
        depth: How many blocks it has.
        heads: Attention heads.
        dropout: In attention and after both branches of a block.
        attention: Which kernel computes it: ``auto``, ``sdpa``, ``math``, ``xformers``, or one of your own.
        checkpointing: Recompute the blocks in the backward pass.

    Examples:
        >>> split = Split(torch.arange(16).expand(2, -1), visible_count=3, asked_count=13)
        >>> predictor = Predictor(tokens=16, width=32, depth=1, heads=2)
        >>> x = predictor.place(torch.randn(2, 4, 32), torch.randn(2, 3, 32), split, fuse=lambda x: x)
        >>> predictor(x, split, after_block=lambda index, x: x).shape
        torch.Size([2, 13, 32])
    """

    def __init__(
        self,
        tokens: int,
        width: int,
        depth: int,
        heads: int,
        dropout: float = 0.0,
        attention: str = "auto",
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.embed = linear(width, width)
        self.positions = table(tokens, width)
        self.mask_query = table(width)
        self.depth = depth
        self.blocks = Blocks(depth, width, heads, dropout, attention, checkpointing)
        self.norm = nn.LayerNorm(width, eps=EPS)

    def place(self, registers: Tensor, visible: Tensor, split: Split, fuse: Callable[[Tensor], Tensor]) -> Tensor:
        """The input sequence.

        Args:
            registers: Encoded registers ``[B, R, D]``.
            visible: Encoded visible tokens ``[B, V, D]``.
            split: Which tokens are where.
            fuse: The ``context`` fusion, called with both, projected ``[B, R + V, D]``.

        Returns:
            ``[B, R + N, D]``.
        """
        context = self.embed(torch.cat([registers, visible], 1))
        registers, visible = fuse(context).tensor_split([registers.shape[1]], 1)
        masked = self.mask_query.expand(*split.masked.shape, -1)
        image = torch.cat([visible, masked.to(visible.dtype)], 1)
        return torch.cat([registers, image + F.embedding(split.order, self.positions)], 1)

    def forward(self, x: Tensor, split: Split, after_block: Callable[[int, Tensor], Tensor]) -> Tensor:
        """Predict the features of the asked tokens.

        Args:
            x: The sequence from :meth:`place`, after the ``predictor`` fusion ``[B, R + N, D]``.
            split: Which tokens are asked for.
            after_block: The ``blocks`` fusion, called with a block's index and output.

        Returns:
            ``[B, K, D]``.
        """
        start = x.shape[1] - split.masked.shape[1]
        asked = slice(start, start + split.asked_count)
        for index in range(self.depth):
            last = index == self.depth - 1  # of the last block nothing else is ever read
            x = self.blocks.run(index, x, rows=asked if last else None)
            x = after_block(index, x)
        return self.norm(x)
