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
from .colours import OTHERS, in_colours, pictures
from .rendering import render

DIFFERENT = 0.3  # in [-1, 1]: each two tones of plain skin differ by 0.33 and more, on edges by less


@METRICS.register_module()
class EmojiMetric(RetrievalMetric):
    """Judges as `RetrievalMetric` among all real emoji, and says what the nearest one shares with the asked one.

    More figures of each split, of the nearest real emoji: ``role``; ``gender``, where the role has several; ``tone``,
    where a tone was asked for. ``skin``: the tone that most of the pixels are nearest to in which each two of the
    asked emoji's tones differ, which hair doesn't; ``colour`` the same of those that were asked for in a colour.
    ``sibling``: the mean squared difference in [0, 1] to the nearest of its other tones or colours; an ``error`` that
    isn't well below has missed it. ``copied``, of what training never shows: whether the nearest is an image that it
    does show, things in colours among them; what training shows is memorised at best. ``real/...`` are the figures of
    the real images, moved by a pixel and noised. What is asked for in a colour (`in_colours`) is looked for among all
    emoji and all of these.

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
        self.known, self.pixels = emoji, pixels
        self.gallery = Gallery(render([one.text for one in emoji], pixels) / 127.5 - 1)
        self.families: dict[tuple, dict[str | None, int]] = defaultdict(dict)
        self.genders: dict[str, set] = defaultdict(set)
        for number, one in enumerate(emoji):
            self.families[one.family][one.tone] = number
            self.genders[one.role].add(one.gender)

    def judge(self, images: Tensor, asked: Tensor) -> dict[str, list]:
        """By the name of each figure, its value for each image; None where it doesn't count."""
        self._know(asked)
        emoji, (_, nearest) = self.known, self.gallery.ranks(images, asked)
        pairs = [(emoji[a], emoji[n]) for a, n in zip(asked.tolist(), nearest.tolist(), strict=True)]
        alike = {
            "role": [a.role == n.role for a, n in pairs],
            "gender": [
                a.gender == n.gender if len(self.genders[a.role] - {None}) > 1 and a.gender else None for a, n in pairs
            ],
            "tone": [a.tone == n.tone if a.tone else None for a, n in pairs],
            "copied": [self._shown(n) if not self._shown(a) else None for a, n in pairs],
        }
        votes = [self._vote(image, number) for image, number in zip(images, asked.tolist(), strict=True)]
        alike["skin"] = [right if a.tone else None for (right, _), (a, _) in zip(votes, pairs, strict=True)]
        alike["colour"] = [right if a.colour else None for (right, _), (a, _) in zip(votes, pairs, strict=True)]
        return super().judge(images, asked) | alike | {"sibling": [distance for _, distance in votes]}

    def other_figures(self, records: list[dict]) -> dict[str, float]:
        """Distances, and what the judge makes of real images."""
        self._know(torch.tensor([record["facts"]["image"] for record in records]))
        return super().other_figures(records)

    def _know(self, asked: Tensor) -> None:
        """Take things in colours into the gallery once one is asked for: there are as many as emoji."""
        if int(asked.max()) >= len(self.known):
            first = len(self.known)
            self.known = (*self.known, *in_colours())
            self.gallery = Gallery(pictures(self.known, self.pixels) / 127.5 - 1, first)

    def _shown(self, one: Emoji) -> bool:
        """Whether training shows an emoji."""
        return one.split in ("seen", "recoloured") and within(one, self.share)

    def _siblings(self, asked: int) -> list[int]:
        """Itself and its other tones, or colours; none for what has neither."""
        first, one = self.gallery.first, self.known[asked]
        if one.colour:
            start = asked - (asked - first) % OTHERS
            return [*range(start, start + OTHERS)]
        family = self.families[one.family]
        return [family[tone] for tone in TONES] if one.tone and family.keys() >= set(TONES) else []

    def _vote(self, image: Tensor, asked: int) -> tuple[bool | None, float | None]:
        """Whether most of what differs is of the asked tone or colour, and the distance to the nearest other one."""
        siblings = self._siblings(asked)
        if not siblings:
            return None, None
        real, own = self.gallery.images[siblings], siblings.index(asked)  # [S, 3, H, W]
        differ = torch.stack([(a - b).abs().amax(0) for a, b in combinations(real, 2)]).amin(0) > DIFFERENT  # [H, W]
        votes = (real - image).square().sum(1)[:, differ].argmin(0)  # the sibling that each pixel is nearest to
        told = int(votes.bincount(minlength=len(siblings)).argmax()) == own if len(votes) else None
        others = torch.cat([real[:own], real[own + 1 :]])
        return told, float((others - image).square().flatten(1).mean(1).min() / 4)
