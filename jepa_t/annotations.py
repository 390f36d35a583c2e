"""What the annotations of a component's arguments admit: one check for whatever a config or a caller gives."""

import functools
import inspect
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from numbers import Integral, Real
from pathlib import Path, PurePath
from types import NoneType, SimpleNamespace, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from .errors import LARGEST, UserError

# The kinds of values that a config holds, in words: one, and several.
KINDS = {
    bool: ("True or False", "flags"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("a text", "texts"),
    list: ("a list", "lists"),
    tuple: ("a list", "lists"),
    dict: ("a dict", "dicts"),
    NoneType: ("None", "None"),
}
FLAG_OR_NUMBER = {bool: bool, int: float | None, float: float | None}
SEQUENCES = (list, tuple, Sequence, Collection, Iterable)
# What serves as what an annotation names.
SERVE = {float: {float, int}, Path: {str}, **{kind: {list, tuple} for kind in SEQUENCES}, Mapping: {dict}}


@functools.cache
def hints(component: Callable | None) -> Mapping[str, Any]:
    """The annotations of its arguments; of one without, that a flag's default is a flag, and a number's a number."""
    function = component.__init__ if inspect.isclass(component) else component
    found = {}
    if component is not None:
        with suppress(ValueError, TypeError):  # what is written in C may have no signature
            parameters = inspect.signature(function).parameters.values()
            found = {p.name: FLAG_OR_NUMBER[type(p.default)] for p in parameters if type(p.default) in FLAG_OR_NUMBER}
    for name, hint in getattr(function, "__annotations__", {}).items():
        with suppress(NameError, TypeError):  # one that can't be evaluated says nothing
            found |= get_type_hints(SimpleNamespace(__annotations__={name: hint}), function.__globals__)
    return found


def check_argument(name: str, value: Any, hint: Any, user: str) -> None:
    """See that a value is of the kind that an annotation names, and that a tensor can hold its numbers.

    Args:
        name: Of the argument, for the message.
        value: What is given for it.
        hint: Its annotation; None where it has none.
        user: Whose argument it is, for the message.

    Raises:
        UserError: It isn't, or it is the empty text where None says that there is nothing.

    Examples:
        >>> check_argument("splits", [[1]], Sequence[str], "DigitPrompts")
        Traceback (most recent call last):
        jepa_t.errors.UserError: splits is [[1]]; DigitPrompts takes a list of texts
    """
    if hint is not None and not fits(value, hint):
        raise UserError(f"{name} is {value!r}; {user} takes {in_words(hint)}")
    if value == "" and isinstance(value, str) and NoneType in get_args(hint):
        raise UserError(f"{name} is empty; give a value, or None")
    check_size(name, value)


def check_size(name: str, value: Any) -> None:
    """See that a value isn't NaN, nor a whole number that no tensor holds.

    Raises:
        UserError: It is.
    """
    if isinstance(value, Integral) and not -LARGEST <= value < LARGEST:
        raise UserError(f"{name} is {value!r}; whole numbers are below 2^63")
    if isinstance(value, float) and math.isnan(value):
        raise UserError(f"{name} is {value!r}, which is no number; give one, or leave it out")


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of the kind that an annotation names, as deep as it says.

    A number may stand for a float, a list for any sequence, a text for a path, a dict for an object that is built
    from it.

    Examples:
        >>> fits([1, 2], tuple[int, int]), fits(True, int), fits("ab", Sequence[str]), fits({"type": "Add"}, Path)
        (True, False, False, False)
    """
    origin, inner = get_origin(hint), get_args(hint)
    kind = origin or hint
    if kind in (Union, UnionType):
        return any(fits(value, part) for part in inner)
    if kind is Literal:
        return any(value == one and type(value) is type(one) for one in inner)
    if kind in (None, NoneType):
        return value is None
    if kind in (int, float):
        return isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
    if kind is Path:
        return isinstance(value, (str, PurePath))
    if kind in SEQUENCES:
        return _is_sequence(value, kind, inner)
    if kind in (dict, Mapping):
        return isinstance(value, Mapping) and (
            len(inner) < 2 or all(fits(key, inner[0]) and fits(one, inner[1]) for key, one in value.items())
        )
    return _is_instance(value, kind)


def _is_sequence(value: Any, kind: type, inner: tuple) -> bool:
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        return False
    if not isinstance(value, (list, tuple)) or not inner:
        return isinstance(value, (list, tuple, kind))
    if kind is tuple and inner[-1] is not ...:
        return len(value) == len(inner) and all(map(fits, value, inner))
    return all(fits(one, inner[0]) for one in value)


def _is_instance(value: Any, kind: Any) -> bool:
    """Whether a value is of a class, or describes what will be; true of all that only a type checker understands."""
    if not isinstance(kind, type) or kind in (object, type) or kind.__module__ == "collections.abc":
        return True
    with suppress(TypeError):  # a protocol that can't be asked
        return isinstance(value, kind) or (kind not in KINDS and isinstance(value, Mapping))
    return True


def in_words(hint: Any, several: bool = False) -> str:
    """What an annotation admits, in words.

    Examples:
        >>> in_words(tuple[float, float] | None)
        'None or a list of 2 numbers'
    """
    origin, inner = get_origin(hint), get_args(hint)
    kind = origin or hint
    if kind in (Union, UnionType):
        return " or ".join(sorted({in_words(part, several) for part in inner}))
    if kind is Literal:
        return " or ".join(map(repr, inner))
    if kind in SEQUENCES:
        count = f"{len(inner)} " if kind is tuple and inner and inner[-1] is not ... else ""
        of = f" of {count}{in_words(inner[0], several=True)}" if inner and isinstance(inner[0], type) else ""
        return f"{KINDS[list][several]}{of}"
    if kind is None:
        kind = NoneType
    served = kind if kind in KINDS else next(iter(SERVE.get(kind, {dict})))
    return KINDS[served][several]


def kinds_of(hint: Any) -> set[type]:
    """The kinds of values that an annotation admits; empty if a config can't say all that it admits."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        parts = [kinds_of(part) for part in get_args(hint)]
        return set().union(*parts) if all(parts) else set()
    if origin is Literal:
        return {type(value) for value in get_args(hint)}
    kind = origin or hint
    if kind is Callable:
        return {str, dict}  # a name, or a name with options
    if kind in SERVE or kind in KINDS:
        return SERVE.get(kind, {kind})
    if isinstance(kind, type) and kind not in (object, type) and kind.__module__ != "collections.abc":
        return {dict}  # a component, which a config describes
    return set()


def kind_of(value: Any) -> type:
    """The kind of a config's value."""
    return dict if isinstance(value, dict) else type(value)
