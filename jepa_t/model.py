"""JEPA-T on one page: ``condition`` says what the network thinks, ``loss`` learns from it, ``generate`` draws.

Letters: B batch, N image tokens, V visible, K asked, C token channels, D width, R registers.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from .errors import UserError, unknown
from .fusion import Fusion
from .fusion.sites import as_many
from .layers import Block, seeded
from .masking import MaskRatio, draw, gather
from .objectives.denoising_head import ResidualBlock
from .randomness import dealt, generators
from .registry import BACKBONES, MODELS, OBJECTIVES, SAMPLERS, TOKENIZERS, build, construct
from .sampling import sampler_config
from .structures import Prediction, Split, Target, Text
from .tokenizers.codebook import Snapped, codebook
from .tokenizers.maps import precisely

DECODED = 32  # images that the image tokenizer decodes at once
FREEZABLE = ("encoder", "predictor")


class Network(nn.Module):
    """Everything that learns, as one module, so that its averaged copy is one module too.

    Args:
        image_tokenizer: Gives grid, channels and, if discrete, its codes; its weights stay outside.
        width: D.
        text_tokenizer, encoder, predictor: Configs of these components.
        fusion: A preset's name, or a config per site.
        objectives: A config per name; exactly one generates.

    Raises:
        UserError: A config is wrong.
    """

    def __init__(
        self,
        image_tokenizer: nn.Module,
        width: int,
        text_tokenizer: dict,
        encoder: dict,
        predictor: dict,
        fusion: str | Mapping[str, Any],
        objectives: Mapping[str, dict],
    ) -> None:
        super().__init__()
        self.grid, self.channels = image_tokenizer.grid, image_tokenizer.channels
        offered = {"width": width, "channels": self.channels, "tokens": self.grid[0] * self.grid[1]}
        codes = codebook(image_tokenizer)
        offered |= codes
        self.text_tokenizer = seeded("text", lambda: build(text_tokenizer, TOKENIZERS))
        self.encoder = seeded("encoder", lambda: build(encoder, BACKBONES, **offered))
        self.predictor = seeded("predictor", lambda: build(predictor, BACKBONES, **offered))
        text_width, depth = self.text_tokenizer.width, len(self.predictor.blocks)
        self.fusion = seeded("fusion", lambda: Fusion(fusion, width, text_width, depth, len(self.encoder.registers)))
        self.text_tokenizer.requires_grad_(len(self.fusion) > 0)  # without a fusion nothing reads the text
        self.objectives = nn.ModuleDict()
        for name, cfg in objectives.items():
            self.objectives[name] = seeded(name, partial(build, cfg, OBJECTIVES, **offered))
        generative = [o for o in self.objectives.values() if hasattr(o, "draw")]
        if len(generative) != 1:
            raise UserError(f"model.objectives has {len(generative)} that generate; give one, such as FlowMatching")
        self.draw, self.gives_confidence = generative[0].draw, getattr(generative[0], "gives_confidence", False)
        if codes and not hasattr(generative[0], "embed"):  # one that has the codes draws nothing else
            self.draw = Snapped(self.draw, codes["embed"], codes["snap"])
        self.null = self.text_tokenizer.null

    def condition(self, tokens: Tensor, split: Split, text: Text) -> Prediction:
        """What the network says about the asked tokens; called alike to learn and to draw (JEPA-T, section 3).

        Args:
            tokens: Image tokens, of which only the visible ones are read ``[B, N, C]``.
            split: Which are visible and which are asked for.
            text: B captions; or G B, the images' first, then theirs again, such as a caption and the null text. What
                comes before the first fusion is computed once for all G.

        Returns:
            As many as there are captions.
        """
        if "encoder" in self.fusion or "context" in self.fusion:  # nothing comes before the text
            split, tokens = split.repeat(len(text.pooled) // len(tokens)), as_many(tokens, text)
        registers = self.encoder.registers.expand(len(tokens), -1, -1)  # [B, R, D]
        registers = self.fusion.at("encoder", registers, text)
        registers, visible = self.encoder(gather(tokens, split.visible), split.visible, registers)  # [B, V, D]
        fuse = partial(self.fusion.at, "context", text=text)
        x = self.predictor.place(registers, visible, split, fuse)  # [B, R + N, D]
        x = self.fusion.at("predictor", x, text)
        x = self.predictor(x, split, lambda index, x: self.fusion.after_block(index, x, text))  # [B, K, D]
        features = self.fusion.at("features", x, text)
        condition = self.fusion.at("objective", features, text)
        return Prediction(as_many(features, text), as_many(condition, text))

    def target(self, tokens: Tensor, split: Split) -> Tensor:
        """The target encoder: features of the asked tokens, seen among all ``[B, K, D]``.

        It never sees the caption (the null text stands in where the fusion has the site ``encoder``), so no
        text can leak into the target.
        """
        registers = self.encoder.registers.expand(len(tokens), -1, -1)
        if "encoder" in self.fusion:
            registers = self.fusion.at("encoder", registers, self.null(len(tokens)))
        _, features = self.encoder(gather(tokens, split.order), split.order, registers)
        return features[:, split.visible_count : split.visible_count + split.asked_count]


def compile_blocks(module: nn.Module) -> None:
    """Compile each block of the Transformers and of the denoising head, when it is first called.

    Blocks share what is compiled. Training, evaluation and sampling meet about 20 kinds of inputs: with and without
    gradients, padding, guidance; one image or many; one token or many, of whose number compiled code asks no more.
    PyTorch gives up after 8 and goes on uncompiled, without a word in a log that is not its own.
    """
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 32)
    for part in module.modules():
        if isinstance(part, (Block, ResidualBlock)):
            part.compile()


@contextmanager
def cast_once(network: nn.Module, device: str) -> Iterator[None]:
    """Under autocast, cast the linear layers' weights once; autocast itself does so at each call of a frozen layer.

    What is computed stays the same.
    """
    on = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    linear = [module for module in network.modules() if on and isinstance(module, nn.Linear)]
    kept = [(parameter, parameter.data) for module in linear for parameter in module.parameters()]
    try:
        for parameter, value in kept:
            parameter.data = value.to(torch.get_autocast_dtype(device))
        yield
    finally:
        for parameter, value in kept:
            parameter.data = value


@MODELS.register_module()
class JEPAT(BaseModel):
    """The trained network, its average, and the two flows through them.

    Args:
        image_tokenizer, text_tokenizer, encoder, predictor: Configs of these components.
        objectives: A config per name.
        width: D.
        fusion: A preset (``none``, ``early``, ``late``, ``jepa_t``), or a config per site.
        mask_ratio: Options of :class:`~jepa_t.masking.MaskRatio`.
        text_drop: Share of captions replaced by the null text in training, in [0, 1].
        sampler: A preset's name, or options of the sampler, ``preset`` among them.
        frozen: ``encoder``, ``predictor`` or both: not trained, without dropout, and one module with the average's,
            so that what a checkpoint has as averaged weights is what stays.
        compile: Compile the blocks of the Transformers and of the denoising head.

    Raises:
        UserError: A config is wrong.
    """

    def __init__(
        self,
        image_tokenizer: dict,
        text_tokenizer: dict,
        encoder: dict,
        predictor: dict,
        objectives: dict,
        width: int,
        fusion: str | dict = "jepa_t",
        mask_ratio: dict | None = None,
        text_drop: float = 0.1,
        sampler: str | dict = "balanced",
        frozen: str | Sequence[str] = (),
        compile: bool = False,
    ) -> None:
        super().__init__({"type": "BaseDataPreprocessor", "non_blocking": True})
        if not 0 <= text_drop <= 1:
            raise UserError(f"model.text_drop is {text_drop}; it must lie between 0 and 1")
        self.image_tokenizer = build(image_tokenizer, TOKENIZERS).requires_grad_(False)
        self.network = Network(self.image_tokenizer, width, text_tokenizer, encoder, predictor, fusion, objectives)
        self.ema = copy.deepcopy(self.network).requires_grad_(False).eval()
        for part in [frozen] if isinstance(frozen, str) else frozen:
            if part not in FREEZABLE:
                raise unknown("part in model.frozen", part, FREEZABLE)
            setattr(self.network, part, getattr(self.ema, part))
        self.mask_ratio, self.text_drop = construct(MaskRatio, mask_ratio or {}), text_drop
        self.sample_with(sampler)
        if compile:
            compile_blocks(self)

    def forward(self, inputs: Tensor | Mapping[str, Tensor] | None, data_samples: dict[str, list], mode: str) -> Any:
        """MMEngine's entrance: ``loss`` gives :meth:`loss`, ``predict`` a dict with its ``image`` per caption."""
        if mode == "loss":
            return self.loss(inputs, data_samples["caption"], data_samples.get("seed"))
        if mode == "predict":
            images = self.generate(data_samples["caption"], data_samples["index"])
            rows = zip(*data_samples.values(), strict=True)
            return [dict(zip(data_samples, row, strict=True), image=i) for row, i in zip(rows, images, strict=True)]
        raise UserError(f"JEPAT mode is {mode!r}; use 'loss' or 'predict'")

    def tokens(self, images: Tensor | Mapping[str, Tensor]) -> Tensor:
        """Image tokens ``[B, N, C]`` of images, or of ``{"moments": [B, 2C', h, w]}`` that a cache holds of them.

        Raises:
            UserError: The image tokenizer can't read moments, or these aren't its own.
        """
        if not isinstance(images, Mapping):
            return precisely(self.image_tokenizer.encode)(images)
        if not hasattr(self.image_tokenizer, "from_moments"):
            raise UserError(f"{type(self.image_tokenizer).__name__} reads images; cached latents need a KLTokenizer")
        return self.image_tokenizer.from_moments(images["moments"])

    def loss(
        self, images: Tensor | Mapping[str, Tensor], captions: Sequence[str], seed: int | None = None
    ) -> dict[str, Tensor]:
        """The named losses of a batch.

        Args:
            images: ``[B, 3, H, W]`` in [-1, 1], or as :meth:`tokens`.
            captions: Their B captions.
            seed: Decides masks, dropped captions and noise, as if one process held the batches of all; by default
                PyTorch's own generators do.
        """
        network, tokens = self.network, self.tokens(images)  # [B, N, C]
        batch, count, _ = tokens.shape
        host, device = generators(seed, tokens.device)
        split = draw(batch, count, self.mask_ratio, tokens.device, host)
        keep = dealt(torch.rand, (batch,), generator=host).to(tokens.device, non_blocking=True) >= self.text_drop
        text = network.text_tokenizer(captions).where(keep, network.null(batch))
        prediction = network.condition(tokens, split, text)
        target = Target(gather(tokens, split.asked))
        objectives = [o for o in network.objectives.values() if getattr(o, "weight", 1.0)]
        if any(objective.needs_target_features for objective in objectives):
            with torch.no_grad():
                target = Target(target.tokens, self.ema.target(tokens, split))
        losses: dict[str, Tensor] = {}
        for objective in objectives:
            losses |= objective(prediction, target, device)
        return losses

    def sample_with(self, sampler: str | Mapping[str, Any]) -> None:
        """Draw with this sampler from now on: a preset's name, or options, ``preset`` among them.

        Raises:
            UserError: An option is wrong, or the generative objective doesn't read it.
        """
        chosen = build(sampler_config(sampler, draw=self.network.draw), SAMPLERS)
        if hasattr(chosen, "check"):
            chosen.check(self.network)
        self.sampler = chosen

    @torch.no_grad()
    def generate(self, captions: Sequence[str], seeds: Sequence[int]) -> Tensor:
        """Draw an image per caption with the averaged weights: ``[B, 3, H, W]`` in [-1, 1].

        Args:
            captions: B texts.
            seeds: B numbers; an image depends on its caption and seed alone.

        Raises:
            UserError: A caption is empty or too long, or the numbers of captions and seeds differ.
        """
        if len(seeds) != len(captions):
            raise UserError(f"{len(captions)} captions and {len(seeds)} seeds; give one seed per caption")
        text = self.ema.text_tokenizer(captions)
        with cast_once(self.ema, text.pooled.device.type):
            tokens = self.sampler(self.ema, text, seeds)
        decode = precisely(self.image_tokenizer.decode)
        return torch.cat([decode(part) for part in tokens.split(DECODED)]).clamp(-1, 1)

    def fit(self, images: Tensor | None, captions: Sequence[str]) -> None:
        """Fit the tokenizers that learn from data, unless that has been done.

        Args:
            images: ``[N, 3, H, W]`` in [-1, 1]; None will do where the image tokenizer isn't fitted, or has been.
            captions: Those that training will read, or what stands for them: all their words, and the longest.

        Raises:
            UserError: A caption can't be read: it is empty or too long.
        """
        if not getattr(self.image_tokenizer, "fitted", True):
            self.image_tokenizer.fit(images)
        for text_tokenizer in (self.network.text_tokenizer, self.ema.text_tokenizer):
            if not getattr(text_tokenizer, "fitted", True):
                text_tokenizer.fit(captions)
        self.network.text_tokenizer.ids(list(dict.fromkeys(captions)))

    def train(self, mode: bool = True) -> "JEPAT":
        """Switch the trained network; its average and the image tokenizer always evaluate."""
        super().train(mode)
        self.ema.eval()
        self.image_tokenizer.eval()
        return self
