"""What every image tokenizer needs: maps as tokens and back, sizes that fit, and full precision."""

import functools
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TypeVar, cast

import torch
from einops import rearrange
from torch import Tensor

from ..errors import UserError, check_integer

Function = TypeVar("Function", bound=Callable[..., Tensor])


def in_float32(function: Function) -> Function:
    """A function of one tensor, or a method of it, in fp32 at least, whatever autocast says.

    What a tokenizer rounds is lost for good, and half precision snaps to the wrong code.
    """

    @functools.wraps(function)
    def run(*owner_and_x: Tensor) -> Tensor:
        *owner, x = owner_and_x
        device = x.device.type
        if x.is_floating_point():
            x = x.to(torch.promote_types(x.dtype, torch.float32))
        with torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext():
            return function(*owner, x)

    return cast(Function, run)


def to_tokens(maps: Tensor, patch: int) -> Tensor:
    """Patches of ``patch x patch`` places as tokens, row by row: ``[B, C, H, W]`` to ``[B, N, C patch^2]``."""
    return rearrange(maps, "b c (h p) (w q) -> b (h w) (c p q)", p=patch, q=patch)


def to_maps(tokens: Tensor, grid: tuple[int, int], patch: int) -> Tensor:
    """The inverse of :func:`to_tokens`, for tokens that lie on ``grid``."""
    return rearrange(tokens, "b (h w) (c p q) -> b c (h p) (w q)", h=grid[0], w=grid[1], p=patch, q=patch)


def grid_of(name: str, size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Rows and columns of tokens that cover ``stride x stride`` pixels each.

    Raises:
        UserError: ``size`` isn't two whole numbers, or ``stride`` doesn't divide them.
    """
    if not isinstance(size, Sequence) or len(size) != 2:
        raise UserError(f"{name} size is {size!r}; give height and width in pixels, such as (256, 256)")
    height, width = (check_integer(f"{name} size", side) for side in size)
    if not isinstance(stride, int) or stride < 1 or height % stride or width % stride:
        raise UserError(f"{name}: tokens of {stride} x {stride} pixels don't divide the image size {height} x {width}")
    return height // stride, width // stride


def check_images(images: Tensor, grid: tuple[int, int], stride: int, where: str = "") -> None:
    """Refuse images of a size other than ``grid`` times ``stride``; ``where`` they come from stands in the message.

    Raises:
        UserError: They have another size.
    """
    expected = [3, grid[0] * stride, grid[1] * stride]
    if list(images.shape[1:]) != expected:
        of = f"the images of {where}" if where else "the images"
        raise UserError(f"{of} are {list(images.shape[1:])}, the tokenizer takes {expected}")
