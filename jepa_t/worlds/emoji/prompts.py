"""What a model trained on emoji is asked to draw."""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from ...data.hashing import draw
from ...data.sets import PromptSet
from ...errors import check_integer, check_share, unknown
from ...registry import DATASETS
from .captions import captions, paraphrases, withheld_synonyms
from .catalogue import Emoji, catalogue, within
from .colours import emoji_of, in_colours, pictures

SPLITS: dict[str, tuple[Callable[[Emoji], bool], Callable[[Emoji], list[str]]]] = {
    "seen": (lambda one: one.split == "seen", captions),
    "objects": (lambda one: one.split == "seen" and one.tone is None and one.gender is None, captions),
    "unseen_tone": (lambda one: one.split == "unseen_tone", captions),
    "unseen_gender": (lambda one: one.split == "unseen_gender", captions),
    "unseen_colour": (lambda one: one.split == "unseen_colour", lambda one: [*filter(_is_new, captions(one))]),
    "paraphrase": (lambda one: one.split == "seen", paraphrases),
    "synonym": (lambda one: one.split == "seen", lambda one: [*filter(_is_new, withheld_synonyms(one))]),
}


@DATASETS.register_module()
class EmojiPrompts(PromptSet):
    """Prompts to draw, each with the emoji that it means.

    Splits:

    - ``seen``: what training shows, in its words. ``objects``: those of them without tone and gender.
    - ``unseen_tone``: a role and gender in a tone that training never shows them in.
    - ``unseen_gender``: a role in a gender that training never shows, in any tone.
    - ``unseen_colour``: a thing in a colour that isn't its own, and that training doesn't show it in (`in_colours`).
    - ``paraphrase``: withheld sentences. ``synonym``: withheld names, which an encoder that isn't pretrained knows by
      the words alone that they share with others.

    Args:
        splits: Which prompts, in this order.
        per_split: How many of each at most; an emoji is asked for once in a split.
        seed: Decides which, and the words.
        images: Give the real images as ``inputs``, to measure a tokenizer.
        pixels: Their height and width.
        share: Of the roles, as in `EmojiImages`.

    Attributes:
        captions: All prompts.
        splits: The split of each.
        facts: Of each ``{"image": its number in the catalogue}``, and those of ``in_colours()`` after it.

    Raises:
        UserError: An argument is out of range, or a package is missing.
    """

    def __init__(
        self,
        splits: Sequence[str] = ("seen", "objects", "unseen_tone", "unseen_gender", "paraphrase", "synonym"),
        per_split: int = 200,
        seed: int = 1,
        images: bool = False,
        pixels: int = 64,
        share: float = 1.0,
    ) -> None:
        check_integer("EmojiPrompts per_split", per_split)
        check_share("EmojiPrompts share", share)
        for split in splits:
            if split not in SPLITS:
                raise unknown("split of EmojiPrompts", split, SPLITS)
        found = [(split, *prompt) for split in splits for prompt in _prompts(split, per_split, seed, share)]
        self.splits = [split for split, _, _ in found]
        self.facts = [{"image": number} for _, number, _ in found]
        real = pictures([emoji_of(number) for _, number, _ in found], pixels) / 127.5 - 1 if images else None
        super().__init__([caption for _, _, caption in found], real, split=self.splits, facts=self.facts)


def _is_new(caption: str) -> bool:
    """Whether training says this of no emoji."""
    return caption not in _shown()


@cache
def _shown() -> set[str]:
    shown = (one for one in (*catalogue(), *in_colours()) if one.split in ("seen", "recoloured"))
    return {said for one in shown for said in captions(one)}


def _prompts(split: str, count: int, seed: int, share: float) -> list[tuple[int, str]]:
    """Numbers in the catalogue and captions, of a random part of the split."""
    belongs, words = SPLITS[split]
    emoji, first = (in_colours(), len(catalogue())) if split == "unseen_colour" else (catalogue(), 0)
    found = [(number, words(one)) for number, one in enumerate(emoji, first) if belongs(one) and within(one, share)]
    found = [(number, said) for number, said in found if said]
    order = np.argsort(draw(seed, f"emoji {split}", np.array([number for number, _ in found]), 2**62), kind="stable")
    chosen = sorted(order[:count].tolist())
    which = draw(seed, f"emoji {split} words", np.arange(len(found)), np.array([len(said) for _, said in found]))
    return [(found[place][0], found[place][1][which[place]]) for place in chosen]
