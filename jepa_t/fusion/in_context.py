"""Fusion in context: the text joins the sequence."""

from torch import Tensor, nn

from ..errors import UserError
from ..layers import linear
from ..registry import FUSIONS
from ..structures import Text


@FUSIONS.register_module()
class InContext(nn.Module):
    """Put the text tokens into the sequence, where self-attention mixes them with the image tokens.

    The L text tokens are added to the first L tokens of ``x``, which at the sites ``encoder`` and ``predictor``
    are registers: the sequence keeps its length, and each register that carries a word differs from the others.

    Args:
        width: D, channels of the network's features.
        text_width: E, channels of the text.
        registers: How many tokens at the front of ``x`` are registers; image tokens are left alone.

    Examples:
        >>> import torch
        >>> text = Text(torch.randn(2, 5, 8), torch.ones(2, 5, dtype=torch.bool), torch.randn(2, 8))
        >>> fusion, x = InContext(width=16, text_width=8, registers=5), torch.randn(2, 9, 16)
        >>> torch.equal(fusion(x, text)[:, 5:], x[:, 5:])  # image tokens are left alone
        True
    """

    def __init__(self, width: int, text_width: int, registers: int) -> None:
        super().__init__()
        self.registers = registers
        self.proj = linear(text_width, width)

    def forward(self, x: Tensor, text: Text) -> Tensor:
        """Fuse ``x [B, K, D]`` with the text: ``[B, K, D]``.

        Raises:
            UserError: There are fewer registers than text tokens.
        """
        words = self.proj(text.tokens) * text.valid[..., None].to(x.dtype)
        room = min(self.registers, x.shape[1])
        if words.shape[1] > room:
            raise UserError(
                f"InContext needs a register for each of the {words.shape[1]} text tokens and there are "
                f"{room}; raise encoder.registers, and use the site 'encoder' or 'predictor'"
            )
        return x + nn.functional.pad(words, (0, 0, 0, x.shape[1] - words.shape[1]))
