"""What a training reads and what a test asks, which both give whole batches; and what a probe is tried on."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from ..contracts import ImageTokenizer, TextTokenizer
from ..errors import UserError, unknown

PARTS = ("train", "test")  # of a labelled set
ROUNDING = 1e-3  # beyond [-1, 1]


def check_inputs(where: str, inputs: Any) -> None:
    """See that a batch holds images ``[B, 3, H, W]`` of floats in [-1, 1], or by name latents that are finite.

    Raises:
        UserError: It doesn't; the message begins with ``where``.
    """
    latents = isinstance(inputs, Mapping)
    for part in inputs.values() if latents else [inputs]:
        if not isinstance(part, Tensor) or not part.is_floating_point():
            kind = str(part.dtype) if isinstance(part, Tensor) else type(part).__name__
            raise UserError(f"{where} gives images of type {kind}; give a tensor of floats in [-1, 1]")
        least, most = (end.item() for end in part.aminmax())  # NaN, where there is any
        if not (math.isfinite(least) and math.isfinite(most)):
            raise UserError(f"{where} gives NaN or infinity; mend what reads or scales its images")
        if not latents and max(-least, most) > 1 + ROUNDING:
            raise UserError(
                f"{where} gives images from {least:g} to {most:g}; scale them to [-1, 1], as x / 127.5 - 1 scales bytes"
            )


class TrainingSet(Dataset, ABC):
    """Images with captions. Sample i depends on i and the options alone, so that a resumed training reads the same.

    Attributes:
        captions: All captions, or some that stand for them: text tokenizers are fitted on these, and must read them.
        images: Images ``[n, 3, H, W]``, float32 in [-1, 1], on which an image tokenizer is fitted; None where there
            are none.
        image_size: Height and width in pixels, to be compared with the image tokenizer's; None where that is needless.
        size_option: Which option decides it.
    """

    captions: Sequence[str]
    images: Tensor | None
    image_size: tuple[int, int] | None = None
    size_option = "size"

    @abstractmethod
    def __len__(self) -> int:
        """How many samples there are."""

    @abstractmethod
    def __getitems__(self, indices: list[int]) -> dict:
        """A batch: ``inputs [B, 3, H, W]`` in [-1, 1] and ``data_samples`` with the ``caption`` list."""

    def check(self, image_tokenizer: ImageTokenizer, text_tokenizer: TextTokenizer) -> None:  # noqa: ARG002
        """See, before anything is fitted or read, that these two can read the samples.

        Raises:
            UserError: One can't, such as for images of another size.
        """
        self.check_size(image_tokenizer, "model.image_tokenizer")

    def check_size(self, tokenizer: ImageTokenizer, where: str) -> None:
        """See that images have the size that the tokenizer reads that stands ``where`` in the config.

        Raises:
            UserError: They haven't.
        """
        if self.image_size is None:
            return
        takes = tuple(side * tokenizer.stride for side in tokenizer.grid)
        if self.image_size != takes:
            ours, theirs = (" x ".join(map(str, size)) for size in (self.image_size, takes))
            raise UserError(
                f"train_dataloader.dataset.{self.size_option} gives images of {ours} pixels, and {where} reads "
                f"{theirs}: let the two agree"
            )


class HoldsTokens(TrainingSet):
    """A training set that can give tokens in its images' place, computed once; its ``images`` are all that it has."""

    @abstractmethod
    def hold(self, tokens: Tensor) -> None:
        """Give ``inputs`` of ``{"tokens": [B, N, C]}`` from now on; ``tokens [n, N, C]`` are those of ``images``."""


class PromptSet(Dataset):
    """Captions to draw, and what is known of each. The image of prompt i is drawn from seed i.

    Args:
        captions: All of them ``[N]``.
        images: Real images of them ``[N, 3, H, W]`` in [-1, 1], for what is measured by these.
        **known: By name, what metrics read of each prompt ``[N]``, such as ``split`` and ``facts``.
    """

    def __init__(self, captions: Sequence[str], images: Tensor | None = None, **known: Sequence) -> None:
        self.captions, self.images, self.known = captions, images, known

    def __len__(self) -> int:
        return len(self.captions)

    def __getitems__(self, indices: list[int]) -> dict:
        """A batch: ``inputs [B, 3, H, W]`` or None, ``data_samples``: lists of caption, index and what is known."""
        columns = {"caption": self.captions, **self.known}
        samples = {name: [column[i] for i in indices] for name, column in columns.items()}
        inputs = None if self.images is None else self.images[indices]
        return {"inputs": inputs, "data_samples": {**samples, "index": list(indices)}}


class LabelledSet(ABC):
    """Images with what they show, which a probe is fitted on and tried on.

    The constructor's first argument is the part, ``train`` or ``test``; no image is in both.

    Attributes:
        images: ``[N, 3, H, W]``, float32 in [-1, 1].
        labels: By name a class of each image ``[N]``, whole numbers from 0; -1 where it has none.
    """

    images: Tensor
    labels: dict[str, np.ndarray]

    @staticmethod
    def checked(part: str) -> str:
        """The part, if there is such a one.

        Raises:
            UserError: There isn't.
        """
        if part not in PARTS:
            raise unknown("part of a labelled set", part, PARTS)
        return part
