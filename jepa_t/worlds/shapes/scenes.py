"""What ShapeScenes hold: coloured shapes on a plain background, chosen by lot, the same on every machine.

An image is cut into 3 x 3 cells, and no two objects share one. Coordinates are pixels, x to the right and y
down. *Left of* means: further left, and by more than it is higher or lower; likewise the other three. So at
most one relation holds between two objects, and none on a diagonal.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import numpy as np

from ...data.hashing import Stream
from ...errors import UserError, unknown

BACKGROUNDS = {"black": (0, 0, 0), "white": (255, 255, 255), "grey": (128, 128, 128)}
COLOURS = {
    "red": (230, 30, 40),
    "green": (0, 200, 60),
    "blue": (40, 60, 235),
    "yellow": (245, 215, 20),
    "magenta": (215, 40, 205),
    "cyan": (20, 205, 225),
}
SHAPES = ("circle", "triangle", "square", "cross")
SIZES = ("large", "small")
PLACES = (
    *("top left", "top", "top right"),
    *("left", "centre", "right"),
    *("bottom left", "bottom", "bottom right"),
)
RELATIONS = ("left of", "right of", "above", "below")

REACH = 1.5552  # from a centre to the farthest point, the corners of the triangle as rendering has it, in radii
APART = 1.38  # beyond this many radii of both, two objects can't touch
MARGIN = 0.75  # pixels between a centre and the border of its cell: its place is beyond doubt
ATTEMPTS = 16


@dataclass(frozen=True)
class Preset:
    """A family of scenes.

    Attributes:
        size: Height and width in pixels.
        radii: Radius of the large objects and, where there are two sizes, of the small ones. A shape has the
            area of the circle of its radius.
        jitter: 0 puts every object exactly into the middle of its cell, 1 anywhere in it.
        colours: How many of `COLOURS` occur.
        shapes: How many of `SHAPES` occur.
        backgrounds: How many of `BACKGROUNDS` occur.
        distractors: Up to so many objects that the caption doesn't mention.
        synonyms: The fraction of words that training captions replace by their first synonym.
        families: Weights of the caption families, unless a data set is given others.
    """

    size: int
    radii: tuple[float, ...]
    jitter: float
    colours: int = 6
    shapes: int = 4
    backgrounds: int = 3
    distractors: int = 0
    synonyms: float = 0.25
    families: tuple[tuple[str, float], ...] = (
        *(("single", 0.1), ("located", 0.3)),
        *(("related", 0.4), ("counted", 0.2)),
    )


PRESETS = {
    "tiny": Preset(24, (2.25,), 0.0, 3, 3, 2, synonyms=0.0, families=(("located", 0.5), ("related", 0.5))),
    "base": Preset(32, (3.1, 2.2), 1.0),
    "large": Preset(64, (6.0, 4.0), 1.0, distractors=2),
}
RANGES = {
    "jitter": (0, 1),
    "colours": (3, len(COLOURS)),
    "shapes": (3, len(SHAPES)),
    "backgrounds": (1, len(BACKGROUNDS)),
    "distractors": (0, 3),
    "synonyms": (0, 1),
}


@dataclass(frozen=True)
class Contents:
    """What captions say of N scenes; -1 where they leave it open.

    Attributes:
        kinds: The first and the second object ``[N, 2]``, colour times 4 plus shape; -1 for no second one.
        count: How many objects ``[N]``: 1, 2, or the number of copies of the first.
        sizes: Of the first and the second object ``[N, 2]``.
        place: The cell of the first object ``[N]``.
        relation: Of the first object to the second ``[N]``.
        background: ``[N]``.
    """

    kinds: np.ndarray
    count: np.ndarray
    sizes: np.ndarray
    place: np.ndarray
    relation: np.ndarray
    background: np.ndarray


@dataclass(frozen=True)
class Scenes:
    """N scenes of up to K objects.

    Attributes:
        colours: ``[N, K]``, -1 where there is no object.
        shapes: ``[N, K]``, -1 where there is none or it is unknown.
        radii: ``[N, K]`` pixels.
        centres: ``[N, K, 2]`` pixels, x and y.
        background: ``[N]``.
    """

    colours: np.ndarray
    shapes: np.ndarray
    radii: np.ndarray
    centres: np.ndarray
    background: np.ndarray


Record = TypeVar("Record", Contents, Scenes)


def take(record: Record, rows: np.ndarray) -> Record:
    """Some rows of a record."""
    return replace(record, **{field.name: getattr(record, field.name)[rows] for field in fields(record)})


def preset_named(preset: str | Mapping) -> Preset:
    """The preset of a name, or of ``dict(name=..., field=value)``, with some of its fields changed.

    Raises:
        UserError: The name or a field is unknown, or a value is out of range.
    """
    changes = {"name": preset} if isinstance(preset, str) else dict(preset)
    name = changes.pop("name", None)
    if name not in PRESETS:
        raise unknown("preset of ShapeScenes", name, PRESETS)
    known = [field.name for field in fields(Preset) if field.name != "families"]  # the data sets' own option
    for field, value in changes.items():
        if field not in known:
            raise unknown("field of a ShapeScenes preset", field, ["name", *known])
        least, most = RANGES.get(field, (value, value))
        if not least <= value <= most:
            raise UserError(f"ShapeScenes {field}={value!r}: use {least} to {most}")
    chosen = replace(PRESETS[name], **changes)
    radii = tuple(chosen.radii)
    if not 1 <= len(radii) <= 2 or min(radii) < 1.5 or list(radii) != sorted(radii, reverse=True):
        raise UserError(f"ShapeScenes radii={radii}: use one or two of at least 1.5 pixels, the larger first")
    least = int(np.ceil(6 * (REACH * radii[0] + 0.5)))
    if chosen.size < least:
        raise UserError(f"ShapeScenes size={chosen.size} is too small for radii={radii}: use {least} or more")
    return replace(chosen, radii=radii)


def relation_margin(relation: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """By how many pixels a relation holds, if positive; ``offset [..., 2]`` is first object minus second."""
    x, y = offset[..., 0], offset[..., 1]
    along, across = np.where(relation < 2, x, y), np.where(relation < 2, y, x)
    return np.where(relation % 2 == 0, -along, along) - abs(across)


def cell_of(centres: np.ndarray, size: int) -> np.ndarray:
    """The cells ``[...]`` (indices into `PLACES`) of points ``[..., 2]``."""
    column_row = np.clip(np.floor(3 * centres / size), 0, 2).astype(np.int64)
    return column_row[..., 1] * 3 + column_row[..., 0]


def kinds_of(preset: Preset) -> np.ndarray:
    """The codes of all kinds (colour and shape) of a preset."""
    return (np.arange(preset.colours)[:, None] * len(SHAPES) + np.arange(preset.shapes)).ravel()


def withheld_kind(kinds: np.ndarray) -> np.ndarray:
    """True on a diagonal that no training image shows; a shape loses one colour, a colour one shape."""
    return kinds // len(SHAPES) - kinds % len(SHAPES) == 1


def complete(contents: Contents, preset: Preset, stream: Stream) -> Scenes:
    """Scenes as the contents say; what these leave open is drawn.

    Distractors are of kinds that are neither mentioned nor withheld, each of another one.
    """
    total = contents.count + stream.draw("extra", preset.distractors + 1)
    slots = np.arange(total.max(initial=1))
    mentioned, present = slots < contents.count[:, None], slots < total[:, None]
    which = ((slots == 1) & (contents.kinds[:, 1:] >= 0)).astype(np.int64)
    kinds = np.take_along_axis(contents.kinds, which, 1)
    if preset.distractors:
        rank = np.clip(slots - contents.count[:, None], 0, preset.distractors - 1)
        others = np.take_along_axis(_other_kinds(contents, preset, stream), rank, 1)
        kinds = np.where(mentioned, kinds, others)
    drawn = np.stack([stream.draw(f"size {slot}", len(preset.radii)) for slot in slots], 1)
    said = np.where(mentioned, np.take_along_axis(contents.sizes, which, 1), -1)
    radii = np.array(preset.radii)[np.where(said >= 0, said, drawn)]
    background = stream.draw("background", preset.backgrounds)
    cells = _cells(contents, stream)[:, slots]
    return Scenes(
        colours=np.where(present, kinds // len(SHAPES), -1),
        shapes=np.where(present, kinds % len(SHAPES), -1),
        radii=radii,
        centres=_centres(contents.relation, cells, radii, present, preset, stream),
        background=np.where(contents.background >= 0, contents.background, background),
    )


def _other_kinds(contents: Contents, preset: Preset, stream: Stream) -> np.ndarray:
    """Kinds of the distractors ``[N, distractors]``."""
    kinds = kinds_of(preset)
    kinds = kinds[~withheld_kind(kinds)]
    keys = np.stack([stream.bits(f"other {kind}") >> np.uint64(1) for kind in kinds], 1)
    said = (kinds[:, None] == contents.kinds[:, None, :]).any(2)
    order = np.argsort(np.where(said, np.uint64(2**64 - 1), keys), axis=1, kind="stable")
    return kinds[order[:, : preset.distractors]]


def _cells(contents: Contents, stream: Stream) -> np.ndarray:
    """A random order of the nine cells ``[N, 9]`` that begins as the contents ask."""
    keys = np.stack([(stream.bits(f"cell {i}") >> np.uint64(1)) + np.uint64(2) for i in range(9)], 1)
    rows = np.flatnonzero(contents.place >= 0)
    keys[rows, contents.place[rows]] = 0
    first, second = np.divmod(np.arange(81), 9)
    offset = np.stack([first % 3 - second % 3, first // 3 - second // 3], 1)
    for relation in range(len(RELATIONS)):
        pairs = np.flatnonzero(relation_margin(np.array(relation), offset) > 0)
        rows = np.flatnonzero(contents.relation == relation)
        pair = pairs[stream[rows].draw("cells", len(pairs))]
        keys[rows, first[pair]], keys[rows, second[pair]] = 0, 1
    return np.argsort(keys, axis=1, kind="stable")


def _centres(
    relation: np.ndarray,
    cells: np.ndarray,
    radii: np.ndarray,
    present: np.ndarray,
    preset: Preset,
    stream: Stream,
) -> np.ndarray:
    """The first of some attempts ``[N, K, 2]`` that keeps the objects apart and the relation true by a pixel.

    Attempts come ever closer to the middles of the cells; if all fail, the objects are there.
    """
    side, reach = preset.size / 3, (REACH * radii + 0.5)[..., None]
    corner = np.stack([cells % 3, cells // 3], -1) * side
    low, high = np.maximum(corner + MARGIN, reach), np.minimum(corner + side - MARGIN, preset.size - reach)
    centres, pending = corner + side / 2, np.arange(len(cells))
    for attempt in range(ATTEMPTS if preset.jitter else 0):
        if not len(pending):
            break
        axes = range(2 * cells.shape[1])
        bits = np.stack([stream[pending].bits(f"place {attempt} {axis}") for axis in axes], 1)
        part = ((bits >> np.uint64(32)) / 2**32).reshape(len(pending), -1, 2)
        middle, goal = centres[pending], low[pending] + part * (high - low)[pending]
        tried = middle + preset.jitter * (1 - attempt / ATTEMPTS) * (goal - middle)
        good = _fits(relation[pending], tried, radii[pending], present[pending])
        centres[pending[good]] = tried[good]
        pending = pending[~good]
    return centres


def _fits(relation: np.ndarray, centres: np.ndarray, radii: np.ndarray, present: np.ndarray) -> np.ndarray:
    good = np.ones(len(centres), bool)
    for last in range(1, centres.shape[1]):
        for first in range(last):
            offset = centres[:, first] - centres[:, last]
            x, y, apart = offset[:, 0], offset[:, 1], APART * (radii[:, first] + radii[:, last]) + 1.8
            good &= ~present[:, last] | (x * x + y * y >= apart * apart)
            if (first, last) == (0, 1):
                good &= (relation < 0) | (relation_margin(relation, offset) >= 1)
    return good
