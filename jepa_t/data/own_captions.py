"""Captions that images came with."""

from collections.abc import Callable, Sequence

import numpy as np

from ..contracts import TextTokenizer
from ..errors import UserError
from .broken import BrokenSample
from .hashing import draw
from .text_files import NotText, check_text

COVERING = 10_000  # images whose captions stand for all: a fifth have the longest, the others lie evenly


class OwnCaptions:
    """Captions that the images came with, read when they are needed; one of several is drawn.

    Args:
        read: The captions of the image of a number, as they are.
        sizes: How long they are, about ``[N]``.
        seed: Seed of the choice.
    """

    kind = "captions"

    def __init__(self, read: Callable[[int], list[str]], sizes: np.ndarray, seed: int) -> None:
        self.read, self.sizes, self.seed = read, sizes, seed
        self._check: Callable[[str], object] | None = None

    def read_by(self, text_tokenizer: TextTokenizer) -> None:
        """From now on, a caption that this tokenizer can't read breaks its image."""
        self._check = text_tokenizer.reader()

    def __call__(self, numbers: Sequence[int], indices: Sequence[int]) -> list[str]:
        """A caption of each image ``[B]``, drawn for the sample's index ``[B]``.

        Raises:
            BrokenSample: A caption is empty, or no text.
        """
        captions = [self.fact(number) for number in numbers]
        chosen = draw(self.seed, "caption", np.asarray(indices), np.array([len(some) for some in captions]))
        return [some[place] for some, place in zip(captions, chosen, strict=True)]

    def fact(self, number: int) -> list[str]:
        """All captions of an image, each in one line.

        Raises:
            BrokenSample: There is none, or one is empty, no text, or one that the text tokenizer can't read.
        """
        try:
            captions = [" ".join(check_text(caption).split()) for caption in self.read(number)]
        except NotText as error:
            raise BrokenSample(f"its caption {error}") from error
        if not captions or not all(captions):
            raise BrokenSample("its caption is empty")
        if self._check:
            try:
                for caption in captions:
                    self._check(caption)
            except UserError as error:
                raise BrokenSample(str(error)) from error
        return captions

    def covering(self) -> list[str]:
        """All captions of at most 10,000 images: the longest, and others evenly from the rest.

        Raises:
            UserError: None of them can be read.
        """
        numbers = np.arange(len(self.sizes))
        if len(numbers) > COVERING:
            longest = np.argsort(-self.sizes, kind="stable")[: COVERING // 5]
            numbers = np.concatenate([longest, np.linspace(0, len(numbers) - 1, COVERING - len(longest), dtype=int)])
        captions: dict[str, None] = {}
        reason = "there are none"
        for number in numbers.tolist():
            try:
                captions.update(dict.fromkeys(self.fact(number)))
            except BrokenSample as broken:  # told when the image's turn comes
                reason = str(broken)
        if not captions:
            raise UserError(f"none of the captions can be read: {reason}")
        return list(captions)
