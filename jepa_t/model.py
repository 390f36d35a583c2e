"""JEPA-T on one page: ``loss`` learns what the network says of masked tokens, ``generate`` draws them.

The network, with ``condition``, which both call, is in :mod:`jepa_t.network`.
Letters: B batch, N image tokens, K asked, C token channels, D width.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .acceleration import compile_blocks
from .contracts import ImageTokenizer
from .drawing import draw_tokens
from .ema import changes, share, update_ema
from .errors import UserError, check_share
from .masking import MaskRatio, draw_split, gather
from .network import Network
from .randomness import generators, own_rows
from .registry import MODELS, TOKENIZERS, build
from .sampling import SamplerLike, sampler_for
from .structures import Target
from .tokenizers.encoding import Images, check_fitted, decode, encode, fit_tokenizers, ids_of
from .trainable import Trainable, joined


@MODELS.register_module()
class JEPAT(Trainable):
    """The trained ``network``; its average ``ema``, which draws and is the target encoder; and the two flows.

    Each component is given as a config, such as ``dict(type="PatchTokenizer", ...)``, or as an object.

    Args:
        image_tokenizer: Images to tokens and back.
        text_tokenizer: Captions to text tokens.
        encoder: The context encoder, whose average is the target encoder.
        predictor: The feature predictor.
        objectives: A component per name.
        width: D, channels of the network's features.
        fusion: A preset (``none``, ``early``, ``late``, ``jepa_t``), or a component per site.
        mask_ratio: Options of :meth:`~jepa_t.masking.MaskRatio.of`.
        text_drop: Share of captions replaced by the null text in training, in [0, 1].
        sampler: What draws unless another is given: as :func:`~jepa_t.sampling.sampler_for` reads it.
        frozen: ``encoder``, ``predictor`` or both: not trained, without dropout, and one module with the average's,
            so that what a checkpoint has as averaged weights is what stays.
        compile: Compile the blocks of the Transformers and of the denoising head.

    Raises:
        UserError: A config is wrong.

    Examples:
        >>> from jepa_t.engine import load_config
        >>> model = build(load_config("jepat_digits").model, MODELS)
        >>> images, captions = torch.rand(9, 3, 8, 8), ["a red three"] * 9
        >>> model.fit(images, captions)
        >>> list(model.loss(images, captions))
        ['loss_flow', 'loss_feature']
    """

    def __init__(
        self,
        image_tokenizer: Any,
        text_tokenizer: Any,
        encoder: Any,
        predictor: Any,
        objectives: Mapping[str, Any],
        width: int,
        fusion: str | Mapping[str, Any] = "jepa_t",
        mask_ratio: Mapping[str, Any] | None = None,
        text_drop: float = 0.1,
        sampler: SamplerLike = "balanced",
        frozen: str | Sequence[str] = (),
        compile: bool = False,
    ) -> None:
        super().__init__({"type": "BaseDataPreprocessor", "non_blocking": True})
        check_share("model.text_drop", text_drop)
        self.image_tokenizer: ImageTokenizer = build(image_tokenizer, TOKENIZERS, ImageTokenizer)
        self.image_tokenizer.requires_grad_(False).eval()
        self.network = Network(self.image_tokenizer, width, text_tokenizer, encoder, predictor, fusion, objectives)
        self.ema = copy.deepcopy(self.network).requires_grad_(False).eval()
        share(self.network, self.ema, frozen)
        self.mask_ratio, self.text_drop = MaskRatio.of(mask_ratio or {}), text_drop
        if self.mask_ratio.multiple >= (tokens := math.prod(self.network.grid)):
            raise UserError(
                f"model.mask_ratio.multiple is {self.mask_ratio.multiple}, and an image has {tokens} tokens; give less"
            )
        self.sampler = sampler_for(self.network.generative, sampler)
        self._fitted, self.began = False, (changes(self.network), changes(self.ema))
        if compile:
            compile_blocks(self)

    def losses(self, inputs: Images, samples: Mapping[str, Any]) -> dict[str, Tensor]:
        """The named losses of a batch, as MMEngine asks for them."""
        return self.loss(inputs, samples["caption"], samples.get("seed"))

    def predict(self, inputs: Any, samples: Mapping[str, Any]) -> dict[str, Tensor]:  # noqa: ARG002 - captions suffice
        """The ``image`` of each caption, for MMEngine; its number is its seed."""
        return {"image": self.generate(samples["caption"], samples["index"])}

    def loss(self, images: Images, captions: Sequence[str], seed: int | None = None) -> dict[str, Tensor]:
        """The named losses of a batch.

        Args:
            images: ``[B, 3, H, W]`` in [-1, 1], or as :func:`~jepa_t.tokenizers.encoding.encode`.
            captions: Their B captions.
            seed: Decides masks, dropped captions and noise, as if one process held the batches of all; by default
                PyTorch's own generators do.

        Raises:
            UserError: :meth:`fit` comes first, there are more or fewer captions, or one can't be read.
        """
        self._fitted = self._fitted or check_fitted(self.image_tokenizer, self.network.text_tokenizer)
        network, tokens = self.network, encode(self.image_tokenizer, images)  # [B, N, C]
        batch, count, _ = tokens.shape
        if len(captions) != batch:
            raise UserError(f"{batch} images and {len(captions)} captions; give one for each image")
        host, device = generators(seed, tokens.device)
        split = draw_split(batch, count, self.mask_ratio, tokens.device, host)
        keep = own_rows(torch.rand, (batch,), generator=host).to(tokens.device, non_blocking=True) >= self.text_drop
        text = network.text_tokenizer(captions).where(keep, network.text_tokenizer.null(batch))
        prediction = network.condition(tokens, split, text)
        objectives = {name: objective for name, objective in network.losses.items() if objective.weight}
        read = {name for objective in objectives.values() for name in objective.reads}
        asked = gather(tokens, split.asked)  # [B, K, C]
        features = self.ema.target(tokens, split) if "features" in read else None
        ids = ids_of(self.image_tokenizer, asked) if "ids" in read else None
        half = -(-batch // 2)  # half of the images teach as well what guidance adds (docs/sampling.md)
        null = network.null(tokens[:half], split.first(half)) if "null" in read else None
        target = Target(asked, features, ids, null)
        return joined((name, one(prediction, target, device)) for name, one in objectives.items())

    @torch.no_grad()
    def generate(self, captions: Sequence[str], seeds: Sequence[int], sampler: SamplerLike | None = None) -> Tensor:
        """Draw an image per caption with the averaged weights: ``[B, 3, H, W]`` in [-1, 1].

        Args:
            captions: B texts.
            seeds: B whole numbers in [0, 2^32); an image depends on its caption, its seed and the sampler alone.
            sampler: As :func:`~jepa_t.sampling.sampler_for` reads it; by default the model's.

        Raises:
            UserError: A caption is empty or too long, the numbers of captions and seeds differ, the network has been
                trained and its average never updated, or the images hold NaN or infinity.
        """
        chosen = self.sampler if sampler is None else sampler_for(self.ema.generative, sampler)
        return decode(self.image_tokenizer, draw_tokens(self, captions, seeds, chosen))

    def update_ema(self, decay: float = 0.999) -> None:
        """Move the average towards the network; in a training loop of one's own, after each optimizer step."""
        update_ema(self.network, self.ema, decay)

    def fit(self, images: Tensor | None, captions: Sequence[str]) -> None:
        """Fit the tokenizers that learn from data, unless that has been done, as :func:`fit_tokenizers`."""
        fit_tokenizers(self.image_tokenizer, (self.network.text_tokenizer, self.ema.text_tokenizer), images, captions)

    def train(self, mode: bool = True) -> "JEPAT":
        """Switch the trained network; its average and the image tokenizer always evaluate."""
        super().train(mode)
        self.ema.eval()
        self.image_tokenizer.eval()
        return self
