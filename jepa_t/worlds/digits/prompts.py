"""What a model trained on inked digits is asked to draw, and the facts its images are judged by."""

from collections.abc import Sequence

import numpy as np

from ...data.sets import PromptSet
from ...errors import UserError, unknown
from ...registry import DATASETS
from .captions import describe, draw_templates
from .layouts import Layout, layout_named
from .rendering import render_facts
from .scenes import DIGITS, INKS, PAPERS, Scenes, draw_scenes

SPLITS = ("seen", "unseen", "paraphrase", "synonym")  # of every layout
SWAP = "swap"  # of layouts with two scans

# Words that no training caption has.
SYNONYMS = {
    **dict(zip(INKS, ("crimson", "jade", "cobalt", "golden", "violet", "turquoise"), strict=True)),
    **{word: str(digit) for digit, word in enumerate(DIGITS)},
    "digit": "numeral",
}


@DATASETS.register_module()
class DigitPrompts(PromptSet):
    """Prompts to draw, with the facts that the images are judged by.

    Splits: ``seen`` and ``unseen`` compositions of digit and ink in the words of training; ``paraphrase``,
    seen compositions in withheld sentences; ``synonym``, in words that training captions don't know ("a
    crimson 3"), for pretrained text encoders; ``swap``, for two scans, each prompt followed by the one with
    the places swapped.

    Args:
        layout: How many scans an image shows, and where, as in `InkedDigits`.
        splits: Which prompts, in this order.
        per_split: How many of each.
        seed: Seed of the scenes.
        images: Give real images of the facts along, of held-out scans: what a tokenizer is measured on.

    Attributes:
        captions: All prompts.
        splits: The split of each.
        facts: Per prompt ``digits`` (numbers) and ``inks`` (names), left to right or top down, and ``paper``,
            None where the prompt leaves it open; in ``swap`` also ``group``, equal for the two of a pair.

    Raises:
        UserError: An argument is out of range.

    Examples:
        >>> prompts = DigitPrompts(splits=["unseen"], per_split=1)
        >>> prompts.captions, prompts.facts
        (['a green four'], [{'digits': [4], 'inks': ['green'], 'paper': None}])
    """

    def __init__(
        self,
        layout: str = "single",
        splits: Sequence[str] = ("seen", "unseen", "paraphrase"),
        per_split: int = 200,
        seed: int = 1,
        images: bool = False,
    ) -> None:
        form = layout_named(layout)
        known = (*SPLITS, SWAP) if form.places > 1 else SPLITS
        for split in splits:
            if split not in known:
                raise unknown(f"split of layout {layout!r}", split, known)
        if per_split < 1 or (SWAP in splits and per_split % 2):
            raise UserError(f"DigitPrompts per_split={per_split}: use 1 or more, even with {SWAP!r}")
        parts = [_prompts(form, split, seed, np.arange(per_split)) for split in splits]
        self.splits = [split for split in splits for _ in range(per_split)]
        self.facts = [fact for _, facts in parts for fact in facts]
        captions = [caption for some, _ in parts for caption in some]
        real = render_facts(self.facts, form) if images else None
        super().__init__(captions, real, split=self.splits, facts=self.facts)


def _prompts(layout: Layout, split: str, seed: int, index: np.ndarray) -> tuple[list[str], list[dict]]:
    """Captions and facts of one split; the two of a swap share one draw."""
    rows = index // 2 if split == SWAP else index
    scenes = draw_scenes(seed, split, rows, layout.places, withheld=split == "unseen", distinct=split == SWAP)
    if split == SWAP:
        turned = (index % 2 == 1)[:, None]
        digits, inks = (np.where(turned, column[:, ::-1], column) for column in (scenes.digits, scenes.inks))
        scenes = Scenes(digits, inks, scenes.papers)
    templates = layout.paraphrases if split == "paraphrase" else layout.templates
    chosen = draw_templates(templates, seed, split, rows)
    captions = describe(scenes, chosen)
    if split == "synonym":
        captions = [" ".join(SYNONYMS.get(word, word) for word in caption.split()) for caption in captions]
    facts = _facts(scenes, ["{paper}" in template for template in chosen])
    if split == SWAP:
        facts = [fact | {"group": int(row)} for fact, row in zip(facts, rows, strict=True)]
    return captions, facts


def _facts(scenes: Scenes, paper_is_said: list[bool]) -> list[dict]:
    inks, papers = list(INKS), list(PAPERS)
    columns = (scenes.digits.tolist(), scenes.inks.tolist(), scenes.papers.tolist(), paper_is_said)
    return [
        {"digits": digits, "inks": [inks[i] for i in ink], "paper": papers[paper] if said else None}
        for digits, ink, paper, said in zip(*columns, strict=True)
    ]
