"""What captions of ShapeScenes say: templates, synonyms, and which contents training never reads of.

The last two of the six templates of a family are withheld from training, and the second of the two synonyms
of a word. The first and the third template of ``related`` hold the same words, the objects in opposite roles.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from ...data.hashing import Stream, draw
from ...errors import UserError, unknown
from .scenes import (
    BACKGROUNDS,
    COLOURS,
    PLACES,
    RELATIONS,
    SHAPES,
    SIZES,
    Contents,
    Preset,
    kinds_of,
    take,
    withheld_kind,
)

TEMPLATES = {
    "single": (
        "{a}",  # the bare name of the class
        "a {a}",
        "a picture of a {a}",
        "a {a} on a {background} background",
        "on a {background} background a {a}",
        "a picture of a {a} on a {background} background",
    ),
    "located": (
        "a {a} at the {place}",
        "at the {place} is a {a}",
        "a {a} at the {place} on a {background} background",
        "a picture of a {a} at the {place}",
        "on a {background} background a {a} is at the {place}",
        "at the {place} is a {a} on a {background} background",
    ),
    "related": (
        "a {a} is {relation} a {b}",
        "a {a} {relation} a {b}",
        "{relation} a {b} is a {a}",
        "a {a} {relation} a {b} on a {background} background",
        "on a {background} background {relation} a {b} is a {a}",
        "a picture of a {a} {relation} a {b}",
    ),
    "counted": (
        "{count} {many}",
        "there are {count} {many}",
        "{count} {many} on a {background} background",
        "a picture of {count} {many}",
        "on a {background} background there are {count} {many}",
        "there are {count} {many} in a picture",
    ),
}
TRAINED = 4
COUNTS = {"two": 2, "three": 3, "four": 4, "five": 5}

# The first is drawn in training where a preset has synonyms, the second never.
SYNONYMS = {
    "red": ("scarlet", "crimson"),
    "green": ("jade", "viridian"),
    "blue": ("cobalt", "sapphire"),
    "yellow": ("golden", "lemon"),
    "magenta": ("fuchsia", "pink"),
    "cyan": ("turquoise", "teal"),
    "circle": ("disc", "ball"),
    "triangle": ("wedge", "pyramid"),
    "square": ("box", "block"),
    "cross": ("plus", "crucifix"),
    "large": ("big", "huge"),
    "small": ("little", "minute"),
    "black": ("dark", "pitch-black"),
    "white": ("pale", "snowy"),
    "grey": ("gray", "silver"),
    "top left": ("upper left", "northwest"),
    "top": ("upper side", "north"),
    "top right": ("upper right", "northeast"),
    "left": ("left side", "west"),
    "centre": ("center", "midpoint"),
    "right": ("right side", "east"),
    "bottom left": ("lower left", "southwest"),
    "bottom": ("lower side", "south"),
    "bottom right": ("lower right", "southeast"),
    "left of": ("to the left of", "west of"),
    "right of": ("to the right of", "east of"),
    "above": ("over", "north of"),
    "below": ("under", "beneath"),
    "two": ("2", "a couple of"),
    "three": ("3", "a trio of"),
    "four": ("4", "a quartet of"),
    "five": ("5", "a quintet of"),
}

SLOTS = {
    "size_a": SIZES,
    "colour_a": tuple(COLOURS),
    "shape_a": SHAPES,
    "size_b": SIZES,
    "colour_b": tuple(COLOURS),
    "shape_b": SHAPES,
    "place": PLACES,
    "relation": RELATIONS,
    "count": tuple(COUNTS),
    "background": tuple(BACKGROUNDS),
}

# Split: the families that it has.
SPLITS = {
    "seen": tuple(TEMPLATES),
    "unseen_binding": tuple(TEMPLATES),
    "unseen_place": ("located",),
    "unseen_relation": ("related",),
    "unseen_count": ("counted",),
    "unseen_template": tuple(TEMPLATES),
    "unseen_synonym": tuple(TEMPLATES),
    "swap": ("related",),
    "class_only": ("single",),
}


def check_families(names: Iterable[str]) -> None:
    """See that caption families are named, and known.

    Raises:
        UserError: They aren't.
    """
    if not names:
        raise UserError(f"families is empty: use some of {', '.join(TEMPLATES)}")
    for name in names:
        if name not in TEMPLATES:
            raise unknown("caption family", name, TEMPLATES)


@cache
def contents_of(family: str, split: str, preset: Preset) -> Contents:
    """All contents of a family that a split may ask for; sizes and backgrounds are left open.

    - ``unseen_binding``: with a withheld kind. All other splits are without.
    - ``unseen_place``, ``unseen_count``: withheld by Latin squares of kind and place, kind and count.
    - ``unseen_relation``: a fifth of the tuples (kind, relation, kind), by a hash of what they mean; half of
      them are in training with the objects swapped.
    - ``swap``: withheld like these, or swapped it is.
    - All others: what training captions say.
    """
    everything = _all_contents(family, preset)
    novel = (withheld_kind(everything.kinds) & (everything.kinds >= 0)).any(1)
    reserved = _reserved(family, everything)
    if split == "unseen_binding":
        return take(everything, novel)
    if split == "swap":
        reserved |= _reserved(family, swapped(everything, np.full(len(novel), True)))
    unseen = split in ("unseen_place", "unseen_relation", "unseen_count", "swap")
    return take(everything, ~novel & (reserved == unseen))


def _all_contents(family: str, preset: Preset) -> Contents:
    kinds, nothing = kinds_of(preset), [-1]
    axes = {
        "single": (kinds, nothing, [1], nothing, nothing),
        "located": (kinds, nothing, [1], range(len(PLACES)), nothing),
        "related": (kinds, kinds, [2], nothing, range(len(RELATIONS))),
        "counted": (kinds, nothing, list(COUNTS.values()), nothing, nothing),
    }[family]
    first, second, count, place, relation = (axis.ravel() for axis in np.meshgrid(*axes, indexing="ij"))
    pair, nothing = np.stack([first, second], 1), np.full(len(first), -1)
    contents = Contents(pair, count, np.full_like(pair, -1), place, relation, nothing)
    return take(contents, first != second)


def _reserved(family: str, contents: Contents) -> np.ndarray:
    """True for the contents ``[N]`` that training withholds whatever the kinds."""
    first, second = contents.kinds.T
    if family == "single":
        return np.zeros(len(first), bool)
    if family != "related":
        return (first + np.where(family == "located", contents.place, contents.count)) % 5 == 0
    opposite = contents.relation % 2 == 1  # "a right of b" means "b left of a"
    before, after = np.where(opposite, second, first), np.where(opposite, first, second)
    low, high = np.minimum(before, after), np.maximum(before, after)
    bucket = draw(0, "withheld relations", (contents.relation // 2 * 100 + low) * 100 + high, 10)
    return (bucket == 0) | ((bucket == 1) & (before < after)) | ((bucket == 2) & (before > after))


def swapped(contents: Contents, rows: np.ndarray) -> Contents:
    """The contents with the two objects in each other's place where ``rows [N]`` is True."""
    order = np.stack([rows, ~rows], 1).astype(np.int64)
    kinds, sizes = (np.take_along_axis(pair, order, 1) for pair in (contents.kinds, contents.sizes))
    return replace(contents, kinds=kinds, sizes=sizes)


