"""What a sampler sees of a model."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .contracts import DiscreteImageTokenizer, ImageTokenizer, RandomSource, Sampler
from .errors import UserError
from .network import Network
from .structures import Drawn, Prediction, Regional, Split, Text
from .tokenizers.maps import in_float32


@dataclass(frozen=True)
class Denoiser:
    """What the network says of masked tokens, and tokens drawn from that.

    Args:
        network: The weights that draw.
        image_tokenizer: If its tokens are codes, what is drawn becomes codes: in training the visible tokens are such.
        negative: Captions in place of the null text, one for each image; None for the null text.
        attended: A list to which each :meth:`condition` adds where the asked tokens look; None for not.
        regional: Further captions, of parts of the images; None for none.
    """

    network: Network
    image_tokenizer: ImageTokenizer
    negative: Text | None = None
    attended: list[tuple[Split, Tensor]] | None = None
    regional: Regional | None = None

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tokens."""
        return self.image_tokenizer.grid

    @property
    def channels(self) -> int:
        """C, the channels of a token."""
        return self.image_tokenizer.channels

    def null(self, batch: int) -> Text:
        """What guidance leads away from: the unconditional caption ``batch`` times, or the negative ones."""
        return self.network.text_tokenizer.null(batch) if self.negative is None else self.negative

    def condition(self, tokens: Tensor, split: Split, text: Text, branches: int = 1) -> Prediction:
        """What the network says about the asked tokens, as :meth:`~jepa_t.network.Network.condition`.

        Where parts of the images have captions of their own, all captions are branches of one pass, and each token has
        what its own says. So no text reaches a token of another region, wherever the fusion reads it.
        """
        if self.regional is not None:
            own, others = text.parted(len(tokens))
            whole = own + self.regional.text + others
            found = self.network.condition(tokens, split, whole, branches + self.regional.count)
            chosen = (self.regional.chosen(x, split) for x in (found.features, found.condition))
            return Prediction(*chosen)
        prediction = self.network.condition(tokens, split, text, branches, attention=self.attended is not None)
        if self.attended is not None and prediction.attention is not None:
            self.attended.append((split, prediction.attention))
        return prediction

    def draw(
        self,
        condition: Tensor,
        random: RandomSource,
        null: Tensor | None = None,
        guidance_scale: float = 1.0,
        **options: Any,
    ) -> Drawn:
        """Draw tokens ``[B, K, C]``, and codes if there are, by :meth:`~jepa_t.contracts.GenerativeObjective.draw`.

        Raises:
            UserError: The objective draws something else.
        """
        objective, tokenizer = self.network.generative, self.image_tokenizer
        drawn = objective.draw(condition, random, null, guidance_scale, **options)
        where = f"{type(objective).__name__}.draw"
        if not isinstance(drawn, Drawn):
            raise UserError(f"{where} returned a {type(drawn).__name__}; return jepa_t.structures.Drawn(tokens=...)")
        if objective.gives_confidence and drawn.confidence is None:
            raise UserError(f"{where} gave no confidence, which {type(objective).__name__}.gives_confidence promises")
        tokens = drawn.tokens
        broken = None  # where NaN or infinity would become a code, since one is always the nearest
        if drawn.ids is not None and isinstance(tokenizer, DiscreteImageTokenizer):
            tokens = in_float32(tokenizer.embed)(drawn.ids)
            broken = None if drawn.confidence is None else drawn.confidence.isnan()
        elif tokens is not None and isinstance(tokenizer, DiscreteImageTokenizer):
            broken = ~tokens.isfinite().all(-1)
            tokens = in_float32(tokenizer.quantize)(tokens)
        shape = [*condition.shape[:2], tokenizer.channels]
        if tokens is None or list(tokens.shape) != shape:
            found = "none" if tokens is None else list(tokens.shape)
            raise UserError(f"{where} gave tokens {found}; {shape} were asked for")
        if broken is not None:
            tokens = tokens.masked_fill(broken[..., None], torch.nan)
        return drawn if tokens is drawn.tokens else replace(drawn, tokens=tokens)


def check_drawn(tokens: Tensor, count: int, tokenizer: ImageTokenizer, sampler: Sampler) -> None:
    """See that a sampler gave the tokens of ``count`` images ``[B, N, C]``.

    Raises:
        UserError: It gave others.
    """
    shape = [count, tokenizer.grid[0] * tokenizer.grid[1], tokenizer.channels]
    if list(tokens.shape) != shape:
        raise UserError(f"sampler: {type(sampler).__name__} returned {list(tokens.shape)}; {shape} is expected")
