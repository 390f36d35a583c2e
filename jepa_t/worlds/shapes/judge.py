"""The exact judge of ShapeScenes: what an image shows, and whether it was asked for; nothing is learned.

The background is the median of the border. A pixel's coverage is how far it lies on the line from background
to colour, exact on anti-aliased edges. Objects are the 8-connected components covered by more than half. Area
and centroid are sums of coverage; the shape is the one that overlaps most when rendered there at that size.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .rendering import coverage, render, window
from .scenes import (
    BACKGROUNDS,
    COLOURS,
    PLACES,
    REACH,
    RELATIONS,
    SHAPES,
    SIZES,
    Preset,
    Scenes,
    cell_of,
    relation_margin,
)

SIMILAR = 0.78  # soft intersection over union below which a shape is unknown
DIRT = 0.25  # a component below this part of the smallest object's area is none
GIANT = 1.5  # nor is a shape known beyond so many radii of the largest object
KIND = ("colour", "shape")
MOST = 10  # objects described of each image; more than any scene has
INKS = np.array(list(COLOURS.values()), float)
PAPERS = np.array(list(BACKGROUNDS.values()), float)


@dataclass(frozen=True)
class Reading:
    """What N images show.

    Attributes:
        scenes: Their objects, at most `MOST` each, in no order.
        residual: Root mean square difference ``[N]`` in [0, 1] between the images and their scenes rendered
            again: the quality of the drawing.
    """

    scenes: Scenes
    residual: np.ndarray


def read(images: Tensor | np.ndarray, preset: Preset) -> Reading:
    """What images show; never raises on what they hold.

    Args:
        images: ``[N, 3, size, size]``, floats in [-1, 1] or uint8. Numbers beyond are clipped; an image with
            one that isn't finite shows nothing.
        preset: The scenes' preset, for size and radii.
    """
    scenes, residual = [], []
    for part in torch.as_tensor(images).split(64):
        pixels = _pixels(part)
        scenes.append(_read(pixels, preset))
        difference = np.moveaxis(render(scenes[-1], preset.size), 1, -1) - pixels
        residual.append(np.sqrt(np.square(difference / 255).mean((1, 2, 3))))
    columns = ("colours", "shapes", "radii", "centres", "background")
    joined = {name: np.concatenate([getattr(scene, name) for scene in scenes]) for name in columns}
    return Reading(Scenes(**joined), np.concatenate(residual))


def _pixels(images: Tensor) -> np.ndarray:
    """Images as floats ``[N, H, W, 3]`` in [0, 255]."""
    pixels = images.detach().cpu().double()
    if images.is_floating_point():
        pixels = (pixels + 1) * 127.5
    finite = pixels.isfinite().all(3).all(2).all(1)
    pixels = pixels.where(finite[:, None, None, None], 0.0)
    return pixels.clamp(0, 255).permute(0, 2, 3, 1).contiguous().numpy()


@dataclass(frozen=True)
class _Blobs:
    """M components: ``number``, ``image``, ``colour``, ``area`` ``[M]``, ``centres`` ``[M, 2]``."""

    number: np.ndarray
    image: np.ndarray
    colour: np.ndarray
    area: np.ndarray
    centres: np.ndarray


def _read(pixels: np.ndarray, preset: Preset) -> Scenes:
    border = [pixels[:, 0], pixels[:, -1], pixels[:, 1:-1, 0], pixels[:, 1:-1, -1]]
    ground = np.median(np.concatenate(border, 1), 1)
    covered, miss = _cover(pixels, ground)
    owner = _components(np.take_along_axis(covered, miss.argmin(-1)[..., None], -1)[..., 0] > 0.5)
    blobs, share = _measure(owner, covered, miss)
    large = np.flatnonzero(blobs.area >= DIRT * np.pi * preset.radii[-1] ** 2)
    slot = np.arange(len(large)) - np.searchsorted(blobs.image[large], blobs.image[large])
    blobs = _Blobs(*(column[large[slot < MOST]] for column in vars(blobs).values()))
    scenes = Scenes(
        colours=np.full((len(pixels), MOST), -1),
        shapes=np.full((len(pixels), MOST), -1),
        radii=np.ones((len(pixels), MOST)),
        centres=np.zeros((len(pixels), MOST, 2)),
        background=np.square(ground[:, None] - PAPERS).sum(-1).argmin(1),
    )
    here = (blobs.image, slot[slot < MOST])
    scenes.shapes[here], scenes.radii[here] = _shapes(blobs, owner, share, preset)
    scenes.colours[here], scenes.centres[here] = blobs.colour, blobs.centres
    return scenes


def _cover(pixels: np.ndarray, ground: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coverage of each pixel by each colour, and the squared distance left unexplained ``[N, H, W, 6]``."""
    lines = INKS - ground[:, None]
    power = np.maximum(np.square(lines).sum(-1), 1.0)[:, None]
    offset = (pixels - ground[:, None, None]).reshape(len(pixels), -1, 3)
    covered = offset @ lines.transpose(0, 2, 1) / power
    clipped = np.clip(covered, 0, 1)
    miss = np.square(offset).sum(-1, keepdims=True) + power * clipped * (clipped - 2 * covered)
    return covered.reshape(*pixels.shape[:3], -1), miss.reshape(*pixels.shape[:3], -1)


