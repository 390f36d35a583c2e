"""Do drawn emoji show what their prompts say?"""

from collections import defaultdict
from itertools import combinations

import torch
from torch import Tensor

from ...errors import check_share
from ...evaluation.features import GradientHistograms
from ...evaluation.retrieval import Gallery, RetrievalMetric
from ...registry import METRICS
from .catalogue import TONES, Emoji, catalogue, within
from .rendering import render

DIFFERENT = 0.3  # in [-1, 1]: each two tones of plain skin differ by 0.33 and more, on edges by less


@METRICS.register_module()
class EmojiMetric(RetrievalMetric):
    """Judges as `RetrievalMetric` among all real emoji, and says what the nearest one shares with the asked one.

    More figures of each split, of the nearest real emoji: ``role``; ``gender``, where the role has several; ``tone``,
    where a tone was asked for. ``skin``: the tone that most of the pixels are nearest to in which each two of the
    asked emoji's tones differ, which hair doesn't. ``sibling``: the mean squared difference in [0, 1] to the nearest of
    its other tones; an ``error`` that isn't well below has missed the tone. ``copied``, of what training never shows:
    whether the nearest is an image that it does show; what training shows is memorised at best. ``real/...`` are the
    figures of the real images, moved by a pixel and noised.

    Args:
        pixels: Height and width of the images.
        share: Of the roles that training shows, as in `EmojiImages`.

    Raises:
        UserError: The share isn't one.
    """

    headlines = ("r1", "gender", "tone", "skin")
    distances = ("error", "sibling")

    def __init__(self, pixels: int = 64, share: float = 1.0) -> None:
        check_share("EmojiMetric share", share)
        super(RetrievalMetric, self).__init__()
        self.share = share
        emoji, self.features = catalogue(), GradientHistograms()
        self.gallery = Gallery(render([one.text for one in emoji], pixels) / 127.5 - 1)
        self.families: dict[tuple, dict[str | None, int]] = defaultdict(dict)
        self.genders: dict[str, set] = defaultdict(set)
        for number, one in enumerate(emoji):
            self.families[one.family][one.tone] = number
            self.genders[one.role].add(one.gender)

    def judge(self, images: Tensor, asked: Tensor) -> dict[str, list]:
        """By the name of each figure, its value for each image; None where it doesn't count."""
        emoji, (_, nearest) = catalogue(), self.gallery.ranks(images, asked)
        pairs = [(emoji[a], emoji[n]) for a, n in zip(asked.tolist(), nearest.tolist(), strict=True)]
        alike = {
            "role": [a.role == n.role for a, n in pairs],
            "gender": [
                a.gender == n.gender if len(self.genders[a.role] - {None}) > 1 and a.gender else None for a, n in pairs
            ],
            "tone": [a.tone == n.tone if a.tone else None for a, n in pairs],
            "copied": [self._shown(n) if not self._shown(a) else None for a, n in pairs],
        }
        tones = [self._tone(image, number) for image, number in zip(images, asked.tolist(), strict=True)]
        return super().judge(images, asked) | alike | {"skin": [t[0] for t in tones], "sibling": [t[1] for t in tones]}

    def _shown(self, one: Emoji) -> bool:
        """Whether training shows an emoji."""
        return one.split == "seen" and within(one, self.share)

    def _tone(self, image: Tensor, asked: int) -> tuple[bool | None, float | None]:
        """Whether the skin is of the asked tone, and the distance to the nearest other tone."""
        one = catalogue()[asked]
        family = self.families[one.family]
        if one.tone is None or not family.keys() >= set(TONES):
            return None, None
        real = self.gallery.images[[family[tone] for tone in TONES]]  # [5, 3, H, W]
        skin = torch.stack([(a - b).abs().amax(0) for a, b in combinations(real, 2)]).amin(0) > DIFFERENT  # [H, W]
        votes = (real - image).square().sum(1)[:, skin].argmin(0)  # the tone that each pixel is nearest to
        told = TONES[votes.bincount(minlength=len(TONES)).argmax()] == one.tone if len(votes) else None
        others = torch.stack([real[i] for i, tone in enumerate(TONES) if tone != one.tone])
        sibling = (others - image).square().flatten(1).mean(1).min() / 4
        return told, float(sibling)
