"""What a value that looks wrong means, where the documentation gives it a meaning."""

import math
import re
from collections.abc import Callable
from typing import Any

FLOAT, INT = (int, float), (int,)


def _any(_value: Any) -> bool:
    return True


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _is(*values: Any) -> Callable[[Any], bool]:
    """Whether a value is one of these, and of its kind."""
    return lambda value: any(type(value) is type(one) and value == one for one in values)


def _number(least: float, most: float = 2**63, kinds: tuple[type, ...] = FLOAT) -> Callable[[Any], bool]:
    """Whether a value, or what a command's text says, is a number from ``least`` to ``most``."""

    def test(value: Any) -> bool:
        if isinstance(value, str) and re.fullmatch(r"-?[0-9.]+|inf", value):
            value = float(value) if "." in value or value == "inf" else int(value)
        return type(value) in kinds and least <= value <= most

    return test


MEANINGS: list[tuple[str, Callable[[Any], bool], str]] = [
    (r".*", _is(1, 2), "a number like any other"),
    # Numbers, from the least to the most that is documented
    (r"sample --seed|draw seeds", _number(0, 2**32 - 1, INT), "a seed"),
    (r"randomness\.seed", _number(0, 2**32 - 1, INT), "a seed"),
    (r".*\.(dataset|sampler)\.seed", _number(-(2**63), 2**63, INT), "a seed"),
    (r".*\.(start_factor|end_factor|decay|text_drop|low|dropout)", _number(0, 1), "a share"),
    (r"(.*\.)?(adaptive|held_out|max_broken|label_smoothing)", _number(0, 1), "a share"),
    (r"param_scheduler\.warmup", _number(0, 1), "a share"),
    (r".*\.(weight|weight_decay|lr|eps|beta|max_norm|std|time_scale|absolute|kl|scale)", _number(0), "a number"),
    (r".*\.shift", _number(-(2**63)), "a number"),
    (r"(draw |sample --|model\.sampler\.)(guidance_scale|guidance|temperature)", _number(0), "a number"),
    (r"(draw |model\.sampler\.)choice_temperature", _number(0), "a number"),
    (r"convert mar-vae --scale|benchmark speed --minutes", _number(0), "a number"),
    (r"optim_wrapper\.clip_grad\.max_norm", _is(math.inf), "no clipping"),
    (r".*tokenizer\.depth|.*\.stretches", _is(0), "none"),
    (r".*\.(num_workers|val_interval|num_digits|head_depth|timeout|interval_exp_name)", _is(0), "none"),
    (r".*(--workers)", _is("0"), "none"),
    # Texts
    (
        r".*(work_dir|--work-dir|--out|folder|root|report|out_dir|cache|test_cfg\.out)",
        _text,
        "the name of a folder, which is made",
    ),
    (r".*experiment_name", _text, "a name"),
    (r"log_processor\.mean_pattern", _text, "of no figure's name"),
    (r"publish --(data|licence)", _text, "words for the card"),
    (r"draw negative", _text, "a caption"),
    # Nothing
    (r"draw regions", _is([]), "none"),
    (r"draw draw|model\.sampler(\.draw)?|model\.mask_ratio", _is({}), "no options of its own"),
    (r"auto_scale_lr|env_cfg(\.dist_cfg)?|model_wrapper_cfg|custom_imports", _is({}), "no options"),
    (r"(val|test)_cfg|randomness|log_processor|default_hooks", _is({}), "MMEngine's own"),
    (r"optim_wrapper\.(paramwise_cfg|clip_grad)", _is({}, None), "none"),
    (r"optim_wrapper\.optimizer\.betas|custom_hooks|param_scheduler", _is([]), "none"),
    (r"model\.fusion", _is({}), "none"),
    (r"custom_imports\.imports", _is([]), "none"),
    (r"model\.frozen", _is([]), "none"),
    (r"default_hooks\.\w+", _is(None), "left out"),
    (r".*text_tokenizer\.cache", _is(None), "nothing is kept"),
    (r"model\.sampler\.draw\.\w+|draw draw\.\w+|draw \w+", _is(None), "as if it weren't given"),
    # Others
    (r"(default|custom)_hooks\.\w+\.priority", _any, "as MMEngine reads it"),
    (r"(overwrite|find_unused_parameters|.*\.quick_gelu)", _is(True), "a flag"),
    (r"optim_wrapper\.optimizer\.(foreach|fused)", _is(True), "as PyTorch reads it"),
    (r"\w+_dataloader\.disable_subprocess_warning|test_cfg\.fp16", _is(True), "a flag"),
    (r"benchmark.* --jobs", _number(1), "no more than there are runs"),
]


def meaning(where: str, value: Any, default: Any) -> str:
    """What a value means for an option of that default; the empty text where it ought to be refused."""
    if value is None and default is None:
        return "as if it weren't given"
    if value is True and isinstance(default, bool):
        return "a flag"
    for pattern, test, said in MEANINGS:
        if re.fullmatch(pattern, where) and test(value):
            return said
    return ""
