"""Images and masks as users give them, checked, and as tokens that stay or are drawn anew."""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .contracts import ImageTokenizer, LatentImageTokenizer
from .data.broken import BrokenSample
from .data.decoding import to_inputs, to_mask, to_rgb
from .errors import UserError, check_share
from .sampling import Generators
from .structures import Given, Seed
from .tokenizers.encoding import encode
from .tokenizers.maps import in_float32

MASK_TYPES = "give bool, uint8 (white is 255) or numbers from 0 to 1"


@dataclass(frozen=True)
class Edit:
    """Images to change, one for each caption.

    Attributes:
        images: Each a PIL image of mode RGB, or ``[3, H, W]`` in [-1, 1]; of the model's size.
        masked: True at tokens that are drawn anew ``[B, N]``, on the CPU.
        counts: How many of each image they are.
    """

    images: list[Image.Image | Tensor]
    masked: Tensor
    counts: list[int]

    @classmethod
    def of(cls, images: Any, mask: Any, seeds: Sequence[Seed], tokenizer: ImageTokenizer) -> "Edit | None":
        """From what :meth:`Pipeline.__call__` takes; None if there is neither image nor mask.

        Args:
            images: A PIL image or a tensor ``[3, H, W]`` for all captions, or one for each.
            mask: White or True where an image is to be drawn anew: a PIL image, an array or a tensor ``[H, W]`` for
                all, or one for each; or the share of tokens to redraw, which the seed chooses. Transparent pixels
                stay.
            seeds: One for each caption.
            tokenizer: The model's.

        Raises:
            UserError: One is given without the other, or of another size, number or kind.
        """
        if images is None and mask is None:
            return None
        if images is None:
            raise UserError("mask is given without images; give images=..., which it belongs to")
        if mask is None:
            raise UserError(
                "images are given without a mask; give mask=..., white where to draw anew, or a share as 0.5"
            )
        count, size = len(seeds), (tokenizer.grid[0] * tokenizer.stride, tokenizer.grid[1] * tokenizer.stride)
        checked = [_checked_image(image, size) for image in _each("images", images, count, 3)]
        masks = _each("mask", mask, count, 2)
        masked = [_tokens(one, seed, size, tokenizer) for one, seed in zip(masks, seeds, strict=True)]
        stacked = torch.stack(masked) if masked else torch.zeros(0, tokenizer.grid[0] * tokenizer.grid[1]).bool()
        return cls(checked, stacked, stacked.sum(1).tolist())

    def given(self, rows: Sequence[int], tokenizer: ImageTokenizer, device: torch.device) -> Given:
        """What stays of some images, of which as many tokens are masked; a latent is its distribution's mean."""
        images = torch.stack([_to_tensor(self.images[row]) for row in rows]).to(device, non_blocking=True)
        if isinstance(tokenizer, LatentImageTokenizer):
            mean, log_variance = in_float32(tokenizer.moments)(images).chunk(2, 1)
            tokens = tokenizer.from_moments(torch.cat([mean, torch.full_like(log_variance, -torch.inf)], 1))
        else:
            tokens = encode(tokenizer, images)
        masked = self.masked[list(rows)].to(device, non_blocking=True)
        return Given(tokens, masked, self.counts[rows[0]])


def _each(name: str, given: Any, count: int, dims: int) -> list[Any]:
    """One for each of so many captions, from one for all or one for each."""
    given = _number(given)
    if isinstance(given, (Image.Image, Real)) or (isinstance(given, (Tensor, np.ndarray)) and given.ndim == dims):
        return [given] * count
    if isinstance(given, str) or not isinstance(given, (Sequence, Tensor, np.ndarray)):
        raise UserError(f"{name} is a {type(given).__name__}; give a PIL image or a tensor, or one for each caption")
    if len(given) != count:
        raise UserError(f"{count} captions and {len(given)} {name}; give one for all, or one for each caption")
    return [_number(one) for one in given]


def _number(given: Any) -> Any:
    """A tensor or an array without dimensions as the number that it is; all else as it is."""
    return given.item() if isinstance(given, (Tensor, np.ndarray)) and given.ndim == 0 else given