def write(family: str, split: str, preset: Preset, stream: Stream) -> tuple[list[str], Contents]:
    """Captions and their contents, each a function of its number in the stream; in ``swap`` two by two."""
    turned = (stream.index % 2 == 1) & (split == "swap")
    if split == "swap":
        stream = replace(stream, index=stream.index // 2)
    available = contents_of(family, split, preset)
    contents = take(available, stream.draw("content", len(available.count)))
    templates = TEMPLATES[family][TRAINED:] if split == "unseen_template" else TEMPLATES[family][:TRAINED]
    chosen = stream.draw("template", 1 if split == "class_only" else len(templates))
    framed = np.array(["{background}" in template for template in templates])[chosen]
    sized = (stream.draw("sized", 2) == 1) & (len(preset.radii) > 1) & (split != "class_only")
    sizes = np.stack([stream.draw(f"size of {which}", len(preset.radii)) for which in "ab"], 1)
    contents = replace(
        contents,
        sizes=np.where(sized[:, None] & (contents.kinds >= 0), sizes, -1),
        background=np.where(framed, stream.draw("background", preset.backgrounds), -1),
    )
    contents = swapped(contents, turned)
    plain = split in ("swap", "class_only")  # a pair has one bag of words, a class one name
    words = _words(contents, split, 0.0 if plain else preset.synonyms, stream)
    return [_fill(templates[i], row) for i, row in zip(chosen, words, strict=True)], contents


def _codes(contents: Contents) -> dict[str, np.ndarray]:
    """The number of the word in each slot, -1 for none."""
    codes = {"place": contents.place, "relation": contents.relation, "background": contents.background}
    codes["count"] = np.where((contents.count > 1) & (contents.kinds[:, 1] < 0), contents.count - 2, -1)
    for which, kind, size in zip("ab", contents.kinds.T, contents.sizes.T, strict=True):
        codes[f"colour_{which}"] = kind // len(SHAPES)
        codes[f"shape_{which}"] = np.where(kind < 0, -1, kind % len(SHAPES))
        codes[f"size_{which}"] = size
    return codes


def _words(contents: Contents, split: str, synonyms: float, stream: Stream) -> list[tuple[str, ...]]:
    """The words for the slots of each caption, empty where nothing is said."""
    codes, bits, columns = _codes(contents), stream.bits("synonym"), []
    for slot, (name, words) in enumerate(SLOTS.items()):
        if split == "unseen_synonym":
            replaced, rank = np.ones(len(bits), bool), 1
        else:
            replaced, rank = (bits >> np.uint64(6 * slot)) % np.uint64(64) < 64 * synonyms, 0
        plain, other = np.array([*words, ""]), np.array([*(SYNONYMS[word][rank] for word in words), ""])
        columns.append(np.where(replaced, other[codes[name]], plain[codes[name]]).tolist())
    return list(zip(*columns, strict=True))


def _fill(template: str, words: tuple[str, ...]) -> str:
    named = dict(zip(SLOTS, words, strict=True))
    size, colour, shape = words[:3]
    return template.format(
        a=" ".join(filter(None, words[:3])),
        b=" ".join(filter(None, words[3:6])),
        many=" ".join(filter(None, (size, colour, _plural(shape)))),
        place=named["place"],
        relation=named["relation"],
        count=named["count"],
        background=named["background"],
    )


def _plural(noun: str) -> str:
    return noun + ("es" if noun.endswith(("s", "x")) else "s")


def parse(caption: str) -> dict:
    """The facts that a caption states.

    Returns:
        ``family``; ``objects``, one or two dicts of ``colour``, ``shape`` and ``size``; ``count``, how many
        objects in all; ``place`` of the first; its ``relation`` to the second; ``background``. None where
        nothing is said.

    Raises:
        UserError: No template has these words.
    """
    for family, pattern in _patterns():
        if found := pattern.fullmatch(caption):
            said = {slot: _meaning()[word] for slot, word in found.groupdict().items() if word}
            objects = [
                {name: said.get(f"{name}_{which}") for name in ("colour", "shape", "size")}
                for which in "ab"
                if f"colour_{which}" in said
            ]
            return {
                "family": family,
                "objects": objects,
                "count": COUNTS.get(said.get("count"), len(objects)),
                **{name: said.get(name) for name in ("place", "relation", "background")},
            }
    raise UserError(f"caption {caption!r} fits no template of ShapeScenes; try {TEMPLATES['located'][0]!r}")


def contents_from(facts: list[dict]) -> Contents:
    """The contents that facts state."""

    def codes(names: list[str | None], known: Sequence[str]) -> np.ndarray:
        return np.array([-1 if name is None else list(known).index(name) for name in names])

    nothing = {"colour": None, "shape": None, "size": None}
    pairs = [(*fact["objects"], nothing)[:2] for fact in facts]
    said = {
        name: np.stack([codes([pair[i][name] for pair in pairs], known) for i in (0, 1)], 1)
        for name, known in (("colour", COLOURS), ("shape", SHAPES), ("size", SIZES))
    }
    return Contents(
        kinds=np.where(said["colour"] < 0, -1, said["colour"] * len(SHAPES) + said["shape"]),
        count=np.array([fact["count"] for fact in facts]),
        sizes=said["size"],
        place=codes([fact["place"] for fact in facts], PLACES),
        relation=codes([fact["relation"] for fact in facts], RELATIONS),
        background=codes([fact["background"] for fact in facts], BACKGROUNDS),
    )


@cache
def _patterns() -> list[tuple[str, re.Pattern]]:
    """The family and the pattern of each template."""

    def choice(slot: str, form: Callable[[str], str] = str) -> str:
        spoken = [form(spelling) for word in SLOTS[slot] for spelling in (word, *SYNONYMS[word])]
        return f"(?P<{slot}>{'|'.join(map(re.escape, spoken))})"

    slots = {name: choice(name) for name in ("place", "relation", "count", "background")}
    for which in "ab":
        slots[which] = f"(?:{choice(f'size_{which}')} )?{choice(f'colour_{which}')} {choice(f'shape_{which}')}"
    slots["many"] = f"(?:{choice('size_a')} )?{choice('colour_a')} {choice('shape_a', _plural)}"
    return [
        (family, re.compile(template.format(**slots)))
        for family, templates in TEMPLATES.items()
        for template in templates
    ]


@cache
def _meaning() -> dict[str, str]:
    """The word that each spelling stands for."""
    spellings = {form: word for words in SLOTS.values() for word in words for form in (word, *SYNONYMS[word])}
    return spellings | {_plural(form): word for form, word in spellings.items() if word in SHAPES}
