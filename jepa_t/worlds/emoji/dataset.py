"""Emoji to train on: each with what is said of it."""

from itertools import groupby

import numpy as np
from torch import Tensor

from ...data.hashing import draw
from ...data.sets import HoldsTokens
from ...errors import UserError, check_integer, check_share
from ...registry import DATASETS
from .captions import captions
from .catalogue import catalogue, within
from .colours import in_colours, pictures


@DATASETS.register_module()
class EmojiImages(HoldsTokens):
    """The emoji that training shows, each with a caption; number ``i`` depends on the options but ``size``, and ``i``.

    Args:
        size: How many pairs of image and caption; beyond the number of emoji they come again in other words.
        again: How often an emoji without a tone comes while one that has a tone comes once: those with a tone teach
            each other, the others are alone with their words.
        pixels: Height and width of the images.
        seed: Seed of the captions.
        share: Of the roles, chosen by their names, each with all genders and tones that training shows.
        recoloured: How often each thing of `in_colours` comes in another colour than its own, such as "a blue fox",
            while one that has a tone comes once; which of those that training shows is drawn each time.

    Attributes:
        captions: The caption of each pair.

    Raises:
        UserError: A number is out of range, or a package is missing.
    """

    size_option = "pixels"

    def __init__(
        self,
        size: int = 50000,
        again: int = 2,
        pixels: int = 64,
        seed: int = 0,
        share: float = 1.0,
        recoloured: int = 0,
    ) -> None:
        check_integer("EmojiImages again", again)
        check_integer("EmojiImages recoloured", recoloured, 0)
        check_share("EmojiImages share", share)
        shown = [one for one in catalogue() if one.split == "seen" and within(one, share)]
        shown = shown[: check_integer("EmojiImages size", size)]
        if not shown:
            raise UserError(f"EmojiImages share is {share!r}, which leaves no emoji; give more")
        times = np.array([1 if one.tone else again for one in shown])
        turns = [[row] for turn in range(again) for row in np.flatnonzero(times > turn)]  # all, then those again
        if recoloured:
            others = [one for one in in_colours() if one.split == "recoloured" and within(one, share)]
            numbered = groupby(enumerate(others, len(shown)), key=lambda pair: pair[1].text)
            turns += [[row for row, _ in group] for _, group in numbered] * recoloured
            shown += others
        index = np.arange(size)
        offered = [turns[turn] for turn in index % len(turns)]
        choice = draw(seed, "emoji colour", index, np.array([len(rows) for rows in offered]))
        self.rows = np.array([rows[number] for rows, number in zip(offered, choice, strict=True)])
        self.pixels = pictures(shown, pixels)
        self.tokens: Tensor | None = None
        self.image_size = (pixels, pixels)
        said = [captions(one) for one in shown]
        choice = draw(seed, "emoji caption", index, np.array([len(each) for each in said])[self.rows])
        self.captions = [said[row][number] for row, number in zip(self.rows, choice, strict=True)]

    @property
    def images(self) -> Tensor:
        """The images, each once ``[n, 3, pixels, pixels]``, float32 in [-1, 1]."""
        return self.pixels / 127.5 - 1

    def hold(self, tokens: Tensor) -> None:
        """Give these tokens ``[n, N, C]`` in the images' place from now on."""
        self.tokens = tokens

    def __len__(self) -> int:
        return len(self.captions)

    def __getitems__(self, indices: list[int]) -> dict:
        """A batch: ``inputs``, images ``[B, 3, H, W]`` or ``{"tokens": [B, N, C]}``, and their ``caption`` list."""
        rows = self.rows[indices]
        inputs = self.pixels[rows] / 127.5 - 1 if self.tokens is None else {"tokens": self.tokens[rows]}
        return {"inputs": inputs, "data_samples": {"caption": [self.captions[i] for i in indices]}}
