"""Inked digits with what they show, for probes of a trained encoder."""

import numpy as np

from ...data.sets import LabelledSet
from ...errors import check_integer
from ...registry import DATASETS
from .layouts import layout_named
from .rendering import render
from .scans import load_scans, pick_at_random
from .scenes import draw_scenes


@DATASETS.register_module()
class LabelledDigits(LabelledSet):
    """One digit each, labelled by ``digit``, ``ink`` and ``paper``; in inks that training shows the digit in.

    Args:
        part: ``train``, of the training scans; or ``test``, of the held-out ones.
        size: How many images; by default 2,000 to train on, and one for each of the 297 held-out scans.

    Raises:
        UserError: An argument is out of range.

    Examples:
        >>> data = LabelledDigits("test")
        >>> data.images.shape, sorted(data.labels), data.labels["digit"].shape
        (torch.Size([297, 3, 8, 8]), ['digit', 'ink', 'paper'], (297,))
    """

    def __init__(self, part: str, size: int | None = None) -> None:
        scans = load_scans()[self.checked(part) == "test"]
        count = 2000 if part == "train" else len(scans.digits)
        index, form = np.arange(count if size is None else check_integer("LabelledDigits size", size)), "single"
        shown = index % len(scans.digits)  # of the held-out scans, each in turn
        scenes = draw_scenes(
            0, f"labelled {part}", index, 1, digits=scans.digits[shown][:, None] if part == "test" else None
        )
        if part == "test":
            coverage = scans.coverage[shown][:, None]
        else:
            coverage = pick_at_random(scans, scenes.digits, 0, f"labelled {part}", index)
        self.images = render(coverage, scenes, layout_named(form))
        self.labels = {"digit": scenes.digits[:, 0], "ink": scenes.inks[:, 0], "paper": scenes.papers}
