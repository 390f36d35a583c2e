"""Everything that learns: the components, and ``condition``, which training and sampling both call.

Letters: B batch, N image tokens, V visible, K asked, C token channels, D width, R registers.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from . import contracts
from .contracts import DiscreteImageTokenizer, Encoder, GenerativeObjective, ImageTokenizer, Objective, TextTokenizer
from .errors import UserError
from .fusion import Fusion, Look, per_caption
from .layers import seeded
from .masking import gather
from .registry import BACKBONES, OBJECTIVES, TOKENIZERS, build
from .structures import Prediction, Split, Text

READABLE = {"features", "ids", "null"}  # of a target, besides its tokens


class Network(nn.Module):
    """Everything that learns, as one module, so that its averaged copy is one module too.

    Each part is given as a config or as the component itself.

    Args:
        image_tokenizer: Gives grid, channels and, if its tokens are codes, how many; its weights stay outside.
        width: D, channels of the network's features.
        text_tokenizer: Captions to text tokens.
        encoder: The context encoder.
        predictor: The feature predictor.
        fusion: A preset's name, or a component per site.
        objectives: A component per name; exactly one generates.

    Raises:
        UserError: A config is wrong, or a component keeps not its contract.
    """

    def __init__(
        self,
        image_tokenizer: ImageTokenizer,
        width: int,
        text_tokenizer: Any,
        encoder: Any,
        predictor: Any,
        fusion: str | Mapping[str, Any],
        objectives: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.grid, self.channels = image_tokenizer.grid, image_tokenizer.channels
        offered = {"width": width, "channels": self.channels, "tokens": self.grid[0] * self.grid[1]}
        if isinstance(image_tokenizer, DiscreteImageTokenizer) and image_tokenizer.codes_per_token == 1:
            offered["codebook_size"] = image_tokenizer.codebook_size
        self.text_tokenizer: TextTokenizer = seeded("text", lambda: build(text_tokenizer, TOKENIZERS, TextTokenizer))
        self.encoder: Encoder = seeded("encoder", lambda: build(encoder, BACKBONES, Encoder, **offered))
        self.predictor: contracts.Predictor = seeded(
            "predictor", lambda: build(predictor, BACKBONES, contracts.Predictor, **offered)
        )
        text_width, registers = self.text_tokenizer.width, len(self.encoder.registers)
        self.fusion: Fusion = seeded(
            "fusion", lambda: Fusion(fusion, width, text_width, self.predictor.depth, registers)
        )
        if not len(self.fusion):
            self.text_tokenizer.requires_grad_(False)  # nothing reads the text
        self.objectives = nn.ModuleDict()
        for name, cfg in objectives.items():
            self.objectives[name] = seeded(name, partial(build, cfg, OBJECTIVES, Objective, **offered))
            if not self.objectives[name].weight:
                self.objectives[name].requires_grad_(False)  # it isn't computed
        names = [name for name, part in self.objectives.items() if isinstance(part, GenerativeObjective)]
        if len(names) != 1:
            raise UserError(f"model.objectives has {len(names)} that generate; give one, such as FlowMatching")
        self._generative = names[0]
        for name, part in self.losses.items():
            if isinstance(part.reads, str) or not READABLE.issuperset(part.reads):
                raise UserError(
                    f"objectives.{name}: {type(part).__name__}.reads is {part.reads!r}; a set of {READABLE}"
                )

    @property
    def losses(self) -> dict[str, Objective]:
        """All objectives, by name."""
        return cast(dict[str, Objective], dict(self.objectives.items()))

    @property
    def generative(self) -> GenerativeObjective:
        """The objective that draws."""
        return cast(GenerativeObjective, self.objectives[self._generative])

    def condition(
        self, tokens: Tensor, split: Split, text: Text, branches: int = 1, attention: bool = False
    ) -> Prediction:
        """What the network says about the asked tokens; called alike to learn and to draw (JEPA-T, section 3).

        Args:
            tokens: Image tokens, of which only the visible ones are read ``[B, N, C]``.
            split: Which are visible and which are asked for.
            text: ``branches`` times B captions: the images' first, then theirs again, such as the null text.
            branches: How many captions each image has. What comes before the first fusion is computed once for all.
            attention: Whether to say also where in the captions the asked tokens look; of each image's first caption.

        Returns:
            As many as there are captions.

        Raises:
            UserError: The number of captions is another, or no fusion attends to them.
        """
        if len(text) != branches * len(tokens):
            raise UserError(f"{len(tokens)} images and {len(text)} captions; give {branches} for each image")
        if "encoder" in self.fusion or "context" in self.fusion:  # nothing comes before the text
            split, tokens = split.repeat(branches), per_caption(tokens, text)
        look = Look(split, len(text) // branches) if attention else None
        at = partial(self.fusion.at, text=text, look=look)
        registers = self.encoder.registers.expand(len(tokens), -1, -1)  # [B, R, D]
        registers = at("encoder", registers)
        registers, visible = self.encoder(gather(tokens, split.visible), split.visible, registers)  # [B, V, D]
        x = self.predictor.place(registers, visible, split, partial(at, "context"))  # [B, R + N, D]
        x = at("predictor", x)
        split = split if len(split.order) == len(x) else split.repeat(branches)
        x = self.predictor(x, split, lambda index, x: self.fusion.after_block(index, x, text, look))  # [B, K, D]
        features = at("features", x)
        condition = at("objective", features)
        return Prediction(per_caption(features, text), per_caption(condition, text), look.mean() if look else None)

    def null(self, tokens: Tensor, split: Split) -> Tensor:
        """The condition of the asked tokens under the null text ``[B, K, D]``, without gradient."""
        return self.condition(tokens, split, self.text_tokenizer.null(len(tokens))).condition.detach()

    @torch.no_grad()
    def target(self, tokens: Tensor, split: Split) -> Tensor:
        """The target encoder: features of the asked tokens, seen among all ``[B, K, D]``, without gradient.

        It never sees the caption (the null text stands in where the fusion has the site ``encoder``), so no
        text can leak into the target.
        """
        registers = self.encoder.registers.expand(len(tokens), -1, -1)
        if "encoder" in self.fusion:
            registers = self.fusion.at("encoder", registers, self.text_tokenizer.null(len(tokens)))
        _, features = self.encoder(gather(tokens, split.order), split.order, registers)
        return features[:, split.visible_count : split.visible_count + split.asked_count]
