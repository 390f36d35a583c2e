"""Scenes of one object with what they show, for probes of a trained encoder."""

from collections.abc import Mapping

import numpy as np
import torch

from ...data.hashing import Stream
from ...data.sets import LabelledSet
from ...registry import DATASETS
from .rendering import render
from .scenes import PLACES, SHAPES, Contents, complete, kinds_of, preset_named

EVERY = 3  # of the scenes one in so many is there to test on


@DATASETS.register_module()
class LabelledShapes(LabelledSet):
    """Every kind of object at every place on every background, labelled by ``shape``, ``colour`` and ``place``.

    Args:
        part: ``train`` or ``test``: two thirds of these scenes, or the others.
        preset: As in `ShapeScenes`.

    Raises:
        UserError: An argument is unknown.

    Examples:
        >>> data = LabelledShapes("train")
        >>> data.images.shape, data.labels["place"].max()
        (torch.Size([108, 3, 24, 24]), np.int64(8))
    """

    def __init__(self, part: str, preset: str | Mapping = "tiny") -> None:
        chosen = preset_named(preset)
        axes = kinds_of(chosen), np.arange(len(PLACES)), np.arange(chosen.backgrounds)
        kinds, places, backgrounds = (axis.ravel() for axis in np.meshgrid(*axes, indexing="ij"))
        stream = Stream(0, "labelled", np.arange(len(kinds)))
        tested = np.zeros(len(kinds), bool)
        tested[np.argsort(stream.bits("part"), kind="stable")[::EVERY]] = True
        rows = np.flatnonzero(tested == (self.checked(part) == "test"))
        none, kinds, places = np.full(len(rows), -1), kinds[rows], places[rows]
        contents = Contents(
            kinds=np.stack([kinds, none], 1),
            count=np.ones_like(rows),
            sizes=np.stack([none, none], 1),
            place=places,
            relation=none,
            background=backgrounds[rows],
        )
        pixels = render(complete(contents, chosen, stream[rows]), chosen.size)
        self.images = torch.from_numpy(pixels) / 127.5 - 1
        self.labels = {"shape": kinds % len(SHAPES), "colour": kinds // len(SHAPES), "place": places}
