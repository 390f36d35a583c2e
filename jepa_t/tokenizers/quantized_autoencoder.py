"""A small convolutional autoencoder with a codebook, which users train themselves."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ..contracts import TrainedTokenizer
from ..errors import UserError, check_depth, check_integer, loss_weight, unknown
from ..registry import TOKENIZERS, construct
from .convolutions import decoding, encoding, several
from .discrete import DiscreteTokenizer, nearest, usage
from .sources import identify
from .training import read_trained, reconstruction_losses


def _library() -> ModuleType:
    return importlib.import_module("vector_quantize_pytorch")  # here, since it takes a second


def fsq(levels: Sequence[int]) -> nn.Module:
    """Finite scalar quantization (arXiv 2309.15505): a code is a point of a grid of ``levels`` values per channel."""
    if not isinstance(levels, Sequence) or not levels:
        raise UserError(f"quantizer.levels is {levels!r}; give numbers of at least 2, one a channel")
    for level in levels:
        check_integer("quantizer.levels", level, 2)
    return _library().FSQ(levels=list(levels), preserve_symmetry=min(levels) == 2)


def lfq(channels: int) -> nn.Module:
    """Lookup-free quantization (arXiv 2310.05737): a code is the signs of its channels, 2^channels in all."""
    check_integer("quantizer.channels", channels)
    return _library().LFQ(dim=channels)


def vq(codebook_size: int, channels: int) -> nn.Module:
    """Vector quantization (arXiv 1711.00937) with averaged codes; those that die are drawn anew from the batch."""
    for name, value in (("codebook_size", codebook_size), ("channels", channels)):
        check_integer(f"quantizer.{name}", value)
    return _library().VectorQuantize(
        dim=channels,
        codebook_size=codebook_size,
        decay=0.95,
        threshold_ema_dead_code=1,
        commitment_weight=0.25,
        rotation_trick=False,
    )


QUANTIZERS: dict[str, Callable[..., nn.Module]] = {"FSQ": fsq, "LFQ": lfq, "VQ": vq}


@TOKENIZERS.register_module()
class QuantizedAutoencoder(DiscreteTokenizer, TrainedTokenizer):
    """Patches, residual convolutions over them, a codebook, and the same back: image tokens that are ids.

    It is trained by itself (:class:`TokenizerTraining`, such as ``configs/tokenizers/fsq_digits.py``), then named by
    its ``checkpoint``, which is read once, when a model that uses it begins to train. From then on its
    weights are part of that model's checkpoints, which need the file no more.

    Args:
        size: Height and width of the images in pixels.
        stride: Pixels that a code covers, in height and in width; divides both.
        quantizer: ``dict(name="FSQ", levels=(8, 5, 5, 5))``, ``dict(name="LFQ", channels=10)`` or
            ``dict(name="VQ", codebook_size=1024, channels=8)``.
        width: Channels of the convolutions, all at the codes' own resolution; or several numbers, from the finest
            resolution down to the codes', each half the one before, which draws clean edges.
        encoder_width: The same of the encoder, which needs fewer than the decoder; by default alike.
        depth: Residual blocks on either side at the codes' resolution; each finer one has one block.
        absolute: Share of the mean absolute error in the loss, beside the mean square; it keeps flat areas flat.
        patch: Side of the square of codes that make one token; above 1 there are no ids.
        checkpoint: A trained one: the work dir or ``.pth`` file of its own training or of a model that has it; or
            ``emoji``, the tokenizer of the model that comes with the library.

    Raises:
        UserError: A number doesn't fit.

    Examples:
        >>> fsq = {"name": "FSQ", "levels": (8, 5, 5)}
        >>> tokenizer = QuantizedAutoencoder((8, 8), stride=4, quantizer=fsq, width=16)
        >>> tokenizer.grid, tokenizer.codebook_size
        ((2, 2), 200)
    """

    def __init__(
        self,
        size: tuple[int, int],
        stride: int,
        quantizer: Mapping[str, Any],
        width: int | Sequence[int] = 64,
        depth: int = 2,
        patch: int = 1,
        encoder_width: int | Sequence[int] | None = None,
        absolute: float = 0.0,
        checkpoint: str | None = None,
    ) -> None:
        wide = several("QuantizedAutoencoder width", width)
        narrow = wide if encoder_width is None else several("QuantizedAutoencoder encoder_width", encoder_width)
        check_depth("QuantizedAutoencoder depth", depth, 0)
        options = dict(quantizer)
        name = options.pop("name", None)
        if name not in QUANTIZERS:
            raise unknown("quantizer.name", name, QUANTIZERS)
        built = construct(QUANTIZERS[name], options)
        codebook = _codebook(built)
        super().__init__(size, stride, codebook.shape[1], len(codebook), patch)
        self._levels = tuple(options["levels"]) if name == "FSQ" else ()
        if name == "FSQ":  # it has no weights: nothing else would tell one from another with as many channels
            remedy = "set image_tokenizer.quantizer.levels to those"
            identify(self, "levels", options["levels"], "FSQ levels", remedy, _in_brackets)
        self.checkpoint, self.quantizer = checkpoint, built
        # Ids must be those of the codebook as it is: only VQ would change it while it looks one up.
        self._look_up = {"freeze_codebook": True} if name == "VQ" else {}
        self.absolute = loss_weight("QuantizedAutoencoder absolute", absolute)
        self.encoder = encoding(narrow, depth, stride, codebook.shape[1])
        self.decoder = decoding(wide, depth, stride, codebook.shape[1])
        self.to(memory_format=torch.channels_last)  # faster on CPUs and GPUs alike

    @property
    def codebook(self) -> Tensor:
        """The codes as the decoder reads them ``[K, C]``."""
        return _codebook(self.quantizer)

    def nearest_ids(self, x: Tensor) -> Tensor:
        """The ids of the nearest codes; those of FSQ are a grid, so each channel goes to its own nearest level."""
        if not self._levels:
            return super().nearest_ids(x)
        codes, step = self.codes, 1
        ids = torch.zeros(x.shape[:-1], dtype=torch.int64, device=x.device)
        for channel, levels in enumerate(self._levels):
            values = codes[: step * levels : step, channel]
            ids += step * (x[..., channel, None] - values).abs().argmin(-1)
            step *= levels
        return ids

    def find_ids(self, images: Tensor) -> Tensor:
        """Images ``[B, 3, H, W]`` to ids ``[B, h, w]``."""
        latents = self._latents(images)
        return self.quantizer(latents.flatten(1, 2), **self._look_up)[1].long().view(latents.shape[:-1])

    def decode_codes(self, codes: Tensor) -> Tensor:
        """Codes ``[B, C, h, w]`` to images ``[B, 3, H, W]``."""
        return self.decoder(codes.contiguous(memory_format=torch.channels_last))

    def _latents(self, images: Tensor) -> Tensor:
        return self.encoder(images.contiguous(memory_format=torch.channels_last)).movedim(1, -1)

    def loss(self, images: Tensor) -> dict[str, Tensor]:
        """What training minimises, and how it uses the codebook.

        Args:
            images: ``[B, 3, H, W]`` in [-1, 1].

        Returns:
            ``loss_reconstruction``, the mean square error; ``loss_absolute``, if asked for; ``loss_quantizer``, what VQ
            and LFQ add; and of this batch ``codes_used``, the share of the codebook, and ``perplexity``.
        """
        latents = self._latents(images)
        codes, ids, *extra = self.quantizer(latents.flatten(1, 2))
        if self._look_up and self.training:
            _part(self.codebook)
        painted = self.decode_codes(codes.view(latents.shape).movedim(-1, 1)).float()
        losses = reconstruction_losses(painted, images, self.absolute)
        if extra:
            losses["loss_quantizer"] = extra[0].sum()
        losses["codes_used"], losses["perplexity"] = usage(ids.long(), self.codebook_size)
        return losses

    def fit(self, images: Tensor) -> None:
        """Read the checkpoint, then measure the codes that images ``[N, 3, H, W]`` in [-1, 1] use.

        Raises:
            UserError: There is no checkpoint, or it is damaged or of another architecture.
        """
        read_trained(self, self.checkpoint)
        super().fit(images)


@torch.no_grad()
def _part(codes: Tensor) -> None:
    """Move each of ``codes [K, C]`` that equals an earlier one a little away: equal patches were drawn as codes."""
    again = nearest(codes, codes) != torch.arange(len(codes), device=codes.device)
    away = torch.randn(codes.shape, generator=torch.Generator().manual_seed(0)).to(codes)  # alike in all processes
    codes += torch.where(again[:, None], 1e-3 * codes.std(correction=0) * away, 0)


def _codebook(quantizer: Any) -> Tensor:
    return quantizer.implicit_codebook if hasattr(quantizer, "implicit_codebook") else quantizer.codebook


def _in_brackets(levels: Sequence[int]) -> str:
    return str(tuple(levels))
