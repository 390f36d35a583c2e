"""Pixels cut into patches: image tokens that need no learned network, with an exact inverse."""

import torch
from torch import Tensor

from ..contracts import Fitted, ImageTokenizer
from ..errors import UserError
from ..registry import TOKENIZERS
from .maps import check_images, grid_of, in_float32, to_maps, to_tokens


@TOKENIZERS.register_module()
class PatchTokenizer(ImageTokenizer, Fitted):
    """Patches in the basis of their principal components, scaled to unit variance.

    Mean, components and scales come from the training images, by :meth:`fit`. With all components the inverse
    is exact; with fewer it is the best linear one.

    Args:
        size: Height and width of the images in pixels.
        patch: Side of a patch in pixels; divides both.
        channels: C, how many components are kept, up to 3 patch^2; None for all.
        whiten: Scale each component to unit variance by itself, so that rare details count as much as common
            ones; by default one scale brings the mean variance to 1, and an error weighs what it weighs in pixels.

    Raises:
        UserError: A number doesn't fit.

    Examples:
        >>> tokenizer, images = PatchTokenizer(size=(8, 8), patch=2), torch.rand(16, 3, 8, 8) * 2 - 1
        >>> tokenizer.fit(images)
        >>> tokens = tokenizer.encode(images)
        >>> tokens.shape
        torch.Size([16, 16, 12])
        >>> torch.allclose(tokenizer.decode(tokens), images, atol=1e-5)
        True
    """

    mean: Tensor
    basis: Tensor
    std: Tensor
    fitted: Tensor

    def __init__(self, size: tuple[int, int], patch: int, channels: int | None = None, whiten: bool = False) -> None:
        super().__init__()
        self.grid = grid_of("PatchTokenizer", size, patch)
        pixels = 3 * patch * patch
        channels = pixels if channels is None else channels
        if not 1 <= channels <= pixels:
            raise UserError(f"PatchTokenizer channels={channels}; a patch has 1 to {pixels} components")
        self.stride, self.channels, self.whiten = patch, channels, whiten
        self.register_buffer("mean", torch.zeros(pixels))
        self.register_buffer("basis", torch.eye(pixels)[:, :channels])  # orthonormal columns
        self.register_buffer("std", torch.ones(channels))
        self.register_buffer("fitted", torch.tensor(False))

    def fit(self, images: Tensor) -> None:
        """Learn mean, components and scales from images ``[N, 3, H, W]`` in [-1, 1]."""
        patches = to_tokens(images, self.stride).flatten(0, 1).double()
        mean = patches.mean(0)
        centred = patches - mean
        variances, vectors = torch.linalg.eigh(centred.T @ centred / len(patches))
        variances, vectors = variances.flip(0)[: self.channels], vectors.flip(1)[:, : self.channels]
        vectors = vectors * vectors.gather(0, vectors.abs().argmax(0)[None]).sign()  # eigenvectors have no sign
        if not self.whiten:
            variances = variances.mean().expand_as(variances)
        floor = 1e-6 * variances[0].clamp(min=1e-6)  # components that never vary stay small, not infinite
        for buffer, value in (
            (self.mean, mean),
            (self.basis, vectors),
            (self.std, variances.clamp(min=floor).sqrt()),
        ):
            buffer.copy_(value)
        self.fitted.fill_(True)

    @in_float32
    def encode(self, images: Tensor) -> Tensor:
        """Images ``[B, 3, H, W]`` in [-1, 1] to tokens ``[B, N, C]``, row by row.

        Raises:
            UserError: The images have another size.
        """
        check_images(images, self.grid, self.stride)
        return (to_tokens(images, self.stride) - self.mean) @ (self.basis / self.std)

    @in_float32
    def decode(self, tokens: Tensor) -> Tensor:
        """Tokens ``[B, N, C]`` to images ``[B, 3, H, W]``."""
        return to_maps(tokens @ (self.basis * self.std).T + self.mean, self.grid, self.stride)
