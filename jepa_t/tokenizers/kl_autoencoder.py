"""A small convolutional autoencoder with continuous latents, which users train themselves."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..contracts import Fitted, ImageTokenizer, TrainedTokenizer
from ..errors import UserError, check_depth, check_integer, loss_weight
from ..registry import TOKENIZERS
from .convolutions import decoding, encoding, several
from .discrete import MEASURED
from .maps import check_images, grid_of, in_float32, to_maps, to_tokens
from .training import read_trained, reconstruction_losses

AT_ONCE = 64  # images that are encoded at once to measure the latents


@TOKENIZERS.register_module()
class KLAutoencoder(ImageTokenizer, Fitted, TrainedTokenizer):
    """Latents that are drawn from a Gaussian in training, held near the standard one (KL, arXiv 2112.10752).

    It is trained by itself and named by its ``checkpoint``, as :class:`QuantizedAutoencoder` is. Tokens are the means,
    each channel with zero mean and unit variance over the training images.

    Args:
        size: Height and width of the images in pixels.
        stride: Pixels that a latent covers, in height and in width.
        latent_channels: Channels of a latent.
        width: Channels of the convolutions: one number, or several from the finest resolution down to the latents.
        depth: Residual blocks on either side at the latents' resolution; each finer one has one block.
        patch: Side of the square of latents that make one token.
        encoder_width: The same as ``width`` for the encoder, which needs fewer; by default alike.
        absolute: Share of the mean absolute error in the loss, beside the mean square.
        kl: Weight of the divergence, in nats a pixel value.
        checkpoint: A trained one: its work dir or ``.pth`` file.

    Raises:
        UserError: A number doesn't fit.

    Examples:
        >>> tokenizer = KLAutoencoder((8, 8), stride=4, latent_channels=6, width=16)
        >>> tokenizer.grid, tokenizer.channels
        ((2, 2), 6)
    """

    mean: Tensor
    std: Tensor
    fitted: Tensor

    def __init__(
        self,
        size: tuple[int, int],
        stride: int,
        latent_channels: int = 8,
        width: int | Sequence[int] = 64,
        depth: int = 2,
        patch: int = 1,
        encoder_width: int | Sequence[int] | None = None,
        absolute: float = 0.0,
        kl: float = 1e-3,
        checkpoint: str | None = None,
    ) -> None:
        super().__init__()
        wide = several("KLAutoencoder width", width)
        narrow = wide if encoder_width is None else several("KLAutoencoder encoder_width", encoder_width)
        check_integer("KLAutoencoder latent_channels", latent_channels)
        check_depth("KLAutoencoder depth", depth, 0)
        self.grid = grid_of("KLAutoencoder", size, stride * check_integer("KLAutoencoder patch", patch))
        self.stride, self.channels, self.patch = stride * patch, latent_channels * patch**2, patch
        self.absolute, self.kl = loss_weight("KLAutoencoder absolute", absolute), loss_weight("KLAutoencoder kl", kl)
        self.checkpoint = checkpoint
        self.encoder = encoding(narrow, depth, stride, 2 * latent_channels)
        self.decoder = decoding(wide, depth, stride, latent_channels)
        self.register_buffer("mean", torch.zeros(latent_channels, 1, 1))
        self.register_buffer("std", torch.ones(latent_channels, 1, 1))
        self.register_buffer("fitted", torch.tensor(False))
        self.to(memory_format=torch.channels_last)

    def loss(self, images: Tensor) -> dict[str, Tensor]:
        """``loss_reconstruction``, perhaps ``loss_absolute``, and ``loss_kl`` of images ``[B, 3, H, W]`` in [-1, 1]."""
        mean, log_variance = self._posterior(images)
        drawn = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        losses = reconstruction_losses(self.decoder(drawn).float(), images, self.absolute)
        nats = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).float().sum()
        return losses | {"loss_kl": self.kl * nats / images.numel()}

    @in_float32
    def encode(self, images: Tensor) -> Tensor:
        """Images ``[B, 3, H, W]`` in [-1, 1] to tokens ``[B, N, C]``, row by row.

        Raises:
            UserError: The images have another size.
        """
        check_images(images, self.grid, self.stride)
        return to_tokens((self._posterior(images)[0] - self.mean) / self.std, self.patch)

    @in_float32
    def decode(self, tokens: Tensor) -> Tensor:
        """Tokens ``[B, N, C]`` to images ``[B, 3, H, W]``."""
        latents = to_maps(tokens, self.grid, self.patch) * self.std + self.mean
        return self.decoder(latents.contiguous(memory_format=torch.channels_last))

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Read the checkpoint, then measure the latents of images ``[N, 3, H, W]`` in [-1, 1].

        Raises:
            UserError: There is no checkpoint, it is damaged or of another architecture, the size differs, or there is
                one latent alone.
        """
        read_trained(self, self.checkpoint)
        check_images(images, self.grid, self.stride)
        some = images[:: -(-len(images) // MEASURED)]
        if len(some) * self.grid[0] * self.grid[1] * self.patch**2 < 2:
            raise UserError("KLAutoencoder can't measure the spread of one latent; give more images")
        latents = torch.cat([self._posterior(part.to(self.mean.device))[0] for part in some.split(AT_ONCE)])
        self.mean.copy_(latents.mean((0, 2, 3))[:, None, None])
        self.std.copy_(latents.std((0, 2, 3)).clamp(min=1e-6)[:, None, None])
        self.fitted.fill_(True)

    def _posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.encoder(images.contiguous(memory_format=torch.channels_last)).chunk(2, 1)
        return mean, log_variance.clamp(-20, 10)
