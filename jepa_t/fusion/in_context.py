"""Fusion in context: the text joins the sequence."""

import torch
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
        words = self.words(x, text) * text.valid[..., None].to(x.dtype)
        return x + nn.functional.pad(words, (0, 0, 0, x.shape[1] - words.shape[1]))

    def words(self, x: Tensor, text: Text) -> Tensor:
        """The text tokens as tokens of the sequence ``[B, L, D]``.

        Raises:
            UserError: There are fewer registers than text tokens.
        """
        words = self.proj(text.tokens)
        room = min(self.registers, x.shape[1])
        if words.shape[1] > room:
            raise UserError(
                f"{type(self).__name__} needs a register for each of the {words.shape[1]} text tokens and there are "
                f"{room}; raise encoder.registers, and use the site 'encoder' or 'predictor'"
            )
        return words


@FUSIONS.register_module()
class TextTokens(InContext):
    """Give the text tokens places of their own in the sequence: early fusion in its usual form.

    At the site ``encoder`` the words of the caption take the first L places among the registers. They aren't added to
    anything, and go through the encoder and the predictor beside the image tokens. What is learned for a place stands
    there where the caption has ended, as padding has learned tokens in DALL-E (Ramesh et al. 2021). Registers beyond
    L stay registers, so ``encoder.registers`` is L and as many as are wanted besides.

    Args:
        width: D, channels of the network's features.
        text_width: E, channels of the text.
        registers: How many tokens at the front of ``x`` are registers; image tokens are left alone.

    Examples:
        >>> import torch
        >>> text = Text(torch.randn(2, 5, 8), torch.ones(2, 5, dtype=torch.bool), torch.randn(2, 8))
        >>> fusion, x = TextTokens(width=16, text_width=8, registers=7), torch.randn(2, 10, 16)
        >>> torch.equal(fusion(x, text)[:, :5], fusion.proj(text.tokens))  # nothing is added to a word
        True
        >>> torch.equal(fusion(x, text)[:, 5:], x[:, 5:])
        True
    """

    def forward(self, x: Tensor, text: Text) -> Tensor:
        """Fuse ``x [B, K, D]`` with the text: ``[B, K, D]``.

        Raises:
            UserError: There are fewer registers than text tokens.
        """
        words = self.words(x, text)
        places, others = x.tensor_split([words.shape[1]], 1)
        return torch.cat([torch.where(text.valid[..., None], words.to(x.dtype), places), others], 1)