def _checked_image(image: Any, size: tuple[int, int]) -> Image.Image | Tensor:
    if isinstance(image, Image.Image):
        try:
            image = to_rgb(image)
        except (BrokenSample, OSError, ValueError) as error:
            raise UserError(f"an image can't be read: {error}") from error
        found = (image.height, image.width)
    elif isinstance(image, Tensor) and image.ndim == 3 and image.shape[0] == 3 and image.is_floating_point():
        found = (image.shape[1], image.shape[2])
        if not bool((image.abs() <= 1).all()):
            raise UserError("images hold numbers outside [-1, 1]; give them in that range")
    else:
        raise UserError(f"images holds a {_kind(image)}; give PIL images, or tensors [3, H, W] in [-1, 1]")
    if found != size:
        raise UserError(
            f"an image is {found[0]} x {found[1]} and the model draws {size[0]} x {size[1]}; resize it first"
        )
    return image


def _kind(one: Any) -> str:
    shape = f" {list(one.shape)}" if isinstance(one, (Tensor, np.ndarray)) else ""
    return f"{type(one).__name__}{shape}"


def _to_tensor(image: Image.Image | Tensor) -> Tensor:
    return image.float() if isinstance(image, Tensor) else to_inputs([np.asarray(image)])[0]


def _tokens(mask: Any, seed: Seed, size: tuple[int, int], tokenizer: ImageTokenizer) -> Tensor:
    """True at the tokens ``[N]`` of which any pixel is masked, or at a share of them."""
    if isinstance(mask, Real) and not isinstance(mask, (bool, np.bool_)):
        tokens = tokenizer.grid[0] * tokenizer.grid[1]
        count = round(check_share("mask", mask) * tokens)
        return Generators([seed], torch.device("cpu")).uniform(tokens)[0].argsort().argsort() < count
    return tokens_of(mask, size, tokenizer)


def tokens_of(mask: Any, size: tuple[int, int], tokenizer: ImageTokenizer) -> Tensor:
    """True at the tokens ``[N]`` of which any pixel of a mask is white or True.

    Args:
        mask: A PIL image, an array or a tensor ``[H, W]``.
        size: H and W.
        tokenizer: The model's.

    Raises:
        UserError: The mask is of another size or kind.
    """
    (rows, columns), stride = tokenizer.grid, tokenizer.stride
    pixels = _as_bool(mask)
    if tuple(pixels.shape) != size:
        found = " x ".join(map(str, pixels.shape))
        raise UserError(f"a mask is {found} and the model draws {size[0]} x {size[1]}; make it of that size")
    return pixels.view(rows, stride, columns, stride).any(3).any(1).flatten()


def _as_bool(mask: Any) -> Tensor:
    values = _values(mask)
    if values.dtype == torch.bool:
        return values
    if values.dtype == torch.uint8:
        if bool((values == 1).any()) and not bool((values > 1).any()):
            raise UserError("mask is of uint8 and its largest number is 1; give bool, or white as 255")
        return values > 127
    if not values.is_floating_point():
        raise UserError(f"mask has the type {values.dtype}; {MASK_TYPES}")
    if not bool(((values >= 0) & (values <= 1)).all()):
        raise UserError("mask holds numbers outside [0, 1]; give them in that range, or uint8, where white is 255")
    return values > 0.5


def _values(mask: Any) -> Tensor:
    """The numbers of a mask, on the CPU."""
    if isinstance(mask, Image.Image):
        try:
            mask = np.array(to_mask(mask))
        except (BrokenSample, OSError, ValueError) as error:
            raise UserError(f"a mask can't be read: {error}") from error
    if isinstance(mask, np.ndarray):
        try:
            return torch.from_numpy(np.array(mask, order="C"))  # a copy: PyTorch reads no negative strides
        except (TypeError, ValueError) as error:
            raise UserError(f"mask has the type {mask.dtype}; {MASK_TYPES}") from error
    if not isinstance(mask, Tensor):
        raise UserError(f"mask is a {_kind(mask)}; give a PIL image, an array or a tensor [H, W], or a share as 0.5")
    return mask.cpu()
