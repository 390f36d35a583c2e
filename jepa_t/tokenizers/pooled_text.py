"""A caption as one vector: a frozen encoder's pooled features through a small MLP."""

from collections.abc import Sequence

from torch import Tensor, nn

from ..contracts import TextTokenizer
from ..errors import UserError
from ..layers import linear, table
from ..registry import TOKENIZERS, build
from ..structures import Text
from .captions import one_token
from .frozen_text import FrozenText


@TOKENIZERS.register_module()
class PooledText(TextTokenizer):
    """One token per caption: an MLP of the pooled vector of a frozen text encoder (the public JEPA-T code, of
    ``OpenCLIPText(projected=True)``).

    Its tokens say nothing of the order of words that the pooled vector doesn't, and attention to a single token has
    nothing to choose; the frozen tokenizers give a token per word. It is there for checkpoints trained so.

    Args:
        encoder: Config of a frozen text tokenizer, such as ``OpenCLIPText``.
        width: E, of the MLP's output.

    Raises:
        UserError: The encoder is none of the frozen ones.
    """

    def __init__(self, encoder: dict, width: int) -> None:
        super().__init__()
        self.encoder = build(encoder, TOKENIZERS)
        if not isinstance(self.encoder, FrozenText):
            raise UserError(f"PooledText encoder is a {type(self.encoder).__name__}; use HFText or OpenCLIPText")
        inner = self.encoder.width
        self.encoder.null_token = table(1, width)  # the null text doesn't pass the MLP
        self.width, self.length = width, self.encoder.length
        self.mlp = nn.Sequential(linear(inner, width), nn.LayerNorm(width, eps=1e-5), nn.GELU(), linear(width, width))

    def ids(self, captions: Sequence[str]) -> Tensor:
        """The encoder's token ids ``[B, L]``.

        Raises:
            UserError: A caption is no text, empty or too long.
        """
        return self.encoder.ids(captions)

    def null(self, batch: int) -> Text:
        """The learned null text, the unconditional caption: ``batch`` equal rows."""
        return one_token(self.encoder.null_token.expand(batch, -1))

    def forward(self, captions: Sequence[str]) -> Text:
        """Vectors of B captions: tokens ``[B, 1, E]``, pooled ``[B, E]``.

        Raises:
            UserError: As :meth:`ids`.
        """
        return one_token(self.mlp(self.encoder(captions).pooled))
