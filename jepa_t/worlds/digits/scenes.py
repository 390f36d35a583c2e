"""What images of inked digits show: which digits, in which ink, on which paper."""

from dataclasses import dataclass

import numpy as np

from ...data.hashing import draw

# In [-1, 1]. Far apart from each other, and each ink from each paper in luminance too. Whole 32nds, so that a
# blend by sixteenths is exact: the images are the same bits on every machine.
PAPERS = {"white": (1.0, 1.0, 1.0), "black": (-1.0, -1.0, -1.0), "grey": (0.0, 0.0, 0.0)}
INKS = {
    "red": (0.625, -0.875, -0.875),
    "green": (-1.0, -0.125, -0.75),
    "blue": (-0.75, -0.625, 1.0),
    "yellow": (0.875, 0.625, -0.75),
    "purple": (0.125, -0.875, 0.25),
    "cyan": (-0.5, 0.875, 0.875),
}
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

# A fifth of the (digit, ink) compositions [10, 6] never occurs in training. On a Latin diagonal every ink
# keeps eight digits and every digit at least four inks.
WITHHELD = (np.arange(10)[:, None] + np.arange(6)[None, :]) % 5 == 0


@dataclass(frozen=True)
class Scenes:
    """What images show: ``digits`` and ``inks [N, places]`` (left to right or top down), ``papers [N]``."""

    digits: np.ndarray
    inks: np.ndarray
    papers: np.ndarray


def draw_scenes(
    seed: int,
    stream: str,
    index: np.ndarray,
    places: int,
    *,
    withheld: bool = False,
    distinct: bool = False,
    digits: np.ndarray | None = None,
) -> Scenes:
    """Random scenes: digits uniform, inks uniform among those allowed with the digit, papers uniform.

    Args:
        seed: With ``stream`` and ``index`` all that a scene depends on.
        stream: What the scenes are for.
        index: Numbers of the scenes ``[N]``.
        places: How many scans an image shows.
        withheld: Compositions of digit and ink that training never shows, instead of those it does.
        distinct: The digit of the second place differs from the first's.
        digits: Those of the scenes ``[N, places]``, if they aren't drawn.
    """
    if digits is None:
        numbers = [draw(seed, f"{stream} digit {place}", index, 10) for place in range(places)]
        if distinct:
            numbers[1] = (numbers[0] + 1 + draw(seed, f"{stream} other digit", index, 9)) % 10
        digits = np.stack(numbers, 1)
    allowed = WITHHELD if withheld else ~WITHHELD
    choices, count = np.argsort(~allowed, axis=1, kind="stable"), allowed.sum(1)
    ranks = [draw(seed, f"{stream} ink {place}", index, count[digits[:, place]]) for place in range(places)]
    papers = draw(seed, f"{stream} paper", index, len(PAPERS))
    return Scenes(digits, choices[digits, np.stack(ranks, 1)], papers)
