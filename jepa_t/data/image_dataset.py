"""Images in files, with captions: what the data sets of a user's own files share."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import Tensor

from ..contracts import ImageTokenizer, TextTokenizer
from ..errors import check_integer
from .broken import BrokenSample, Tally, candidates
from .decoding import centre_crop, decode, to_inputs
from .hashing import draw
from .sets import TrainingSet

SAMPLE = 1024  # images that a tokenizer is fitted on


class Describer(Protocol):
    """Captions of images; `LabelCaptions` and `OwnCaptions` are such."""

    kind: str

    def __call__(self, numbers: Sequence[int], indices: Sequence[int]) -> list[str]:
        """A caption of each image ``[B]``, drawn for the sample of that index ``[B]``."""

    def read_by(self, text_tokenizer: TextTokenizer) -> None:
        """Hear which tokenizer reads the captions, before any is asked for."""

    def fact(self, number: int) -> int | list[str]:
        """What a cache keeps of an image, to say the same."""

    def covering(self) -> list[str]:
        """Captions that stand for all: a tokenizer is fitted on them and checks their lengths."""


class ImageDataset(TrainingSet):
    """Images in files, and their captions. Every sample is a function of the files, ``seed`` and its index alone.

    With ``flip``, sample i + N is the mirror image of image i, with a caption of its own. A broken image is
    counted, named, and replaced by another that depends on seed and index.

    Args:
        names: The images' names, by number ``[N]``.
        locate: Where the image of a number lies, or its bytes.
        describe: Their captions.
        size: Height and width in pixels, of ADM's centre crop.
        flip: Show each image mirrored as well.
        seed: Of all that is drawn.
        max_broken: Share of the images read that may be broken, in [0, 1]; with more, and at least ten, reading
            stops.
        report: Folder where the broken are named, with the reason, in a file a process.
    """

    def __init__(
        self,
        names: Sequence[str],
        locate: Callable[[int], Path | bytes],
        describe: Describer,
        size: int,
        flip: bool,
        seed: int,
        max_broken: float,
        report: str,
    ) -> None:
        self.size = check_integer(f"{type(self).__name__} size", size)
        self.image_size = (size, size)
        self.names, self.locate, self.describe, self.flip, self.seed = names, locate, describe, flip, seed
        self.tally = Tally(report, max_broken)

    def check(self, image_tokenizer: ImageTokenizer, text_tokenizer: TextTokenizer) -> None:
        """See that the images have the right size, and let captions that can't be read be broken ones.

        Raises:
            UserError: They have another size.
        """
        super().check(image_tokenizer, text_tokenizer)
        self.describe.read_by(text_tokenizer)

    @property
    def captions(self) -> list[str]:
        """Captions that stand for all of them."""
        return self.describe.covering()

    @property
    def images(self) -> Tensor:
        """A seeded sample of the images ``[n, 3, S, S]``, float32 in [-1, 1]; read when asked for."""
        count = len(self.names)
        chosen = draw(self.seed, "images", np.arange(SAMPLE), count) if count > SAMPLE else range(count)
        return self.__getitems__([int(number) for number in chosen])["inputs"]

    def pixels(self, number: int) -> np.ndarray:
        """The image ``[S, S, 3]``, uint8.

        Raises:
            BrokenSample: It can't be read.
        """
        return np.asarray(centre_crop(decode(self.locate(number)), self.size))

    def __len__(self) -> int:
        return len(self.names) * (2 if self.flip else 1)

    def __getitems__(self, indices: list[int]) -> dict:
        """A batch: ``inputs [B, 3, S, S]`` in [-1, 1] and ``data_samples`` with the ``caption`` list.

        Raises:
            UserError: Too many images are broken.
        """
        pixels, captions = zip(*map(self._sample, indices), strict=True)
        return {"inputs": to_inputs(pixels), "data_samples": {"caption": list(captions)}}

    def _sample(self, index: int) -> tuple[np.ndarray, str]:
        for number in candidates(self.seed, index, len(self.names)):
            try:
                (caption,) = self.describe([number], [index])
                pixels = self.pixels(number)
            except BrokenSample as broken:
                self.tally.add(self.names[number], str(broken))
                continue
            self.tally.read += 1
            return (pixels[:, ::-1] if index >= len(self.names) else pixels), caption
