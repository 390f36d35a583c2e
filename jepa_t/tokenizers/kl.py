"""Latents of a pretrained variational autoencoder (KL): continuous image tokens."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..contracts import LatentImageTokenizer
from ..errors import UserError, unknown
from ..registry import TOKENIZERS
from .ldm import load_ldm
from .maps import check_images, grid_of, in_float32, to_maps, to_tokens
from .pretrained import Frozen, load_pretrained

POSTERIORS = ("sample", "mode")


@TOKENIZERS.register_module()
class KLTokenizer(LatentImageTokenizer):
    """A frozen ``AutoencoderKL`` of diffusers, or of an LDM-style file such as MAR's KL-16.

    Tokens are ``(z - shift) * scale``. The autoencoder's weights stay in ``source``: checkpoints hold their hash
    alone, and refuse others.

    Args:
        source: A name on the hub, a folder written by ``save_pretrained``, or an LDM-style file.
        size: Height and width of the images in pixels.
        patch: Side of the square of latents that make one token.
        posterior: ``sample`` draws from the posterior, from PyTorch's own generator, which training seeds at each
            step; ``mode`` takes its mean.
        scale: By default what the source's config says. A file says nothing: MAR's KL-16 has 0.2325.
        shift: By default what the source's config says, else 0.
        subfolder: Where in the source the autoencoder lies, such as ``vae``.

    Attributes:
        grid: Rows and columns of tokens.
        stride: Pixels that a token covers, in height and in width.
        channels: C, of a token.

    Raises:
        UserError: The source is absent, damaged or refused, a number doesn't fit, or diffusers isn't installed.

    Examples:
        >>> tokenizer = KLTokenizer("stabilityai/sd-vae-ft-mse", (256, 256), patch=2)  # doctest: +SKIP
        >>> tokenizer.grid, tokenizer.channels  # doctest: +SKIP
        ((16, 16), 16)
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        source: str,
        size: tuple[int, int],
        patch: int = 1,
        posterior: str = "sample",
        scale: float | None = None,
        shift: float | None = None,
        subfolder: str | None = None,
    ) -> None:
        super().__init__()
        if posterior not in POSTERIORS:
            raise unknown("KLTokenizer posterior", posterior, POSTERIORS)
        if scale is not None and not 0 < scale < math.inf:
            raise UserError(f"KLTokenizer scale is {scale!r}; give a number above 0")
        if shift is not None and not math.isfinite(shift):
            raise UserError(f"KLTokenizer shift is {shift!r}; give a number")
        file = Path(source).expanduser().is_file()
        if file and scale is None:
            raise UserError(f"KLTokenizer source {source!r} is a file, which says no scale; give scale=...")
        model = (
            load_ldm(source, "KLTokenizer")
            if file
            else load_pretrained("AutoencoderKL", source, subfolder, "KLTokenizer")
        )
        config, latents = model.config, model.config.latent_channels
        self.stride = patch * 2 ** (len(config.block_out_channels) - 1)
        self.grid = grid_of("KLTokenizer", size, self.stride)
        self.channels, self.patch, self.posterior = latents * patch**2, patch, posterior
        self.autoencoder = Frozen(model, source)
        factor = torch.full((latents,), config.scaling_factor if scale is None else float(scale))
        offset = torch.full((latents,), (config.shift_factor or 0.0) if shift is None else float(shift))
        if scale is None and config.latents_std:  # some configs standardise each channel
            factor = factor / torch.tensor(config.latents_std)
        if shift is None and config.latents_mean:
            offset = torch.tensor(config.latents_mean)
        self.register_buffer("scale", factor[:, None, None])
        self.register_buffer("shift", offset[:, None, None])

    @property
    def identity(self) -> dict[str, Any]:
        """What moments depend on besides the images: the weights' ``sha256``, and the ``shape [2C', h, w]``."""
        latents, sides = len(self.scale), [side * self.patch for side in self.grid]
        return {"sha256": bytes(self.autoencoder.sha256.tolist()).hex(), "shape": [2 * latents, *sides]}

    @in_float32
    def moments(self, images: Tensor) -> Tensor:
        """Images ``[B, 3, H, W]`` in [-1, 1] to the posterior's mean and log-variance ``[B, 2C', h, w]``.

        C' is a latent's channels, before patches become tokens.

        Raises:
            UserError: The images have another size.
        """
        check_images(images, self.grid, self.stride)
        posterior = self.autoencoder.module.encode(images).latent_dist
        return torch.cat([posterior.mean, posterior.logvar], 1)

    @in_float32
    def from_moments(self, moments: Tensor) -> Tensor:
        """What :meth:`moments` gives, in any precision, to tokens ``[B, N, C]``, row by row.

        Raises:
            UserError: The moments have another shape.
        """
        if list(moments.shape[1:]) != self.identity["shape"]:
            raise UserError(f"moments are {list(moments.shape[1:])}, the tokenizer has {self.identity['shape']}")
        latents, log_variance = moments.chunk(2, 1)
        if self.posterior == "sample":
            noise = torch.randn(latents.shape, dtype=latents.dtype, device=latents.device)  # whatever the layout is
            latents = latents + (0.5 * log_variance).exp() * noise
        return to_tokens((latents - self.shift) * self.scale, self.patch)

    @in_float32
    def encode(self, images: Tensor) -> Tensor:
        """Images ``[B, 3, H, W]`` in [-1, 1] to tokens ``[B, N, C]``, row by row.

        Raises:
            UserError: The images have another size.
        """
        return self.from_moments(self.moments(images))

    @in_float32
    def decode(self, tokens: Tensor) -> Tensor:
        """Tokens ``[B, N, C]`` to images ``[B, 3, H, W]``."""
        latents = to_maps(tokens, self.grid, self.patch) / self.scale + self.shift
        return self.autoencoder.module.decode(latents).sample
