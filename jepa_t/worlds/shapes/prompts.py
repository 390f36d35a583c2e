"""What a model trained on ShapeScenes is asked to draw, and the facts its images are judged by."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ...data.hashing import Stream
from ...data.sets import PromptSet
from ...errors import UserError, unknown
from ...registry import DATASETS
from .captions import SPLITS, check_families, parse, write
from .scenes import Preset, preset_named


@DATASETS.register_module()
class ShapePrompts(PromptSet):
    """Prompts to draw, with the facts that the images are judged by.

    Splits, of seen contents in the words of training unless said otherwise:

    - ``seen``.
    - ``unseen_binding``: colours of shapes that training never shows.
    - ``unseen_place``, ``unseen_relation``, ``unseen_count``: compositions that no training caption states.
    - ``unseen_template``: withheld sentences. ``unseen_synonym``: withheld words, which only a pretrained
      text encoder can know.
    - ``swap``: pairs of ``related`` prompts with the two objects swapped; at least one of them is unseen.
    - ``class_only``: bare names of the class, "red circle", of the family ``single``.

    Args:
        preset: The family of scenes that training had, as in `ShapeScenes`.
        splits: Which prompts, in this order.
        per_split: How many of each; the families that a split has take turns.
        families: Which caption families; by default the preset's.
        seed: Seed of the prompts.

    Attributes:
        captions: All prompts.
        splits: The split of each.
        facts: Of each what `captions.parse` says; in ``swap`` also ``group``, equal for the two of a
            pair.

    Raises:
        UserError: An argument is out of range, or a split has none of the families.

    Examples:
        >>> ShapePrompts(splits=["unseen_place"], per_split=1).captions
        ['a red circle at the right']
    """

    def __init__(
        self,
        preset: str | Mapping = "tiny",
        splits: Sequence[str] = (
            "seen",
            "unseen_binding",
            "unseen_place",
            "unseen_relation",
            "unseen_template",
            "swap",
        ),
        per_split: int = 200,
        families: Iterable[str] | None = None,
        seed: int = 1,
    ) -> None:
        chosen = preset_named(preset)
        names = tuple(dict(chosen.families) if families is None else families)
        check_families(names)
        for split in splits:
            if split not in SPLITS:
                raise unknown("split of ShapePrompts", split, SPLITS)
            if per_split < 1 or (split == "swap" and per_split % 2):
                raise UserError(f"ShapePrompts per_split={per_split}: use 1 or more, even with 'swap'")
        captions = [caption for split in splits for caption in _prompts(split, names, chosen, seed, per_split)]
        self.splits = [split for split in splits for _ in range(per_split)]
        self.facts = [parse(caption) for caption in captions]
        for row, (split, fact) in enumerate(zip(self.splits, self.facts, strict=True)):
            if split == "swap":
                fact["group"] = row % per_split // 2
        super().__init__(captions, split=self.splits, facts=self.facts)


def _prompts(split: str, names: Sequence[str], preset: Preset, seed: int, count: int) -> list[str]:
    """The captions of one split, of the families that it has by turns."""
    families = [family for family in names if family in SPLITS[split]]
    if not families:
        raise UserError(
            f"ShapePrompts split {split!r} needs a family of {', '.join(SPLITS[split])}; "
            f"families are {', '.join(names)}"
        )
    captions = [""] * count
    for turn, family in enumerate(families):
        index = np.arange(turn, count, len(families))
        captions[turn :: len(families)], _ = write(family, split, preset, Stream(seed, f"{split} {family}", index))
    return captions
