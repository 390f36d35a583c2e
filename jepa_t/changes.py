"""What differs between two configs, in lines for people."""

from collections.abc import Iterator, Mapping
from typing import Any

HELD = "image_tokenizer.checkpoint"  # read once: a model's own checkpoints hold the weights
FREE = "sampler", "compile", HELD  # what a trained model may have otherwise and stay what it is


def plain(value: Any) -> Any:
    """A config without objects: a class becomes its dotted path."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return f"{value.__module__}.{value.__qualname__}" if callable(value) else value


def differences(before: Any, now: Any, place: str = "") -> dict[str, tuple[Any, Any]]:
    """The values of two plain configs that differ, old and new by dotted key; None where there is none."""
    if isinstance(before, list) and isinstance(now, list):
        before, now = dict(enumerate(before)), dict(enumerate(now))
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return {} if before == now else {place: (before, now)}
    found = {}
    for key in [*before, *(key for key in now if key not in before)]:
        found |= differences(before.get(key), now.get(key), f"{place}.{key}" if place else str(key))
    return found


def in_lines(changed: Mapping[str, tuple[Any, Any]]) -> Iterator[str]:
    """A line for each changed value."""
    for key, (before, now) in changed.items():
        yield f"{key} is {_said(now)} and was {_said(before)}"


def _said(value: Any) -> str:
    return "not set" if value is None else repr(value)


def trained_otherwise(before: Any, now: Any) -> Iterator[str]:
    """A line for each option of a model that isn't what its weights were trained with, though they fit.

    Args:
        before: The model's config in a checkpoint or a saved folder; None if there is none, which tells nothing.
        now: The model's config that is given.

    Examples:
        >>> before = {"objectives": {"flow": {"predicts": "velocity"}}, "sampler": "fast"}
        >>> list(trained_otherwise(before, {"objectives": {"flow": {"predicts": "clean"}}}))
        ["model.objectives.flow.predicts is 'clean' and was 'velocity'"]
    """
    changed = differences(plain(before), plain(now), "model") if isinstance(before, Mapping) else {}
    free = tuple(f"model.{name}" for name in FREE)
    yield from in_lines({key: values for key, values in changed.items() if not key.startswith(free)})
