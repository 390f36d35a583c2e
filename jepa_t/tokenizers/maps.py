"""Maps of channels and tokens: how every image tokenizer lays out one as the other."""

from einops import rearrange
from torch import Tensor

from ..errors import UserError


def to_tokens(maps: Tensor, patch: int) -> Tensor:
    """Patches of ``patch x patch`` places as tokens, row by row: ``[B, C, H, W]`` to ``[B, N, C patch^2]``."""
    return rearrange(maps, "b c (h p) (w q) -> b (h w) (c p q)", p=patch, q=patch)


def to_maps(tokens: Tensor, grid: tuple[int, int], patch: int) -> Tensor:
    """The inverse of :func:`to_tokens`, for tokens that lie on ``grid``."""
    return rearrange(tokens, "b (h w) (c p q) -> b c (h p) (w q)", h=grid[0], w=grid[1], p=patch, q=patch)


def grid_of(name: str, size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Rows and columns of tokens that cover ``stride x stride`` pixels each.

    Raises:
        UserError: ``stride`` doesn't divide the ``size`` in pixels.
    """
    height, width = size
    if stride < 1 or height < 1 or width < 1 or height % stride or width % stride:
        raise UserError(f"{name}: tokens of {stride} x {stride} pixels don't divide the image size {height} x {width}")
    return height // stride, width // stride


def check_images(images: Tensor, grid: tuple[int, int], stride: int) -> None:
    """Refuse images of a size other than ``grid`` times ``stride``.

    Raises:
        UserError: They have another size.
    """
    expected = [3, grid[0] * stride, grid[1] * stride]
    if list(images.shape[1:]) != expected:
        raise UserError(f"the images are {list(images.shape[1:])}, the tokenizer takes {expected}")
