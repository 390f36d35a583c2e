"""A caption as one vector: CLIP's own, as it compares it with images, through a small MLP."""

from collections.abc import Sequence

from torch import nn

from ..layers import linear, table
from ..registry import TOKENIZERS
from ..structures import Text
from .captions import one_token
from .frozen_text import CACHE, FrozenText
from .open_clip_text import ProjectedEncoder


@TOKENIZERS.register_module()
class PooledText(FrozenText):
    """One token per caption: an MLP of open_clip's projected text feature, not normalised (the public JEPA-T code).

    Its token says nothing of the order of words that the feature doesn't, and attention to a single token has nothing
    to choose; the frozen tokenizers give a token per word. It is there for checkpoints trained so.

    Args:
        model: An architecture of open_clip, or a folder, as for :class:`~jepa_t.tokenizers.OpenCLIPText`.
        width: E, of the MLP's output.
        pretrained: A tag or a file of weights, for a named architecture.
        quick_gelu: Whether the weights were trained with QuickGELU; needed for a file.
        length: Special tokens included; a caption of more is refused.
        cache: Folder in which features are kept between runs, or None.

    Raises:
        UserError: Model or weights are missing, or belong to another architecture or non-linearity.

    Examples:
        >>> PooledText("ViT-B-32", 64, pretrained="laion2b_s34b_b79k")(["a fox"]).tokens.shape  # doctest: +SKIP
        torch.Size([1, 1, 64])
    """

    def __init__(
        self,
        model: str,
        width: int,
        pretrained: str | None = None,
        quick_gelu: bool | None = None,
        length: int = 32,
        cache: str | None = CACHE,
    ) -> None:
        encoder = ProjectedEncoder("PooledText", model, pretrained, quick_gelu, length)
        super().__init__(encoder, f"{model} {pretrained or ''}".strip(), length, cache)
        self.width = width
        self.null_token = table(1, width)  # the null text doesn't pass the MLP
        parts = linear(encoder.width, width), nn.LayerNorm(width, eps=1e-5), nn.GELU(), linear(width, width)
        self.mlp = nn.Sequential(*parts)

    def null(self, batch: int) -> Text:
        """The learned null text, the unconditional caption: ``batch`` equal rows."""
        return one_token(self.null_token.expand(batch, -1))

    def forward(self, captions: Sequence[str]) -> Text:
        """Vectors of B captions: tokens ``[B, 1, E]``, pooled ``[B, E]``.

        Raises:
            UserError: As :meth:`ids`.
        """
        rows, places = self.tower(captions, self.null_token.device)
        return one_token(self.mlp(rows[places[:, 0]].to(self.null_token.dtype)))
