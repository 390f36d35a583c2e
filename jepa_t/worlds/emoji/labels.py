"""Emoji with what they show, for probes of a trained encoder."""

import numpy as np

from ...data.hashing import draw
from ...data.sets import LabelledSet
from ...registry import DATASETS
from .catalogue import TONES, Emoji, catalogue
from .rendering import render

EVERY = 5  # of the emoji without tone and gender one in so many is there to test on


@DATASETS.register_module()
class LabelledEmoji(LabelledSet):
    """All emoji, labelled by ``group``, and people by ``role`` and skin ``tone`` as well.

    Groups are people, flags and everything else. Roles count where both parts show them.

    Args:
        part: ``train`` or ``test``: people that :class:`EmojiImages` shows and four in five of the others, or the rest.
        pixels: Height and width of the images.

    Raises:
        UserError: An argument is out of range, or a package is missing.

    Examples:
        >>> data = LabelledEmoji("test", pixels=16)
        >>> data.images.shape, sorted(data.labels)
        (torch.Size([567, 3, 16, 16]), ['group', 'role', 'tone'])
    """

    def __init__(self, part: str, pixels: int = 64) -> None:
        tested = _tested()
        shown = [one for one, test in zip(catalogue(), tested, strict=True) if test == (self.checked(part) == "test")]
        both = sorted(set.intersection(*({one.role for one in _people(tested, test)} for test in (False, True))))
        self.images = render([one.text for one in shown], pixels) / 127.5 - 1
        numbers = {role: number for number, role in enumerate(both)}
        self.labels = {
            "group": np.array([_group(one) for one in shown]),
            "role": np.array([numbers.get(one.role, -1) if _group(one) == 0 else -1 for one in shown]),
            "tone": np.array([TONES.index(one.tone) if one.tone else -1 for one in shown]),
        }


def _tested() -> list[bool]:
    lots = draw(0, "labelled emoji", np.arange(len(catalogue())), EVERY) == 0
    return [one.split != "seen" or bool(lot and _group(one)) for one, lot in zip(catalogue(), lots, strict=True)]


def _people(tested: list[bool], test: bool) -> list[Emoji]:
    return [one for one, of in zip(catalogue(), tested, strict=True) if of == test and _group(one) == 0]


def _group(one: Emoji) -> int:
    """0 for people, 1 for flags, 2 for everything else."""
    return 0 if one.tone or one.gender else 1 if one.flag else 2
