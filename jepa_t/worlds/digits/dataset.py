"""Inked digits to train on."""

import numpy as np

from ...data.sets import TrainingSet
from ...errors import UserError
from ...registry import DATASETS
from .captions import describe, draw_templates
from .layouts import layout_named
from .rendering import render
from .scans import TRAINING_SCANS, pick_at_random, training_prefix
from .scenes import draw_scenes


@DATASETS.register_module()
class InkedDigits(TrainingSet):
    """Training images and captions; number ``i`` depends on ``seed``, ``scans`` and ``i`` alone.

    Args:
        size: How many images.
        seed: Seed of the scenes. The split of the scans is always the same.
        scans: How many of the training scans are used, 10 to 1,500; the smaller sets are part of the larger.
        layout: ``single`` (8 x 8 pixels), ``pairs`` side by side (8 x 16) or ``stacked`` (16 x 8).

    Attributes:
        images: All images ``[size, 3, H, W]``, float32 in [-1, 1].
        captions: Their captions.

    Raises:
        UserError: An argument is out of range.

    Examples:
        >>> digits = InkedDigits(size=2)
        >>> digits.captions
        ['on grey paper the digit seven in blue', 'a purple four']
        >>> digits.images.shape
        torch.Size([2, 3, 8, 8])
    """

    size_option = "layout"

    def __init__(self, size: int = 24000, seed: int = 0, scans: int = TRAINING_SCANS, layout: str = "single") -> None:
        if size < 1:
            raise UserError(f"InkedDigits size={size}: use 1 or more")
        source, form, index = training_prefix(scans), layout_named(layout), np.arange(size)
        scenes = draw_scenes(seed, "train", index, form.places)
        self.image_size = form.size
        self.images = render(pick_at_random(source, scenes.digits, seed, "train", index), scenes, form)
        self.captions = describe(scenes, draw_templates(form.templates, seed, "train", index))

    def __len__(self) -> int:
        return len(self.captions)

    def __getitems__(self, indices: list[int]) -> dict:
        """A batch: ``inputs [B, 3, H, W]`` and ``data_samples`` with the ``caption`` list."""
        captions = [self.captions[i] for i in indices]
        return {"inputs": self.images[indices], "data_samples": {"caption": captions}}
