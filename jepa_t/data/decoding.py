"""Images as they are in the wild: decoded right, or refused with a reason."""

import io
import logging
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor

from ..errors import UserError, first_line
from .broken import BrokenSample

SUFFIXES = {"bmp", "gif", "jfif", "jpeg", "jpg", "pgm", "png", "ppm", "tif", "tiff", "webp"}  # of files taken as such
# Of PIL's readers those that compute in this process alone; that of EPS, for one, starts Ghostscript.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
HALVED = 2**26  # pixels; a JPEG of more is decoded at half its size, or less
NARROW = 16  # times as long as wide; what is longer loses its ends before it is scaled
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(source: str | Path | bytes, convert: Callable[[Image.Image], Image.Image] | None = None) -> Image.Image:
    """An image as :func:`to_rgb` makes it, or ``convert``: from a file, or from the bytes of one.

    CMYK and palettes are converted, transparent parts lie on white, 16-bit grey is rounded to 8 bits, EXIF's
    orientation is followed, the first frame of several is taken. Images of more pixels than twice PIL's
    ``Image.MAX_IMAGE_PIXELS``, which is 179 million, are refused.

    Raises:
        BrokenSample: It is truncated, damaged, too large, no file, or no image of :data:`FORMATS`.
    """
    if not isinstance(source, bytes) and os.path.exists(source) and not os.path.isfile(source):
        raise BrokenSample("no file, but a folder, a pipe or a device, which is never read")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")  # of metadata (some of ImageNet's are damaged), and of size
        try:
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
                if image.format == "JPEG" and image.width * image.height > HALVED:
                    image.draft(None, (image.width // 2, image.height // 2))
                image.load()
                return (convert or to_rgb)(image)
        except BrokenSample:
            raise
        except UnidentifiedImageError as error:  # its text is the address of an object
            raise BrokenSample("no image, or its beginning is damaged") from error
        except OSError as error:
            raise BrokenSample(error.strerror or first_line(error)) from error
        except Exception as error:  # a damaged file can fail anywhere in PIL's many readers
            raise BrokenSample(first_line(error)) from error


def to_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode as 8-bit RGB, upright; transparent parts lie on white.

    Raises:
        BrokenSample: Its numbers have no known range.
    """
    if image.mode == "F":
        raise BrokenSample("its pixels are fractions, of a range that nothing says")
    pixels = image
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise BrokenSample("its grey values have more than 16 bits")
        pixels = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    return _upright(image, _laid_on("white", pixels).convert("RGB"))


def to_mask(image: Image.Image) -> Image.Image:
    """A mask of any mode of 8 bits, or of one, as 8-bit grey, upright; transparent parts are black.

    Raises:
        BrokenSample: Nothing says which of its numbers is white.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        raise BrokenSample(f"its mode is {image.mode}, in which no number is white for sure; convert it to L")
    return _upright(image, _laid_on("black", image).convert("L"))


def _laid_on(colour: str, image: Image.Image) -> Image.Image:
    """An image without transparent parts."""
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, colour), image)


def _upright(image: Image.Image, pixels: Image.Image) -> Image.Image:
    """The pixels of an image as its EXIF says, without metadata, so that nothing turns them again."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception as error:  # damaged metadata says nothing of sound pixels
        logging.getLogger("jepa_t").debug("EXIF: %s", error)
        orientation = None
    pixels = pixels.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else pixels
    pixels.info = {}
    return pixels


def centre_crop(image: Image.Image, size: int) -> Image.Image:
    """The middle square as ADM cuts it (guided-diffusion): halved by boxes, scaled bicubically, then cut.

    Args:
        image: Of mode RGB.
        size: Height and width of the result in pixels.
    """
    while min(image.size) >= 2 * size:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    side = min(image.size)
    if max(image.size) > NARROW * side:  # a strip of one pixel's width would be scaled to millions of them
        image = _middle(image, min(image.width, NARROW * side), min(image.height, NARROW * side))
    scale = size / side
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    return _middle(image, size, size)


def _middle(image: Image.Image, width: int, height: int) -> Image.Image:
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def is_image(name: str) -> bool:
    """Whether a file's name ends as those of images do."""
    stem, _, suffix = name.rpartition("/")[2].rpartition(".")
    return bool(stem) and not stem.startswith(".") and suffix.lower() in SUFFIXES


def is_folder(entry: os.DirEntry, user: str) -> bool:
    """Whether an entry of a folder is one too, or a link to one.

    Raises:
        UserError: It is a link that leads nowhere but back to itself; the message begins with ``user``.
    """
    try:
        return entry.is_dir()
    except OSError as error:
        raise UserError(f"{user}: {entry.path!r} can't be followed ({error.strerror}); remove it") from error


def to_inputs(pixels: Sequence[np.ndarray]) -> Tensor:
    """Images ``[S, S, 3]``, uint8, as a batch ``[B, 3, S, S]``, float32 in [-1, 1]."""
    batch = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous()
    return batch / 127.5 - 1
