"""Things in other colours than their own: the fox in blue, with its outline, its white and its shading as they are."""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...data.hashing import draw
from .catalogue import Emoji, catalogue
from .rendering import render

HUES = {"red": 5, "orange": 26, "yellow": 54, "green": 95, "blue": 205, "purple": 270}  # degrees on the colour circle
LEAST = 0.12  # of an image that has to be coloured
VIVID = 0.3  # least saturation and brightness of a pixel that has a colour
SOFTER = 0.8  # times the saturation: near to that of OpenMoji's own colours
OTHERS = len(HUES) - 1  # colours of a thing, one after the other
_COLOURS = "red|orange|yellow|green|blue|purple|pink|brown|black|white|gr[ae]y|rainbow|gold|silver|blond"
_PEOPLE = "man|men|woman|women|person|people|family|couple|girl|boy"
_KEPT = re.compile(rf"(?:.*_)?(?:{_COLOURS}|{_PEOPLE}|flag)(?:[_’].*)?")


def coloured(images: Tensor) -> Tensor:
    """Which pixels of images uint8 ``[N, 3, H, W]`` have a colour: bool ``[N, H, W]``."""
    return _vivid(_hsv(images))


def recolour(images: Tensor, colours: Sequence[str]) -> Tensor:
    """Images uint8 ``[N, 3, H, W]``, the coloured pixels of each in shades of its colour of ``HUES``."""
    if not len(images):
        return images
    hsv = _hsv(images)
    places = _vivid(hsv)
    hues = torch.tensor([round(HUES[colour] / 360 * 255) for colour in colours], dtype=torch.uint8)
    hsv[..., 0] = torch.where(places, hues[:, None, None], hsv[..., 0])
    hsv[..., 1] = torch.where(places, (hsv[..., 1] * SOFTER).byte(), hsv[..., 1])
    return torch.where(places[:, None], _convert(hsv, "HSV", "RGB").permute(0, 3, 1, 2), images)


@cache
def in_colours() -> tuple[Emoji, ...]:
    """Things in each colour of ``HUES`` but the nearest to their own; of most of them training never shows one.

    Left out are people, flags, what has a colour in its name, and what has little that is coloured.
    """
    people = {one.role for one in catalogue() if one.tone or one.gender}
    things = [one for one in catalogue() if one.role not in people and not one.flag and not _kept(one)]
    hsv, colours = _hsv(render([one.text for one in things])), list(HUES)
    found: list[Emoji] = []
    for one, hues, places in zip(things, hsv[..., 0], _vivid(hsv), strict=True):
        if places.float().mean() < LEAST:
            continue
        own = _nearest(hues[places])
        held = colours[int(draw(0, f"colour {one.role}", np.zeros(1, np.int64), len(colours))[0])]  # may be its own
        found += [
            replace(one, colour=colour, split="unseen_colour" if colour == held else "recoloured")
            for colour in colours
            if colour != own
        ]
    return tuple(found)


def _nearest(hues: Tensor) -> str:
    """The colour of ``HUES`` that most of the hues uint8 ``[N]`` are nearest to."""
    around = (hues.float()[:, None] / 255 * 360 - torch.tensor([*HUES.values()])).abs()
    return list(HUES)[int(torch.minimum(around, 360 - around).argmin(1).bincount(minlength=len(HUES)).argmax())]


def emoji_of(number: int) -> Emoji:
    """The emoji of a number, those of the catalogue first, then those in colours."""
    real = catalogue()
    return real[number] if number < len(real) else in_colours()[number - len(real)]


def pictures(emoji: Sequence[Emoji], size: int = 64) -> Tensor:
    """Emoji in their colours: uint8 ``[N, 3, size, size]``."""
    images = render([one.text for one in emoji], size)
    places = [place for place, one in enumerate(emoji) if one.colour]
    if places:
        images = images.clone()
        images[places] = recolour(images[places], [str(emoji[place].colour) for place in places])
    return images


def _kept(one: Emoji) -> bool:
    """Whether a name has a colour or people in it."""
    return any(_KEPT.fullmatch(name) for name in (*one.names, *one.aliases))


def _vivid(hsv: Tensor) -> Tensor:
    """Which of the pixels ``[N, H, W, 3]`` have a colour: bool ``[N, H, W]``."""
    return (hsv[..., 1:] > 255 * VIVID).all(-1)


def _hsv(images: Tensor) -> Tensor:
    return _convert(images.permute(0, 2, 3, 1), "RGB", "HSV")


def _convert(pixels: Tensor, source: str, target: str) -> Tensor:
    """Pixels uint8 ``[N, H, W, 3]`` in another space of colours, by Pillow."""
    flat = Image.fromarray(pixels.reshape(1, -1, 3).numpy(), mode=source)
    return torch.from_numpy(np.array(flat.convert(target))).view(pixels.shape)
