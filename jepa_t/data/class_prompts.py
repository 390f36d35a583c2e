"""Prompts of classes, equally many of each: what a model of ImageNet is asked to draw for FID."""

from functools import cached_property

import numpy as np
from torch.utils.data import Dataset

from ..errors import whole
from ..registry import DATASETS
from .captions import Captions


@DATASETS.register_module()
class ClassPrompts(Dataset):
    """Prompt i is about class ``i % classes``, and its image is drawn from seed i.

    So the first n prompts are the same for every count, and any run of them is balanced.

    Args:
        count: How many.
        names: As in :class:`~jepa_t.data.Captions`.
        templates: As there.
        seed: Of the choice among names and sentences.

    Attributes:
        classes: How many classes there are.

    Raises:
        UserError: ``count`` is below 1, or names or templates can't be read.
    """

    def __init__(
        self,
        count: int = 50_000,
        names: str | list[str | list[str]] = "imagenet",
        templates: str | list[str] | tuple[str, ...] = ("a photo of a {}",),
        seed: int = 0,
    ) -> None:
        self.count = whole("ClassPrompts count", count)
        self._say = Captions(names, templates, seed)
        self.classes = len(self._say.names)

    def __len__(self) -> int:
        return self.count

    @cached_property
    def captions(self) -> list[str]:
        """All prompts."""
        index = np.arange(self.count)
        return self._say(index % self.classes, index)

    def __getitems__(self, indices: list[int]) -> dict:
        """A batch: ``inputs`` None, ``data_samples``: lists of caption, index and label."""
        labels = [index % self.classes for index in indices]
        captions = [self.captions[index] for index in indices]
        return {"inputs": None, "data_samples": {"caption": captions, "index": list(indices), "label": labels}}
