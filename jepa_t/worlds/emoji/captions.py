"""Emoji in plain English: what training says of an emoji, and what it never says."""

import re

import numpy as np

from ...data.hashing import draw
from .catalogue import Emoji

# Of an emoji without tone, then of one with a tone. ``{a}`` is the thing with its article, ``{bare}`` without.
TEMPLATES = (
    ("{a}", "{bare}", "a picture of {a}", "an emoji of {a}"),
    ("{a} with {tone} skin", "{bare}, {tone} skin", "a picture of {a} with {tone} skin", "{a} with {tone} skin tone"),
)
WITHHELD = (
    ("an emoji of {bare}", "{bare}, a picture"),
    ("{tone} skin, {bare}", "an emoji of {a} with {tone} skin tone"),
)
_HAIR = {"beard": "{} with a beard", "bald": "bald {}"}
_AFTER_HEAD = re.compile(r" (?:with|in|on|of|over|and|showing|holding|lifting|back) ")
_PLURAL = re.compile(r"(?:men|women|people)\b.*|.*[^aiosu']s")
_VOWEL = re.compile(r"(?!uni|eu|ew|one)[aeiou]|hour|x-", re.IGNORECASE)


def thing(name: str, flag: bool = False) -> str:
    """A name of the package ``emoji`` as words without an article: ``woman with red hair``."""
    words = re.sub(r"[()]", "", name).replace("_", " ").replace("’", "'").replace(":", "")
    if flag:
        return f"flag of {words.removeprefix('flag for ')}"
    found = re.fullmatch(r"(old )?(woman|man|person) (beard|bald|(?:\w+) hair)", words)
    return _HAIR.get(found[3], f"{{}} with {found[3]}").format(found[2]) if found else words


def with_article(words: str) -> str:
    """``a fox``, ``an apple``, ``the flag of Kuwait``, ``grapes``."""
    if words.startswith("flag of "):
        return f"the {words}"
    if _PLURAL.fullmatch(_AFTER_HEAD.split(words)[0]):
        return words
    return f"{'an' if _VOWEL.match(words) else 'a'} {words}"


def captions(emoji: Emoji) -> list[str]:
    """All that training says of an emoji."""
    return _written(emoji, TEMPLATES, [*emoji.names, *(name for name in synonyms(emoji) if not withheld(name))])


def paraphrases(emoji: Emoji) -> list[str]:
    """An emoji's first name in sentences that training never uses."""
    shown = captions(emoji)
    return [said for said in _written(emoji, WITHHELD, emoji.names[:1]) if said not in shown]


def withheld_synonyms(emoji: Emoji) -> list[str]:
    """Training's sentences with names that it never uses."""
    return _written(emoji, TEMPLATES, [name for name in synonyms(emoji) if withheld(name)])


def synonyms(emoji: Emoji) -> list[str]:
    """Aliases that are words, and other words than the names are."""
    known = {_letters(name) for name in emoji.names}
    fresh = [alias for alias in emoji.aliases if re.fullmatch(r"[a-z]+(_[a-z]+)*", alias) and len(alias) > 2]
    return [] if emoji.flag else [alias for alias in fresh if _letters(alias) not in known]


def withheld(alias: str) -> bool:
    """Whether training never uses this alias, as is true of half of them."""
    return bool(draw(0, f"alias {alias}", np.zeros(1, np.int64), 2)[0])


def _letters(name: str) -> str:
    return "".join(filter(str.isalpha, name.casefold()))


def _written(emoji: Emoji, templates: tuple[tuple[str, ...], ...], names: list[str]) -> list[str]:
    forms = templates[emoji.tone is not None]
    bare = [" ".join(filter(None, (emoji.colour, thing(name, emoji.flag)))) for name in names]
    said = [form.format(a=with_article(b), bare=b, tone=emoji.tone) for b in bare for form in forms]
    return list(dict.fromkeys(said))
