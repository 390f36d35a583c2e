"""Prompts of classes, equally many of each: what a model of ImageNet is asked to draw for FID."""

import numpy as np

from ..errors import check_integer
from ..registry import DATASETS
from .class_captions import Captions
from .sets import PromptSet


@DATASETS.register_module()
class ClassPrompts(PromptSet):
    """Prompt i is about class ``i % classes``, and its image is drawn from seed i.

    So the first n prompts are the same for every count, and any run of them is balanced.

    Args:
        count: How many prompts.
        names: A name or several for each class, or ``"imagenet"``, as in :class:`~jepa_t.data.Captions`.
        templates: Sentences with ``{}`` for the name, or ``"imagenet"``.
        seed: Of the choice among names and sentences.

    Attributes:
        classes: How many classes there are.

    Raises:
        UserError: ``count`` is below 1, or names or templates can't be read.

    Examples:
        >>> ClassPrompts(names=["cat", "dog"], templates=["a photo of a {}"]).captions[:2]
        ['a photo of a cat', 'a photo of a dog']
    """

    def __init__(
        self,
        count: int = 50_000,
        names: str | list[str | list[str]] = "imagenet",
        templates: str | list[str] | tuple[str, ...] = ("a photo of a {}",),
        seed: int = 0,
    ) -> None:
        say, index = Captions(names, templates, seed), np.arange(check_integer("ClassPrompts count", count))
        self.classes = len(say.names)
        labels = index % self.classes
        super().__init__(say(labels, index), label=labels.tolist())