def _components(solid: np.ndarray) -> np.ndarray:
    """The number of the component, from 1, that each pixel ``[N, H, W]`` is in or at the edge of; else 0."""
    from scipy.ndimage import distance_transform_edt, label

    neighbours = np.zeros((3, 3, 3), int)
    neighbours[1] = 1  # within an image, diagonals included
    numbers, _ = label(solid, neighbours)
    if not numbers.any():
        return numbers
    apart = sum(solid.shape)  # farther than any pixel of the same image
    distance, nearest = distance_transform_edt(numbers == 0, sampling=(apart, 1, 1), return_indices=True)
    return np.where(distance < 1.5, numbers[tuple(nearest)], 0)


def _measure(owner: np.ndarray, covered: np.ndarray, miss: np.ndarray) -> tuple[_Blobs, np.ndarray]:
    """The components, and how much of each pixel its component covers ``[N, H, W]``."""
    where, count = np.nonzero(owner), int(owner.max(initial=0))
    component = owner[where] - 1

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(component, values, count)

    colour = np.argmin([total(miss[(*where, ink)]) for ink in range(len(INKS))], 0)
    weight = covered[(*where, colour[component])]
    share, image = np.zeros(owner.shape), np.zeros(count, np.int64)
    share[where], image[component] = weight, where[0]
    area = total(weight)
    moments = np.stack([total(weight * (where[2] + 0.5)), total(weight * (where[1] + 0.5))], 1)
    centres = np.clip(moments / np.maximum(area, 1e-9)[:, None], 0, owner.shape[1] - 0.5)
    return _Blobs(np.arange(1, count + 1), image, colour, area, centres), share


def _shapes(blobs: _Blobs, owner: np.ndarray, share: np.ndarray, preset: Preset) -> tuple[np.ndarray, np.ndarray]:
    """The shape (-1 if unknown) and the radius of each component ``[M]``."""
    giant = GIANT * preset.radii[0]
    half = int(np.ceil(REACH * giant + 0.5))
    pixels, offsets = window(blobs.centres, half)
    here = (blobs.image[:, None, None], pixels[:, :, None, 1] + half, pixels[:, None, :, 0] + half)
    owner, share = (np.pad(plane, ((0, 0), (half, half), (half, half)))[here] for plane in (owner, share))
    seen = np.where(owner == blobs.number[:, None, None], share.clip(0, 1), 0.0)
    radii = np.minimum(np.sqrt(blobs.area / np.pi), giant)
    shapes, likeness, fitted = np.full(len(radii), -1), np.full(len(radii), SIMILAR), radii.copy()
    for code in range(len(SHAPES)):
        shape = np.full(len(radii), code)
        area = coverage(shape, radii, offsets).sum((1, 2))  # of a few pixels: not quite what the radius says
        trial = np.minimum(radii * np.sqrt(blobs.area / area), giant)
        drawn = coverage(shape, trial, offsets)
        overlap = np.minimum(drawn, seen).sum((1, 2)) / np.maximum(drawn, seen).sum((1, 2))
        better = overlap > likeness
        shapes[better], likeness[better], fitted[better] = code, overlap[better], trial[better]
    return shapes, fitted


