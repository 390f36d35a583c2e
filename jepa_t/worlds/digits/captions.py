"""What is said of inked digits: sentences of a layout, filled with the words of a scene."""

from itertools import product

import numpy as np

from ...data.hashing import draw
from .layouts import LAYOUTS
from .scenes import DIGITS, INKS, PAPERS, Scenes


def draw_templates(templates: tuple[str, ...], seed: int, stream: str, index: np.ndarray) -> list[str]:
    """One of the templates for each index ``[N]``."""
    return [templates[i] for i in draw(seed, f"{stream} template", index, len(templates))]


def describe(scenes: Scenes, templates: list[str]) -> list[str]:
    """The captions of the scenes in these templates, one each."""
    inks, papers = list(INKS), list(PAPERS)
    columns = (templates, scenes.digits.tolist(), scenes.inks.tolist(), scenes.papers.tolist())
    return [
        template.format(
            digit=DIGITS[digits[0]], ink=inks[ink[0]],
            digit2=DIGITS[digits[-1]], ink2=inks[ink[-1]], paper=papers[paper],
        )
        for template, digits, ink, paper in zip(*columns, strict=True)
    ]  # fmt: skip


def digit_classes() -> list[list[str]]:
    """For each composition of one digit, ink and paper, or paper left open, all that training says of it."""
    classes = []
    for digit, ink, paper in product(DIGITS, INKS, (*PAPERS, None)):
        chosen = [one for one in LAYOUTS["single"].templates if ("{paper}" in one) == (paper is not None)]
        classes.append([template.format(digit=digit, ink=ink, paper=paper) for template in chosen])
    return classes
