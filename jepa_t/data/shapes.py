"""ShapeScenes to train on, and the prompts that a model trained on them is asked to draw."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import UserError, unknown
from ..registry import DATASETS
from .hashing import Stream
from .scene_captions import SPLITS, TEMPLATES, parse, write
from .scene_rendering import render
from .scenes import Contents, Preset, complete, preset_named


@DATASETS.register_module()
class ShapeScenes(Dataset):
    """Training images and captions; number ``i`` depends on all arguments but ``size``, and ``i``, alone.

    So the first images of a larger set are the smaller set.

    Args:
        preset: ``tiny``, ``base`` or ``large``, or ``dict(name="tiny", jitter=0.5)`` with some fields of
            `scenes.Preset` changed.
        size: How many images.
        seed: Seed of the scenes.
        families: Weights of the caption families ``single``, ``located``, ``related`` and ``counted``; by
            default the preset's.

    Attributes:
        pixels: All images ``[size, 3, H, W]``, uint8.
        captions: Their captions.

    Raises:
        UserError: An argument is out of range.
    """

    def __init__(
        self,
        preset: str | Mapping = "tiny",
        size: int = 16384,
        seed: int = 0,
        families: Mapping[str, float] | None = None,
    ) -> None:
        if size < 1:
            raise UserError(f"ShapeScenes size={size}: use 1 or more")
        chosen = preset_named(preset)
        weights = dict(chosen.families) if families is None else dict(families)
        _check_families(weights)
        if min(weights.values()) < 0 or sum(weights.values()) <= 0:
            raise UserError(f"ShapeScenes families={weights}: use weights of 0 or more, not all 0")
        stream = Stream(seed, "train", np.arange(size))
        self.captions, contents = _write_mixed(weights, chosen, stream)
        self.pixels = torch.from_numpy(render(complete(contents, chosen, stream), chosen.size))

    @property
    def images(self) -> Tensor:
        """All images ``[size, 3, H, W]``, float32 in [-1, 1]; four times the memory of `pixels`."""
        return self.pixels / 127.5 - 1

    def __len__(self) -> int:
        return len(self.captions)

    def __getitems__(self, indices: list[int]) -> dict:
        """A batch: ``inputs [B, 3, H, W]`` and ``data_samples`` with the ``caption`` list."""
        captions = [self.captions[i] for i in indices]
        return {"inputs": self.pixels[indices] / 127.5 - 1, "data_samples": {"caption": captions}}


@DATASETS.register_module()
class ShapePrompts(Dataset):
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
        preset: As in `ShapeScenes`.
        splits: Which prompts, in this order.
        per_split: How many of each; the families that a split has take turns.
        families: Which caption families; by default the preset's.
        seed: Seed of the prompts.

    Attributes:
        captions: All prompts.
        splits: The split of each.
        facts: Of each what `scene_captions.parse` says; in ``swap`` also ``group``, equal for the two of a
            pair.

    Raises:
        UserError: An argument is out of range, or a split has none of the families.
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
        _check_families(names)
        self.captions: list[str] = []
        self.facts: list[dict] = []
        self.splits = [split for split in splits for _ in range(per_split)]
        for split in splits:
            if split not in SPLITS:
                raise unknown("split of ShapePrompts", split, SPLITS)
            if per_split < 1 or (split == "swap" and per_split % 2):
                raise UserError(f"ShapePrompts per_split={per_split}: use 1 or more, even with 'swap'")
            turns = [family for family in names if family in SPLITS[split]]
            if not turns:
                raise UserError(
                    f"ShapePrompts split {split!r} needs a family of {', '.join(SPLITS[split])}; "
                    f"families are {', '.join(names)}"
                )
            captions = _prompts(split, turns, chosen, seed, per_split)
            groups = [{"group": i // 2} if split == "swap" else {} for i in range(per_split)]
            self.captions += captions
            self.facts += [parse(caption) | group for caption, group in zip(captions, groups, strict=True)]

    def __len__(self) -> int:
        return len(self.captions)

    def __getitems__(self, indices: list[int]) -> dict:
        """A batch: ``inputs`` None, ``data_samples`` with lists of caption, index, split and facts."""
        columns = {"caption": self.captions, "split": self.splits, "facts": self.facts}
        samples = {name: [column[i] for i in indices] for name, column in columns.items()}
        return {"inputs": None, "data_samples": {**samples, "index": list(indices)}}


def _check_families(names: Iterable[str]) -> None:
    if not names:
        raise UserError(f"families is empty: use some of {', '.join(TEMPLATES)}")
    for name in names:
        if name not in TEMPLATES:
            raise unknown("caption family", name, TEMPLATES)


def _write_mixed(weights: dict[str, float], preset: Preset, stream: Stream) -> tuple[list[str], Contents]:
    """Training captions of all families, in the order of the stream, and their contents."""
    ends = np.cumsum(list(weights.values())) / sum(weights.values())
    family = np.searchsorted(ends, stream.draw("family", 2**32) / 2**32, side="right")
    groups = [np.flatnonzero(family == number) for number in range(len(weights))]
    parts = [
        write(name, "seen", preset, Stream(stream.seed, f"{stream.name} {name}", stream.index[rows]))
        for name, rows in zip(weights, groups, strict=True)
    ]
    order = np.argsort(np.concatenate(groups))
    captions = [caption for part, _ in parts for caption in part]
    columns = zip(*(vars(contents).values() for _, contents in parts), strict=True)
    contents = Contents(*(np.concatenate(column)[order] for column in columns))
    return [captions[i] for i in order], contents


def _prompts(split: str, families: list[str], preset: Preset, seed: int, count: int) -> list[str]:
    """The captions of one split, the families by turns."""
    captions = [""] * count
    for turn, family in enumerate(families):
        index = np.arange(turn, count, len(families))
        captions[turn :: len(families)], _ = write(family, split, preset, Stream(seed, f"{split} {family}", index))
    return captions
