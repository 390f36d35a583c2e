"""What a value that looks wrong means, where the documentation gives it a meaning."""

import re
from collections.abc import Callable
from typing import Any


def _none(value: Any) -> bool:
    return value is None


def _any(_value: Any) -> bool:
    return True


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


MEANINGS: list[tuple[str, Callable[[Any], bool], str]] = [
    (r"(?!default_hooks\.|draw ).*", _none, "as if it weren't given"),
    (r"draw .*", _none, "as the model's sampler has it"),
    (r".*(work_dir|--work-dir|--out|folder|root|report)", _text, "the name of a folder, which is made"),
    (r".*experiment_name", _text, "a name"),
    (r"publish --(data|licence)", _any, "words for the card"),
    (r"draw draw", lambda value: value == {}, "no options of the objective's own"),
    (r".*objectives\.\w+\.weight", _number, "the weight of a loss"),
    (r"(default|custom)_hooks\.\w+\.priority", _any, "as MMEngine reads it"),
    (r"overwrite", lambda value: value is True, "replaces the training that is in the work dir"),
    (r"(draw|sample --|model\.sampler\.)\s?temperature", lambda value: value in (0, "0"), "the likeliest"),
    (r"train --resume", _text, "a work dir that an earlier case has made"),
    (r"resume", lambda value: value is True, "from the newest checkpoint of the work dir"),
    (r".*(\[\d+\]|steps)", lambda value: value in (2**63, 10**20), "no more than there are tokens"),
    (r"draw batch_size", lambda value: value in (2**63, 10**20), "all at once"),
]


def meaning(where: str, value: Any) -> str:
    """What a value means for an option; the empty text where it ought to be refused."""
    for pattern, test, said in MEANINGS:
        if re.fullmatch(pattern, where) and test(value):
            return said
    return ""
