"""ShapeScenes to train on."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ...data.hashing import Stream
from ...data.sets import TrainingSet
from ...errors import UserError
from ...registry import DATASETS
from .captions import check_families, write
from .rendering import render
from .scenes import Contents, Preset, complete, preset_named


@DATASETS.register_module()
class ShapeScenes(TrainingSet):
    """Training images and captions; number ``i`` depends on all arguments but ``size``, and ``i``, alone.

    So the first images of a larger set are the smaller set.

    Args:
        preset: ``tiny``, ``base`` or ``large``, or ``dict(name="tiny", jitter=0.5)`` with some fields of
            `scenes.Preset` changed.
        size: How many images.
        seed: Seed of the scenes.
        families: Weights of the caption families ``single``, ``located``, ``related`` and ``counted``; by
            default the preset's.

    Attributes:
        pixels: All images ``[size, 3, H, W]``, uint8.
        captions: Their captions.

    Raises:
        UserError: An argument is out of range.

    Examples:
        >>> scenes = ShapeScenes("tiny", size=2)
        >>> scenes.captions
        ['a red square at the top left', 'a red square left of a red triangle on a black background']
        >>> scenes.images.shape
        torch.Size([2, 3, 24, 24])
    """

    size_option = "preset"

    def __init__(
        self,
        preset: str | Mapping = "tiny",
        size: int = 16384,
        seed: int = 0,
        families: Mapping[str, float] | None = None,
    ) -> None:
        if size < 1:
            raise UserError(f"ShapeScenes size={size}: use 1 or more")
        chosen = preset_named(preset)
        weights = dict(chosen.families) if families is None else dict(families)
        check_families(weights)
        if min(weights.values()) < 0 or sum(weights.values()) <= 0:
            raise UserError(f"ShapeScenes families={weights}: use weights of 0 or more, not all 0")
        stream = Stream(seed, "train", np.arange(size))
        self.captions, contents = _write_mixed(weights, chosen, stream)
        self.image_size = (chosen.size, chosen.size)
        self.pixels = torch.from_numpy(render(complete(contents, chosen, stream), chosen.size))

    @property
    def images(self) -> Tensor:
        """All images ``[size, 3, H, W]``, float32 in [-1, 1]; four times the memory of `pixels`."""
        return self.pixels / 127.5 - 1

    def __len__(self) -> int:
        return len(self.captions)

    def __getitems__(self, indices: list[int]) -> dict:
        """A batch: ``inputs [B, 3, H, W]`` and ``data_samples`` with the ``caption`` list."""
        captions = [self.captions[i] for i in indices]
        return {"inputs": self.pixels[indices] / 127.5 - 1, "data_samples": {"caption": captions}}


def _write_mixed(weights: dict[str, float], preset: Preset, stream: Stream) -> tuple[list[str], Contents]:
    """Training captions of all families, in the order of the stream, and their contents."""
    ends = np.cumsum(list(weights.values())) / sum(weights.values())
    family = np.searchsorted(ends, stream.draw("family", 2**32) / 2**32, side="right")
    groups = [np.flatnonzero(family == number) for number in range(len(weights))]
    parts = [
        write(name, "seen", preset, Stream(stream.seed, f"{stream.name} {name}", stream.index[rows]))
        for name, rows in zip(weights, groups, strict=True)
    ]
    order = np.argsort(np.concatenate(groups))
    captions = [caption for part, _ in parts for caption in part]
    columns = zip(*(vars(contents).values() for _, contents in parts), strict=True)
    contents = Contents(*(np.concatenate(column)[order] for column in columns))
    return [captions[i] for i in order], contents