def judge(reading: Reading, facts: list[dict], preset: Preset) -> list[dict]:
    """Whether images show what was asked.

    - ``count``: as many objects as asked, and no more distractors than the preset has.
    - ``colour``, ``shape``: those asked for are there, whichever belongs to which.
    - ``binding``: of each asked colour and shape together, exactly as many objects as asked.
    - ``size``: objects of that colour, shape and size are there.
    - ``place``, ``relation``: that of the objects asked for; a place also for others while these are missing.
    - ``background``.

    Args:
        reading: What N images show.
        facts: What was asked of each, as `captions.parse` gives it.
        preset: The scenes' preset.

    Returns:
        Of each image the attributes that its facts mention, ``all`` of them together, and the ``residual``.
    """
    return [
        _verdict(_objects(reading.scenes, row, preset), reading.scenes.background[row], fact, preset)
        | {"residual": float(reading.residual[row])}
        for row, fact in enumerate(facts)
    ]


def _objects(scenes: Scenes, row: int, preset: Preset) -> list[dict]:
    """The objects of one scene, in the words of facts."""
    present = np.flatnonzero(scenes.colours[row] >= 0)
    sizes = nearest_size(scenes.radii[row], preset)
    places = cell_of(scenes.centres[row], preset.size)
    return [
        {
            "colour": list(COLOURS)[scenes.colours[row, i]],
            "shape": (*SHAPES, None)[scenes.shapes[row, i]],
            "size": SIZES[sizes[i]],
            "place": PLACES[places[i]],
            "centre": scenes.centres[row, i],
        }
        for i in present
    ]


def nearest_size(radii: np.ndarray, preset: Preset) -> np.ndarray:
    """The sizes (indices into `SIZES`) that radii ``[N]`` come nearest to, by ratio."""
    return abs(np.log(radii[:, None] / np.array(preset.radii))).argmin(1)


def _verdict(objects: list[dict], background: int, fact: dict, preset: Preset) -> dict[str, bool]:
    asked = fact["objects"] * (fact["count"] if len(fact["objects"]) == 1 else 1)
    matches = [[item for item in objects if _said(item, *KIND) == _said(one, *KIND)] for one in fact["objects"]]
    each = Counter(_said(item, *KIND) for item in asked)
    verdict = {
        "count": len(asked) <= len(objects) <= len(asked) + preset.distractors,
        "colour": _are_there(asked, objects, "colour"),
        "shape": _are_there(asked, objects, "shape"),
        "binding": [len(some) for some in matches] == [each[_said(one, *KIND)] for one in fact["objects"]],
    }
    if fact["objects"][0]["size"]:
        verdict["size"] = _are_there(asked, objects, *KIND, "size")
    if fact["place"]:
        verdict["place"] = fact["place"] in {item["place"] for item in matches[0] or objects}
    if fact["relation"]:
        verdict["relation"] = _related(*matches, fact["relation"])
    if fact["background"]:
        verdict["background"] = list(BACKGROUNDS)[background] == fact["background"]
    return verdict | {"all": all(verdict.values())}


def _related(first: list[dict], second: list[dict], relation: str) -> bool:
    """Whether one of the first stands to one of the second as asked."""
    number = np.array(RELATIONS.index(relation))
    return any(relation_margin(number, a["centre"] - b["centre"]) > 0 for a in first for b in second)


def _said(item: dict, *names: str) -> tuple:
    return tuple(item[name] for name in names)


def _are_there(asked: list[dict], objects: list[dict], *names: str) -> bool:
    """Whether for each object asked for there is one that agrees with it in these attributes."""
    wanted, found = (Counter(_said(item, *names) for item in items) for items in (asked, objects))
    return wanted <= found
