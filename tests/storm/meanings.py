"""What a value that looks wrong means, where the documentation gives it a meaning."""

import re
from collections.abc import Callable
from typing import Any


def _any(_value: Any) -> bool:
    return True


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _small(value: Any) -> bool:
    return type(value) is int and value in (1, 2)


def _large(value: Any) -> bool:
    return value in (2**63, 10**20, str(10**20))


MEANINGS: list[tuple[str, Callable[[Any], bool], str]] = [
    (r".*", _small, "a number like any other"),
    (r".*(work_dir|--work-dir|--out|folder|root|report)", _text, "the name of a folder, which is made"),
    (r".*experiment_name", _text, "a name"),
    (r"publish --(data|licence)", _any, "words for the card"),
    (r"draw draw", lambda value: value == {}, "no options of the objective's own"),
    (r"(default|custom)_hooks\.\w+\.priority", _any, "as MMEngine reads it"),
    (r"overwrite", lambda value: value is True, "replaces the training that is in the work dir"),
    (r"(draw|sample --|model\.sampler\.)\s?temperature", lambda value: value in (0, "0"), "the likeliest"),
    (r"(draw |sample --|model\.sampler\.)steps", _large, "no more than there are tokens"),
    (r".*\.(text_drop|dropout|weight_decay|timeout)", lambda value: type(value) is int and value == 0, "none"),
    (r"auto_scale_lr|env_cfg(\.dist_cfg)?", lambda value: value == {}, "no options"),
    (r"custom_hooks", lambda value: value == [], "none"),
    (
        r"(draw|sample --|model\.sampler\.)\s?temperature",
        lambda value: value in (1.5, "1.5"),
        "a number like any other",
    ),
    (r"optim_wrapper\.optimizer\.(foreach|fused|capturable)", lambda value: value is True, "as PyTorch reads it"),
    (r".*seed", _large, "a number like any other"),
    (r"(default|custom)_hooks\.\w+\.interval", _large, "not before the end"),
    (r"draw batch_size", _large, "all at once"),
]


def meaning(where: str, value: Any, default: Any) -> str:
    """What a value means for an option of that default; the empty text where it ought to be refused."""
    if value is None and default is None:
        return "as if it weren't given"
    for pattern, test, said in MEANINGS:
        if re.fullmatch(pattern, where) and test(value):
            return said
    return ""
